"""When a client's SPV is listed by itself: each client has moments of its own, always the same.

Daily is by night, between 00:30 and 06:00 in Romania; more often is at a minute
of its own. So 500 clients do not ask ANAF at once, and a message is never older
than a day when people come to work.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from appliance.core.times import BUCHAREST

_NIGHT_FROM = timedelta(minutes=30)
_NIGHT = timedelta(hours=5, minutes=30)
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_DAY = 24


def last_slot(uid: str, every_hours: int, at: datetime) -> datetime:
    """Return the client's latest moment that is not after `at`.

    Whoever was not listed since then is due; so what was missed while nothing
    ran is caught up with, once.
    """
    if every_hours >= _DAY:
        return _last_night(uid, every_hours // _DAY, at)
    every = timedelta(hours=max(every_hours, 1))
    first = _EPOCH + every * _share(uid)
    return first + (at - first) // every * every


def _last_night(uid: str, every_days: int, at: datetime) -> datetime:
    day = at.astimezone(BUCHAREST).date()
    # Those that are asked every second day are not all asked on the same one.
    own_day = int(_share(uid[::-1]) * every_days)
    while True:
        if day.toordinal() % every_days == own_day:
            midnight = datetime(day.year, day.month, day.day, tzinfo=BUCHAREST)
            slot = (midnight + _NIGHT_FROM + _NIGHT * _share(uid)).astimezone(UTC)
            if slot <= at:
                return slot
        day -= timedelta(days=1)


def _share(uid: str) -> float:
    """Return a number from 0 to below 1 that is the client's for ever."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:6]) / 2**48

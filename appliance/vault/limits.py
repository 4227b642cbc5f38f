"""ANAF's limits, counted in one place before a call is made.

MF, "limiteApeluriAPI": 1000 calls a minute for everything; listaMesajeFactura
1500 and listaMesajePaginatieFactura 100,000 a day for each CUI; descarcare 10
and stareMesaj 100 a day for each message. A day ends at midnight in Bucharest.

Whoever is refused for the minute is told the millisecond of a place of its own,
so that many who wait come back one by one, and no place stays empty for long.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST
from appliance.vault.database import Database


class Kind(StrEnum):
    LIST = "list"
    PAGED_LIST = "paged-list"
    DOWNLOAD = "download"
    STATE = "state"


A_DAY: dict[Kind, int] = {
    Kind.LIST: 1500,
    Kind.PAGED_LIST: 100_000,
    Kind.DOWNLOAD: 10,
    Kind.STATE: 100,
}
# A minute, and what a call may be faster on its way than one made a minute before it: by
# ANAF's clock, too, no minute holds more. Costs 1.6 % of the ceiling.
WINDOW_MS = 61_000
_LONGEST_PAUSE_MS = 300_000


@dataclass(frozen=True)
class Call:
    """What a call is counted under: `object` is a CIF for lists, else a message."""

    kind: Kind
    object: str


class TooManyCalls(ArhivarError):
    """The call may not be made before `retry_ms` milliseconds; nothing was counted."""

    def __init__(self, reason: str, retry_ms: int, sentence: Sentence) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.retry_ms = max(1, retry_ms)

    @property
    def retry_after(self) -> int:
        """The same in whole seconds, as HTTP wants it."""
        return ceil(self.retry_ms / 1000)


class Limits:
    """The counters, in vault.db: they outlive a restart and bind every process."""

    def __init__(self, database: Database, per_minute: int) -> None:
        self._database = database
        self._per_minute = per_minute
        self._swept = ""
        self._promised: list[int] = []  # when those who were refused come back

    def take(self, call: Call | None, *, at: datetime) -> None:
        """Count one call, or raise `TooManyCalls`; counted before it is made, so a crash
        can only count too much. `None` counts for the minute alone.
        """
        with self._database.counting() as connection:
            refusal = self._count(connection, call, at)
        if refusal is not None:
            raise refusal

    def _count(
        self, connection: sqlite3.Connection, call: Call | None, at: datetime
    ) -> TooManyCalls | None:
        day = _day(at)
        # A refusal is returned, not raised: raising would take back the sweeping as well.
        if self._swept != day:
            connection.execute("DELETE FROM quota WHERE day < ?", (day,))
            self._swept = day
        if call is not None:
            row = connection.execute(
                "SELECT used FROM quota WHERE day = ? AND kind = ? AND object = ?",
                (day, call.kind, call.object),
            ).fetchone()
            if row and row[0] >= A_DAY[call.kind]:
                return _quota(call, at)
        if self._per_minute and (wait := self._take_from_minute(connection, at)):
            return _rate(wait)
        if call is not None:
            connection.execute(
                "INSERT INTO quota (day, kind, object, used) VALUES (?, ?, ?, 1) "
                "ON CONFLICT DO UPDATE SET used = used + 1",
                (day, call.kind, call.object),
            )
        return None

    def give_back(self, call: Call, *, at: datetime) -> None:
        """Take back the daily count of a call that never left this machine."""
        with self._database.counting() as connection:
            connection.execute(
                "UPDATE quota SET used = used - 1 "
                "WHERE day = ? AND kind = ? AND object = ? AND used > 0",
                (_day(at), call.kind, call.object),
            )

    def pause(self, seconds: int, *, at: datetime) -> int:
        """ANAF itself said 429: hold every call for so long, five minutes at most; return that."""
        length = min(max(seconds, 1) * 1000, _LONGEST_PAUSE_MS)
        with self._database.counting() as connection:
            connection.execute(
                "REPLACE INTO pause (id, until_ms) VALUES (1, ?)", (_milliseconds(at) + length,)
            )
        return ceil(length / 1000)

    def _take_from_minute(self, connection: sqlite3.Connection, at: datetime) -> int:
        """Count the call and return 0, or return the milliseconds until there is room."""
        now = _milliseconds(at)
        # Moments in the future come from a clock that was set back; they may hold
        # calls up for a minute, not for as long as the clock was wrong.
        connection.execute("UPDATE call SET at_ms = ? WHERE at_ms > ?", (now, now))
        connection.execute("DELETE FROM call WHERE at_ms <= ?", (now - WINDOW_MS,))
        (paused,) = connection.execute("SELECT MAX(until_ms) FROM pause").fetchone()
        if paused is not None and now < paused <= now + _LONGEST_PAUSE_MS:
            return int(paused - now)
        (used,) = connection.execute("SELECT COUNT(*) FROM call").fetchone()
        if used >= self._per_minute:
            return self._next_place(connection, used, now) - now
        connection.execute("INSERT INTO call (at_ms) VALUES (?)", (now,))
        return 0

    def _next_place(self, connection: sqlite3.Connection, used: int, now: int) -> int:
        """Return the moment of the first place that nobody else was told; it is not kept free."""
        self._promised = [at for at in self._promised if now < at <= now + WINDOW_MS]
        ahead = min(used - self._per_minute + len(self._promised), used - 1)
        (oldest,) = connection.execute(
            "SELECT at_ms FROM call ORDER BY at_ms LIMIT 1 OFFSET ?", (ahead,)
        ).fetchone()
        place: int = oldest + WINDOW_MS
        self._promised.append(place)
        return place


def _rate(wait_ms: int) -> TooManyCalls:
    seconds = ceil(wait_ms / 1000)
    return TooManyCalls(
        "rate",
        wait_ms,
        Sentence(
            f"ANAF primește un număr limitat de apeluri pe minut; continuăm în {seconds} s.",
            f"ANAF takes a limited number of calls a minute; we go on in {seconds} s",
        ),
    )


def _quota(call: Call, at: datetime) -> TooManyCalls:
    tomorrow = (at.astimezone(BUCHAREST) + timedelta(days=1)).date()
    midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=BUCHAREST)
    wait = ceil((midnight.timestamp() - at.timestamp()) * 1000)
    limit = A_DAY[call.kind]
    if call.kind in (Kind.LIST, Kind.PAGED_LIST):
        return TooManyCalls(
            "list-quota",
            wait,
            Sentence(
                f"S-a atins limita ANAF de {limit} de interogări pe zi pentru acest CIF; "
                "continuăm după miezul nopții.",
                f"ANAF's limit of {limit} list calls a day for this CIF is reached; "
                "we go on after midnight",
            ),
        )
    return TooManyCalls(
        "message-quota",
        wait,
        Sentence(
            f"S-a atins limita ANAF de {limit} de cereri pe zi pentru acest mesaj; "
            "continuăm după miezul nopții.",
            f"ANAF's limit of {limit} calls a day for this message is reached; "
            "we go on after midnight",
        ),
    )


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _day(at: datetime) -> str:
    return at.astimezone(BUCHAREST).date().isoformat()

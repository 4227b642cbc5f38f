"""Sessions: when one is alive, and the middleware that finds it.

The browser holds 32 random bytes; the database holds their SHA-256. An id that
a browser presents is looked up, never adopted: a new one is made at log-in, and
nothing here inserts a row for a visitor who is not logged in. Marking a session
as seen is an UPDATE, so one that was ended while a slow request ran stays ended.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Protocol

IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)
CLOCK_SLACK = timedelta(seconds=60)
SEEN_EVERY = timedelta(minutes=1)
FULL = 2  # the level that reaches pages; 1 (password only) reaches the second factor alone


class SessionFacts(Protocol):
    """What a stored session says of itself."""

    @property
    def level(self) -> int: ...
    @property
    def auth_epoch(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def seen_at(self) -> datetime: ...


def new_id() -> str:
    """Return a fresh session id for the cookie."""
    return secrets.token_urlsafe(32)


def hash_of(session_id: str) -> str:
    """Return what the database keeps of it."""
    text = session_id.encode("utf-8", "surrogateescape")
    return hashlib.sha256(b"session" + text).hexdigest()


def alive(session: SessionFacts, *, auth_epoch: int, disabled: bool, at: datetime) -> bool:
    """Tell whether the session still stands for the account.

    It ends with the account's epoch (password change, "log out everywhere"),
    when the account is disabled, after 30 idle minutes, after 12 hours, and
    when the clock has gone back to before it was created: then no age can be
    told any more.
    """
    return (
        not disabled
        and session.level >= FULL
        and session.auth_epoch == auth_epoch
        and at >= session.created_at - CLOCK_SLACK
        and at - session.created_at < ABSOLUTE
        and at - session.seen_at < IDLE
    )


def seen_is_old(session: SessionFacts, at: datetime) -> bool:
    """Tell whether the row is worth an UPDATE: at most one a minute."""
    return abs(at - session.seen_at) >= SEEN_EVERY

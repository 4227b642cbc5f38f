"""How often somebody may fail before they have to wait.

Counters are rows, so they hold across processes and restarts. An attempt is
counted *before* it is verified and taken back when it succeeds: guesses sent
in parallel cannot slip through between. An attempt that is refused writes
nothing, so nobody fills the table by being turned away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.times import from_text, to_text
from appliance.store.engine import Row, execute, fetch, fetch_now, joined


@dataclass(frozen=True)
class Limit:
    """So many failures within so many seconds; then perhaps a block that doubles."""

    failures: int
    seconds: int
    block_seconds: int = 0  # the first block; each further one is twice as long
    most_seconds: int = 24 * 3600


LIMITS: Mapping[str, tuple[Limit, ...]] = {
    "login": (Limit(10, 300), Limit(30, 3600)),  # by what the e-mail address hashes to
    "login-device": (Limit(10, 300), Limit(30, 3600)),  # a browser that was here before
    "login-address": (Limit(30, 300),),  # /32 or /64
    "login-all": (Limit(1000, 300),),
    "second-factor": (Limit(5, 300), Limit(20, 3600), Limit(50, 24 * 3600)),
    "reset": (Limit(5, 24 * 3600),),
    "reset-address": (Limit(20, 24 * 3600),),
    "invitation": (Limit(50, 3600),),
    "drive": (Limit(20, 600, 900),),  # by the public part of the password
    "drive-address": (Limit(20, 600, 900),),
}


async def count_failure(kind: str, subject: str, at: datetime) -> bool:
    """Count one more attempt; tell whether it may go on.

    False means: answer 429 and do not even look at what was sent; nothing was
    written. Call `clear()` or `forgive()` when the attempt turns out right.
    """
    return await count_failures([(kind, subject)], at)


async def count_failures(asked: Sequence[tuple[str, str]], at: datetime) -> bool:
    """Count one attempt under each kind and subject, or under none when one of them refuses.

    Asked in the order given, until the first no.
    """
    counted = []
    async with joined():
        for kind, subject in asked:
            for limit in LIMITS[kind]:
                key = _key(kind, limit, subject)
                rows = await fetch(f"{_ROW} WHERE key = ?", [key])
                row = rows[0] if rows else None
                if not _may(row, limit, at):
                    return False
                counted.append((key, limit, row))
        for key, limit, row in counted:
            await _count(key, limit, row, at)
    return True


def allowed(kind: str, subject: str, at: datetime) -> bool:
    """Tell whether a further attempt would be let through; counts nothing."""
    for limit in LIMITS[kind]:
        rows = fetch_now(f"{_ROW} WHERE key = ?", [_key(kind, limit, subject)])
        if not _may(rows[0] if rows else None, limit, at):
            return False
    return True


async def clear(kind: str, subject: str) -> None:
    """Forget the subject's failures: the attempt was right."""
    async with joined():
        for limit in LIMITS[kind]:
            await execute("DELETE FROM throttle WHERE key = ?", [_key(kind, limit, subject)])


async def forgive(kind: str, subject: str) -> None:
    """Take one counted attempt back.

    For what many people share, such as an address: one good log-in must not
    wipe out the failures of everybody else behind it.
    """
    async with joined():
        for limit in LIMITS[kind]:
            await execute(
                "UPDATE throttle SET failures = failures - 1 WHERE key = ? AND failures > 0",
                [_key(kind, limit, subject)],
            )


async def sweep(at: datetime) -> None:
    """Forget the counters that can block nobody any more."""
    async with joined():
        await execute(
            "DELETE FROM throttle WHERE window_start < ? "
            "AND (blocked_until IS NULL OR blocked_until < ?)",
            [to_text(at - timedelta(days=2)), to_text(at - timedelta(days=1))],
        )


def _may(row: Row | None, limit: Limit, at: datetime) -> bool:
    if row is None:
        return True
    if row["blocked_until"] is not None and to_text(at) < row["blocked_until"]:
        return False
    return row["failures"] < limit.failures or not _within_window(row, limit, at)


async def _count(key: str, limit: Limit, row: Row | None, at: datetime) -> None:
    failures, start, strikes = 1, to_text(at), 0
    if row is not None:
        strikes = row["strikes"]
        if _within_window(row, limit, at):
            failures, start = row["failures"] + 1, row["window_start"]
    blocked_until = None
    # The block begins with the last attempt that was let through.
    if failures >= limit.failures and limit.block_seconds:
        seconds = min(limit.block_seconds * 2 ** min(strikes, 20), limit.most_seconds)
        blocked_until, strikes = to_text(at + timedelta(seconds=seconds)), strikes + 1
    await execute(
        "INSERT INTO throttle (key, window_start, failures, strikes, blocked_until) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "window_start = excluded.window_start, failures = excluded.failures, "
        "strikes = excluded.strikes, blocked_until = excluded.blocked_until",
        [key, start, failures, strikes, blocked_until],
    )


def _within_window(row: Row, limit: Limit, at: datetime) -> bool:
    age = at - from_text(row["window_start"])
    # A clock that went back begins a new window, else it would never end.
    return timedelta(0) <= age < timedelta(seconds=limit.seconds)


def _key(kind: str, limit: Limit, subject: str) -> str:
    return f"{kind}:{limit.seconds}:{subject[:254]}"


_ROW = "SELECT window_start, failures, strikes, blocked_until FROM throttle"

"""A host that does not answer: since when, and when one call may ask again.

A circuit breaker as a row, so that it binds every process and outlives them.
Three failures with no answer between them, at ANAF of three different objects,
are an outage; until it ends no call is made but one at a time, after 1, 2, 4,
8 and then every 15 minutes. The first answer, of whatever content, ends it.

    api     ANAF, or the way there
    vault   our own arhivar-vault: asking it costs nothing, so it is asked more often
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST, from_text, to_text
from appliance.store.engine import Row, execute, fetch, fetch_now, joined

FAILURES = 3
_FIRST_WAIT = {"api": timedelta(minutes=1), "vault": timedelta(seconds=2)}
_LONGEST_WAIT = {"api": timedelta(minutes=15), "vault": timedelta(seconds=30)}
HOSTS = tuple(_FIRST_WAIT)
KEPT = timedelta(days=90)


@dataclass(frozen=True)
class Outage:
    """A host that does not answer. `every` is how far apart the attempts are by now."""

    host: str
    since: datetime
    failures: int
    next_try_at: datetime
    every: timedelta
    problem: Sentence


async def failed(host: str, at: datetime, problem: Sentence, about: str = "") -> Outage | None:
    """Note that a call about an object got no answer; the outage when there is one by now.

    One object that fails again and again is no outage of ANAF's. The vault is asked
    for a connection before it hears what about, so there the same one counts again.
    """
    async with joined():
        rows = await fetch(f"{_OPEN} AND host = ?", [host])
        if not rows:
            # A second process may have been first; then its row is the one.
            await execute(
                "INSERT INTO outage (host, since, failures, about, probes, next_try_at, problem) "
                "VALUES (?, ?, 0, '[]', 0, ?, ?)",
                [host, to_text(at), to_text(at), problem.to_json()],
            )
            rows = await fetch(f"{_OPEN} AND host = ?", [host])
        row = rows[0]
        objects = json.loads(row["about"])
        next_try_at = row["next_try_at"]
        counts = about not in objects or host == "vault"
        if counts and len(objects) < FAILURES:
            objects.append(about)
            next_try_at = to_text(at + _FIRST_WAIT[host])
        await execute(
            "UPDATE outage SET failures = failures + 1, about = ?, next_try_at = ?, problem = ? "
            "WHERE id = ?",
            [json.dumps(objects), next_try_at, problem.to_json(), row["id"]],
        )
        return await current(host)


async def answered(host: str, at: datetime) -> bool:
    """Note that the host answered; True when that ended an outage. Cheap when there is none."""
    if not fetch_now(f"{_OPEN} AND host = ? LIMIT 1", [host]):
        return False
    async with joined():
        await execute(
            "DELETE FROM outage WHERE host = ? AND ended_at IS NULL "
            "AND json_array_length(about) < ?",
            [host, FAILURES],
        )
        ended = await execute(
            "UPDATE outage SET ended_at = ? WHERE host = ? AND ended_at IS NULL RETURNING id",
            [to_text(at), host],
        )
        await execute("DELETE FROM outage WHERE ended_at < ?", [to_text(at - KEPT)])
    return bool(ended)


async def claim(host: str, at: datetime) -> bool:
    """Tell whether the caller may make a call now: there is no outage, or it is the one who asks.

    Of all who claim, in whatever process, one gets it; when it dies its turn
    is over at the next time. A next time that is too far away was written by a
    clock that was wrong, and is now.
    """
    if await current(host) is None:
        return True
    async with joined():
        outage = await current(host)
        if outage is None:
            return True
        if not due(outage, at):
            return False
        await execute(
            "UPDATE outage SET probes = probes + 1, next_try_at = ? "
            "WHERE host = ? AND ended_at IS NULL",
            [to_text(at + min(outage.every * 2, _LONGEST_WAIT[host])), host],
        )
    return True


def due(outage: Outage, at: datetime) -> bool:
    """Tell whether it is time to ask again."""
    return not at < outage.next_try_at <= at + _LONGEST_WAIT[outage.host]


async def current(host: str = "api") -> Outage | None:
    """Return the outage of the host, or None while it answers."""
    statement = f"{_OPEN} AND host = ? AND json_array_length(about) >= ?"
    rows = await fetch(statement, [host, FAILURES])
    return _outage(rows[0]) if rows else None


def sentence(outage: Outage, at: datetime) -> Sentence:
    """Return what people are told while it lasts."""
    since, now = outage.since.astimezone(BUCHAREST), at.astimezone(BUCHAREST)
    when_ro, when_en = f"de la {since:%H:%M}", f"since {since:%H:%M}"
    if since.date() != now.date():
        when_ro = f"din {since:%d.%m.%Y}, ora {since:%H:%M}"
        when_en = f"since {since:%d.%m.%Y %H:%M}"
    if outage.host == "vault":
        return Sentence(
            f"Seiful nu răspunde {when_ro}. Încercăm singuri; administratorul verifică "
            "serviciul arhivar-vault.",
            f"the vault has not answered {when_en}; it is tried again without you, "
            "the administrator checks the service arhivar-vault",
        )
    minutes = max(1, round(outage.every.total_seconds() / 60))
    again_ro = "în fiecare minut" if minutes == 1 else f"la {minutes} minute"
    again_en = "every minute" if minutes == 1 else f"every {minutes} minutes"
    return Sentence(
        f"ANAF nu răspunde {when_ro}. Încercăm singuri {again_ro}.",
        f"ANAF has not answered {when_en}; it is tried again {again_en} without you",
    )


_OPEN = "SELECT * FROM outage WHERE ended_at IS NULL"


def _outage(row: Row) -> Outage:
    host = row["host"]
    every = min(_FIRST_WAIT[host] * 2 ** min(row["probes"], 10), _LONGEST_WAIT[host])
    return Outage(
        host=host,
        since=from_text(row["since"]),
        failures=row["failures"],
        next_try_at=from_text(row["next_try_at"]),
        every=every,
        problem=Sentence.from_json(row["problem"]),
    )

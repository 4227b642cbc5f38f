"""Work that is owed, one row each: what, about which object, and who has it now.

web, dav and sync insert; only sync leases and finishes. A lease that runs out
(its worker died) makes the job due again, so every job may run twice. Of one
kind and object at most one job is open: asking again gives the same one.

Clients take turns. When a job becomes due it gets a turn: one more than its
client's last, or the turn that is served now when that is higher (start-time fair
queueing). So of equal priority each client's next job comes before
anybody's one after that, and a client with 10,000 jobs delays one with ten by
ten jobs, not by 10,000. A job that waits for its time has no turn: it is
`deferred`, and those are not looked at when due ones are leased.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store.engine import Row, execute, execute_many, fetch, fetch_now, joined

DONE_KEPT = timedelta(days=7)
# Nobody leases for longer, and nothing waits longer than for a Romanian midnight: what
# the rows say beyond that was written by a clock that was wrong.
LONGEST_LEASE = timedelta(minutes=10)
LONGEST_WAIT = timedelta(hours=26)
# So many of those whose time has come get a turn at once.
_PROMOTED = 50
# So many of those done are forgotten at once; other writers wait for it.
_FORGOTTEN = 2_000


@dataclass(frozen=True)
class Job:
    """One job as its row says."""

    id: int
    kind: str  # list, message, render, decisions
    object_uid: str
    client_id: int | None  # whose turn it takes
    state: str  # queued, leased, done, parked
    priority: int
    turn: int
    attempts: int
    next_attempt_at: datetime
    lease_until: datetime | None
    problem: Sentence | None
    created_at: datetime
    finished_at: datetime | None


async def insert(
    kind: str,
    object_uid: str,
    at: datetime,
    *,
    client_id: int | None = None,
    priority: int = 0,
    delay: float = 0,
    turn: int | None = None,
) -> Job:
    """Ask for the work and return its job: the open one when somebody already asked.

    `turn` is for a kind whose order is its own, and not one client after the
    other (`store.pdfs`). An open job takes the higher of both priorities and the earlier of both
    times, so that what a person waits for overtakes what can wait.
    """
    due = to_text(at + timedelta(seconds=delay))
    async with joined():
        if delay > 0:
            turn = 0
        elif turn is None:
            turn = await _turn(kind, priority, client_id)
        rows = await execute(
            "INSERT INTO job (kind, object_uid, client, state, priority, turn, deferred, "
            "next_attempt_at, created_at) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?) "
            "ON CONFLICT (kind, object_uid) WHERE state IN ('queued', 'leased') DO UPDATE SET "
            "client = COALESCE(client, excluded.client), "
            "turn = CASE WHEN excluded.priority > priority OR excluded.deferred < deferred "
            "THEN excluded.turn ELSE turn END, "
            "priority = MAX(priority, excluded.priority), "
            "deferred = MIN(deferred, excluded.deferred), "
            "next_attempt_at = MIN(next_attempt_at, excluded.next_attempt_at) RETURNING *",
            [kind, object_uid, client_id, priority, turn, int(delay > 0), due, to_text(at)],
        )
    return _job(rows[0])


async def insert_many(
    kind: str,
    object_uids: Sequence[str],
    at: datetime,
    *,
    client_id: int | None = None,
    priority: int = 0,
) -> None:
    """Ask for the same work about many objects of one client, which is done in their order.

    What is already asked for stays as it is.
    """
    async with joined():
        turn = await _turn(kind, priority, client_id)
        step = 0 if client_id is None else 1
        for start in range(0, len(object_uids), 500):
            some = object_uids[start : start + 500]
            values: list[object] = []
            for uid in some:
                values += [kind, uid, client_id, priority, turn, to_text(at), to_text(at)]
                turn += step
            await execute(
                "INSERT INTO job (kind, object_uid, client, state, priority, turn, "
                "next_attempt_at, created_at) VALUES "
                + ", ".join(["(?, ?, ?, 'queued', ?, ?, ?, ?)"] * len(some))
                + " ON CONFLICT DO NOTHING",
                values,
            )


async def lease(limit: int, at: datetime, lease_seconds: float, kinds: Iterable[str]) -> list[Job]:
    """Take up to `limit` due jobs, the most urgent first, for so long and for nobody else.

    Each has one more attempt counted. Two processes never get the same job.
    """
    wanted = list(kinds)
    if limit <= 0 or not wanted or not await _any_due(wanted, at):
        return []
    of_kind = (
        "SELECT * FROM (SELECT id, priority, turn FROM job WHERE state = 'queued' "
        "AND deferred = 0 AND kind = ? ORDER BY priority DESC, turn, id LIMIT ?)"
    )
    async with joined():
        for kind in wanted:
            await _promote(kind, at)
        rows = await execute(
            "UPDATE job SET state = 'leased', attempts = attempts + 1, lease_until = ? "
            "WHERE state = 'queued' AND id IN (SELECT id FROM ("
            + " UNION ALL ".join([of_kind] * len(wanted))
            + ") ORDER BY priority DESC, turn, id LIMIT ?) RETURNING *",
            [
                to_text(at + timedelta(seconds=lease_seconds)),
                *(value for kind in wanted for value in (kind, limit)),
                limit,
            ],
        )
    jobs = [_job(row) for row in rows]
    # RETURNING promises no order.
    return sorted(jobs, key=lambda job: (-job.priority, job.turn, job.id))


async def _any_due(kinds: Sequence[str], at: datetime) -> bool:
    # Through a reader: most of the time nothing is due, and then nobody has to wait
    # for the writer.
    rows = await fetch(
        "SELECT 1 FROM json_each(?) AS wanted WHERE EXISTS (SELECT 1 FROM job "
        "WHERE state = 'queued' AND deferred = 0 AND kind = wanted.value) "
        "OR EXISTS (SELECT 1 FROM job WHERE state = 'queued' AND deferred = 1 "
        "AND kind = wanted.value AND next_attempt_at <= ?) LIMIT 1",
        [json.dumps(list(kinds)), to_text(at)],
    )
    return bool(rows)


async def _promote(kind: str, at: datetime) -> None:
    """Give a turn to jobs whose time has come."""
    rows = await fetch(
        "SELECT id, client, priority FROM job WHERE state = 'queued' AND deferred = 1 "
        "AND kind = ? AND next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?",
        [kind, to_text(at), _PROMOTED],
    )
    turns: dict[tuple[int | None, int], int] = {}
    for row in rows:
        key = (row["client"], row["priority"])
        if key not in turns:
            turns[key] = await _turn(kind, row["priority"], row["client"])
        elif row["client"] is not None:
            turns[key] += 1
        row["turn"] = turns[key]
    await execute_many(
        "UPDATE job SET deferred = 0, turn = ? WHERE id = ?",
        [(row["turn"], row["id"]) for row in rows],
    )


async def _turn(kind: str, priority: int, client_id: int | None) -> int:
    """Return the next turn of the client; nobody's jobs take the one that is served now."""
    rows = await fetch(
        "SELECT COALESCE((SELECT turn FROM job WHERE state = 'queued' AND deferred = 0 "
        "AND kind = ? AND priority = ? ORDER BY turn LIMIT 1), "
        "(SELECT MAX(turn) FROM job INDEXED BY job_leased WHERE state = 'leased' "
        "AND kind = ? AND priority = ?), 0) "
        "AS served, COALESCE((SELECT MAX(turn) FROM job WHERE state = 'queued' "
        "AND client = ? AND kind = ? AND priority = ?), 0) AS own",
        [kind, priority, kind, priority, client_id, kind, priority],
    )
    served, own = rows[0]["served"], rows[0]["own"]
    return int(served) if client_id is None else int(max(served, own + 1))


async def extend(job_id: int, at: datetime, lease_seconds: float) -> bool:
    """Keep a leased job for longer; False when it is no longer leased."""
    async with joined():
        rows = await execute(
            "UPDATE job SET lease_until = ? WHERE id = ? AND state = 'leased' RETURNING id",
            [to_text(at + timedelta(seconds=lease_seconds)), job_id],
        )
    return bool(rows)


async def finish(job_id: int, at: datetime) -> None:
    """Note that the work is done; again does nothing."""
    async with joined():
        await execute(
            "UPDATE job SET state = 'done', lease_until = NULL, problem = NULL, finished_at = ? "
            "WHERE id = ? AND state IN ('queued', 'leased')",
            [to_text(at), job_id],
        )


async def retry(
    job_id: int, at: datetime, after_seconds: float, problem: Sentence | None = None
) -> None:
    """Give the job back, to be tried again after so long; `problem` says why it waits."""
    async with joined():
        await execute(
            "UPDATE job SET state = 'queued', deferred = ?, turn = 0, lease_until = NULL, "
            "next_attempt_at = ?, problem = ? WHERE id = ? AND state IN ('queued', 'leased')",
            [
                int(after_seconds > 0),
                to_text(at + timedelta(seconds=after_seconds)),
                problem.to_json() if problem else None,
                job_id,
            ],
        )


async def give_back(
    job_id: int, at: datetime, *, until: datetime | None = None, problem: Sentence | None = None
) -> None:
    """Give back a job that was leased but not attempted; the attempt does not count.

    It keeps its turn, or waits until the moment that is given.
    """
    waits = int(until is not None)
    async with joined():
        await execute(
            "UPDATE job SET state = 'queued', lease_until = NULL, next_attempt_at = ?, "
            "deferred = ?, turn = CASE WHEN ? THEN 0 ELSE turn END, "
            "problem = COALESCE(?, problem), attempts = MAX(attempts - 1, 0) "
            "WHERE id = ? AND state = 'leased'",
            [
                to_text(until or at),
                waits,
                waits,
                problem.to_json() if problem else None,
                job_id,
            ],
        )


async def hold(
    client_id: int, kinds: Sequence[str], at: datetime, after_seconds: float, problem: Sentence
) -> int:
    """Let all queued jobs of the client wait for so long, and return how many.

    For what stops a whole client: one refusal speaks for all of them. `release`
    ends it before its time.
    """
    until = to_text(at + timedelta(seconds=after_seconds))
    async with joined():
        rows = await execute(
            "UPDATE job SET deferred = 1, turn = -1, next_attempt_at = ?, problem = ? "
            "WHERE state = 'queued' AND deferred = 0 AND client = ? "
            "AND kind IN (SELECT value FROM json_each(?)) RETURNING id",
            [until, problem.to_json(), client_id, json.dumps(list(kinds))],
        )
    return len(rows)


def held(job: Job) -> tuple[datetime, Sentence | None] | None:
    """Return until when and why the client's jobs of this kind and priority are held, if so."""
    rows = fetch_now(
        "SELECT next_attempt_at, problem FROM job WHERE state = 'queued' AND client = ? "
        "AND kind = ? AND priority = ? AND turn = -1 LIMIT 1",
        [job.client_id, job.kind, job.priority],
    )
    if not rows:
        return None
    problem = rows[0]["problem"]
    return from_text(rows[0]["next_attempt_at"]), Sentence.from_json(problem) if problem else None


async def release(client_id: int, at: datetime) -> None:
    """Make due what `hold` holds of the client; whatever waits for another reason goes on."""
    held = "state = 'queued' AND deferred = 1 AND turn = -1 AND client = ?"
    if await fetch(f"SELECT 1 FROM job WHERE {held} LIMIT 1", [client_id]):
        async with joined():
            await execute(
                f"UPDATE job SET turn = 0, next_attempt_at = ?, problem = NULL WHERE {held}",
                [to_text(at), client_id],
            )


async def hurry(
    client_id: int,
    kinds: Sequence[str],
    at: datetime,
    *,
    priority: int = 0,
    waiting: bool = True,
) -> None:
    """Give the client's queued jobs of these kinds this urgency, if theirs is lower.

    With `waiting`, those that wait for their time are due now as well.
    """
    which = "deferred = 1 OR priority < ?" if waiting else "deferred = 0 AND priority < ?"
    async with joined():
        # All of them are deferred until now: so they are given turns of their new priority.
        await execute(
            "UPDATE job SET deferred = 1, turn = 0, next_attempt_at = ?, "
            "priority = MAX(priority, ?) WHERE state = 'queued' AND client = ? "
            f"AND ({which}) AND kind IN (SELECT value FROM json_each(?))",
            [to_text(at), priority, client_id, priority, json.dumps(list(kinds))],
        )


async def park(job_id: int, at: datetime, problem: Sentence) -> None:
    """Set the job aside until a person looks; asking for the work again makes a new job."""
    async with joined():
        await execute(
            "UPDATE job SET state = 'parked', lease_until = NULL, problem = ?, finished_at = ? "
            "WHERE id = ? AND state IN ('queued', 'leased')",
            [problem.to_json(), to_text(at), job_id],
        )


async def sweep(at: datetime) -> int:
    """Make the jobs due whose lease has run out, and return how many.

    Their workers died or hang; the attempt they made still counts. A lease
    that ends too far in the future has run out as well: the clock was set back.
    Jobs done more than a week ago are forgotten, some at a time.
    """
    now, too_far = to_text(at), to_text(at + LONGEST_LEASE)
    work = await fetch(
        "SELECT 1 FROM job WHERE state = 'leased' AND (lease_until <= ? OR lease_until > ?) "
        "UNION ALL SELECT 1 FROM job WHERE state = 'done' AND finished_at < ? "
        "LIMIT 1",
        [now, too_far, to_text(at - DONE_KEPT)],
    )
    if not work:
        return 0
    async with joined():
        await execute(
            "DELETE FROM job WHERE id IN "
            "(SELECT id FROM job WHERE state = 'done' AND finished_at < ? LIMIT ?)",
            [to_text(at - DONE_KEPT), _FORGOTTEN],
        )
        lost = await execute(
            "UPDATE job SET state = 'queued', deferred = 0, lease_until = NULL, "
            "next_attempt_at = ? WHERE state = 'leased' "
            "AND (lease_until <= ? OR lease_until > ?) RETURNING id",
            [now, now, too_far],
        )
    return len(lost)


async def after_clock_change(at: datetime, *, set_back: bool) -> int:
    """Make due what waits for a moment that a wrong clock chose, and return how many.

    Without `set_back` that is only what no right clock would have chosen. Too
    early an attempt costs a call or a refusal of the vault, and waits again.
    What was asked for in the future was asked for by now at the latest, else
    the nights to come would count as served.
    """
    beyond = to_text(at if set_back else at + LONGEST_WAIT)
    async with joined():
        await execute(
            "UPDATE job SET created_at = ? WHERE kind = 'list' AND created_at > ?",
            [to_text(at), to_text(at)],
        )
        rows = await execute(
            "UPDATE job SET next_attempt_at = ? WHERE state = 'queued' AND deferred = 1 "
            "AND next_attempt_at > ? RETURNING id",
            [to_text(at), beyond],
        )
    return len(rows)


async def get(job_id: int) -> Job | None:
    """Return the job, or None when it was done so long ago that it is forgotten."""
    rows = await fetch("SELECT * FROM job WHERE id = ?", [job_id])
    return _job(rows[0]) if rows else None


async def latest(kind: str, object_uid: str) -> Job | None:
    """Return the youngest job about the object, open or not."""
    rows = await fetch(
        "SELECT * FROM job WHERE kind = ? AND object_uid = ? ORDER BY created_at DESC, id DESC "
        "LIMIT 1",
        [kind, object_uid],
    )
    return _job(rows[0]) if rows else None


async def waiting(kind: str | None = None) -> int:
    """Return how many jobs are open: queued, also for later, or at work.

    Every one is counted, 0.1 µs each: not for whoever asks again and again.
    """
    if kind is None:
        rows = await fetch("SELECT COUNT(*) AS jobs FROM job WHERE state IN ('queued', 'leased')")
    else:
        rows = await fetch(
            "SELECT COUNT(*) AS jobs FROM job WHERE state IN ('queued', 'leased') AND kind = ?",
            [kind],
        )
    return int(rows[0]["jobs"])


async def moving(kinds: Iterable[str], at: datetime) -> bool:
    """Tell whether such a job is at work or could be begun now, however many wait for later."""
    wanted = list(kinds)
    at_work = await fetch(
        "SELECT 1 FROM job INDEXED BY job_leased WHERE state = 'leased' "
        "AND kind IN (SELECT value FROM json_each(?)) LIMIT 1",
        [json.dumps(wanted)],
    )
    return bool(at_work) or await _any_due(wanted, at)


async def at_work(kinds: Iterable[str], at: datetime) -> bool:
    """Tell whether a process that lives holds such a job, however long it takes over it.

    Leases are short and extended all the time; one that is over was a dead process's.
    """
    return bool(
        await fetch(
            "SELECT 1 FROM job INDEXED BY job_leased WHERE state = 'leased' AND lease_until > ? "
            "AND kind IN (SELECT value FROM json_each(?)) LIMIT 1",
            [to_text(at), json.dumps(list(kinds))],
        )
    )


async def parked() -> list[Job]:
    """Return the jobs that wait for a person, the oldest first."""
    rows = await fetch("SELECT * FROM job WHERE state = 'parked' ORDER BY id")
    return [_job(row) for row in rows]


def _job(row: Row) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        object_uid=row["object_uid"],
        client_id=row["client"],
        state=row["state"],
        priority=row["priority"],
        turn=row["turn"],
        attempts=row["attempts"],
        next_attempt_at=from_text(row["next_attempt_at"]),
        lease_until=from_text(row["lease_until"]) if row["lease_until"] else None,
        problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
        created_at=from_text(row["created_at"]),
        finished_at=from_text(row["finished_at"]) if row["finished_at"] else None,
    )

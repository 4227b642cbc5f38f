"""Work that is owed, one row each: what, about which object, and who has it now.

web, dav and sync insert; only sync leases and finishes. A lease that runs out
(its worker died) makes the job due again, so every job may run twice. Of one
kind and object at most one job is open: asking again gives the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store.engine import Row, execute, fetch, joined

DONE_KEPT = timedelta(days=7)


@dataclass(frozen=True)
class Job:
    """One job as its row says."""

    id: int
    kind: str  # list, message, render, decisions
    object_uid: str
    state: str  # queued, leased, done, parked
    priority: int
    attempts: int
    next_attempt_at: datetime
    lease_until: datetime | None
    problem: Sentence | None
    created_at: datetime
    finished_at: datetime | None


async def insert(
    kind: str, object_uid: str, at: datetime, *, priority: int = 0, delay: float = 0
) -> Job:
    """Ask for the work and return its job: the open one when somebody already asked.

    An open job takes the higher of both priorities and the earlier of both
    times, so that what a person waits for overtakes what can wait.
    """
    due = to_text(at + timedelta(seconds=delay))
    async with joined():
        rows = await execute(
            "INSERT INTO job (kind, object_uid, state, priority, next_attempt_at, created_at) "
            "VALUES (?, ?, 'queued', ?, ?, ?) "
            "ON CONFLICT (kind, object_uid) WHERE state IN ('queued', 'leased') DO UPDATE SET "
            "priority = MAX(priority, excluded.priority), "
            "next_attempt_at = MIN(next_attempt_at, excluded.next_attempt_at) RETURNING *",
            [kind, object_uid, priority, due, to_text(at)],
        )
    return _job(rows[0])


async def insert_many(kind: str, object_uids: Sequence[str], at: datetime) -> None:
    """Ask for the same work about many objects; what is already asked for stays as it is."""
    async with joined():
        for start in range(0, len(object_uids), 500):
            some = object_uids[start : start + 500]
            await execute(
                "INSERT INTO job (kind, object_uid, state, next_attempt_at, created_at) VALUES "
                + ", ".join(["(?, ?, 'queued', ?, ?)"] * len(some))
                + " ON CONFLICT DO NOTHING",
                [value for uid in some for value in (kind, uid, to_text(at), to_text(at))],
            )


async def lease(limit: int, at: datetime, lease_seconds: float, kinds: Iterable[str]) -> list[Job]:
    """Take up to `limit` due jobs, the most urgent first, for so long and for nobody else.

    Each has one more attempt counted. Two processes never get the same job.
    """
    wanted = list(kinds)
    if limit <= 0 or not wanted:
        return []
    marks = ", ".join("?" * len(wanted))
    # A glance through a reader first: most of the time nothing is due, and then
    # nobody has to wait for the writer.
    due = await fetch(
        f"SELECT 1 FROM job WHERE state = 'queued' AND kind IN ({marks}) "
        "AND next_attempt_at <= ? LIMIT 1",
        [*wanted, to_text(at)],
    )
    if not due:
        return []
    async with joined():
        rows = await execute(
            "UPDATE job SET state = 'leased', attempts = attempts + 1, lease_until = ? "
            f"WHERE id IN (SELECT id FROM job WHERE state = 'queued' AND kind IN ({marks}) "
            "AND next_attempt_at <= ? ORDER BY priority DESC, next_attempt_at, id LIMIT ?) "
            "AND state = 'queued' RETURNING *",
            [to_text(at + timedelta(seconds=lease_seconds)), *wanted, to_text(at), limit],
        )
    jobs = [_job(row) for row in rows]
    # RETURNING promises no order.
    return sorted(jobs, key=lambda job: (-job.priority, job.next_attempt_at, job.id))


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
            "UPDATE job SET state = 'queued', lease_until = NULL, next_attempt_at = ?, "
            "problem = ? WHERE id = ? AND state IN ('queued', 'leased')",
            [
                to_text(at + timedelta(seconds=after_seconds)),
                problem.to_json() if problem else None,
                job_id,
            ],
        )


async def give_back(job_id: int, at: datetime) -> None:
    """Give back a job that was leased but never begun; the attempt does not count."""
    async with joined():
        await execute(
            "UPDATE job SET state = 'queued', lease_until = NULL, next_attempt_at = ?, "
            "attempts = MAX(attempts - 1, 0) WHERE id = ? AND state = 'leased'",
            [to_text(at), job_id],
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

    Their workers died or hang; the attempt they made still counts. Jobs done
    more than a week ago are forgotten.
    """
    now = to_text(at)
    work = await fetch(
        "SELECT 1 FROM job WHERE (state = 'leased' AND lease_until <= ?) "
        "OR (state = 'done' AND finished_at < ?) LIMIT 1",
        [now, to_text(at - DONE_KEPT)],
    )
    if not work:
        return 0
    async with joined():
        await execute(
            "DELETE FROM job WHERE state = 'done' AND finished_at < ?", [to_text(at - DONE_KEPT)]
        )
        lost = await execute(
            "UPDATE job SET state = 'queued', lease_until = NULL, next_attempt_at = ? "
            "WHERE state = 'leased' AND lease_until <= ? RETURNING id",
            [now, now],
        )
    return len(lost)


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
    """Return how many jobs are open: queued, also for later, or at work."""
    if kind is None:
        rows = await fetch("SELECT COUNT(*) AS jobs FROM job WHERE state IN ('queued', 'leased')")
    else:
        rows = await fetch(
            "SELECT COUNT(*) AS jobs FROM job WHERE state IN ('queued', 'leased') AND kind = ?",
            [kind],
        )
    return int(rows[0]["jobs"])


async def due(at: datetime) -> int:
    """Return how many jobs are at work or could be begun now: not those that wait for later."""
    rows = await fetch(
        "SELECT COUNT(*) AS jobs FROM job WHERE state = 'leased' "
        "OR (state = 'queued' AND next_attempt_at <= ?)",
        [to_text(at)],
    )
    return int(rows[0]["jobs"])


async def parked() -> list[Job]:
    """Return the jobs that wait for a person, the oldest first."""
    rows = await fetch("SELECT * FROM job WHERE state = 'parked' ORDER BY id")
    return [_job(row) for row in rows]


def _job(row: Row) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        object_uid=row["object_uid"],
        state=row["state"],
        priority=row["priority"],
        attempts=row["attempts"],
        next_attempt_at=from_text(row["next_attempt_at"]),
        lease_until=from_text(row["lease_until"]) if row["lease_until"] else None,
        problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
        created_at=from_text(row["created_at"]),
        finished_at=from_text(row["finished_at"]) if row["finished_at"] else None,
    )

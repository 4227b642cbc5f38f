"""One fetching from SPV that people watch: who asked, how far it is, how it ended.

A run is a row and its progress is counted from the rows of messages and jobs,
so everybody sees the same, after a reload and after a restart of any process.
Of one client at most one run is open: whoever asks again joins it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import jobs
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.ids import new_uid
from appliance.store.messages import MessageState

# Somebody asked and looks on: before what runs by night.
PRIORITY = 10
# What is tried again within that time is on its way; for what waits longer nobody looks on.
ON_ITS_WAY = timedelta(minutes=2)
KEPT = timedelta(days=30)  # the last run of each client stays


@dataclass(frozen=True)
class Run:
    """A fetching of one client. `problem` says why its listing gave nothing, or not everything."""

    id: int
    uid: str
    client_id: int
    asked_by: int | None  # account; None: the schedule or the command line
    started_at: datetime
    listed_at: datetime | None
    listed: int
    new: int
    problem: Sentence | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    `states` counts the messages that were queued when it started or listed by
    it. `waiting` of the queued ones are not tried before `next_attempt_at`
    (None: a person has to look), for the reason in `problem`.
    """

    run: Run
    states: Mapping[MessageState, int]
    waiting: int
    next_attempt_at: datetime | None
    problem: Sentence | None
    ended: bool

    @property
    def total(self) -> int:
        return sum(self.states.values())

    @property
    def settled(self) -> int:
        return self.total - self.states[MessageState.QUEUED]


async def begin(client_id: int, asked_by: int | None, at: datetime) -> Run:
    """Fetch the client's messages now and return the run: the open one when there is one.

    A run that is not listed yet has its listing brought forward; one that is
    only downloading goes on, before what nobody waits for. Two who ask at the
    same time get the same run.
    """
    async with joined():
        await _finish([client_id], at)
        run = await _open(client_id, asked_by, at)
        if run.listed_at is None:
            uid = (await fetch("SELECT uid FROM client WHERE id = ?", [client_id]))[0]["uid"]
            await jobs.insert("list", uid, at, client_id=client_id, priority=PRIORITY)
        else:
            await jobs.hurry(client_id, ["message"], at, priority=PRIORITY, waiting=False)
    return run


async def listing(client_id: int, at: datetime) -> Run:
    """Return the run that a listing, which begins now, belongs to; the night's begin here."""
    open_run = await fetch(f"{_RUN} WHERE client = ? AND finished_at IS NULL", [client_id])
    if open_run and open_run[0]["listed_at"] is None:
        return _run(open_run[0])
    async with joined():
        await _finish([client_id], at)
        return await _open(client_id, None, at)


async def listed(
    client_id: int, at: datetime, *, listed: int, new: int, problem: Sentence | None = None
) -> None:
    """Note that the listing of the open run ended; without an open run nothing happens."""
    async with joined():
        await execute(
            "UPDATE fetch_run SET listed_at = ?, listed = ?, new = ?, problem = ? "
            "WHERE client = ? AND finished_at IS NULL",
            [to_text(at), listed, new, problem.to_json() if problem else None, client_id],
        )


async def finish_due(at: datetime) -> int:
    """Finish the runs of which nothing is on its way any more, and return how many.

    For the housekeeping: whoever looks at a run is told by `progress()` at once.
    """
    rows = await fetch("SELECT client FROM fetch_run WHERE finished_at IS NULL")
    due = [row["client"] for row in rows if not await _on_its_way(row["client"], at)]
    old = await fetch(_OLD, [to_text(at - KEPT)])
    if not due and not old:
        return 0
    async with joined():
        await execute(f"DELETE FROM fetch_run WHERE id IN ({_OLD})", [to_text(at - KEPT)])
        return await _finish(due, at)


async def of_client(client_id: int) -> Run | None:
    """Return the client's last run, open or not."""
    rows = await fetch(f"{_RUN} WHERE client = ? ORDER BY id DESC LIMIT 1", [client_id])
    return _run(rows[0]) if rows else None


async def progress(client_id: int, at: datetime) -> Progress | None:
    """Return how far the client's last run is, None when there was none."""
    run = await of_client(client_id)
    if run is None:
        return None
    rows = await fetch(
        "SELECT state, COUNT(*) AS messages FROM message WHERE client = ? AND state = 'queued' "
        "GROUP BY state UNION ALL "
        "SELECT state, COUNT(*) FROM message INDEXED BY message_settled "
        "WHERE client = ? AND settled_at >= ? GROUP BY state",
        [client_id, client_id, to_text(run.started_at)],
    )
    states = dict.fromkeys(MessageState, 0)
    for row in rows:
        states[MessageState(row["state"])] = row["messages"]
    waiting, next_attempt_at, problem = await _waiting(client_id, at)
    if run.listed_at is None and run.finished_at is None:
        job = await _listing_job(client_id)
        if job is not None and job["problem"]:
            problem = Sentence.from_json(job["problem"])
            next_attempt_at = from_text(job["next_attempt_at"])
    return Progress(
        run=run,
        states=states,
        waiting=waiting,
        next_attempt_at=next_attempt_at,
        problem=run.problem or problem,
        ended=run.finished_at is not None or not await _on_its_way(client_id, at),
    )


async def renders_waiting(client_ids: Sequence[int], since: datetime) -> int:
    """Return how many documents that came of these clients' messages since then have no PDF yet."""
    rows = await fetch(
        # Not the other way round: of renders there may be a million, if all are made again.
        "SELECT COUNT(*) AS renders FROM message INDEXED BY message_settled CROSS JOIN job "
        "WHERE message.client IN (SELECT value FROM json_each(?)) AND message.settled_at >= ? "
        "AND job.kind = 'render' AND job.object_uid = message.uid "
        "AND job.state IN ('queued', 'leased')",
        [json.dumps(list(client_ids)), to_text(since)],
    )
    return int(rows[0]["renders"])


async def _open(client_id: int, asked_by: int | None, at: datetime) -> Run:
    """Return the open run, a new one when there is none; its asker is the first who is known."""
    rows = await execute(
        "INSERT INTO fetch_run (uid, client, asked_by, started_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (client) WHERE finished_at IS NULL "
        "DO UPDATE SET asked_by = COALESCE(asked_by, excluded.asked_by) RETURNING *",
        [new_uid(at), client_id, asked_by, to_text(at)],
    )
    return _run(rows[0])


async def _finish(client_ids: list[int], at: datetime) -> int:
    """Finish the open runs of these clients of which, looked at inside, nothing is on its way."""
    finished = 0
    for client_id in client_ids:
        if await _on_its_way(client_id, at):
            continue
        done = await execute(
            "UPDATE fetch_run SET finished_at = ? WHERE client = ? AND finished_at IS NULL "
            "RETURNING id",
            [to_text(at), client_id],
        )
        finished += len(done)
    return finished


async def _on_its_way(client_id: int, at: datetime) -> bool:
    """Tell whether the open run of the client still moves: listing, or with a message at work.

    Without an open run it is asked of the last one, and of no run at all it is False.
    """
    rows = await fetch(
        "SELECT listed_at FROM fetch_run WHERE client = ? ORDER BY id DESC LIMIT 1", [client_id]
    )
    if not rows:
        return False
    if rows[0]["listed_at"] is None:
        # A run whose listing has no open job was given up, or its job waits for a person.
        return await _listing_job(client_id) is not None
    moving = await fetch(
        "SELECT 1 FROM message JOIN job ON job.kind = 'message' AND job.object_uid = message.uid "
        "AND job.state IN ('queued', 'leased') WHERE message.client = ? "
        "AND message.state = 'queued' AND (job.state = 'leased' OR job.next_attempt_at <= ?) "
        "LIMIT 1",
        [client_id, to_text(at + ON_ITS_WAY)],
    )
    return bool(moving)


async def _waiting(client_id: int, at: datetime) -> tuple[int, datetime | None, Sentence | None]:
    """Return how many queued messages are not at work or due, the next time, and why."""
    rows = await fetch(
        "SELECT COUNT(*) AS waiting, MIN(job.next_attempt_at) AS next FROM message "
        "LEFT JOIN job ON job.kind = 'message' AND job.object_uid = message.uid "
        "AND job.state IN ('queued', 'leased') WHERE message.client = ? "
        "AND message.state = 'queued' AND (job.id IS NULL "
        "OR (job.state = 'queued' AND job.next_attempt_at > ?))",
        [client_id, to_text(at)],
    )
    if not rows[0]["waiting"]:
        return 0, None, None
    why = await fetch(
        "SELECT COALESCE(job.problem, message.problem) AS problem FROM message "
        "LEFT JOIN job ON job.kind = 'message' AND job.object_uid = message.uid "
        "AND job.state IN ('queued', 'leased') WHERE message.client = ? "
        "AND message.state = 'queued' AND COALESCE(job.problem, message.problem) IS NOT NULL "
        "ORDER BY job.next_attempt_at LIMIT 1",
        [client_id],
    )
    next_attempt_at = from_text(rows[0]["next"]) if rows[0]["next"] else None
    problem = Sentence.from_json(why[0]["problem"]) if why else None
    return rows[0]["waiting"], next_attempt_at, problem


async def _listing_job(client_id: int) -> Row | None:
    rows = await fetch(
        "SELECT job.problem, job.next_attempt_at FROM job JOIN client ON client.uid = "
        "job.object_uid WHERE client.id = ? AND job.kind = 'list' "
        "AND job.state IN ('queued', 'leased')",
        [client_id],
    )
    return rows[0] if rows else None


_RUN = "SELECT * FROM fetch_run"
_OLD = (
    "SELECT id FROM fetch_run AS old WHERE finished_at < ? "
    "AND EXISTS (SELECT 1 FROM fetch_run AS newer WHERE newer.client = old.client "
    "AND newer.id > old.id)"
)


def _run(row: Row) -> Run:
    return Run(
        id=row["id"],
        uid=row["uid"],
        client_id=row["client"],
        asked_by=row["asked_by"],
        started_at=from_text(row["started_at"]),
        listed_at=from_text(row["listed_at"]) if row["listed_at"] else None,
        listed=row["listed"],
        new=row["new"],
        problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
        finished_at=from_text(row["finished_at"]) if row["finished_at"] else None,
    )

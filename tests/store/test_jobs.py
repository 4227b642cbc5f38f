"""Work that is owed: asked for once, done by one, never lost."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import pytest

from appliance.core.sentence import Sentence
from appliance.store import engine, jobs
from tests.support.store import NOW

WHY = Sentence("Limita zilnică ANAF este atinsă.", "ANAF's daily limit is reached")


async def test_two_who_ask_for_the_same_get_the_same_job(store: engine.Store) -> None:
    first, second = await asyncio.gather(
        jobs.insert("list", "client", NOW), jobs.insert("list", "client", NOW)
    )

    assert first.id == second.id
    assert await jobs.waiting() == 1
    [leased] = await jobs.lease(10, NOW, 60, ["list"])
    assert (await jobs.insert("list", "client", NOW)).id == leased.id
    await jobs.finish(leased.id, NOW)
    assert (await jobs.insert("list", "client", NOW)).id != leased.id


async def test_who_asks_with_more_urgency_moves_the_job_forward(store: engine.Store) -> None:
    await jobs.insert("render", "first", NOW)
    await jobs.insert("render", "opened", NOW, delay=3600)

    await jobs.insert("render", "opened", NOW, priority=10)
    await jobs.insert("render", "opened", NOW, priority=5, delay=7200)

    assert [job.object_uid for job in await jobs.lease(10, NOW, 60, ["render"])] == [
        "opened",
        "first",
    ]


async def test_a_leased_job_is_nobody_elses_until_the_lease_ends(store: engine.Store) -> None:
    await jobs.insert("list", "a", NOW)
    [job] = await jobs.lease(10, NOW, 60, ["list"])

    assert (job.attempts, job.state) == (1, "leased")
    assert await jobs.lease(10, NOW, 60, ["list"]) == []
    assert await jobs.sweep(NOW + timedelta(seconds=59)) == 0
    assert await jobs.sweep(NOW + timedelta(seconds=60)) == 1
    [again] = await jobs.lease(10, NOW + timedelta(seconds=60), 60, ["list"])
    assert (again.id, again.attempts) == (job.id, 2)


async def test_an_extended_lease_is_kept(store: engine.Store) -> None:
    await jobs.insert("list", "a", NOW)
    [job] = await jobs.lease(10, NOW, 60, ["list"])

    assert await jobs.extend(job.id, NOW + timedelta(seconds=50), 60)
    assert await jobs.sweep(NOW + timedelta(seconds=100)) == 0
    await jobs.finish(job.id, NOW)
    assert not await jobs.extend(job.id, NOW, 60)


async def test_only_kinds_that_were_asked_for_and_are_due_are_leased(store: engine.Store) -> None:
    await jobs.insert("list", "a", NOW)
    await jobs.insert("message", "b", NOW, delay=10)
    await jobs.insert("render", "c", NOW)

    assert await jobs.lease(10, NOW, 60, []) == []
    assert await jobs.lease(0, NOW, 60, ["list"]) == []
    assert [job.kind for job in await jobs.lease(10, NOW, 60, ["list", "message"])] == ["list"]
    later = NOW + timedelta(seconds=10)
    assert [job.kind for job in await jobs.lease(10, later, 60, ["message"])] == ["message"]
    assert await jobs.waiting("render") == 1
    assert await jobs.waiting() == 3


async def test_a_job_that_waits_says_why(store: engine.Store) -> None:
    await jobs.insert("message", "a", NOW)
    [job] = await jobs.lease(1, NOW, 60, ["message"])

    await jobs.retry(job.id, NOW, 3600, WHY)

    assert await jobs.lease(1, NOW + timedelta(seconds=3599), 60, ["message"]) == []
    [again] = await jobs.lease(1, NOW + timedelta(seconds=3600), 60, ["message"])
    assert (again.problem, again.attempts) == (WHY, 2)
    await jobs.finish(again.id, NOW)
    done = await jobs.get(again.id)
    assert done is not None
    assert (done.state, done.problem) == ("done", None)


async def test_a_job_that_was_never_begun_loses_no_attempt(store: engine.Store) -> None:
    await jobs.insert("message", "a", NOW)
    [job] = await jobs.lease(1, NOW, 60, ["message"])

    await jobs.give_back(job.id, NOW)

    [again] = await jobs.lease(1, NOW, 60, ["message"])
    assert again.attempts == 1


async def test_a_parked_job_waits_for_a_person_and_can_be_asked_for_anew(
    store: engine.Store,
) -> None:
    await jobs.insert("message", "a", NOW)
    [job] = await jobs.lease(1, NOW, 60, ["message"])

    await jobs.park(job.id, NOW, WHY)

    assert await jobs.waiting() == 0
    assert [(each.id, each.problem) for each in await jobs.parked()] == [(job.id, WHY)]
    anew = await jobs.insert("message", "a", NOW)
    assert anew.id != job.id
    latest = await jobs.latest("message", "a")
    assert latest is not None
    assert latest.id == anew.id


async def test_a_late_worker_changes_nothing_that_is_settled(store: engine.Store) -> None:
    await jobs.insert("message", "a", NOW)
    [job] = await jobs.lease(1, NOW, 60, ["message"])
    await jobs.park(job.id, NOW, WHY)

    await jobs.finish(job.id, NOW)
    await jobs.retry(job.id, NOW, 1)
    await jobs.give_back(job.id, NOW)

    [parked] = await jobs.parked()
    assert (parked.id, parked.state) == (job.id, "parked")


async def test_what_was_done_long_ago_is_forgotten(store: engine.Store) -> None:
    await jobs.insert("list", "a", NOW)
    [job] = await jobs.lease(1, NOW, 60, ["list"])
    await jobs.finish(job.id, NOW)

    await jobs.sweep(NOW + timedelta(days=6))
    assert await jobs.get(job.id) is not None
    await jobs.sweep(NOW + timedelta(days=8))
    assert await jobs.get(job.id) is None


async def test_many_are_asked_for_at_once_and_each_only_once(store: engine.Store) -> None:
    uids = [f"uid{number}" for number in range(1203)]

    await jobs.insert_many("message", uids, NOW)
    await jobs.insert_many("message", [*uids, "one more"], NOW)

    assert await jobs.waiting("message") == 1204


_WORKER = """
import asyncio, sys
from datetime import datetime, UTC
from pathlib import Path
from appliance.config import Settings
from appliance.store import engine, jobs

async def main():
    async with engine.open_store(Settings(data_dir=Path(sys.argv[1]))):
        print("ready", flush=True)
        sys.stdin.readline()
        noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
        while taken := await jobs.lease(3, noon, 600, ["message"]):
            print(*(job.object_uid for job in taken))

asyncio.run(main())
"""


@pytest.mark.parametrize("asked", [60])
async def test_two_processes_never_get_the_same_job(store: engine.Store, asked: int) -> None:
    await jobs.insert_many("message", [f"u{number}" for number in range(asked)], NOW)
    command = [sys.executable, "-c", _WORKER, str(store.settings.data_dir)]
    workers = [
        await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"

    outputs = await asyncio.gather(*(worker.communicate(b"go\n") for worker in workers))

    taken = [uid for output, _ in outputs for uid in output.split()]
    assert len(taken) == len(set(taken)) == asked


async def test_an_idle_worker_does_not_touch_the_writer(store: engine.Store) -> None:
    with closing(sqlite3.connect(store.settings.database_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await jobs.lease(10, NOW, 60, ["list"]) == []
        assert await jobs.sweep(NOW) == 0
        other.execute("ROLLBACK")

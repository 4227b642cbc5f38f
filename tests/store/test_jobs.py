"""Work that is owed: asked for once, done by one, never lost."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from datetime import timedelta

import pytest

from appliance.core.sentence import Sentence
from appliance.store import clients, engine, jobs
from tests.support.store import NOW, World

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


async def test_of_two_who_ask_for_later_the_earlier_one_is_waited_for(store: engine.Store) -> None:
    for delay in (60, 7200, 10, 3600):
        await jobs.insert("list", "a", NOW, delay=delay)

    assert await jobs.lease(10, NOW + timedelta(seconds=9), 60, ["list"]) == []
    assert len(await jobs.lease(10, NOW + timedelta(seconds=10), 60, ["list"])) == 1


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


async def test_only_a_lease_that_is_not_over_says_that_somebody_is_at_work(
    store: engine.Store,
) -> None:
    await jobs.insert("render", "a", NOW)
    assert not await jobs.at_work(["render"], NOW)

    [job] = await jobs.lease(1, NOW, 60, ["render"])

    assert await jobs.at_work(["render"], NOW + timedelta(seconds=59))
    assert not await jobs.at_work(["list"], NOW)
    assert not await jobs.at_work(["render"], NOW + timedelta(seconds=60))
    await jobs.extend(job.id, NOW + timedelta(seconds=50), 60)
    assert await jobs.at_work(["render"], NOW + timedelta(seconds=100))


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


async def test_a_client_with_ten_thousand_delays_one_with_ten_by_ten(world: World) -> None:
    await jobs.insert_many("message", [f"a{n}" for n in range(10_000)], NOW, client_id=world.alfa)
    served = [job.object_uid for job in await jobs.lease(300, NOW, 60, ["message"])]
    await jobs.insert_many("message", [f"b{n}" for n in range(10)], NOW, client_id=world.beta)

    for _ in range(2):
        served += [job.object_uid for job in await jobs.lease(10, NOW, 60, ["message"])]

    # In turns, and each client's in the order in which they were asked for.
    assert served == [f"a{n}" for n in range(300)] + [
        uid for n in range(10) for uid in (f"a{300 + n}", f"b{n}")
    ]


async def test_four_hundred_clients_with_ten_are_through_before_the_large_one(
    world: World,
) -> None:
    small = [await clients.create_client(f"Client {n} SRL", [], NOW) for n in range(400)]
    await jobs.insert_many("message", [f"a{n}" for n in range(10_000)], NOW, client_id=world.alfa)
    for client in small:
        uids = [f"c{client}-{n}" for n in range(10)]
        await jobs.insert_many("message", uids, NOW, client_id=client)

    taken = await jobs.lease(401 * 10, NOW, 60, ["message"])

    shares = Counter(job.client_id for job in taken)
    assert set(shares.values()) == {10}
    assert len(shares) == 401


async def test_whoever_comes_back_with_new_work_is_given_no_credit_for_the_time_away(
    world: World,
) -> None:
    await jobs.insert_many("message", [f"a{n}" for n in range(200)], NOW, client_id=world.alfa)
    for job in await jobs.lease(100, NOW, 60, ["message"]):
        await jobs.finish(job.id, NOW)
    await jobs.insert_many("message", [f"b{n}" for n in range(200)], NOW, client_id=world.beta)

    taken = await jobs.lease(100, NOW, 60, ["message"])

    assert Counter(job.client_id for job in taken) == {world.alfa: 50, world.beta: 50}


async def test_those_whose_time_has_come_take_turns_with_the_others(world: World) -> None:
    await jobs.insert_many("message", [f"a{n}" for n in range(100)], NOW, client_id=world.alfa)
    assert await jobs.hold(world.alfa, ["message"], NOW, 60, WHY) == 100
    await jobs.insert_many("message", [f"b{n}" for n in range(100)], NOW, client_id=world.beta)
    assert {job.client_id for job in await jobs.lease(20, NOW, 60, ["message"])} == {world.beta}

    later = NOW + timedelta(seconds=60)
    taken = [job for _ in range(8) for job in await jobs.lease(5, later, 60, ["message"])]

    assert Counter(job.client_id for job in taken) == {world.alfa: 20, world.beta: 20}
    assert {job.problem for job in taken if job.client_id == world.alfa} == {WHY}


async def test_what_one_client_waits_for_can_be_made_due(world: World) -> None:
    for name, client in (("a", world.alfa), ("b", world.beta)):
        await jobs.insert("message", name, NOW, client_id=client, delay=3600)

    await jobs.insert("message", "c", NOW, client_id=world.beta)

    await jobs.hurry(world.alfa, ["message"], NOW, priority=10)

    assert [job.object_uid for job in await jobs.lease(9, NOW, 60, ["message"])] == ["a", "c"]


async def test_what_is_at_work_or_due_moves_and_what_waits_does_not(store: engine.Store) -> None:
    await jobs.insert("list", "a", NOW, delay=60)
    await jobs.insert("render", "b", NOW)

    assert not await jobs.moving(["list", "message"], NOW)
    assert await jobs.moving(["list", "render"], NOW)
    later = NOW + timedelta(seconds=60)
    assert await jobs.moving(["list", "message"], later)
    [job] = await jobs.lease(10, later, 60, ["list"])
    assert await jobs.moving(["list", "message"], later)
    await jobs.finish(job.id, later)
    assert not await jobs.moving(["list", "message"], later)


async def test_a_job_asked_for_with_more_urgency_takes_its_turn_among_the_urgent(
    world: World,
) -> None:
    await jobs.insert_many("message", [f"a{n}" for n in range(50)], NOW, client_id=world.alfa)
    await jobs.insert("message", "a49", NOW, client_id=world.alfa, priority=10)
    await jobs.insert("message", "b", NOW, client_id=world.beta, priority=10)

    taken = [job.object_uid for job in await jobs.lease(3, NOW, 60, ["message"])]

    assert taken == ["a49", "b", "a0"]


async def test_a_clock_that_was_set_back_holds_nothing_up(store: engine.Store) -> None:
    ahead = NOW + timedelta(days=365)
    await jobs.insert("message", "fresh", ahead)
    await jobs.insert("message", "leased", ahead, priority=1)
    await jobs.insert("list", "waits", ahead, delay=60)
    [leased] = await jobs.lease(1, ahead, 60, ["message"])

    assert await jobs.sweep(NOW) == 1
    assert await jobs.after_clock_change(NOW, set_back=False) == 1

    taken = await jobs.lease(9, NOW, 60, ["message", "list"])
    assert {job.object_uid for job in taken} == {"fresh", "leased", "waits"}
    assert leased.id in {job.id for job in taken}


async def test_the_nights_that_a_wrong_clock_served_are_to_come(store: engine.Store) -> None:
    asked = await jobs.insert("list", "a", NOW + timedelta(days=3))
    await jobs.finish(asked.id, NOW + timedelta(days=3))

    await jobs.after_clock_change(NOW, set_back=False)

    latest = await jobs.latest("list", "a")
    assert latest is not None
    assert (latest.id, latest.created_at) == (asked.id, NOW)


async def test_a_quota_till_tomorrow_is_waited_out_unless_the_clock_was_set_back(
    store: engine.Store,
) -> None:
    await jobs.insert("message", "a", NOW, delay=25 * 3600)

    assert await jobs.after_clock_change(NOW, set_back=False) == 0
    assert await jobs.lease(9, NOW, 60, ["message"]) == []
    assert await jobs.after_clock_change(NOW, set_back=True) == 1
    assert len(await jobs.lease(9, NOW, 60, ["message"])) == 1


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

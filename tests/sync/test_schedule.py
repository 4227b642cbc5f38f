"""What sync does by the clock."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from appliance.core.slots import last_slot
from appliance.core.times import BUCHAREST
from appliance.store import engine, fetching, jobs
from appliance.store.check_problems import Problem
from appliance.store.files import Archive
from appliance.sync import schedule
from appliance.sync.schedule import Housekeeping
from tests.support.store import World

NIGHT = datetime(2026, 11, 25, 3, 30, tzinfo=BUCHAREST)


async def test_by_night_the_archive_is_checked_once_and_a_problem_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    stray = world.settings.archive_dir / "left-here.txt"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("not ours")
    house = Housekeeping(world.settings, Archive(world.settings.archive_dir))
    caplog.set_level("INFO")

    await house.check_by_night(NIGHT - timedelta(hours=4))
    assert "left-here.txt" not in caplog.text

    await house.check_by_night(NIGHT)
    await house.check_by_night(NIGHT + timedelta(minutes=1))
    assert caplog.text.count("check: stray") == 1

    await house.check_by_night(NIGHT + timedelta(days=1))
    assert caplog.text.count("check: stray") == 2


def check_that_never_ends() -> list[Problem]:
    time.sleep(3600)
    return []


async def test_a_check_that_takes_long_does_not_hold_the_end(world: World) -> None:
    began = asyncio.get_running_loop().time()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(schedule._in_own_process(check_that_never_ends), 5)

    # Far from the hour: the process is gone, and so is whoever would wait for it.
    assert asyncio.get_running_loop().time() - began < 60


async def test_each_client_is_listed_once_a_night_at_its_own_time(world: World) -> None:
    asked = dict[str, list[datetime]]()
    at = NIGHT.astimezone(UTC) - timedelta(hours=6)
    while at < NIGHT + timedelta(days=3):
        await schedule.queue_due_lists(world.settings, at)
        for job in await jobs.lease(10, at, 60, ["list"]):
            asked.setdefault(job.object_uid, []).append(at)
            await jobs.finish(job.id, at)
        at += timedelta(minutes=10)

    assert set(asked) == {world.alfa_uid, world.beta_uid}
    for uid, times in asked.items():
        # New clients at once, then by night.
        assert times[0] == NIGHT - timedelta(hours=6)
        nights = times[1:]
        assert len(nights) in (3, 4)
        for moment in nights:
            assert moment - last_slot(uid, 24, moment) < timedelta(minutes=10)
            assert moment.astimezone(BUCHAREST).hour < 7


async def test_what_was_missed_while_nothing_ran_is_caught_up_with_once(world: World) -> None:
    for at in (NIGHT, NIGHT + timedelta(days=5), NIGHT + timedelta(days=5, seconds=15)):
        await schedule.queue_due_lists(world.settings, at)
        for job in await jobs.lease(10, at, 60, ["list"]):
            await jobs.finish(job.id, at)

    rows = await engine.fetch("SELECT COUNT(*) AS n FROM job GROUP BY object_uid")
    assert [row["n"] for row in rows] == [2, 2]


async def test_a_client_that_chose_so_is_listed_every_hour(world: World) -> None:
    await fetching.set_every(world.alfa, 1, NIGHT)
    counted = Counter[str]()
    for quarter in range(4 * 12):
        at = NIGHT + timedelta(minutes=15 * quarter)
        await schedule.queue_due_lists(world.settings, at)
        for job in await jobs.lease(10, at, 60, ["list"]):
            counted[job.object_uid] += 1
            await jobs.finish(job.id, at)

    assert counted[world.alfa_uid] in (12, 13)
    assert counted[world.beta_uid] <= 2

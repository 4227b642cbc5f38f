"""What sync does by the clock."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

import pytest

from appliance.core.times import BUCHAREST
from appliance.store.files import Archive
from appliance.store.verify import Problem
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

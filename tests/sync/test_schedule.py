"""What sync does by the clock."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from appliance.core.times import BUCHAREST
from appliance.store.files import Archive
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

    await house.do(NIGHT - timedelta(hours=4))
    assert "left-here.txt" not in caplog.text

    await house.do(NIGHT)
    await house.do(NIGHT + timedelta(minutes=1))
    assert caplog.text.count("check: stray") == 1

    await house.do(NIGHT + timedelta(days=1))
    assert caplog.text.count("check: stray") == 2

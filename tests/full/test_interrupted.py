"""What happens to sync while it works, by a real clock: unaided it is clean within a minute."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from appliance.core.times import from_text
from tests.support.demo import until
from tests.support.faults import World
from tests.support.simulator import Running, running_simulator

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
LOCKED_SECONDS = 20
LOCKER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("ROLLBACK")
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    with running_simulator(invoices=12) as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, simulator: Running) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("interrupted") / "world", simulator)
    yield world
    world.close()


@pytest.fixture
def world(made: World, simulator: Running) -> Iterator[World]:
    made.begin_again()
    yield made
    httpx.post(f"{simulator.url}/simulator/latency", json={})
    for name in list(made.installation._running):
        if name != "vault":
            made.installation.end(name, signal.SIGKILL)


def test_killed_it_is_clean_within_a_minute_of_the_restart(world: World) -> None:
    world.installation.start("sync")
    some_filed(world)
    world.installation.end("sync", signal.SIGKILL)
    assert world.installation.count("job WHERE state = 'leased'")

    world.recover(hurry=False)

    world.check()


def test_told_to_end_in_the_middle_of_a_download_it_gives_it_back_and_finishes_it_later(
    world: World, simulator: Running
) -> None:
    held = f"{simulator.url}/simulator"
    httpx.post(f"{held}/latency", json={"path": "descarcare", "seconds": 300})
    world.installation.start("sync")
    until(
        "both workers wait for a download",
        lambda: sum(httpx.get(held).json()["held"].values()) == world.settings.sync_workers,
    )

    assert world.installation.end("sync") == 0

    assert world.installation.count("job WHERE state = 'leased'") == 0
    assert world.installation.count("job WHERE kind = 'message' AND attempts > 0") == 0
    assert world.installation.problems() == []
    httpx.post(f"{held}/latency", json={})
    world.recover(hurry=False)
    world.check()


def test_a_database_that_another_process_keeps_is_waited_for(world: World) -> None:
    world.installation.start("sync")
    some_filed(world)
    locker = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(world.settings.database_path), str(LOCKED_SECONDS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        assert not world.is_settled()
    assert locker.returncode == 0

    assert world.run_until(world.is_settled, hurry=False)

    assert "the database is busy" in world.installation.log()
    assert world.installation.end("sync") == 0
    world.check()


def test_of_two_processes_one_is_killed_and_the_other_does_its_work_too(
    world: World, simulator: Running
) -> None:
    installation = world.installation
    httpx.post(f"{simulator.url}/simulator/latency", json={"path": "descarcare", "seconds": 300})
    installation.start("sync")
    until("the first has messages", lambda: taken(world))
    of_the_first = taken(world)
    installation._running["first"] = installation._running.pop("sync")
    installation.start("sync")
    until("the second has others", lambda: taken(world) > of_the_first)

    installation.end("first", signal.SIGKILL)
    httpx.post(f"{simulator.url}/simulator/latency", json={})

    assert world.run_until(world.is_settled, hurry=False)
    attempts = dict(installation.rows("SELECT id, attempts FROM job WHERE kind = 'message'"))
    assert all(attempts[job] == 2 for job in of_the_first)
    assert installation.end("sync") == 0
    world.recover(hurry=False)  # takes away what the first one left half written
    world.check()


def test_a_vault_that_is_killed_again_and_again_holds_nothing_up_for_long(world: World) -> None:
    installation = world.installation
    installation.start("sync")
    for filed in (1, 3, 6):
        until(f"{filed} filed", lambda number=filed: installation.count("document") >= number)
        installation.end("vault", signal.SIGKILL)
        until("it is noticed or over", lambda: noticed(world) or world.is_settled())
        installation.start("vault")

    assert world.run_until(world.is_settled, hurry=False)

    assert installation.end("sync") == 0
    world.check()


@pytest.mark.parametrize("jump", ["-3600", "+3600", "-86400", "+172800", "+315360000"])
def test_a_clock_that_jumps_while_it_works_loses_nothing(world: World, jump: str) -> None:
    """Only the clock of sync; ANAF and the vault have the right time."""
    assert FAKETIME is not None, "libfaketime is missing (scripts/setup.sh)"
    offset = world.directory / "offset"
    offset.write_text("+0\n")
    faked = ["env", f"LD_PRELOAD={FAKETIME}", "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"]
    installation = world.installation
    installation.start("sync", under=[*faked, f"FAKETIME_TIMESTAMP_FILE={offset}"])
    some_filed(world)
    part = offset.with_suffix(".new")
    part.write_text(f"{jump}\n")
    part.rename(offset)

    assert world.run_until(world.is_settled, hurry=False)
    assert installation.end("sync") == 0
    ends = "MIN(finished_at)" if jump.startswith("-") else "MAX(finished_at)"
    [(told,)] = installation.rows(f"SELECT {ends} FROM job")
    off = (from_text(told) - datetime.now(UTC)).total_seconds()
    assert abs(off - int(jump)) < 600, "its clock has jumped"
    world.check()


def some_filed(world: World) -> None:
    installation = world.installation
    until(
        "some are filed and some are at work",
        lambda: (
            installation.count("message WHERE state <> 'queued'")
            and installation.count("job WHERE state = 'leased'")
        ),
    )


def taken(world: World) -> set[int]:
    rows = world.installation.rows("SELECT id FROM job WHERE kind = 'message' AND state = 'leased'")
    return {job for (job,) in rows}


def noticed(world: World) -> bool:
    return bool(world.installation.count("outage WHERE host = 'vault' AND ended_at IS NULL"))

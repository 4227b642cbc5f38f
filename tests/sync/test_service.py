"""The process `arhivar sync`, with the real vault and a simulated SPV."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from huey import MemoryHuey
from huey.consumer import Consumer
from huey.exceptions import HueyException

from appliance.core.times import BUCHAREST
from appliance.store import jobs
from appliance.sync import queue, service
from appliance.sync.spv import discard_partials
from tests.support.demo import until
from tests.support.simulator import Running, running_simulator
from tests.support.store import World
from tests.support.sync import Installation


@pytest.fixture
def simulator() -> Iterator[Running]:
    with running_simulator(invoices=30) as running:
        yield running


@pytest.fixture
def installation(tmp_path: Path, simulator: Running) -> Iterator[Installation]:
    made = Installation(tmp_path, simulator)
    yield made
    made.close()


def test_everything_listed_is_filed_and_rendered_and_the_end_is_clean(
    installation: Installation, simulator: Running
) -> None:
    installation.start("sync")
    installation.settled()

    listed = len(simulator.simulator.state.messages)
    assert installation.count("message WHERE state IN ('archived', 'notice')") == listed
    invoices = installation.count("document WHERE type <> 'unreadable'")
    assert installation.count("document_file WHERE role = 'pdf'") == invoices > 20
    assert installation.count("document WHERE signature_result = 'valid'") == invoices

    start = time.monotonic()
    assert installation.end("sync") == 0
    assert time.monotonic() - start < 10
    today = datetime.now(UTC).astimezone(BUCHAREST).date().isoformat()
    lines = (installation.settings.archive_dir / "decisions" / f"{today}.jsonl").read_text()
    told = [json.loads(line)["type"] for line in lines.splitlines()]
    assert told.count("document") == installation.count("document")
    assert [path for path in installation.settings.spool_dir.rglob("*") if path.is_file()] == []
    assert installation.problems() == []
    assert "Traceback" not in installation.log()


def test_a_fetch_that_somebody_watches_ends_when_everything_is_there(
    installation: Installation, simulator: Running
) -> None:
    installation.start("sync")

    fetched = installation.arhivar("fetch")

    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    assert not installation.count("message WHERE state = 'queued'")
    assert installation.arhivar("fetch", "--client", "99").returncode != 0


def test_killed_in_the_middle_of_fetching_everything_is_filed_once(
    installation: Installation, simulator: Running
) -> None:
    listed = len(simulator.simulator.state.messages)
    for filed in (1, 12):
        installation.start("sync")
        installation.wait(
            f"{filed} filed", partial(installation.count, f"document HAVING COUNT(*) >= {filed}")
        )
        children = renderers_of(installation)
        installation.end("sync", signal.SIGKILL)
        # Nobody would read what they render.
        until("no orphan", partial(all_gone, children), 10)
        assert installation.count("job WHERE state IN ('queued', 'leased')")
        assert installation.problems() == []
        installation.free_leases()

    installation.start("sync")
    installation.settled()

    assert installation.count("message WHERE state IN ('archived', 'notice')") == listed
    assert installation.count("document") + installation.count("notice") == listed
    assert installation.end("sync") == 0
    assert installation.problems() == []


def test_told_to_end_in_the_middle_it_ends_at_once_and_goes_on_at_the_next_start(
    installation: Installation, simulator: Running
) -> None:
    installation.start("sync")
    installation.wait("one filed", lambda: installation.count("document"))

    start = time.monotonic()
    assert installation.end("sync") == 0
    assert time.monotonic() - start < 12

    # Nothing is left leased: the next start does not wait for leases to run out.
    assert installation.count("job WHERE state = 'leased'") == 0
    assert installation.problems() == []
    installation.start("sync")
    installation.settled()
    listed = len(simulator.simulator.state.messages)
    assert installation.count("message WHERE state IN ('archived', 'notice')") == listed


def test_a_call_that_hangs_does_not_hold_up_the_end(
    installation: Installation, simulator: Running
) -> None:
    # A vault that is stopped takes the connection and answers nothing.
    installation._running["vault"].send_signal(signal.SIGSTOP)
    try:
        installation.start("sync")
        installation.wait("a list at work", lambda: installation.count("job WHERE state='leased'"))
        start = time.monotonic()
        assert installation.end("sync") == 0
        assert time.monotonic() - start < 15
    finally:
        installation._running["vault"].send_signal(signal.SIGCONT)
    assert installation.count("job WHERE state = 'leased'") == 0
    assert set(installation.rows("SELECT attempts FROM job")) == {(0,)}


def test_foreign_rows_in_the_queue_run_nothing_and_stop_nobody(
    installation: Installation, tmp_path: Path
) -> None:
    installation.start("sync")
    installation.wait("ready", lambda: "ready" in installation.log())
    proof = tmp_path / "proof"

    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(proof),)

    rows = [
        pickle.dumps(Bad()),
        b"not json",
        b"[" * 100_000,
        b'{"job": "1", "priority": 0}',
        b'{"job": true, "priority": 0}',
        b'{"job": 1, "priority": 0, "name": "os.mkdir"}',
        b'{"job": 99999999999999999999, "priority": 0}',
        b'{"job": 123456, "priority": 0}',  # no such job
    ]
    plant(installation, rows * 4)
    installation.wait("the rows are gone", lambda: not planted(installation))

    installation.settled()

    assert not proof.exists()
    assert installation.count("document") > 20
    assert installation.end("sync") == 0
    assert installation.problems() == []


def test_a_queue_that_is_no_database_is_made_anew(installation: Installation) -> None:
    installation.settings.queue_path.write_bytes(b"\0" * 5000)

    installation.start("sync")
    installation.settled()

    assert stat.S_IMODE(installation.settings.queue_path.stat().st_mode) == 0o600


def test_two_processes_share_the_work_and_one_may_die(
    installation: Installation, simulator: Running
) -> None:
    first = installation.start("sync")
    installation.wait("the first ready", lambda: "ready" in installation.log())
    installation._running["first"] = installation._running.pop("sync")
    installation.start("sync")
    second_queue = installation.settings.queue_path.with_name("queue-2.db")
    installation.wait("both", lambda: installation.log().count("ready") == 2)
    assert first.poll() is None
    assert second_queue.exists()
    installation.wait("some filed", lambda: installation.count("document") > 3)

    installation.end("first", signal.SIGKILL)
    installation.free_leases()
    installation.settled()

    listed = len(simulator.simulator.state.messages)
    assert installation.count("message WHERE state IN ('archived', 'notice')") == listed
    assert installation.count("document") + installation.count("notice") == listed
    assert installation.end("sync") == 0
    assert installation.problems() == []
    # The next one takes the first place, and the other's file away.
    installation.start("sync")
    installation.wait("ready again", lambda: installation.log().count("ready") == 3)
    assert installation.settings.queue_path.exists()
    assert not second_queue.exists()


def test_a_vault_that_is_away_is_waited_for(installation: Installation, simulator: Running) -> None:
    installation.end("vault", signal.SIGKILL)
    installation.start("sync")
    installation.wait("an outage", lambda: installation.count("alert WHERE kind = 'outage'"))
    assert installation.count("job WHERE attempts > 1") == 0

    installation.start("vault")
    installation.settled()

    listed = len(simulator.simulator.state.messages)
    assert installation.count("message WHERE state IN ('archived', 'notice')") == listed
    assert installation.count("alert WHERE ended_at IS NULL") == 0
    assert installation.count("outage WHERE ended_at IS NULL") == 0
    assert installation.log().count("the vault does not answer") == 1


@pytest.mark.full
def test_a_database_that_somebody_locks_is_waited_for(installation: Installation) -> None:
    installation.start("sync")
    installation.wait("one filed", lambda: installation.count("document"))
    path = installation.settings.database_path
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        installation.wait("it is noticed", lambda: "the database is busy" in installation.log())
        other.execute("ROLLBACK")

    installation.free_leases()

    # What failed is tried again after some seconds; here at once, whenever it failed.
    def settled() -> bool:
        installation.try_again_now()
        return not installation.count("job WHERE state IN ('queued', 'leased')")

    installation.wait("no open job", settled)

    assert installation.count("message WHERE state = 'queued'") == 0
    assert installation.end("sync") == 0
    assert installation.problems() == []


def plant(installation: Installation, rows: list[bytes]) -> None:
    path = installation.settings.queue_path
    with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
        for lane in ("messages", "pdf"):
            connection.executemany(
                "INSERT INTO task (queue, data, priority) VALUES (?, ?, 99)",
                [(lane, row) for row in rows],
            )
            connection.executemany(
                "INSERT INTO schedule (queue, data, timestamp) VALUES (?, ?, 0)",
                [(lane, row) for row in rows],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO kv (queue, key, value) VALUES (?, 'rt:run_job', ?)",
                [(lane, row) for row in rows],
            )


def planted(installation: Installation) -> int:
    path = installation.settings.queue_path
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        (tasks,) = connection.execute("SELECT COUNT(*) FROM task WHERE priority = 99").fetchone()
        (later,) = connection.execute("SELECT COUNT(*) FROM schedule").fetchone()
    return int(tasks + later)


def renderers_of(installation: Installation) -> list[int]:
    parent = installation._running["sync"].pid
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if int(after_name[1]) == parent and "spawn_main" in command:
                found.append(int(entry.name))
    return found


def all_gone(pids: list[int]) -> bool:
    return not any(state(pid) != "Z" for pid in pids)


def state(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


# The queue by itself


def test_the_queue_holds_numbers_as_json_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    huey = queue.open_queue(path, "messages")

    @huey.task(name=queue.TASK_NAME)  # type: ignore[untyped-decorator]
    def run_job(job_id: int) -> None: ...

    run_job(7, priority=10)
    run_job(8)

    assert huey.storage.enqueued_items() == [
        b'{"job": 7, "priority": 10}',
        b'{"job": 8, "priority": 0}',
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"job": 1, "priority": 0}),
        b"",
        b"7",
        b"null",
        b'{"job": 1}',
        b'{"job": 1.0, "priority": 0}',
        b'{"job": -1, "priority": 0}',
        b'{"job": 1, "priority": false}',
    ],
)
def test_anything_but_a_number_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, HueyException)):
        queue.JobNumbers().deserialize(data)


def test_each_process_has_a_place_and_takes_away_what_the_dead_left(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    first, second, third = (queue.take_place(path) for _ in range(3))
    files = [place.file for place in (first, second, third)]
    assert [file.name for file in files] == ["queue.db", "queue-2.db", "queue-3.db"]
    for file in files:
        file.write_bytes(b"numbers")

    os.close(first.lock)  # as the kernel does for a process that dies
    os.close(third.lock)
    again = queue.take_place(path)

    assert (again.number, again.left) == (1, (3,))
    assert [file.exists() for file in files] == [False, True, False]
    for place in (second, again):
        os.close(place.lock)


def test_only_the_downloads_of_the_dead_are_thrown_away(tmp_path: Path) -> None:
    for place in (1, 2, 12):
        (tmp_path / f".01abc.zip.{place}-1a2b3c4d.partial").touch()
    (tmp_path / "01abc.zip").touch()

    discard_partials(tmp_path, (1, 3))

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".01abc.zip.12-1a2b3c4d.partial",
        ".01abc.zip.2-1a2b3c4d.partial",
        "01abc.zip",
    ]


async def test_feeding_ends_when_it_is_told_to_whatever_happens_at_that_moment() -> None:
    class Lane(service.Lane):
        def __init__(self) -> None:
            self._room = asyncio.Event()

        async def _feed_once(self, at: datetime) -> float:
            return 60

    for turns in range(8):
        lane = Lane()
        feeding = asyncio.create_task(lane.feed())
        await asyncio.sleep(0.01)
        lane._room.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        feeding.cancel()
        ended, _ = await asyncio.wait([feeding], timeout=5)
        assert ended, f"not ended when cancelled {turns} turns of the loop later"


async def test_what_waits_behind_long_work_is_given_back_and_counts_as_no_attempt(
    world: World,
) -> None:
    class Lane(service.Lane):
        def __init__(self, fed: dict[int, float]) -> None:
            self.fed, self.running, self._closing = fed, {}, False
            self._consumer = Consumer(MemoryHuey())

    at, now = datetime.now(UTC), time.monotonic()
    for name in ("young", "old", "lost", "runs"):
        await jobs.insert("render", name, at)
    leased = {job.object_uid: job.id for job in await jobs.lease(4, at, 30, ["render"])}
    # A lease that ran out may be held by another process by now.
    waited = {"young": 1, "old": 20, "lost": 31, "runs": 20}
    lane = Lane({leased[name]: now - seconds for name, seconds in waited.items()})
    lane.running[leased["runs"]] = asyncio.create_task(asyncio.sleep(0))
    await lane._run(leased["runs"])

    await service._keep([lane], service._Clock(), at)

    found = {name: await jobs.get(leased[name]) for name in waited}
    assert {name: (job.state, job.attempts) for name, job in found.items() if job} == {
        "young": ("leased", 1),
        "old": ("queued", 0),
        "lost": ("leased", 1),
        "runs": ("leased", 1),
    }
    assert list(lane.fed) == [leased["young"]]


def test_a_clock_that_is_set_back_is_noticed_and_small_corrections_are_not() -> None:
    clock, at = service._Clock(), datetime(2026, 11, 24, 12, tzinfo=UTC)

    assert clock.changed(at, 100) is None
    assert clock.changed(at + timedelta(seconds=15), 115) is False
    assert clock.changed(at + timedelta(seconds=20), 130) is False
    assert clock.changed(at - timedelta(hours=1), 145) is True
    assert clock.changed(at + timedelta(days=30), 160) is False

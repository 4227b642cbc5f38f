"""How fast messages are filed once their zips are there: no network, no PDF, one process.

Zips of generated invoices (1 to 200 lines, some with attachments) are planned
and filed with the real store (synchronous = FULL) and the real archive (every
file and folder fsynced), as many at once as sync has workers. Printed are the
messages per second, the CPU by step, and the ratio to a floor measured in the
same run: the same bytes written and fsynced the same way, and one commit each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from appliance.config import Settings
from appliance.core import anaf_zip, signature, spv, ubl
from appliance.core.errors import DocumentRefused
from appliance.core.spv import ListEntry
from appliance.disk import fsync_directory
from appliance.simulator import Simulator
from appliance.simulator.companies import CLIENTS
from appliance.store import clients, jobs, messages, verify
from appliance.store.engine import open_store
from appliance.store.files import Archive
from appliance.store.messages import Message
from appliance.sync import ingest

TARGET = 100


class Timer:
    """CPU seconds of this process by step."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        before = time.process_time()
        yield
        self.steps[name] = self.steps.get(name, 0.0) + time.process_time() - before


def prepared(count: int, spool: Path) -> list[tuple[ListEntry, Path]]:
    """Generate messages and put their zips into the spool."""
    simulator = Simulator(7, count)
    made = []
    for number, message in enumerate(simulator.state.messages.values()):
        path = spool / f"{number}.zip"
        path.write_bytes(simulator.state.zip_of(message))
        body = {"mesaje": [message.entry()], "serial": "", "cui": "", "titlu": ""}
        (entry,) = spv.read_list(200, json.dumps(body).encode()).entries
        made.append((entry, path))
    return made


async def at_once(
    workers: int,
    items: list[tuple[Message, Path]],
    work: Callable[[Message, Path], Awaitable[None]],
) -> float:
    queue = iter(items)

    async def worker() -> None:
        for message, path in queue:
            await work(message, path)

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return time.perf_counter() - start


async def ours(directory: Path, count: int, workers: int) -> None:
    settings = Settings(data_dir=directory / "data", run_dir=directory / "run")
    settings.data_dir.mkdir()
    settings.spool_dir.mkdir()
    entries = prepared(count, settings.spool_dir)
    archive = Archive(settings.archive_dir)
    at = datetime.now(UTC)
    async with open_store(settings, migrate=True):
        await clients.create_firm("Contabilitate Tismana SRL", at)
        own: dict[str, int] = {}
        for client in CLIENTS:
            company = client.company
            own[company.cif] = await clients.create_client(company.name, [company.cif], at)
        by_id: dict[tuple[str, str], Path] = {}
        for cif, client_id in own.items():
            mine = [(entry, path) for entry, path in entries if entry.cif == cif]
            await messages.remember(client_id, [entry for entry, _ in mine], at)
            by_id |= {(cif, entry.message_id or ""): path for entry, path in mine}
        found = [
            (message, by_id[message.cif, message.message_id])
            for client_id in own.values()
            for message in await messages.in_state(messages.MessageState.QUEUED, client_id)
        ]
        everyone = frozenset(own)

        def planned(message: Message, data: bytes) -> ingest.Filing:
            mine = frozenset({message.cif})
            filing = ingest.plan(message, data, own=mine, others=everyone - mine, pinned={})
            assert isinstance(filing, ingest.Filing)
            return filing

        async def work(message: Message, path: Path) -> None:
            data = await asyncio.to_thread(path.read_bytes)
            filing = await asyncio.to_thread(planned, message, data)
            await ingest.file(filing, message, archive, at)

        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cpu = time.process_time()
        took = await at_once(workers, found, work)
        cpu = time.process_time() - cpu
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss
        await jobs.waiting()

        steps(found, planned)
        floor = await at_once(workers, found, floor_work(directory / "floor", found, planned))

    size = len(found)
    problems = verify.check(settings, at=datetime.now(UTC))
    rate = size / took
    print(f"{size} messages, {workers} at once: {rate:.0f}/s (target {TARGET})")
    print(f"  CPU {cpu / size * 1000:.1f} ms a message, {rate * cpu / size * 100:.0f} % of a core")
    print(f"  floor (same files fsynced, one commit each): {size / floor:.0f}/s, "
          f"ratio {took / floor:.2f}")  # fmt: skip
    print(f"  memory grew by {grown / 1024:.0f} MB to {(rss + grown) / 1024:.0f} MB")
    print(f"  problems found by check: {len(problems)}")


def steps(
    found: list[tuple[Message, Path]], planned: Callable[[Message, bytes], ingest.Filing]
) -> None:
    """Print the CPU of the pure steps, one after the other in this thread."""
    timer = Timer()
    for message, path in found:
        data = path.read_bytes()
        with timer.step("unzip"):
            package = anaf_zip.read_zip(data)
        with timer.step("verify"):
            signature.verify(package.document, package.signature, pinned={}, at=message.created_at)
        try:
            with timer.step("parse"):
                ubl.read(package.document)
        except DocumentRefused:  # a notice
            pass
        with timer.step("plan, all of these"):
            planned(message, data)
    for name, seconds in timer.steps.items():
        print(f"  {name}: {seconds / len(found) * 1000:.2f} ms CPU")


def floor_work(
    root: Path,
    found: list[tuple[Message, Path]],
    planned: Callable[[Message, bytes], ingest.Filing],
) -> Callable[[Message, Path], Awaitable[None]]:
    root.mkdir()
    contents = {
        message.uid: {**planned(message, path.read_bytes()).files, "manifest.json": b"x" * 3000}
        for message, path in found
    }
    connection = sqlite3.connect(root / "floor.db", check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (uid TEXT PRIMARY KEY, body BLOB)")
    one_writer = asyncio.Lock()

    def write(uid: str) -> None:
        folder = root / f".{uid}"
        folder.mkdir()
        for name, data in contents[uid].items():
            with (folder / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        fsync_directory(folder)
        folder.rename(root / uid)
        fsync_directory(root)

    async def work(message: Message, _: Path) -> None:
        await asyncio.to_thread(write, message.uid)
        async with one_writer:
            await asyncio.to_thread(
                connection.execute, "INSERT INTO t VALUES (?, ?)", (message.uid, b"x" * 3000)
            )

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        asyncio.run(ours(Path(directory), arguments.messages, arguments.workers))


if __name__ == "__main__":
    main()

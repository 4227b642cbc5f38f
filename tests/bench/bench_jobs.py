"""What a lease costs among very many jobs: 200,000 due, then 200,000 that wait for their time.

    python -m tests.bench.bench_jobs [--jobs 200000]

Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

from appliance.config import Settings
from appliance.core.sentence import Sentence
from appliance.store import clients, engine, jobs
from tests.support.store import NOW

CLIENTS = 500
KINDS = ("list", "message", "render")
WHY = Sentence("Așteaptă.", "it waits")


async def measure(name: str, rounds: int, work: Callable[[], Awaitable[object]]) -> None:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await work()
        times.append((time.perf_counter() - start) * 1000)
    print(f"{name:58} {statistics.median(times):8.2f} ms  worst {max(times):8.2f} ms")


async def bench(count: int) -> None:
    async def lease_and_finish(at: datetime = NOW) -> None:
        start = time.perf_counter()
        leased = await jobs.lease(16, at, 60, ["list", "message"])
        spent.append((time.perf_counter() - start) * 1000)
        async with engine.transaction():
            for job in leased:
                await jobs.finish(job.id, at)

    def report(name: str) -> None:
        print(f"{name:58} {statistics.median(spent):8.2f} ms  worst {max(spent):8.2f} ms")
        spent.clear()

    spent: list[float] = []
    ids = [await clients.create_client(f"Client {n} SRL", [], NOW) for n in range(CLIENTS)]
    each = count // CLIENTS
    start = time.perf_counter()
    for client in ids:
        uids = [f"{client}-{n}" for n in range(each)]
        await jobs.insert_many("message", uids, NOW, client_id=client)
    print(f"{count} jobs inserted in {time.perf_counter() - start:.1f} s")
    for _ in range(200):
        await lease_and_finish()
    report("lease of 16, everything due")
    await measure("insert, everything due", 100, lambda: jobs.insert("list", "x", NOW))
    await measure("sweep with nothing to do", 100, lambda: jobs.sweep(NOW))
    await measure("moving()", 100, lambda: jobs.moving(KINDS, NOW))
    await measure("waiting()", 20, lambda: jobs.waiting())
    await measure("waiting() of a kind", 20, lambda: jobs.waiting("message"))

    start = time.perf_counter()
    for client in ids:
        await jobs.hold(client, ["message"], NOW, 3600, WHY)
    print(f"{count} jobs held in {time.perf_counter() - start:.1f} s")
    await jobs.insert_many("message", [f"new{n}" for n in range(1600)], NOW, client_id=ids[0])
    for _ in range(100):
        await lease_and_finish()
    report("lease of 16, all others wait")
    for _ in range(100):
        await lease_and_finish()
    report("lease, everything waits")
    await measure("moving(), everything waits", 100, lambda: jobs.moving(KINDS, NOW))
    for _ in range(200):
        await lease_and_finish(NOW + timedelta(hours=1))
    report("lease of 16, the time of all has come at once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    count = parser.parse_args().jobs

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            settings = Settings(data_dir=Path(directory))
            async with engine.open_store(settings, migrate=True):
                await bench(count)

    asyncio.run(run())


if __name__ == "__main__":
    main()

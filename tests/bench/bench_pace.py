"""How close to ANAF's ceiling the calls come, and that no sliding minute ever holds more.

    python -m tests.bench.bench_pace [--ceiling 1000] [--minutes 4] [--workers 12]
        [--latency 50]

A server that plays ANAF notes when each call arrives; between it and as many
workers as asked is the real vault, and the workers are sync's own SPV client.
Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from appliance.sync.spv import SpvClient
from tests.support import anaf as fake
from tests.support.process import cpu
from tests.support.vault import VaultProcess

CIF = "12345674"


class Anaf(fake.Anaf):
    """Takes so long to answer, more or less, and notes when it was asked."""

    arrived: list[float]
    latency: float

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].endswith("/token"):
            self.arrived.append(time.monotonic())
            self.calls.clear()
            await asyncio.sleep(self.latency * (0.5 + random.random()))
        await super().__call__(scope, receive, send)


async def work(spv: SpvClient, until: float) -> None:
    query = "startTime=1&endTime=2&pagina=1"
    path = f"/prod/FCTEL/rest/listaMesajePaginatieFactura?{query}&cif={CIF}"
    while time.monotonic() < until:
        async with spv._call("GET", path, CIF) as response:
            await response.aread()


async def bench(ceiling: int, minutes: float, workers: int, latency: float) -> None:
    fake.Anaf = Anaf  # type: ignore[misc]
    with tempfile.TemporaryDirectory(prefix="arh-") as directory:
        async with fake.running_anaf() as anaf:
            assert isinstance(anaf, Anaf)
            anaf.arrived, anaf.latency = [], latency / 1000
            vault = VaultProcess(Path(directory), anaf.url)
            await vault.start({"ARHIVAR_SPV_CALLS_PER_MINUTE": str(ceiling)})
            await vault.enrolled(CIF)
            spv = SpvClient(Path(directory) / "run" / "spv.sock", "prod")
            start = time.monotonic()
            until = start + minutes * 60
            clients = [asyncio.create_task(work(spv, until)) for _ in range(workers)]
            await asyncio.wait(clients, timeout=minutes * 60 + 0.5)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            assert vault.process is not None
            seconds = cpu(vault.process.pid)
            await spv.close()
            await vault.close()
        report(anaf.arrived, start, until, ceiling, spv.reached, seconds)


def report(
    arrived: list[float], start: float, until: float, ceiling: int, asked: int, seconds: float
) -> None:
    calls = [at for at in arrived if at <= until]
    rounds, rate, most = pace(calls, ceiling)
    print(f"calls that arrived         {len(calls):8} in {until - start:.0f} s")
    share = rate / ceiling
    print(f"over {rounds} ceilings            {rate:8.1f} a minute = {share:.1%} of {ceiling}")
    print(
        f"most in any sliding minute {most:8} ({'never more' if most <= ceiling else 'TOO MANY'})"
    )
    print(f"refused by the vault       {asked - len(arrived):8}")
    print(f"the vault's CPU            {1000 * seconds / len(arrived):8.2f} ms a call")


def pace(calls: Sequence[float], ceiling: int) -> tuple[int, float, int]:
    """Return over how many whole ceilings the rate is taken, the rate, the most in any minute.

    An empty counter takes the whole ceiling at once, and then what comes back: so the time
    is from the first call to the one that is a whole number of ceilings later.
    """
    most = max(bisect_left(calls, at + 60) - index for index, at in enumerate(calls))
    rounds = (len(calls) - 1) // ceiling
    rate = rounds * ceiling / (calls[rounds * ceiling] - calls[0]) * 60 if rounds else 0.0
    return rounds, rate, most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ceiling", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--latency", type=float, default=50, help="milliseconds")
    given = parser.parse_args()
    asyncio.run(bench(given.ceiling, given.minutes, given.workers, given.latency))


if __name__ == "__main__":
    main()

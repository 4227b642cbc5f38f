"""The vault's price: seal and open, a call through the gateway beside a direct one, memory.

Prints; asserts nothing. The server that plays ANAF answers at once, so the
difference of the two medians is what the gateway costs.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from appliance.vault.envelope import Keyring, Label, Purpose, rewrap, seal, unseal
from tests.support.anaf import running_anaf
from tests.support.vault import VaultProcess

CIF = "12345674"
PATH = "/prod/FCTEL/rest/descarcare"


def main() -> None:
    envelopes()
    with tempfile.TemporaryDirectory(prefix="arh-") as directory:
        asyncio.run(gateway(Path(directory)))


def envelopes() -> None:
    old, new = os.urandom(32), os.urandom(32)
    ring, both = Keyring({1: old}), Keyring({1: old, 2: new})
    label, salt = Label(bytes(16), bytes(16), Purpose.TOKENS, 1), os.urandom(32)
    secret = b"t" * 3200  # an access and a refresh token
    records = [seal(ring, label, salt, secret) for _ in range(2000)]
    for name, work in (
        ("seal", lambda _: seal(ring, label, salt, secret)),
        ("open", lambda record: unseal(ring, label, salt, record)),
        ("rewrap", lambda record: rewrap(both, label, salt, record)),
    ):
        start = time.perf_counter()
        for record in records:
            work(record)
        print(f"{name:8} {len(records) / (time.perf_counter() - start):10,.0f} /s")


async def gateway(directory: Path) -> None:
    async with running_anaf() as anaf:
        anaf.api_body = b"PK" + os.urandom(6000)
        vault = VaultProcess(directory, anaf.url)
        await vault.start({"ARHIVAR_SPV_CALLS_PER_MINUTE": "0"})
        await vault.enrolled(CIF)
        async with httpx.AsyncClient(
            base_url=anaf.url,
            headers={"Authorization": f"Bearer {anaf.issued[0]}"},
            trust_env=False,
        ) as direct:
            through: list[float] = []
            straight: list[float] = []
            for number in range(600):
                straight.append(await _time(direct, number))
                through.append(await _time(vault.spv, number))
        print(f"direct   {_milliseconds(straight)}")
        print(f"gateway  {_milliseconds(through)}")
        difference = statistics.median(through[100:]) - statistics.median(straight[100:])
        print(f"cost     p50 {difference * 1000:6.2f} ms a call")
        await vault.end()
        await vault.start({"ARHIVAR_SPV_CALLS_PER_MINUTE": "1000000"})
        print(f"resident {_resident(vault):,} kB after the start")
        limited = [await _time(vault.spv, number) for number in range(1000, 1600)]
        print(f"counted  {_milliseconds(limited)}  (minute and day)")
        start = time.perf_counter()
        await asyncio.gather(*(_many(vault, 2000 + 1000 * lane, 250) for lane in range(4)))
        print(
            f"4 lanes  {1000 / (time.perf_counter() - start):10,.0f} calls/s, ANAF's side included"
        )
        before = _resident(vault)
        anaf.api_body, anaf.body_chunks = os.urandom(100_000), 1000
        start = time.perf_counter()
        async with vault.spv.stream(
            "GET", PATH, params={"id": "9"}, headers={"Arhivar-Cif": CIF}
        ) as answer:
            size = 0
            async for chunk in answer.aiter_raw():
                size += len(chunk)
        seconds = time.perf_counter() - start
        print(
            f"stream   {size / 1e6:.0f} MB in {seconds:.2f} s, "
            f"resident {before:,} → {_resident(vault):,} kB"
        )
        await vault.close()


async def _many(vault: VaultProcess, first: int, count: int) -> None:
    for number in range(first, first + count):
        await _time(vault.spv, number)


async def _time(client: httpx.AsyncClient, number: int) -> float:
    start = time.perf_counter()
    answer = await client.get(PATH, params={"id": str(number)}, headers={"Arhivar-Cif": CIF})
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - start


def _milliseconds(values: list[float]) -> str:
    steady = sorted(values[100:])
    return (
        f"p50 {statistics.median(steady) * 1000:6.2f} ms   "
        f"p95 {steady[len(steady) * 95 // 100] * 1000:6.2f} ms"
    )


def _resident(vault: VaultProcess) -> int:
    assert vault.process is not None
    lines = Path(f"/proc/{vault.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()

"""The vault's price: seal and open, rewrapping 2,000 records, a call through the gateway, memory.

Prints; asserts nothing. Each number stands beside a floor of the same run: seal
and open beside the cipher alone over the same bytes, rewrapping beside as many
commits that do nothing but change a row of that size, the gateway beside a
direct call. The server that plays ANAF answers at once, so the difference of
the two medians is what the gateway costs.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from appliance.vault.database import Database
from appliance.vault.envelope import Keyring, Label, Purpose, rewrap, seal, unseal
from appliance.vault.rewrapping import rewrap as rewrap_records
from tests.support.anaf import running_anaf
from tests.support.vault import VaultProcess

COUNT = 2000
CIF = "12345674"
PATH = "/prod/FCTEL/rest/descarcare"


def main() -> None:
    envelopes()
    with tempfile.TemporaryDirectory(prefix="arh-") as directory:
        rewrapping(Path(directory))
    with tempfile.TemporaryDirectory(prefix="arh-") as directory:
        asyncio.run(gateway(Path(directory)))


def envelopes() -> None:
    old, new = os.urandom(32), os.urandom(32)
    ring, both = Keyring({1: old}), Keyring({1: old, 2: new})
    label, salt = Label(bytes(16), bytes(16), Purpose.TOKENS, 1), os.urandom(32)
    secret = b"t" * 3200  # an access and a refresh token
    records = [seal(ring, label, salt, secret) for _ in range(COUNT)]
    padded, nonce = bytes(3584), bytes(12)
    cipher = AESGCMSIV(new)
    encrypted = cipher.encrypt(nonce, padded, None)
    floor = 0.0
    for name, work in (
        ("encrypt", lambda _: cipher.encrypt(nonce, padded, None)),
        ("seal", lambda _: seal(ring, label, salt, secret)),
        ("decrypt", lambda _: cipher.decrypt(nonce, encrypted, None)),
        ("open", lambda record: unseal(ring, label, salt, record)),
        ("rewrap", lambda record: rewrap(both, label, salt, record)),
    ):
        start = time.perf_counter()
        for record in records:
            work(record)
        seconds = time.perf_counter() - start
        if name in ("encrypt", "decrypt"):
            floor = seconds
            print(f"{name:8} {COUNT / seconds:10,.0f} /s   (the cipher alone)")
        else:
            print(f"{name:8} {COUNT / seconds:10,.0f} /s   {seconds / floor:5.1f} × the cipher")


def rewrapping(directory: Path) -> None:
    """Rewrap in the real database, each record durable, beside bare commits on the same disk."""
    old, new = os.urandom(32), os.urandom(32)
    at = datetime.now(UTC)
    with closing(Database(directory, Keyring({1: old}), at=at)) as database:
        for number in range(COUNT):
            with database.transaction():
                database.put(number.to_bytes(16, "big"), Purpose.TOKENS, b"t" * 3200, at=at)
        (body,) = database.durable.execute("SELECT body FROM record LIMIT 1").fetchone()
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE record (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT",
        "BEGIN",
    ):
        connection.execute(statement)
    connection.executemany("INSERT INTO record (body) VALUES (?)", [(body,)] * COUNT)
    connection.execute("COMMIT")
    start = time.perf_counter()
    for number in range(1, COUNT + 1):
        connection.execute("UPDATE record SET body = ? WHERE id = ?", (body[::-1], number))
    floor = time.perf_counter() - start
    connection.close()
    with closing(Database(directory, Keyring({1: old, 2: new}), at=at)) as database:
        start = time.perf_counter()
        done = asyncio.run(rewrap_records(database, lambda: at, at_most=COUNT))
        seconds = time.perf_counter() - start
    assert (done.rewrapped, done.left) == (COUNT, 0)
    print(
        f"rewrap   {COUNT:,} records, each durable, in {seconds:.2f} s; as many bare commits "
        f"{floor:.2f} s: {seconds / floor:.1f} × the floor"
    )


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
        ratio = statistics.median(through[100:]) / statistics.median(straight[100:])
        print(f"cost     p50 {difference * 1000:6.2f} ms a call, {ratio:.1f} × the direct one")
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
        after = _resident(vault)
        start = time.perf_counter()
        async with (
            httpx.AsyncClient(
                base_url=anaf.url,
                headers={"Authorization": f"Bearer {anaf.issued[0]}"},
                trust_env=False,
            ) as direct,
            direct.stream("GET", PATH, params={"id": "9"}) as answer,
        ):
            async for _ in answer.aiter_raw():
                pass
        straight_seconds = time.perf_counter() - start
        print(
            f"stream   {size / 1e6:.0f} MB in {seconds:.2f} s, directly in "
            f"{straight_seconds:.2f} s: {seconds / straight_seconds:.1f} ×; "
            f"resident {before:,} → {after:,} kB, {(after - before) / 1024:+.1f} MB"
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

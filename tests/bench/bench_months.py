"""What the months cost: the firm's board, a client's months, one month, the radar.

    python -m tests.bench.bench_months [--documents 1000000] [--clients 500]

A document for each message, spread over two years; the first client has a tenth of all.
Some of the last months' are still to be fetched, decided or recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from appliance.config import Settings
from appliance.core.roles import Role, Viewer
from appliance.core.times import to_text
from appliance.store import clients, engine, months, radar
from tests.support.store import NOW

DAYS = 730
MONTH = "2026-10"

_MESSAGES = """
    WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2),
    made(i, client, at) AS (SELECT i, CASE WHEN i % 10 = 0 THEN ?3 ELSE ?3 + (i / 10) % ?4 END,
        strftime('%Y-%m-%dT%H:%M:%S.000000Z', ?5, printf('-%d minutes', i * 7919 % ?6)) FROM n)
    INSERT INTO message (uid, client, message_id, upload_id, cif, type, details, created_raw,
        created_at, entry, state, listed_at)
    SELECT printf('%026d', i), client, 'm' || i, 'u' || i, '1', 'FACTURA PRIMITA', '',
        strftime('%Y%m%d%H%M', at), at, '{}',
        CASE WHEN i * 7919 % ?6 < 86400 AND i % 50 = 0 THEN 'queued' ELSE 'archived' END, at
    FROM made
"""
_DOCUMENTS = """
    INSERT INTO document (uid, client, kind, status, source, type, message, number, issue_date,
        received_at, partner_name, partner_cif, currency, payable_minor, signed_minor, ron_minor,
        summary, folder_name, folder_key, archive_month, period, signature_result,
        signature_reason, changed_at)
    SELECT uid, client, 'received',
        CASE WHEN created_at > ?3 AND id % 7 < 2 THEN 'pending'
            WHEN created_at > ?3 AND id % 7 < 4 THEN 'approved' ELSE 'archived' END,
        'spv', 'invoice', id, 'F-' || id, substr(created_at, 1, 10), created_at, 'FURNIZOR',
        10000000 + id % 5000, 'RON', 1, 1, 1, 'Servicii', 'f' || id, 'f' || id,
        substr(created_at, 1, 4) || '/' || substr(created_at, 6, 2), substr(created_at, 1, 7),
        'valid', 'ok', created_at
    FROM message WHERE id >= ?1 AND id < ?2 AND state = 'archived'
"""


async def fill(documents: int, ids: list[int]) -> None:
    started = time.perf_counter()
    for start in range(0, documents, 50_000):
        end = min(start + 50_000, documents)
        async with engine.transaction():
            await engine.execute(
                _MESSAGES, [start, end, ids[0], len(ids), to_text(NOW), DAYS * 1440]
            )
    for start in range(0, documents + 1, 50_000):
        async with engine.transaction():
            await engine.execute(
                _DOCUMENTS, [start, start + 50_000, to_text(NOW - timedelta(days=75))]
            )
    report(f"filled with {documents} messages in", time.perf_counter() - started, " s")


async def reads(ids: list[int]) -> None:
    admin = Viewer(user_id=1, user_uid="u", name="n", email="e", firm_role=Role.ADMIN)
    accountant = replace(
        admin, firm_role=Role.ACCOUNTANT, assigned_clients=frozenset(ids[: len(ids) // 6])
    )
    big, usual = ids[0], ids[len(ids) // 2]
    await radar.watch(NOW)
    questions: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("board: all clients", lambda: months.board(admin, ids, MONTH, NOW)),
        ("board: an accountant's", lambda: months.board(accountant, ids, MONTH, NOW)),
        ("board: a month long ago", lambda: months.board(admin, ids, "2025-03", NOW)),
        ("months of a usual client", lambda: months.of_client(usual)),
        ("months of the big client", lambda: months.of_client(big)),
        ("month: usual client", lambda: months.report(usual, MONTH, NOW, everything=True)),
        ("month: big client", lambda: months.report(big, MONTH, NOW, everything=True)),
        ("folders of it", lambda: months.places(big, MONTH)),
        ("radar: all clients", lambda: radar.oldest(ids, NOW)),
        ("radar: alerts, none new", lambda: radar.watch(NOW)),
    ]
    for name, ask in questions:
        await ask()
        times = []
        for _ in range(15):
            started = time.perf_counter()
            await ask()
            times.append((time.perf_counter() - started) * 1000)
        report(name, statistics.median(times), " ms")
    totals = (await months.of_client(big))[1]
    print(f"the big client's {totals.month}: {totals.listed} listed, {totals.undecided} undecided")


def report(name: str, value: float, unit: str) -> None:
    print(f"{name:40} {value:10.2f}{unit}", flush=True)


async def main(documents: int, number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder) / "data")
        async with engine.open_store(settings, migrate=True):
            for each in range(number):
                await clients.create_client(f"Client {each}", [str(10**6 + each)], NOW)
            ids = [client.id for client in await clients.all_clients()]
            await fill(documents, sorted(ids))
            await reads(sorted(ids))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=500)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.documents, arguments.clients))

"""What the rows cost: documents stored and approved per second, and lists out of very many.

    python -m tests.bench.bench_store [--documents 1000000]

The long lists run over rows that are written with SQL, spread over 80 clients.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.config import Settings
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Membership, Role, Scope, Status, Viewer
from appliance.store import accounts, clients, documents, drive, engine
from appliance.store.documents import NewLine
from tests.support.store import NOW, new_document

CLIENTS = 80


async def writes(count: int) -> None:
    """Store and approve documents one transaction each, as sync and the portal do."""
    client_id = (await clients.all_clients())[0].id
    lines = [
        NewLine(str(n), f"Articol {n}", quantity="1", unit="H87", price="10.00", net_minor=1000)
        for n in range(10)
    ]
    made = [replace(new_document(client_id), lines=lines) for _ in range(count)]
    with measured("documents.add, 10 lines, 3 files", count):
        for new in made:
            await documents.add(new, at=NOW)
    viewer = await accounts.viewer(await accounts.create_account("bench@example.ro", "Bench", NOW))
    await clients.add_member(viewer.user_id, client_id, Role.OWNER, NOW)
    viewer = await accounts.viewer(viewer.user_id)
    with measured("documents.act", count):
        for new in made:
            await documents.act(
                new.uid,
                Action.APPROVE,
                viewer,
                seen_status=Status.PENDING,
                seen_revision=1,
                at=NOW,
                channel="portal",
            )


async def fill(count: int) -> None:
    """Write very many documents, no lines and files, into all clients."""
    ids = [client.id for client in await clients.all_clients()]
    statement = """
        WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
        INSERT INTO document (uid, client, kind, status, source, type, number, issue_date,
            received_at, partner_name, partner_cif, currency, payable_minor, signed_minor,
            ron_minor, summary, folder_name, folder_key, archive_month, period,
            signature_result, signature_reason, changed_at)
        SELECT printf('%026d', i), ? + (i / 100) % ?,
            CASE WHEN i % 10 < 7 THEN 'received' WHEN i % 10 < 9 THEN 'issued' ELSE 'other' END,
            CASE WHEN i % 100 < 1 THEN 'pending' WHEN i % 100 < 3 THEN 'approved'
                WHEN i % 100 < 4 THEN 'rejected' ELSE 'archived' END,
            'spv', 'invoice', 'F-' || i, date('2021-01-01', printf('+%d days', i * 7 % 2100)),
            '2026-01-01T00:00:00.000000Z', 'FURNIZOR ' || (i % 5000), 10000000 + i % 5000, 'RON',
            i, i, i, 'Servicii', '2024-01-01_FURNIZOR_' || i, '2024-01-01_furnizor_' || i,
            '2026/01',
            CASE WHEN i % 100 < 4 THEN NULL
                ELSE strftime('%Y-%m', '2021-01-01', printf('+%d days', i * 7 % 2100)) END,
            'valid', 'ok', '2026-01-01T00:00:00.000000Z' FROM n
    """
    started = time.perf_counter()
    for start in range(0, count, 50_000):
        async with engine.transaction():
            await engine.execute(statement, [start, min(start + 50_000, count), ids[0], len(ids)])
    report(f"filled with {count} documents in", time.perf_counter() - started, " s")


async def reads(count: int) -> None:
    """Time what people wait for."""
    rows = await clients.all_clients()
    one = rows[3]
    viewer = Viewer(user_id=1, user_uid="u", name="n", email="e")
    admin = replace(viewer, firm_role=Role.ADMIN)
    accountant = replace(
        viewer,
        firm_role=Role.ACCOUNTANT,
        assigned_clients=frozenset(row.id for row in rows[: CLIENTS // 2]),
    )
    owner = replace(viewer, memberships={one.id: Membership(one.id, Role.OWNER)})
    narrow = replace(
        viewer,
        memberships={
            one.id: Membership(one.id, Role.OWNER, Scope(suppliers=frozenset({"10000042"})))
        },
    )
    third = (await documents.page(owner, one.uid, Status.ARCHIVED, limit=200)).next
    deep = third and f"2021-06-01_{third.partition('_')[2]}"
    questions: list[tuple[str, Callable[[], Awaitable[Any]]]] = [
        ("page: one client, archived", lambda: documents.page(owner, one.uid, Status.ARCHIVED)),
        ("page: deep in it", lambda: documents.page(owner, one.uid, Status.ARCHIVED, after=deep)),
        ("page: one client, any status", lambda: documents.page(owner, one.uid)),
        ("page: one kind", lambda: documents.page(owner, one.uid, kind=Kind.OTHER)),
        ("page: one supplier", lambda: documents.page(owner, one.uid, partner_cif="10000043")),
        ("page: part of a number", lambda: documents.page(owner, one.uid, number="99")),
        ("page: a number that is not there", lambda: documents.page(owner, one.uid, number="x")),
        ("page: narrowed to one supplier", lambda: documents.page(narrow, one.uid)),
        (
            "page: accountant of 40, approved",
            lambda: documents.page(accountant, None, Status.APPROVED),
        ),
        ("page: accountant of 40, all", lambda: documents.page(accountant)),
        ("page: admin, approved", lambda: documents.page(admin, None, Status.APPROVED)),
        ("page: admin, one supplier", lambda: documents.page(admin, partner_cif="10000042")),
        ("counts: owner", lambda: documents.counts(owner)),
        ("counts: narrowed owner", lambda: documents.counts(narrow)),
        ("counts: accountant of 40", lambda: documents.counts(accountant)),
        ("counts: admin", lambda: documents.counts(admin)),
    ]
    for name, ask in questions:
        await ask()
        times = []
        for _ in range(20):
            started = time.perf_counter()
            await ask()
            times.append((time.perf_counter() - started) * 1000)
        report(name, statistics.median(times), " ms")
    looks: dict[str, Callable[[], object]] = {
        "drive: a month": lambda: drive.documents_in(
            drive.sight_of(owner, one.id, Status.ARCHIVED, Kind.RECEIVED, "2024-03")
        ),
        "drive: all archived of a kind": lambda: drive.documents_in(
            drive.sight_of(owner, one.id, Status.ARCHIVED, Kind.RECEIVED)
        ),
        "drive: months": lambda: drive.periods_in(owner, one.id, Kind.RECEIVED, NOW),
        "drive: stamp of a kind": lambda: drive.stamp(
            drive.sight_of(owner, one.id, Status.ARCHIVED, Kind.RECEIVED)
        ),
        "drive: one name": lambda: drive.resolve(owner, one.id, "2024-01-01_FURNIZOR_83"),
    }
    for name, look in looks.items():
        found = look()
        times = []
        for _ in range(20):
            started = time.perf_counter()
            look()
            times.append((time.perf_counter() - started) * 1000)
        size = f" ({len(found)})" if isinstance(found, list) else ""
        report(name + size, statistics.median(times), " ms")


@contextmanager
def measured(name: str, count: int) -> Iterator[None]:
    started, used = time.perf_counter(), time.process_time()
    yield
    report(name, count / (time.perf_counter() - started), "/s")
    report("  of the processor's time", (time.process_time() - used) / count * 1000, " ms each")


def report(name: str, value: float, unit: str) -> None:
    print(f"{name:40} {value:10.2f}{unit}")


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder) / "data")
        async with engine.open_store(settings, migrate=True):
            for number in range(CLIENTS):
                await clients.create_client(f"Client {number}", [str(10**6 + number)], NOW)
            await writes(1000)
            await fill(count)
            await reads(count)
        print(f"{settings.database_path.stat().st_size / count:.0f} bytes a document")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    asyncio.run(main(parser.parse_args().documents))

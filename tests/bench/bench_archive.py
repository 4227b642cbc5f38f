"""What the archive costs: audit records, document folders, check, decisions, reindex, export.

    python -m tests.bench.bench_archive [DOCUMENTS]

Every figure is a rate on a real disk with every fsync made.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from appliance.core.lifecycle import Action
from appliance.core.roles import Status
from appliance.store import audit, decisions
from appliance.store.engine import execute, transaction
from appliance.store.export import export
from appliance.store.files import Archive
from appliance.store.reindex import reindex
from appliance.store.verify import check
from tests.store.world import NOON, office

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def told(what: str, count: int, seconds: float) -> None:
    print(f"{what:<44} {count / seconds:>10,.0f} /s   {seconds / count * 1000:>8.3f} ms each")


def timed(what: str, count: int, work: Callable[[], object]) -> None:
    start = perf_counter()
    work()
    told(what, count, perf_counter() - start)


def write_folders(root: Path, count: int, workers: int) -> None:
    files = {
        "message.zip": b"PK" * 2000,
        "invoice.xml": b"<Invoice/>" * 600,
        "signature.xml": b"<Signature/>" * 300,
    }
    archive = Archive(root)

    def write(number: int) -> None:
        archive.write_document("alfa", "2026/11", f"doc-{number}", files, {"v": 1})

    with ThreadPoolExecutor(workers) as pool:
        timed(
            f"write_document, 4 files, {workers} thread(s)",
            count,
            lambda: list(pool.map(write, range(count))),
        )


async def main(documents: int) -> None:
    place = Path(tempfile.mkdtemp(prefix="arhivar-bench-", dir="/var/tmp"))
    try:
        for workers in (1, 4):
            write_folders(place / f"folders-{workers}", 400, workers)
        async with office(place / "data") as world:
            start = perf_counter()
            for number in range(200):
                async with transaction():
                    await audit.append("bench:one", "bench", "", str(number), {}, at=NOON)
            told("audit record in a transaction of its own", 200, perf_counter() - start)
            start = perf_counter()
            async with transaction():
                for number in range(5000):
                    await audit.append("bench:many", "bench", "", str(number), {}, at=NOON)
            told("audit record, 5,000 in one transaction", 5000, perf_counter() - start)
            path = world.settings.database_path
            timed("audit verify, records", 5200, lambda: audit.verify(path))

            start = perf_counter()
            uids = [await world.receive(world.alfa, number) for number in range(documents)]
            told("folder, rows, PDF of a document", documents, perf_counter() - start)
            for uid in uids[: documents // 2]:
                await world.act(uid, Action.APPROVE, world.ana, Status.PENDING)
            settings = world.settings
            timed("check, documents", documents, lambda: check(settings, at=LATER))
            timed("check --deep", documents, lambda: check(settings, deep=True, at=LATER))
            timed("decisions of the day", documents, lambda: decisions.write_due(settings, NOON))
            timed("export", documents, lambda: export(settings, place / "export"))
            timed("export again", documents, lambda: export(settings, place / "export"))
            async with transaction():
                for table in ("event", "document_line", "document_file", "document", "message"):
                    await execute(f"DELETE FROM {table}")
            start = perf_counter()
            report = await reindex(settings, NOON)
            told("reindex", report.documents, perf_counter() - start)
            assert check(settings, at=NOON) == []
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))

"""Fetching from SPV, the whole chain: what it reaches, and what each step of it costs.

    python tests/bench/bench_fetch.py [--messages 2000] [--clients 20] [--latency 50] [--quick]

The simulator, the vault, sync and its renderers are processes of their own; the database
and the archive are on a disk (`--directory`), with every fsync; each zip is verified, read,
named and filed. Each part begins with an installation that knows nothing. Printed are:

- with ANAF's limits, in vault and simulator: how much of the ceiling is used;
- without them and without PDFs: messages a minute, from the first list to the last row;
- without them and with every PDF: the same, to the last PDF;
- the CPU of each process, and of the steps one after the other, in this process;
- beside them, against the same simulator: the zips downloaded and nothing done with them, as
  many at once as sync has workers, and `anaf-sync` from PyPI.

Nothing is asserted but that every message is filed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import httpx

from appliance.config import Settings
from appliance.store import certificates, clients, jobs, messages
from appliance.store.engine import open_store
from appliance.store.files import Archive
from appliance.store.messages import Message, MessageState
from appliance.store.pinned import pinned_certificates
from appliance.store.spool import Spool
from appliance.sync import ingest, tasks
from appliance.sync.context import Context
from appliance.sync.rendering import Renderers
from appliance.sync.spv import SpvClient
from tests.bench.bench_pace import pace
from tests.support import anaf_sync
from tests.support.process import cpu, cpu_of_children
from tests.support.simulator import SimulatorProcess, simulator_process
from tests.support.sync import Installation

API = "/prod/FCTEL/rest"
PLAIN_TARGET, PDF_TARGET = 3000, 600  # a minute
PEER_CLIENTS = 2


@dataclass(frozen=True)
class Fetched:
    """One run of the chain: seconds from the first list, and CPU seconds of each process."""

    messages: int
    pdfs: int
    filed: float
    drawn: float
    vault: float
    sync: float
    renderers: float
    simulator: float
    calls: list[float]  # when the vault let each pass, in seconds; only with limits
    refused: int  # by the simulator, which counts for itself


def fetched(
    directory: Path, simulator: SimulatorProcess, size: Size, *, pdfs: bool, ceiling: int = 0
) -> Fetched:
    """Let a new installation fetch everything."""
    directory.mkdir()
    installation = Installation(
        directory,
        simulator,
        clients=size.clients,
        spv_calls_per_minute=ceiling,
        sync_pdf_workers=2 if pdfs else 0,
    )
    counted: dict[int, int] = {}
    try:
        vault, before = installation.pid("vault"), cpu(simulator.pid)
        vault_before = cpu(vault)
        installation.start("sync")

        def everything() -> bool:
            if ceiling:
                counted.update(_counted(installation))
            open_jobs = "job WHERE state IN ('queued', 'leased') AND kind "
            open_jobs += "IN ('list', 'message', 'render')" if pdfs else "IN ('list', 'message')"
            filed = installation.count("message WHERE state <> 'queued'")
            return filed >= size.messages and not installation.count(open_jobs)

        installation.wait("everything filed", everything, 3600)
        sync = installation.pid("sync")
        ((began,),) = installation.rows("SELECT MIN(started_at) FROM fetch_run")
        ended = dict(
            installation.rows(
                "SELECT kind, MAX(finished_at) FROM job WHERE state = 'done' GROUP BY kind"
            )
        )
        return Fetched(
            messages=installation.count("message WHERE state = 'archived'"),
            pdfs=installation.count("document_file WHERE role = 'pdf'"),
            filed=seconds(began, ended["message"]),
            drawn=seconds(began, max(ended["message"], ended.get("render", ""))),
            vault=cpu(vault) - vault_before,
            sync=cpu(sync),
            renderers=cpu_of_children(sync),
            simulator=cpu(simulator.pid) - before,
            calls=sorted(at / 1000 for at in counted.values()),
            refused=installation.log("vault").count("ANAF answered 429"),
        )
    finally:
        installation.close()


def _counted(installation: Installation) -> Iterable[tuple[int, int]]:
    """Return what the vault counts calls with: it keeps each for a minute."""
    url = f"{(installation.settings.vault_dir / 'vault.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(url, uri=True, timeout=10)) as connection:
        return connection.execute("SELECT rowid, at_ms FROM call").fetchall()


def seconds(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


@dataclass(frozen=True)
class Size:
    messages: int
    clients: int

    def of(self, clients: int) -> Size:
        """The first clients, with their share of the messages."""
        clients = min(clients, self.clients)
        share, rest = divmod(self.messages, self.clients)
        return Size(clients * share + min(rest, clients), clients)


# The steps, one after the other


class Steps:
    """CPU seconds by step: of this process, which does sync's work here, and of the vault."""

    def __init__(self, vault: int) -> None:
        self.taken: dict[str, tuple[float, float]] = {}
        self._vault = vault

    async def take(self, name: str, items: Iterable[Any], work: Work) -> None:
        before = (time.process_time(), cpu(self._vault))
        await at_once(items, work)
        self.taken[name] = (time.process_time() - before[0], cpu(self._vault) - before[1])


Work = Callable[[Any], Awaitable[Any]]
WORKERS = Settings().sync_workers


async def at_once(items: Iterable[Any], work: Work) -> None:
    """Do the work on every item, as many at once as sync has workers."""
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(WORKERS)))


def steps(directory: Path, simulator: SimulatorProcess, size: Size) -> Steps:
    """Do what sync does, with its own functions, but each step for all before the next one."""
    directory.mkdir()
    installation = Installation(directory, simulator, clients=size.clients, spv_calls_per_minute=0)
    try:
        taken = Steps(installation.pid("vault"))
        asyncio.run(_steps(installation.settings, taken))
        return taken
    finally:
        installation.close()


async def _steps(settings: Settings, taken: Steps) -> None:
    at = datetime.now(UTC)
    spool = settings.spool_dir
    spool.mkdir()
    Spool(spool).make()
    async with open_store(settings):
        context = Context(
            settings=settings,
            archive=Archive(settings.archive_dir),
            spv=SpvClient(settings.spv_socket, settings.spv_environment),
            renderers=Renderers(0),
            pinned=pinned_certificates(settings.spv_extra_certificates),
        )

        async def leased(kind: str) -> list[int]:
            return [job.id for job in await jobs.lease(100_000, at, 3000, [kind])]

        async def run(job_id: int) -> None:
            await tasks.run(job_id, context)

        for client in await clients.all_clients():
            await jobs.insert("list", client.uid, at, client_id=client.id)
        await taken.take("list", await leased("list"), run)
        found = await messages.in_state(MessageState.QUEUED)

        async def download(message: Message) -> None:
            await context.spv.download(
                message.cif, message.message_id, spool / f"{message.uid}.zip"
            )

        await taken.take("download", found, download)
        everyone = await clients.all_identifiers()
        pinned = await certificates.trusted(context.pinned)

        async def plan(message: Message) -> None:
            data = (spool / f"{message.uid}.zip").read_bytes()
            own = frozenset({message.cif})
            others = frozenset(everyone) - own
            await asyncio.to_thread(
                ingest.plan, message, data, own=own, others=others, pinned=pinned
            )

        await taken.take("verify, read", found, plan)
        await taken.take("file", await leased("message"), run)
        assert not await messages.in_state(MessageState.QUEUED)
        await context.spv.close()
    verified, filed = taken.taken["verify, read"], taken.taken["file"]
    taken.taken["file"] = (filed[0] - verified[0], filed[1] - verified[1])


# What others do


def anaf(simulator: SimulatorProcess) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {simulator.about['access_token']}"}
    return httpx.AsyncClient(base_url=simulator.url + API, headers=headers, timeout=60)


async def listed(simulator: SimulatorProcess, clients: int) -> list[str]:
    """Return the ids of the first page of each of the first clients, straight from there."""
    now = int(time.time() * 1000)
    ids: list[str] = []
    async with anaf(simulator) as spv:

        async def page(cif: str) -> None:
            window = {"startTime": now - 59 * 86_400_000, "endTime": now - 60_000, "pagina": 1}
            answer = await spv.get("/listaMesajePaginatieFactura", params={**window, "cif": cif})
            ids.extend(entry["id"] for entry in answer.json()["mesaje"])

        await at_once(simulator.about["cifs"][:clients], page)
    return ids


async def floor(simulator: SimulatorProcess, size: Size) -> float:
    """Return the seconds in which the zips are downloaded, as many at once, and thrown away."""
    start = time.perf_counter()
    ids = await listed(simulator, size.clients)
    assert len(ids) == size.messages
    async with anaf(simulator) as spv:

        async def download(message_id: str) -> None:
            (await spv.get("/descarcare", params={"id": message_id})).raise_for_status()

        await at_once(ids, download)
    return time.perf_counter() - start


def peer(directory: Path, simulator: SimulatorProcess, size: Size) -> float | None:
    """Print what `anaf-sync` reaches and return its messages a minute, None without it."""
    python = anaf_sync.anaf_sync_python()
    if isinstance(python, str):
        print(f"anaf-sync                  not measured: {python}")
        return None
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cifs = simulator.about["cifs"][: size.clients]
    done = anaf_sync.run(simulator.url, simulator.about, directory, cifs)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    zips = sorted(path.stat().st_mtime for path in (directory / "files").rglob("*.zip"))
    if done.returncode or len(zips) < 2:
        print(f"anaf-sync                  failed: {(done.stderr or done.stdout)[-300:]}")
        return None
    # From its first zip to its last one: neither its start nor its lists are counted.
    rate = (len(zips) - 1) / (zips[-1] - zips[0]) * 60
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"anaf-sync {anaf_sync.ANAF_SYNC}            {rate:8.0f} a minute, "
        f"{spent / len(zips) * 1000:.1f} ms CPU a message ({len(zips)} of {size.messages} messages "
        f"of {size.clients} clients, from its first zip to its last; zip, xml, signature)\n"
        "                           it calls one after the other, so the latency decides; it "
        "verifies nothing,\n                           and leaves out errors and buyers' messages"
    )
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--latency", type=int, default=50, help="milliseconds")
    parser.add_argument("--ceiling", type=int, default=1000, help="calls a minute")
    parser.add_argument("--quick", action="store_true", help="200 messages of 4, a ceiling of 100")
    parser.add_argument("--only", choices=("limits", "plain", "pdf", "steps", "peer"))
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    given = parser.parse_args()
    if given.quick:
        given.messages, given.clients, given.ceiling = 200, 4, 100
    size = Size(given.messages, given.clients)
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"{size.messages} messages of {size.clients} clients, {given.latency} ms late each; "
          f"{cores} cores, load {load:.1f} before")  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="arh-", dir=given.directory) as made,
        simulator_process(
            Path(made), clients=size.clients, invoices=size.messages, latency=given.latency
        ) as simulator,
    ):
        measure(Path(made), simulator, size, given.ceiling, given.only)


def measure(
    directory: Path, simulator: SimulatorProcess, size: Size, ceiling: int, only: str | None
) -> None:
    def wanted(part: str) -> bool:
        return only in (part, None)

    plain = drawn = by_step = rate = None
    if wanted("limits"):
        simulator.change("limits", calls_per_minute=ceiling)
        limited(fetched(directory / "limits", simulator, size, pdfs=False, ceiling=ceiling),
                size, ceiling)  # fmt: skip
        simulator.change("limits", calls_per_minute=0)
    if wanted("plain"):
        plain = fetched(directory / "plain", simulator, size, pdfs=False)
        a_minute = size.messages / plain.filed * 60
        print(
            f"without limits             {a_minute:8.0f} a minute (target {PLAIN_TARGET}), no PDFs"
        )
        bare = asyncio.run(floor(simulator, size))
        print(f"  floor: downloaded only   {size.messages / bare * 60:8.0f} a minute, "
              f"ratio {plain.filed / bare:.2f}")  # fmt: skip
    if wanted("pdf"):
        drawn = fetched(directory / "pdf", simulator, size, pdfs=True)
        with_pdfs, filed = (size.messages / s * 60 for s in (drawn.drawn, drawn.filed))
        print(f"with every PDF             {with_pdfs:8.0f} a minute (target {PDF_TARGET}), "
              f"{drawn.pdfs} PDFs; all filed at {filed:.0f} a minute")  # fmt: skip
    if wanted("peer"):
        rate = peer(directory / "peer", simulator, size.of(PEER_CLIENTS))
    if rate and plain and drawn:
        without, with_ = (size.messages / s * 60 / rate for s in (plain.filed, drawn.drawn))
        print(f"  ratio to anaf-sync       {without:8.1f} without PDFs, {with_:.1f} with them, "
              "of which it makes none")  # fmt: skip
    if wanted("steps"):
        part = size.of(max(1, 500 * size.clients // size.messages))
        by_step = steps(directory / "steps", simulator, part)
        table(by_step, part, plain, drawn, size)


def limited(run: Fetched, size: Size, ceiling: int) -> None:
    rounds, rate, most = pace(run.calls, ceiling)
    print(
        f"with ANAF's limits         {rate:8.1f} calls a minute = {rate / ceiling:.1%} of "
        f"{ceiling} (target 97 %), from the first call to the one {rounds} ceilings later\n"
        f"  calls                    {len(run.calls):8}, {size.messages + size.clients} needed; "
        f"most in any minute {most}; the simulator refused {run.refused}; "
        f"all filed in {run.filed:.0f} s"
    )


def table(
    by_step: Steps, part: Size, plain: Fetched | None, drawn: Fetched | None, size: Size
) -> None:
    title = "CPU, ms a message"
    print(f"{title:27}{'sync':>8}{'vault':>8}   ({part.messages} messages, step by step)")
    for name, (ours, vault) in by_step.taken.items():
        ours, vault = ours / part.messages * 1000, vault / part.messages * 1000
        note = ""
        if name == "list":
            of_list = (ours + vault) * part.messages / part.clients
            note = f"   {of_list:.0f} ms a list of {part.messages // part.clients}"
        print(f"  {name:24} {ours:8.2f}{vault:8.2f}{note}")
    total = sum(ours for ours, _ in by_step.taken.values()) / part.messages * 1000
    if plain is not None:
        whole = plain.sync / size.messages * 1000
        print(f"  {'queue, and its start':24} {whole - total:8.2f}")
        print(f"  {'whole processes':24} {whole:8.2f}{plain.vault / size.messages * 1000:8.2f}   "
              f"(simulator {plain.simulator / size.messages * 1000:.2f})")  # fmt: skip
    if drawn is not None and drawn.pdfs:
        more = drawn.sync - plain.sync if plain else 0.0
        print(f"  a PDF                    {more / drawn.pdfs * 1000:8.2f}           "
              f"renderers {drawn.renderers / drawn.pdfs * 1000:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()

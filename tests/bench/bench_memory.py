"""500 clients: the memory of each process as messages come, and a fetch that finds nothing new.

    python tests/bench/bench_memory.py [--messages 10000] [--clients 500] [--latency 50] [--quick]

The whole chain as in bench_fetch.py, without ANAF's limits and with the PDFs made meanwhile.
The memory is read when a tenth of the messages is filed, and when all are and a tenth of the
PDFs is made (a renderer is replaced after 500). Then sync is started anew, without renderers,
and `arhivar fetch` asks for all clients again: every list is read, and nothing is downloaded.
Beside it the floor: the same lists, read straight from the simulator as many at once, and
thrown away.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tests.bench.bench_fetch import listed, seconds
from tests.support.process import Memory, children, command, cpu, memory
from tests.support.simulator import SimulatorProcess, simulator_process
from tests.support.sync import Installation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--latency", type=int, default=50, help="milliseconds")
    parser.add_argument("--quick", action="store_true", help="1000 messages of 50 clients")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    given = parser.parse_args()
    if given.quick:
        given.messages, given.clients = 1000, 50
    print(f"{given.messages} messages of {given.clients} clients, {given.latency} ms late each; "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="arh-", dir=given.directory) as made,
        simulator_process(
            Path(made), clients=given.clients, invoices=given.messages, latency=given.latency
        ) as simulator,
    ):
        directory = Path(made) / "office"
        directory.mkdir()
        installation = Installation(
            directory, simulator, clients=given.clients, spv_calls_per_minute=0
        )
        try:
            grown(installation, given.messages)
            nothing_new(installation, simulator, given.clients)
        finally:
            installation.close()


def grown(installation: Installation, messages: int) -> None:
    """Print the memory after a tenth of the messages and after all."""
    installation.start("sync")
    seen: list[tuple[int, int, dict[str, list[Memory]]]] = []
    for filed, drawn in ((messages // 10, 1), (messages, messages // 10)):

        def come_so_far(filed: int = filed, drawn: int = drawn) -> bool:
            return _filed(installation) >= filed and _pdfs(installation) >= drawn

        installation.wait(f"{filed} filed, {drawn} drawn", come_so_far, 3600)
        seen.append((_filed(installation), _pdfs(installation), _memory(installation)))
    (few, few_pdfs, before), (many, many_pdfs, after) = seen
    print(f"memory, MB: RSS / PSS (peak RSS); {few} against {many} filed, "
          f"{few_pdfs} against {many_pdfs} PDFs made")  # fmt: skip
    for name in sorted(before.keys() | after.keys(), key=_ORDER.index):
        old, new = before.get(name, []), after.get(name, [])
        cells = "".join(f"{_shown(found):>36}" for found in (old, new))
        ratio = max(m.pss for m in new) / max(m.pss for m in old) if old and new else float("nan")
        print(f"  {name:10}{cells}   ratio {ratio:.2f}")


_ORDER = ("vault", "sync", "renderer", "other")


def _filed(installation: Installation) -> int:
    return installation.count("message WHERE state <> 'queued'")


def _pdfs(installation: Installation) -> int:
    return installation.count("document_file WHERE role = 'pdf'")


def _memory(installation: Installation) -> dict[str, list[Memory]]:
    found = {name: [memory(installation.pid(name))] for name in ("vault", "sync")}
    for child in children(installation.pid("sync")):
        name = "renderer" if "spawn_main" in command(child) else "other"
        found.setdefault(name, []).append(memory(child))
    return found


def _shown(found: list[Memory]) -> str:
    return ", ".join(f"{m.rss:.0f} / {m.pss:.0f} ({m.peak:.0f})" for m in found)


def nothing_new(installation: Installation, simulator: SimulatorProcess, clients: int) -> None:
    """Print how long a fetch of all clients takes when everything is known, and its calls."""
    installation.end("sync")
    installation.start("sync", ["env", "ARHIVAR_SYNC_PDF_WORKERS=0"])
    installation.wait("sync is ready", lambda: installation.log().count("sync: ready") == 2)
    pids = {name: installation.pid(name) for name in ("vault", "sync")}
    pids["simulator"] = simulator.pid
    calls, messages = _calls(installation), installation.count("message")
    before = {name: cpu(pid) for name, pid in pids.items()}
    began = time.perf_counter()
    done = installation.arhivar("fetch")
    took = time.perf_counter() - began
    spent = {name: cpu(pid) - before[name] for name, pid in pids.items()}
    assert done.returncode == 0, done.stdout + done.stderr
    assert installation.count("message") == messages
    ((first, last),) = installation.rows(
        f"SELECT MIN(started_at), MAX(listed_at) FROM (SELECT * FROM fetch_run "
        f"ORDER BY id DESC LIMIT {clients})"
    )
    lists = seconds(first, last)
    start = time.perf_counter()
    asyncio.run(listed(simulator, clients))
    floor = time.perf_counter() - start
    print(
        f"nothing new, {clients} clients: every list read in {lists:.1f} s, with "
        f"{_calls(installation) - calls} calls; `arhivar fetch` says so after {took:.1f} s\n"
        f"  floor: lists read only   {floor:8.1f} s, ratio {lists / floor:.2f}\n"
        f"  CPU, ms a list          "
        + ", ".join(f" {name} {used / clients * 1000:.1f}" for name, used in spent.items())
    )


def _calls(installation: Installation) -> int:
    """Return how many calls the vault has let pass, by its count for ANAF's daily limits."""
    url = f"{(installation.settings.vault_dir / 'vault.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(url, uri=True, timeout=10)) as connection:
        ((calls,),) = connection.execute("SELECT COALESCE(SUM(used), 0) FROM quota").fetchall()
        return int(calls)


if __name__ == "__main__":
    main()

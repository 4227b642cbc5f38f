"""How fast the drive lists and reads, beside WsgiDAV over plain folders, in one run.

Both are served by Hypercorn on loopback and asked over one connection with the
same names: allprop listings of depth 1 with 10, 1,000 and 10,000 members, one
resource, a small file and a long one. Printed are the median, and how many
times faster ours is. Ours checks the password and the person's scope each time.
"""

from __future__ import annotations

import http.client
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from appliance.core import tree
from appliance.core.roles import Kind, Status
from appliance.core.times import to_text
from appliance.store.ids import new_uid
from tests.support.dav import CLIENTS, ROOT, World, make_world, served

SIZES = {10: "2026-08", 1_000: "2026-09", 10_000: "2026-10"}
LONG = 50 * 1024 * 1024

WSGIDAV = """
import asyncio, sys
from hypercorn.asyncio import serve
from hypercorn.config import Config
from wsgidav.wsgidav_app import WsgiDAVApp
app = WsgiDAVApp({"provider_mapping": {"/": sys.argv[1]}, "verbose": 0,
                  "simple_dc": {"user_mapping": {"*": True}}, "block_size": 262144})
config = Config()
config.bind = ["127.0.0.1:" + sys.argv[2]]
config.errorlog = None
asyncio.run(serve(app, config, mode="wsgi"))
"""


def name_of(number: int) -> str:
    return f"2026-10-{number % 28 + 1:02d}_FURNIZOR-EXEMPLU-SRL_FACT-{number:06d}"


def fill(world: World) -> None:
    """Put the members into the database; their bytes are not looked at by a listing."""
    at = datetime(2026, 10, 5, 8, tzinfo=UTC)
    text = to_text(at)
    with closing(sqlite3.connect(world.settings.database_path)) as connection:
        for size, period in SIZES.items():
            connection.executemany(
                "INSERT INTO document (uid, client, kind, status, source, type, received_at,"
                " folder_name, folder_key, archive_month, period, signature_result,"
                " signature_reason, changed_at) VALUES"
                " (?, 1, 'received', 'archived', 'spv', 'invoice', ?, ?, ?, '2026/10', ?,"
                " 'absent', 'absent', ?)",
                (
                    (
                        new_uid(at),
                        text,
                        f"{name_of(number)}-{size}",
                        f"{name_of(number)}-{size}".casefold(),
                        period,
                        text,
                    )
                    for number in range(size)
                ),
            )
        connection.commit()


def mirror(world: World, folder: Path) -> None:
    """Make the same names as plain folders."""
    month = folder / CLIENTS["alfa"] / "Primite"
    for size, period in SIZES.items():
        for number in range(size):
            (month / period / f"{name_of(number)}-{size}").mkdir(parents=True)
    for row in world.documents:
        place = month / "2026-11" / row.name
        place.mkdir(parents=True)
        source = world.settings.archive_dir / world.client_uids["alfa"] / "2026/11" / row.uid
        (place / f"{row.name}.xml").write_bytes((source / "invoice.xml").read_bytes())
        (place / f"{row.name}.pdf").write_bytes((source / "invoice.pdf").read_bytes())


@contextmanager
def wsgidav(folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-c", WSGIDAV, str(folder), str(port)],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(15)


def median(
    port: int, method: str, path: str, headers: dict[str, str], runs: int
) -> tuple[float, int]:
    """Return the median in milliseconds and the length of the body."""
    times, length = [], 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        for _ in range(runs + 1):
            begun = time.perf_counter()
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            length = len(answer.read())
            times.append((time.perf_counter() - begun) * 1000)
            if answer.status not in (200, 207):
                raise RuntimeError(f"{method} {path}: {answer.status}")
    return statistics.median(times[1:]), length


def main(say: Callable[[str], None] = print) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        world = make_world(Path(scratch))
        fill(world)
        small = world.add(status=Status.ARCHIVED, kind=Kind.RECEIVED)
        long = world.add(status=Status.ARCHIVED, kind=Kind.RECEIVED, pdf=bytes(LONG))
        folders = Path(scratch) / "folders"
        mirror(world, folders)
        cases: list[tuple[str, str, str, str, int]] = [
            (
                f"PROPFIND 1, {size:,} members",
                "PROPFIND",
                tree.join([CLIENTS["alfa"], "Primite", period], collection=True),
                "1",
                {10: 200, 1_000: 40, 10_000: 9}[size],
            )
            for size, period in SIZES.items()
        ]
        cases += [
            ("PROPFIND 0, a document", "PROPFIND", small.path(), "0", 200),
            ("GET 6 kB", "GET", small.path(f"{small.name}.xml"), "", 200),
            ("GET 50 MiB", "GET", long.path(f"{long.name}.pdf"), "", 5),
        ]
        say(f"{'':26}{'ours':>11}{'WsgiDAV':>11}{'ratio':>8}{'ours, B a member':>18}")
        with served(world), wsgidav(folders) as other:
            login = world.authorization("ana")
            for title, method, path, depth, runs in cases:
                asked = {"Depth": depth} if depth else {}
                ours, length = median(world.port, method, path, {**login, **asked}, runs)
                theirs, _ = median(other, method, path, asked, max(runs // 5, 2))
                members = int(title.split()[2].replace(",", "")) if "members" in title else 0
                each = f"{length / (members + 1):.0f}" if members else ""
                say(f"{title:26}{ours:8.2f} ms{theirs:8.1f} ms{theirs / ours:7.1f}×{each:>18}")


if __name__ == "__main__":
    main()

"""The drive beside other WebDAV servers: one tree, one run, 1 and 16 connections.

Ours, WsgiDAV on cheroot, Apache mod_dav, nginx with dav-ext and `rclone serve
webdav` serve the same names on loopback, one after another; h2load asks. Printed
are p50 and p99 at one connection, the server's CPU a request, the rate at 16
connections, how much its memory grew, and how many times faster ours is (p50).
Ours checks the password and the person's scope each time, the others do neither.
`scripts/setup.sh bench` installs what is from Debian; what is missing is named.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from appliance.core import tree
from appliance.core.roles import Kind, Status
from tests.bench.bench_dav import LONG, SIZES, fill, mirror
from tests.support.dav import CLIENTS, ROOT, World, make_world, served

DEBIAN = "/usr/lib/python3/dist-packages"
MODULES = Path("/usr/lib/apache2/modules")
DAV_EXT = Path("/usr/lib/nginx/modules/ngx_http_dav_ext_module.so")
FINDER = (
    b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:getlastmodified/>'
    b"<D:getcontentlength/><D:creationdate/><D:resourcetype/></D:prop></D:propfind>"
)
CHEROOT = f"""
import sys
sys.path.append({DEBIAN!r})
from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp
app = WsgiDAVApp({{"provider_mapping": {{"/": sys.argv[1]}}, "verbose": 0, "logging": {{}},
                  "simple_dc": {{"user_mapping": {{"*": True}}}}, "block_size": 262144}})
server = wsgi.Server(("127.0.0.1", int(sys.argv[2])), app, numthreads=10)
server.request_queue_size = 128
server.start()
"""


@dataclass(frozen=True)
class Case:
    """One request, and how often at 1 connection and at 16; a slow server is asked less often."""

    title: str
    method: str
    path: str
    depth: str = ""
    body: bytes = b""
    alone: int = 200
    together: int = 400


@dataclass
class Seen:
    """What one server did in one case; milliseconds, requests a second."""

    p50: float
    p99: float
    cpu: float
    rate: float


@dataclass
class Peer:
    name: str
    command: Callable[[Path, int], list[str]]
    missing: str
    seen: dict[str, Seen] = field(default_factory=dict)
    grew: float = 0.0  # MB
    listed: dict[str, float] = field(default_factory=dict)  # by `one()`, ms


def apache(folder: Path, port: int) -> list[str]:
    place = folder.parent / "apache"
    place.mkdir(exist_ok=True)
    modules = ("mpm_event", "authz_core", "dav", "dav_fs")
    loads = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in modules)
    who = ""
    if os.geteuid() == 0:  # it refuses to serve as root
        who = "User www-data\nGroup www-data"
        for path in (place, folder):
            subprocess.run(["chown", "-R", "www-data", str(path)], check=True)
        folder.parent.chmod(0o755)
    (place / "conf").write_text(
        f"ServerRoot {place}\nListen 127.0.0.1:{port}\nServerName localhost\n{loads}\n{who}\n"
        f"PidFile {place}/pid\nErrorLog {place}/log\nDavLockDB {place}/locks\nKeepAlive On\n"
        f"MaxKeepAliveRequests 0\nDocumentRoot {folder}\n<Directory {folder}>\nDAV On\n"
        "Require all granted\n</Directory>\n"
    )
    return ["apache2", "-DFOREGROUND", "-f", str(place / "conf")]


def nginx(folder: Path, port: int) -> list[str]:
    place = folder.parent / "nginx"
    place.mkdir(exist_ok=True)
    who = "user root;" if os.geteuid() == 0 else ""
    (place / "conf").write_text(
        f"load_module {DAV_EXT};\n{who}\ndaemon off; worker_processes 2; pid {place}/pid;\n"
        f"error_log {place}/log; events {{}}\nhttp {{ access_log off; sendfile on;\n"
        f"keepalive_requests 1000000; client_body_temp_path {place}/body;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder};\n"
        "location / { dav_methods PUT DELETE MKCOL COPY MOVE; dav_ext_methods PROPFIND OPTIONS; }"
        "} }\n"
    )
    return ["nginx", "-p", str(place), "-c", str(place / "conf")]


def has_cheroot() -> bool:
    return Path(DEBIAN, "cheroot").is_dir() or importlib.util.find_spec("cheroot") is not None


def peers() -> list[Peer]:
    def unless(there: object, package: str) -> str:
        return "" if there else package

    return [
        Peer(
            "WsgiDAV",
            lambda folder, port: [sys.executable, "-c", CHEROOT, str(folder), str(port)],
            unless(has_cheroot(), "python3-cheroot"),
        ),
        Peer("Apache", apache, unless(shutil.which("apache2"), "apache2-bin")),
        Peer("nginx", nginx, unless(DAV_EXT.exists(), "nginx and libnginx-mod-http-dav-ext")),
        Peer(
            "rclone",
            lambda folder, port: [
                "rclone", "serve", "webdav", str(folder), "--addr", f"127.0.0.1:{port}",
                "--config", os.devnull,
            ],
            unless(shutil.which("rclone"), "rclone"),
        ),
    ]  # fmt: skip


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a server in a session of its own until it answers; yields its pid."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(15)


def spent(pid: int) -> tuple[float, float]:
    """Return the CPU seconds and the resident MB of a process and its children."""
    family, ticks, pages = {pid}, 0, 0
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    for each in sorted(stats):  # a parent is older than its children
        if int(stats[each][1]) in family:
            family.add(each)
    for each in family & stats.keys():
        ticks += int(stats[each][11]) + int(stats[each][12])
        pages += int(stats[each][21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def load(port: int, case: Case, headers: dict[str, str], number: int, at_once: int) -> list[str]:
    """Ask so often and return h2load's log: beginning, status and length of each, µs."""
    with tempfile.TemporaryDirectory() as scratch:
        log, body = Path(scratch) / "log", Path(scratch) / "body"
        asked = {":method": case.method, **headers}
        if case.depth:
            asked["depth"] = case.depth
        command = ["h2load", "--h1", "-n", str(number), "-c", str(at_once), f"--log-file={log}"]
        for name, value in asked.items():
            command += ["-H", f"{name}: {value}"]
        if case.body:
            body.write_bytes(case.body)
            command += ["-d", str(body)]
        subprocess.run(
            [*command, f"http://127.0.0.1:{port}{case.path}"],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=600,
        )
        return log.read_text().splitlines()


def measured(pid: int, port: int, case: Case, headers: dict[str, str]) -> Seen:
    begun = time.perf_counter()
    load(port, case, headers, 1, 1)
    # A server that needs seconds for one is not asked hundreds of times.
    most = max(3, int(8 / (time.perf_counter() - begun)))
    alone, together = min(case.alone, most), max(16, min(case.together, most))
    before, _ = spent(pid)
    times = sorted(int(line.split("\t")[2]) / 1000 for line in load(port, case, headers, alone, 1))
    after, _ = spent(pid)
    rate = 0.0
    if case.together and (case.depth != "1" or most > 8):
        lines = [line.split("\t") for line in load(port, case, headers, together, 16)]
        first = min(int(line[0]) for line in lines)
        last = max(int(line[0]) + int(line[2]) for line in lines)
        rate = len(lines) / ((last - first) / 1e6)
    return Seen(
        statistics.median(times),
        times[min(len(times) - 1, int(len(times) * 0.99))],
        (after - before) * 1000 / alone,
        rate,
    )


def moves(pid: int, port: int, there: str, back: str, headers: dict[str, str]) -> Seen:
    times = []
    before, _ = spent(pid)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number in range(100):
            source, target = (there, back) if number % 2 == 0 else (back, there)
            asked = {"Destination": f"http://127.0.0.1:{port}{target}", "Overwrite": "F"}
            begun = time.perf_counter()
            connection.request("MOVE", source, headers={**headers, **asked})
            answer = connection.getresponse()
            answer.read()
            times.append((time.perf_counter() - begun) * 1000)
            if answer.status not in (201, 204):
                raise RuntimeError(f"MOVE {source}: {answer.status}")
    after, _ = spent(pid)
    times.sort()
    return Seen(statistics.median(times), times[98], (after - before) * 10, 0.0)


def one(port: int, case: Case, headers: dict[str, str]) -> float:
    """Ask once over a connection that is open and return the milliseconds."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("OPTIONS", "/", headers=headers)
        connection.getresponse().read()
        begun = time.perf_counter()
        asked = {**headers, "Depth": case.depth}
        connection.request(case.method, case.path, body=case.body or None, headers=asked)
        connection.getresponse().read()
        return (time.perf_counter() - begun) * 1000


def after_a_change(world: World, case: Case, period: str, headers: dict[str, str]) -> float:
    """Return the median of a listing after another process changed one of its documents."""
    times = []
    for number in range(15):
        world.sql(
            "UPDATE document SET changed_at = ? WHERE id ="
            " (SELECT id FROM document WHERE period = ? ORDER BY id LIMIT 1 OFFSET 5)",
            f"2026-11-24T10:00:{number:02d}.000000Z",
            period,
        )
        times.append(one(world.port, case, headers))
    return statistics.median(times)


def main(say: Callable[[str], None] = print) -> None:
    if not shutil.which("h2load"):
        say("skipped: h2load is missing; run scripts/setup.sh bench")
        return
    with tempfile.TemporaryDirectory() as scratch:
        world = make_world(Path(scratch))
        fill(world)
        small = world.add(status=Status.ARCHIVED, kind=Kind.RECEIVED)
        long = world.add(status=Status.ARCHIVED, kind=Kind.RECEIVED, pdf=bytes(LONG))
        folder = Path(scratch) / "folders"
        mirror(world, folder)
        waiting = world.add(status=Status.PENDING)
        client = [CLIENTS["alfa"]]
        there, back = (
            tree.join([*client, name, waiting.name], collection=True)
            for name in ("De aprobat", "Respinse")
        )
        for name in ("De aprobat", "Respinse"):
            (folder / CLIENTS["alfa"] / name).mkdir()
        (folder / CLIENTS["alfa"] / "De aprobat" / waiting.name).mkdir()
        cases = [Case("PROPFIND 0", "PROPFIND", small.path() + "/", "0", alone=400, together=2000)]
        listings = {}
        for size, period in SIZES.items():
            path = tree.join([*client, "Primite", period], collection=True)
            alone, together = {10: (400, 2000), 1_000: (200, 1500), 10_000: (40, 100)}[size]
            for name, body in (("allprop", b""), ("Finder", FINDER)):
                case = Case(f"{size:,} {name}", "PROPFIND", path, "1", body, alone, together)
                cases.append(case)
                listings[case.title] = (case, period)
        cases += [
            Case("GET 6 kB", "GET", small.path(f"{small.name}.xml"), alone=400, together=2000),
            Case("GET 50 MB", "GET", long.path(f"{long.name}.pdf"), alone=10, together=32),
        ]
        login = world.authorization("ana")
        ours, changed, cold = Peer("ours", lambda *_: [], ""), {}, {}
        with served(world):
            for case in cases:
                # The first look counts for nothing: memory that is kept is no growth.
                load(world.port, case, login, 1, 1)
            _, before = spent(world.pid)
            for case in cases:
                ours.seen[case.title] = measured(world.pid, world.port, case, login)
            ours.seen["MOVE"] = moves(world.pid, world.port, there, back, login)
            ours.grew = spent(world.pid)[1] - before
            for title, (case, period) in listings.items():
                changed[title] = after_a_change(world, case, period, login)
        for title, (case, _) in listings.items():
            times = []
            for _ in range(3):
                with served(world):
                    times.append(one(world.port, case, login))
            cold[title] = min(times)
        shown = [ours]
        for peer in peers():
            if peer.missing:
                say(f"{peer.name}: missing ({peer.missing}); run scripts/setup.sh bench")
                continue
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = int(probe.getsockname()[1])
            with running(peer.command(folder, port), port) as pid:
                for case in cases:
                    load(port, case, {}, 1, 1)
                _, before = spent(pid)
                for case in cases:
                    peer.seen[case.title] = measured(pid, port, case, {})
                peer.seen["MOVE"] = moves(pid, port, there, back, {})
                for title, (case, _) in listings.items():
                    peer.listed[title] = statistics.median(one(port, case, {}) for _ in range(3))
                peer.grew = spent(pid)[1] - before
            shown.append(peer)
        report(say, shown, changed, cold)


def report(
    say: Callable[[str], None],
    shown: list[Peer],
    changed: dict[str, float],
    cold: dict[str, float],
) -> None:
    ours = shown[0]
    titles = list(ours.seen)

    def table(title: str, cell: Callable[[Peer, str], str]) -> None:
        say(f"\n{title:24}" + "".join(f"{peer.name:>18}" for peer in shown))
        for each in titles:
            say(f"{each:24}" + "".join(f"{cell(peer, each):>18}" for peer in shown))

    table(
        "1 connection: p50/p99 ms",
        lambda peer, each: f"{peer.seen[each].p50:.2f} / {peer.seen[each].p99:.2f}",
    )
    table("CPU ms a request", lambda peer, each: f"{peer.seen[each].cpu:.2f}")
    table(
        "16 connections: req/s",
        lambda peer, each: f"{peer.seen[each].rate:,.1f}" if peer.seen[each].rate else "not asked",
    )
    table(
        "p50 of it : p50 of ours",
        lambda peer, each: f"{peer.seen[each].p50 / ours.seen[each].p50:.1f}×",
    )
    say(f"\n{'memory grew, MB':24}" + "".join(f"{peer.grew:>18.1f}" for peer in shown))
    say(f"\n{'ours, ms':24}{'after one change':>18}{'cold':>18}   best peer : after one change")
    for each, after in changed.items():
        best = min((peer.listed[each] for peer in shown[1:]), default=0.0)
        say(f"{each:24}{after:>18.2f}{cold[each]:>18.2f}{best / after:>12.1f}×")


if __name__ == "__main__":
    main()

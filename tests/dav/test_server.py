"""The process: strange requests, clients that leave, two at once, and a clean end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance import dav
from appliance.core.errors import ConfigError, SchemaUnknown
from appliance.core.roles import Status
from tests.support.dav import World, at, make_world, moved, served

MEGABYTE = 1024 * 1024


def start(world: World, path: str, who: str = "ana") -> socket.socket:
    """Ask for a file over a bare socket and read only the beginning of the answer."""
    raw = socket.create_connection(("127.0.0.1", world.port), timeout=20)
    credentials = world.authorization(who)["Authorization"]
    raw.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {credentials}\r\n\r\n".encode())
    assert raw.recv(15).startswith(b"HTTP/1.1 200")
    return raw


def read_so_far(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(lines[0].removeprefix("rchar: "))


def files_open(pid: int) -> int:
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(entry.readlink()).endswith("invoice.xml")
        except FileNotFoundError:
            continue
    return found


def test_the_rest_of_a_long_file_is_not_read_for_a_client_that_has_left(world: World) -> None:
    row = world.add(xml=bytes(96 * MEGABYTE))
    before = read_so_far(world.pid)
    start(world, row.path(f"{row.name}.xml")).close()
    while files_open(world.pid):  # bounded by the test's own time limit
        world.ask("OPTIONS", "/", "ana")
    assert read_so_far(world.pid) - before < 48 * MEGABYTE


def resident(pid: int) -> int:
    """Return the bytes of memory that the process has now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kilobytes) * 1024


def test_forty_stalled_downloads_and_two_hundred_idle_connections_stop_nobody(
    world: World,
) -> None:
    row = world.add(pdf=bytes(32 * MEGABYTE))
    stalled = [start(world, row.path(f"{row.name}.pdf")) for _ in range(40)]
    idle = [socket.create_connection(("127.0.0.1", world.port)) for _ in range(200)]
    try:
        assert world.listing(at("De aprobat"), "ana").status == 207
        assert world.ask("GET", row.path(f"{row.name}.xml"), "ana").status == 200
        assert len(world.ask("GET", row.path(f"{row.name}.pdf"), "ana").body) == 32 * MEGABYTE
        assert world.move(row.path(), moved(row, "Aprobate"), "ana").status == 201
        # Forty whole files would be 1,280 MB.
        assert resident(world.pid) < 400 * MEGABYTE
    finally:
        for each in [*stalled, *idle]:
            each.close()


def test_a_long_download_takes_no_memory_of_its_length(world: World) -> None:
    row = world.add(xml=bytes(256 * MEGABYTE))
    path = row.path(f"{row.name}.xml")
    before = 0
    for _ in range(2):
        with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=60)) as connection:
            connection.request("GET", path, headers=world.authorization("ana"))
            answer, length = connection.getresponse(), 0
            while part := answer.read(MEGABYTE):
                length += len(part)
        assert length == 256 * MEGABYTE
        # The first one brings in what every one needs.
        before, grown = resident(world.pid), resident(world.pid) - before
    assert grown < 10 * MEGABYTE


def test_when_two_people_move_one_folder_at_once_one_is_told(world: World) -> None:
    for _ in range(5):
        row = world.add()
        approved = row.path().replace("De%20aprobat", "Aprobate")
        rejected = row.path().replace("De%20aprobat", "Respinse")
        with ThreadPoolExecutor(4) as pool:
            moves = [
                pool.submit(world.move, row.path(), to, who)
                for who in ("ana", "aprobator")
                for to in (approved, rejected)
            ]
        codes = sorted(move.result().status for move in moves)
        assert codes[0] == 201
        assert set(codes[1:]) <= {404, 409, 412}
        events = world.sql(
            "SELECT new_status FROM event WHERE document = (SELECT id FROM document WHERE uid = ?)",
            row.uid,
        )
        assert len(events) == 1
        assert world.status_of(row)[0] == events[0][0]


_value = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=40).map(
    str.strip
)
_header = st.one_of(
    st.tuples(st.just("Depth"), st.sampled_from(["0", "1", "infinity", "", "1,noroot"])),
    st.tuples(st.sampled_from(["Depth", "Destination", "Range", "If-Range", "If", "Host"]), _value),
    st.tuples(st.sampled_from(["If-Match", "If-None-Match", "If-Modified-Since"]), _value),
    st.tuples(st.just("Range"), st.from_regex(r"bytes=[0-9,-]{0,12}", fullmatch=True)),
    st.tuples(st.just("Expect"), st.just("100-continue")),
)


@given(
    method=st.sampled_from(["GET", "HEAD", "PROPFIND", "MOVE", "OPTIONS", "PUT", "LOCK", "X"]),
    path=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60),
    real=st.booleans(),
    headers=st.lists(_header, max_size=4),
    body=st.binary(max_size=100),
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_request_however_strange_is_our_defect(
    world: World, method: str, path: str, real: bool, headers: list[Any], body: bytes
) -> None:
    if not world.documents:
        world.add()
    row = world.documents[0]
    with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=20)) as connection:
        target = row.path(f"{row.name}.xml") if real else "/" + path
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        names = [name for name, _ in headers]
        if "Host" not in names:
            connection.putheader("Host", "localhost")
        for name, value in [*headers, *world.authorization("ana").items()]:
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 500
        assert not 300 <= answer.status < 400 or answer.status == 304


def test_another_version_of_http_is_not_spoken(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=20) as raw:
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " not in raw.recv(200)


async def ask_app(
    app: Any, client: str, *headers: tuple[bytes, bytes]
) -> tuple[int, dict[bytes, bytes]]:
    """Ask the application itself, as from another machine."""
    sent: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "OPTIONS",
        "raw_path": b"/",
        "query_string": b"",
        "scheme": "http",
        "client": (client, 5000),
        "headers": list(headers),
    }
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


async def test_a_password_is_not_even_asked_for_on_an_open_line(world: World) -> None:
    app = dav.create_app(replace(world.settings, dav_url="http://drive.firma.ro"))
    status, headers = await ask_app(app, "192.168.1.7")
    assert status == 403
    assert b"www-authenticate" not in headers
    behind_tls = dav.create_app(replace(world.settings, dav_url="https://drive.firma.ro"))
    status, headers = await ask_app(behind_tls, "192.168.1.7")
    assert status == 401
    assert b"www-authenticate" in headers


def test_a_stop_cuts_off_a_download_that_stands_still_and_leaves_no_noise(tmp_path: Path) -> None:
    with served(make_world(tmp_path)) as world:
        row = world.add(pdf=bytes(32 * MEGABYTE))
        stalled = start(world, row.path(f"{row.name}.pdf"))
        os.kill(world.pid, signal.SIGTERM)
        ended = os.waitid(os.P_PID, world.pid, os.WEXITED | os.WNOWAIT)
        stalled.close()
    assert ended is not None
    assert ended.si_status == 0
    assert "Traceback" not in (world.settings.data_dir / "dav.log").read_text()


def test_a_server_that_cannot_begin_says_why(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", world.port))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot listen"):
            dav.serve(world.settings)
    with pytest.raises(SchemaUnknown):
        dav.serve(replace(world.settings, data_dir=tmp_path / "elsewhere"))


def test_a_document_in_every_status_has_a_place(world: World) -> None:
    for status in Status:
        row = world.add(status=status)
        assert world.listing(row.path(), "ana").status == 207

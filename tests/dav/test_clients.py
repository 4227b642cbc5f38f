"""Real clients: rclone, cadaver and curl run, Explorer's and Finder's requests replayed.

The sequences are what those clients send (Windows' WebClient, macOS' webdavfs),
with our tree's paths; each answer must be one that the client can live with.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from appliance.core import tree
from appliance.core.roles import Kind, Status
from tests.support.dav import CLIENTS, PDF, XML, World

WINDOWS = {
    "User-Agent": "Microsoft-WebDAV-MiniRedir/10.0.22631",
    "translate": "f",
    "Connection": "Keep-Alive",
    "Cache-Control": "no-cache",
    "Pragma": "no-cache",
}
FINDER = {
    "User-Agent": "WebDAVFS/3.0.0 (03008000) Darwin/25.2.0 (arm64)",
    "Accept": "*/*",
    "Connection": "keep-alive",
}
FINDER_STAT = (
    '<?xml version="1.0" encoding="utf-8"?>\n<D:propfind xmlns:D="DAV:">\n<D:prop>\n'
    "<D:getlastmodified/>\n<D:getcontentlength/>\n<D:creationdate/>\n<D:resourcetype/>\n"
    "</D:prop>\n</D:propfind>\n"
)
FINDER_QUOTA = (
    '<?xml version="1.0" encoding="utf-8"?>\n<D:propfind xmlns:D="DAV:">\n<D:prop>\n'
    "<D:quota-available-bytes/>\n<D:quota-used-bytes/>\n<D:quota/>\n<D:quotaused/>\n"
    "</D:prop>\n</D:propfind>\n"
)
FINDER_LIST = FINDER_STAT.replace(
    "</D:prop>", '<A:appledoubleheader xmlns:A="http://www.apple.com/webdav_fs/props/"/>\n</D:prop>'
)
LOCK = (
    '<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope>'
    "<D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>"
    "<D:href>FIRMA\\ana</D:href></D:owner></D:lockinfo>"
)
Step = tuple[str, str, dict[str, str], "str | None", set[int]]


def at(folder: str, *names: str) -> str:
    return tree.join([CLIENTS["alfa"], folder, *names], collection=False)


def replay(world: World, who: str, steps: list[Step]) -> None:
    """Send the steps over one connection, as the client would."""
    with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=20)) as connection:
        for method, path, headers, body, fine in steps:
            sent = {**headers, **world.authorization(who)}
            if body is None:
                sent["Content-Length"] = "0"
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in fine, (method, path, answer.status)
            assert not 300 <= answer.status < 400


def test_windows_maps_the_drive_and_opens_a_folder(world: World) -> None:
    row = world.add(status=Status.APPROVED)
    zero, one = {**WINDOWS, "Depth": "0"}, {**WINDOWS, "Depth": "1"}
    probes = ("desktop.ini", "folder.jpg", "folder.gif", "AutoRun.inf", "Thumbs.db")
    steps: list[Step] = [
        ("OPTIONS", "/", WINDOWS, None, {200}),
        ("OPTIONS", at("Aprobate"), WINDOWS, None, {200}),
        ("PROPFIND", "/", zero, None, {207}),
        ("PROPFIND", at("Aprobate"), zero, None, {207}),
        ("PROPFIND", at("Aprobate"), one, None, {207}),
        *(("PROPFIND", at("Aprobate", probe), zero, None, {404}) for probe in probes),
        ("PROPFIND", row.path(), zero, None, {207}),
        ("PROPFIND", row.path(), one, None, {207}),
        ("PROPFIND", row.path(f"{row.name}.pdf"), zero, None, {207}),
        ("GET", row.path(f"{row.name}.pdf"), WINDOWS, None, {200}),
    ]
    replay(world, "contabil", steps)


def test_windows_drags_an_invoice_to_aprobate(world: World) -> None:
    row = world.add()
    zero, one = {**WINDOWS, "Depth": "0"}, {**WINDOWS, "Depth": "1"}
    to = at("Aprobate", row.name)
    drag = {**WINDOWS, "Destination": f"http://localhost:{world.port}{to}", "Overwrite": "F"}
    steps: list[Step] = [
        ("PROPFIND", row.path(), zero, None, {207}),
        ("PROPFIND", to, zero, None, {404}),
        ("MOVE", row.path(), drag, None, {201}),
        ("PROPFIND", to, zero, None, {207}),
        ("PROPFIND", to, one, None, {207}),
        ("PROPFIND", at("De aprobat"), one, None, {207}),
        ("PROPFIND", row.path(), zero, None, {404}),
    ]
    replay(world, "ana", steps)
    assert world.status_of(row)[0] == "approved"


def test_windows_drags_an_approved_invoice_into_its_kind(world: World) -> None:
    row = world.add(status=Status.APPROVED, kind=Kind.ISSUED)
    zero, one = {**WINDOWS, "Depth": "0"}, {**WINDOWS, "Depth": "1"}
    to = at("Emise", row.name)
    drag = {**WINDOWS, "Destination": f"http://localhost:{world.port}{to}", "Overwrite": "F"}
    steps: list[Step] = [
        ("PROPFIND", row.path(), zero, None, {207}),
        ("PROPFIND", to, zero, None, {404}),
        ("MOVE", row.path(), drag, None, {201}),
        ("PROPFIND", to, zero, None, {207}),
        ("PROPFIND", to, one, None, {207}),
        ("GET", f"{to}/{row.name}.pdf", WINDOWS, None, {200}),
    ]
    replay(world, "contabil", steps)
    assert world.status_of(row)[0] == "archived"


def test_windows_cannot_copy_in_create_rename_or_delete(world: World) -> None:
    row = world.add()
    zero = {**WINDOWS, "Depth": "0"}
    new = at("De aprobat", "New folder")
    rename = {**WINDOWS, "Overwrite": "F", "Destination": world.url + at("De aprobat", "altfel")}
    before = world.dump()
    steps: list[Step] = [
        ("PROPFIND", at("De aprobat", "w.pdf"), zero, None, {404}),
        ("PUT", at("De aprobat", "w.pdf"), WINDOWS, None, {403}),
        ("LOCK", at("De aprobat", "w.pdf"), {**WINDOWS, "Timeout": "Second-3600"}, LOCK, {403}),
        ("MKCOL", new, WINDOWS, None, {403}),
        ("MOVE", row.path(), rename, None, {403}),
        ("PROPPATCH", row.path(), WINDOWS, "<x/>", {403}),
        ("DELETE", row.path(f"{row.name}.pdf"), WINDOWS, None, {403}),
        ("DELETE", row.path(), WINDOWS, None, {403}),
        ("LOCK", row.path(f"{row.name}.pdf"), WINDOWS, LOCK, {403}),
        ("UNLOCK", row.path(), {**WINDOWS, "Lock-Token": "<opaquelocktoken:x>"}, None, {403}),
    ]
    replay(world, "ana", steps)
    assert world.dump() == before


def test_explorers_merge_file_by_file_approves_nothing(world: World) -> None:
    row = world.add()
    before = world.dump()
    steps: list[Step] = [
        (
            "MOVE",
            row.path(row.name + suffix),
            {**WINDOWS, "Destination": world.url + at("Aprobate", row.name, row.name + suffix)},
            None,
            {403},
        )
        for suffix in (".xml", ".pdf", "_semnatura.xml")
    ]
    replay(world, "ana", [*steps, ("DELETE", row.path(), WINDOWS, None, {403})])
    assert world.dump() == before


def test_finder_connects_lists_and_moves(world: World) -> None:
    row = world.add()
    xml = {**FINDER, "Content-Type": "text/xml"}
    zero, one = {**xml, "Depth": "0"}, {**xml, "Depth": "1"}
    litter = ("._.", ".DS_Store", ".metadata_never_index", ".Spotlight-V100", ".hidden")
    to = at("Aprobate", row.name)
    steps: list[Step] = [
        ("OPTIONS", "/", {**FINDER, "User-Agent": "WebDAVLib/1.3"}, None, {200}),
        ("OPTIONS", "/", FINDER, None, {200}),
        ("PROPFIND", "/", zero, FINDER_STAT, {207}),
        ("PROPFIND", "/", zero, FINDER_QUOTA, {207}),
        ("PROPFIND", "/", one, FINDER_LIST, {207}),
        *(("PROPFIND", f"/{name}", zero, FINDER_STAT, {404}) for name in litter),
        ("PROPFIND", row.path() + "/", zero, FINDER_STAT, {207}),
        ("PROPFIND", to, zero, FINDER_STAT, {404}),
        ("MOVE", row.path() + "/", {**FINDER, "Destination": world.url + to}, None, {201}),
        ("PROPFIND", to + "/", one, FINDER_LIST, {207}),
    ]
    replay(world, "ana", steps)
    assert world.status_of(row)[0] == "approved"


def run(command: list[str], folder: Path, *, typed: str = "", **env: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={**os.environ, "HOME": str(folder), "RCLONE_CONFIG": str(folder / "none"), **env},
    )
    return f"{done.stdout}{done.stderr}"


def rclone(world: World, who: str, folder: Path, *arguments: str) -> str:
    obscured = run(["rclone", "obscure", world.passwords[who]], folder).strip()
    return run(
        ["rclone", "--retries", "1", "--low-level-retries", "1", *arguments],
        folder,
        RCLONE_WEBDAV_URL=world.url,
        RCLONE_WEBDAV_VENDOR="other",
        RCLONE_WEBDAV_USER=f"{who}@exemplu.ro",
        RCLONE_WEBDAV_PASS=obscured,
    )


def test_rclone_lists_copies_and_approves(world: World, tmp_path: Path) -> None:
    row = world.add()
    client = CLIENTS["alfa"]
    listed = rclone(world, "ana", tmp_path, "lsf", f":webdav:{client}")
    assert "De aprobat/" in listed.splitlines()
    files = rclone(world, "ana", tmp_path, "lsf", "-R", f":webdav:{client}/De aprobat")
    assert f"{row.name}/{row.name}.pdf" in files.splitlines()
    source = f":webdav:{client}/De aprobat/{row.name}"
    rclone(world, "ana", tmp_path, "copy", source, str(tmp_path / "copy"))
    assert (tmp_path / "copy" / f"{row.name}.pdf").read_bytes() == PDF
    assert (tmp_path / "copy" / f"{row.name}.xml").read_bytes() == XML
    said = rclone(world, "ana", tmp_path, "moveto", source, f":webdav:{client}/Aprobate/{row.name}")
    assert world.status_of(row)[0] == "approved", said
    assert row.name in rclone(world, "contabil", tmp_path, "lsf", f":webdav:{client}/Aprobate")


def test_rclone_cannot_write_or_delete(world: World, tmp_path: Path) -> None:
    row = world.add()
    before = world.dump()
    (tmp_path / "new.txt").write_text("x")
    client = CLIENTS["alfa"]
    rclone(world, "ana", tmp_path, "copyto", "new.txt", f":webdav:{client}/Aprobate/new.txt")
    rclone(world, "ana", tmp_path, "purge", f":webdav:{client}/De aprobat/{row.name}")
    rclone(world, "ana", tmp_path, "deletefile", f":webdav:{client}/De aprobat/{row.name}/x.xml")
    assert world.dump() == before


def test_cadaver_lists_reads_and_rejects(world: World, tmp_path: Path) -> None:
    row = world.add()
    (tmp_path / ".netrc").write_text(
        f"machine localhost login ana@exemplu.ro password {world.passwords['ana']}\n"
    )
    (tmp_path / ".netrc").chmod(0o600)
    client = CLIENTS["alfa"]
    # Into the folder: cadaver 0.26 moves a collection to nothing but a collection.
    typed = (
        f'cd "{client}/De aprobat"\nls\nget "{row.name}/{row.name}.xml" got.xml\n'
        f'move "{row.name}" "../Respinse/"\nquit\n'
    )
    said = run(["cadaver", world.url], tmp_path, typed=typed)
    assert row.name in said
    assert (tmp_path / "got.xml").read_bytes() == XML
    assert world.status_of(row)[0] == "rejected", said


def test_curl_resumes_a_download(world: World, tmp_path: Path) -> None:
    row = world.add()
    (tmp_path / "x.pdf").write_bytes(PDF[:100_000])
    login = f"ana@exemplu.ro:{world.passwords['ana']}"
    path = row.path(f"{row.name}.pdf")
    run(["curl", "-sS", "-u", login, "-C", "-", "-o", "x.pdf", world.url + path], tmp_path)
    assert (tmp_path / "x.pdf").read_bytes() == PDF


def test_an_upload_that_expects_to_continue_is_refused_without_hanging(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "big.bin").write_bytes(b"x" * 3_000_000)
    login = f"ana@exemplu.ro:{world.passwords['ana']}"
    said = run(
        ["curl", "-sS", "-u", login, "-T", "big.bin", "-H", "Expect: 100-continue", "-w",
         "%{http_code}", "-o", "answer.xml", world.url + at("Aprobate", "big.bin")],
        tmp_path,
    )  # fmt: skip
    assert said == "403"

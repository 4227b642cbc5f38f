"""A drive for the tests: a real store with people of every role, and the real server.

Rows of documents are written with SQL, so that any state can be had at once;
people, passwords and every change under test go through the store itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lxml import etree

from appliance import config
from appliance.config import Settings
from appliance.core import tree
from appliance.core.roles import Kind, Role, Status
from appliance.core.times import to_text
from appliance.store import drive_passwords
from appliance.store.engine import open_store
from appliance.store.files import Archive
from appliance.store.ids import new_uid

ROOT = Path(__file__).resolve().parent.parent.parent
XML = b"<Invoice>" + b"x" * 6000 + b"</Invoice>"
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 1000


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def hrefs(self) -> list[str]:
        """The hrefs of a multistatus, in order."""
        found = etree.fromstring(self.body).iterfind("{DAV:}response/{DAV:}href")
        return [href.text or "" for href in found]

    @property
    def names(self) -> set[str]:
        """The last names of the members of a listing."""
        last = [tree.split(href.encode()) for href in self.hrefs[1:]]
        return {segments[-1] for segments in last if segments}

    @property
    def sentence(self) -> str:
        return etree.fromstring(self.body).findtext("{urn:arhivar:dav}sentence") or ""


@dataclass(frozen=True)
class Row:
    """One document of the world."""

    client: str
    status: Status
    kind: Kind
    name: str
    uid: str
    uploader: str | None = None

    def path(self, *more: str, period: str = "2026-11") -> str:
        standing = tree.Standing(self.status, self.kind, period, self.name)
        place = tree.place_of(CLIENTS[self.client], standing)
        return tree.join([*place.segments, *more], collection=False)


CLIENTS = {
    "alfa": "Alfa Construct SRL (12345678)",
    "beta": "Țepeș & fiii SRL (87654321)",
    "gama": "Gama SRL (11223344)",
}
PEOPLE: Mapping[str, tuple[Role | None, tuple[str, ...], Mapping[str, Role]]] = {
    # name: (role in the firm, clients assigned, roles at clients)
    "admin": (Role.ADMIN, (), {}),
    "contabil": (Role.ACCOUNTANT, ("alfa",), {}),
    "contabil-beta": (Role.ACCOUNTANT, ("beta",), {}),
    "ana": (None, (), {"alfa": Role.OWNER}),
    "aprobator": (None, (), {"alfa": Role.APPROVER}),
    "colaborator": (None, (), {"alfa": Role.CONTRIBUTOR}),
    "privitor": (None, (), {"alfa": Role.VIEWER}),
    "bogdan": (None, (), {"beta": Role.OWNER}),
    "ambele": (Role.ACCOUNTANT, ("alfa",), {"beta": Role.OWNER}),
    "strain": (None, (), {}),
}


@dataclass
class World:
    settings: Settings
    passwords: dict[str, str] = field(default_factory=dict)
    client_ids: dict[str, int] = field(default_factory=dict)
    client_uids: dict[str, str] = field(default_factory=dict)
    documents: list[Row] = field(default_factory=list)
    pid: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**9)))

    @property
    def port(self) -> int:
        return self.settings.dav_port

    @property
    def url(self) -> str:
        return self.settings.dav_url

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.settings.database_path, timeout=10)) as connection:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
        return rows

    def dump(self, *, without: Iterable[str] = ("throttle", "drive_password")) -> str:
        """Everything in the database as text, but for counters that a refusal may raise."""
        with closing(sqlite3.connect(self.settings.database_path, timeout=10)) as connection:
            lines = [
                line
                for line in connection.iterdump()
                if not any(f'INTO "{table}"' in line for table in without)
            ]
        return "\n".join(lines)

    def authorization(self, who: str | None) -> dict[str, str]:
        if who is None:
            return {}
        pair = f"{who}@exemplu.ro:{self.passwords[who]}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def ask(
        self,
        method: str,
        path: str,
        who: str | None = None,
        body: bytes | None = None,
        **headers: str,
    ) -> Reply:
        """Send one request as it is written here; `Depth_x` stands for `Depth-x`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            sent = self.authorization(who)
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.headers.items()), answer.read())

    def listing(self, path: str, who: str, depth: str = "1") -> Reply:
        return self.ask("PROPFIND", path, who, Depth=depth)

    def move(self, path: str, to: str, who: str, **headers: str) -> Reply:
        return self.ask("MOVE", path, who, Destination=f"{self.url}{to}", **headers)

    def add(
        self,
        client: str = "alfa",
        status: Status = Status.PENDING,
        kind: Kind = Kind.RECEIVED,
        *,
        name: str = "",
        period: str = "2026-11",
        uploader: str | None = None,
        xml: bytes = XML,
        pdf: bytes | None = PDF,
        mime: str = "application/xml",
    ) -> Row:
        """Put a document into the archive and the database, in any state."""
        number = next(self.numbers)
        name = name or f"2026-11-03_ENEL-ENERGIE_EFI-{number:05d}"
        at = datetime(2026, 11, 3, 9, tzinfo=UTC) + timedelta(seconds=number)
        uid = new_uid(at)
        archive = Archive(self.settings.archive_dir)
        files = {"invoice.xml": xml, "signature.xml": b"<Signature/>"}
        archive.write_document(self.client_uids[client], "2026/11", uid, files, {"uid": uid})
        shown = [
            ("invoice", "invoice.xml", f"{name}.xml", mime, xml),
            (
                "signature",
                "signature.xml",
                f"{name}_semnatura.xml",
                "application/xml",
                b"<Signature/>",
            ),
        ]
        if pdf is not None:
            archive.write_derived(self.client_uids[client], "2026/11", uid, "invoice.pdf", pdf)
            shown.append(("pdf", "invoice.pdf", f"{name}.pdf", "application/pdf", pdf))
        text = to_text(at)
        with closing(sqlite3.connect(self.settings.database_path, timeout=10)) as connection:
            document = connection.execute(
                "INSERT INTO document (uid, client, kind, status, source, type, received_at,"
                " uploader, issue_date, partner_cif, currency, payable_minor, signed_minor,"
                " ron_minor, folder_name, folder_key, archive_month, period, signature_result,"
                " signature_reason, changed_at)"
                " VALUES (?, ?, ?, ?, 'spv', 'invoice', ?, (SELECT id FROM account WHERE"
                " email_key = ?), '2026-11-03', '13267221', 'RON', 12100, 12100, 12100, ?, ?,"
                " '2026/11', ?, 'absent', 'absent', ?)",
                (
                    uid,
                    self.client_ids[client],
                    kind,
                    status,
                    text,
                    f"{uploader}@exemplu.ro" if uploader else "",
                    name,
                    name.casefold(),
                    period if status is Status.ARCHIVED else None,
                    text,
                ),
            ).lastrowid
            connection.executemany(
                "INSERT INTO document_file (document, role, stored_name, shown_name, shown_key,"
                " mime, size, sha256, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        document,
                        role,
                        stored,
                        name_shown,
                        name_shown.casefold(),
                        kind_of_file,
                        len(data),
                        hashlib.sha256(data).hexdigest(),
                        text,
                    )
                    for role, stored, name_shown, kind_of_file, data in shown
                ],
            )
            connection.commit()
        row = Row(client, status, kind, name, uid, uploader)
        self.documents.append(row)
        return row

    def add_notice(self, client: str = "alfa", *, text: bytes = b"<Error/>") -> str:
        number = next(self.numbers)
        at = datetime(2026, 11, 4, 9, tzinfo=UTC) + timedelta(seconds=number)
        uid, name = new_uid(at), f"2026-11-04_Eroare-ANAF_{number}"
        Archive(self.settings.archive_dir).write_document(
            self.client_uids[client], "2026/11", uid, {"notice.xml": text}, {"uid": uid}
        )
        stamp = to_text(at)
        with closing(sqlite3.connect(self.settings.database_path, timeout=10)) as connection:
            message = connection.execute(
                "INSERT INTO message (uid, client, message_id, cif, type, details, created_raw,"
                " entry, state, listed_at) VALUES (?, ?, ?, '1', 'ERORI FACTURA', '', '', '{}',"
                " 'notice', ?)",
                (uid, self.client_ids[client], str(number), stamp),
            ).lastrowid
            notice = connection.execute(
                "INSERT INTO notice (uid, client, message, type, text, folder_name, folder_key,"
                " period, archive_month, created_at)"
                " VALUES (?, ?, ?, 'anaf_error', 'x', ?, ?, '2026-11', '2026/11', ?)",
                (uid, self.client_ids[client], message, name, name.casefold(), stamp),
            ).lastrowid
            connection.execute(
                "INSERT INTO notice_file (notice, role, stored_name, shown_name, shown_key, mime,"
                " size, sha256, created_at)"
                " VALUES (?, 'invoice', 'notice.xml', ?, ?, 'application/xml', ?, ?, ?)",
                (
                    notice,
                    f"{name}.xml",
                    f"{name}.xml".casefold(),
                    len(text),
                    hashlib.sha256(text).hexdigest(),
                    stamp,
                ),
            )
            connection.commit()
        return name

    def status_of(self, row: Row) -> tuple[object, ...]:
        return self.sql("SELECT status, period FROM document WHERE uid = ?", row.uid)[0]


def make_world(data: Path, **options: object) -> World:
    """Create the store with the people and clients above, and no documents."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {
        "data_dir": data / "data",
        "dav_port": port,
        "dav_url": f"http://localhost:{port}",
    }
    settings = Settings(**{**values, **options})  # type: ignore[arg-type]
    world = World(settings)
    asyncio.run(_populate(world))
    return world


async def _populate(world: World) -> None:
    at = datetime.now(UTC)
    async with open_store(world.settings, migrate=True):
        text = to_text(at)
        for number, (key, name) in enumerate(CLIENTS.items(), start=1):
            uid = new_uid(at)
            world.client_ids[key], world.client_uids[key] = number, uid
            world.sql(
                "INSERT INTO client (id, uid, name, folder_name, folder_key, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                number, uid, name, name, name.casefold(), text,
            )  # fmt: skip
        for number, (who, (role, assigned, memberships)) in enumerate(PEOPLE.items(), start=1):
            world.sql(
                "INSERT INTO account (id, uid, email, email_key, name, firm_role, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                number, new_uid(at), f"{who}@exemplu.ro", f"{who}@exemplu.ro", who, role, text,
            )  # fmt: skip
            for client in assigned:
                world.sql(
                    "INSERT INTO assignment (account, client) VALUES (?, ?)",
                    number, world.client_ids[client],
                )  # fmt: skip
            for client, membership in memberships.items():
                world.sql(
                    "INSERT INTO member (account, client, role, created_at) VALUES (?, ?, ?, ?)",
                    number, world.client_ids[client], membership, text,
                )  # fmt: skip
            world.passwords[who] = await drive_passwords.create(number, "laptop", at)


@contextmanager
def served(world: World) -> Iterator[World]:
    """Run the real process of the drive for the world."""
    file = world.settings.data_dir / "arhivar.toml"
    file.write_text(config.dump(world.settings))
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            os.environ.get("X_RUN")
            or "from appliance import config, dav; dav.serve(config.load())",
        ],
        env={**os.environ, "ARHIVAR_CONFIG": str(file)},
        cwd=ROOT,
        stderr=(world.settings.data_dir / "dav.log").open("ab"),
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", world.port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (world.settings.data_dir / "dav.log").read_text()
                    raise RuntimeError(f"the drive did not start:\n{log}") from None
                time.sleep(0.05)
        world.pid = process.pid
        yield world
    finally:
        process.terminate()
        process.wait(15)


def at(folder: str, *names: str, client: str = "alfa") -> str:
    return tree.join([CLIENTS[client], folder, *names], collection=False)


def moved(row: Row, folder: str, month: str = "") -> str:
    names = [folder, month, row.name] if month else [folder, row.name]
    return at(*names, client=row.client)

"""Every route × every person × own, other and absent objects.

What is expected stands in the tables of `access.py`, written down by hand. A route
that no table names fails, and so does a row or a person that is missing.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from litestar import get
from litestar.exceptions import ImproperlyConfiguredException

from appliance.core.roles import CLIENT_ROLES, Kind, Role, Scope, Status
from appliance.store import accounts, clients, documents, messages, notices
from appliance.store.documents import NewFile
from appliance.store.files import Archive
from appliance.store.ids import new_uid
from appliance.web.app import PortalApp, create_app
from appliance.web.auth.guards import PERSON, allow, endpoints
from appliance.web.pages import HANDLERS
from tests.support.linking import ALFA, BETA, Linked, linked
from tests.support.store import NOW, entry
from tests.support.web import Browser, Site, cheap_passwords
from tests.web.access import PEOPLE, ROUTES, VISIBLE

ABSENT = "0" * 26
STATUSES = {status.value: status for status in Status}
OTHERS = ("notice", "grant")  # rows that are no documents
CIFS = {"alfa grant": ALFA, "beta grant": BETA}


@dataclass(frozen=True)
class Thing:
    """An object that an address may name; `mark` stands in all its texts and files."""

    uid: str
    mark: str = ""


@dataclass
class Matrix:
    """Everything that the walk needs: a browser for each person, the things by row."""

    site: Site
    linked: Linked
    browsers: dict[str, Browser] = field(default_factory=dict)
    things: dict[str, dict[str, Thing]] = field(default_factory=dict)

    def cells(self, method: str) -> Iterator[tuple[str, str, Thing | None]]:
        """Yield path, row and thing of everything that can be called with the method."""
        for its_method, path in ROUTES:
            if its_method == method:
                for row in ROUTES[its_method, path]:
                    things = self.things.get(object_of(path) or "", {})
                    yield path, row, None if row == "-" else things.get(row, Thing(ABSENT))

    def leaks(self, name: str, text: str) -> list[str]:
        """Return the marks in an answer of what this person may not see."""
        return sorted(self.marks(text) - self.visible(name))

    def visible(self, name: str) -> set[str]:
        """Return the marks of everything that the table lets the person see."""
        marks = {row: thing.mark for kind in self.things.values() for row, thing in kind.items()}
        return {marks[row] for row, cells in VISIBLE.items() if cells[name] == "yes"}

    def marks(self, text: str) -> set[str]:
        """Return every mark that is in the text, whatever its case."""
        folded = text.casefold()
        every = {thing.mark for kind in self.things.values() for thing in kind.values()}
        return {mark for mark in every if mark and mark.casefold() in folded}

    async def add_document(self, row: str) -> Thing:
        """Store the document of the row, in the place of an earlier one."""
        client, what = row.split()
        fields: dict[str, Any] = {}
        if what == "issued":
            fields["kind"] = Kind.ISSUED
        if what == "uploaded":
            fields["uploader_id"] = self.site.world.ids["corina"]
        uid = await self.site.invoice(
            STATUSES.get(what, Status.PENDING),
            client_id=getattr(self.site.world, client),
            mark=f"KANAR-{client}-{what}",
            position=list(VISIBLE).index(row),
            **fields,
        )
        thing = self.things["document"][row] = Thing(uid, f"KANAR-{client}-{what}")
        return thing

    async def mend_grant(self, row: str) -> None:
        """See to it that the grant of the row is there and serves its client."""
        serial, who = ("AA01", "ana") if row == "alfa grant" else ("BB02", "florin")
        mark = f"KANAR-{row.replace(' ', '-')}"
        by = (await self.site.world.viewer(who)).user_uid
        uid = await self.linked.grant(serial, CIFS[row], by=by, holder=mark)
        self.things["grant"][row] = Thing(uid, mark)


def object_of(path: str) -> str | None:
    """Return what the address names: a client, a document, a grant, a notice or nothing."""
    named = re.search(r"{(client|document|grant|notice)_uid", path)
    return named.group(1) if named else None


def unwritten(app: PortalApp) -> list[str]:
    """Return where tables and routes differ."""
    served = {(method, path) for method, path, _ in endpoints(app.litestar)}
    wrong = [f"{method} {path} is in no table" for method, path in served - ROUTES.keys()]
    wrong += [f"{method} {path} is not served" for method, path in ROUTES.keys() - served]
    rows = {
        None: {"-"},
        "client": {"alfa", "beta", "absent"},
        "document": {row for row in VISIBLE if row.split()[1] not in OTHERS} | {"absent"},
        "grant": {row for row in VISIBLE if "grant" in row} | {"absent"},
        "notice": {row for row in VISIBLE if "notice" in row} | {"absent"},
    }
    for (method, path), cells in ROUTES.items():
        if cells.keys() != rows[object_of(path)]:
            wrong.append(f"{method} {path} has other rows than there are objects")
    return sorted(wrong)


@pytest.fixture
async def matrix(site: Site) -> AsyncIterator[Matrix]:
    async with linked(site.world.settings.run_dir.parent) as vault:
        yield await _matrix(site, vault)


async def _matrix(site: Site, vault: Linked) -> Matrix:
    world = site.world
    await world.person("ema", at_alfa=Role.APPROVER, scope=Scope(kinds=frozenset({Kind.ISSUED})))
    await world.person("horia", firm_role=Role.ACCOUNTANT, at_alfa=Role.OWNER)
    await clients.assign(world.ids["horia"], world.beta, NOW)
    made = Matrix(site, vault)
    made.things = {
        "client": {"alfa": Thing(world.alfa_uid), "beta": Thing(world.beta_uid)},
        "document": {},
        "grant": {},
        "notice": {
            "alfa notice": await _notice(site, world.alfa, world.alfa_uid, "KANAR-notice-alfa"),
            "beta notice": await _notice(site, world.beta, world.beta_uid, "KANAR-notice-beta"),
        },
    }
    for row in VISIBLE:
        if row.split()[1] not in OTHERS:
            await made.add_document(row)
    await vault.register()
    for row in CIFS:
        await made.mend_grant(row)
    stored = await accounts.by_id(world.ids["ana"])
    assert stored is not None
    assert stored.password_hash is not None
    for name in ("ema", "horia"):
        await accounts.set_password_hash(world.ids[name], stored.password_hash, NOW, rehash=True)
    for name in PEOPLE:
        made.browsers[name] = await site.browser(None if name == "nobody" else name)
    return made


async def _notice(site: Site, client_id: int, client_uid: str, mark: str) -> Thing:
    """Store a notice with the one file that people may open."""
    uid, data = new_uid(NOW), f"<header>{mark}</header>".encode()
    (message,) = await messages.remember(client_id, [entry(uid[-9:])], NOW)
    month = documents.archive_month(NOW)
    Archive(site.world.settings.archive_dir).write_document(
        client_uid, month, uid, {"message.xml": data}, {"uid": uid}
    )
    hashed = hashlib.sha256(data).hexdigest()
    await notices.add(
        notices.NewNotice(
            uid=uid,
            client_id=client_id,
            message_uid=message.uid,
            type="anaf_error",
            text=mark,
            received_at=NOW,
            folder_name=f"2026-11-24_EROARE_{uid[-6:]}",
            archive_month=month,
            files=[
                NewFile(
                    "message", "message.xml", "text/xml", len(data), hashed, shown_suffix=".xml"
                )
            ],
        ),
        NOW,
    )
    return Thing(uid, mark)


def _address(path: str, thing: Thing | None) -> str:
    uid = thing.uid if thing else ""
    name = "message.xml" if path.startswith("/notices") else "invoice.xml"
    values = {"name": name, "token": "x" * 43, "path": "app.css", "month": "2026-11"}
    values["fingerprint"] = "0" * 64
    return re.sub(r"{(\w+)[^}]*}", lambda found: values.get(found.group(1), uid), path)


def _snapshot(site: Site) -> list[str]:
    """Return every row but those of sessions, whose `seen_at` a page may move, and of guesses."""
    with closing(sqlite3.connect(site.world.settings.database_path)) as connection:
        return [
            line
            for line in connection.iterdump()
            if not line.startswith(('INSERT INTO "session"', 'INSERT INTO "throttle"'))
        ]


async def test_every_page_is_for_whom_the_table_says_and_changes_nothing(matrix: Matrix) -> None:
    before = _snapshot(matrix.site)
    wrong: list[str] = []
    for path, row, thing in matrix.cells("GET"):
        for name, browser in matrix.browsers.items():
            response = await browser.get(_address(path, thing))
            expected = ROUTES["GET", path][row][name]
            cell = f"GET {path} as {name} on {row}"
            place = response.headers.get("location", "")
            if str(response.status_code) != expected:
                wrong.append(f"{cell}: {response.status_code} instead of {expected}")
            elif name == "nobody" and object_of(path) and not place.startswith("/login"):
                wrong.append(f"{cell}: led to {place}")
            wrong += [f"{cell}: shows {mark}" for mark in matrix.leaks(name, response.text + place)]
    assert not wrong, "\n".join(wrong)
    assert _snapshot(matrix.site) == before


@pytest.mark.parametrize("name", PEOPLE)
async def test_every_decision_is_for_whom_the_table_says(matrix: Matrix, name: str) -> None:
    browser = matrix.browsers[name]
    if name == "nobody":
        await browser.get("/login")
    token = browser.token()
    wrong: list[str] = []
    for path, row, first in list(matrix.cells("POST")):
        # An earlier cell may have moved the document; another took its place.
        now_there = matrix.things["document"] | matrix.things["grant"]
        thing = now_there.get(row, first)
        status = row.split()[-1] if row.split()[-1] in STATUSES else "pending"
        fields = {"reason": "other", "note": "x", "seen_status": status, "seen_revision": "1"}
        fields |= {"holder": "Ana Pop", "cif": CIFS.get(row, ALFA)}
        before = _snapshot(matrix.site)
        response = await browser.post(_address(path, thing), fields, token=token)
        expected = ROUTES["POST", path][row][name]
        cell = f"POST {path} as {name} on {row}"
        if str(response.status_code) != expected:
            wrong.append(f"{cell}: {response.status_code} instead of {expected}")
        if row in CIFS:
            await matrix.mend_grant(row)
        where = response.text + response.headers.get("location", "")
        wrong += [f"{cell}: shows {mark}" for mark in matrix.leaks(name, where)]
        if _snapshot(matrix.site) == before:
            # `take` and `acknowledge` may have been done by an earlier cell; a decision may not.
            if (
                expected == "303"
                and name != "nobody"
                and path.startswith("/documents")
                and not path.endswith("take")
            ):
                wrong.append(f"{cell}: let through and yet nothing changed")
            continue
        if expected != "303" or name == "nobody":
            wrong.append(f"{cell}: refused and yet something changed")
        if row not in matrix.things["document"]:
            continue
        fresh = await matrix.add_document(row)
        if not path.endswith("take"):
            fields["seen_revision"] = "2"
            before = _snapshot(matrix.site)
            stale = await browser.post(_address(path, fresh), fields, token=token)
            if stale.status_code != 409 or _snapshot(matrix.site) != before:
                wrong.append(f"{cell}: another revision than the one that was seen is decided")
    assert not wrong, "\n".join(wrong)


async def test_the_lists_of_each_person_show_what_the_table_says_and_all_of_it(
    matrix: Matrix,
) -> None:
    for name, browser in matrix.browsers.items():
        shown = ""
        for path, row, thing in matrix.cells("GET"):
            if object_of(path) == "client" and row != "absent":
                shown += (await browser.get(_address(path, thing))).text
        assert matrix.marks(shown) == matrix.visible(name), name


async def test_every_route_is_in_a_table(site: Site) -> None:
    assert unwritten(site.app) == []


async def test_a_route_that_is_in_no_table_is_named(site: Site) -> None:
    @get("/planted", opt=allow(PERSON))
    async def planted() -> str:
        return "everything"

    app = create_app(
        site.world.settings, handlers=[*HANDLERS, planted], passwords=cheap_passwords()
    )
    assert unwritten(app) == ["GET /planted is in no table"]


async def test_a_handler_that_declares_nothing_stops_the_start(site: Site) -> None:
    @get("/planted")
    async def planted() -> str:
        return "everything"

    with pytest.raises(ImproperlyConfiguredException, match="GET /planted"):
        create_app(site.world.settings, handlers=[*HANDLERS, planted], passwords=cheap_passwords())


async def test_a_handler_that_declares_nothing_and_started_all_the_same_is_for_nobody(
    matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    @get("/planted")
    async def planted() -> str:
        return "everything"

    monkeypatch.setattr("appliance.web.app.require_declarations", lambda app: None)
    app = create_app(
        matrix.site.world.settings,
        clock=matrix.site.clock,
        handlers=[*HANDLERS, planted],
        passwords=cheap_passwords(),
    )
    app.portal.store = matrix.site.app.portal.store
    for name, browser in matrix.browsers.items():
        response = await Browser(app, cookies=browser.cookies).get("/planted")
        assert response.status_code == 403, name
        assert "everything" not in response.text


async def test_a_handler_that_reads_an_object_past_its_loader_stops_the_start(site: Site) -> None:
    @get("/clients/{client_uid:str}/planted", opt=allow(*CLIENT_ROLES, object="client"))
    async def planted() -> str:
        return "everything"

    with pytest.raises(ImproperlyConfiguredException, match="planted"):
        create_app(site.world.settings, handlers=[*HANDLERS, planted], passwords=cheap_passwords())


async def test_no_documentation_or_debug_page_is_served(site: Site) -> None:
    assert not site.app.litestar.debug
    for path in ("/schema", "/schema/openapi.json", "/docs", "/.git/config", "/server-status"):
        assert (await Browser(site.app).get(path)).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["//clients", "/clients/../clients", "/clients%2f", "/CLIENTS", "/clients;x", "/clients/."],
)
async def test_a_twisted_path_is_never_more_than_the_plain_one(site: Site, path: str) -> None:
    response = await Browser(site.app).get(path)
    assert response.status_code in (303, 404)
    assert "Alfa" not in response.text

"""Every route × every person × own, other and absent objects, from the route table.

What is expected of a cell is computed from the handler's declaration, from
`Viewer.may_see` and from `core.lifecycle.decide`, never written down by hand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from litestar import get
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import HTTPRouteHandler

from appliance.core.errors import BadInput, NotAllowed, TransitionRefused
from appliance.core.lifecycle import Action, allowed_actions, decide
from appliance.core.roles import CLIENT_ROLES, DocumentFacts, Kind, Role, Scope, Status, Viewer
from appliance.store import accounts, clients, documents
from appliance.web.app import create_app
from appliance.web.auth.guards import (
    ANYONE,
    PERSON,
    allow,
    endpoints,
    path_parameters,
    roles_anywhere,
)
from appliance.web.pages import HANDLERS
from tests.support.store import NOW
from tests.support.web import Browser, Site, cheap_passwords

PEOPLE = (
    None,
    "ana",  # owner at Alfa
    "bogdan",  # approver at Alfa
    "corina",  # contributor at Alfa
    "dan",  # viewer at Alfa
    "ema",  # approver at Alfa, "doar Emise"
    "elena",  # accountant of Alfa
    "florin",  # accountant, not of Alfa
    "gina",  # administrator
    "horia",  # accountant of Beta and owner of Alfa
    "bianca",  # owner of Beta
)
NARROWED = ("Corina", "Ema")
ABSENT = "0" * 26


@dataclass(frozen=True)
class Thing:
    """An object that an address may name."""

    uid: str
    client_id: int
    mark: str = ""
    facts: DocumentFacts | None = None


@dataclass
class Matrix:
    """Everything that the walk needs."""

    site: Site
    browsers: dict[str | None, Browser]
    viewers: dict[str | None, Viewer | None]
    clients: list[Thing]
    documents: list[Thing]
    notices: list[Thing]

    def things(self, kind: str | None) -> list[Thing | None]:
        """Return what a handler of this object may be asked for, the absent one too."""
        if kind is None:
            return [None]
        known = {"client": self.clients, "document": self.documents, "notice": self.notices}
        return [*known[kind], Thing(ABSENT, 0)]


@pytest.fixture
async def matrix(site: Site) -> Matrix:
    world = site.world
    await world.person("ema", at_alfa=Role.APPROVER, scope=Scope(kinds=frozenset({Kind.ISSUED})))
    await world.person("horia", firm_role=Role.ACCOUNTANT, at_alfa=Role.OWNER)
    await clients.assign(world.ids["horia"], world.beta, NOW)
    made: list[Thing] = []
    for position, (client_id, status) in enumerate(
        (client_id, status) for client_id in (world.alfa, world.beta) for status in Status
    ):
        made.append(await _document(site, client_id, status, position))
    notices = [
        Thing(
            await site.notice(client_id, f"KANAR-N-{client_id}"), client_id, f"KANAR-N-{client_id}"
        )
        for client_id in (world.alfa, world.beta)
    ]
    stored = await accounts.by_id(world.ids["ana"])
    assert stored is not None
    assert stored.password_hash is not None
    for name in ("ema", "horia"):
        await accounts.set_password_hash(world.ids[name], stored.password_hash, NOW, rehash=True)
    return Matrix(
        site,
        {name: await site.browser(name) for name in PEOPLE},
        {name: await world.viewer(name) if name else None for name in PEOPLE},
        [Thing(world.alfa_uid, world.alfa), Thing(world.beta_uid, world.beta)],
        made,
        notices,
    )


async def _document(site: Site, client_id: int, status: Status, position: int = 0) -> Thing:
    mark = f"KANAR-{client_id}-{status.value}"
    uid = await site.invoice(status, client_id=client_id, mark=mark, position=position)
    return Thing(uid, client_id, mark, (await documents.by_uid(uid)).facts)


def _sees(viewer: Viewer, thing: Thing) -> bool:
    if thing.uid == ABSENT:
        return False
    if thing.facts is not None:
        return viewer.may_see(thing.facts)
    # A notice is about the whole of a client: nobody whose sight of it is narrowed reads one.
    narrowed = thing.mark.startswith("KANAR-N") and viewer.name in NARROWED
    return bool(viewer.roles_at(thing.client_id)) and not narrowed


def _gate(handler: HTTPRouteHandler, viewer: Viewer | None, thing: Thing | None) -> int | None:
    """Return the status that the declaration alone demands, None when the handler is reached."""
    who = handler.opt["allow"]
    if ANYONE in who:
        return None
    if viewer is None:
        return 303
    if PERSON not in who and not who & roles_anywhere(viewer):
        return 403
    if thing is not None:
        if not _sees(viewer, thing):
            return 404
        if PERSON not in who and not who & viewer.roles_at(thing.client_id):
            return 403
    return None


def _address(path: str, thing: Thing | None) -> str:
    for name in path_parameters(path):
        value = {
            "client_uid": thing.uid if thing else "",
            "document_uid": thing.uid if thing else "",
            "notice_uid": thing.uid if thing else "",
            "name": "invoice.xml",
            "token": "x" * 43,
            "path": "app.css",
        }[name]
        path = path.replace("{" + name + "}", value)
    return path


def _cells(matrix: Matrix, method: str) -> Iterator[tuple[str, HTTPRouteHandler, Thing | None]]:
    for its_method, path, handler in endpoints(matrix.site.app.litestar):
        if its_method == method:
            for thing in matrix.things(handler.opt["object"]):
                yield path, handler, thing


def _leaks(matrix: Matrix, viewer: Viewer | None, text: str) -> list[str]:
    """Return the marks in an answer of documents and notices that this person may not see."""
    folded = text.casefold()
    return [
        thing.mark
        for thing in (*matrix.documents, *matrix.notices)
        if thing.mark.casefold() in folded and (viewer is None or not _sees(viewer, thing))
    ]


def _snapshot(site: Site) -> list[str]:
    """Return every row but those of sessions, whose `seen_at` a page may move."""
    with closing(sqlite3.connect(site.world.settings.database_path)) as connection:
        return [line for line in connection.iterdump() if 'INTO "session"' not in line]


async def test_every_page_is_for_whom_its_declaration_says_and_changes_nothing(
    matrix: Matrix,
) -> None:
    before = _snapshot(matrix.site)
    wrong: list[str] = []
    reached = 0
    for path, handler, thing in _cells(matrix, "GET"):
        for name, browser in matrix.browsers.items():
            viewer = matrix.viewers[name]
            response = await browser.get(_address(path, thing))
            expected = _gate(handler, viewer, thing)
            cell = f"GET {path} as {name} on {thing and (thing.mark or thing.uid)}"
            if expected is None:
                reached += 1
                if response.status_code not in _reached(handler, viewer, thing, path):
                    wrong.append(f"{cell}: {response.status_code}, was to be reached")
            elif response.status_code != expected:
                wrong.append(f"{cell}: {response.status_code} instead of {expected}")
            elif expected == 303 and not response.headers["location"].startswith("/login"):
                wrong.append(f"{cell}: led to {response.headers['location']}")
            where = response.text + response.headers.get("location", "")
            wrong += [f"{cell}: shows {mark}" for mark in _leaks(matrix, viewer, where)]
    assert not wrong, "\n".join(wrong)
    assert reached > 150
    assert _snapshot(matrix.site) == before


def _reached(
    handler: HTTPRouteHandler, viewer: Viewer | None, thing: Thing | None, path: str
) -> set[int]:
    action = path.rpartition("/")[2]
    if thing is not None and thing.facts is not None and viewer and action in {*Action}:
        # A question that is none for this document leads back to its page.
        return {200} if action in allowed_actions(thing.facts, viewer) else {303}
    if path in ("/activate", "/activate/{token}"):
        return {400, 303}
    if path.startswith("/notices/"):
        return {404}  # the test's notices have no files
    return {200, 303}


@pytest.mark.parametrize("name", PEOPLE)
async def test_every_decision_is_for_whom_its_declaration_and_the_lifecycle_say(
    matrix: Matrix, name: str | None
) -> None:
    browser, viewer = matrix.browsers[name], matrix.viewers[name]
    token = browser.token() or "0" * 64
    wrong: list[str] = []
    for path, handler, listed in list(_cells(matrix, "POST")):
        if listed is None:
            continue
        # An earlier cell may have moved the document; another took its place under its mark.
        thing = next((each for each in matrix.documents if each.mark == listed.mark), listed)
        before = _snapshot(matrix.site)
        seen = thing.facts.status.value if thing.facts else "pending"
        fields = {"reason": "other", "note": "x", "seen_status": seen, "seen_revision": "1"}
        response = await browser.post(_address(path, thing), fields, token=token)
        expected = _gate(handler, viewer, thing)
        if expected is None:
            expected = _decision(path, thing, viewer)
        cell = f"POST {path} as {name} on {thing.mark or thing.uid}"
        if response.status_code != expected:
            wrong.append(f"{cell}: {response.status_code} instead of {expected}")
        where = response.text + response.headers.get("location", "")
        wrong += [f"{cell}: shows {mark}" for mark in _leaks(matrix, viewer, where)]
        if _snapshot(matrix.site) == before:
            continue
        if expected != 303 or viewer is None:
            wrong.append(f"{cell}: refused and yet something changed")
        if thing.facts is not None:
            place = matrix.documents.index(thing)
            fresh = await _document(matrix.site, thing.client_id, thing.facts.status, place)
            matrix.documents[place] = fresh
            if not path.endswith("take"):
                fields["seen_revision"] = "2"
                before = _snapshot(matrix.site)
                stale = await browser.post(_address(path, fresh), fields, token=token)
                if stale.status_code != 409 or _snapshot(matrix.site) != before:
                    wrong.append(f"{cell}: another revision than the one that was seen is decided")
    assert not wrong, "\n".join(wrong)


def _decision(path: str, thing: Thing, viewer: Viewer | None) -> int:
    step = path.rpartition("/")[2]
    if step in ("take", "acknowledge"):
        return 303
    assert viewer is not None
    assert thing.facts is not None
    try:
        decide(Action(step), thing.facts, viewer, reason="x")
    except TransitionRefused:
        return 409
    except NotAllowed:
        return 403
    except BadInput:
        return 400
    return 303


async def test_a_handler_that_declares_nothing_stops_the_start(site: Site) -> None:
    @get("/planted")
    async def planted() -> str:
        return "everything"

    with pytest.raises(ImproperlyConfiguredException, match="GET /planted"):
        create_app(site.world.settings, handlers=[*HANDLERS, planted], passwords=cheap_passwords())


async def test_a_handler_that_reads_an_object_past_its_loader_stops_the_start(site: Site) -> None:
    @get("/clients/{client_uid:str}/planted", opt=allow(*CLIENT_ROLES, object="client"))
    async def planted() -> str:
        return "everything"

    with pytest.raises(ImproperlyConfiguredException, match="planted"):
        create_app(site.world.settings, handlers=[*HANDLERS, planted], passwords=cheap_passwords())


async def test_no_page_about_what_is_not_approved_is_declared_for_the_firm(site: Site) -> None:
    for _, path, handler in endpoints(site.app.litestar):
        if path.endswith(("/pending", "/rejected", "/approve", "/reject", "/reconsider")):
            assert handler.opt["allow"] <= CLIENT_ROLES, path


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

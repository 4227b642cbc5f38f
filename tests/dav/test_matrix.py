"""Nobody sees or moves what is not theirs: verbs × people × statuses × clients.

The oracle is written out here, apart from the code: people of the firm see
what is approved or recorded at their clients, a client's own people see
everything there but a contributor, who sees own uploads.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from appliance.core import tree
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Status
from appliance.core.tree import Folder
from appliance.dav.app import VERBS
from tests.support.dav import CLIENTS, PEOPLE, Reply, Row, World

FIRM_AT = {
    "admin": {"alfa", "beta", "gama"},
    "contabil": {"alfa"},
    "contabil-beta": {"beta"},
    "ambele": {"alfa"},
}
OWN_PEOPLE_AT = {"ana": "alfa", "aprobator": "alfa", "privitor": "alfa"} | {
    "bogdan": "beta",
    "ambele": "beta",
}
DECIDERS_AT = {"ana": "alfa", "aprobator": "alfa", "bogdan": "beta", "ambele": "beta"}
ACCOUNTANTS_AT = {"contabil": "alfa", "contabil-beta": "beta", "ambele": "alfa"}
OPEN_TO_FIRM = {Status.APPROVED, Status.ARCHIVED}
READING = ("PROPFIND", "GET", "HEAD")


def may_see(who: str, row: Row, *, uploader: str | None = None) -> bool:
    if row.status in OPEN_TO_FIRM and row.client in FIRM_AT.get(who, ()):
        return True
    return OWN_PEOPLE_AT.get(who) == row.client or (who == "colaborator" and uploader == who)


def step(row: Row, target: Folder) -> Action | None:
    """Which action moving the document there would be."""
    if row.status is Status.APPROVED and target is tree.KIND_FOLDERS[row.kind]:
        return Action.RECORD
    return {
        (Status.PENDING, Folder.APPROVED): Action.APPROVE,
        (Status.PENDING, Folder.REJECTED): Action.REJECT,
        (Status.REJECTED, Folder.TO_APPROVE): Action.RECONSIDER,
    }.get((row.status, target))


def may_act(who: str, row: Row, action: Action) -> bool:
    people = ACCOUNTANTS_AT if action is Action.RECORD else DECIDERS_AT
    return people.get(who) == row.client


@pytest.fixture(scope="module")
def rows(world: World) -> list[Row]:
    return [
        world.add(client, status, kind)
        for client, status, kind in product(("alfa", "beta"), Status, (Kind.RECEIVED, Kind.ISSUED))
    ]


def places(row: Row) -> Iterator[tuple[str, str]]:
    yield row.path(), row.path()[: -len(row.name)] + "2026-11-03_ABSENT_1"
    for suffix in (".xml", ".pdf", "_semnatura.xml"):
        yield row.path(row.name + suffix), row.path("absent.pdf")


def told(answer: Reply) -> tuple[int, bytes]:
    return answer.status, answer.body


def test_every_verb_of_the_table_is_in_this_matrix() -> None:
    assert set(VERBS) == {*READING, "MOVE", "OPTIONS"}
    assert {verb for verb, row in VERBS.items() if row.acts} == {"MOVE"}


@pytest.mark.parametrize("who", PEOPLE)
def test_a_document_is_read_by_those_who_may_see_it_and_is_absent_to_all_others(
    world: World, rows: list[Row], who: str
) -> None:
    before = world.dump()
    for row in rows:
        for path, absent in places(row):
            for verb in READING:
                answer = world.ask(verb, path, who, Depth="1")
                if may_see(who, row):
                    folder = path == row.path()
                    expected = {"PROPFIND": 207, "GET": 405 if folder else 200}
                    assert answer.status == expected.get(verb, expected["GET"]), (verb, row)
                else:
                    assert answer.status == 404, (verb, row)
                    assert told(answer) == told(world.ask(verb, absent, who, Depth="1"))
    assert world.dump() == before


@pytest.mark.parametrize("who", PEOPLE)
def test_no_listing_names_what_the_person_may_not_see(
    world: World, rows: list[Row], who: str
) -> None:
    found: set[str] = set()
    pending = ["/"]
    while pending:
        for href in world.listing(pending.pop(), who).hrefs[1:]:
            found.add(href)
            if href.endswith("/"):
                pending.append(href)
    for row in rows:
        seen = any(row.name in href for href in found)
        assert seen == may_see(who, row), row
        assert (row.path() + "/" in found) == may_see(who, row)


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("client", ["alfa", "beta"])
def test_a_move_is_done_by_those_who_may_act_and_changes_nothing_otherwise(
    world: World, who: str, client: str
) -> None:
    for status, kind in product(Status, (Kind.RECEIVED, Kind.ISSUED)):
        row = world.add(client, status, kind)
        for target, month in [(folder, "") for folder in Folder] + [
            (folder, "2026-11") for folder in tree.KIND_OF
        ]:
            action = step(row, target)
            place = tree.Place(CLIENTS[client], target, month, row.name)
            to = tree.join(place.segments, collection=False)
            before = world.dump()
            answer = world.move(row.path(), to, who)
            if action is not None and may_act(who, row, action):
                assert answer.status == 201, (row, to)
                row = world.add(client, status, kind)
                continue
            assert answer.status in (403, 404, 409, 412), (row, to)
            assert (answer.status == 404) == (not may_see(who, row)), (row, to, answer)
            assert world.dump() == before, (row, to)


def test_nobody_moves_a_document_to_another_client(world: World) -> None:
    row = world.add("beta")
    before = world.dump()
    for who in PEOPLE:
        for target in Folder:
            place = tree.Place(CLIENTS["alfa"], target, name=row.name)
            answer = world.move(row.path(), tree.join(place.segments, collection=False), who)
            assert answer.status in (403, 404)
    assert world.dump() == before


def test_a_contributor_sees_own_uploads_only(world: World) -> None:
    own = world.add(uploader="colaborator")
    other = world.add()
    names = world.listing(own.path()[: -len(own.name)], "colaborator").names
    assert own.name in names
    assert other.name not in names
    assert world.ask("GET", own.path(f"{own.name}.xml"), "colaborator").status == 200
    assert world.ask("GET", other.path(f"{other.name}.xml"), "colaborator").status == 404
    before = world.dump()
    to = own.path().replace("De%20aprobat", "Aprobate")
    assert world.move(own.path(), to, "colaborator").status == 403
    assert world.dump() == before


def test_a_document_that_is_withdrawn_vanishes_from_the_firm_at_the_next_request(
    world: World,
) -> None:
    row = world.add(status=Status.APPROVED)
    assert world.listing(row.path(), "contabil").status == 207
    world.sql("UPDATE document SET status = 'pending' WHERE uid = ?", row.uid)
    for verb in READING:
        assert world.ask(verb, row.path(), "contabil", Depth="0").status == 404
    assert row.name not in world.listing(row.path()[: -len(row.name)], "contabil").names


def test_the_alias_of_a_recorded_document_opens_to_nobody_else(world: World) -> None:
    row = world.add(status=Status.APPROVED)
    place = tree.Place(CLIENTS["alfa"], Folder.RECEIVED, name=row.name)
    put = tree.join(place.segments, collection=False)
    assert world.move(row.path(), put, "contabil").status == 201
    for who in PEOPLE:
        expected = 207 if may_see(who, row) else 404
        assert world.listing(put, who).status == expected, who

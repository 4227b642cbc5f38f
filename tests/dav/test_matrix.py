"""Nobody sees or moves what is not theirs: verbs × people × statuses × clients.

What is expected stands in the tables below, as a person would write it who
knows the product and not the code. Only the enums' values are shared with it.
"""

from __future__ import annotations

from datetime import datetime
from itertools import product
from urllib.parse import quote, unquote

import pytest

from appliance.core.roles import Kind, Status
from appliance.core.times import BUCHAREST
from appliance.core.tree import Folder
from appliance.dav.app import VERBS
from tests.support.dav import CLIENTS, PEOPLE, Reply, Row, World

# Who sees a document that is pending, approved, rejected, archived (in this order):
# "S" sees it, "-" is told 404. Columns: one of Alfa's, one of Alfa's that
# "colaborator" uploaded, one of Beta's.
SIGHT = {
    "admin": ("-S-S", "-S-S", "-S-S"),  # the firm's administrator
    "contabil": ("-S-S", "-S-S", "----"),  # accountant of Alfa
    "contabil-beta": ("----", "----", "-S-S"),  # accountant of Beta
    "ana": ("SSSS", "SSSS", "----"),  # owner of Alfa
    "aprobator": ("SSSS", "SSSS", "----"),  # approver at Alfa
    "colaborator": ("----", "SSSS", "----"),  # contributor at Alfa
    "privitor": ("SSSS", "SSSS", "----"),  # viewer at Alfa
    "bogdan": ("----", "----", "SSSS"),  # owner of Beta
    "ambele": ("-S-S", "-S-S", "SSSS"),  # accountant of Alfa and owner of Beta
    "strain": ("----", "----", "----"),  # has an account and nothing else
}
ORDER = ("pending", "approved", "rejected", "archived")

# Which move of a received (issued) document does what, and who may do it at Alfa and at Beta.
DECIDERS = {"alfa": {"ana", "aprobator"}, "beta": {"bogdan", "ambele"}}
ACCOUNTANTS = {"alfa": {"contabil", "ambele"}, "beta": {"contabil-beta"}}
MOVES = {
    # (status, folder): (status afterwards, who)
    ("pending", "Aprobate"): ("approved", DECIDERS),
    ("pending", "Respinse"): ("rejected", DECIDERS),
    ("rejected", "De aprobat"): ("pending", DECIDERS),
    ("approved", "Primite"): ("archived", ACCOUNTANTS),  # "Emise" when issued
    ("approved", "Primite/month"): ("archived", ACCOUNTANTS),
}
FOLDERS = ("De aprobat", "Aprobate", "Respinse", "Emise", "Primite", "Altele")
TARGETS = (*FOLDERS, "Emise/month", "Primite/month", "Altele/month")
# Into the folder of another kind: 409 for whoever sees the document.
WRONG_KIND = {
    "received": {"Emise", "Altele", "Emise/month", "Altele/month"},
    "issued": {"Primite", "Altele", "Primite/month", "Altele/month"},
}
STANDS = {"pending": "De aprobat", "approved": "Aprobate", "rejected": "Respinse"}
FILED = {"received": "Primite/2026-11", "issued": "Emise/2026-11"}
READING = ("PROPFIND", "GET", "HEAD")


def sees(who: str, row: Row) -> bool:
    alfa, uploaded, beta = SIGHT[who]
    column = beta if row.client == "beta" else uploaded if row.uploader else alfa
    return column[ORDER.index(row.status.value)] == "S"


def expected_of_move(who: str, row: Row, to: str) -> tuple[int, str]:
    """Return the answer and the status that the document has afterwards."""
    status, kind = row.status.value, row.kind.value
    if not sees(who, row):
        return 404, status
    if status == "approved" and to in WRONG_KIND[kind]:
        return 409, status
    after, people = MOVES.get((status, to.replace("Emise", "Primite")), (status, {}))
    return (201, after) if who in people.get(row.client, ()) else (403, status)


def place(row: Row) -> str:
    folder = STANDS.get(row.status.value) or FILED[row.kind.value]
    return f"/{CLIENTS[row.client]}/{folder}/{row.name}"


def written(path: str) -> str:
    return quote(path)


@pytest.fixture(scope="module")
def rows(world: World) -> list[Row]:
    return [
        world.add(client, status, kind, uploader=uploader)
        for (client, uploader), status, kind in product(
            (("alfa", None), ("alfa", "colaborator"), ("beta", None)),
            Status,
            (Kind.RECEIVED, Kind.ISSUED),
        )
    ]


def told(answer: Reply) -> tuple[int, bytes]:
    return answer.status, answer.body


def test_the_tables_speak_of_everybody_and_of_every_status_folder_and_verb() -> None:
    assert set(SIGHT) == set(PEOPLE)
    assert set(ORDER) == set(Status)
    assert set(FOLDERS) == set(Folder)
    assert set(VERBS) == {*READING, "MOVE", "OPTIONS"}
    assert {verb for verb, row in VERBS.items() if row.acts} == {"MOVE"}


@pytest.mark.parametrize("who", PEOPLE)
def test_a_document_is_read_by_those_who_may_see_it_and_is_absent_to_all_others(
    world: World, rows: list[Row], who: str
) -> None:
    before = world.dump()
    for row in rows:
        folder = place(row)
        absent = folder.replace(row.name, "2026-11-03_ABSENT_1")
        cells = [(folder, absent)]
        for suffix in (".xml", ".pdf", "_semnatura.xml"):
            cells.append((f"{folder}/{row.name}{suffix}", f"{folder}/absent.pdf"))
        for (path, nothing), verb in product(cells, READING):
            answer = world.ask(verb, written(path), who, Depth="1")
            if sees(who, row):
                status = 207 if verb == "PROPFIND" else 405 if path == folder else 200
                assert answer.status == status, (verb, row)
            else:
                assert answer.status == 404, (verb, row)
                assert told(answer) == told(world.ask(verb, written(nothing), who, Depth="1"))
    assert world.dump() == before


@pytest.mark.parametrize("who", PEOPLE)
def test_no_listing_names_what_the_person_may_not_see(
    world: World, rows: list[Row], who: str
) -> None:
    found: set[str] = set()
    pending = ["/"]
    while pending:
        for href in world.listing(pending.pop(), who).hrefs[1:]:
            found.add(unquote(href))
            if href.endswith("/"):
                pending.append(href)
    for row in rows:
        assert any(row.name in path for path in found) == sees(who, row), row
        assert (place(row) + "/" in found) == sees(who, row), row


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize(
    ("client", "uploader"), [("alfa", None), ("alfa", "colaborator"), ("beta", None)]
)
def test_a_move_is_done_by_those_who_may_act_and_changes_nothing_otherwise(
    world: World, who: str, client: str, uploader: str | None
) -> None:
    month = datetime.now(BUCHAREST).strftime("%Y-%m")
    for status, kind in product(Status, (Kind.RECEIVED, Kind.ISSUED)):
        row = world.add(client, status, kind, uploader=uploader)
        before = world.dump()
        for target in TARGETS:
            to = f"/{CLIENTS[client]}/{target.replace('month', month)}/{row.name}"
            code, after = expected_of_move(who, row, target)
            if code == 201:  # what was refused until now has changed nothing at all
                assert world.dump() == before, row
            answer = world.move(written(place(row)), written(to), who)
            assert answer.status == code, (row, target)
            assert world.status_of(row)[0] == after
            if code == 201:
                row = world.add(client, status, kind, uploader=uploader)
                before = world.dump()
        assert world.dump() == before, row


def test_nobody_moves_a_document_to_another_client(world: World) -> None:
    row = world.add("beta")
    before = world.dump()
    for who in PEOPLE:
        for target in FOLDERS:
            to = f"/{CLIENTS['alfa']}/{target}/{row.name}"
            answer = world.move(written(place(row)), written(to), who)
            assert answer.status == (403 if sees(who, row) else 404)
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
    put = written(f"/{CLIENTS['alfa']}/Primite/{row.name}")
    assert world.move(written(place(row)), put, "contabil").status == 201
    for who in PEOPLE:
        expected = 207 if sees(who, row) else 404
        assert world.listing(put, who).status == expected, who

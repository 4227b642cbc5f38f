"""Folders of more documents than Windows can read of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.dav.resources import WINDOWS_MOST
from tests.support.dav import Row, World, at, make_world, served

WINDOWS = {"User_Agent": "Microsoft-WebDAV-MiniRedir/10.0.22631", "translate": "f"}
NOTE = "Mai sunt documente.txt"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Row]]:
    """A world with two documents more than Windows reads, the given one the newest of all."""
    world = make_world(tmp_path_factory.mktemp("full"))
    first = world.add()
    world.sql(
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)"
        " INSERT INTO document (uid, client, kind, status, source, type, received_at,"
        " folder_name, folder_key, archive_month, signature_result, signature_reason, changed_at)"
        " SELECT 'u' || n, client, kind, status, source, type, received_at,"
        " printf('2026-11-03_SOCIETATEA-NATIONALA-TRANSPORT-FEROVIAR_FACT-%08d', n),"
        " printf('2026-11-03_societatea-nationala-transport-feroviar_fact-%08d', n),"
        " archive_month, 'absent', 'absent', changed_at FROM document, number WHERE uid = ?",
        WINDOWS_MOST,
        first.uid,
    )
    newest = world.add()
    with served(world):
        yield world, newest


def test_windows_is_shown_the_oldest_documents_and_a_note(full: tuple[World, Row]) -> None:
    world, newest = full
    everything = world.listing(at("De aprobat"), "ana")
    assert len(everything.names) == WINDOWS_MOST + 2
    assert newest.name in everything.names

    for _ in range(2):
        listed = world.ask("PROPFIND", at("De aprobat"), "ana", Depth="1", **WINDOWS)
        assert len(listed.names) == WINDOWS_MOST + 1
        assert NOTE in listed.names
        assert newest.name not in listed.names
        assert len(listed.body) < 1_000_000
    # It is not listed, but it is there.
    found = world.ask("PROPFIND", newest.path(), "ana", Depth="1", **WINDOWS)
    assert found.status == 207


def test_the_note_is_a_file_that_windows_can_open_and_nobody_can_move(
    full: tuple[World, Row],
) -> None:
    world, _ = full
    note = at("De aprobat", NOTE)
    listed = world.ask("PROPFIND", at("De aprobat"), "ana", Depth="1", **WINDOWS)
    assert listed.hrefs[-1] == note
    assert world.ask("PROPFIND", note.lower(), "ana", Depth="0", **WINDOWS).hrefs == [note]
    answer = world.ask("GET", note, "ana", **WINDOWS)
    assert answer.status == 200
    assert "1.900" in answer.body.decode("utf-8-sig")
    assert answer.headers["content-length"] == str(len(answer.body))
    same = world.ask("GET", note, "ana", If_None_Match=answer.headers["etag"], **WINDOWS)
    assert same.status == 304
    moved = world.move(note, at("Aprobate", NOTE), "ana", **WINDOWS)
    assert moved.status == 403
    for path, who in ((note, "contabil"), (at("Respinse", NOTE), "ana"), (note + "/x", "ana")):
        assert world.ask("GET", path, who, **WINDOWS).status == 404
    assert world.ask("GET", note, "ana").status == 404


def test_the_others_come_up_as_the_oldest_are_moved(full: tuple[World, Row]) -> None:
    world, newest = full
    row = world.documents[0]
    assert world.move(row.path(), at("Aprobate", row.name), "ana", **WINDOWS).status == 201
    listed = world.ask("PROPFIND", at("De aprobat"), "ana", Depth="1", **WINDOWS)
    assert {newest.name, NOTE} & listed.names == {NOTE}
    world.sql("UPDATE document SET status = 'approved' WHERE uid = 'u1'")
    listed = world.ask("PROPFIND", at("De aprobat"), "ana", Depth="1", **WINDOWS)
    assert newest.name in listed.names
    assert NOTE not in listed.names
    assert world.ask("GET", at("De aprobat", NOTE), "ana", **WINDOWS).status == 404

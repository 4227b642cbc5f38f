"""`arhivar check`: every planted fault is named, and work under way is none."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from appliance.core.errors import NotFound
from appliance.core.lifecycle import Action
from appliance.core.roles import Status
from appliance.core.sentence import Sentence
from appliance.store import audit, check_problems, decisions, documents, jobs, messages, verify
from appliance.store.check_problems import Problem
from appliance.store.engine import execute, transaction
from appliance.store.verify import PARTS, check
from tests.store.world import MORNING, NOON, World, office

LATER = datetime(2100, 1, 1, tzinfo=UTC)  # when no file is young any more


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with office(tmp_path / "data") as world:
        yield world


def found(world: World, *, deep: bool = False) -> set[tuple[str, str]]:
    return {(p.kind, p.object) for p in check(world.settings, deep=deep, at=LATER)}


async def folder_of(world: World, uid: str) -> str:
    return str((await world.path(uid, "x")).parent.relative_to(world.archive.root))


async def a_full_day(world: World) -> str:
    first = await world.receive(world.alfa, 1)
    second = await world.receive(world.alfa, 2)
    await world.receive(world.beta, 3)
    await world.notice(world.beta, 4)
    await world.act(first, Action.APPROVE, world.ana, Status.PENDING)
    await documents.take(first, world.carmen, NOON)
    await world.act(first, Action.RECORD, world.carmen, Status.APPROVED)
    await world.act(second, Action.REJECT, world.ana, Status.PENDING, reason="nu")
    late = await world.listed(world.alfa, 5)
    await messages.settle(late.uid, "expired", Sentence("A expirat.", "it expired"), NOON)
    await done(late.uid)
    decisions.write_due(world.settings, NOON)
    return first


async def done(uid: str) -> None:
    job = await jobs.latest("message", uid)
    assert job is not None
    await jobs.finish(job.id, NOON)


async def test_a_day_of_work_has_no_problem_however_deep_one_looks(world: World) -> None:
    await a_full_day(world)
    await world.listed(world.alfa, 9)  # waits, with its job
    assert check(world.settings, at=LATER) == []
    assert check(world.settings, deep=True, at=LATER) == []


async def test_a_missing_file_is_named(world: World) -> None:
    uid = await a_full_day(world)
    (await world.path(uid, "signature.xml")).unlink()
    (await world.path(uid, "manifest.json")).unlink()
    where = await folder_of(world, uid)
    assert found(world) == {
        ("missing_file", f"{where}/signature.xml"),
        ("missing_file", f"{where}/manifest.json"),
    }


async def test_a_missing_folder_is_named_once(world: World) -> None:
    uid = await a_full_day(world)
    where = await folder_of(world, uid)
    shutil.rmtree(world.archive.root / where)
    assert found(world) == {("missing_folder", where)}


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o640)
    path.write_bytes(data)


async def test_a_file_of_another_size_is_named_without_reading_it(world: World) -> None:
    uid = await a_full_day(world)
    overwrite(await world.path(uid, "invoice.xml"), b"<Invoice/>")
    assert found(world) == {("wrong_size", f"{await folder_of(world, uid)}/invoice.xml")}


async def test_one_changed_bit_is_found_by_the_deep_check_alone(world: World) -> None:
    uid = await a_full_day(world)
    path = await world.path(uid, "message.zip")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    overwrite(path, data)
    assert found(world) == set()
    assert found(world, deep=True) == {
        ("wrong_bytes", f"{await folder_of(world, uid)}/message.zip")
    }


async def test_in_twenty_eight_nights_every_byte_is_read(world: World) -> None:
    uid = await a_full_day(world)
    path = await world.path(uid, "message.zip")
    overwrite(path, path.read_bytes()[::-1])
    nights = [bool(check(world.settings, at=LATER, part=part)) for part in range(PARTS)]
    assert nights.count(True) == 1


async def test_what_does_not_belong_is_named(world: World) -> None:
    uid = await a_full_day(world)
    where = await folder_of(world, uid)
    (world.archive.root / where / "virus.exe").write_bytes(b"MZ")
    (world.archive.root / "Thumbs.db").write_bytes(b"x")
    assert found(world) == {("extra_file", f"{where}/virus.exe"), ("stray", "Thumbs.db")}


async def test_a_link_in_place_of_a_file_is_no_file(world: World, tmp_path: Path) -> None:
    uid = await a_full_day(world)
    path = await world.path(uid, "invoice.xml")
    copy = tmp_path / "copy.xml"
    shutil.copy(path, copy)
    path.unlink()
    path.symlink_to(copy)
    assert found(world, deep=True) == {
        ("missing_file", f"{await folder_of(world, uid)}/invoice.xml")
    }


async def test_a_manifest_that_tells_otherwise_is_named_by_the_deep_check(world: World) -> None:
    uid = await a_full_day(world)
    path = await world.path(uid, "manifest.json")
    where = f"{await folder_of(world, uid)}/manifest.json"
    data = path.read_bytes()
    for changed in (
        data.replace(b'"invoice.xml"', b'"invoice.xlm"'),
        data.replace(uid.encode(), b"0" * 26),
        b"{}",
        b"no json",
    ):
        overwrite(path, changed)
        assert found(world, deep=True) == {("manifest", where)}


async def test_a_folder_whose_row_is_still_to_come_is_in_flight(world: World) -> None:
    new = await world.write(world.alfa, 1)
    assert found(world) == set()  # its job is waiting, however old the folder is
    await done(new.uid)
    where = await folder_of(world, new.uid)
    os.utime(world.archive.root / where, (NOON.timestamp(), NOON.timestamp()))
    soon = NOON + timedelta(minutes=59)
    assert "extra_folder" not in {p.kind for p in check(world.settings, at=soon)}
    assert ("extra_folder", where) in found(world)
    assert ("message_forgotten", new.uid) in found(world)


async def test_an_old_temporary_folder_is_named_and_a_young_one_is_not(world: World) -> None:
    uid = await a_full_day(world)
    month = (world.archive.root / await folder_of(world, uid)).parent
    for name, at in (("old", NOON - timedelta(hours=2)), ("new", NOON)):
        (month / f".tmp-{name}").mkdir()
        os.utime(month / f".tmp-{name}", (at.timestamp(), at.timestamp()))
    problems = check(world.settings, at=NOON)
    assert [(p.kind, Path(p.object).name) for p in problems] == [("old_temporary", ".tmp-old")]


async def test_a_message_that_nobody_works_on_is_named(world: World) -> None:
    message = await world.listed(world.alfa, 1)
    assert found(world) == set()
    job = await jobs.latest("message", message.uid)
    assert job is not None
    await jobs.park(job.id, NOON, Sentence("Nu merge.", "it does not work"))
    assert found(world) == set()  # visible with its error
    async with transaction():
        await execute("UPDATE job SET problem = NULL")
    assert found(world) == {
        ("message_forgotten", message.uid),
        ("parked_without_reason", f"message {message.uid}"),
    }


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("archived", "message_without_document"),
        ("notice", "message_without_document"),
        ("expired", "message_without_reason"),
        ("not_allowed", "message_without_reason"),
        ("quarantined", "message_without_reason"),
        ("lost", "message_state"),
    ],
)
async def test_a_settled_message_must_have_its_outcome(world: World, state: str, kind: str) -> None:
    message = await world.listed(world.alfa, 1)
    await done(message.uid)
    async with transaction():
        await execute("UPDATE message SET state = ?", [state])
    assert (kind, message.uid) in found(world)


async def test_a_quarantined_message_must_have_its_zip(world: World) -> None:
    message = await world.listed(world.alfa, 1)
    await messages.settle(message.uid, "quarantined", Sentence("Al altuia.", "another's"), NOON)
    await done(message.uid)
    assert found(world) == {("missing_file", f"quarantine/{message.uid}/message.zip")}
    world.archive.quarantine(message.uid, b"PK", {})
    assert found(world) == set()
    world.archive.quarantine("unknown", b"PK", {})
    assert found(world) == {("stray", "quarantine/unknown")}


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM event WHERE document = 1", "event_missing"),
        ("UPDATE document SET status = 'pending' WHERE id = 1", "event_status"),
        ("UPDATE event SET old_status = 'rejected' WHERE action = 'record'", "event_gap"),
        ("UPDATE document SET kind = 'strange' WHERE id = 1", "document_value"),
        ("UPDATE document SET period = NULL WHERE id = 1", "document_value"),
        ("UPDATE message SET state = 'queued' WHERE id = 1", "document_message"),
        ("UPDATE document SET folder_name = 'Altul' WHERE id = 1", "folder_name"),
        (
            "UPDATE document SET folder_key = 'x', folder_name = "
            "(SELECT folder_name FROM document WHERE id = 2) WHERE id = 1",
            "folder_name",
        ),
        ("UPDATE folder SET documents = documents + 1 WHERE client = 1", "folder_count"),
        ("DELETE FROM document_file WHERE role = 'pdf' AND document = 1", "not_rendered"),
        ("UPDATE document_file SET size = 1 WHERE role = 'pdf' AND document = 1", "wrong_size"),
    ],
)
async def test_a_row_that_breaks_a_promise_is_named(
    world: World, statement: str, kind: str
) -> None:
    await a_full_day(world)
    async with transaction():
        await execute(statement)
    assert kind in {k for k, _ in found(world)}


async def test_a_pdf_that_is_just_being_replaced_is_no_problem(world: World) -> None:
    uid = await a_full_day(world)
    await jobs.insert("render", uid, NOON)
    client, year, month, _ = Path(await folder_of(world, uid)).parts
    world.archive.write_derived(
        client, f"{year}/{month}", uid, "invoice.pdf", b"%PDF longer than it was"
    )
    assert found(world) == set()


async def test_a_lease_that_nobody_gave_back_is_named(world: World) -> None:
    message = await world.listed(world.alfa, 1)
    await jobs.lease(1, NOON, 60, ["message"])
    assert check(world.settings, at=NOON + timedelta(minutes=10)) == []
    assert found(world) == {("stale_lease", f"message {message.uid}")}


async def test_a_job_for_nothing_is_named(world: World) -> None:
    await jobs.insert("render", "nothing", NOON)
    assert found(world) == {("orphan_job", "render nothing")}


async def test_a_change_without_its_audit_record_is_named(world: World) -> None:
    uid = await a_full_day(world)
    async with transaction():
        for old, new in (("archived", "approved"), ("approved", "archived")):
            await execute(
                "INSERT INTO event (document, at, action, old_status, new_status, revision, "
                "channel, period) SELECT id, ?, 'record', ?, ?, 1, 'portal', '2026-11' "
                "FROM document WHERE uid = ?",
                ["2026-11-24T11:00:00.000000Z", old, new, uid],
            )
    assert found(world, deep=True) == {("event_audit", uid)}


async def test_a_broken_audit_log_and_a_cut_one_are_named(world: World) -> None:
    await a_full_day(world)
    with closing(sqlite3.connect(world.settings.database_path)) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_delete")
        last = audit.head(connection)[0]
        connection.execute("DELETE FROM audit WHERE seq = ?", (last,))
    assert ("audit", str(last)) in found(world)
    with closing(sqlite3.connect(world.settings.database_path)) as connection, connection:
        connection.execute("DELETE FROM audit WHERE seq = 3")
    assert {("audit", "3"), ("audit", str(last))} <= found(world)


async def test_a_reference_to_nothing_is_named(world: World) -> None:
    await a_full_day(world)
    with closing(sqlite3.connect(world.settings.database_path)) as connection, connection:
        connection.execute("DELETE FROM account WHERE email LIKE 'carmen%'")
    assert "database" in {kind for kind, _ in found(world)}


async def test_it_writes_nothing_and_runs_beside_an_open_transaction(world: World) -> None:
    await a_full_day(world)
    before = {p: p.lstat().st_mtime_ns for p in world.archive.root.rglob("*")}
    async with transaction():
        await execute("UPDATE client SET name = 'Alfa'")
        assert check(world.settings, deep=True, at=LATER) == []
    assert {p: p.lstat().st_mtime_ns for p in world.archive.root.rglob("*")} == before


async def test_a_check_in_the_middle_of_the_work_finds_no_problem(world: World) -> None:
    working = True

    def look_again_and_again() -> list[list[Problem]]:
        seen = [check(world.settings, deep=True, at=datetime.now(UTC))]
        while working:
            seen.append(check(world.settings, deep=True, at=datetime.now(UTC)))
        return seen

    looking = asyncio.create_task(asyncio.to_thread(look_again_and_again))
    try:
        for number in range(25):
            uid = await world.receive(world.alfa, number, datetime.now(UTC))
            await world.act(uid, Action.APPROVE, world.ana, Status.PENDING)
            decisions.write_due(world.settings, datetime.now(UTC))
    finally:
        working = False
        seen = await looking
    assert len(seen) > 3
    assert [problems for problems in seen if problems] == []


def test_a_database_that_is_none_is_a_problem_and_no_error(tmp_path: Path) -> None:
    settings = verify.Settings(data_dir=tmp_path)
    (tmp_path / "arhivar.db").write_bytes(b"not a database" * 1000)
    assert {p.kind for p in check(settings, at=MORNING)} <= {"database", "audit"}
    assert check(settings, at=MORNING)


@pytest.mark.parametrize("place", ["", "not/there"])
def test_where_no_archive_is_none_is_said_to_be_damaged(tmp_path: Path, place: str) -> None:
    with pytest.raises(NotFound) as caught:
        check(verify.Settings(data_dir=tmp_path / place), at=MORNING)
    assert str(tmp_path / place) in caught.value.sentence.ro
    assert "arhivar init" in caught.value.sentence.ro
    assert "arhivar init" in caught.value.sentence.en


async def test_a_database_that_is_lost_is_a_problem_while_the_archive_stands(world: World) -> None:
    await world.receive(world.alfa, 1, MORNING)
    world.settings.database_path.unlink()
    [problem] = check(world.settings, at=LATER)
    assert (problem.kind, problem.object) == ("database_missing", "arhivar.db")
    assert "reindex" in problem.sentence.ro


@pytest.mark.parametrize("kind", sorted(check_problems.SENTENCES))
def test_every_kind_of_problem_is_one_sentence_in_both_languages(kind: str) -> None:
    ro, en = check_problems.problem(kind, "{x}", "ceva").sentence
    assert "{o}" not in ro + en
    assert "{d}" not in ro + en
    assert ro != en
    assert kind == "audit" or ro.endswith(".")
    # Comma below, not cedilla.
    assert not set(ro) & set("şţŞŢ")


def test_problems_sort_and_are_told_once() -> None:
    problem = Problem("a", "b", Sentence("c", "d"))
    assert sorted({problem, Problem("a", "b", Sentence("c", "d"))}) == [problem]

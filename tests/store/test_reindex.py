"""`arhivar reindex`: what the archive knows comes back, and nothing is made up."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from appliance.core.lifecycle import Action
from appliance.core.roles import Role, Status
from appliance.core.sentence import Sentence
from appliance.store import (
    accounts,
    audit,
    clients,
    decisions,
    documents,
    messages,
    notices,
    periods,
)
from appliance.store.engine import execute, fetch, open_store, transaction
from appliance.store.reindex import reindex
from appliance.store.verify import check
from tests.store.world import MORNING, NOON, World, office

EVENING = NOON + timedelta(hours=8)
MUCH_LATER = datetime(2100, 1, 1, tzinfo=UTC)  # no file is young any more

_WHOLE = """
    SELECT d.uid, c.uid AS client, d.kind, d.status, d.revision, d.source, d.type, m.uid AS message,
    d.number, d.issue_date, d.received_at, d.supplier_name, d.supplier_cif, d.customer_cif,
    d.partner_name, d.currency, d.payable_minor, d.signed_minor, d.ron_minor, d.tax_minor,
    d.summary, d.folder_name, d.folder_key, d.archive_month, d.period, d.taken_at,
    d.signature_result, d.signature_reason, d.warnings, d.problem
    FROM document d JOIN client c ON c.id = d.client LEFT JOIN message m ON m.id = d.message
    ORDER BY d.uid
"""
_PARTS = {
    "line": """
        SELECT d.uid, l.position, l.line_id, l.name, l.classification, l.quantity, l.unit,
        l.net_minor FROM document_line l JOIN document d ON d.id = l.document
        ORDER BY d.uid, l.position""",
    "file": """
        SELECT d.uid, f.role, f.stored_name, f.shown_name, f.shown_key, f.mime, f.size, f.sha256
        FROM document_file f JOIN document d ON d.id = f.document ORDER BY d.uid, f.stored_name""",
    "event": """
        SELECT d.uid, e.at, e.action, e.old_status, e.new_status, e.revision, a.email, e.reason,
        e.period FROM event e JOIN document d ON d.id = e.document
        LEFT JOIN account a ON a.id = e.account ORDER BY d.uid, e.id""",
    "message": "SELECT uid, message_id, upload_id, cif, type, details, entry, state, problem, "
    "listed_at FROM message ORDER BY uid",
    "notice": "SELECT uid, type, text, folder_name, period, archive_month, "
    "acknowledged_client_at FROM notice ORDER BY uid",
    "notice_file": "SELECT stored_name, shown_name, size, sha256 FROM notice_file",
    "client": "SELECT uid, name, folder_name, provisional FROM client ORDER BY uid",
    "identifier": "SELECT scheme, value FROM client_identifier ORDER BY value",
    "closed": "SELECT period, closed_at FROM closed_period",
}


async def everything() -> dict[str, list[dict[str, Any]]]:
    found = {"document": await fetch(_WHOLE)}
    for name, statement in _PARTS.items():
        found[name] = await fetch(statement)
    for line in found["line"]:
        line["classification"] = json.loads(line["classification"] or "[]")
    return found


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with office(tmp_path / "data") as world:
        yield world


async def a_full_day(world: World) -> dict[str, str]:
    uids = {
        "recorded": await world.receive(world.alfa, 1),
        "rejected": await world.receive(world.alfa, 2),
        "approved": await world.receive(world.beta, 3),
        "pending": await world.receive(world.beta, 4),
        "notice": await world.notice(world.beta, 5),
    }
    await world.act(uids["recorded"], Action.APPROVE, world.ana, Status.PENDING)
    await world.act(uids["recorded"], Action.RECORD, world.carmen, Status.APPROVED)
    await world.act(uids["rejected"], Action.REJECT, world.ana, Status.PENDING, reason="dublură")
    await world.act(uids["approved"], Action.APPROVE, world.bogdan, Status.PENDING)
    await documents.take(uids["approved"], world.carmen, NOON)
    await notices.acknowledge(uids["notice"], world.bogdan, NOON)
    expired = await world.listed(world.alfa, 6)
    await messages.settle(expired.uid, "expired", Sentence("A expirat.", "it expired"), NOON)
    await world.done(expired.uid, NOON)
    await world.listed(world.alfa, 7)  # still to be downloaded
    decisions.write_due(world.settings, NOON)
    return uids


async def lose(*tables: str) -> None:
    async with transaction():
        for table in tables:
            await execute(f"DELETE FROM {table}")


ROWS = ("event", "document_line", "document_file", "document", "notice_file", "notice", "message")


async def test_documents_come_back_as_they_were_decided(world: World) -> None:
    await a_full_day(world)
    before = await everything()
    await lose(*ROWS)
    report = await reindex(world.settings, EVENING)
    assert (report.documents, report.undecided, report.notices, report.messages) == (4, 0, 1, 7)
    assert report.problems == []
    assert await everything() == before
    events = await fetch("SELECT DISTINCT channel, device FROM event")
    assert {row["channel"] for row in events} == {"reindex"}
    assert {row["device"] for row in events} == {"spv", "portal"}
    assert check(world.settings, deep=True, at=EVENING) == []


async def test_a_whole_database_comes_back_once_the_people_are_known(tmp_path: Path) -> None:
    async with office(tmp_path / "data") as world:
        uids = await a_full_day(world)
        before = await everything()
        settings = world.settings
    for path in settings.data_dir.glob("arhivar.db*"):
        path.unlink()
    async with open_store(settings, migrate=True):
        # The same person under a new uid: known by the address.
        ana = await accounts.create_account("ana@alfa.example", "Ana", EVENING)
        report = await reindex(settings, EVENING)
        assert (report.clients, report.documents, report.notices) == (2, 4, 1)
        after = await everything()
        for name in before.keys() - {"event", "notice"}:
            assert after[name] == before[name], name
        steps = {
            row["action"]: row["email"] for row in after["event"] if row["uid"] == uids["rejected"]
        }
        assert steps == {"ingest": None, "reject": "ana@alfa.example"}
        alfa = await clients.by_identifier("11111")
        assert alfa is not None
        await clients.add_member(ana, alfa.id, Role.OWNER, EVENING)
        view = await documents.get(uids["rejected"], await accounts.viewer(ana))
        assert view.status is Status.REJECTED
        assert view.events[-1].reason == "dublură"
        assert audit.verify(settings.database_path) == []
        # The heads that were noted belong to the lost log; that is said once, in the archive.
        assert report.new_audit_log
        assert check(settings, at=EVENING) == []
        decisions.write_due(settings, EVENING)
        assert decisions.anchors(settings.archive_dir)
        assert check(settings, at=EVENING) == []


async def test_a_cut_audit_log_is_not_excused_where_nothing_was_lost(world: World) -> None:
    await a_full_day(world)
    with closing(sqlite3.connect(world.settings.database_path)) as connection, connection:
        connection.execute("DROP TRIGGER audit_no_delete")
        connection.execute("DELETE FROM audit WHERE seq > 20")
    report = await reindex(world.settings, EVENING)
    assert not report.new_audit_log
    assert {p.kind for p in check(world.settings, at=EVENING)} == {"audit"}


async def test_without_a_known_decision_a_document_waits_to_be_verified(world: World) -> None:
    uids = await a_full_day(world)
    shutil.rmtree(world.archive.root / "decisions")
    await lose("job", *ROWS)
    report = await reindex(world.settings, EVENING)
    assert (report.documents, report.undecided) == (4, 4)
    rows = await fetch("SELECT uid, status, period, taken_at, problem FROM document")
    assert {(row["status"], row["period"], row["taken_at"]) for row in rows} == {
        ("pending", None, None)
    }
    for row in rows:
        problem = Sentence.from_json(row["problem"])
        assert problem.ro.startswith("De verificat: ")
        assert problem.en.startswith("to be verified: ")
    # Nobody of the firm sees what nobody has approved.
    found = await fetch("SELECT uid FROM document WHERE status = 'approved'")
    assert found == []
    view = await documents.get(uids["approved"], world.bogdan)
    assert [(event.action, event.channel) for event in view.events] == [("ingest", "reindex")]
    # The PDF is derived: it is rendered again.
    jobs = await fetch("SELECT object_uid FROM job WHERE kind = 'render' AND state = 'queued'")
    assert {row["object_uid"] for row in jobs} == {row["uid"] for row in rows}
    assert check(world.settings, deep=True, at=EVENING) == []


async def test_a_document_of_after_the_last_writing_is_the_only_one_to_verify(world: World) -> None:
    await a_full_day(world)
    fresh = await world.receive(world.alfa, 9)
    await world.act(fresh, Action.APPROVE, world.ana, Status.PENDING)
    await lose(*ROWS)
    report = await reindex(world.settings, EVENING)
    assert (report.documents, report.undecided) == (5, 1)
    (row,) = await fetch("SELECT uid, status FROM document WHERE problem IS NOT NULL")
    assert (row["uid"], row["status"]) == (fresh, "pending")


async def test_a_row_that_exists_is_never_touched(world: World) -> None:
    uids = await a_full_day(world)
    async with transaction():
        await execute("UPDATE document SET summary = 'corectat' WHERE uid = ?", [uids["approved"]])
    before = await everything()
    report = await reindex(world.settings, EVENING)
    assert (report.documents, report.notices, report.messages, report.clients) == (0, 0, 0, 0)
    assert await everything() == before


async def test_running_it_twice_changes_nothing_more(world: World) -> None:
    await a_full_day(world)
    await lose(*ROWS)
    await reindex(world.settings, EVENING)
    before = await everything()
    count = len(await fetch("SELECT seq FROM audit"))
    report = await reindex(world.settings, EVENING)
    assert (report.documents, report.messages, report.problems) == (0, 0, [])
    assert await everything() == before
    assert len(await fetch("SELECT seq FROM audit")) == count


async def test_one_lost_document_comes_back_alone(world: World) -> None:
    uids = await a_full_day(world)
    before = await everything()
    async with transaction():
        for table in ("event", "document_line", "document_file"):
            await execute(
                f"DELETE FROM {table} WHERE document = (SELECT id FROM document WHERE uid = ?)",
                [uids["rejected"]],
            )
        await execute("DELETE FROM document WHERE uid = ?", [uids["rejected"]])
    assert {p.kind for p in check(world.settings, at=MUCH_LATER)} == {
        "message_without_document",
        "extra_folder",
    }
    report = await reindex(world.settings, EVENING)
    assert report.documents == 1
    assert await everything() == before


async def test_a_message_that_waited_is_queued_again_with_its_job(world: World) -> None:
    await a_full_day(world)
    await lose("job", *ROWS)
    await reindex(world.settings, EVENING)
    (row,) = await fetch("SELECT uid, client FROM message WHERE state = 'queued'")
    jobs = await fetch(
        "SELECT object_uid, client FROM job WHERE kind = 'message' AND state = 'queued'"
    )
    # Of its client, else nothing could hold it while no authorisation reaches the client.
    assert jobs == [{"object_uid": row["uid"], "client": row["client"]}]


async def test_a_message_that_met_its_imported_notice_on_a_later_day_is_not_fetched_again(
    world: World,
) -> None:
    uid = await world.notice(world.alfa, 5, imported=True)
    for days in range(3):  # the file of a day is written again on the day after, then never
        decisions.write_due(world.settings, NOON + timedelta(days=days))
    message = await world.listed(world.alfa, 5, NOON + timedelta(days=3))
    (notice,) = await fetch("SELECT id FROM notice")
    await notices.link_message(notice["id"], message.uid, message.listed_at)
    await world.done(message.uid, message.listed_at)
    decisions.write_due(world.settings, message.listed_at)
    before = await everything()

    await lose("job", *ROWS)
    await reindex(world.settings, message.listed_at)

    assert await everything() == before
    linked = await fetch(
        "SELECT n.uid, m.uid AS message FROM notice n JOIN message m ON m.id = n.message"
    )
    assert linked == [{"uid": uid, "message": message.uid}]


async def test_a_damaged_manifest_is_reported_and_the_rest_comes_back(world: World) -> None:
    uids = await a_full_day(world)
    for uid, data in (
        (uids["recorded"], b"{}"),
        (uids["rejected"], b"\x00"),
        (uids["notice"], None),
    ):
        path = await world.path(uid, "manifest.json")
        path.chmod(0o640)
        if data is None:
            facts = json.loads(path.read_bytes())
            data = json.dumps({**facts, "uid": uids["pending"]}).encode()
        path.write_bytes(data)
    await lose(*ROWS)
    report = await reindex(world.settings, EVENING)
    assert report.documents == 2
    named = {where.rpartition("/")[2] for where, _ in report.problems}
    assert named == {uids["recorded"], uids["rejected"], uids["notice"]}
    assert all("restore the folder from a backup" in s.en for _, s in report.problems)
    (queued,) = await fetch("SELECT COUNT(*) AS n FROM message WHERE state = 'queued'")
    # Three messages lost their folder's word, one had waited before: all are fetched again.
    assert queued["n"] == 4


async def test_messages_that_were_listed_anew_are_refused_with_a_sentence(world: World) -> None:
    await a_full_day(world)
    await lose(*ROWS)
    await world.listed(world.alfa, 1, EVENING)
    report = await reindex(world.settings, EVENING)
    assert report.documents == 3
    ((_, sentence),) = report.problems
    assert "listed anew" in sentence.en


async def test_a_client_that_was_typed_in_again_is_refused_with_a_sentence(tmp_path: Path) -> None:
    async with office(tmp_path / "data") as world:
        await a_full_day(world)
        settings = world.settings
    for path in settings.data_dir.glob("arhivar.db*"):
        path.unlink()
    async with open_store(settings, migrate=True):
        await clients.create_client("Alfa Construct SRL", ["11111"], EVENING)
        report = await reindex(settings, EVENING)
    assert report.clients == 1
    assert report.documents == 2
    assert {"created anew" in sentence.en for _, sentence in report.problems} == {True}


async def test_a_taken_folder_name_gets_a_suffix(world: World) -> None:
    uids = await a_full_day(world)
    async with transaction():
        for table in ("event", "document_line", "document_file"):
            await execute(
                f"DELETE FROM {table} WHERE document = (SELECT id FROM document WHERE uid = ?)",
                [uids["rejected"]],
            )
        await execute("DELETE FROM document WHERE uid = ?", [uids["rejected"]])
        await execute(
            "UPDATE document SET folder_name = '2026-11-20_FURNIZOR_F-2', "
            "folder_key = '2026-11-20_furnizor_f-2' WHERE uid = ?",
            [uids["recorded"]],
        )
    await reindex(world.settings, EVENING)
    (row,) = await fetch("SELECT folder_name FROM document WHERE uid = ?", [uids["rejected"]])
    assert row["folder_name"] == "2026-11-20_FURNIZOR_F-2~2"


async def test_a_closed_month_is_closed_again(world: World) -> None:
    await a_full_day(world)
    await periods.close_period(world.alfa, "2026-10", world.carmen, NOON)
    decisions.write_due(world.settings, NOON)
    before = await everything()
    assert before["closed"]
    await lose("closed_period")
    await reindex(world.settings, EVENING)
    assert (await everything())["closed"] == before["closed"]


async def test_the_audit_log_tells_of_every_document_brought_back(world: World) -> None:
    await a_full_day(world)
    await lose(*ROWS)
    await reindex(world.settings, MORNING)
    with closing(sqlite3.connect(world.settings.database_path)) as connection:
        bodies = [json.loads(row[0]) for row in connection.execute("SELECT body FROM audit")]
    told = [body for body in bodies if body["action"] == "document:reindex"]
    assert len(told) == 4
    assert {body["actor"] for body in told} == {"reindex"}
    assert audit.verify(world.settings.database_path) == []

"""The decisions of a day, kept beside the documents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from appliance.core.lifecycle import Action
from appliance.core.roles import Status
from appliance.store import decisions, notices
from appliance.store.engine import execute, transaction
from tests.store.world import MORNING, NOON, World, office

TODAY = date(2026, 11, 24)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with office(tmp_path / "data") as world:
        yield world


def lines(path: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line["type"] == kind]


async def test_the_day_holds_every_step_with_who_took_it(world: World) -> None:
    uid = await world.receive(world.alfa, 1)
    await world.act(uid, Action.REJECT, world.ana, Status.PENDING, reason="nu e al nostru, Șerban")
    path = decisions.write_day(world.settings, TODAY)
    assert path == world.settings.archive_dir / "decisions" / "2026-11-24.jsonl"
    ingest, reject = lines(path, "event")
    assert (ingest["action"], ingest["old_status"], ingest["new_status"]) == (
        "ingest",
        None,
        "pending",
    )
    assert reject["document"] == uid
    assert reject["account"] == world.ana.user_uid
    assert reject["email"] == "ana@alfa.example"
    assert reject["reason"] == "nu e al nostru, Șerban"
    (document,) = lines(path, "document")
    assert (document["uid"], document["status"]) == (uid, "rejected")
    assert document["folder_name"] == "2026-11-20_FURNIZOR_F-1"
    assert [file["shown_name"] for file in document["files"]] == [
        None,
        "2026-11-20_FURNIZOR_F-1.xml",
        "2026-11-20_FURNIZOR_F-1_semnatura.xml",
        "2026-11-20_FURNIZOR_F-1.pdf",
    ]
    assert [client["name"] for client in lines(path, "client")] == [
        "Alfa Construct SRL",
        "Beta Trans SRL",
    ]
    assert lines(path, "client")[0]["identifiers"][0]["value"] == "11111"


async def test_a_day_is_a_day_of_bucharest(world: World) -> None:
    last_minute = datetime(2026, 11, 24, 21, 59, 59, 999999, tzinfo=UTC)
    uid = await world.receive(world.alfa, 1)
    await world.act(uid, Action.APPROVE, world.ana, Status.PENDING, last_minute)
    after = last_minute + timedelta(microseconds=1)
    await world.act(uid, Action.WITHDRAW, world.ana, Status.APPROVED, after)
    today = decisions.write_day(world.settings, TODAY)
    tomorrow = decisions.write_day(world.settings, TODAY + timedelta(days=1))
    assert [line["action"] for line in lines(today, "event")] == ["ingest", "approve"]
    assert [line["action"] for line in lines(tomorrow, "event")] == ["withdraw"]


async def test_a_day_written_again_is_the_full_day_again(world: World) -> None:
    uid = await world.receive(world.alfa, 1)
    path = decisions.write_day(world.settings, TODAY)
    first = path.read_bytes()
    assert decisions.write_day(world.settings, TODAY).read_bytes() == first
    await world.act(uid, Action.APPROVE, world.ana, Status.PENDING)
    await world.receive(world.beta, 2)
    decisions.write_day(world.settings, TODAY)
    assert [line["action"] for line in lines(path, "event")] == ["ingest", "approve", "ingest"]
    assert [line["status"] for line in lines(path, "document")] == ["approved", "pending"]


async def test_what_the_database_has_lost_stays_in_the_file(world: World) -> None:
    uid = await world.receive(world.alfa, 1)
    await world.act(uid, Action.APPROVE, world.ana, Status.PENDING)
    path = decisions.write_day(world.settings, TODAY)
    before = {
        line["type"]: lines(path, line["type"]) for line in decisions.read(world.archive.root)
    }
    async with transaction():
        await execute("DELETE FROM event")
        await execute("DELETE FROM document_line")
        await execute("DELETE FROM document_file")
        await execute("DELETE FROM document")
        await execute("DELETE FROM message")
    decisions.write_day(world.settings, TODAY)
    after = {kind: lines(path, kind) for kind in before}
    assert after == before


async def test_an_older_state_from_a_backup_does_not_replace_a_newer_one(world: World) -> None:
    uid = await world.receive(world.alfa, 1)
    await world.act(uid, Action.APPROVE, world.ana, Status.PENDING)
    path = decisions.write_day(world.settings, TODAY)
    async with transaction():
        await execute("DELETE FROM event WHERE action = 'approve'")
        await execute(
            "UPDATE document SET status = 'pending', changed_at = '2026-11-24T07:00:00.000000Z'"
        )
    decisions.write_day(world.settings, TODAY)
    assert [line["status"] for line in lines(path, "document")] == ["approved"]
    assert [line["action"] for line in lines(path, "event")] == ["ingest", "approve"]


async def test_a_line_that_cannot_be_read_is_kept_and_stops_nothing(world: World) -> None:
    await world.receive(world.alfa, 1)
    path = decisions.write_day(world.settings, TODAY)
    path.chmod(0o640)
    broken = b'{"half": \xff\n[]\n{"type":"event"}\n{"type":"strange","uid":"x"}\n'
    broken += b'{"type":"event","x":1.5}\n'
    path.write_bytes(broken + path.read_bytes())
    decisions.write_day(world.settings, TODAY)
    assert b"half" in path.read_bytes()
    used = list(decisions.read(world.archive.root))
    assert {line["type"] for line in used} == {"client", "message", "document", "event", "audit"}
    assert len([line for line in used if line["type"] == "event"]) == 1


async def test_the_head_of_the_audit_log_is_kept_with_the_day(world: World) -> None:
    await world.receive(world.alfa, 1)
    decisions.write_day(world.settings, TODAY)
    ((seq, head),) = decisions.anchors(world.archive.root).items()
    assert seq > 5
    assert len(head) == 32
    await world.receive(world.alfa, 2)
    decisions.write_day(world.settings, TODAY)
    kept = decisions.anchors(world.archive.root)
    assert kept[seq] == head
    assert len(kept) == 2


async def test_days_that_a_sleeping_machine_missed_are_written(world: World) -> None:
    long_ago = MORNING - timedelta(days=3)
    await world.receive(world.alfa, 1, long_ago)
    assert [path.stem for path in decisions.write_due(world.settings, NOON)] == [
        "2026-11-21",
        "2026-11-22",
        "2026-11-23",
        "2026-11-24",
    ]
    # The last one may have been written before its day was over.
    assert [path.stem for path in decisions.write_due(world.settings, NOON)] == ["2026-11-24"]
    later = NOON + timedelta(days=1)
    assert [path.stem for path in decisions.write_due(world.settings, later)] == [
        "2026-11-24",
        "2026-11-25",
    ]


async def test_a_notice_and_its_acknowledgement_are_decisions_too(world: World) -> None:
    uid = await world.notice(world.alfa, 7)
    await notices.acknowledge(uid, world.ana, NOON)
    (line,) = lines(decisions.write_day(world.settings, TODAY), "notice")
    assert line["uid"] == uid
    assert line["acknowledged_client_by"] == world.ana.user_uid
    assert line["acknowledged_firm_at"] is None


async def test_the_first_day_of_an_empty_office_is_written_as_well(world: World) -> None:
    (path,) = decisions.write_due(world.settings, NOON)
    assert path.stem == "2026-11-24"
    assert lines(path, "event") == []

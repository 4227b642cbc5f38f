"""How documents come in, move and are found."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from appliance.core.errors import (
    BadInput,
    NotAllowed,
    NotFound,
    PeriodClosed,
    StaleDocument,
    TransitionRefused,
)
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Role, Scope, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.store import audit, clients, documents, engine, messages, periods
from appliance.store.documents import NewFile
from tests.support.store import NOW, World, entry, new_document


async def act(
    uid: str, action: Action, viewer: Viewer, seen: Status, **more: Any
) -> documents.Acted:
    return await documents.act(
        uid,
        action,
        viewer,
        seen_status=seen,
        seen_revision=1,
        **{"at": NOW, "channel": "portal", **more},
    )


async def test_a_document_comes_in_with_lines_files_and_its_first_event(world: World) -> None:
    uid = await world.document()

    found = await documents.get(uid, await world.viewer("ana"))

    assert found.status is Status.PENDING
    assert (found.payable_minor, found.currency) == (11900, "RON")
    assert found.list_date == found.issue_date == date(2026, 11, 3)
    assert [line.name for line in found.lines] == ["Energie electrică"]
    assert [file.shown_name for file in found.files] == [
        None,
        f"{found.folder_name}.xml",
        f"{found.folder_name}_semnatura.xml",
    ]
    assert [(event.action, event.channel, event.actor_name) for event in found.events] == [
        ("ingest", "spv", None)
    ]
    assert audit.verify(world.settings.database_path) == []


async def test_the_same_document_again_stays_as_it_was(world: World) -> None:
    new = new_document(world.alfa)
    first = await documents.add(new, at=NOW)
    await world.bring(new.uid, Status.APPROVED)

    again = await documents.add(replace(new, number="another"), at=NOW)

    found = await documents.by_uid(new.uid)
    assert again == first
    assert (found.status, found.number) == (Status.APPROVED, new.number)
    assert len(found.events) == 2


async def test_two_documents_of_one_name_get_two_folders(world: World) -> None:
    names = []
    for wanted in ("2026-11-03_ENEL_1", "2026-11-03_enel_1", "2026-11-03_ENEL_1"):
        uid = await world.document(folder_name=wanted)
        names.append((await documents.by_uid(uid)).folder_name)
    other = await world.document(client_id=world.beta, folder_name="2026-11-03_ENEL_1")

    assert names == ["2026-11-03_ENEL_1", "2026-11-03_enel_1~2", "2026-11-03_ENEL_1~3"]
    assert (await documents.by_uid(other)).folder_name == "2026-11-03_ENEL_1"


async def test_names_as_long_as_names_may_be_are_told_apart_too(world: World) -> None:
    wanted = "2026-11-03_" + "X" * 49
    names = set()
    for _ in range(12):
        uid = await world.document(folder_name=wanted)
        names.add((await documents.by_uid(uid)).folder_name)

    assert len(names) == 12
    assert all(len(name) <= 60 for name in names)


async def test_an_attachment_named_like_another_file_is_shown_beside_it(world: World) -> None:
    files = [
        NewFile("attachment", "a1", "application/pdf", 1, "00", shown_name="Anexa.pdf"),
        NewFile("attachment", "a2", "application/pdf", 1, "01", shown_name="anexa.PDF"),
    ]
    uid = await world.document(files=files)

    found = await documents.by_uid(uid)

    assert [file.shown_name for file in found.files] == ["Anexa.pdf", "anexa~2.PDF"]


async def test_the_message_is_archived_with_its_document(world: World) -> None:
    [message] = await messages.remember(world.alfa, [entry("77")], NOW)

    await world.document(uid=message.uid, message_uid=message.uid)

    assert (await messages.get(message.uid)).state is messages.MessageState.ARCHIVED
    found = await documents.by_uid(message.uid)
    assert (found.message_id, found.upload_id) == ("77", "577")


async def test_a_document_that_cannot_be_stored_leaves_nothing(world: World) -> None:
    [message] = await messages.remember(world.alfa, [entry("78")], NOW)
    twice = NewFile("invoice", "invoice.xml", "application/xml", 1, "00")
    broken = new_document(
        world.alfa,
        uid=message.uid,
        message_uid=message.uid,
        lines=[documents.NewLine(name="\ud800")],
        files=[twice],
    )

    with pytest.raises(BadInput):
        await documents.add(broken, at=NOW)

    assert await engine.fetch("SELECT 1 FROM document") == []
    assert await engine.fetch("SELECT 1 FROM event") == []
    assert (await messages.get(message.uid)).state is messages.MessageState.QUEUED
    assert audit.verify(world.settings.database_path) == []


async def test_the_pdf_is_added_later_and_rendered_again_without_harm(world: World) -> None:
    uid = await world.document()
    pdf = NewFile("pdf", "invoice.pdf", "application/pdf", 10, "aa", shown_suffix=".pdf")

    await documents.add_file(uid, pdf, at=NOW)
    await documents.add_file(uid, replace(pdf, size=11, sha256="bb"), at=NOW)

    found = await documents.by_uid(uid)
    shown = [file for file in found.files if file.role == "pdf"]
    assert [(file.shown_name, file.size, file.sha256) for file in shown] == [
        (f"{found.folder_name}.pdf", 11, "bb")
    ]


async def test_a_document_walks_its_whole_way(world: World) -> None:
    uid = await world.document()
    ana, elena = await world.viewer("ana"), await world.viewer("elena")

    approved = await act(uid, Action.APPROVE, ana, Status.PENDING)
    recorded = await act(uid, Action.RECORD, elena, Status.APPROVED, channel="drive", device="PC")

    found = await documents.get(uid, elena)
    assert approved.status is Status.APPROVED
    assert (recorded.status, recorded.period) == (Status.ARCHIVED, "2026-11")
    assert found.period == "2026-11"
    assert found.taken_at == NOW
    assert [(e.action, e.actor_name, e.channel, e.device) for e in found.events] == [
        ("ingest", None, "spv", None),
        ("approve", "Ana", "portal", None),
        ("record", "Elena", "drive", "PC"),
    ]
    assert [json.loads(body)["action"] for body in await _audit_bodies(uid)] == [
        "document:ingest",
        "document:approve",
        "document:record",
    ]
    assert audit.verify(world.settings.database_path) == []


async def test_the_record_of_an_approval_names_the_bytes_that_were_approved(world: World) -> None:
    uid = await world.document()

    await act(uid, Action.APPROVE, await world.viewer("ana"), Status.PENDING)

    record = json.loads((await _audit_bodies(uid))[-1])
    [invoice] = [f for f in (await documents.by_uid(uid)).files if f.role == "invoice"]
    assert record["data"]["sha256"] == invoice.sha256
    assert "Ana" not in json.dumps(record)


async def test_a_rejection_keeps_its_reason_and_can_be_reconsidered(world: World) -> None:
    uid = await world.document()
    ana = await world.viewer("ana")

    await act(uid, Action.REJECT, ana, Status.PENDING, reason="  Nu e a noastră ")
    back = await act(uid, Action.RECONSIDER, ana, Status.REJECTED)

    assert back.status is Status.PENDING
    assert (await documents.get(uid, ana)).events[1].reason == "Nu e a noastră"


async def test_a_rejection_without_a_reason_changes_nothing(world: World) -> None:
    uid = await world.document()

    with pytest.raises(BadInput, match="reason"):
        await act(uid, Action.REJECT, await world.viewer("ana"), Status.PENDING, reason=" ")

    found = await documents.by_uid(uid)
    assert (found.status, len(found.events)) == (Status.PENDING, 1)


async def test_the_client_withdraws_until_the_accountant_has_taken_it(world: World) -> None:
    uid = await world.document(Status.APPROVED)
    ana, elena = await world.viewer("ana"), await world.viewer("elena")

    await act(uid, Action.WITHDRAW, ana, Status.APPROVED)
    await act(uid, Action.APPROVE, ana, Status.PENDING)
    assert await documents.take(uid, elena, NOW) is True
    assert await documents.take(uid, elena, NOW) is False

    with pytest.raises(NotAllowed):
        await act(uid, Action.WITHDRAW, ana, Status.APPROVED)
    await act(uid, Action.RETURN, elena, Status.APPROVED, reason="lipsește contractul")
    found = await documents.get(uid, ana)
    assert (found.status, found.taken_at) == (Status.PENDING, None)
    assert [event.action for event in found.events].count("take") == 1


async def test_only_the_accountant_takes_and_only_what_is_approved(world: World) -> None:
    approved = await world.document(Status.APPROVED)
    pending = await world.document()
    both = await world.person("horia", firm_role=Role.ACCOUNTANT, at_alfa=Role.VIEWER)
    await clients.assign(both, world.alfa, NOW)

    with pytest.raises(NotAllowed):
        await documents.take(approved, await world.viewer("ana"), NOW)
    with pytest.raises(NotFound):
        await documents.take(pending, await world.viewer("elena"), NOW)
    with pytest.raises(TransitionRefused):
        await documents.take(pending, await world.viewer("horia"), NOW)


async def test_reopening_takes_the_month_away_and_leaves_it_with_the_accountant(
    world: World,
) -> None:
    uid = await world.document(Status.ARCHIVED)
    elena = await world.viewer("elena")

    await act(uid, Action.REOPEN, elena, Status.ARCHIVED, reason="alt cont")

    found = await documents.get(uid, elena)
    assert (found.status, found.period) == (Status.APPROVED, None)
    assert found.taken_at is not None


async def test_two_who_decide_at_once_cannot_both_succeed(world: World) -> None:
    uid = await world.document()
    ana, bogdan = await world.viewer("ana"), await world.viewer("bogdan")

    outcomes = await asyncio.gather(
        act(uid, Action.APPROVE, ana, Status.PENDING),
        act(uid, Action.REJECT, bogdan, Status.PENDING, reason="nu"),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] in (
        [documents.Acted, StaleDocument],
        [StaleDocument, documents.Acted],
    )
    # The one who lost left no trace: an event is the proof that a step happened.
    assert len((await documents.by_uid(uid)).events) == 2
    assert audit.verify(world.settings.database_path) == []


_RIVAL = """
import asyncio, sys
from datetime import datetime, UTC
from pathlib import Path
from appliance.config import Settings
from appliance.core.errors import StaleDocument
from appliance.core.lifecycle import Action
from appliance.core.roles import Status
from appliance.store import accounts, documents, engine

async def main(data, account, uids):
    won = 0
    async with engine.open_store(Settings(data_dir=Path(data))):
        viewer = await accounts.viewer(int(account))
        print("ready", flush=True)
        sys.stdin.readline()
        for uid in uids:
            try:
                await documents.act(uid, Action.APPROVE, viewer, seen_status=Status.PENDING,
                    seen_revision=1, at=datetime.now(UTC), channel="portal")
                won += 1
            except StaleDocument:
                pass
    print(won, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
"""


async def test_two_processes_that_approve_at_once_share_the_documents_between_them(
    world: World,
) -> None:
    uids = [await world.document() for _ in range(20)]
    command = [sys.executable, "-c", _RIVAL, str(world.settings.data_dir)]
    rivals = [
        await asyncio.create_subprocess_exec(
            *command, str(world.ids[name]), *uids, stdin=PIPE, stdout=PIPE
        )
        for name in ("ana", "bogdan")
    ]
    for rival in rivals:
        assert rival.stdout is not None
        assert await rival.stdout.readline() == b"ready\n"

    outputs = await asyncio.gather(*(rival.communicate(b"go\n") for rival in rivals))
    won = [int(output) for output, _ in outputs]

    assert sum(won) == 20
    for uid in uids:
        found = await documents.by_uid(uid)
        assert (found.status, len(found.events)) == (Status.APPROVED, 2)
    assert audit.verify(world.settings.database_path) == []


_WORKER = """
import asyncio, itertools, sys
from datetime import timedelta
from pathlib import Path
from appliance.config import Settings
from appliance.core.lifecycle import Action
from appliance.core.roles import Status
from appliance.store import accounts, documents, engine
from tests.support.store import NOW, new_document

async def main(data, client, account):
    async with engine.open_store(Settings(data_dir=Path(data))):
        viewer = await accounts.viewer(int(account))
        for number in itertools.count():
            new = new_document(int(client))
            await documents.add(new, at=NOW)
            await documents.act(new.uid, Action.APPROVE, viewer, seen_status=Status.PENDING,
                seen_revision=1, at=NOW, channel="portal")
            print(number, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_process_killed_at_any_moment_leaves_whole_steps(world: World) -> None:
    done = 0
    for lines in (1, 2, 3, 5, 8, 13):
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _WORKER, str(world.settings.data_dir)),
            *(str(world.alfa), str(world.ids["ana"])),
            stdout=PIPE,
        )
        assert worker.stdout is not None
        for _ in range(lines):
            await worker.stdout.readline()
        worker.kill()
        rest = await worker.stdout.read()
        await worker.wait()
        done += lines + rest.count(b"\n")

    rows = await engine.fetch(
        "SELECT document.status, "
        "(SELECT group_concat(action) FROM event WHERE event.document = document.id) AS events, "
        "(SELECT COUNT(*) FROM document_line WHERE document = document.id) AS lines, "
        "(SELECT COUNT(*) FROM document_file WHERE document = document.id) AS files "
        "FROM document"
    )
    assert len(rows) >= done
    for row in rows:
        assert (row["lines"], row["files"]) == (1, 3)
        assert (row["status"], row["events"]) in (
            ("pending", "ingest"),
            ("approved", "ingest,approve"),
        )
    steps = sum(row["events"].count(",") + 1 for row in rows)
    [records] = await engine.fetch(
        "SELECT COUNT(*) AS n FROM audit WHERE CAST(body AS TEXT) LIKE '%\"document:%'"
    )
    assert records["n"] == steps
    counted = (await documents.counts(await world.viewer("ana")))[world.alfa].seen
    assert sum(counted.values()) == len(rows)
    assert audit.verify(world.settings.database_path) == []


@pytest.mark.parametrize(
    ("passed", "ro"),
    [
        (timedelta(seconds=5), "Ana l-a aprobat chiar acum. Reîncarcă pagina."),
        (timedelta(minutes=2), "Ana l-a aprobat acum 2 minute. Reîncarcă pagina."),
        (timedelta(minutes=25), "Ana l-a aprobat acum 25 de minute. Reîncarcă pagina."),
        (timedelta(hours=1), "Ana l-a aprobat acum o oră. Reîncarcă pagina."),
        (timedelta(days=101), "Ana l-a aprobat acum 101 zile. Reîncarcă pagina."),
    ],
)
async def test_who_comes_late_learns_who_was_faster(
    world: World, passed: timedelta, ro: str
) -> None:
    uid = await world.document(Status.APPROVED)

    with pytest.raises(StaleDocument) as caught:
        await act(uid, Action.REJECT, await world.viewer("ana"), Status.PENDING, at=NOW + passed)

    assert caught.value.sentence.ro == ro


async def test_a_revision_that_nobody_saw_is_not_approved(world: World) -> None:
    uid = await world.document()
    async with engine.transaction():
        await engine.execute("UPDATE document SET revision = 2 WHERE uid = ?", [uid])

    with pytest.raises(StaleDocument) as caught:
        await act(uid, Action.APPROVE, await world.viewer("ana"), Status.PENDING)

    assert caught.value.sentence.ro == "Documentul s-a schimbat între timp. Reîncarcă pagina."


async def test_an_approver_stops_at_the_limit(world: World) -> None:
    large = await world.document(ron_minor=500_001)
    unknown = await world.document(currency="EUR", ron_minor=None)
    just = await world.document(ron_minor=500_000)
    bogdan = await world.viewer("bogdan")

    for uid in (large, unknown):
        with pytest.raises(NotAllowed):
            await act(uid, Action.APPROVE, bogdan, Status.PENDING)
    assert (await act(just, Action.APPROVE, bogdan, Status.PENDING)).status is Status.APPROVED


async def test_what_is_somebody_elses_does_not_exist(world: World) -> None:
    uid = await world.document()
    missing = "0" * 26
    bianca, elena = await world.viewer("bianca"), await world.viewer("elena")
    texts = set()

    for viewer, asked in ((bianca, uid), (elena, uid), (bianca, missing)):
        with pytest.raises(NotFound) as caught:
            await act(asked, Action.APPROVE, viewer, Status.PENDING)
        texts.add(caught.value.sentence)
        with pytest.raises(NotFound) as caught:
            await documents.get(asked, viewer)
        texts.add(caught.value.sentence)

    assert len(texts) == 1


async def test_a_move_on_the_drive_leaves_the_name_where_it_was_put_for_ten_minutes(
    world: World,
) -> None:
    uid = await world.document(Status.APPROVED)
    elena = await world.viewer("elena")

    acted = await act(
        uid, Action.RECORD, elena, Status.APPROVED, channel="drive", alias_path="Primite/x"
    )

    [row] = await engine.fetch("SELECT alias_path, alias_until FROM document WHERE uid = ?", [uid])
    assert row == {"alias_path": "Primite/x", "alias_until": "2026-11-24T10:10:00.000000Z"}
    await act(uid, Action.REOPEN, elena, acted.status, reason="x")
    [row] = await engine.fetch("SELECT alias_path, alias_until FROM document WHERE uid = ?", [uid])
    assert row == {"alias_path": None, "alias_until": None}


# Months


async def test_a_document_is_recorded_in_the_month_of_its_issue_date(world: World) -> None:
    uid = await world.document(Status.APPROVED, issue_date=date(2026, 8, 31))

    acted = await act(uid, Action.RECORD, await world.viewer("elena"), Status.APPROVED)

    assert acted.period == "2026-08"


async def test_without_an_issue_date_the_month_is_that_of_receipt(world: World) -> None:
    uid = await world.document(Status.APPROVED, issue_date=None)

    acted = await act(uid, Action.RECORD, await world.viewer("elena"), Status.APPROVED)

    assert acted.period == "2026-11"


async def test_a_closed_month_hands_on_to_the_first_open_one(world: World) -> None:
    elena = await world.viewer("elena")
    await periods.close_period(world.alfa, "2026-09", elena, NOW)
    uid = await world.document(Status.APPROVED, issue_date=date(2026, 8, 31))

    with pytest.raises(PeriodClosed) as caught:
        await act(uid, Action.RECORD, elena, Status.APPROVED, period="2026-08")
    acted = await act(uid, Action.RECORD, elena, Status.APPROVED)

    assert "2026-10" in caught.value.sentence.ro
    assert acted.period == "2026-10"
    assert await periods.open_periods(world.alfa, NOW) == ["2026-10", "2026-11"]
    assert len(await periods.open_periods(world.beta, NOW)) == 12


async def test_the_accountant_may_choose_another_open_month(world: World) -> None:
    uid = await world.document(Status.APPROVED)
    elena = await world.viewer("elena")

    for nonsense in ("11-2026", "2026-1", "２０２６-11", ""):
        with pytest.raises(BadInput):
            await act(uid, Action.RECORD, elena, Status.APPROVED, period=nonsense)
    acted = await act(uid, Action.RECORD, elena, Status.APPROVED, period="2025-12")

    assert acted.period == "2025-12"


async def test_only_the_clients_accountant_closes_a_month(world: World) -> None:
    for name in ("ana", "gina", "florin"):
        with pytest.raises(NotAllowed):
            await periods.close_period(world.alfa, "2026-09", await world.viewer(name), NOW)


# Lists


async def test_a_list_is_read_to_its_end_page_by_page(world: World) -> None:
    days = [date(2026, 11, 1 + n % 7) for n in range(23)]
    uids = [await world.document(issue_date=day) for day in days]
    await world.document(Status.APPROVED)
    ana = await world.viewer("ana")

    read: list[documents.DocumentRow] = []
    after = None
    while True:
        page = await documents.page(ana, world.alfa_uid, Status.PENDING, after=after, limit=5)
        read += page.rows
        after = page.next
        if after is None:
            break

    assert {row.uid for row in read} == set(uids)
    assert len(read) == 23
    keys = [(row.list_date, row.id) for row in read]
    assert keys == sorted(keys, reverse=True)


async def test_a_list_over_all_clients_is_in_one_order(world: World) -> None:
    for day, client in ((1, world.alfa), (2, world.beta), (3, world.alfa), (4, world.beta)):
        await world.document(
            Status.APPROVED, client_id=client, issue_date=date(2026, 11, day), number=str(day)
        )
    gina = await world.viewer("gina")
    elena = await world.viewer("elena")

    everything = await documents.page(gina, None, Status.APPROVED)
    first = await documents.page(gina, None, None, limit=3)
    rest = await documents.page(gina, None, None, limit=3, after=first.next)

    assert [row.number for row in everything.rows] == ["4", "3", "2", "1"]
    assert [row.number for row in (*first.rows, *rest.rows)] == ["4", "3", "2", "1"]
    assert [row.number for row in (await documents.page(elena)).rows] == ["3", "1"]


async def test_a_list_can_be_narrowed(world: World) -> None:
    await world.document(number="A_1", kind=Kind.ISSUED)
    await world.document(number="B%2", partner_cif="1", partner_name="Orange")
    await world.document(number="C3", partner_cif=None, partner_name=None)
    ana = await world.viewer("ana")

    async def numbers(**narrow: Any) -> list[str]:
        return sorted(
            str(row.number) for row in (await documents.page(ana, world.alfa_uid, **narrow)).rows
        )

    assert await numbers(kind=Kind.ISSUED) == ["A_1"]
    assert await numbers(partner_cif="1") == ["B%2"]
    assert await numbers(partner="RANG") == ["B%2"]
    assert await numbers(number="a_1") == ["A_1"]
    assert await numbers(number="%") == ["B%2"]
    assert await numbers(period="2026-11") == []


@pytest.mark.parametrize(
    "after", ["", "x", "2026-11-01", "2026-11-01_x", f"2026-11-01_{2**70}", "\ud800_1"]
)
async def test_a_page_that_does_not_exist_is_refused_with_a_sentence(
    world: World, after: str
) -> None:
    with pytest.raises(BadInput):
        await documents.page(await world.viewer("ana"), after=after)


async def test_the_list_of_a_foreign_client_does_not_exist(world: World) -> None:
    with pytest.raises(NotFound):
        await documents.page(await world.viewer("ana"), world.beta_uid)


async def test_people_of_the_firm_learn_only_how_many_wait_and_how_long(world: World) -> None:
    await world.document(received_at=NOW - timedelta(days=9))
    await world.document()
    await world.document(Status.REJECTED, received_at=NOW - timedelta(days=3))
    await world.document(Status.APPROVED)
    elena = await world.viewer("elena")

    counted = await documents.counts(elena)
    listed = await documents.page(elena)

    assert set(counted) == {world.alfa}
    assert counted[world.alfa].seen == {Status.APPROVED: 1}
    assert counted[world.alfa].waiting == {
        Status.PENDING: documents.Waiting(2, date(2026, 11, 15)),
        Status.REJECTED: documents.Waiting(1, date(2026, 11, 21)),
    }
    assert [row.status for row in listed.rows] == [Status.APPROVED]


async def test_people_of_the_client_count_what_they_can_open(world: World) -> None:
    await world.document()
    await world.document(uploader_id=world.ids["corina"], source="upload")
    await world.document(Status.ARCHIVED, kind=Kind.ISSUED)
    await world.document(client_id=world.beta)
    await world.person("ion", at_alfa=Role.APPROVER, scope=Scope(kinds=frozenset({Kind.ISSUED})))

    async def seen(name: str) -> dict[Status, int]:
        [counted] = (await documents.counts(await world.viewer(name))).values()
        assert counted.waiting == {}
        return dict(counted.seen)

    assert await seen("ana") == {Status.PENDING: 2, Status.ARCHIVED: 1}
    assert await seen("corina") == {Status.PENDING: 1}
    assert await seen("ion") == {Status.ARCHIVED: 1}


async def test_a_problem_is_kept_as_a_sentence(world: World) -> None:
    problem = Sentence("XML-ul nu poate fi citit.", "the XML cannot be read")
    uid = await world.document(type="unreadable", problem=problem, warnings=["cif_not_ours"])

    found = await documents.by_uid(uid)

    assert (found.problem, found.warnings) == (problem, ("cif_not_ours",))


async def _audit_bodies(uid: str) -> list[bytes]:
    rows = await engine.fetch("SELECT body FROM audit ORDER BY seq")
    return [row["body"] for row in rows if json.loads(row["body"])["object"] == uid]

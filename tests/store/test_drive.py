"""What the drive is shown, folder by folder."""

from __future__ import annotations

from datetime import date
from typing import Any

from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Role, Scope, Status, Viewer
from appliance.core.times import to_text
from appliance.core.tree import Place, parse, stands_at
from appliance.store import clients, documents, drive, periods
from appliance.store.documents import NewFile
from tests.support.store import NOW, World


async def test_everybody_sees_the_folders_of_their_clients(world: World) -> None:
    gina, ana = await world.viewer("gina"), await world.viewer("ana")

    assert [client.folder_name for client in drive.clients_of(gina)] == [
        "Alfa Construct SRL (12345674)",
        "Beta Comert SRL (98765438)",
    ]
    assert [client.id for client in drive.clients_of(ana)] == [world.alfa]
    found = drive.find_client(ana, "ALFA construct srl (12345674)")
    assert found is not None
    assert found.uid == world.alfa_uid
    assert drive.find_client(ana, "Beta Comert SRL (98765438)") is None
    assert drive.find_client(ana, "nothing") is None


async def test_a_document_is_listed_where_it_stands(world: World) -> None:
    pending = await world.document()
    archived = await world.document(Status.ARCHIVED, kind=Kind.ISSUED)
    ana, elena = await world.viewer("ana"), await world.viewer("elena")

    def listed(viewer: Viewer, client_id: int, *where: Any) -> list[drive.DriveEntry]:
        sight = drive.sight_of(viewer, client_id, *where)
        return [drive.entry_of(line) for line in drive.documents_in(sight)]

    (entry,) = listed(ana, world.alfa, Status.PENDING)
    row = await documents.by_uid(pending)
    assert entry == (row.folder_name, to_text(row.changed_at), to_text(row.received_at))
    (entry,) = listed(ana, world.alfa, Status.ARCHIVED, Kind.ISSUED, "2026-11")
    assert entry.folder_name == (await documents.by_uid(archived)).folder_name
    assert listed(ana, world.alfa, Status.ARCHIVED, Kind.ISSUED, "2026-10") == []
    assert listed(ana, world.alfa, Status.ARCHIVED, Kind.RECEIVED, "2026-11") == []
    assert listed(elena, world.alfa, Status.PENDING) == []
    assert listed(ana, world.beta, Status.PENDING) == []


async def test_a_name_resolves_in_any_case_and_only_for_who_may_see_it(world: World) -> None:
    uid = await world.document()
    name = (await documents.by_uid(uid)).folder_name
    ana, elena = await world.viewer("ana"), await world.viewer("elena")

    found = drive.resolve(ana, world.alfa, name.lower())

    assert found is not None
    assert (found.uid, found.folder_name, found.revision) == (uid, name, 1)
    assert drive.resolve(elena, world.alfa, name) is None
    assert drive.resolve(ana, world.beta, name) is None
    assert drive.resolve(ana, world.alfa, "x") is None
    await world.bring(uid, Status.APPROVED)
    assert drive.resolve(elena, world.alfa, name) is not None


async def test_a_recorded_document_also_stands_where_the_move_put_it(world: World) -> None:
    uid = await world.document(Status.APPROVED)
    elena = await world.viewer("elena")
    name = (await documents.by_uid(uid)).folder_name
    await documents.act(
        uid,
        Action.RECORD,
        elena,
        seen_status=Status.APPROVED,
        seen_revision=1,
        at=NOW,
        channel="drive",
        alias_path=f"Primite/{name}",
    )

    found = drive.resolve(elena, world.alfa, name)

    assert found is not None
    asked = parse(["c", "Primite", name])
    assert isinstance(asked, Place)
    assert stands_at(asked, found.standing, NOW)
    real = parse(["c", "Primite", "2026-11", name])
    assert isinstance(real, Place)
    assert stands_at(real, found.standing, NOW)


async def test_a_folder_shows_the_files_that_have_a_name_there(world: World) -> None:
    uid = await world.document()
    await documents.add_file(
        uid, NewFile("pdf", "invoice.pdf", "application/pdf", 9, "aa", shown_suffix=".pdf"), at=NOW
    )
    name = (await documents.by_uid(uid)).folder_name
    found = drive.resolve(await world.viewer("ana"), world.alfa, name)
    assert found is not None

    files = drive.files_of(found)

    assert [(file.shown_name, file.stored_name) for file in files] == [
        (f"{name}.xml", "invoice.xml"),
        (f"{name}_semnatura.xml", "signature.xml"),
        (f"{name}.pdf", "invoice.pdf"),
    ]
    assert (found.client_uid, found.archive_month) == (world.alfa_uid, "2026/11")


async def test_open_months_are_listed_also_when_empty_and_closed_ones_when_full(
    world: World,
) -> None:
    elena = await world.viewer("elena")
    await world.document(Status.ARCHIVED, issue_date=date(2026, 3, 5))
    await periods.close_period(world.alfa, "2026-09", elena, NOW)

    assert drive.periods_in(elena, world.alfa, Kind.RECEIVED, NOW) == [
        "2026-03",
        "2026-10",
        "2026-11",
    ]
    assert drive.periods_in(elena, world.alfa, Kind.ISSUED, NOW) == ["2026-10", "2026-11"]
    assert drive.periods_in(elena, world.beta, Kind.ISSUED, NOW) == []


async def test_a_month_that_holds_only_what_one_may_not_see_is_not_listed(world: World) -> None:
    await world.document(Status.ARCHIVED, issue_date=date(2024, 3, 5), partner_cif="1")
    await world.document(Status.ARCHIVED, issue_date=date(2024, 4, 5), partner_cif="2")
    await world.person("ion", at_alfa=Role.VIEWER, scope=Scope(suppliers=frozenset({"2"})))

    months = drive.periods_in(await world.viewer("ion"), world.alfa, Kind.RECEIVED, NOW)

    assert "2024-04" in months
    assert "2024-03" not in months


async def test_two_who_see_the_same_of_a_folder_have_one_sight(world: World) -> None:
    await world.person("ion", at_alfa=Role.VIEWER, scope=Scope(suppliers=frozenset({"2"})))
    await world.person("vlad", at_alfa=Role.VIEWER, scope=Scope(suppliers=frozenset({"3"})))

    def sights(*where: Any) -> list[drive.Sight]:
        return [drive.sight_of(viewer, world.alfa, *where) for viewer in viewers]

    viewers = [await world.viewer(name) for name in ("ana", "elena", "gina", "ion", "vlad")]
    ana, elena, gina, ion, vlad = sights(Status.PENDING)
    assert elena == gina
    assert len({ana, elena, ion, vlad}) == 4
    ana, elena, gina, ion, vlad = sights(Status.ARCHIVED, Kind.OTHER, "2026-11")
    assert len({ana, elena, gina, ion, vlad}) == 5


async def test_a_stamp_changes_with_its_folder_and_with_no_other(world: World) -> None:
    uid = await world.document()
    ana, elena = await world.viewer("ana"), await world.viewer("elena")

    def stamps() -> list[int]:
        return [
            drive.stamp(drive.sight_of(ana, *where))
            for where in (
                (world.alfa, Status.PENDING),
                (world.alfa, Status.APPROVED),
                (world.alfa, Status.ARCHIVED, Kind.RECEIVED, "2026-11"),
                (world.alfa, Status.ARCHIVED, Kind.ISSUED, "2026-11"),
                (world.beta, Status.PENDING),
            )
        ]

    def changed(before: list[int]) -> list[bool]:
        return [was != now for was, now in zip(before, stamps(), strict=True)]

    before = stamps()
    assert changed(before) == [False] * 5
    await world.bring(uid, Status.APPROVED)
    assert changed(before) == [True, True, False, False, False]
    before = stamps()
    await documents.act(
        uid,
        Action.RECORD,
        elena,
        seen_status=Status.APPROVED,
        seen_revision=1,
        at=NOW,
        channel="drive",
    )
    assert changed(before) == [False, True, True, False, False]


async def test_the_data_version_tells_of_every_commit(world: World) -> None:
    before = drive.data_version()
    assert drive.data_version() == before

    await clients.create_client("Gama", [], NOW)

    assert drive.data_version() != before

"""Notices: filed at once, shown to both sides until each has seen them."""

from __future__ import annotations

import pytest

from appliance.core.errors import NotFound
from appliance.core.roles import VISIBLE_TO_FIRM, Kind, Role, Scope, Status, Viewer
from appliance.store import audit, documents, drive, messages, notices
from appliance.store.documents import NewFile
from appliance.store.notices import NewNotice
from tests.support.store import NOW, World, entry, new_document


async def a_notice(world: World, message_id: str = "1", **fields: object) -> str:
    [message] = await messages.remember(world.alfa, [entry(message_id)], NOW)
    new = NewNotice(
        uid=message.uid,
        client_id=world.alfa,
        message_uid=message.uid,
        type=str(fields.get("type", "anaf_error")),
        text="Factura are erori de validare",
        received_at=NOW,
        folder_name=str(fields.get("folder_name", f"2026-11-24_Eroare-ANAF_{message_id}")),
        upload_id=str(fields.get("upload_id", message.upload_id)),
        files=[
            NewFile("zip", "message.zip", "application/zip", 1, "00"),
            NewFile("original", "error.xml", "application/xml", 1, "01", shown_suffix=".xml"),
        ],
    )
    first = await notices.add(new, NOW)
    assert await notices.add(new, NOW) == first
    return new.uid


def on_drive(viewer: Viewer, client_id: int) -> list[str]:
    sight = drive.sight_of(viewer, client_id, Status.ARCHIVED, Kind.OTHER, "2026-11")
    return [drive.entry_of(line).folder_name for line in drive.notices_in(sight)]


async def test_a_notice_is_filed_with_its_files_and_its_message(world: World) -> None:
    uid = await a_notice(world)
    ana = await world.viewer("ana")

    found = await notices.get(uid, ana)

    assert (found.period, found.type, found.upload_id) == ("2026-11", "anaf_error", "51")
    assert [file.shown_name for file in found.files] == [None, f"{found.folder_name}.xml"]
    assert (await messages.get(uid)).state is messages.MessageState.NOTICE
    assert on_drive(ana, world.alfa) == [found.folder_name]
    assert audit.verify(world.settings.database_path) == []


@pytest.mark.parametrize("type", ["buyer_message", "unknown"])
@pytest.mark.parametrize("status", list(Status))
async def test_the_firm_hears_of_a_message_about_a_document_only_when_that_is_approved(
    world: World, type: str, status: Status
) -> None:
    """Its text names the document (design: none carries the content of a pending one)."""
    [about] = await messages.remember(world.alfa, [entry("1", upload_id="900")], NOW)
    await documents.add(new_document(world.alfa, uid=about.uid, message_uid=about.uid), at=NOW)
    await world.bring(about.uid, status)
    uid = await a_notice(world, "2", type=type, upload_id="900")

    for name in ("ana", "elena", "gina"):
        viewer = await world.viewer(name)
        may = name == "ana" or status in VISIBLE_TO_FIRM
        listed = [notice.uid for notice in await notices.list_for(viewer, world.alfa_uid)]
        assert listed == [uid] * may
        named = "2026-11-24_Eroare-ANAF_2"
        assert on_drive(viewer, world.alfa) == [named] * may
        assert (drive.resolve_notice(viewer, world.alfa, "2026-11", named) is not None) == may
        if may:
            assert (await notices.get(uid, viewer)).uid == uid
        else:
            with pytest.raises(NotFound):
                await notices.get(uid, viewer)
            with pytest.raises(NotFound):
                await notices.acknowledge(uid, viewer, NOW)


async def test_a_narrowed_member_reads_only_what_is_about_a_document_in_the_scope(
    world: World,
) -> None:
    received = Scope(kinds=frozenset({Kind.RECEIVED}))
    issued = Scope(kinds=frozenset({Kind.ISSUED}))
    await world.person("rada", at_alfa=Role.APPROVER, scope=received)
    await world.person("ilie", at_alfa=Role.APPROVER, scope=issued)
    [about] = await messages.remember(world.alfa, [entry("1", upload_id="900")], NOW)
    new = new_document(world.alfa, uid=about.uid, message_uid=about.uid, kind=Kind.RECEIVED)
    await documents.add(new, at=NOW)
    told = await a_notice(world, "2", type="buyer_message", upload_id="900")
    error = await a_notice(world, "3")

    read = {
        name: {notice.uid for notice in await notices.list_for(await world.viewer(name))}
        for name in ("ana", "dan", "rada", "ilie", "corina", "elena", "florin", "bianca")
    }

    assert read == {
        "ana": {told, error},
        "dan": {told, error},
        "rada": {told},
        "ilie": set(),
        "corina": set(),
        "elena": {error},
        "florin": set(),
        "bianca": set(),
    }


async def test_a_message_about_an_unknown_document_stays_with_the_client(world: World) -> None:
    uid = await a_notice(world, "2", type="buyer_message", upload_id="901")

    assert [n.uid for n in await notices.list_for(await world.viewer("ana"))] == [uid]
    assert await notices.list_for(await world.viewer("elena")) == []
    assert await notices.list_for(await world.viewer("gina")) == []


async def test_each_side_acknowledges_for_itself(world: World) -> None:
    uid = await a_notice(world)
    ana, elena = await world.viewer("ana"), await world.viewer("elena")

    await notices.acknowledge(uid, ana, NOW)
    await notices.acknowledge(uid, ana, NOW)

    assert await notices.list_for(ana, alerts_only=True) == []
    assert [notice.uid for notice in await notices.list_for(elena, alerts_only=True)] == [uid]
    assert [notice.uid for notice in await notices.list_for(ana, world.alfa_uid)] == [uid]
    await notices.acknowledge(uid, elena, NOW)
    gina = await world.viewer("gina")
    assert await notices.list_for(gina, alerts_only=True) == []
    assert len(await notices.list_for(gina)) == 1


async def test_a_notice_of_another_client_does_not_exist(world: World) -> None:
    uid = await a_notice(world)

    for name in ("bianca", "florin"):
        stranger = await world.viewer(name)
        with pytest.raises(NotFound):
            await notices.get(uid, stranger)
        with pytest.raises(NotFound):
            await notices.acknowledge(uid, stranger, NOW)
        with pytest.raises(NotFound):
            await notices.list_for(stranger, world.alfa_uid)
        assert await notices.list_for(stranger) == []
        assert on_drive(stranger, world.alfa) == []
        assert drive.resolve_notice(stranger, world.alfa, "2026-11", "x") is None


async def test_a_notice_and_a_document_never_share_a_name(world: World) -> None:
    name = "2026-11-24_Eroare-ANAF_1"
    await documents.add(new_document(world.alfa, kind=Kind.OTHER, folder_name=name.upper()), at=NOW)

    uid = await a_notice(world, folder_name=name)

    ana = await world.viewer("ana")
    assert (await notices.get(uid, ana)).folder_name == f"{name}~2"
    third = new_document(world.alfa, folder_name=name)
    await documents.add(third, at=NOW)
    assert (await documents.by_uid(third.uid)).folder_name == f"{name}~3"

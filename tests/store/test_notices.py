"""Notices: filed at once, shown to both sides until each has seen them."""

from __future__ import annotations

import pytest

from appliance.core.errors import NotFound
from appliance.core.roles import Kind
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
        type="anaf_error",
        text="Factura are erori de validare",
        received_at=NOW,
        folder_name=str(fields.get("folder_name", f"2026-11-24_Eroare-ANAF_{message_id}")),
        upload_id=message.upload_id,
        files=[
            NewFile("zip", "message.zip", "application/zip", 1, "00"),
            NewFile("original", "error.xml", "application/xml", 1, "01", shown_suffix=".xml"),
        ],
    )
    first = await notices.add(new, NOW)
    assert await notices.add(new, NOW) == first
    return new.uid


async def test_a_notice_is_filed_with_its_files_and_its_message(world: World) -> None:
    uid = await a_notice(world)
    ana = await world.viewer("ana")

    found = await notices.get(uid, ana)

    assert (found.period, found.type, found.upload_id) == ("2026-11", "anaf_error", "51")
    assert [file.shown_name for file in found.files] == [None, f"{found.folder_name}.xml"]
    assert (await messages.get(uid)).state is messages.MessageState.NOTICE
    assert [entry.uid for entry in drive.notices_in(ana, world.alfa, "2026-11")] == [uid]
    assert audit.verify(world.settings.database_path) == []


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
        assert drive.notices_in(stranger, world.alfa, "2026-11") == []
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

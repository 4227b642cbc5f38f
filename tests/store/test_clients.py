"""The firm, its clients and what identifies them."""

from __future__ import annotations

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import Role
from appliance.store import audit, clients, engine
from tests.support.store import NOW, World


async def test_there_is_one_firm(store: engine.Store) -> None:
    assert await clients.firm() is None
    made = await clients.create_firm("Tismana", NOW)

    with pytest.raises(BadInput):
        await clients.create_firm("Alta", NOW)
    found = await clients.firm()
    assert found is not None
    assert (found.id, found.name) == (made, "Tismana")


async def test_a_client_is_found_by_any_spelling_of_its_identifier(world: World) -> None:
    for text in ("RO12345674", " ro 12.345.674", "012345674"):
        found = await clients.by_identifier(text)
        assert found is not None
        assert found.id == world.alfa
    assert await clients.by_identifier("1") is None
    assert await clients.by_identifier("") is None
    assert (await clients.named("RO12345674")).id == world.alfa
    with pytest.raises(NotFound, match="no client has the CIF 1; check the number"):
        await clients.named("1")


async def test_a_client_may_have_several_identifiers_and_shares_none(world: World) -> None:
    await clients.add_identifier(world.alfa, "DE 123456789", NOW)
    await clients.add_identifier(world.alfa, "RO12345674", NOW)

    assert await clients.identifiers(world.alfa) == {"12345674", "DE123456789"}
    assert await clients.all_identifiers() == {
        "12345674": world.alfa,
        "DE123456789": world.alfa,
        "98765438": world.beta,
    }
    with pytest.raises(BadInput, match="another client"):
        await clients.add_identifier(world.beta, "12345674", NOW)
    with pytest.raises(BadInput, match="another client"):
        await clients.create_client("Gama", ["12345674"], NOW)
    assert len(await clients.all_clients()) == 2


async def test_a_client_without_an_identifier_is_provisional(world: World) -> None:
    made = await clients.create_client("Gama SRL", ["", " "], NOW)

    before = await clients.by_id(made)
    await clients.add_identifier(made, "1234567", NOW)

    assert (before.cif, before.provisional) == ("", True)
    assert not (await clients.by_id(made)).provisional


async def test_clients_of_one_name_get_folders_of_their_own(world: World) -> None:
    names = []
    for _ in range(12):
        made = await clients.create_client("O firmă cu un nume foarte lung de tot SRL", [], NOW)
        names.append((await clients.by_id(made)).folder_name)

    assert len({name.casefold() for name in names}) == 12
    assert max(map(len, names)) <= 40


async def test_each_person_sees_their_clients_and_no_others(world: World) -> None:
    async def seen(name: str) -> list[int]:
        return [client.id for client in await clients.list_for(await world.viewer(name))]

    assert await seen("gina") == [world.alfa, world.beta]
    assert await seen("elena") == [world.alfa]
    assert await seen("florin") == [world.beta]
    assert await seen("ana") == [world.alfa]
    await world.person("nimeni")
    assert await seen("nimeni") == []


async def test_a_foreign_client_and_an_absent_one_are_the_same(world: World) -> None:
    sentences = set()
    for uid in (world.beta_uid, "0" * 26, "\ud800"[:0]):
        with pytest.raises(NotFound) as caught:
            await clients.by_uid(uid, await world.viewer("ana"))
        sentences.add(caught.value.sentence)

    assert len(sentences) == 1
    assert (await clients.by_uid(world.beta_uid)).id == world.beta


async def test_an_assignment_without_a_role_at_the_firm_is_refused(world: World) -> None:
    with pytest.raises(BadInput):
        await clients.assign(world.ids["ana"], world.alfa, NOW)
    with pytest.raises(BadInput):
        await clients.add_member(world.ids["ana"], world.alfa, Role.ADMIN, NOW)


async def test_a_members_role_is_replaced_not_added(world: World) -> None:
    await clients.add_member(world.ids["dan"], world.alfa, Role.APPROVER, NOW)

    people = {person.name: person.membership.role for person in await clients.members(world.alfa)}

    assert people == {
        "Ana": Role.OWNER,
        "Bogdan": Role.APPROVER,
        "Corina": Role.CONTRIBUTOR,
        "Dan": Role.APPROVER,
    }


async def test_every_change_of_people_and_clients_is_on_record(world: World) -> None:
    before = (await engine.fetch("SELECT COUNT(*) AS n FROM audit"))[0]["n"]
    gina = await world.viewer("gina")

    await clients.assign(world.ids["florin"], world.alfa, NOW, by=gina)
    await clients.assign(world.ids["florin"], world.alfa, NOW, by=gina)
    await clients.unassign(world.ids["florin"], world.alfa, NOW, by=gina)
    await clients.remove_member(world.ids["dan"], world.alfa, NOW, by=gina)
    await clients.remove_member(world.ids["dan"], world.alfa, NOW, by=gina)

    rows = await engine.fetch("SELECT body FROM audit WHERE seq > ?", [before])
    assert len(rows) == 3
    assert all(gina.user_uid.encode() in row["body"] for row in rows)
    assert audit.verify(world.settings.database_path) == []

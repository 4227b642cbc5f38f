"""People and their roles; nothing secret or personal where it does not belong."""

from __future__ import annotations

from datetime import timedelta

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import Kind, Role, Scope
from appliance.store import accounts, audit, clients, drive_passwords, engine, links
from tests.support.store import NOW, World


async def test_an_account_is_found_however_its_address_is_spelled(store: engine.Store) -> None:
    made = await accounts.create_account(" Ana.Pop@Exemplu.ro ", " Ana  Pop ", NOW)

    found = await accounts.by_email("ANA.POP@exemplu.RO")

    assert found is not None
    assert (found.id, found.email, found.name) == (made, "Ana.Pop@Exemplu.ro", "Ana Pop")
    assert found.password_hash is None
    with pytest.raises(BadInput, match="already an account"):
        await accounts.create_account("ana.pop@EXEMPLU.ro", "Alta", NOW)


@pytest.mark.parametrize(
    "email", ["", "ana", "a@b@c", "a b@c", "a\n@b", "\x00@b", "a" * 250 + "@b.ro"]
)
async def test_what_is_no_address_gets_no_account(store: engine.Store, email: str) -> None:
    with pytest.raises(BadInput):
        await accounts.create_account(email, "Ana", NOW)


async def test_a_client_role_is_not_given_at_the_firm(store: engine.Store) -> None:
    with pytest.raises(BadInput):
        await accounts.create_account("a@b", "Ana", NOW, firm_role=Role.OWNER)


async def test_a_viewer_carries_every_role_as_it_is_now(world: World) -> None:
    await clients.add_member(
        world.ids["elena"],
        world.beta,
        Role.APPROVER,
        NOW,
        scope=Scope(frozenset({Kind.ISSUED}), frozenset({"1", "2"}), 100),
    )

    elena = await world.viewer("elena")

    assert elena.firm_role is Role.ACCOUNTANT
    assert elena.assigned_clients == {world.alfa}
    assert elena.memberships[world.beta].role is Role.APPROVER
    assert elena.memberships[world.beta].scope == Scope(
        frozenset({Kind.ISSUED}), frozenset({"1", "2"}), 100
    )
    await clients.remove_member(world.ids["elena"], world.beta, NOW)
    await clients.unassign(world.ids["elena"], world.alfa, NOW)
    assert (await world.viewer("elena")).memberships == {}
    assert (await world.viewer("elena")).assigned_clients == frozenset()


async def test_a_viewer_made_in_a_transaction_is_seen_in_it(world: World) -> None:
    async with engine.transaction():
        made = await accounts.create_account("nou@exemplu.ro", "Nou", NOW)
        await clients.add_member(made, world.alfa, Role.VIEWER, NOW)
        assert (await accounts.viewer(made)).roles_at(world.alfa) == {Role.VIEWER}


async def test_a_disabled_person_is_nobody_until_enabled(world: World) -> None:
    password = await drive_passwords.create(world.ids["ana"], "laptop", NOW)

    await accounts.disable(world.ids["ana"], NOW)

    with pytest.raises(NotFound):
        await world.viewer("ana")
    assert drive_passwords.viewer_for("ana@example.ro", password, NOW) is None
    await accounts.enable(world.ids["ana"], NOW)
    assert (await world.viewer("ana")).name == "Ana"
    assert audit.verify(world.settings.database_path) == []


async def test_nobody_may_be_found_by_an_id_that_is_not_there(store: engine.Store) -> None:
    with pytest.raises(NotFound):
        await accounts.viewer(1)
    assert await accounts.by_id(1) is None


async def test_no_secret_is_in_the_database(world: World) -> None:
    drive = await drive_passwords.create(world.ids["ana"], "laptop", NOW)
    link = await links.issue(world.ids["ana"], "reset", NOW, NOW + timedelta(hours=1))

    data = b"".join(path.read_bytes() for path in world.settings.data_dir.glob("arhivar.db*"))

    assert drive.split("_")[1].encode() in data
    assert drive.split("_")[2].encode() not in data
    assert link.encode() not in data


async def test_personal_data_stay_out_of_the_audit_log(world: World) -> None:
    await drive_passwords.create(world.ids["ana"], "laptop", NOW)
    bodies = b"".join(row["body"] for row in await engine.fetch("SELECT body FROM audit"))

    for name, account in world.ids.items():
        person = await accounts.by_id(account)
        assert person is not None
        assert person.email.encode() not in bodies
        assert name.capitalize().encode() not in bodies
    assert b"12345674" not in bodies

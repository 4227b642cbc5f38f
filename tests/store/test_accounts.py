"""People, sessions, links, drive passwords and how often one may fail."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import Kind, Role, Scope
from appliance.store import accounts, audit, clients, engine, sessions, throttle
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
    password = await accounts.create_drive_password(world.ids["ana"], "laptop", NOW)

    await accounts.disable(world.ids["ana"], NOW)

    with pytest.raises(NotFound):
        await world.viewer("ana")
    assert accounts.viewer_for_drive_password("ana@example.ro", password, NOW) is None
    await accounts.enable(world.ids["ana"], NOW)
    assert (await world.viewer("ana")).name == "Ana"
    assert audit.verify(world.settings.database_path) == []


async def test_nobody_may_be_found_by_an_id_that_is_not_there(store: engine.Store) -> None:
    with pytest.raises(NotFound):
        await accounts.viewer(1)
    assert await accounts.by_id(1) is None


# Sessions


async def begin(world: World, name: str, token_hash: str, **more: Any) -> sessions.Session:
    return await sessions.create_session(
        token_hash,
        world.ids[name],
        more.pop("at", NOW),
        level=2,
        address="192.0.2.0/24",
        agent="Firefox",
        **more,
    )


async def test_a_session_is_loaded_by_its_hash_with_its_accounts_state(world: World) -> None:
    made = await begin(world, "ana", "h1")

    loaded = await sessions.load_session("h1")

    assert loaded == made
    assert await sessions.load_session("h2") is None
    await accounts.raise_epoch(world.ids["ana"], NOW)
    after = await sessions.load_session("h1")
    assert after is not None
    assert after.account_epoch == after.auth_epoch + 1
    await accounts.disable(world.ids["ana"], NOW)
    after = await sessions.load_session("h1")
    assert after is not None
    assert after.account_disabled


async def test_a_new_session_ends_the_one_it_follows(world: World) -> None:
    await begin(world, "ana", "h1")

    await begin(world, "ana", "h2", replaces="h1")

    assert await sessions.load_session("h1") is None
    assert [each.token_hash for each in await sessions.sessions_of(world.ids["ana"])] == ["h2"]


async def test_an_ended_session_does_not_come_back_when_it_is_touched(world: World) -> None:
    await begin(world, "ana", "h1")
    await sessions.touch("h1", NOW + timedelta(minutes=1))
    touched = await sessions.load_session("h1")
    assert touched is not None
    assert touched.seen_at == NOW + timedelta(minutes=1)

    await sessions.delete_session("h1", NOW)
    await sessions.delete_session("h1", NOW)
    await sessions.touch("h1", NOW + timedelta(minutes=2))

    assert await sessions.load_session("h1") is None


async def test_an_eleventh_session_ends_the_one_unseen_for_longest(world: World) -> None:
    for number in range(12):
        await begin(world, "ana", f"h{number}", at=NOW - timedelta(minutes=number))
    await begin(world, "bogdan", "other")

    left = {each.token_hash for each in await sessions.sessions_of(world.ids["ana"])}

    # The newest row is always kept, also when its clock is behind.
    assert left == {*(f"h{number}" for number in range(9)), "h11"}
    assert await sessions.load_session("other") is not None


async def test_sessions_that_nobody_used_are_forgotten(world: World) -> None:
    await begin(world, "ana", "old", at=NOW - timedelta(days=2))
    await begin(world, "ana", "new")

    assert await sessions.delete_seen_before(NOW - timedelta(days=1)) == 1
    assert await sessions.load_session("old") is None


# Links


async def test_a_link_works_once(world: World) -> None:
    ana = world.ids["ana"]
    token = await accounts.issue_link(ana, "reset", NOW, NOW + timedelta(minutes=30))

    assert (await accounts.peek_link(token, "reset", NOW)).id == ana
    outcomes = await asyncio.gather(
        *(accounts.spend_link(token, "reset", NOW) for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BadInput"] * 4 + ["int"]


async def test_a_link_dies_of_age_purpose_password_disabling_and_its_successor(
    world: World,
) -> None:
    ana = world.ids["ana"]

    async def fresh() -> str:
        return await accounts.issue_link(ana, "reset", NOW, NOW + timedelta(minutes=30))

    async def dead(token: str, purpose: str = "reset", at: timedelta = timedelta()) -> None:
        with pytest.raises(BadInput):
            await accounts.peek_link(token, purpose, NOW + at)
        with pytest.raises(BadInput):
            await accounts.spend_link(token, purpose, NOW + at)

    await dead("nonsense")
    await dead("\ud800")
    token = await fresh()
    await dead(token, at=timedelta(minutes=30))
    await dead(token, purpose="activation")
    await fresh()
    await dead(token)
    token = await fresh()
    await accounts.set_password_hash(ana, "$argon2id$…", NOW)
    await dead(token)
    token = await fresh()
    await accounts.disable(ana, NOW)
    await dead(token)


async def test_a_stronger_hash_of_the_same_password_ends_nothing(world: World) -> None:
    await begin(world, "ana", "h1")

    await accounts.set_password_hash(world.ids["ana"], "stronger", NOW, rehash=True)

    session = await sessions.load_session("h1")
    assert session is not None
    assert session.account_epoch == session.auth_epoch


# Drive passwords


async def test_a_drive_password_opens_for_its_person_on_its_device(world: World) -> None:
    password = await accounts.create_drive_password(world.ids["ana"], " Laptop  acasă ", NOW)

    found = accounts.viewer_for_drive_password(" ANA@example.ro", password.upper(), NOW)

    assert found is not None
    person, device = found
    assert person == await world.viewer("ana")
    assert device.device == "Laptop acasă"
    assert len(password) == len("arh1_12345678_") + 32
    for day in ("2026-11-24", "2026-11-23"):
        await accounts.note_drive_use(device.id, day)
    [row] = await accounts.drive_passwords(world.ids["ana"], NOW)
    assert row.last_used_on == "2026-11-24"


async def test_every_wrong_drive_password_is_wrong_in_the_same_way(world: World) -> None:
    ana = world.ids["ana"]
    password = await accounts.create_drive_password(ana, "laptop", NOW)
    _, public_id, secret = password.split("_")
    other = (await accounts.create_drive_password(ana, "phone", NOW)).split("_")[2]
    wrong = [
        ("bogdan@example.ro", password),
        ("ana@example.ro", f"arh1_{public_id}_{other}"),
        ("ana@example.ro", f"arh1_aaaaaaaa_{secret}"),
        ("ana@example.ro", f"arh2_{public_id}_{secret}"),
        ("ana@example.ro", f"arh1_{public_id}_{secret}_"),
        ("ana@example.ro", secret),
        ("ana@example.ro", ""),
        ("ana@example.ro", "arh1__"),
        ("ana@example.ro", "\ud800_\ud800_\ud800"),
        ("ana@example.ro", f"arh1_\ud800_{secret}"),
        ("", password),
    ]

    for email, text in wrong:
        assert accounts.viewer_for_drive_password(email, text, NOW) is None, text


async def test_a_drive_password_ends_by_revocation_and_age(world: World) -> None:
    ana, bogdan = world.ids["ana"], world.ids["bogdan"]
    password = await accounts.create_drive_password(ana, "laptop", NOW)
    public_id = password.split("_")[1]
    after = NOW + timedelta(days=400)

    assert accounts.viewer_for_drive_password("ana@example.ro", password, after) is None
    with pytest.raises(NotFound):
        await accounts.revoke_drive_password(bogdan, public_id, NOW)
    await accounts.revoke_drive_password(ana, public_id, NOW)
    await accounts.revoke_drive_password(ana, public_id, NOW)
    assert accounts.viewer_for_drive_password("ana@example.ro", password, NOW) is None


async def test_a_twenty_first_drive_password_is_refused(world: World) -> None:
    for number in range(20):
        await accounts.create_drive_password(world.ids["ana"], str(number), NOW)

    with pytest.raises(BadInput, match="20"):
        await accounts.create_drive_password(world.ids["ana"], "one more", NOW)


async def test_no_secret_is_in_the_database(world: World) -> None:
    drive = await accounts.create_drive_password(world.ids["ana"], "laptop", NOW)
    link = await accounts.issue_link(world.ids["ana"], "reset", NOW, NOW + timedelta(hours=1))

    data = b"".join(path.read_bytes() for path in world.settings.data_dir.glob("arhivar.db*"))

    assert drive.split("_")[1].encode() in data
    assert drive.split("_")[2].encode() not in data
    assert link.encode() not in data


# Throttling


async def test_after_ten_failures_the_eleventh_is_not_looked_at(store: engine.Store) -> None:
    may = [await throttle.count_failure("login", "ana@example.ro", NOW) for _ in range(12)]

    assert may == [True] * 10 + [False] * 2
    assert not throttle.allowed("login", "ana@example.ro", NOW)
    assert throttle.allowed("login", "bogdan@example.ro", NOW)


async def test_parallel_guesses_do_not_slip_through(store: engine.Store) -> None:
    may = await asyncio.gather(*(throttle.count_failure("login", "ana", NOW) for _ in range(40)))

    assert sum(may) == 10


async def test_a_window_ends_and_the_longer_one_still_counts(store: engine.Store) -> None:
    at = NOW
    let_through = 0
    for _ in range(4):
        let_through += sum([await throttle.count_failure("login", "ana", at) for _ in range(10)])
        at += timedelta(minutes=5)

    assert let_through == 30
    assert throttle.allowed("login", "ana", NOW + timedelta(hours=2))


async def test_success_clears_and_forgives(store: engine.Store) -> None:
    for _ in range(10):
        await throttle.count_failure("login", "ana", NOW)
        await throttle.count_failure("login-address", "192.0.2.1", NOW)

    await throttle.clear("login", "ana")
    await throttle.forgive("login-address", "192.0.2.1")

    assert throttle.allowed("login", "ana", NOW)
    [row] = await engine.fetch("SELECT failures FROM throttle")
    assert row["failures"] == 9


async def test_the_drives_block_doubles(store: engine.Store) -> None:
    async def fail_until_blocked(at: Any) -> None:
        while await throttle.count_failure("drive", "abcdefgh", at):
            pass

    at, lengths = NOW, []
    for _ in range(9):
        await fail_until_blocked(at)
        minutes = 0
        while not throttle.allowed("drive", "abcdefgh", at + timedelta(minutes=minutes)):
            minutes += 15
        lengths.append(minutes)
        at += timedelta(minutes=minutes)

    assert lengths == [15, 30, 60, 120, 240, 480, 960, 1440, 1440]


async def test_the_last_failure_that_was_let_through_begins_the_block(store: engine.Store) -> None:
    """Whoever asks `allowed()` before counting is blocked as long as everybody else."""
    let_through = 0
    while throttle.allowed("drive-address", "192.0.2.1", NOW):
        let_through += await throttle.count_failure("drive-address", "192.0.2.1", NOW)

    assert let_through == 20
    assert not throttle.allowed("drive-address", "192.0.2.1", NOW + timedelta(minutes=14))
    assert throttle.allowed("drive-address", "192.0.2.1", NOW + timedelta(minutes=15))


async def test_an_attempt_is_counted_under_all_its_names_or_under_none(
    store: engine.Store,
) -> None:
    for _ in range(30):
        await throttle.count_failure("login-address", "192.0.2.1", NOW)
    rows = "SELECT * FROM throttle ORDER BY key"
    before = [dict(row) for row in await engine.fetch(rows)]

    asked = [("login-all", ""), ("login-address", "192.0.2.1"), ("login", "ana")]
    assert not await throttle.count_failures(asked, NOW)

    assert [dict(row) for row in await engine.fetch(rows)] == before


async def test_a_clock_that_went_back_blocks_nobody_for_ever(store: engine.Store) -> None:
    for _ in range(11):
        await throttle.count_failure("login-address", "x", NOW)

    for _ in range(25):
        assert await throttle.count_failure("login-address", "x", NOW - timedelta(days=1))


async def test_old_counters_are_forgotten(store: engine.Store) -> None:
    await throttle.count_failure("login", "ana", NOW)

    await throttle.sweep(NOW + timedelta(days=3))

    assert await engine.fetch("SELECT * FROM throttle") == []


async def test_personal_data_stay_out_of_the_audit_log(world: World) -> None:
    await accounts.create_drive_password(world.ids["ana"], "laptop", NOW)
    bodies = b"".join(row["body"] for row in await engine.fetch("SELECT body FROM audit"))

    for name, account in world.ids.items():
        person = await accounts.by_id(account)
        assert person is not None
        assert person.email.encode() not in bodies
        assert name.capitalize().encode() not in bodies
    assert b"12345674" not in bodies

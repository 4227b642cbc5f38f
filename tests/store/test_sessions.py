"""Sessions: loaded by their hash, ended for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from appliance.store import accounts, sessions
from tests.support.store import NOW, World


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


async def test_a_stronger_hash_of_the_same_password_ends_nothing(world: World) -> None:
    await begin(world, "ana", "h1")

    await accounts.set_password_hash(world.ids["ana"], "stronger", NOW, rehash=True)

    session = await sessions.load_session("h1")
    assert session is not None
    assert session.account_epoch == session.auth_epoch

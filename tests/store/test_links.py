"""Links by mail: once, for one purpose, until they expire."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from appliance.core.errors import BadInput
from appliance.store import accounts, links
from tests.support.store import NOW, World


async def test_a_link_works_once(world: World) -> None:
    ana = world.ids["ana"]
    token = await links.issue(ana, "reset", NOW, NOW + timedelta(minutes=30))

    assert (await links.peek(token, "reset", NOW)).id == ana
    outcomes = await asyncio.gather(
        *(links.spend(token, "reset", NOW) for _ in range(5)), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["BadInput"] * 4 + ["int"]


async def test_a_link_dies_of_age_purpose_password_disabling_and_its_successor(
    world: World,
) -> None:
    ana = world.ids["ana"]

    async def fresh() -> str:
        return await links.issue(ana, "reset", NOW, NOW + timedelta(minutes=30))

    async def dead(token: str, purpose: str = "reset", at: timedelta = timedelta()) -> None:
        with pytest.raises(BadInput):
            await links.peek(token, purpose, NOW + at)
        with pytest.raises(BadInput):
            await links.spend(token, purpose, NOW + at)

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

"""How often each client's SPV is listed by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from appliance.core.errors import BadInput
from appliance.store import clients, fetching, jobs
from tests.support.store import NOW, World


async def test_whose_spv_may_be_listed_and_when_it_last_was(world: World) -> None:
    await clients.create_client("Provizoriu", [], NOW)
    await jobs.insert("list", world.alfa_uid, NOW)
    assert [each.uid for each in await fetching.candidates(NOW)] == [world.beta_uid]

    await jobs.finish((await jobs.lease(1, NOW, 60, ["list"]))[0].id, NOW)
    await fetching.set_every(world.beta, 1, NOW, by=await world.viewer("gina"))

    alfa, beta = await fetching.candidates(NOW)
    assert (alfa.uid, alfa.every_hours, alfa.asked_at) == (world.alfa_uid, None, NOW)
    assert (beta.uid, beta.every_hours, beta.asked_at) == (world.beta_uid, 1, None)
    # A clock that was wrong does not stop the listings.
    assert (await fetching.candidates(NOW - timedelta(days=1)))[0].asked_at is None
    for hours in (0, 169, -1):
        with pytest.raises(BadInput):
            await fetching.set_every(world.beta, hours, NOW)

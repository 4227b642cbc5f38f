"""What the last listing of each CIF gave is kept beside what is wrong now."""

from __future__ import annotations

from datetime import timedelta

from appliance.core.roles import Role
from appliance.core.sentence import Sentence
from appliance.store import listings
from appliance.store.listings import Counts
from tests.support.store import NOW, World

LATER = NOW + timedelta(hours=1)
DOWN = Sentence("ANAF nu răspunde.", "ANAF does not answer")


async def test_a_try_that_gave_nothing_keeps_the_numbers_of_the_last_answer(world: World) -> None:
    await listings.note(world.alfa, "12345674", NOW, Counts(7, 2, 0, 1))

    await listings.failed(world.alfa, "12345674", LATER, DOWN)

    (found,) = await listings.of_client(world.alfa)
    assert (found.counts, found.done_at) == (Counts(7, 2, 0, 1), NOW)
    assert (found.tried_at, found.problem) == (LATER, DOWN)


async def test_an_answer_that_is_not_believed_is_noted_and_is_not_the_last_whole_one(
    world: World,
) -> None:
    await listings.note(world.alfa, "12345674", NOW, Counts(7))

    await listings.note(world.alfa, "12345674", LATER, Counts(missing=7), DOWN, whole=False)

    (found,) = await listings.of_client(world.alfa)
    assert (found.counts, found.done_at, found.problem) == (Counts(missing=7), NOW, DOWN)


async def test_the_next_whole_answer_ends_the_problem(world: World) -> None:
    await listings.failed(world.alfa, "12345674", NOW, DOWN)

    await listings.note(world.alfa, "12345674", LATER, Counts(3))

    (found,) = await listings.of_client(world.alfa)
    assert (found.done_at, found.problem) == (LATER, None)


async def test_of_two_that_list_at_once_the_later_one_counts(world: World) -> None:
    await listings.note(world.alfa, "12345674", LATER, Counts(8))
    await listings.note(world.alfa, "12345674", NOW, Counts(7))

    assert [found.counts.listed for found in await listings.of_client(world.alfa)] == [8]


async def test_everybody_sees_the_listings_of_their_own_clients(world: World) -> None:
    await listings.note(world.alfa, "12345674", NOW, Counts(1))
    await listings.note(world.alfa, "14399840", NOW, Counts(2))
    await listings.note(world.beta, "98765438", NOW, Counts(3))
    await world.person("adina", firm_role=Role.ADMIN)
    seen = {
        name: [found.cif for found in await listings.all_of(await world.viewer(name))]
        for name in ("ana", "elena", "bianca", "adina")
    }

    everything = ["12345674", "14399840", "98765438"]
    assert seen == {
        "ana": everything[:2],
        "elena": everything[:2],
        "bianca": everything[2:],
        "adina": everything,
    }
    assert [found.cif for found in await listings.all_of()] == everything

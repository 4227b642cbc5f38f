"""A host that does not answer costs a few calls, not thousands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from appliance.core.sentence import Sentence
from appliance.store import alerts, engine, outages
from tests.support.store import NOW, World

AWAY = Sentence("ANAF nu a răspuns.", "ANAF did not answer")
MINUTE = timedelta(minutes=1)


async def broken(at: datetime = NOW) -> outages.Outage:
    for about in "abc":
        outage = await outages.failed("api", at, AWAY, about)
    assert outage is not None
    return outage


async def test_three_failures_of_different_objects_are_an_outage(store: engine.Store) -> None:
    assert await outages.failed("api", NOW, AWAY, "a") is None
    assert await outages.failed("api", NOW + MINUTE, AWAY, "b") is None
    assert await outages.current() is None

    outage = await outages.failed("api", NOW + 2 * MINUTE, AWAY, "c")

    assert outage == await outages.current()
    assert outage is not None
    assert (outage.since, outage.failures, outage.next_try_at, outage.problem) == (
        NOW,
        3,
        NOW + 3 * MINUTE,
        AWAY,
    )
    assert await outages.current("vault") is None


async def test_one_object_that_fails_for_ever_is_none(store: engine.Store) -> None:
    for _ in range(10):
        assert await outages.failed("api", NOW, AWAY, "a") is None
    assert await outages.claim("api", NOW)


async def test_a_vault_that_is_away_is_an_outage_though_one_object_alone_asks_for_it(
    store: engine.Store,
) -> None:
    away = [await outages.failed("vault", NOW, AWAY, "a") for _ in range(outages.FAILURES)]

    assert away[:-1] == [None] * (outages.FAILURES - 1)
    assert away[-1] == await outages.current("vault") is not None


async def test_an_answer_between_begins_the_count_anew(store: engine.Store) -> None:
    await outages.failed("api", NOW, AWAY, "a")
    await outages.failed("api", NOW, AWAY, "b")
    assert not await outages.answered("api", NOW)
    assert await outages.failed("api", NOW, AWAY, "c") is None
    assert await outages.failed("api", NOW, AWAY, "d") is None


async def test_while_it_lasts_one_asks_at_growing_distances(store: engine.Store) -> None:
    await broken()
    asked, at = [], NOW
    while at <= NOW + timedelta(minutes=62):
        if await outages.claim("api", at):
            asked.append(int((at - NOW).total_seconds() / 60))
            assert not await outages.claim("api", at)
            await outages.failed("api", at, AWAY, "x")
        at += MINUTE

    assert asked == [1, 3, 7, 15, 30, 45, 60]


async def test_the_first_answer_ends_it_and_the_next_outage_begins_anew(
    store: engine.Store,
) -> None:
    await broken()
    assert await outages.claim("api", NOW + MINUTE)

    assert await outages.answered("api", NOW + MINUTE)

    assert await outages.current() is None
    assert await outages.claim("api", NOW + MINUTE)
    assert not await outages.answered("api", NOW + MINUTE)
    again = await broken(NOW + timedelta(hours=5))
    assert (again.since, again.failures) == (NOW + timedelta(hours=5), 3)


async def test_one_who_dies_while_asking_is_followed_by_another(store: engine.Store) -> None:
    await broken()
    assert await outages.claim("api", NOW + MINUTE)

    assert not await outages.claim("api", NOW + 2 * MINUTE)
    assert await outages.claim("api", NOW + 3 * MINUTE)


async def test_after_the_clock_was_set_back_nobody_waits_for_days(store: engine.Store) -> None:
    await broken(NOW + timedelta(days=400))

    assert await outages.claim("api", NOW)
    assert not await outages.claim("api", NOW)


async def test_people_read_since_when_and_that_they_need_do_nothing(store: engine.Store) -> None:
    outage = await broken(datetime(2026, 11, 24, 7, 12, tzinfo=UTC))
    assert outages.sentence(outage, NOW).ro == (
        "ANAF nu răspunde de la 09:12. Încercăm singuri în fiecare minut."
    )
    at = outage.next_try_at
    for _ in range(5):
        assert await outages.claim("api", at)
        last = await outages.current()
        assert last is not None
        at = last.next_try_at
    assert outages.sentence(last, NOW).ro == (
        "ANAF nu răspunde de la 09:12. Încercăm singuri la 15 minute."
    )
    tomorrow = NOW + timedelta(days=1)
    assert "din 24.11.2026, ora 09:12" in outages.sentence(last, tomorrow).ro


async def test_an_alert_is_raised_once_until_it_ends(world: World) -> None:
    assert await alerts.raise_once("token", world.alfa_uid, 0, world.alfa, NOW)
    assert not await alerts.raise_once("token", world.alfa_uid, 0, world.alfa, NOW)
    assert await alerts.raise_once("token", world.beta_uid, 0, world.beta, NOW)
    assert [alert.object for alert in await alerts.open_for(world.alfa)] == [world.alfa_uid]
    assert len(await alerts.open_for(None)) == 2

    assert await alerts.end("token", world.alfa_uid, NOW)

    assert not await alerts.end("token", world.alfa_uid, NOW)
    assert await alerts.open_for(world.alfa) == []
    assert await alerts.raise_once("token", world.alfa_uid, 0, world.alfa, NOW)


async def test_each_level_is_told_and_all_end_together(world: World) -> None:
    for level in (14, 7, 7, 3):
        await alerts.raise_once("expiring", "message", level, world.alfa, NOW)
    assert [alert.level for alert in await alerts.open_for(world.alfa)] == [14, 7, 3]

    await alerts.end("expiring", "message", NOW)

    assert await alerts.open_for(None) == []

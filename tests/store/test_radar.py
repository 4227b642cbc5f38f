"""The 60-day radar: days left, and each alert once."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from appliance.core.sentence import Sentence
from appliance.store import alerts, engine, messages, radar
from appliance.store.messages import Message, MessageState
from tests.support.store import NOW, World, entry

_IDS = itertools.count(1)
DAY = timedelta(days=1)


async def listed(world: World, age: timedelta, **fields: Any) -> Message:
    """Let ANAF list a message of Alfa that it made so long ago."""
    made = {"created_at": NOW - age, **fields}
    (message,) = await messages.remember(world.alfa, [entry(str(next(_IDS)), **made)], NOW)
    return message


async def levels(uid: str) -> list[int]:
    return [one.level for one in await alerts.open_for(None) if one.object == uid]


@pytest.mark.parametrize(
    ("age", "left"),
    [
        (timedelta(0), 60),
        (timedelta(seconds=1), 59),
        (45 * DAY, 15),
        (46 * DAY, 14),
        (59 * DAY + timedelta(hours=23), 0),
        (60 * DAY, 0),
        (90 * DAY, 0),
    ],
)
def test_days_left_are_whole_days_until_sixty_are_over(age: timedelta, left: int) -> None:
    assert radar.days_left(NOW - age, NOW) == left


async def test_the_radar_shows_each_clients_oldest_unfetched_message(world: World) -> None:
    await listed(world, 10 * DAY)
    oldest = await listed(world, 50 * DAY)
    undated = await listed(world, DAY, created_raw="?", created_at=None)
    gone = await listed(world, 61 * DAY)
    filed = await listed(world, 55 * DAY)
    await messages.settle(filed.uid, MessageState.ARCHIVED, None, NOW)

    found = await radar.oldest([world.alfa, world.beta], NOW)

    assert found == {
        world.alfa: radar.Oldest(world.alfa, oldest.uid, NOW - 50 * DAY, 10),
    }
    assert undated.uid != gone.uid
    refused = await listed(world, 58 * DAY)
    await messages.settle(refused.uid, MessageState.NOT_ALLOWED, Sentence("x", "x"), NOW)
    assert (await radar.oldest([world.alfa], NOW))[world.alfa].uid == refused.uid


async def test_each_alert_is_raised_once_and_ended_when_the_message_is_fetched(
    world: World,
) -> None:
    message = await listed(world, 45 * DAY)
    raised: dict[int, list[int]] = {}
    for day in range(15):
        for _ in range(2):
            if await radar.watch(NOW + day * DAY):
                raised[day] = await levels(message.uid)

    assert raised == {1: [14], 8: [14, 7], 12: [14, 7, 3]}

    await messages.settle(message.uid, MessageState.ARCHIVED, None, NOW)
    assert await radar.watch(NOW + 14 * DAY) == 0
    assert await levels(message.uid) == []


async def test_of_alerts_that_are_due_together_only_the_most_urgent_is_raised(
    world: World,
) -> None:
    first, second = await listed(world, 58 * DAY), await listed(world, 50 * DAY)
    await listed(world, 40 * DAY)

    assert await radar.watch(NOW) == 2

    assert await levels(first.uid) == [3]
    assert await levels(second.uid) == [14]
    assert {one.client_id for one in await alerts.open_for(None)} == {world.alfa}


async def test_what_anaf_has_forgotten_is_no_alert_any_more(world: World) -> None:
    message = await listed(world, 58 * DAY)
    await radar.watch(NOW)

    assert await radar.watch(NOW + 2 * DAY) == 0

    assert await levels(message.uid) == []


async def test_nothing_due_writes_nothing(world: World) -> None:
    await listed(world, 58 * DAY)
    await radar.watch(NOW)

    before = engine.data_version()
    assert await radar.watch(NOW) == 0
    assert engine.data_version() == before


async def test_what_anaf_gives_no_more_is_lost_and_new_for_thirty_days(world: World) -> None:
    expired, lately = await listed(world, 95 * DAY), await listed(world, 75 * DAY)
    await messages.settle(expired.uid, MessageState.EXPIRED, None, NOW - 31 * DAY)
    await messages.settle(lately.uid, MessageState.EXPIRED, None, NOW - DAY)
    for age in (91 * DAY, 61 * DAY, 59 * DAY):  # the last one can still be allowed
        refused = await listed(world, age)
        await messages.settle(refused.uid, MessageState.NOT_ALLOWED, None, NOW - 31 * DAY)
    await listed(world, 61 * DAY)  # not asked for yet

    assert await radar.lost(NOW) == {world.alfa: radar.Lost(number=4, lately=2)}
    assert await radar.lost(NOW + 30 * DAY) == {world.alfa: radar.Lost(number=5, lately=1)}

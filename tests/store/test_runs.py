"""A fetching that people watch: one for all who ask, counted from rows, over when nothing moves."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from appliance.core.sentence import Sentence
from appliance.store import jobs, messages, runs
from appliance.store.jobs import Job
from appliance.store.messages import MessageState
from tests.support.store import NOW, World, entry

LATER = NOW + timedelta(seconds=30)
QUEUED, ARCHIVED = MessageState.QUEUED, MessageState.ARCHIVED
TOMORROW = Sentence("ANAF nu mai dă astăzi mesajul.", "ANAF gives the message no more today")


async def lists(world: World) -> list[Job]:
    return await jobs.lease(10, NOW + timedelta(days=1), 60, ["list"])


async def listed(world: World, *ids: str) -> None:
    """Let sync have read the list."""
    job = await jobs.latest("list", world.alfa_uid)
    assert job is not None
    await runs.listing(world.alfa, NOW)
    added = await messages.remember(world.alfa, [entry(each) for each in ids], NOW)
    await runs.listed(world.alfa, NOW, listed=len(ids), new=len(added))
    await jobs.finish(job.id, NOW)


async def settle(world: World, message_id: str, state: MessageState = ARCHIVED) -> None:
    """Let sync have done with the message, and with its job."""
    found = await messages.page(world.alfa)
    (message,) = [each for each in found if each.message_id == message_id]
    await messages.settle(message.uid, state, None, LATER)
    job = await jobs.latest("message", message.uid)
    assert job is not None
    await jobs.finish(job.id, LATER)


async def test_two_who_ask_at_once_watch_one_run_and_one_listing(world: World) -> None:
    first, second = await asyncio.gather(
        runs.begin(world.alfa, world.ids["ana"], NOW),
        runs.begin(world.alfa, world.ids["elena"], NOW),
    )

    assert first.uid == second.uid
    (job,) = await lists(world)
    assert (job.object_uid, job.priority) == (world.alfa_uid, runs.PRIORITY)


async def test_asking_again_while_messages_come_in_joins_the_run_and_lists_nothing(
    world: World,
) -> None:
    first = await runs.begin(world.alfa, None, NOW)
    await listed(world, "1", "2")

    again = await runs.begin(world.alfa, world.ids["ana"], LATER)
    third = await runs.begin(world.alfa, world.ids["elena"], LATER)

    assert (again.uid, again.asked_by) == (first.uid, world.ids["ana"])
    assert (third.uid, third.asked_by) == (first.uid, world.ids["ana"])
    assert await lists(world) == []


async def test_who_joins_a_nights_run_has_its_messages_before_the_others(world: World) -> None:
    await runs.listing(world.alfa, NOW)
    await messages.remember(world.alfa, [entry("1")], NOW)
    [waits] = await jobs.lease(9, NOW, 60, ["message"])
    await jobs.retry(waits.id, NOW, 600, TOMORROW)
    await messages.remember(world.beta, [entry("9")], NOW)
    await messages.remember(world.alfa, [entry("2")], NOW)
    await runs.listed(world.alfa, NOW, listed=2, new=2)

    await runs.begin(world.alfa, world.ids["ana"], NOW)
    taken = await jobs.lease(9, NOW, 60, ["message"])

    # What waits for its time still does.
    assert [(job.client_id, job.priority) for job in taken] == [
        (world.alfa, runs.PRIORITY),
        (world.beta, 0),
    ]


async def test_who_asks_brings_the_nights_listing_forward(world: World) -> None:
    await jobs.insert("list", world.alfa_uid, NOW, delay=7200)
    night = await runs.listing(world.alfa, NOW)

    run = await runs.begin(world.alfa, world.ids["ana"], NOW)

    assert run.uid == night.uid
    (job,) = await jobs.lease(10, NOW, 60, ["list"])
    assert job.priority == runs.PRIORITY


async def test_the_progress_counts_what_the_run_settles_and_never_shrinks(world: World) -> None:
    await messages.remember(world.alfa, [entry("0")], NOW - timedelta(days=9))
    await settle(world, "0")
    await messages.remember(world.alfa, [entry("1")], NOW - timedelta(hours=1))
    await runs.begin(world.alfa, None, LATER + timedelta(seconds=1))
    before = await runs.progress(world.alfa, LATER)
    await messages.remember(world.alfa, [entry("2"), entry("3")], LATER)
    await runs.listed(world.alfa, LATER, listed=4, new=2)
    at = LATER + timedelta(seconds=2)
    for message in await messages.in_state(QUEUED, world.alfa):
        await messages.settle(
            message.uid, ARCHIVED if message.message_id == "1" else MessageState.EXPIRED, None, at
        )

    after = await runs.progress(world.alfa, at)

    assert before is not None
    assert after is not None
    assert (before.total, before.settled) == (1, 0)
    assert (after.total, after.settled) == (3, 3)
    assert after.states[MessageState.EXPIRED] == 2
    assert (after.run.listed, after.run.new) == (4, 2)


async def test_a_run_is_over_when_nothing_of_it_is_on_its_way(world: World) -> None:
    await runs.begin(world.alfa, None, NOW)
    await listed(world, "1", "2")
    await settle(world, "1")
    at_work = await runs.progress(world.alfa, LATER)
    assert await runs.finish_due(LATER) == 0
    await settle(world, "2")

    over = await runs.progress(world.alfa, LATER)

    assert at_work is not None
    assert over is not None
    assert (at_work.ended, over.ended) == (False, True)
    assert await runs.finish_due(LATER) == 1
    assert await runs.finish_due(LATER) == 0
    last = await runs.of_client(world.alfa)
    assert last is not None
    assert last.finished_at == LATER


async def test_who_asks_after_the_end_gets_a_new_run_although_nobody_tidied(world: World) -> None:
    first = await runs.begin(world.alfa, None, NOW)
    await listed(world)

    second = await runs.begin(world.alfa, None, LATER)

    assert second.uid != first.uid
    assert len(await lists(world)) == 1


async def test_what_waits_for_tomorrow_ends_the_run_and_says_when_and_why(world: World) -> None:
    await runs.begin(world.alfa, None, NOW)
    await listed(world, "1")
    [job] = await jobs.lease(10, NOW, 60, ["message"])
    await jobs.retry(job.id, NOW, 50_000, TOMORROW)
    await messages.explain(job.object_uid, TOMORROW)

    progress = await runs.progress(world.alfa, LATER)

    assert progress is not None
    assert progress.ended
    assert (progress.states[QUEUED], progress.waiting) == (1, 1)
    assert progress.next_attempt_at == NOW + timedelta(seconds=50_000)
    assert progress.problem == TOMORROW
    [waiting] = await messages.waiting(world.alfa)
    assert (waiting.message.message_id, waiting.problem) == ("1", TOMORROW)
    assert waiting.next_attempt_at == progress.next_attempt_at


async def test_while_anaf_does_not_answer_the_run_stays_open_and_says_why(world: World) -> None:
    down = Sentence("ANAF nu răspunde.", "ANAF does not answer")
    await runs.begin(world.alfa, None, NOW)
    [job] = await lists(world)
    await runs.listing(world.alfa, NOW)
    await jobs.retry(job.id, NOW, 900, down)

    progress = await runs.progress(world.alfa, LATER)

    assert progress is not None
    assert (progress.ended, progress.problem) == (False, down)
    assert progress.next_attempt_at == NOW + timedelta(seconds=900)


async def test_a_run_whose_listing_waits_for_a_person_is_over(world: World) -> None:
    await runs.begin(world.alfa, None, NOW)
    [job] = await lists(world)
    await jobs.park(job.id, NOW, TOMORROW)

    assert await runs.finish_due(LATER) == 1


async def test_the_last_run_of_a_client_is_kept(world: World) -> None:
    long_ago = NOW - timedelta(days=90)
    for days in range(2):
        at = long_ago + timedelta(days=days)
        await runs.begin(world.alfa, None, at)
        await runs.listed(world.alfa, at, listed=0, new=0)
        assert await runs.finish_due(at) == 1
    last = await runs.of_client(world.alfa)

    await runs.finish_due(NOW)

    assert await runs.of_client(world.alfa) == last
    assert await runs.of_client(world.beta) is None


@pytest.mark.parametrize("state", [None, QUEUED])
async def test_the_pages_of_messages_show_each_once_the_youngest_first(
    world: World, state: MessageState | None
) -> None:
    await messages.remember(world.alfa, [entry(str(number)) for number in range(7)], NOW)
    await messages.remember(world.beta, [entry("9")], NOW)

    shown: list[str] = []
    after = None
    while some := await messages.page(world.alfa, state, after=after, limit=3):
        shown += [message.message_id for message in some]
        after = some[-1].uid

    assert shown == ["6", "5", "4", "3", "2", "1", "0"]

"""What ANAF listed is remembered once and never forgotten."""

from __future__ import annotations

import asyncio

import pytest

from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.store import audit, engine, jobs, messages
from appliance.store.messages import MessageState
from tests.support.store import NOW, World, entry


async def test_a_new_entry_gets_a_uid_and_a_job(world: World) -> None:
    [message] = await messages.remember(world.alfa, [entry("1")], NOW)

    assert message.state is MessageState.QUEUED
    assert (message.message_id, message.upload_id, message.cif) == ("1", "51", "12345674")
    assert message.entry == {"id": "1", "tip": "FACTURA PRIMITA", "cif": "12345674"}
    assert message.client_uid == world.alfa_uid
    assert await messages.get(message.uid) == message
    [job] = await jobs.lease(10, NOW, 60, ["message"])
    assert job.object_uid == message.uid


async def test_the_same_list_again_gives_nothing_new(world: World) -> None:
    listed = [entry("1"), entry("2"), entry("1")]
    first = await messages.remember(world.alfa, listed, NOW)

    again, more = await asyncio.gather(
        messages.remember(world.alfa, listed, NOW),
        messages.remember(world.alfa, [*listed, entry("3")], NOW),
    )

    assert [message.message_id for message in first] == ["1", "2"]
    assert again == []
    assert [message.message_id for message in more] == ["3"]
    assert await messages.known_ids(world.alfa) == {"1", "2", "3"}
    assert await jobs.waiting("message") == 3


async def test_an_empty_list_and_entries_without_an_id_change_nothing(world: World) -> None:
    await messages.remember(world.alfa, [entry("1")], NOW)

    assert await messages.remember(world.alfa, [], NOW) == []
    assert await messages.remember(world.alfa, [entry(None), entry("")], NOW) == []

    assert await messages.known_ids(world.alfa) == {"1"}


async def test_two_clients_have_a_message_of_their_own(world: World) -> None:
    [alfas] = await messages.remember(world.alfa, [entry("1")], NOW)
    [betas] = await messages.remember(world.beta, [entry("1")], NOW)

    assert alfas.uid != betas.uid


async def test_a_whole_window_is_remembered_at_once(world: World) -> None:
    listed = [entry(str(number)) for number in range(1, 1201)]

    added = await messages.remember(world.alfa, listed, NOW)

    assert len({message.uid for message in added}) == 1200
    assert await jobs.waiting("message") == 1200
    assert audit.verify(world.settings.database_path) == []


async def test_a_message_and_its_job_are_there_together_or_not_at_all(world: World) -> None:
    async def fails() -> None:
        async with engine.transaction():
            await messages.remember(world.alfa, [entry("1")], NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()

    assert await messages.known_ids(world.alfa) == frozenset()
    assert await jobs.waiting() == 0


async def test_a_settled_message_keeps_its_sentence(world: World) -> None:
    [message] = await messages.remember(world.alfa, [entry("1")], NOW)
    why = Sentence("Mesajul a expirat la ANAF.", "the message has expired at ANAF")

    await messages.settle(message.uid, MessageState.EXPIRED, why, NOW)

    found = await messages.get(message.uid)
    assert (found.state, found.problem, found.settled_at) == (MessageState.EXPIRED, why, NOW)
    assert (await messages.progress(world.alfa))[MessageState.EXPIRED] == 1
    assert (await messages.progress())[MessageState.QUEUED] == 0
    assert [m.uid for m in await messages.in_state(MessageState.EXPIRED)] == [message.uid]
    assert await messages.in_state(MessageState.EXPIRED, world.beta) == []


async def test_what_became_a_document_is_not_settled_otherwise_by_who_comes_late(
    world: World,
) -> None:
    [message] = await messages.remember(world.alfa, [entry("1")], NOW)
    await world.document(uid=message.uid, message_uid=message.uid)

    await messages.settle(message.uid, "expired", None, NOW)

    assert (await messages.get(message.uid)).state is MessageState.ARCHIVED


async def test_a_message_that_still_waits_says_why(world: World) -> None:
    [message] = await messages.remember(world.alfa, [entry("1")], NOW)
    why = Sentence("ANAF nu răspunde.", "ANAF does not answer")

    await messages.explain(message.uid, why)

    found = await messages.get(message.uid)
    assert (found.state, found.problem) == (MessageState.QUEUED, why)


async def test_a_message_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await messages.get("0" * 26)
    with pytest.raises(NotFound):
        await messages.settle("0" * 26, MessageState.EXPIRED, None, NOW)

"""What does not answer is asked seldom, and whoever must know is told once."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from appliance.store import alerts, clients, engine, jobs, messages, outages
from appliance.store.messages import MessageState
from appliance.sync.spv import SpvClient
from tests.support.desk import Desk
from tests.support.spv import ALFA, Answer, eroare, package, refusal

MANY = [str(number) for number in range(7000, 7060)]


async def offered(desk: Desk, answer: Answer | None = None, *, times: int = 1) -> None:
    """List many messages, each of which is first answered like this."""
    zipped = package()
    for number in MANY:
        desk.vault.offer(number, zipped)
        if answer is not None:
            desk.vault.answers[number] = [answer] * times
    await desk.listing()


async def time_passes() -> None:
    """Make due what waits, and let it be time to ask again."""
    past = "2026-01-01T00:00:00.000000Z"
    async with engine.transaction():
        await engine.execute("UPDATE job SET next_attempt_at = ? WHERE state = 'queued'", [past])
        await engine.execute("UPDATE outage SET next_try_at = ?", [past])


AWAY = [
    refusal(502, "unreachable", 60),
    (503, b"<html><body>mentenanta</body></html>", {}),
    (200, b"", {}),
    eroare("A aparut o eroare tehnica. Cod: XYZ"),
]


@pytest.mark.parametrize("answer", AWAY)
async def test_an_outage_costs_three_calls_and_then_one_at_a_time(
    desk: Desk, answer: Answer
) -> None:
    await offered(desk, answer, times=9)

    await desk.run()
    assert len(desk.vault.downloads) == 3
    outage = await outages.current()
    assert outage is not None
    assert [(alert.kind, alert.object) for alert in await alerts.open_for(None)] == [
        ("outage", "api")
    ]
    for asked in (4, 5, 6):
        await time_passes()
        await desk.run()
        assert len(desk.vault.downloads) == asked
    assert len(await alerts.open_for(None)) == 1
    assert (await messages.progress())[MessageState.QUEUED] == len(MANY)


async def test_when_anaf_answers_again_everything_goes_on(desk: Desk) -> None:
    await offered(desk, AWAY[0])
    await desk.run()
    desk.vault.answers.clear()
    await time_passes()

    await desk.run("message")

    assert await outages.current() is None
    assert await alerts.open_for(None) == []
    assert (await messages.progress())[MessageState.QUEUED] == 0
    assert len(desk.vault.downloads) == 3 + len(MANY)
    assert desk.problems() == []


async def test_a_message_that_anaf_cannot_give_is_no_outage(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.offer("7002", package())
    desk.vault.answers["7001"] = [AWAY[3]] * 9
    await desk.fetch()

    for _ in range(4):
        await time_passes()
        await desk.run("message")

    assert desk.vault.downloads.count("7001") == 5
    assert await outages.current() is None
    assert (await messages.progress())[MessageState.ARCHIVED] == 1


async def test_a_refusal_with_content_is_an_answer(desk: Desk) -> None:
    await offered(desk, AWAY[0])
    await desk.run()
    gone = eroare("Pentru id=1 nu exista inregistrata nici o factura")
    for answers in desk.vault.answers.values():
        answers[:] = [gone]
    await time_passes()

    await desk.run("message")

    assert await outages.current() is None
    assert (await messages.progress())[MessageState.EXPIRED] == len(MANY)


async def test_without_a_vault_nothing_is_spent_and_anaf_is_not_blamed(desk: Desk) -> None:
    await offered(desk)
    there, away = desk.context.spv, SpvClient(desk.world.settings.run_dir / "nobody.sock", "prod")
    desk.context.spv = away

    ended = await desk.run("message")

    assert {job.attempts for job in ended} == {0}
    assert await outages.current("api") is None
    outage = await outages.current("vault")
    assert outage is not None
    assert "arhivar-vault" in outages.sentence(outage, datetime.now(UTC)).ro
    await away.close()
    desk.context.spv = there
    await time_passes()
    await desk.run("message")
    assert await outages.current("vault") is None
    assert (await messages.progress())[MessageState.QUEUED] == 0


@pytest.mark.parametrize(
    "answer",
    [refusal(503, "needs-authorisation"), refusal(403, "unmapped"), (401, b'{"status":401}', {})],
)
async def test_a_token_that_is_gone_is_noticed_once_and_the_client_waits(
    desk: Desk, answer: Answer
) -> None:
    await offered(desk, answer, times=9)

    for _ in range(3):
        await desk.run("message")

    assert len(desk.vault.downloads) == 1
    [alert] = await alerts.open_for(desk.world.alfa)
    assert (alert.kind, alert.object) == ("token", desk.world.alfa_uid)
    waits = await engine.fetch("SELECT problem FROM job WHERE state = 'queued'")
    assert len(waits) == len(MANY)
    assert all(row["problem"] for row in waits)
    # Nobody else waits with it.
    assert await outages.current() is None

    desk.vault.answers.clear()
    await desk.listing()
    await desk.run("message")

    assert await alerts.open_for(desk.world.alfa) == []
    assert (await messages.progress())[MessageState.ARCHIVED] >= len(MANY) - 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [("second-try", "second time"), ("application", "application"), ("busy", "disk")],
)
async def test_what_ends_without_the_holder_is_no_missing_authorisation_and_no_outage(
    desk: Desk, reason: str, words: str
) -> None:
    await offered(desk, refusal(503, reason, 600), times=9)

    for _ in range(3):
        await desk.run("message")

    asked = len(MANY) if reason == "busy" else 1  # that one speaks for the client
    assert len(desk.vault.downloads) == asked
    assert await alerts.open_for(desk.world.alfa) == []
    assert await outages.current() is None
    waits = await engine.fetch("SELECT problem FROM job WHERE state = 'queued'")
    assert len(waits) == len(MANY)
    assert all(words in row["problem"] for row in waits)

    desk.vault.answers.clear()
    await desk.listing()
    await desk.run("message", at=datetime.now(UTC) + timedelta(minutes=11))

    assert (await messages.progress())[MessageState.ARCHIVED] >= len(MANY) - 1


async def test_a_right_that_is_gone_settles_one_message_not_thousands(desk: Desk) -> None:
    await offered(desk, eroare("Nu aveti dreptul sa descarcati acest mesaj"), times=9)
    gone = eroare(f"Nu aveti drept in SPV pentru CIF={ALFA}")
    desk.vault.answers[ALFA] = [gone]

    await desk.run()

    assert len(desk.vault.downloads) == 1
    assert (await messages.progress())[MessageState.QUEUED] == len(MANY) - 1
    [alert] = await alerts.open_for(desk.world.alfa)
    assert alert.kind == "listing"
    listing = await jobs.latest("list", desk.world.alfa_uid)
    assert listing is not None
    assert (listing.state, "SPV" in str(listing.problem)) == ("parked", True)

    # The right is back: the next listing finds it out.
    desk.vault.answers.clear()
    await desk.listing()
    await desk.run("message")
    assert await alerts.open_for(desk.world.alfa) == []
    assert (await messages.progress())[MessageState.QUEUED] == 0


async def test_one_message_without_right_does_not_stop_the_others(desk: Desk) -> None:
    await offered(desk)
    desk.vault.answers[MANY[0]] = [eroare("Nu aveti dreptul sa descarcati acest mesaj")]

    await desk.run()

    counted = await messages.progress()
    assert counted[MessageState.QUEUED] == 0
    assert counted[MessageState.ARCHIVED] == len(MANY) - 1
    assert await alerts.open_for(None) == []


async def test_a_number_that_is_not_linked_does_not_stop_the_clients_other_one(desk: Desk) -> None:
    await clients.add_identifier(desk.world.alfa, "14399840", datetime.now(UTC))
    await offered(desk)
    desk.vault.answers["14399840"] = [refusal(403, "unmapped")]

    await desk.fetch()

    assert (await messages.progress())[MessageState.QUEUED] == 0


async def test_of_a_client_with_two_numbers_each_message_of_the_unlinked_one_waits_by_itself(
    desk: Desk,
) -> None:
    await clients.add_identifier(desk.world.alfa, "14399840", datetime.now(UTC))
    await offered(desk, refusal(403, "unmapped"), times=9)

    ended = await desk.run("message")

    assert sorted(desk.vault.downloads) == sorted(MANY)
    soonest = datetime.now(UTC) + timedelta(minutes=30)
    assert {job.state for job in ended} == {"queued"}
    assert min(job.next_attempt_at for job in ended) > soonest


async def test_anafs_minute_is_waited_out_within_the_call(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    status, body, headers = refusal(429, "rate", 1)
    answer = (status, body, {**headers, "arhivar-retry-ms": "7"})
    desk.vault.answers["7001"] = [answer, answer]
    desk.vault.answers[ALFA] = [answer]

    ended = await desk.fetch()

    assert [(job.state, job.attempts) for job in ended] == [("done", 1), ("done", 1)]
    assert desk.vault.downloads == ["7001"] * 3
    assert desk.context.paused_until < datetime.now(UTC) - timedelta(days=1)


async def test_what_could_not_be_kept_is_not_downloaded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    spool = os.statvfs(desk.world.settings.spool_dir)
    full = os.statvfs_result([*spool[:4], 100, *spool[5:]])

    with monkeypatch.context() as disk:
        disk.setattr(os, "statvfs", lambda _: full)
        for _ in range(12):
            await desk.run("message")
            await time_passes()

    assert desk.vault.downloads == []
    message = await desk.only_message()
    assert (message.state, "loc pe disc" in str(message.problem and message.problem.ro)) == (
        MessageState.QUEUED,
        True,
    )
    await desk.run("message")
    assert (await desk.only_message()).state is MessageState.ARCHIVED

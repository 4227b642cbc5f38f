"""Tokens over months: the real database and gateway, a real token endpoint, our own clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from appliance.vault.envelope import Purpose
from appliance.vault.secret import Secret
from tests.support.anaf import CLIENT_ID, INVALID_GRANT, MAINTENANCE, Anaf
from tests.support.vault import CALLBACK, START, World


async def test_a_token_is_renewed_past_two_thirds_of_its_life_and_not_before(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=60) - timedelta(seconds=1)
    await world.list()
    assert anaf.refreshes == []
    world.now = START + timedelta(days=60)
    await world.list()
    assert anaf.refreshes == [anaf.issued[1]]
    assert world.used_token() == anaf.issued[2]


async def test_a_grant_that_is_used_lives_for_years_without_a_person(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    for month in range(60):
        world.now = START + timedelta(days=30 * month)
        if month % 7 == 0:
            world.restart()
        assert (await world.list()).status == 200
    assert len(anaf.refreshes) == len(set(anaf.refreshes)) == 29
    assert world.database.audit_breaks() == []


async def test_sixty_four_callers_make_one_refresh(world: World, anaf: Anaf) -> None:
    await world.authorise()
    world.now = START + timedelta(days=61)
    answers = await asyncio.gather(*(world.list() for _ in range(64)))
    assert {answer.status for answer in answers} == {200}
    assert len(anaf.refreshes) == 1
    assert {call["headers"]["authorization"] for call in anaf.calls} == {f"Bearer {anaf.issued[2]}"}


async def test_two_processes_make_one_refresh(world: World, anaf: Anaf) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=61)
    anaf.hold = asyncio.Event()
    first = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    world.restart()  # a second set of objects on the same files
    second = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await asyncio.sleep(0)
    anaf.hold.set()
    tokens = await asyncio.gather(first, second)
    assert {access.token.reveal() for access in tokens} == {anaf.issued[2]}
    assert len(anaf.refreshes) == 1


async def test_a_caller_that_goes_away_does_not_lose_the_answer(world: World, anaf: Anaf) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=61)
    anaf.hold = asyncio.Event()
    caller = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    caller.cancel()
    anaf.hold.set()
    await world.renewal.settle()
    assert world.database.version(bytes.fromhex(uid), Purpose.TOKENS) == 2
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1


async def test_a_renewed_token_that_names_no_certificate_keeps_the_grants_serial(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.serial = "not a serial"
    world.now = START + timedelta(days=61)
    await world.list()
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert (grant["serial"], len(anaf.refreshes)) == ("3400002569AB", 1)


async def test_while_the_old_token_lives_a_failed_refresh_is_no_matter(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.token_answer = MAINTENANCE
    world.now = START + timedelta(days=61)
    for _ in range(5):
        assert (await world.list()).status == 200
        assert world.used_token() == anaf.issued[0]
    assert len(anaf.refreshes) == 1, "the next try waits a minute"
    world.now += timedelta(minutes=1)
    anaf.token_answer = None
    assert (await world.list()).status == 200
    assert world.used_token() == anaf.issued[2]


@pytest.mark.parametrize(
    "trouble",
    [
        MAINTENANCE,
        (502, b""),
        (200, b"{}"),
        (200, b'{"access_token":"short"}'),
        (200, b'{"access_token":"' + b"a" * 40 + b'\\r\\nX: y"}'),
        (200, b"[" * 100_000),
        (200, b" " * 2_000_000),
        (503, b'{"error":"invalid_grant"}'),
    ],
)
async def test_trouble_at_the_token_endpoint_never_ends_a_grant(
    world: World, anaf: Anaf, trouble: tuple[int, bytes]
) -> None:
    await world.authorise()
    anaf.token_answer = trouble
    world.now = START + timedelta(days=91)
    for _ in range(4):
        answer = await world.list()
        assert (answer.status, answer.headers["Arhivar-Reason"]) == (502, "unreachable")
        world.now += timedelta(minutes=11)
    assert world.state() == "active"
    anaf.token_answer = None
    assert (await world.list()).status == 200


async def test_a_grant_needs_authorisation_only_after_a_second_refusal(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=91)
    assert (await world.list()).status == 503
    assert world.state() == "active"
    world.now += timedelta(minutes=9)
    assert (await world.list()).status == 503
    assert (len(anaf.refreshes), world.state()) == (1, "active")
    world.now += timedelta(minutes=1)
    assert (await world.list()).status == 503
    assert (len(anaf.refreshes), world.state()) == (2, "needs_authorisation")
    world.now += timedelta(days=1)
    assert (await world.list()).status == 503
    assert len(anaf.refreshes) == 2, "no retry loop"


@pytest.mark.parametrize("refusals_before", [0, 1])
async def test_who_authorises_while_anaf_refuses_the_old_pair_is_not_asked_again(
    world: World, anaf: Anaf, refusals_before: int
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    anaf.token_answer = INVALID_GRANT
    for _ in range(refusals_before):
        await world.list()
        world.now += timedelta(minutes=10)
    anaf.hold = asyncio.Event()
    anaf.asked.clear()
    caller = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    assert await world.authorise(uid) == uid
    anaf.hold.set()
    assert (await caller).token.reveal() == anaf.issued[2]
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert (grant["state"], grant["refused_at"]) == ("active", None)


async def test_before_the_second_refusal_nobody_is_sent_to_the_holder(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=91)
    for minutes, reason in ((0, "second-try"), (9, "second-try"), (1, "needs-authorisation")):
        world.now += timedelta(minutes=minutes)
        answer = await world.list()
        assert (answer.status, answer.headers["Arhivar-Reason"]) == (503, reason)
        assert answer.headers.get("Retry-After") == ("600" if reason == "second-try" else None)


async def test_a_grant_that_recovers_by_itself_is_told_before_one_that_is_lost(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.serial, anaf.token_answer = "77:77", INVALID_GRANT
    world.now = START + timedelta(days=91)
    for _ in range(2):
        await world.list()
        world.now += timedelta(minutes=10)
    assert world.state() == "needs_authorisation"
    anaf.expires_in = 0
    await world.authorise()
    answer = await world.list()
    assert (answer.status, answer.headers["Arhivar-Reason"]) == (503, "second-try")


async def test_a_refused_grant_serves_until_its_access_token_ends(world: World, anaf: Anaf) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=61)
    await world.list()
    world.now += timedelta(minutes=10)
    assert (await world.list()).status == 200
    assert world.state() == "needs_authorisation"
    world.now = START + timedelta(days=90)
    assert (await world.list()).status == 503


async def test_one_refusal_by_mistake_is_forgotten(world: World, anaf: Anaf) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=61)
    await world.list()
    anaf.token_answer = None
    world.now += timedelta(minutes=10)
    await world.list()
    assert world.used_token() == anaf.issued[2]
    anaf.token_answer = INVALID_GRANT
    world.now += timedelta(days=61)
    await world.list()
    assert world.state() == "active"


async def test_the_previous_pair_is_tried_before_a_grant_is_given_up(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=61)
    await world.list()
    world.now += timedelta(days=91)
    anaf.token_answer = INVALID_GRANT
    await world.list()
    world.now += timedelta(minutes=10)
    await world.list()
    assert anaf.refreshes[-2:] == [anaf.issued[3], anaf.issued[1]]
    assert world.state() == "needs_authorisation"


async def test_a_previous_pair_that_anaf_still_takes_saves_the_grant(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=61)
    await world.list()
    world.now += timedelta(days=91)
    anaf.spent = {anaf.issued[3]}  # as if a pair that came after it had been lost
    await world.renewal.look()
    world.now += timedelta(minutes=10)
    await world.renewal.look()
    assert anaf.refreshes[-2:] == [anaf.issued[3], anaf.issued[1]]
    assert world.state() == "active"
    assert (await world.list()).status == 200
    assert world.used_token() == anaf.issued[4]


async def test_a_wrong_client_secret_ends_no_grant_and_is_tried_every_ten_minutes_by_one(
    world: World, anaf: Anaf
) -> None:
    for serial in ("11", "22", "33"):
        anaf.serial = serial
        await world.authorise()
    anaf.token_answer = (400, b'{"error":"invalid_client"}')
    for minutes, refreshes in ((0, 1), (1, 1), (9, 1), (10, 2), (19, 2), (20, 3)):
        world.now = START + timedelta(days=91, minutes=minutes)
        for _ in range(3):
            answer = await world.list()
            assert (answer.status, answer.headers["Arhivar-Reason"]) == (503, "application")
            assert answer.headers["Retry-After"] == "600"
        assert len(anaf.refreshes) == refreshes
    assert {grant["state"] for grant in world.grants.status()["grants"]} == {"active"}  # type: ignore[attr-defined]
    anaf.token_answer = None
    secret = Secret("another-secret-5512")
    world.registration.set(CLIENT_ID, secret, CALLBACK, by="ana", at=world.now)
    assert (await world.list()).status == 200, "the right secret serves at once"


async def test_a_client_secret_that_does_not_open_can_be_entered_again(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.database.shred(world.database.installation)  # as after a backup without its shred.db
    assert (await world.list()).status == 200
    assert world.grants.standing()["application"] is False
    world.now = START + timedelta(days=91)
    answer = await world.list()
    assert (answer.status, answer.headers["Arhivar-Reason"]) == (503, "application")
    world.registration.set(CLIENT_ID, Secret("x" * 20), CALLBACK, by="ana", at=world.now)
    assert (await world.list()).status == 200


async def test_after_a_401_the_token_is_renewed_once_and_the_call_repeated(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=1)
    anaf.refused = {anaf.issued[0]}
    answers = await asyncio.gather(*(world.list() for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len(anaf.refreshes) == 1


async def test_when_the_renewed_token_gets_401_as_well_nobody_insists_for_ten_minutes(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.api_status = 401
    for minutes, refreshes in ((0, 1), (1, 1), (9, 1), (10, 2), (19, 2)):
        world.now = START + timedelta(minutes=minutes)
        assert (await world.list()).status == 401
        assert len(anaf.refreshes) == refreshes


@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable"])
async def test_a_server_that_cannot_just_now_ends_no_grant(
    world: World, anaf: Anaf, code: str
) -> None:
    await world.authorise()
    anaf.token_answer = (400, b'{"error":"%s"}' % code.encode())
    world.now = START + timedelta(days=91)
    answer = await world.list()
    assert (answer.status, answer.headers["Arhivar-Reason"]) == (502, "unreachable")
    assert world.state() == "active"

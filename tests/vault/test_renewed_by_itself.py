"""Renewal that nobody calls for: the vault's own looks, with our clock."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import datetime, timedelta

import pytest

from appliance.core.errors import Busy
from appliance.vault import renewal
from appliance.vault.errors import TokenRefused
from tests.support.anaf import INVALID_GRANT, MAINTENANCE, Anaf
from tests.support.vault import CALLBACK, START, VaultProcess, World

HOUR = timedelta(hours=1)


async def authorise(world: World, anaf: Anaf, number: int) -> list[str]:
    """Authorise with so many certificates; return the grants."""
    grants = []
    for serial in range(number):
        anaf.serial = f"{serial:04X}"
        grants.append(await world.authorise())
    return grants


async def test_a_grant_that_nobody_calls_lives_for_years(world: World, anaf: Anaf) -> None:
    await world.authorise()
    for day in range(0, 3 * 365, 5):
        world.now = START + timedelta(days=day)
        await world.renewal.look()
    assert len(anaf.refreshes) == 18
    assert anaf.calls == []
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert grant["refresh_expires_at"] > "2030"


async def test_nothing_is_renewed_before_two_thirds_and_the_next_look_is_within_the_hour(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=60) - timedelta(seconds=1)
    for _ in range(20):
        assert HOUR * 0.7 < await world.renewal.look() - world.now <= HOUR
    assert anaf.refreshes == []


async def test_the_moment_that_the_status_tells_is_when_it_is_renewed(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert grant["renew_at"].startswith("2027-01-23T12:00:00")
    world.now = START + timedelta(days=60)
    await world.renewal.look()
    assert len(anaf.refreshes) == 1


async def test_the_second_try_comes_by_itself_and_after_it_nobody_asks_anaf_again(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=61)
    again = await world.renewal.look()
    assert again == world.now + timedelta(minutes=10)
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert (grant["state"], grant["refused_at"][:16]) == ("active", "2027-01-24T12:00")
    world.now = again - timedelta(seconds=1)
    await world.renewal.look()
    assert len(anaf.refreshes) == 1
    world.now = again
    await world.renewal.look()
    assert (len(anaf.refreshes), world.state()) == (2, "needs_authorisation")
    anaf.refused = set(anaf.issued)
    for hours in range(0, 24 * 60, 7):
        world.now = again + timedelta(hours=hours)
        await world.renewal.look()
        assert (await world.list()).status == 503
    assert len(anaf.refreshes) == 2
    anaf.token_answer = None
    await world.authorise(uid)
    assert world.state() == "active"


async def test_a_second_try_that_meets_an_outage_is_not_made_every_minute(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=61)
    world.now = await world.renewal.look()
    anaf.token_answer = MAINTENANCE
    before = world.now
    for _ in range(4):
        world.now = await world.renewal.look()
    assert world.now - before >= 4 * HOUR * 0.75
    assert (len(anaf.refreshes), world.state()) == (5, "active")


async def test_a_grant_whose_token_anaf_withdrew_gets_its_second_try_though_it_is_not_due(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.refused, anaf.token_answer = set(anaf.issued), INVALID_GRANT
    assert (await world.list()).status == 503
    world.now += timedelta(minutes=10)
    await world.renewal.look()
    assert (len(anaf.refreshes), world.state()) == (2, "needs_authorisation")


async def test_when_anaf_is_away_one_grant_asks_and_the_others_wait_for_the_next_look(
    world: World, anaf: Anaf
) -> None:
    await authorise(world, anaf, 5)
    world.now = START + timedelta(days=61)
    anaf.token_answer = MAINTENANCE
    first = await world.renewal.look()
    assert len(anaf.refreshes) == 1
    assert first - world.now > timedelta(minutes=40)
    world.now = first
    await world.renewal.look()
    assert len(set(anaf.refreshes)) == len(anaf.refreshes) == 2, "another one than before"
    anaf.token_answer = None
    world.now += HOUR
    await world.renewal.look()
    assert len(anaf.refreshes) == 7


async def test_when_the_application_is_refused_the_look_ends(world: World, anaf: Anaf) -> None:
    await authorise(world, anaf, 5)
    world.now = START + timedelta(days=61)
    anaf.token_answer = (400, b'{"error":"invalid_client"}')
    await world.renewal.look()
    assert len(anaf.refreshes) == 1


async def test_a_look_renews_no_more_than_so_many_and_one_after_the_other(
    world: World, anaf: Anaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "A_LOOK", 3)
    await authorise(world, anaf, 7)
    world.now = START + timedelta(days=61)
    for expected in (3, 6, 7, 7):
        await world.renewal.look()
        assert len(anaf.refreshes) == len(set(anaf.refreshes)) == expected
        world.now += HOUR


async def test_a_look_and_sixty_four_callers_make_one_refresh(world: World, anaf: Anaf) -> None:
    await world.authorise()
    world.now = START + timedelta(days=61)
    await asyncio.gather(world.renewal.look(), *(world.list() for _ in range(64)))
    assert len(anaf.refreshes) == 1


async def test_a_grant_that_does_not_open_does_not_hold_up_the_others(
    world: World, anaf: Anaf
) -> None:
    first, _ = await authorise(world, anaf, 2)
    world.database.durable.execute(
        "UPDATE record SET body = zeroblob(600) WHERE subject = ?", (bytes.fromhex(first),)
    )
    world.now = START + timedelta(days=61)
    await world.renewal.look()
    assert len(anaf.refreshes) == 1


async def test_those_that_do_not_open_take_nobodys_place_in_a_look(
    world: World, anaf: Anaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "A_LOOK", 2)
    for uid in await authorise(world, anaf, 3):
        world.database.shred(bytes.fromhex(uid))  # as after a backup without its shred.db
    anaf.serial = "77:77"
    world.now += timedelta(days=1)
    await world.authorise()
    world.now += timedelta(days=61)
    await world.renewal.look()
    assert len(anaf.refreshes) == 1


async def test_a_clock_that_is_set_back_during_a_look_does_not_stretch_the_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def set_back() -> datetime:
        world.now -= timedelta(days=365)
        raise OSError

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        raise asyncio.CancelledError

    monkeypatch.setattr(world.renewal, "look", set_back)
    monkeypatch.setattr(renewal, "_sleep", noted)
    with pytest.raises(asyncio.CancelledError):
        await world.renewal.keep_renewed()
    assert max(waits) <= HOUR.total_seconds()


async def test_two_processes_that_are_refused_together_are_refused_once(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    anaf.hold, anaf.token_answer = asyncio.Event(), INVALID_GRANT
    first = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    world.restart()  # a second set of objects on the same files
    second = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await asyncio.sleep(0)
    anaf.hold.set()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(each) for each in outcomes] == [TokenRefused, TokenRefused]
    assert (len(anaf.refreshes), world.state()) == (1, "active")


async def test_a_previous_pair_that_does_not_open_ends_the_grant_without_a_loop(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=61)
    await world.list()
    world.database.durable.execute("UPDATE record SET body = zeroblob(600) WHERE purpose = 6")
    world.now += timedelta(days=91)
    anaf.token_answer = INVALID_GRANT
    for _ in range(4):
        await world.renewal.look()
        world.now += timedelta(minutes=10)
    assert (len(anaf.refreshes), world.state()) == (3, "needs_authorisation")


async def test_a_pair_that_the_database_could_not_take_is_written_by_the_next_look(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with sqlite3.connect(world.database.path, isolation_level=None) as other:
        world.database.durable.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await world.renewal.access(uid, at=world.now)
        other.execute("ROLLBACK")
    other.close()
    await world.renewal.look()
    assert len(anaf.refreshes) == 1
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert grant["issued_at"].startswith("2027-02-23")


async def test_without_the_application_a_token_that_lives_is_used_all_the_same(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    assert world.registration.get().redirect_uri == CALLBACK  # type: ignore[union-attr]
    world.database.durable.execute("DELETE FROM application")
    world.now = START + timedelta(days=61)
    await world.renewal.look()
    assert (await world.list()).status == 200
    world.now = START + timedelta(days=91)
    answer = await world.list()
    assert (answer.status, answer.headers["Arhivar-Reason"]) == (503, "application")
    assert anaf.refreshes == []


async def test_what_a_clock_a_year_ahead_wrote_is_renewed_at_the_right_time(
    world: World, anaf: Anaf
) -> None:
    world.now = START + timedelta(days=365)
    await world.authorise()
    world.now = START
    await world.renewal.look()
    assert len(anaf.refreshes) == 1
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert grant["issued_at"].startswith("2026-11-24")


async def test_a_second_try_that_a_clock_a_year_ahead_put_off_comes_at_once(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=365)
    await world.renewal.look()
    anaf.token_answer = None
    world.now = START
    await world.renewal.look()
    assert (len(anaf.refreshes), world.state()) == (2, "active")


async def test_the_loop_alone_carries_grants_through_half_a_year_and_past_a_fault(
    world: World, anaf: Anaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    await authorise(world, anaf, 3)
    faults = iter([ZeroDivisionError(), OSError()])
    look = world.renewal.look
    waits: list[float] = []

    async def sometimes() -> datetime:
        for fault in faults:
            raise fault
        return await look()

    async def moved(seconds: float) -> None:
        waits.append(seconds)
        world.now += timedelta(seconds=seconds)
        if world.now > START + timedelta(days=183):
            raise asyncio.CancelledError

    monkeypatch.setattr(world.renewal, "look", sometimes)
    monkeypatch.setattr(renewal, "_sleep", moved)
    with pytest.raises(asyncio.CancelledError):
        await world.renewal.keep_renewed()
    assert len(anaf.refreshes) == 3 * 3
    assert max(waits) <= HOUR.total_seconds()
    assert len(set(waits)) > len(waits) / 2, "never at the same second"


async def test_the_running_vault_renews_what_was_due_when_it_started(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.expires_in = 0
    await vault.register()
    await vault.authorise()
    await vault.end()
    anaf.expires_in = 7_776_000
    await vault.start()
    await asyncio.wait_for(anaf.asked.wait(), 20)
    assert await vault.end() == 0
    assert len(anaf.refreshes) == 1
    assert [entry["action"] for entry in vault.audit()].count("grant:refresh") == 1

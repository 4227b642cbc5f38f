"""Failures are counted before they happen, and a refusal writes nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from appliance.store import engine, throttle
from tests.support.store import NOW


async def test_after_ten_failures_the_eleventh_is_not_looked_at(store: engine.Store) -> None:
    may = [await throttle.count_failure("login", "ana@example.ro", NOW) for _ in range(12)]

    assert may == [True] * 10 + [False] * 2
    assert not throttle.allowed("login", "ana@example.ro", NOW)
    assert throttle.allowed("login", "bogdan@example.ro", NOW)


async def test_parallel_guesses_do_not_slip_through(store: engine.Store) -> None:
    may = await asyncio.gather(*(throttle.count_failure("login", "ana", NOW) for _ in range(40)))

    assert sum(may) == 10


async def test_a_window_ends_and_the_longer_one_still_counts(store: engine.Store) -> None:
    at = NOW
    let_through = 0
    for _ in range(4):
        let_through += sum([await throttle.count_failure("login", "ana", at) for _ in range(10)])
        at += timedelta(minutes=5)

    assert let_through == 30
    assert throttle.allowed("login", "ana", NOW + timedelta(hours=2))


async def test_success_clears_and_forgives(store: engine.Store) -> None:
    for _ in range(10):
        await throttle.count_failure("login", "ana", NOW)
        await throttle.count_failure("login-address", "192.0.2.1", NOW)

    await throttle.clear("login", "ana")
    await throttle.forgive("login-address", "192.0.2.1")

    assert throttle.allowed("login", "ana", NOW)
    [row] = await engine.fetch("SELECT failures FROM throttle")
    assert row["failures"] == 9


async def test_the_drives_block_doubles(store: engine.Store) -> None:
    async def fail_until_blocked(at: Any) -> None:
        while await throttle.count_failure("drive", "abcdefgh", at):
            pass

    at, lengths = NOW, []
    for _ in range(9):
        await fail_until_blocked(at)
        minutes = 0
        while not throttle.allowed("drive", "abcdefgh", at + timedelta(minutes=minutes)):
            minutes += 15
        lengths.append(minutes)
        at += timedelta(minutes=minutes)

    assert lengths == [15, 30, 60, 120, 240, 480, 960, 1440, 1440]


async def test_the_last_failure_that_was_let_through_begins_the_block(store: engine.Store) -> None:
    """Whoever asks `allowed()` before counting is blocked as long as everybody else."""
    let_through = 0
    while throttle.allowed("drive-address", "192.0.2.1", NOW):
        let_through += await throttle.count_failure("drive-address", "192.0.2.1", NOW)

    assert let_through == 20
    assert not throttle.allowed("drive-address", "192.0.2.1", NOW + timedelta(minutes=14))
    assert throttle.allowed("drive-address", "192.0.2.1", NOW + timedelta(minutes=15))


async def test_an_attempt_is_counted_under_all_its_names_or_under_none(
    store: engine.Store,
) -> None:
    for _ in range(30):
        await throttle.count_failure("login-address", "192.0.2.1", NOW)
    rows = "SELECT * FROM throttle ORDER BY key"
    before = [dict(row) for row in await engine.fetch(rows)]

    asked = [("login-all", ""), ("login-address", "192.0.2.1"), ("login", "ana")]
    assert not await throttle.count_failures(asked, NOW)

    assert [dict(row) for row in await engine.fetch(rows)] == before


async def test_a_clock_that_went_back_blocks_nobody_for_ever(store: engine.Store) -> None:
    for _ in range(11):
        await throttle.count_failure("login-address", "x", NOW)

    for _ in range(25):
        assert await throttle.count_failure("login-address", "x", NOW - timedelta(days=1))


async def test_old_counters_are_forgotten(store: engine.Store) -> None:
    await throttle.count_failure("login", "ana", NOW)

    await throttle.sweep(NOW + timedelta(days=3))

    assert await engine.fetch("SELECT * FROM throttle") == []

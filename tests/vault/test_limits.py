"""ANAF's limits against a clock of our own."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.vault import keys
from appliance.vault.database import Database
from appliance.vault.limits import A_DAY, WINDOW_MS, Call, Kind, Limits, TooManyCalls

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    directory = tmp_path_factory.mktemp("vault")
    keys.create(directory / "kek")
    database = Database(directory, keys.load(directory / "kek", {}), at=NOON)
    yield database
    database.close()


@pytest.fixture(autouse=True)
def empty(database: Database) -> None:
    _empty(database)


def _empty(database: Database) -> None:
    with database.counting() as connection:
        for table in ("call", "quota", "pause"):
            connection.execute(f"DELETE FROM {table}")


def test_a_thousand_calls_a_minute_and_the_next_when_the_oldest_is_a_minute_old(
    database: Database,
) -> None:
    limits = Limits(database, 1000)
    for number in range(1000):
        limits.take(None, at=NOON + timedelta(milliseconds=10 * number))
    with pytest.raises(TooManyCalls) as caught:
        limits.take(None, at=NOON + timedelta(seconds=10))
    assert (caught.value.reason, caught.value.retry_ms) == ("rate", WINDOW_MS - 10_000)
    with pytest.raises(TooManyCalls):
        limits.take(None, at=NOON + timedelta(milliseconds=WINDOW_MS - 1))
    limits.take(None, at=NOON + timedelta(milliseconds=WINDOW_MS))


def test_those_who_wait_are_told_a_place_each_and_come_back_one_by_one(
    database: Database,
) -> None:
    limits = Limits(database, 10)
    for number in range(10):
        limits.take(None, at=NOON + timedelta(milliseconds=100 * number))
    at, told = NOON + timedelta(seconds=5), []
    for _ in range(4):
        with pytest.raises(TooManyCalls) as caught:
            limits.take(None, at=at)
        told.append(caught.value.retry_ms)

    assert told == [WINDOW_MS - 5000 + 100 * number for number in range(4)]
    for wait in told:
        limits.take(None, at=at + timedelta(milliseconds=wait))


def test_a_place_that_nobody_comes_for_is_not_kept_free(database: Database) -> None:
    limits = Limits(database, 1)
    limits.take(None, at=NOON)
    for _ in range(50):
        with pytest.raises(TooManyCalls):
            limits.take(None, at=NOON + timedelta(seconds=1))

    limits.take(None, at=NOON + timedelta(milliseconds=WINDOW_MS))


@given(
    waiters=st.integers(min_value=2, max_value=12),
    latency=st.integers(min_value=0, max_value=300),
)
@settings(max_examples=15, deadline=None)
def test_who_comes_back_when_told_reaches_the_ceiling(
    database: Database, waiters: int, latency: int
) -> None:
    _empty(database)
    limits, made = Limits(database, 60), []
    due = [(0, who) for who in range(waiters)]
    while len(made) < 60 * 6:
        now, who = heapq.heappop(due)
        try:
            limits.take(None, at=NOON + timedelta(milliseconds=now))
            made.append(now)
            heapq.heappush(due, (now + latency, who))
        except TooManyCalls as refusal:
            heapq.heappush(due, (now + refusal.retry_ms + 2, who))
    # The last call would be in the sixth window: 60 calls in each but the first burst.
    assert made[-1] <= 5 * WINDOW_MS * 1.012 + 60 * latency


@given(gaps=st.lists(st.integers(min_value=0, max_value=30_000), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_no_window_of_a_minute_ever_holds_more(database: Database, gaps: list[int]) -> None:
    _empty(database)
    limits, now, made = Limits(database, 5), 0, []
    for gap in gaps:
        now += gap
        try:
            limits.take(None, at=NOON + timedelta(milliseconds=now))
            made.append(now)
        except TooManyCalls as refusal:
            later = now + 1000 * refusal.retry_after
            assert sum(1 for moment in made if moment > later - 60_000) < 5
    for start in made:
        assert sum(1 for moment in made if start <= moment < start + 60_000) <= 5


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind.LIST, "list-quota"),
        (Kind.DOWNLOAD, "message-quota"),
        (Kind.STATE, "message-quota"),
        (Kind.PAGED_LIST, "list-quota"),
    ],
)
def test_a_day_has_its_quota_for_each_object_and_ends_at_midnight_in_bucharest(
    database: Database, kind: Kind, reason: str
) -> None:
    limits = Limits(database, 0)
    limits.take(Call(kind, "1"), at=NOON)
    with database.counting() as connection:
        connection.execute("UPDATE quota SET used = ?", (A_DAY[kind] - 1,))
    evening = datetime(2026, 11, 24, 21, 59, 50, tzinfo=UTC)  # 23:59:50 in Bucharest
    limits.take(Call(kind, "1"), at=evening)
    with pytest.raises(TooManyCalls) as caught:
        limits.take(Call(kind, "1"), at=evening)
    assert (caught.value.reason, caught.value.retry_after) == (reason, 10)
    limits.take(Call(kind, "2"), at=evening)
    limits.take(Call(kind, "1"), at=evening + timedelta(seconds=10))


def test_the_numbers_are_anafs() -> None:
    assert A_DAY == {
        Kind.LIST: 1500,
        Kind.PAGED_LIST: 100_000,
        Kind.DOWNLOAD: 10,
        Kind.STATE: 100,
    }


def test_a_day_of_25_hours_ends_when_it_ends(database: Database) -> None:
    limits = Limits(database, 0)
    start = datetime(2026, 10, 24, 21, 0, tzinfo=UTC)  # 25 October 00:00, summer time
    for _ in range(10):
        limits.take(Call(Kind.DOWNLOAD, "1"), at=start)
    with pytest.raises(TooManyCalls) as caught:
        limits.take(Call(Kind.DOWNLOAD, "1"), at=start)
    assert caught.value.retry_after == 25 * 3600
    with pytest.raises(TooManyCalls):
        limits.take(Call(Kind.DOWNLOAD, "1"), at=start + timedelta(hours=24))
    limits.take(Call(Kind.DOWNLOAD, "1"), at=start + timedelta(hours=25))


def test_a_refused_call_is_not_counted_anywhere(database: Database) -> None:
    limits = Limits(database, 1)
    limits.take(Call(Kind.DOWNLOAD, "1"), at=NOON)
    for _ in range(20):
        with pytest.raises(TooManyCalls):
            limits.take(Call(Kind.DOWNLOAD, "2"), at=NOON)
    for minute in range(1, 11):
        later = NOON + timedelta(milliseconds=minute * WINDOW_MS)
        limits.take(Call(Kind.DOWNLOAD, "2"), at=later)


def test_what_was_not_sent_is_given_back(database: Database) -> None:
    limits = Limits(database, 0)
    for _ in range(30):
        limits.take(Call(Kind.DOWNLOAD, "1"), at=NOON)
        limits.give_back(Call(Kind.DOWNLOAD, "1"), at=NOON)


def test_zero_means_no_limit_for_the_minute_but_the_days_stay(database: Database) -> None:
    limits = Limits(database, 0)
    for _ in range(3000):
        limits.take(None, at=NOON)
    for _ in range(10):
        limits.take(Call(Kind.DOWNLOAD, "1"), at=NOON)
    with pytest.raises(TooManyCalls):
        limits.take(Call(Kind.DOWNLOAD, "1"), at=NOON)


def test_a_clock_that_was_wrong_by_a_year_holds_calls_up_for_a_minute_at_most(
    database: Database,
) -> None:
    limits = Limits(database, 2)
    wrong = NOON + timedelta(days=365)
    limits.pause(60, at=wrong)
    for _ in range(2):
        limits.take(None, at=wrong + timedelta(minutes=2))
    with pytest.raises(TooManyCalls):
        limits.take(None, at=NOON)
    limits.take(None, at=NOON + timedelta(milliseconds=WINDOW_MS))


def test_anafs_own_refusal_pauses_everything_and_never_for_hours(database: Database) -> None:
    limits = Limits(database, 1000)
    assert limits.pause(86_400, at=NOON) == 300
    with pytest.raises(TooManyCalls) as caught:
        limits.take(Call(Kind.LIST, "1"), at=NOON + timedelta(seconds=100))
    assert caught.value.retry_after == 200
    limits.take(Call(Kind.LIST, "1"), at=NOON + timedelta(seconds=300))


def test_yesterdays_counters_are_swept(database: Database) -> None:
    limits = Limits(database, 0)
    limits.take(Call(Kind.DOWNLOAD, "1"), at=NOON)
    limits.take(Call(Kind.DOWNLOAD, "2"), at=NOON + timedelta(days=1))
    assert [row[0] for row in database.counters.execute("SELECT object FROM quota")] == ["2"]

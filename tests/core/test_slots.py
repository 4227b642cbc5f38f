"""Every client is listed at moments of its own."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from appliance.core.slots import last_slot
from appliance.core.times import BUCHAREST

NOON = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
MOMENTS = st.integers(0, 1096 * 86_400).map(
    lambda seconds: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
UIDS = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=26, max_size=26)


def test_five_hundred_clients_are_spread_over_the_night() -> None:
    slots = [last_slot(f"client {n}", 24, NOON).astimezone(BUCHAREST) for n in range(500)]

    assert all(time(0, 30) <= slot.time() < time(6, 0) for slot in slots)
    assert {slot.date() for slot in slots} == {NOON.date()}
    by_half_hour = Counter((slot.hour, slot.minute // 30) for slot in slots)
    assert len(by_half_hour) == 11
    assert max(by_half_hour.values()) < 75


@given(uid=UIDS, at=MOMENTS)
def test_of_each_day_there_is_one_also_when_the_clocks_are_changed(uid: str, at: datetime) -> None:
    slot = last_slot(uid, 24, at)

    assert timedelta(0) <= at - slot < timedelta(hours=26)
    assert last_slot(uid, 24, slot) == slot
    before = last_slot(uid, 24, slot - timedelta(microseconds=1))
    assert slot.astimezone(BUCHAREST).date() - before.astimezone(BUCHAREST).date() == timedelta(1)


@given(uid=UIDS, at=MOMENTS, hours=st.integers(min_value=1, max_value=23))
def test_more_often_is_every_so_many_hours(uid: str, at: datetime, hours: int) -> None:
    slot = last_slot(uid, hours, at)

    assert timedelta(0) <= at - slot < timedelta(hours=hours)
    assert last_slot(uid, hours, slot + timedelta(hours=hours)) == slot + timedelta(hours=hours)


@given(uid=UIDS, at=MOMENTS, days=st.integers(min_value=2, max_value=7))
def test_more_seldom_is_every_so_many_nights(uid: str, at: datetime, days: int) -> None:
    slot = last_slot(uid, 24 * days, at)

    assert timedelta(0) <= at - slot < timedelta(days=days, hours=2)
    assert time(0, 30) <= slot.astimezone(BUCHAREST).time() < time(7, 0)


def test_hourly_clients_do_not_come_in_the_same_minute() -> None:
    minutes = {last_slot(f"client {n}", 1, NOON).minute for n in range(300)}

    assert len(minutes) > 50

"""Which months take a document: one rule, and a sentence for every other month."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from appliance.core.errors import BadInput, PeriodClosed
from appliance.core.roles import Kind
from appliance.store import drive, periods
from tests.support.store import NOW, World

OPEN = (
    "2025-12", "2026-01", "2026-02", "2026-03", "2026-04", "2026-05", "2026-06", "2026-07",
    "2026-08", "2026-09", "2026-10", "2026-11",
)  # fmt: skip
NOVEMBER = date(2026, 11, 3)


async def test_the_last_twelve_months_take_documents_and_none_that_is_to_come(world: World) -> None:
    assert await periods.choices(world.alfa, NOVEMBER, NOW) == periods.Choices("2026-11", OPEN)
    for month in OPEN:
        assert await periods.chosen(world.alfa, month, NOVEMBER, NOW) == month
    assert await periods.chosen(world.alfa, None, NOVEMBER, NOW) == "2026-11"


async def test_a_month_begins_when_it_begins_in_romania(world: World) -> None:
    still, already = (datetime(2026, 11, 30, hour, 30, tzinfo=UTC) for hour in (21, 22))

    with pytest.raises(PeriodClosed):
        await periods.chosen(world.alfa, "2026-12", NOVEMBER, still)

    assert await periods.chosen(world.alfa, "2026-12", NOVEMBER, already) == "2026-12"


@pytest.mark.parametrize(
    ("month", "why"),
    [
        ("2026-12", "Luna 2026-12 nu este încă deschisă"),
        ("2027-01", "Luna 2027-01 nu este încă deschisă"),
        ("2030-05", "Luna 2030-05 nu este încă deschisă"),
        ("2026-09", "Luna 2026-09 este închisă"),
        ("2019-04", "Luna 2019-04 este închisă"),
        ("2026-13", "Luna 2026-13 nu există"),
        ("2026-00", "Luna 2026-00 nu există"),
        ("0000-01", "Luna 0000-01 nu există"),
    ],
)
async def test_every_wrong_month_is_refused_with_the_open_ones(
    world: World, month: str, why: str
) -> None:
    await periods.close_period(world.alfa, "2026-09", await world.viewer("elena"), NOW)

    with pytest.raises(PeriodClosed) as caught:
        await periods.chosen(world.alfa, month, NOVEMBER, NOW)

    assert caught.value.sentence.ro == f"{why}. Alege o lună deschisă: 2026-10, 2026-11."


async def test_a_month_that_is_never_closed_but_past_takes_only_its_own_documents(
    world: World,
) -> None:
    own = await periods.choices(world.alfa, date(2024, 3, 31), NOW)
    assert own == periods.Choices("2024-03", ("2024-03", *OPEN))
    assert await periods.chosen(world.alfa, "2024-03", date(2024, 3, 31), NOW) == "2024-03"

    with pytest.raises(PeriodClosed, match="too old"):
        await periods.chosen(world.alfa, "2024-03", NOVEMBER, NOW)


@pytest.mark.parametrize("wrong", [date(2026, 12, 1), date(2099, 1, 1), date(206, 11, 3), None])
async def test_a_date_that_is_wrong_or_absent_books_into_the_current_month(
    world: World, wrong: date | None
) -> None:
    assert await periods.choices(world.alfa, wrong, NOW) == periods.Choices("2026-11", OPEN)


async def test_when_everything_is_closed_the_next_month_is_open_on_both_fronts(
    world: World,
) -> None:
    elena = await world.viewer("elena")
    await periods.close_period(world.alfa, "2026-11", elena, NOW)

    assert await periods.choices(world.alfa, NOVEMBER, NOW) == periods.Choices(
        "2026-12", ("2026-12",)
    )
    assert drive.periods_in(elena, world.alfa, Kind.ISSUED, NOW) == ["2026-12"]


async def test_text_that_is_no_month_closes_nothing_and_takes_nothing(world: World) -> None:
    elena = await world.viewer("elena")
    for text in ("azi", "2026-1", "11-2026", "２０２６-11", ""):
        with pytest.raises(BadInput):
            await periods.chosen(world.alfa, text, NOVEMBER, NOW)
        with pytest.raises(BadInput):
            await periods.close_period(world.alfa, text, elena, NOW)
    with pytest.raises(BadInput):
        await periods.close_period(world.alfa, "2026-13", elena, NOW)
    assert await periods.closed_through(world.alfa) is None


async def test_a_month_that_has_not_begun_in_romania_cannot_be_closed(world: World) -> None:
    elena = await world.viewer("elena")
    still, already = (datetime(2026, 11, 30, hour, 30, tzinfo=UTC) for hour in (21, 22))

    for month in ("2026-12", "2999-12"):
        with pytest.raises(PeriodClosed) as caught:
            await periods.close_period(world.alfa, month, elena, still)
        assert caught.value.sentence.ro == (
            f"Luna {month} nu a început încă. Închide cel mult luna 2026-11."
        )
    assert await periods.closed_through(world.alfa) is None

    await periods.close_period(world.alfa, "2026-12", elena, already)
    assert await periods.closed_through(world.alfa) == "2026-12"

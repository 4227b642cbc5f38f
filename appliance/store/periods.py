"""Accounting months (yyyy-mm): which take documents, and where a document goes by itself.

Months are closed in their order: closing one closes every earlier month too.
`choices()` is the one rule of what a document may be recorded into; portal and
drive offer it, and `chosen()` holds `record` to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

from appliance.core.errors import BadInput, NotAllowed, PeriodClosed
from appliance.core.roles import Role, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST, to_text
from appliance.store import audit
from appliance.store.engine import execute, fetch, joined

OPEN_LISTED = 12  # months that are offered, the current one included

_EARLIEST = "2000-01"
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}", re.ASCII)
_PERIOD = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True)
class Choices:
    """What one document may be recorded into: `months`, the earliest first, by itself `usual`."""

    usual: str
    months: tuple[str, ...]


def period_of(day: date) -> str:
    """Return the month of a date."""
    return f"{day.year:04d}-{day.month:02d}"


def current_period(at: datetime) -> str:
    """Return the month that it is in Romania."""
    return period_of(at.astimezone(BUCHAREST).date())


def shifted(period: str, months: int) -> str:
    """Return the month so many months later (or earlier, when negative)."""
    year, month = map(int, period.split("-"))
    count = year * 12 + month - 1 + months
    return f"{count // 12:04d}-{count % 12 + 1:02d}"


async def closed_through(client_id: int) -> str | None:
    """Return the last month that is closed, None before the first closing."""
    rows = await fetch(
        "SELECT MAX(period) AS period FROM closed_period WHERE client = ?", [client_id]
    )
    period: str | None = rows[0]["period"]
    return period


async def choices(client_id: int, issue_date: date | None, at: datetime) -> Choices:
    """Return the months that the document may be recorded into.

    They are the open ones and the document's own month, when that is open but
    earlier than those; no month that is still to come, unless everything up to
    now is closed. By itself it goes into the month of the issue date (without one, the
    current month), else into the first open one after it.
    """
    closed, current = await closed_through(client_id), current_period(at)
    usual = period_of(issue_date) if issue_date else current
    if not _EARLIEST <= usual <= current:
        usual = current  # a wrong date books nothing into a month that nobody keeps
    if closed is not None and usual <= closed:
        usual = shifted(closed, 1)
    return Choices(usual, tuple(sorted({usual, *open_after(closed, at)})))


async def chosen(client_id: int, period: str | None, issue_date: date | None, at: datetime) -> str:
    """Return the month that a document is recorded into: the one asked for, else the usual one.

    Raises `PeriodClosed` for every month outside `choices()` and for a number
    that no month has, with a sentence that names the months to choose from;
    `BadInput` for text that is not even written like a month.
    """
    offer = await choices(client_id, issue_date, at)
    if period is None:
        return offer.usual
    if not _FORM.fullmatch(period):
        raise _no_month(period)
    if period in offer.months:
        return period
    ro, en = _why_not(period, await closed_through(client_id), current_period(at))
    months = ", ".join(offer.months)
    raise PeriodClosed(
        Sentence(
            f"{ro}. Alege o lună deschisă: {months}.",
            f"{en}; choose an open one: {months}",
        )
    )


async def open_periods(client_id: int, at: datetime) -> list[str]:
    """Return the open months of the last twelve, the earliest first, the current one last.

    When all of these are closed it is the month after the last closed one alone.
    """
    return open_after(await closed_through(client_id), at)


def open_after(closed: str | None, at: datetime) -> list[str]:
    """Return what `open_periods()` does, for a client whose last closed month is known."""
    current = current_period(at)
    if closed is not None and closed >= current:
        return [shifted(closed, 1)]
    months = [shifted(current, -back) for back in range(OPEN_LISTED - 1, -1, -1)]
    return [month for month in months if closed is None or month > closed]


async def close_period(client_id: int, period: str, viewer: Viewer, at: datetime) -> None:
    """Close the month and every one before it; again does nothing.

    Only the client's accountant may (`NotAllowed`); `BadInput` for what is no month,
    `PeriodClosed` for one that has not begun in Romania.
    """
    if Role.ACCOUNTANT not in viewer.roles_at(client_id):
        raise NotAllowed(
            Sentence(
                "Numai contabilul clientului poate închide o lună. Cere-i contabilului.",
                "only the client's accountant can close a month; ask the accountant",
            )
        )
    if not _PERIOD.fullmatch(period):
        raise _no_month(period)
    current = current_period(at)
    if period > current:
        raise PeriodClosed(
            Sentence(
                f"Luna {period} nu a început încă. Închide cel mult luna {current}.",
                f"the month {period} has not begun; close {current} at the latest",
            )
        )
    async with joined():
        closed = await closed_through(client_id)
        if closed is not None and period <= closed:
            return
        client = (await fetch("SELECT uid FROM client WHERE id = ?", [client_id]))[0]
        await execute(
            "INSERT INTO closed_period (client, period, closed_at, closed_by) VALUES (?, ?, ?, ?)",
            [client_id, period, to_text(at), viewer.user_id],
        )
        await audit.append(
            "period:close", viewer.user_uid, client["uid"], client["uid"], {"period": period}, at=at
        )


def _why_not(period: str, closed: str | None, current: str) -> tuple[str, str]:
    if not _PERIOD.fullmatch(period):
        return f"Luna {period} nu există", f"there is no month {period}"
    if closed is not None and period <= closed:
        return f"Luna {period} este închisă", f"the month {period} is closed"
    if period > current:
        return f"Luna {period} nu este încă deschisă", f"the month {period} is not open yet"
    return (
        f"Luna {period} este prea veche pentru acest document",
        f"the month {period} is too old for this document",
    )


def _no_month(period: str) -> BadInput:
    return BadInput(
        Sentence(
            f"„{period[:20]}” nu este o lună contabilă. Scrie-o ca 2026-11.",
            f"{period[:20]!r} is no accounting month; write it like 2026-11",
        )
    )

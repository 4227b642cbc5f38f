"""Accounting months (yyyy-mm): which are open, and where a document goes by itself.

Months are closed in their order: closing one closes every earlier month too.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from appliance.core.errors import BadInput, NotAllowed, PeriodClosed
from appliance.core.roles import Role, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST, to_text
from appliance.store import audit
from appliance.store.engine import execute, fetch, joined

OPEN_LISTED = 12  # months that are offered, the current one included

_PERIOD = re.compile(r"(20[0-9]{2}|2[1-9][0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)


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


async def default_period(client_id: int, issue_date: date | None, at: datetime) -> str:
    """Return the month of the issue date if it is open, else the first open month.

    Without an issue date, the current month stands for it.
    """
    wanted = period_of(issue_date) if issue_date else current_period(at)
    closed = await closed_through(client_id)
    return wanted if closed is None or wanted > closed else shifted(closed, 1)


async def open_periods(client_id: int, at: datetime) -> list[str]:
    """Return the open months of the last twelve, the earliest first, the current one last.

    Earlier open months take documents too; they are only not offered while empty.
    """
    closed = await closed_through(client_id)
    return open_after(closed, at)


def open_after(closed: str | None, at: datetime) -> list[str]:
    """Return what `open_periods()` does, for a client whose last closed month is known."""
    current = current_period(at)
    months = [shifted(current, -back) for back in range(OPEN_LISTED - 1, -1, -1)]
    return [month for month in months if closed is None or month > closed]


async def require_open(client_id: int, period: str, at: datetime) -> None:
    """Raise `BadInput` for what is no month, `PeriodClosed` for a closed one."""
    if not _PERIOD.fullmatch(period) or period > shifted(current_period(at), 12):
        raise BadInput(
            Sentence(
                f"„{period[:20]}” nu este o lună contabilă. Scrie-o ca 2026-11.",
                f"{period[:20]!r} is no accounting month; write it like 2026-11",
            )
        )
    closed = await closed_through(client_id)
    if closed is not None and period <= closed:
        raise PeriodClosed(
            Sentence(
                f"Luna {period} este închisă. Alege {shifted(closed, 1)} sau o lună următoare.",
                f"the month {period} is closed; choose {shifted(closed, 1)} or a later one",
            )
        )


async def close_period(client_id: int, period: str, viewer: Viewer, at: datetime) -> None:
    """Close the month and every one before it; again does nothing.

    Only the client's accountant may (`NotAllowed`).
    """
    if Role.ACCOUNTANT not in viewer.roles_at(client_id):
        raise NotAllowed(
            Sentence(
                "Numai contabilul clientului poate închide o lună. Cere-i contabilului.",
                "only the client's accountant can close a month; ask the accountant",
            )
        )
    if not _PERIOD.fullmatch(period):
        await require_open(client_id, period, at)
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

"""What sync does unasked: list every client daily, and write yesterday's decisions."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from appliance.config import Settings
from appliance.core.times import BUCHAREST
from appliance.store import clients, decisions, jobs


async def queue_due_lists(settings: Settings, at: datetime) -> None:
    """Queue a list job for every client with a CUI whose last one is older than the interval.

    A second call finds the open job and adds none.
    """
    since = at - timedelta(hours=settings.sync_fetch_every_hours)
    for client_uid in await clients.not_listed_since(since):
        await jobs.insert("list", client_uid, at)


async def write_decisions(settings: Settings, at: datetime) -> None:
    """Write the decisions of the days that ended, once a day; today's follow at shutdown."""
    yesterday = at.astimezone(BUCHAREST).date() - timedelta(days=1)
    written = await asyncio.to_thread(decisions.days, settings.archive_dir)
    if not written or written[-1].stem < yesterday.isoformat():
        await asyncio.to_thread(decisions.write_due, settings, at)

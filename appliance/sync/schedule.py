"""What sync does unasked: list every client daily, and write yesterday's decisions."""

from __future__ import annotations

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


async def write_yesterdays_decisions(settings: Settings, at: datetime) -> None:
    """Write the file of the Romanian day that ended, once; it is never changed after."""
    yesterday = at.astimezone(BUCHAREST).date() - timedelta(days=1)
    if not decisions.path_of(settings, yesterday).exists():
        await decisions.write_day(settings, yesterday)

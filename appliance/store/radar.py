"""The 60-day radar: what ANAF will forget before it is in the archive.

ANAF gives a message out for 60 days. Its list and its download count them from
different moments that nobody outside knows, so ours are counted from
`data_creare`, the earlier one; a message without a readable date counts from
when it was first listed. Until it is in the archive a message is unfetched,
also when ANAF says that the certificate has no right to it: a right can be given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.times import from_text, to_text
from appliance.store import alerts
from appliance.store.engine import fetch, joined
from appliance.store.messages import MessageState

KEPT_BY_ANAF = timedelta(days=60)
ALERT = "expiring"
ALERT_DAYS = (14, 7, 3)
UNFETCHED = (MessageState.QUEUED, MessageState.NOT_ALLOWED)
# A loss is new for so long: time for everybody to hear of it. After that there is nothing to do.
LOSS_IS_NEW = timedelta(days=30)

_STATES = ", ".join(f"'{state.value}'" for state in UNFETCHED)


@dataclass(frozen=True)
class Oldest:
    """The message of a client that ANAF will forget first."""

    client_id: int
    uid: str
    created_at: datetime
    days_left: int


@dataclass(frozen=True)
class Lost:
    """How many messages of a client SPV will never give any more, and how many lately so."""

    number: int = 0
    lately: int = 0


def days_left(created_at: datetime, at: datetime) -> int:
    """Return how many whole days ANAF still gives the message; 0 on the last one and after it."""
    return max((created_at + KEPT_BY_ANAF - at) // timedelta(days=1), 0)


async def oldest(client_ids: Iterable[int], at: datetime) -> dict[int, Oldest]:
    """Return by client the oldest message that is not in the archive; a client without is absent.

    One whose 60 days are over is past saving and no longer looked at here: the
    next download settles it as expired.
    """
    rows = await fetch(
        "SELECT client.value AS id, state.value AS state, (SELECT message.id FROM message "
        "INDEXED BY message_state WHERE message.client = client.value "
        "AND message.state = state.value AND message.dated_at > ? "
        "ORDER BY message.dated_at LIMIT 1) AS message "
        "FROM json_each(?) AS client, json_each(?) AS state",
        [to_text(at - KEPT_BY_ANAF), json.dumps(list(client_ids)), json.dumps(list(UNFETCHED))],
    )
    ids = [row["message"] for row in rows if row["message"] is not None]
    found: dict[int, Oldest] = {}
    for row in await fetch(
        "SELECT client, uid, dated_at FROM message "
        "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY dated_at DESC",
        [json.dumps(ids)],
    ):
        created = from_text(row["dated_at"])
        found[row["client"]] = Oldest(row["client"], row["uid"], created, days_left(created, at))
    return found


async def lost(at: datetime) -> dict[int, Lost]:
    """Return by client what expired, and what was not allowed until its 60 days were over.

    A client without is absent. Nothing brings these back: their months name them for good.
    """
    rows = await fetch(
        "SELECT client, SUM(number) AS number, SUM(lately) AS lately FROM ("
        "SELECT client, COUNT(*) AS number, SUM(settled_at > ?) AS lately FROM message "
        "WHERE state = 'expired' GROUP BY client UNION ALL "
        "SELECT client, COUNT(*), SUM(dated_at > ?) FROM message "
        "WHERE state = 'not_allowed' AND dated_at <= ? GROUP BY client) GROUP BY client",
        [
            to_text(moment)
            for moment in (at - LOSS_IS_NEW, at - KEPT_BY_ANAF - LOSS_IS_NEW, at - KEPT_BY_ANAF)
        ],
    )
    return {row["client"]: Lost(row["number"], row["lately"]) for row in rows}


async def watch(at: datetime) -> int:
    """Raise the alerts that are due, end those of what is fetched or lost; return how many rose.

    Of a message's three alerts each is raised once, and of those that are due
    together only the most urgent. Again, nothing happens.
    """
    forgotten = to_text(at - KEPT_BY_ANAF)
    over = await fetch(
        "SELECT DISTINCT alert.object FROM alert LEFT JOIN message ON message.uid = alert.object "
        "WHERE alert.kind = ? AND alert.ended_at IS NULL AND (message.uid IS NULL "
        f"OR message.state NOT IN ({_STATES}) OR message.dated_at <= ?)",
        [ALERT, forgotten],
    )
    few, fewer, fewest = (
        to_text(at - KEPT_BY_ANAF + timedelta(days=days + 1)) for days in ALERT_DAYS
    )
    due = await fetch(
        "SELECT * FROM (SELECT uid, client, dated_at, CASE WHEN dated_at < ?1 THEN ?4 "
        "WHEN dated_at < ?2 THEN ?5 ELSE ?6 END AS level "
        "FROM message INDEXED BY message_any_client "
        f"WHERE state IN ({_STATES}) AND dated_at < ?3 AND dated_at > ?7) AS soon "
        "WHERE NOT EXISTS (SELECT 1 FROM alert WHERE alert.kind = ?8 AND alert.object = soon.uid "
        "AND alert.level = soon.level AND alert.ended_at IS NULL) ORDER BY dated_at",
        [fewest, fewer, few, *reversed(ALERT_DAYS), forgotten, ALERT],
    )
    if not over and not due:
        return 0
    raised = 0
    async with joined():
        for row in over:
            await alerts.end(ALERT, row["object"], at)
        for row in due:
            raised += await alerts.raise_once(ALERT, row["uid"], row["level"], row["client"], at)
    return raised

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
from appliance.store.engine import fetch
from appliance.store.messages import MessageState

KEPT_BY_ANAF = timedelta(days=60)
UNFETCHED = (MessageState.QUEUED, MessageState.NOT_ALLOWED)


@dataclass(frozen=True)
class Oldest:
    """The message of a client that ANAF will forget first."""

    client_id: int
    uid: str
    created_at: datetime
    days_left: int


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

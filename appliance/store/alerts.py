"""What people are told once, not once a retry: raised, open, ended.

    expiring   a message that ANAF soon forgets; its level is 14, 7 or 3 days left
    token      no authorisation reaches the client's SPV any more
    listing    ANAF refuses the client's list: the right is gone; or (about "client uid/CIF")
               it suddenly lists next to nothing, or less than it announces
    outage     ANAF, or our own vault, does not answer
    grant      an SPV authorisation is needed again (level 0), or ends in 30, 14 or 3 days

An alert that is open is not raised again, by whatever process; one that ended
may be raised anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from appliance.core.times import from_text, to_text
from appliance.store.engine import execute, fetch, joined


@dataclass(frozen=True)
class Alert:
    """Something that a person has been told and that is not over."""

    id: int
    client_id: int | None  # None: the whole firm's
    kind: str
    object: str
    level: int
    raised_at: datetime


async def raise_once(
    kind: str, object: str, level: int, client_id: int | None, at: datetime
) -> bool:
    """Open the alert; True for the caller who did, and who tells people."""
    open_already = await fetch(
        "SELECT 1 FROM alert WHERE kind = ? AND object = ? AND level = ? AND ended_at IS NULL",
        [kind, object, level],
    )
    if open_already:
        return False
    async with joined():
        raised = await execute(
            "INSERT INTO alert (client, kind, object, level, raised_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING RETURNING id",
            [client_id, kind, object, level, to_text(at)],
        )
    return bool(raised)


async def end(kind: str, object: str, at: datetime) -> bool:
    """End what is open about the object, of every level; True when something was."""
    rows = await fetch(
        "SELECT 1 FROM alert WHERE kind = ? AND object = ? AND ended_at IS NULL LIMIT 1",
        [kind, object],
    )
    if not rows:
        return False
    async with joined():
        await execute(
            "UPDATE alert SET ended_at = ? WHERE kind = ? AND object = ? AND ended_at IS NULL",
            [to_text(at), kind, object],
        )
    return True


async def open_for(client_id: int | None) -> list[Alert]:
    """Return the open alerts of the client, or with None all of them, the oldest first."""
    where, values = ("", []) if client_id is None else (" AND client = ?", [client_id])
    rows = await fetch(f"SELECT * FROM alert WHERE ended_at IS NULL{where} ORDER BY id", values)
    return [
        Alert(
            id=row["id"],
            client_id=row["client"],
            kind=row["kind"],
            object=row["object"],
            level=row["level"],
            raised_at=from_text(row["raised_at"]),
        )
        for row in rows
    ]

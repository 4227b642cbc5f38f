"""How often each client's SPV is listed by itself, and whose turn may be now (core/slots.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from appliance.core.errors import BadInput
from appliance.core.roles import Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import audit, clients
from appliance.store.accounts import actor_of
from appliance.store.engine import execute, fetch, joined

LONGEST_HOURS = 168


@dataclass(frozen=True)
class Fetching:
    """When a client's SPV is listed by itself, and when that was last asked for."""

    client_id: int
    uid: str
    every_hours: int | None  # None: as often as the configuration says
    asked_at: datetime | None


async def candidates(at: datetime) -> list[Fetching]:
    """Return the clients whose SPV may be listed now.

    One that has no identifier yet, or whose listing is under way or waits for
    its time, is not among them. A listing of the future, by a clock that was
    wrong, does not count.
    """
    rows = await fetch(
        "SELECT id, uid, fetch_every_hours, (SELECT MAX(created_at) FROM job "
        "WHERE kind = 'list' AND object_uid = client.uid AND created_at <= ?) AS asked_at "
        "FROM client WHERE provisional = 0 AND NOT EXISTS (SELECT 1 FROM job WHERE kind = 'list' "
        "AND object_uid = client.uid AND state IN ('queued', 'leased')) ORDER BY id",
        [to_text(at)],
    )
    return [
        Fetching(
            client_id=row["id"],
            uid=row["uid"],
            every_hours=row["fetch_every_hours"],
            asked_at=from_text(row["asked_at"]) if row["asked_at"] else None,
        )
        for row in rows
    ]


async def set_every(
    client_id: int, hours: int | None, at: datetime, *, by: Viewer | None = None
) -> None:
    """Have the client's SPV listed every so many hours; None: as the configuration says."""
    if hours is not None and not 1 <= hours <= LONGEST_HOURS:
        raise BadInput(
            Sentence(
                f"Alege între 1 și {LONGEST_HOURS} de ore; de obicei 1 sau 24.",
                f"choose from 1 to {LONGEST_HOURS} hours; usually 1 or 24",
            )
        )
    async with joined():
        client = await clients.by_id(client_id)
        await execute("UPDATE client SET fetch_every_hours = ? WHERE id = ?", [hours, client_id])
        await audit.append(
            "client:fetch", actor_of(by), client.uid, client.uid, {"every_hours": hours}, at=at
        )

"""What the last listing of each CIF gave, and what was strange about it.

One row for each client and CIF. A try that gave nothing leaves the numbers of
the last whole answer as they were and says why; so a row tells both when the
list was last read whole and what is wrong now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.core.roles import Role, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store.clients import visible_clients
from appliance.store.engine import Row, execute, fetch, joined


@dataclass(frozen=True)
class Counts:
    """What one answer held."""

    listed: int = 0
    new: int = 0
    missing: int = 0  # known, young enough to be listed, and not listed
    strangers: int = 0  # entries of companies that are no clients


@dataclass(frozen=True)
class Listing:
    """The last listing of a CIF: what the last answer held, when the last whole one came."""

    client_id: int
    client_uid: str
    client_name: str
    cif: str
    tried_at: datetime
    done_at: datetime | None
    counts: Counts
    problem: Sentence | None


async def note(
    client_id: int,
    cif: str,
    at: datetime,
    counts: Counts,
    problem: Sentence | None = None,
    *,
    whole: bool = True,
) -> None:
    """Note an answer, and what was wrong; `done_at` is that of the last one that was whole."""
    await _note(
        "done_at = COALESCE(excluded.done_at, done_at), listed = excluded.listed, "
        "new = excluded.new, missing = excluded.missing, strangers = excluded.strangers, ",
        [
            client_id,
            cif,
            to_text(at),
            to_text(at) if whole else None,
            counts.listed,
            counts.new,
            counts.missing,
            counts.strangers,
            problem.to_json() if problem else None,
        ],
    )


async def failed(client_id: int, cif: str, at: datetime, problem: Sentence) -> None:
    """Note that a try gave nothing; the numbers of the last answer stay."""
    await _note("", [client_id, cif, to_text(at), None, 0, 0, 0, 0, problem.to_json()])


async def of_client(client_id: int) -> list[Listing]:
    """Return one listing for each CIF that was ever asked for, by CIF."""
    rows = await fetch(f"{_LISTING} WHERE listing.client = ? ORDER BY listing.cif", [client_id])
    return [_listing(row) for row in rows]


async def all_of(viewer: Viewer | None = None) -> list[Listing]:
    """Return those of every client that the viewer may see, or of all; by client and CIF."""
    where: str = ""
    values: list[Any] = []
    if viewer is not None and viewer.firm_role is not Role.ADMIN:
        where = "WHERE listing.client IN (SELECT value FROM json_each(?)) "
        values = [json.dumps(visible_clients(viewer))]
    rows = await fetch(f"{_LISTING} {where}ORDER BY client.name, client.id, listing.cif", values)
    return [_listing(row) for row in rows]


async def _note(numbers: str, values: Sequence[Any]) -> None:
    async with joined():
        # Of two that listed at once the one who began later has the word.
        await execute(
            "INSERT INTO listing (client, cif, tried_at, done_at, listed, new, missing, "
            "strangers, problem) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
            f"ON CONFLICT (client, cif) DO UPDATE SET {numbers}"
            "tried_at = excluded.tried_at, problem = excluded.problem "
            "WHERE excluded.tried_at >= tried_at",
            values,
        )


_LISTING = (
    "SELECT listing.*, client.uid AS client_uid, client.name AS client_name FROM listing "
    "JOIN client ON client.id = listing.client"
)


def _listing(row: Row) -> Listing:
    return Listing(
        client_id=row["client"],
        client_uid=row["client_uid"],
        client_name=row["client_name"],
        cif=row["cif"],
        tried_at=from_text(row["tried_at"]),
        done_at=from_text(row["done_at"]) if row["done_at"] else None,
        counts=Counts(row["listed"], row["new"], row["missing"], row["strangers"]),
        problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
    )

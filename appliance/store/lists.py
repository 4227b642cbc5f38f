"""Lists of documents and how many there are: what a person may see, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from appliance.core.errors import BadInput
from appliance.core.roles import FIRM_ROLES, Kind, Role, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text
from appliance.store import clients
from appliance.store.engine import Row, fetch
from appliance.store.records import COLUMNS, DocumentRow, row_of
from appliance.store.scope import Condition, scoped, scoped_at

MOST_PER_PAGE = 200
# Up to so many clients a list is merged from one index range of each.
_MOST_MERGED = 200
_UID = re.compile(r"[0-9a-z]{26}")
_LIST_INDEX = {True: "document_list", False: "document_all"}


@dataclass(frozen=True)
class Page:
    """A stretch of a list; `next` is the `after` of the following one, None at the end."""

    rows: tuple[DocumentRow, ...]
    next: str | None


@dataclass(frozen=True)
class Waiting:
    """All that people of the firm learn of documents that are not approved."""

    count: int
    oldest: date


@dataclass(frozen=True)
class ClientCounts:
    """How many documents of a client the person can open, by status.

    `waiting` is for people of the firm: how many are pending and rejected, and
    since when, whether or not they can open them.
    """

    client_id: int
    seen: Mapping[Status, int]
    waiting: Mapping[Status, Waiting]


async def page(
    viewer: Viewer,
    client_uid: str | None = None,
    status: Status | None = None,
    *,
    after: str | None = None,
    limit: int = 50,
    kind: Kind | None = None,
    partner_cif: str | None = None,
    partner: str | None = None,
    number: str | None = None,
    period: str | None = None,
) -> Page:
    """Return documents that the person may see, the newest issue date first.

    `after` is the `next` of the page before (`BadInput` for anything else).
    `partner` and `number` match any part of the name and of the number,
    without case. A client that is not theirs is `NotFound`.
    """
    limit = max(1, min(limit, MOST_PER_PAGE))
    filters = _filters(kind, partner_cif, partner, number, period)
    if after is not None:
        filters.append(await _following(after))
    searches = partner_cif is not None or partner is not None or number is not None
    if client_uid is not None:
        ids = [(await clients.by_uid(client_uid, viewer)).id]
    elif viewer.firm_role is Role.ADMIN:
        ids = [client.id for client in await clients.all_clients()]
    else:
        ids = clients.visible_clients(viewer)
    statuses = [status] if status is not None else list(Status)
    ranges: list[Condition] = []
    if client_uid is None and viewer.firm_role is Role.ADMIN and not searches:
        # Every client is theirs to see, so the newest of all are the newest of theirs.
        condition = scoped(viewer)
        for each in statuses:
            ranges.append(_range("document_status", [("status", each.value)], condition, filters))
    elif len(ids) <= _MOST_MERGED:
        for client_id in ids:
            condition = scoped_at(viewer, client_id)
            known: list[tuple[str, Any]] = [("client", client_id)]
            if status is not None:
                known.append(("status", status.value))
            index = "document_partner" if partner_cif else _LIST_INDEX[status is not None]
            ranges.append(_range(index, known, condition, filters))
    else:
        condition = scoped(viewer)
        for each in statuses:
            ranges.append(_range("document_status", [("status", each.value)], condition, filters))
    if not ranges:
        return Page((), None)
    merged = " UNION ALL ".join(
        f"SELECT * FROM ({each.sql} ORDER BY document.list_date DESC, document.id DESC LIMIT ?)"
        for each in ranges
    )
    values = [value for each in ranges for value in (*each.values, limit + 1)]
    rows = await fetch(
        f"SELECT {COLUMNS} FROM (SELECT id AS found FROM ({merged}) "
        "ORDER BY list_date DESC, id DESC LIMIT ?) "
        "JOIN document ON document.id = found JOIN client ON client.id = document.client "
        "ORDER BY document.list_date DESC, document.id DESC",
        [*values, limit + 1],
    )
    found = tuple(row_of(row) for row in rows[:limit])
    last = found[-1] if len(rows) > limit else None
    return Page(found, cursor_of(last) if last else None)


def cursor_of(row: DocumentRow) -> str:
    """Return the `after` of the stretch that follows this document."""
    return f"{row.list_date.isoformat()}_{row.uid}"


async def position(viewer: Viewer, row: DocumentRow) -> int:
    """Return the document's place, from 1, among those of its client and status they may see."""
    condition = scoped_at(viewer, row.client_id)
    found = await fetch(
        "SELECT COUNT(*) AS place FROM document INDEXED BY document_list "
        "WHERE client = ? AND status = ? AND (list_date, id) >= (?, ?) "
        f"AND ({condition.sql})",
        [
            row.client_id,
            row.status.value,
            row.list_date.isoformat(),
            row.id,
            *condition.values,
        ],
    )
    return int(found[0]["place"])


async def counts(viewer: Viewer, *, only: Collection[int] | None = None) -> dict[int, ClientCounts]:
    """Return for each client of the person (by id) how many documents of each status there are.

    `only` leaves out every other client, for a page that shows a few of many.
    """
    if only is not None:
        ids = sorted(client_id for client_id in only if viewer.roles_at(client_id))
    elif viewer.firm_role is Role.ADMIN:
        ids = [client.id for client in await clients.all_clients()]
    else:
        ids = clients.visible_clients(viewer)
    totals: dict[int, dict[Status, int]] = {client_id: {} for client_id in ids}
    waiting: dict[int, dict[Status, Waiting]] = {client_id: {} for client_id in ids}
    rows = await fetch(
        "SELECT client, status, SUM(documents) AS documents, "
        "CASE WHEN status IN ('pending', 'rejected') THEN (SELECT MIN(received_at) FROM document "
        "WHERE document.client = folder.client AND document.status = folder.status) END AS oldest "
        "FROM folder WHERE client IN (SELECT value FROM json_each(?)) GROUP BY client, status "
        "HAVING SUM(documents) > 0",
        [json.dumps(ids)],
    )
    for row in rows:
        client_id, status = row["client"], Status(row["status"])
        totals[client_id][status] = row["documents"]
        if row["oldest"] is not None and viewer.roles_at(client_id) & FIRM_ROLES:
            oldest = from_text(row["oldest"]).date()
            waiting[client_id][status] = Waiting(row["documents"], oldest)
    return {
        client_id: ClientCounts(
            client_id=client_id,
            seen=await _seen(viewer, client_id, totals[client_id]),
            waiting=waiting[client_id],
        )
        for client_id in ids
    }


async def _seen(viewer: Viewer, client_id: int, totals: Mapping[Status, int]) -> dict[Status, int]:
    condition = scoped_at(viewer, client_id)
    if condition.sql == "1":
        return dict(totals)
    if client_id not in viewer.memberships:
        return {
            status: count
            for status, count in totals.items()
            if status in (Status.APPROVED, Status.ARCHIVED)
        }
    # A narrowed membership: counted in the entries of one index.
    rows = await fetch(
        "SELECT status, COUNT(*) AS documents FROM document INDEXED BY document_list "
        f"WHERE client = ? AND ({condition.sql}) GROUP BY status",
        [client_id, *condition.values],
    )
    return {Status(row["status"]): row["documents"] for row in rows}


async def _following(after: str) -> Condition:
    """Return what comes after the document that the cursor names, wherever that one is by now."""
    day, _, uid = after.partition("_")
    try:
        first = date.fromisoformat(day).isoformat()
    except ValueError:
        first = ""
    known: list[Row] = []
    if first and _UID.fullmatch(uid):
        known = await fetch("SELECT id FROM document WHERE uid = ?", [uid])
    if not known:
        raise BadInput(
            Sentence(
                "Pagina listei nu există. Întoarce-te la începutul listei.",
                "there is no such page of the list; go back to its beginning",
            )
        )
    return Condition("(document.list_date, document.id) < (?, ?)", [first, known[0]["id"]])


def _filters(
    kind: Kind | None,
    partner_cif: str | None,
    partner: str | None,
    number: str | None,
    period: str | None,
) -> list[Condition]:
    filters = []
    if kind is not None:
        filters.append(Condition("document.kind = ?", [kind.value]))
    if partner_cif is not None:
        filters.append(Condition("document.partner_cif = ?", [partner_cif]))
    if partner:
        filters.append(Condition("document.partner_name LIKE ? ESCAPE '\\'", [_like(partner)]))
    if number:
        filters.append(Condition("document.number LIKE ? ESCAPE '\\'", [_like(number)]))
    if period is not None:
        filters.append(Condition("document.period = ?", [period]))
    return filters


def _range(
    index: str,
    known: Sequence[tuple[str, Any]],
    condition: Condition,
    filters: Iterable[Condition],
) -> Condition:
    """Return a query for ids along one index, which is in the order of the list."""
    terms = [f"document.{column} = ?" for column, _ in known]
    values = [value for _, value in known]
    for each in (condition, *filters):
        terms.append(f"({each.sql})")
        values += each.values
    return Condition(
        "SELECT document.id, document.list_date FROM document "
        f"INDEXED BY {index} WHERE {' AND '.join(terms)}",
        values,
    )


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

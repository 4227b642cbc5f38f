"""Documents: how they come in, how their status changes, and who gets to see them.

`act()` is the only way a status changes. Whoever reads documents for a person
goes through `scoped()`; what that person may not see is `NotFound`, in the
same words as what does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from appliance.core import naming
from appliance.core.errors import (
    BadInput,
    NotAllowed,
    NotFound,
    StaleDocument,
    TransitionRefused,
)
from appliance.core.lifecycle import Action, decide
from appliance.core.roles import FIRM_ROLES, DocumentFacts, Kind, Role, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.core.tree import ALIAS_LASTS
from appliance.store import audit, clients, periods, tables
from appliance.store.accounts import SYSTEM
from appliance.store.engine import Row, execute, execute_many, fetch, joined
from appliance.store.scope import Condition, scoped, scoped_at

__all__ = [
    "Acted",
    "ClientCounts",
    "DocumentRow",
    "DocumentView",
    "Event",
    "File",
    "Line",
    "NewDocument",
    "NewFile",
    "NewLine",
    "Page",
    "Waiting",
    "act",
    "add",
    "add_file",
    "archive_month",
    "by_uid",
    "counts",
    "get",
    "page",
    "scoped",
    "take",
]

MOST_PER_PAGE = 200
# Up to so many clients a list is merged from one index range of each.
_MOST_MERGED = 200


@dataclass(frozen=True)
class NewLine:
    """One line of an invoice; its position is its place in `NewDocument.lines`."""

    line_id: str | None = None  # BT-126
    name: str | None = None  # BT-153
    description: str | None = None  # BT-154
    seller_item_id: str | None = None  # BT-155
    standard_item_id: str | None = None  # BT-157
    classification: Sequence[Mapping[str, str]] = ()  # BT-158, {scheme, code}
    quantity: str | None = None  # BT-129, decimal text
    unit: str | None = None  # BT-130
    price: str | None = None  # BT-146, decimal text
    net_minor: int | None = None  # BT-131
    vat_category: str | None = None  # BT-151
    vat_rate: str | None = None  # BT-152, decimal text


@dataclass(frozen=True)
class NewFile:
    """One file that already lies in the document's archive folder.

    On the drive it is called `shown_name`, or, when it is named after the
    document, by the document's folder name with `shown_suffix` ("_semnatura.xml").
    With neither it is not shown there.
    """

    role: str  # zip, invoice, signature, attachment, manifest, pdf, original
    stored_name: str
    mime: str
    size: int
    sha256: str
    shown_name: str | None = None
    shown_suffix: str | None = None


@dataclass(frozen=True)
class NewDocument:
    """Everything that `add()` writes; the files are in the archive before."""

    uid: str
    client_id: int
    kind: Kind
    source: str  # spv, upload, drive, import
    type: str  # invoice, credit_note, supporting, unreadable
    received_at: datetime
    folder_name: str  # as wanted: `add()` appends ~2 when it is taken
    signature_result: str = "absent"
    signature_reason: str = "none"
    signature_fingerprint: str | None = None
    message_uid: str | None = None  # of the message that it came with
    uploader_id: int | None = None
    number: str | None = None
    issue_date: date | None = None
    due_date: date | None = None
    tax_point_date: date | None = None
    supplier_name: str | None = None
    supplier_cif: str | None = None
    customer_name: str | None = None
    customer_cif: str | None = None
    partner_name: str | None = None
    partner_cif: str | None = None
    currency: str | None = None
    payable_minor: int | None = None
    signed_minor: int | None = None
    ron_minor: int | None = None
    tax_minor: int | None = None
    summary: str | None = None
    archive_month: str | None = None  # None: that of `received_at`
    warnings: Sequence[str] = ()
    problem: Sentence | None = None
    device: str | None = None
    lines: Sequence[NewLine] = ()
    files: Sequence[NewFile] = ()


@dataclass(frozen=True)
class Line(NewLine):
    """A line as it was stored."""

    position: int = 0


@dataclass(frozen=True)
class File:
    """A file of a document."""

    role: str
    stored_name: str
    shown_name: str | None
    mime: str
    size: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True)
class Event:
    """One step in the life of a document; without an actor the system took it."""

    at: datetime
    action: str
    old_status: Status | None
    new_status: Status
    revision: int
    actor_name: str | None
    actor_uid: str | None
    channel: str
    device: str | None
    reason: str | None
    period: str | None


@dataclass(frozen=True)
class DocumentRow:
    """A document as lists show it."""

    id: int
    uid: str
    client_id: int
    client_uid: str
    client_name: str
    kind: Kind
    status: Status
    revision: int
    source: str
    type: str
    uploader_id: int | None
    number: str | None
    issue_date: date | None
    due_date: date | None
    tax_point_date: date | None
    list_date: date
    received_at: datetime
    supplier_name: str | None
    supplier_cif: str | None
    customer_name: str | None
    customer_cif: str | None
    partner_name: str | None
    partner_cif: str | None
    currency: str | None
    payable_minor: int | None
    signed_minor: int | None
    ron_minor: int | None
    tax_minor: int | None
    summary: str | None
    folder_name: str
    archive_month: str
    period: str | None
    taken_at: datetime | None
    signature_result: str
    signature_reason: str
    signature_fingerprint: str | None
    warnings: tuple[str, ...]
    problem: Sentence | None
    changed_at: datetime

    @property
    def facts(self) -> DocumentFacts:
        """Return what permissions depend on."""
        return DocumentFacts(
            client_id=self.client_id,
            status=self.status,
            kind=self.kind,
            partner_cif=self.partner_cif,
            uploader_id=self.uploader_id,
            ron_minor=self.ron_minor,
            taken=self.taken_at is not None,
        )


@dataclass(frozen=True)
class DocumentView(DocumentRow):
    """A document with everything that belongs to it."""

    message_id: str | None = None  # ANAF's id of the message it came with
    upload_id: str | None = None
    lines: tuple[Line, ...] = field(default=())
    files: tuple[File, ...] = field(default=())
    events: tuple[Event, ...] = field(default=())


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


@dataclass(frozen=True)
class Acted:
    """Where the document stands after a step."""

    status: Status
    period: str | None
    folder_name: str


def archive_month(received_at: datetime) -> str:
    """Return the folder (`yyyy/mm`) below the client's that a document of this moment lies in."""
    return to_text(received_at)[:7].replace("-", "/")


# Coming in


async def add(new: NewDocument, *, at: datetime) -> int:
    """Store a document whose files are in the archive, and return its id.

    Rows of document, lines and files, the event `ingest`, the audit record and
    the message's state "archived" are committed together or not at all. The
    folder name is made free within the client. A document with this uid that
    is already there stays as it is and its id is returned.
    """
    async with joined():
        known = await fetch("SELECT id FROM document WHERE uid = ?", [new.uid])
        if known:
            return int(known[0]["id"])
        client = await clients.by_id(new.client_id)
        message = await _settle_message(new, at)
        folder_name = await free_folder_name(new.client_id, new.folder_name)
        made = await tables.Document.insert(
            tables.Document(
                uid=new.uid,
                client=new.client_id,
                kind=new.kind.value,
                status=Status.PENDING.value,
                source=new.source,
                type=new.type,
                message=message,
                uploader=new.uploader_id,
                number=new.number,
                issue_date=_day(new.issue_date),
                due_date=_day(new.due_date),
                tax_point_date=_day(new.tax_point_date),
                received_at=to_text(new.received_at),
                supplier_name=new.supplier_name,
                supplier_cif=new.supplier_cif,
                customer_name=new.customer_name,
                customer_cif=new.customer_cif,
                partner_name=new.partner_name,
                partner_cif=new.partner_cif,
                currency=new.currency,
                payable_minor=new.payable_minor,
                signed_minor=new.signed_minor,
                ron_minor=new.ron_minor,
                tax_minor=new.tax_minor,
                summary=new.summary,
                folder_name=folder_name,
                folder_key=folder_name.casefold(),
                archive_month=new.archive_month or archive_month(new.received_at),
                signature_result=new.signature_result,
                signature_reason=new.signature_reason,
                signature_fingerprint=new.signature_fingerprint,
                warnings=json.dumps(list(new.warnings)),
                problem=new.problem.to_json() if new.problem else None,
                changed_at=to_text(at),
            )
        )
        document_id = int(made[0]["id"])
        await _add_lines(document_id, new.lines)
        await _add_files(document_id, folder_name, new.files, at)
        await _add_event(
            document_id,
            at,
            action="ingest",
            old=None,
            new=Status.PENDING,
            revision=1,
            account_id=new.uploader_id,
            channel=_CHANNELS.get(new.source, new.source),
            device=new.device,
        )
        await audit.append(
            "document:ingest",
            await _actor_uid(new.uploader_id),
            client.uid,
            new.uid,
            {"source": new.source, "kind": new.kind.value, "sha256": _digest(new.files)},
            at=at,
        )
    return document_id


async def add_file(document_uid: str, file: NewFile, *, at: datetime) -> None:
    """Add a derived file such as the PDF, or replace what is known of it.

    Called after the file's bytes are in the archive; again does no harm.
    """
    async with joined():
        rows = await fetch("SELECT id, folder_name FROM document WHERE uid = ?", [document_uid])
        if not rows:
            raise _no_document()
        await _add_files(rows[0]["id"], rows[0]["folder_name"], [file], at)


# Life


async def act(
    document_uid: str,
    action: Action,
    viewer: Viewer,
    *,
    seen_status: Status,
    seen_revision: int,
    at: datetime,
    channel: str,
    device: str | None = None,
    reason: str | None = None,
    period: str | None = None,
    alias_path: str | None = None,
) -> Acted:
    """Move a document one step, and record who moved it.

    `seen_status` and `seen_revision` are what the person was looking at. Status,
    event and audit record are committed together or not at all. `alias_path`
    (below the client's folder) is where a move on the drive put the document:
    it is found there too for ten minutes.

    Raises `NotFound` when the document is not this person's to see, now,
    `StaleDocument` when it has moved since they saw it, `TransitionRefused`,
    `NotAllowed` and `BadInput` as `core.lifecycle.decide()` does, and
    `PeriodClosed` for a month that takes nothing any more.
    """
    async with joined():
        row = await _visible(document_uid, viewer)
        facts = _facts(row)
        if facts.status is not seen_status or row["revision"] != seen_revision:
            raise await _stale(row["id"], at)
        new = decide(action, facts, viewer, reason=reason)
        if action is Action.RECORD:
            if period is None:
                wanted = date.fromisoformat(row["list_date"])
                period = await periods.default_period(facts.client_id, wanted, at)
            await periods.require_open(facts.client_id, period, at)
        else:
            period = None
        taken_at, taken_by = row["taken_at"], row["taken_by"]
        if new is Status.PENDING:
            taken_at = taken_by = None
        elif new is Status.ARCHIVED and taken_at is None:
            taken_at, taken_by = to_text(at), viewer.user_id
        moved = await execute(
            "UPDATE document SET status = ?, period = ?, taken_at = ?, taken_by = ?, "
            "alias_path = ?, alias_until = ?, changed_at = ? "
            "WHERE id = ? AND status = ? AND revision = ? RETURNING id",
            [
                new.value,
                period,
                taken_at,
                taken_by,
                alias_path,
                to_text(at + ALIAS_LASTS) if alias_path is not None else None,
                to_text(at),
                row["id"],
                seen_status.value,
                seen_revision,
            ],
        )
        if not moved:
            raise await _stale(row["id"], at)
        event_id = await _add_event(
            row["id"],
            at,
            action=action.value,
            old=facts.status,
            new=new,
            revision=seen_revision,
            account_id=viewer.user_id,
            channel=channel,
            device=device,
            reason=(reason or "").strip() or None,
            period=period,
        )
        data: dict[str, object] = {
            "event": event_id,
            "from": facts.status.value,
            "to": new.value,
            "revision": seen_revision,
            "channel": channel,
        }
        if period is not None:
            data["period"] = period
        if action is Action.APPROVE:
            data["sha256"] = await _stored_digest(row["id"])
        await audit.append(
            f"document:{action.value}",
            viewer.user_uid,
            row["client_uid"],
            document_uid,
            data,
            at=at,
        )
    return Acted(new, period, row["folder_name"])


async def take(
    document_uid: str,
    viewer: Viewer,
    at: datetime,
    *,
    channel: str = "portal",
    device: str | None = None,
) -> bool:
    """Note that the accountant works with the document: the client cannot withdraw it any more.

    Tells whether this call did it; a document that is taken stays as it was.
    """
    async with joined():
        row = await _visible(document_uid, viewer)
        facts = _facts(row)
        if Role.ACCOUNTANT not in viewer.acting_roles(facts):
            raise NotAllowed(
                Sentence(
                    "Numai contabilul clientului preia documente. Cere-i contabilului.",
                    "only the client's accountant takes documents; ask the accountant",
                )
            )
        if facts.taken or facts.status is Status.ARCHIVED:
            return False
        if facts.status is not Status.APPROVED:
            raise TransitionRefused(
                Sentence(
                    "Documentul nu este aprobat și nu poate fi preluat. Reîncarcă pagina.",
                    "the document is not approved and cannot be taken; reload the page",
                )
            )
        await execute(
            "UPDATE document SET taken_at = ?, taken_by = ?, changed_at = ? WHERE id = ?",
            [to_text(at), viewer.user_id, to_text(at), row["id"]],
        )
        await _add_event(
            row["id"],
            at,
            action="take",
            old=facts.status,
            new=facts.status,
            revision=row["revision"],
            account_id=viewer.user_id,
            channel=channel,
            device=device,
        )
        await audit.append(
            "document:take", viewer.user_uid, row["client_uid"], document_uid, {}, at=at
        )
    return True


# Reading


async def get(document_uid: str, viewer: Viewer) -> DocumentView:
    """Return the document with lines, files and history; `NotFound` when it is not theirs."""
    condition = scoped(viewer)
    return await _view(
        Condition(f"document.uid = ? AND ({condition.sql})", [document_uid, *condition.values])
    )


async def by_uid(document_uid: str) -> DocumentView:
    """Return the document for the system itself (rendering, export): nobody's rights are asked."""
    return await _view(Condition("document.uid = ?", [document_uid]))


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
    filters = _filters(after, kind, partner_cif, partner, number, period)
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
        f"SELECT {_COLUMNS} FROM (SELECT id AS found FROM ({merged}) "
        "ORDER BY list_date DESC, id DESC LIMIT ?) "
        "JOIN document ON document.id = found JOIN client ON client.id = document.client "
        "ORDER BY document.list_date DESC, document.id DESC",
        [*values, limit + 1],
    )
    found = tuple(_row(row) for row in rows[:limit])
    last = found[-1] if len(rows) > limit else None
    return Page(found, f"{last.list_date.isoformat()}_{last.id}" if last else None)


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


async def _view(condition: Condition) -> DocumentView:
    rows = await fetch(
        f"SELECT {_COLUMNS}, message.message_id, message.upload_id FROM document "
        "JOIN client ON client.id = document.client "
        f"LEFT JOIN message ON message.id = document.message WHERE {condition.sql}",
        condition.values,
    )
    if not rows:
        raise _no_document()
    document_id = rows[0]["id"]
    lines = await fetch(
        "SELECT * FROM document_line WHERE document = ? ORDER BY position", [document_id]
    )
    files = await fetch("SELECT * FROM document_file WHERE document = ? ORDER BY id", [document_id])
    events = await fetch(
        "SELECT event.*, account.name AS actor_name, account.uid AS actor_uid FROM event "
        "LEFT JOIN account ON account.id = event.account WHERE event.document = ? "
        "ORDER BY event.id",
        [document_id],
    )
    return DocumentView(
        **_fields(rows[0]),
        message_id=rows[0]["message_id"],
        upload_id=rows[0]["upload_id"],
        lines=tuple(_line(row) for row in lines),
        files=tuple(_file(row) for row in files),
        events=tuple(_event(row) for row in events),
    )


async def _visible(document_uid: str, viewer: Viewer) -> Row:
    rows = await fetch(
        "SELECT document.id, document.client, client.uid AS client_uid, document.kind, "
        "document.status, document.revision, document.partner_cif, document.uploader, "
        "document.ron_minor, document.list_date, document.taken_at, document.taken_by, "
        "document.folder_name FROM document JOIN client ON client.id = document.client "
        "WHERE document.uid = ?",
        [document_uid],
    )
    if not rows or not viewer.may_see(_facts(rows[0])):
        raise _no_document()
    return rows[0]


# Lists

_LIST_INDEX = {True: "document_list", False: "document_all"}


def _filters(
    after: str | None,
    kind: Kind | None,
    partner_cif: str | None,
    partner: str | None,
    number: str | None,
    period: str | None,
) -> list[Condition]:
    filters = []
    if after is not None:
        day, _, last_id = after.partition("_")
        try:
            cursor = [date.fromisoformat(day).isoformat(), int(last_id)]
        except ValueError:
            raise BadInput(
                Sentence(
                    "Pagina listei nu există. Întoarce-te la începutul listei.",
                    "there is no such page of the list; go back to its beginning",
                )
            ) from None
        filters.append(Condition("(document.list_date, document.id) < (?, ?)", cursor))
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


# Parts of a transaction


async def _settle_message(new: NewDocument, at: datetime) -> int | None:
    if new.message_uid is None:
        return None
    rows = await execute(
        "UPDATE message SET state = 'archived', problem = ?, settled_at = ? "
        "WHERE uid = ? RETURNING id",
        [new.problem.to_json() if new.problem else None, to_text(at), new.message_uid],
    )
    if not rows:
        raise ValueError(f"there is no message {new.message_uid}")
    return int(rows[0]["id"])


async def free_folder_name(client_id: int, wanted: str) -> str:
    """Return the name, with ~2, ~3… when a document or notice of the client has it."""
    # Every name that free_name() could try begins like this.
    stem = wanted.casefold()[:50]
    end = f"{stem}\U0010ffff"
    taken = await fetch(
        "SELECT folder_key FROM document WHERE client = ? AND folder_key BETWEEN ? AND ? "
        "UNION ALL "
        "SELECT folder_key FROM notice WHERE client = ? AND folder_key BETWEEN ? AND ?",
        [client_id, stem, end, client_id, stem, end],
    )
    return naming.free_name(wanted, {row["folder_key"] for row in taken})


async def _add_lines(document_id: int, lines: Sequence[NewLine]) -> None:
    if not lines:
        return
    await execute_many(
        "INSERT INTO document_line (document, position, line_id, name, description, "
        "seller_item_id, standard_item_id, classification, quantity, unit, price, net_minor, "
        "vat_category, vat_rate) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                document_id,
                position,
                line.line_id,
                line.name,
                line.description,
                line.seller_item_id,
                line.standard_item_id,
                json.dumps([dict(each) for each in line.classification], ensure_ascii=False)
                if line.classification
                else None,
                line.quantity,
                line.unit,
                line.price,
                line.net_minor,
                line.vat_category,
                line.vat_rate,
            )
            for position, line in enumerate(lines, start=1)
        ],
    )


async def _add_files(
    document_id: int, folder_name: str, files: Sequence[NewFile], at: datetime
) -> None:
    known = await fetch(
        "SELECT stored_name, shown_key FROM document_file WHERE document = ?", [document_id]
    )
    stored = {row["stored_name"] for row in known}
    taken = {row["shown_key"] for row in known}
    for file in files:
        if file.stored_name in stored:
            await execute(
                "UPDATE document_file SET mime = ?, size = ?, sha256 = ?, created_at = ? "
                "WHERE document = ? AND stored_name = ?",
                [file.mime, file.size, file.sha256, to_text(at), document_id, file.stored_name],
            )
            continue
        shown = file.shown_name
        if file.shown_suffix is not None:
            shown = folder_name + file.shown_suffix
        if shown is not None:
            shown = free_file_name(shown, taken)
            taken.add(shown.casefold())
        stored.add(file.stored_name)
        await execute(
            "INSERT INTO document_file (document, role, stored_name, shown_name, shown_key, mime, "
            "size, sha256, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                document_id,
                file.role,
                file.stored_name,
                shown,
                shown.casefold() if shown is not None else None,
                file.mime,
                file.size,
                file.sha256,
                to_text(at),
            ],
        )


def free_file_name(name: str, taken: set[str]) -> str:
    """Return the name, or with `~2`, `~3`… before its extension, that is not in `taken`."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        stem, extension = name, ""
    candidate, count = name, 1
    while candidate.casefold() in taken:
        count += 1
        candidate = f"{stem}~{count}{dot}{extension}"
    return candidate


async def _add_event(
    document_id: int,
    at: datetime,
    *,
    action: str,
    old: Status | None,
    new: Status,
    revision: int,
    account_id: int | None,
    channel: str,
    device: str | None = None,
    reason: str | None = None,
    period: str | None = None,
) -> int:
    made = await tables.Event.insert(
        tables.Event(
            document=document_id,
            at=to_text(at),
            action=action,
            old_status=old.value if old else None,
            new_status=new.value,
            revision=revision,
            account=account_id,
            channel=channel,
            device=device,
            reason=reason,
            period=period,
        )
    )
    return int(made[0]["id"])


async def _actor_uid(account_id: int | None) -> str:
    if account_id is None:
        return SYSTEM
    rows = await fetch("SELECT uid FROM account WHERE id = ?", [account_id])
    return str(rows[0]["uid"])


async def _stored_digest(document_id: int) -> str:
    rows = await fetch(
        "SELECT role, sha256 FROM document_file WHERE document = ? ORDER BY id", [document_id]
    )
    return _first_digest([(row["role"], row["sha256"]) for row in rows])


def _digest(files: Sequence[NewFile]) -> str:
    return _first_digest([(file.role, file.sha256) for file in files])


def _first_digest(files: Sequence[tuple[str, str]]) -> str:
    """Return the digest of what people decide about: the invoice, or what was uploaded."""
    for wanted in ("invoice", "original", "zip"):
        for role, digest in files:
            if role == wanted:
                return digest
    return ""


async def _stale(document_id: int, at: datetime) -> StaleDocument:
    rows = await fetch(
        "SELECT event.action, event.at, account.name FROM event "
        "LEFT JOIN account ON account.id = event.account WHERE event.document = ? "
        "ORDER BY event.id DESC LIMIT 1",
        [document_id],
    )
    if not rows or rows[0]["name"] is None or rows[0]["action"] not in _DID:
        return StaleDocument(
            Sentence(
                "Documentul s-a schimbat între timp. Reîncarcă pagina.",
                "the document has changed meanwhile; reload the page",
            )
        )
    name, did = rows[0]["name"], _DID[rows[0]["action"]]
    ago = _ago(at - from_text(rows[0]["at"]))
    return StaleDocument(
        Sentence(
            f"{name} {did.ro} {ago.ro}. Reîncarcă pagina.",
            f"{name} {did.en} {ago.en}; reload the page",
        )
    )


def _ago(passed: timedelta) -> Sentence:
    minutes = int(passed.total_seconds() // 60)
    if minutes < 1:
        return Sentence("chiar acum", "just now")
    if minutes < 60:
        return Sentence(f"acum {_count(minutes, 'un minut', 'minute')}", _back(minutes, "minute"))
    hours = minutes // 60
    if hours < 24:
        return Sentence(f"acum {_count(hours, 'o oră', 'ore')}", _back(hours, "hour"))
    days = hours // 24
    return Sentence(f"acum {_count(days, 'o zi', 'zile')}", _back(days, "day"))


def _count(number: int, one: str, many: str) -> str:
    if number == 1:
        return one
    # 20, 21…, 100, 120…: "20 de minute", but "101 minute".
    of = " de" if number % 100 == 0 or number % 100 >= 20 else ""
    return f"{number}{of} {many}"


def _back(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'} ago"


_DID = {
    "approve": Sentence("l-a aprobat", "approved it"),
    "reject": Sentence("l-a respins", "rejected it"),
    "reconsider": Sentence("l-a readus la aprobare", "reconsidered it"),
    "withdraw": Sentence("i-a retras aprobarea", "withdrew its approval"),
    "return": Sentence("l-a returnat", "returned it"),
    "record": Sentence("l-a înregistrat", "recorded it"),
    "reopen": Sentence("l-a redeschis", "reopened it"),
    "take": Sentence("l-a preluat", "took it"),
    "correct": Sentence("l-a corectat", "corrected it"),
}
_CHANNELS = {"spv": "spv", "upload": "portal", "drive": "drive", "import": "import"}


def _no_document() -> NotFound:
    return NotFound(
        Sentence(
            "Documentul nu există sau nu ai acces la el. Verifică lista de documente.",
            "there is no such document, or it is not yours to see; look at the list",
        )
    )


# Rows to values

_COLUMNS = ", ".join(
    [
        *(
            f"document.{column}"
            for column in (
                "id",
                "uid",
                "kind",
                "status",
                "revision",
                "source",
                "type",
                "number",
                "issue_date",
                "due_date",
                "tax_point_date",
                "list_date",
                "received_at",
                "supplier_name",
                "supplier_cif",
                "customer_name",
                "customer_cif",
                "partner_name",
                "partner_cif",
                "currency",
                "payable_minor",
                "signed_minor",
                "ron_minor",
                "tax_minor",
                "summary",
                "folder_name",
                "archive_month",
                "period",
                "taken_at",
                "signature_result",
                "signature_reason",
                "signature_fingerprint",
                "warnings",
                "problem",
                "changed_at",
            )
        ),
        "document.client AS client_id",
        "document.uploader AS uploader_id",
        "client.uid AS client_uid",
        "client.name AS client_name",
    ]
)


def _facts(row: Row) -> DocumentFacts:
    return DocumentFacts(
        client_id=row["client"],
        status=Status(row["status"]),
        kind=Kind(row["kind"]),
        partner_cif=row["partner_cif"],
        uploader_id=row["uploader"],
        ron_minor=row["ron_minor"],
        taken=row["taken_at"] is not None,
    )


def _row(row: Row) -> DocumentRow:
    return DocumentRow(**_fields(row))


def _fields(row: Row) -> dict[str, Any]:
    return {
        **{name: row[name] for name in _PLAIN},
        "kind": Kind(row["kind"]),
        "status": Status(row["status"]),
        "issue_date": _date(row["issue_date"]),
        "due_date": _date(row["due_date"]),
        "tax_point_date": _date(row["tax_point_date"]),
        "list_date": date.fromisoformat(row["list_date"]),
        "received_at": from_text(row["received_at"]),
        "taken_at": from_text(row["taken_at"]) if row["taken_at"] else None,
        "warnings": tuple(json.loads(row["warnings"])),
        "problem": Sentence.from_json(row["problem"]) if row["problem"] else None,
        "changed_at": from_text(row["changed_at"]),
    }


_PLAIN = (
    "id",
    "uid",
    "client_id",
    "client_uid",
    "client_name",
    "revision",
    "source",
    "type",
    "uploader_id",
    "number",
    "supplier_name",
    "supplier_cif",
    "customer_name",
    "customer_cif",
    "partner_name",
    "partner_cif",
    "currency",
    "payable_minor",
    "signed_minor",
    "ron_minor",
    "tax_minor",
    "summary",
    "folder_name",
    "archive_month",
    "period",
    "signature_result",
    "signature_reason",
    "signature_fingerprint",
)


def _line(row: Row) -> Line:
    return Line(
        position=row["position"],
        line_id=row["line_id"],
        name=row["name"],
        description=row["description"],
        seller_item_id=row["seller_item_id"],
        standard_item_id=row["standard_item_id"],
        classification=tuple(json.loads(row["classification"] or "[]")),
        quantity=row["quantity"],
        unit=row["unit"],
        price=row["price"],
        net_minor=row["net_minor"],
        vat_category=row["vat_category"],
        vat_rate=row["vat_rate"],
    )


def _file(row: Row) -> File:
    return File(
        role=row["role"],
        stored_name=row["stored_name"],
        shown_name=row["shown_name"],
        mime=row["mime"],
        size=row["size"],
        sha256=row["sha256"],
        created_at=from_text(row["created_at"]),
    )


def _event(row: Row) -> Event:
    return Event(
        at=from_text(row["at"]),
        action=row["action"],
        old_status=Status(row["old_status"]) if row["old_status"] else None,
        new_status=Status(row["new_status"]),
        revision=row["revision"],
        actor_name=row["actor_name"],
        actor_uid=row["actor_uid"],
        channel=row["channel"],
        device=row["device"],
        reason=row["reason"],
        period=row["period"],
    )


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None

"""The values that documents are given as: what comes in, and what a row says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from appliance.core.errors import NotFound
from appliance.core.roles import DocumentFacts, Kind, Status
from appliance.core.sentence import Sentence
from appliance.core.times import from_text
from appliance.store.engine import Row


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
    status: Status = Status.PENDING  # of an import: as the person chose (core.lifecycle.IMPORTS)
    period: str | None = None  # of an import of recorded documents
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


COLUMNS = ", ".join(
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


def facts_of(row: Row) -> DocumentFacts:
    """Return what permissions depend on, of a plain row of `document`."""
    return DocumentFacts(
        client_id=row["client"],
        status=Status(row["status"]),
        kind=Kind(row["kind"]),
        partner_cif=row["partner_cif"],
        uploader_id=row["uploader"],
        ron_minor=row["ron_minor"],
        taken=row["taken_at"] is not None,
    )


def row_of(row: Row) -> DocumentRow:
    """Return what a row of a query for `COLUMNS` says."""
    return DocumentRow(**fields_of(row))


def fields_of(row: Row) -> dict[str, Any]:
    """Return the fields of a `DocumentRow`, of a row of a query for `COLUMNS`."""
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


def line_of(row: Row) -> Line:
    """Return what a row of `document_line` says."""
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


def file_of(row: Row) -> File:
    """Return what a row of `document_file` says."""
    return File(
        role=row["role"],
        stored_name=row["stored_name"],
        shown_name=row["shown_name"],
        mime=row["mime"],
        size=row["size"],
        sha256=row["sha256"],
        created_at=from_text(row["created_at"]),
    )


def event_of(row: Row) -> Event:
    """Return what a row of `event`, with its account's name and uid, says."""
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


def no_document() -> NotFound:
    """Return the error for a document that is absent or not theirs, in the same words."""
    return NotFound(
        Sentence(
            "Documentul nu există sau nu ai acces la el. Verifică lista de documente.",
            "there is no such document, or it is not yours to see; look at the list",
        )
    )


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None

"""The same invoice twice: shown and linked, never merged.

Two questions, which must not be confused. `twins()`: documents of one client
and kind that say the same (supplier, number, issue date, total): people are
shown both and decide. `same()`: the very bytes that the client has already,
which an import or a late message need not store a second time.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field

from appliance.core.roles import CLIENT_ROLES, Status, Viewer
from appliance.store.engine import fetch
from appliance.store.records import facts_of

GOOD = frozenset({"valid", "valid_unknown_certificate"})  # signatures that are evidence
_SHOWN = 20  # of one document; more would help nobody


@dataclass(frozen=True)
class Twin:
    """Another document that says the same."""

    uid: str
    status: Status
    source: str  # spv, upload, drive, import
    folder_name: str


@dataclass(frozen=True)
class Duplicates:
    """What a person hears of the copies of one document.

    `seen` are those they may open. `hidden` tells a member of the client, whose
    sight is narrowed, that there are others; people of the firm hear of
    approved and archived copies alone, so nothing tells them what waits.
    """

    seen: tuple[Twin, ...] = ()
    hidden: bool = False

    def __bool__(self) -> bool:
        return bool(self.seen) or self.hidden


NONE = Duplicates()


@dataclass
class _Found:
    seen: list[Twin] = field(default_factory=list)
    hidden: bool = False


async def twins(viewer: Viewer, document_ids: Collection[int]) -> dict[int, Duplicates]:
    """Return the copies of each of these documents, in one query; only of those that have some.

    The documents are ones that the viewer may see. A copy is of the same client
    and kind, with the same supplier, number, issue date, and total with its
    currency; a rejected one counts too, a credit note is no copy of an invoice.
    """
    if not document_ids:
        return {}
    rows = await fetch(
        "SELECT this.id AS of, document.* FROM document this JOIN document "
        "ON document.client = this.client AND document.kind = this.kind "
        "AND document.number = this.number AND document.supplier_cif = this.supplier_cif "
        "WHERE this.id IN (SELECT value FROM json_each(?)) AND document.id <> this.id "
        "AND document.issue_date = this.issue_date AND document.currency = this.currency "
        "AND document.signed_minor = this.signed_minor ORDER BY document.id",
        [json.dumps(sorted(document_ids))],
    )
    found: dict[int, _Found] = {}
    for row in rows:
        if viewer.may_see(facts_of(row)):
            entry = found.setdefault(row["of"], _Found())
            if len(entry.seen) < _SHOWN:
                entry.seen.append(
                    Twin(row["uid"], Status(row["status"]), row["source"], row["folder_name"])
                )
        elif viewer.roles_at(row["client"]) & CLIENT_ROLES:
            found.setdefault(row["of"], _Found()).hidden = True
    return {of: Duplicates(tuple(entry.seen), entry.hidden) for of, entry in found.items()}


@dataclass(frozen=True)
class Same:
    """What the client has already."""

    uid: str
    bytes_too: bool  # the same invoice byte for byte; else only the upload number is the same
    id: int | None = None  # of its row
    source: str = ""  # of a document


async def same(
    client_id: int, invoice: str, upload_id: str, *, signature: str, besides: str
) -> Same | None:
    """Return what the client has of this invoice (SHA-256, hex) or upload, the earliest first.

    `signature` is the result for the new copy, `besides` its own uid. A copy with
    a good signature is no duplicate of one without: the better evidence is
    kept too, and both are shown as `twins()`.
    """
    rows = await fetch(
        "SELECT document.id, document.uid, document.signature_result, "
        "document.source, 1 AS bytes_too FROM document_file "
        "JOIN document ON document.id = document_file.document WHERE document_file.sha256 = ? "
        "AND document_file.role IN ('invoice', 'original') AND document.client = ? "
        "AND document.uid <> ? ORDER BY document.id",
        [invoice, client_id, besides],
    )
    if upload_id:
        rows += await fetch(
            "SELECT document.id, document.uid, document.signature_result, "
            "document.source, 0 AS bytes_too FROM message "
            "JOIN document ON document.message = message.id "
            "WHERE message.upload_id = ? AND document.client = ? AND document.uid <> ? "
            "UNION ALL "
            "SELECT document.id, document.uid, document.signature_result, "
            "document.source, 0 FROM import_item JOIN document ON document.uid = import_item.uid "
            "WHERE import_item.client = ? AND import_item.upload_id = ? AND document.uid <> ?",
            [upload_id, client_id, besides, client_id, upload_id, besides],
        )
    for row in rows:
        if signature in GOOD and row["signature_result"] not in GOOD:
            continue
        return Same(row["uid"], bool(row["bytes_too"]), row["id"], row["source"])
    return None


async def same_notice(client_id: int, original: str, besides: str) -> Same | None:
    """Return the notice that the client has of these very bytes."""
    rows = await fetch(
        "SELECT notice.id, notice.uid FROM notice_file "
        "JOIN notice ON notice.id = notice_file.notice WHERE notice_file.sha256 = ? "
        "AND notice_file.role = 'original' AND notice.client = ? AND notice.uid <> ? "
        "ORDER BY notice.id LIMIT 1",
        [original, client_id, besides],
    )
    if not rows:
        return None
    return Same(rows[0]["uid"], True, rows[0]["id"])

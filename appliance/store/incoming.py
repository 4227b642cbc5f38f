"""How a document comes in: rows for what already lies in the archive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime

from appliance.core import naming
from appliance.core.roles import Status
from appliance.core.times import to_text
from appliance.store import audit, clients, tables
from appliance.store.accounts import SYSTEM
from appliance.store.engine import execute, execute_many, fetch, joined
from appliance.store.events import add_event
from appliance.store.records import NewDocument, NewFile, NewLine, no_document

_CHANNELS = {"spv": "spv", "upload": "portal", "drive": "drive", "import": "import"}


def archive_month(received_at: datetime) -> str:
    """Return the folder (`yyyy/mm`) below the client's that a document of this moment lies in."""
    return to_text(received_at)[:7].replace("-", "/")


async def add(new: NewDocument, *, at: datetime) -> int:
    """Store a document whose files are in the archive, and return its id.

    Rows of document, lines and files, the event `ingest`, the audit record and
    the message's state "archived" are committed together or not at all. The
    folder name is made free within the client. A document with this uid that
    is already there stays as it is and its id is returned. It starts pending,
    but for an import, whose status a person chose; event and audit say which.
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
                status=new.status.value,
                source=new.source,
                type=new.type,
                message=message,
                uploader=new.uploader_id,
                number=new.number,
                issue_date=day_text(new.issue_date),
                due_date=day_text(new.due_date),
                tax_point_date=day_text(new.tax_point_date),
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
                period=new.period,
                taken_at=to_text(at) if new.status is Status.ARCHIVED else None,
                taken_by=new.uploader_id if new.status is Status.ARCHIVED else None,
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
        await add_event(
            document_id,
            at,
            action="ingest",
            old=None,
            new=new.status,
            revision=1,
            account_id=new.uploader_id,
            channel=_CHANNELS.get(new.source, new.source),
            device=new.device,
            period=new.period,
        )
        data: dict[str, object] = {
            "source": new.source,
            "kind": new.kind.value,
            "sha256": _digest(new.files),
        }
        if new.status is not Status.PENDING:
            data["to"] = new.status.value
        await audit.append(
            "document:ingest",
            await _actor_uid(new.uploader_id),
            client.uid,
            new.uid,
            data,
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
            raise no_document()
        await _add_files(rows[0]["id"], rows[0]["folder_name"], [file], at)


async def kept_elsewhere(message_uid: str) -> bool:
    """Tell whether the message is settled with a document or notice that an import brought."""
    rows = await fetch(
        "SELECT 1 FROM message JOIN document ON document.message = message.id "
        "WHERE message.uid = ? AND document.uid <> message.uid UNION ALL "
        "SELECT 1 FROM message JOIN notice ON notice.message = message.id "
        "WHERE message.uid = ? AND notice.uid <> message.uid",
        [message_uid, message_uid],
    )
    return bool(rows)


async def link_message(document_id: int, message_uid: str, at: datetime) -> bool:
    """Settle a message as archived: its document was imported before, with the same bytes.

    The document keeps what it is, names the message from now on, and its history
    says when SPV gave it. Again does nothing. False when it names another
    message: then nothing is settled.
    """
    async with joined():
        rows = await fetch(
            "SELECT document.uid, document.status, document.revision, client.uid AS client_uid, "
            "message.uid AS message_uid FROM document JOIN client ON client.id = document.client "
            "LEFT JOIN message ON message.id = document.message WHERE document.id = ?",
            [document_id],
        )
        found = rows[0]
        if found["message_uid"] is not None:
            return bool(found["message_uid"] == message_uid)
        settled = await execute(
            "UPDATE message SET state = 'archived', problem = NULL, settled_at = ? "
            "WHERE uid = ? RETURNING id",
            [to_text(at), message_uid],
        )
        await execute(
            "UPDATE document SET message = ?, changed_at = ? WHERE id = ?",
            [settled[0]["id"], to_text(at), document_id],
        )
        status = Status(found["status"])
        await add_event(
            document_id,
            at,
            action="fetched",
            old=status,
            new=status,
            revision=found["revision"],
            account_id=None,
            channel="spv",
        )
        await audit.append(
            "document:fetched", "sync", found["client_uid"], found["uid"],
            {"message": message_uid}, at=at,
        )  # fmt: skip
        await audit.append(
            "message:settle", "sync", found["client_uid"], message_uid,
            {"state": "archived", "same_as": found["uid"]}, at=at,
        )  # fmt: skip
    return True


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
            shown = naming.free_file_name(shown, taken)
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


async def _actor_uid(account_id: int | None) -> str:
    if account_id is None:
        return SYSTEM
    rows = await fetch("SELECT uid FROM account WHERE id = ?", [account_id])
    return str(rows[0]["uid"])


def _digest(files: Sequence[NewFile]) -> str:
    return first_digest([(file.role, file.sha256) for file in files])


def first_digest(files: Sequence[tuple[str, str]]) -> str:
    """Return the digest of what people decide about: the invoice, or what was uploaded."""
    for wanted in ("invoice", "original", "zip"):
        for role, digest in files:
            if role == wanted:
                return digest
    return ""


def day_text(day: date | None) -> str | None:
    return day.isoformat() if day else None

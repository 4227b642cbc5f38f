"""What a downloaded message becomes: a document, a notice, or a quarantined message.

`plan()` decides from the bytes alone and touches nothing, so the same message
always becomes the same thing; `file()` writes it down, the folder before the
rows. Both may run any number of times.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import PurePath

from appliance.core import anaf_zip, money, naming, spv, ubl, ubl_model
from appliance.core.anaf_zip import Package
from appliance.core.certificates import PinnedCertificate
from appliance.core.cif import check_digit_ok, mask_cnp
from appliance.core.errors import DocumentRefused, ZipRefused
from appliance.core.roles import Kind
from appliance.core.sentence import Sentence
from appliance.core.signature import SignatureResult, Verdict, verify
from appliance.core.spv import CifResult, MessageType
from appliance.core.times import BUCHAREST
from appliance.core.ubl_model import DocumentType, Invoice, Party
from appliance.store import clients, documents, duplicates, manifest, messages, notices, pdfs
from appliance.store.documents import NewDocument, NewFile, NewLine, first_digest
from appliance.store.engine import transaction
from appliance.store.files import Archive
from appliance.store.messages import Message, MessageState
from appliance.store.notices import NewNotice

_SUMMARY_LENGTH = 120
_PDF = "application/pdf"
_XML = "application/xml"
# What an attachment may be served as; anything else is bytes to download.
_MIME = {
    "pdf": _PDF,
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
}


@dataclass(frozen=True)
class Filing:
    """What is to be written: the files by stored name, and the row that promises them."""

    new: NewDocument | NewNotice
    files: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class Quarantine:
    """The document names another of the firm's clients: nobody but administrators hears of it."""

    identifiers: tuple[str, ...]


def plan(
    message: Message,
    data: bytes,
    *,
    own: frozenset[str],
    others: frozenset[str],
    pinned: Mapping[str, PinnedCertificate],
) -> Filing | Quarantine:
    """Decide what the zip of a message becomes; never raises for what strangers wrote.

    `own` are the client's identifiers, `others` those of the firm's other
    clients. What cannot be read becomes a document "de verificat manual" with
    the sentence that says why, and keeps its zip. What the bytes are decides,
    whatever the list called the message: only a header of ANAF's is a notice,
    which both sides see; an invoice waits for the client's approval.
    """
    kind_of_message = spv.message_type(message.type)
    try:
        package = anaf_zip.read_zip(data)
    except ZipRefused as refused:
        return _unreadable(message, refused.sentence, data, None, _absent())
    if (notice := notice_of(message, data, package)) is not None:
        return notice
    verdict = verify(package.document, package.signature, pinned=pinned, at=_received(message))
    try:
        invoice = ubl.read(package.document)
    except DocumentRefused as refused:
        return _unreadable(message, refused.sentence, data, package, verdict)
    check = spv.check_cif(invoice, own, others)
    if check.result is CifResult.FOREIGN_CLIENT:
        return Quarantine(check.identifiers)
    warnings = [spv.CIF_WARNING] if check.result is CifResult.UNKNOWN else []
    kind = spv.kind_of(invoice, own, kind_of_message)
    return document_of(message, invoice, kind, warnings, data, package, verdict)


async def file(filing: Filing, message: Message, archive: Archive, at: datetime) -> None:
    """Write the folder, then the rows; the message is settled with them.

    A folder that an earlier attempt wrote is kept as it is. Raises `Busy` for
    a full disk and `ArchiveConflict` when other bytes lie there already.
    """
    new = filing.new
    month = new.archive_month or documents.archive_month(new.received_at)
    client = await clients.by_id(message.client_id)
    identifiers = await clients.identifiers(message.client_id)
    if isinstance(new, NewDocument):
        facts = manifest.of_document(new, client=client, identifiers=identifiers, message=message)
    else:
        facts = manifest.of_notice(new, client=client, identifiers=identifiers, message=message)
    await asyncio.to_thread(
        archive.write_document, message.client_uid, month, new.uid, filing.files, facts
    )
    # With the row comes the job of its PDF, so that neither is ever without the other.
    async with transaction():
        # Since the folder was begun an import may have brought the same.
        if await imported_before(new, message, at):
            return
        if isinstance(new, NewDocument):
            await documents.add(new, at=at)
            if new.type != "unreadable":
                await pdfs.ask(new.uid, new.received_at, at)
        else:
            await notices.add(new, at)


async def imported_before(new: NewDocument | NewNotice, message: Message, at: datetime) -> bool:
    """Settle the message with the document that an import brought, when it is the very same.

    The same means the invoice byte for byte, at this client, with evidence as good
    as this. Anything else is filed as well and shown as a duplicate. A document
    that came with another message is never touched. Again, also of two workers
    at once, it is the same answer.
    """
    digest = first_digest([(file.role, file.sha256) for file in new.files])
    if isinstance(new, NewDocument):
        there = await duplicates.same(
            message.client_id, digest, "", signature=new.signature_result, besides=message.uid
        )
    else:
        there = await duplicates.same_notice(message.client_id, digest, message.uid)
    if there is None or there.id is None:
        return False
    if isinstance(new, NewNotice):
        return await notices.link_message(there.id, message.uid, at)
    return there.source == "import" and await documents.link_message(there.id, message.uid, at)


async def quarantine(
    found: Quarantine, message: Message, data: bytes, archive: Archive, at: datetime
) -> None:
    """Keep the zip apart from every client and settle the message."""
    facts = {"v": manifest.VERSION, "uid": message.uid, "cif": message.cif,
             "named": list(found.identifiers)}  # fmt: skip
    await asyncio.to_thread(archive.quarantine, message.uid, data, facts)
    named = ", ".join(map(mask_cnp, found.identifiers))
    listed = mask_cnp(message.cif)
    problem = Sentence(
        f"Mesajul a fost listat pentru CIF {listed}, dar factura este a altui client "
        f"(CIF {named}). Verifică drepturile certificatului în SPV.",
        f"the message was listed for CIF {listed}, but the invoice is another client's "
        f"(CIF {named}); check the certificate's rights in SPV",
    )
    await messages.settle(message.uid, MessageState.QUARANTINED, problem, at)


# Notices


def notice_of(message: Message, data: bytes | None, package: Package) -> Filing | None:
    """Return the notice that the message is, or None when it is no header of ANAF's.

    `data` is the zip that it came in, if there was one.
    """
    try:
        namespace, root = spv.document_root(package.document)
    except DocumentRefused:
        namespace, root = "", ""
    if root != "header" or not namespace.startswith("mfp:"):
        return None
    try:
        errors = spv.read_error_document(package.document).errors
        return _notice(message, "anaf_error", "\n".join(errors), data, package)
    except DocumentRefused:
        pass
    try:
        said = spv.read_buyer_message(package.document)
        return _notice(message, "buyer_message", said.text, data, package, about=said.upload_id)
    except DocumentRefused:
        return _notice(message, "unknown", message.details, data, package)


_NOTICE_LABELS = {
    "anaf_error": "Eroare-ANAF",
    "buyer_message": "Mesaj-cumparator",
    "unknown": "Mesaj-ANAF",
}


def _notice(
    message: Message,
    kind: str,
    text: str,
    data: bytes | None,
    package: Package,
    *,
    about: str = "",
) -> Filing:
    """Return a notice; `about` is the upload id of the invoice that it speaks of."""
    received = _received(message)
    files = _Files()
    if data is not None:
        files.add("zip", "message.zip", "application/zip", data)
    files.add("original", "message.xml", _XML, package.document, shown_suffix=".xml")
    if package.signature is not None:
        files.add(
            "signature", "signature.xml", _XML, package.signature, shown_suffix="_semnatura.xml"
        )
    name = naming.notice_name(
        received.astimezone(BUCHAREST).date(), _NOTICE_LABELS[kind],
        message.upload_id or message.message_id,
    )  # fmt: skip
    new = NewNotice(
        uid=message.uid,
        client_id=message.client_id,
        message_uid=message.uid,
        type=kind,
        # One that says nothing is known by its type.
        text=text or message.type,
        received_at=received,
        folder_name=name,
        upload_id=about or message.upload_id,
        archive_month=documents.archive_month(message.listed_at),
        files=files.rows,
    )
    return Filing(new, files.bytes)


# Documents


def document_of(
    message: Message,
    invoice: Invoice,
    kind: Kind,
    warnings: list[str],
    data: bytes | None,
    package: Package,
    verdict: Verdict,
) -> Filing:
    """Return what an invoice that was read becomes; `data` is the zip it came in, if any."""
    partner = invoice.customer if kind is Kind.ISSUED else invoice.supplier
    currency = invoice.currency
    warnings += [oddity.code for oddity in invoice.oddities]
    if not all(map(_plausible, (invoice.supplier, invoice.customer))):
        warnings.append("check_digit")
    if package.others:
        warnings.append("zip_has_more")
    files = _original_files(data, package)
    taken: set[str] = set()
    for position, attachment in enumerate(invoice.attachments, start=1):
        if attachment.content is None:
            continue
        shown = naming.free_file_name(
            naming.attachment_name(attachment.filename or attachment.id, position), taken
        )
        taken.add(shown.casefold())
        extension = PurePath(shown).suffix.lower()
        files.add(
            "attachment",
            f"attachment-{position}{extension}",
            _MIME.get(extension[1:], "application/octet-stream"),
            attachment.content,
            shown_name=shown,
        )
    received = _received(message)
    new = replace(
        _bare(message, kind, verdict, files),
        type="credit_note" if invoice.type is DocumentType.CREDIT_NOTE else "invoice",
        folder_name=naming.standard_name(
            invoice.issue_date,
            partner.name,
            invoice.number,
            message.uid,
            received.astimezone(BUCHAREST).date(),
        ),
        number=invoice.number,
        issue_date=invoice.issue_date,
        due_date=invoice.due_date,
        tax_point_date=invoice.tax_point_date,
        supplier_name=invoice.supplier.name or None,
        supplier_cif=invoice.supplier.cif or None,
        customer_name=invoice.customer.name or None,
        customer_cif=invoice.customer.cif or None,
        partner_name=partner.name or None,
        partner_cif=partner.cif or None,
        currency=currency,
        payable_minor=_minor(invoice.payable_amount, currency),
        signed_minor=_minor(invoice.signed_payable, currency),
        ron_minor=_minor(invoice.ron_payable(), "RON"),
        tax_minor=_minor(invoice.tax_amount, currency),
        summary=_summary(invoice),
        warnings=tuple(dict.fromkeys(warnings)),
        lines=tuple(_line(line, currency) for line in invoice.lines),
    )
    return Filing(new, files.bytes)


def _unreadable(
    message: Message, problem: Sentence, data: bytes, package: Package | None, verdict: Verdict
) -> Filing:
    kinds = {MessageType.RECEIVED: Kind.RECEIVED, MessageType.ISSUED: Kind.ISSUED}
    kind = kinds.get(spv.message_type(message.type), Kind.OTHER)
    if package is None:
        files = _Files()
        files.add("zip", "message.zip", "application/zip", data, shown_suffix=".zip")
    else:
        files = _original_files(data, package)
    return Filing(replace(_bare(message, kind, verdict, files), problem=problem), files.bytes)


def _bare(message: Message, kind: Kind, verdict: Verdict, files: _Files) -> NewDocument:
    """What a document has whether or not its XML could be read."""
    received = _received(message)
    return NewDocument(
        uid=message.uid,
        client_id=message.client_id,
        kind=kind,
        source="spv",
        type="unreadable",
        received_at=received,
        folder_name=naming.standard_name(
            None, "", "", message.uid, received.astimezone(BUCHAREST).date()
        ),
        signature_result=verdict.result.value,
        signature_reason=verdict.reason,
        signature_fingerprint=verdict.fingerprint,
        message_uid=message.uid,
        archive_month=documents.archive_month(message.listed_at),
        files=files.rows,
    )


class _Files:
    """Collects the bytes and, with the same names, the rows."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes] = {}
        self._rows: list[NewFile] = []

    @property
    def rows(self) -> tuple[NewFile, ...]:
        return tuple(self._rows)

    def add(
        self,
        role: str,
        stored_name: str,
        mime: str,
        data: bytes,
        *,
        shown_name: str | None = None,
        shown_suffix: str | None = None,
    ) -> None:
        self.bytes[stored_name] = data
        self._rows.append(
            NewFile(
                role=role,
                stored_name=stored_name,
                mime=mime,
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                shown_name=shown_name,
                shown_suffix=shown_suffix,
            )
        )


def _original_files(data: bytes | None, package: Package) -> _Files:
    files = _Files()
    if data is not None:
        files.add("zip", "message.zip", "application/zip", data)
    files.add("invoice", "invoice.xml", _XML, package.document, shown_suffix=".xml")
    if package.signature is not None:
        files.add(
            "signature", "signature.xml", _XML, package.signature, shown_suffix="_semnatura.xml"
        )
    return files


def _received(message: Message) -> datetime:
    """The moment SPV had the message; when its text cannot be read, when we saw it listed."""
    return message.created_at or message.listed_at


def _absent() -> Verdict:
    return Verdict(SignatureResult.ABSENT, "no_signature")


def _plausible(party: Party) -> bool:
    """Whether the party's CIF can be right; digits of another country have rules of their own."""
    return party.address.country not in ("", "RO") or check_digit_ok(party.cif)


def _summary(invoice: Invoice) -> str | None:
    name = next((line.name for line in invoice.lines if line.name), "")
    return name[:_SUMMARY_LENGTH] or None


def _line(line: ubl_model.Line, currency: str) -> NewLine:
    return NewLine(
        line_id=line.id or None,
        name=line.name or None,
        description=line.description or None,
        seller_item_id=line.seller_item_id or None,
        standard_item_id=line.standard_item_id.value if line.standard_item_id else None,
        classification=tuple(
            {"scheme": code.list_id, "code": code.code} for code in line.classifications
        ),
        quantity=_text(line.quantity),
        unit=line.unit or None,
        price=_text(line.price),
        net_minor=_minor(line.net_amount, currency),
        vat_category=line.vat_category or None,
        vat_rate=_text(line.vat_rate),
    )


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def _minor(amount: Decimal | None, currency: str) -> int | None:
    # A number has 14 digits before the point at most (core.ubl_tree), so this fits a BIGINT.
    return None if amount is None else money.to_minor(amount, currency)

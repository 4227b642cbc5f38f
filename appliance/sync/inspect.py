"""`arhivar inspect`: what we understand of a file, without keeping anything of it.

A file is a UBL document, alone or with `semnatura_<name>.xml` beside it, or a
zip as ANAF gives it. Nothing here touches the archive or the database.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from appliance.core import anaf_zip, certificates, codelists, money, naming, signature, spv, ubl
from appliance.core.certificates import PinnedCertificate
from appliance.core.errors import ArhivarError, BadInput, DocumentRefused
from appliance.core.sentence import Sentence
from appliance.core.signature import SignatureResult, Verdict
from appliance.core.times import BUCHAREST
from appliance.core.ubl import AllowanceCharge, Invoice, Party

MAX_FILE_BYTES = 64 * 1024 * 1024
_LINES_SHOWN = 20


class Inspected(dict[str, object]):
    """The JSON object of one file, and beside it what a person is shown of the same file."""

    file: Path
    invoice: Invoice | None = None
    verdict: Verdict | None = None


def inspect(
    paths: Sequence[Path],
    language: str = "en",
    pinned: Mapping[str, PinnedCertificate] = certificates.PINNED,
) -> Iterator[Inspected]:
    """Yield one object a file, in order: the keys of `arhivar inspect --json`.

    A file that cannot be read, or is refused, yields `{"file", "error"}` with
    a sentence; no file stops the next one. Amounts, quantities and rates are
    texts with the digits of the XML; what is absent is null or empty.
    """
    for path in paths:
        try:
            result = _inspect(path, pinned)
        except ArhivarError as error:
            result = Inspected(file=_shown(path), error=error.sentence.in_language(language))
        except OSError as error:
            result = Inspected(file=_shown(path), error=_unreadable(error).in_language(language))
        result.file = path
        yield result


def _inspect(path: Path, pinned: Mapping[str, PinnedCertificate]) -> Inspected:
    data, received = _bytes_of(path)
    verdict: Verdict | None = None
    if data.startswith(b"PK"):
        package = anaf_zip.read_zip(data)
        document = package.document
        verdict = _verdict(document, package.signature, pinned)
    else:
        document = data
        beside = path.with_name(f"semnatura_{path.name}")
        if beside.is_file():
            verdict = _verdict(document, _bytes_of(beside)[0], pinned)
    try:
        invoice = ubl.read(document)
    except DocumentRefused as refused:
        raise _rejection(document) or refused from None
    # A file has no uid of ours; the hash of the document gives the same name each time.
    uid = hashlib.sha256(document).hexdigest()
    result = Inspected(
        type=str(invoice.type),
        customization_id=invoice.customization_id,
        number=invoice.number,
        issue_date=invoice.issue_date.isoformat() if invoice.issue_date else None,
        due_date=invoice.due_date.isoformat() if invoice.due_date else None,
        currency=invoice.currency,
        tax_currency=invoice.tax_currency,
        supplier={**_party(invoice.supplier), "iban": list(invoice.ibans)},
        customer=_party(invoice.customer),
        tax_exclusive_amount=_plain(invoice.tax_exclusive_amount),
        tax_inclusive_amount=_plain(invoice.tax_inclusive_amount),
        payable_amount=_plain(invoice.payable_amount),
        vat_subtotals=[
            {
                "category": subtotal.category,
                "rate": _plain(subtotal.rate),
                "taxable_amount": _plain(subtotal.taxable_amount),
                "tax_amount": _plain(subtotal.tax_amount),
            }
            for subtotal in invoice.vat_subtotals
        ],
        lines=[
            {
                "id": line.id,
                "name": line.name,
                "quantity": _plain(line.quantity),
                "unit": line.unit,
                "net_amount": _plain(line.net_amount),
                "vat_category": line.vat_category,
                "vat_rate": _plain(line.vat_rate),
            }
            for line in invoice.lines
        ],
        attachments=[
            {
                "filename": attachment.filename,
                "mime": attachment.mime,
                "size": None if attachment.content is None else len(attachment.content),
            }
            for attachment in invoice.attachments
        ],
        preceding_invoices=[preceding.number for preceding in invoice.preceding_invoices],
        signature=verdict and {"result": str(verdict.result), "reason": verdict.reason},
        standard_name=naming.standard_name(
            invoice.issue_date, invoice.supplier.name, invoice.number, uid, received.date()
        ),
    )
    result.invoice, result.verdict = invoice, verdict
    return result


def _bytes_of(path: Path) -> tuple[bytes, datetime]:
    """Return the content of a regular file and when it came, in Romania's time."""
    if path.is_dir():
        raise BadInput(
            Sentence(
                "Este un dosar. Dă fișierele din el.", "this is a folder; name the files inside it"
            )
        )
    try:
        status = path.stat()
    except ValueError:  # a NUL in the name
        raise FileNotFoundError from None
    if not path.is_file():
        raise BadInput(Sentence("Nu este un fișier obișnuit.", "this is not a regular file"))
    if status.st_size > MAX_FILE_BYTES:
        raise BadInput(
            Sentence(
                f"Fișierul are {status.st_size} de octeți, mai mult decât orice factură. "
                "Verifică dacă este fișierul corect.",
                f"the file has {status.st_size} bytes, more than any invoice; "
                "check that it is the right file",
            )
        )
    received = datetime.fromtimestamp(status.st_mtime, UTC).astimezone(BUCHAREST)
    return path.read_bytes(), received


def _verdict(
    document: bytes, signed: bytes | None, pinned: Mapping[str, PinnedCertificate]
) -> Verdict:
    # Without the message there is no moment at which the certificate had to be valid.
    return signature.verify(document, signed, pinned=pinned, at=None)


def _rejection(document: bytes) -> DocumentRefused | None:
    """Return what ANAF says when the document is its rejection of an invoice."""
    try:
        rejected = spv.read_error_document(document)
    except DocumentRefused:
        return None
    reasons = "; ".join(" ".join(error.split()) for error in rejected.errors)[:500]
    return DocumentRefused(
        Sentence(
            f"Nu este o factură: ANAF a respins factura cu numărul de încărcare "
            f"{rejected.upload_id}: {reasons}",
            f"this is no invoice: ANAF rejected the one with upload number "
            f"{rejected.upload_id}: {reasons}",
        )
    )


def _unreadable(error: OSError) -> Sentence:
    match error:
        case FileNotFoundError():
            return Sentence(
                "Fișierul nu există. Verifică numele.", "there is no such file; check the name"
            )
        case PermissionError():
            return Sentence(
                "Fișierul nu poate fi citit: lipsește dreptul. Schimbă drepturile fișierului.",
                "the file may not be read; change its permissions",
            )
    reason = error.strerror or type(error).__name__
    return Sentence(
        f"Fișierul nu poate fi citit ({reason}).", f"the file cannot be read ({reason})"
    )


def _shown(path: Path) -> str:
    # A name that is no UTF-8 on disk could not be printed as it is.
    return os.fsencode(path).decode("utf-8", "replace")


def _party(party: Party) -> dict[str, Any]:
    return {"name": party.name, "cif": party.cif, "vat_identifier": party.vat_identifier}


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def print_human(
    result: dict[str, object], console: Console | None = None, language: str = "ro"
) -> None:
    """Print one object of `inspect()` as a person reads an invoice; amounts in their language."""
    console = console or Console()
    invoice = getattr(result, "invoice", None)
    if invoice is None:
        console.print(
            Text.assemble(("✗ ", "bold red"), (str(result.get("file")), "bold")), soft_wrap=True
        )
        console.print(_text(f"  {result.get('error')}"), soft_wrap=True)
        console.print()
        return
    page = _Page(invoice, language)
    parts: list[Any] = [page.parties(), page.lines(), page.totals()]
    parts += page.remarks(getattr(result, "verdict", None))
    file = getattr(result, "file", None)
    console.print(
        Panel(
            Group(*parts),
            title=page.title(),
            title_align="left",
            subtitle=Text(str(result["standard_name"]), "dim"),
            subtitle_align="right",
            box=box.ROUNDED,
            padding=(1, 2),
        )
    )
    if file is not None:
        console.print(Text(f"  {_shown(file)}", "dim"), soft_wrap=True)
    console.print()


class _Page:
    """One invoice in one language."""

    def __init__(self, invoice: Invoice, language: str) -> None:
        self._invoice = invoice
        self._language = language

    def _say(self, ro: str, en: str) -> str:
        return ro if self._language == "ro" else en

    def _number(self, value: Decimal | None) -> str:
        return "" if value is None else money.format_decimal(value, self._language)

    def title(self) -> Text:
        invoice = self._invoice
        kind = (
            self._say("Factură", "Invoice")
            if invoice.type is ubl.DocumentType.INVOICE
            else self._say("Notă de credit", "Credit note")
        )
        title = _text(f"{kind} {invoice.number}", "bold")
        if invoice.issue_date:
            title.append(f"  {invoice.issue_date:%d.%m.%Y}", "not bold")
        if invoice.due_date:
            title.append(
                f"  {self._say('scadentă', 'due')} {invoice.due_date:%d.%m.%Y}", "not bold"
            )
        return title

    def parties(self) -> Table:
        invoice = self._invoice
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        sides = (
            (self._say("de la", "from"), invoice.supplier),
            (self._say("către", "to"), invoice.customer),
        )
        for label, party in sides:
            shown = _text(party.name or "–", "bold")
            if party.vat_identifier or party.cif:
                shown.append_text(_text(f"  {party.vat_identifier or party.cif}", "not bold"))
            table.add_row(label, shown)
        for iban in invoice.ibans:
            table.add_row("IBAN", _text(iban))
        for preceding in invoice.preceding_invoices:
            table.add_row(self._say("corectează", "corrects"), _text(preceding.number))
        for attachment in invoice.attachments:
            name = attachment.filename or attachment.description or attachment.id
            size = f" ({len(attachment.content)} B)" if attachment.content else ""
            table.add_row(self._say("anexă", "attached"), _text(f"{name}{size}"))
        return table

    def lines(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), expand=True)
        table.add_column("#", style="dim", no_wrap=True)
        table.add_column(self._say("denumire", "item"), ratio=1)
        table.add_column(self._say("cantitate", "quantity"), justify="right")
        table.add_column(self._say("valoare", "net"), justify="right", no_wrap=True)
        table.add_column(self._say("TVA", "VAT"), justify="right", no_wrap=True)
        invoice = self._invoice
        for line in invoice.lines[:_LINES_SHOWN]:
            unit = codelists.unit(line.unit, line.quantity, self._language) if line.unit else ""
            table.add_row(
                _text(line.id),
                _text(line.name or line.description),
                _text(f"{self._number(line.quantity)} {unit}".strip()),
                Text(self._number(line.net_amount)),
                _text(self._rate(line.vat_category, line.vat_rate)),
            )
        more = len(invoice.lines) - _LINES_SHOWN
        if more > 0:
            table.add_row("", Text(self._say(f"… și încă {more}", f"… and {more} more"), "dim"))
        return table

    def totals(self) -> Table:
        invoice = self._invoice
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(justify="right", ratio=1, style="dim")
        table.add_column(justify="right", no_wrap=True)
        for item in invoice.allowances_charges:
            amount = item.amount
            if amount is not None and not item.is_charge:
                amount = amount.copy_negate()
            table.add_row(_text(self._adjustment(item)), self._number(amount))
        for subtotal in invoice.vat_subtotals:
            rate = self._rate(subtotal.category, subtotal.rate)
            base = self._number(subtotal.taxable_amount)
            table.add_row(
                _text(self._say(f"TVA {rate} din {base}", f"VAT {rate} of {base}")),
                self._number(subtotal.tax_amount),
            )
        for label, amount in (
            (self._say("total fără TVA", "total without VAT"), invoice.tax_exclusive_amount),
            (self._say("total cu TVA", "total with VAT"), invoice.tax_inclusive_amount),
            (self._say("plătit deja", "already paid"), invoice.prepaid_amount),
        ):
            if amount is not None:
                table.add_row(label, self._number(amount))
        table.add_row(
            Text(self._say("de plată", "to pay"), "bold not dim"),
            _text(f"{self._number(invoice.payable_amount)} {invoice.currency}".strip(), "bold"),
        )
        return table

    def remarks(self, verdict: Verdict | None) -> list[Text]:
        remarks = [
            Text.assemble(("! ", "bold yellow"), _text(oddity.sentence.in_language(self._language)))
            for oddity in self._invoice.oddities
        ]
        if verdict is not None:
            mark, style = _MARKS[verdict.result]
            remarks.append(
                Text.assemble(
                    (f"{mark} ", f"bold {style}"), verdict.sentence.in_language(self._language)
                )
            )
        return [Text(), *remarks] if remarks else []

    def _rate(self, category: str, rate: Decimal | None) -> str:
        if rate is None:
            return category
        shown = self._number(rate.normalize() if rate else Decimal(0))
        return f"{shown}%" if category == "S" else f"{category} {shown}%"

    def _adjustment(self, item: AllowanceCharge) -> str:
        kind = self._say("taxă", "charge") if item.is_charge else self._say("reducere", "discount")
        return f"{kind}: {item.reason}" if item.reason else kind


def _text(text: str, style: str = "") -> Text:
    """Return text that the terminal shows and does not obey, neither markup nor control codes."""
    shown = "".join(c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf"))
    return Text(shown, style)


_MARKS = {
    SignatureResult.VALID: ("✓", "green"),
    SignatureResult.VALID_UNKNOWN_CERTIFICATE: ("?", "yellow"),
    SignatureResult.INVALID: ("✗", "red"),
    SignatureResult.ABSENT: ("–", "yellow"),
}

"""An invoice as a PDF/A-3 with its original XML inside.

The page is laid out by WeasyPrint from one template; the shared parts (fonts,
style sheets, template) are prepared once per process. A render reads nothing
but its arguments and the package: no address in a document is ever fetched,
and the same arguments give the same bytes.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from appliance.core import anaf_zip, presentation, signature, ubl
from appliance.core.certificates import PINNED, PinnedCertificate
from appliance.core.errors import BadInput
from appliance.core.presentation import Field, LineRow, Presented
from appliance.core.sentence import Sentence
from appliance.core.signature import SignatureResult, Verdict
from appliance.core.ubl_model import Invoice
from appliance.sync.pdf import typeface

LARGEST_INPUT = 64 * 1024 * 1024

# Millimetres, as invoice.css has them.
_PAGE_WIDTH = 178

# Pango and fontconfig promise nothing about one font map in two threads.
_one_at_a_time = threading.Lock()


def render_invoice(
    invoice: Invoice,
    *,
    xml: bytes,
    upload_id: str | None = None,
    message_id: str | None = None,
    verdict: Verdict | None = None,
    language: str = "ro",
) -> bytes:
    """Return the PDF/A-3b of an invoice, `xml` attached byte for byte.

    Everything that `presentation` shows is on the page, the SPV ids and the
    signature's result at the foot of each. A second call with the same
    arguments returns the same bytes, so a re-render changes nothing.
    """
    press = _press()
    presented = presentation.present(invoice, language)
    widths = _widths(presented)
    markup = press.template.render(
        p=presented,
        created=invoice.issue_date.isoformat() if invoice.issue_date else "",
        running=_running(presented),
        tall=_tall(presented),
        footer=_footer(presented, upload_id, message_id, verdict),
        identification=_identification(presented, upload_id, message_id),
        sentence=_capital(verdict.sentence.in_language(presented.language)) if verdict else "",
        widths={name: f"{value:.2f}" for name, value in widths.items()},
        vat_alone=_vat_alone(presented, widths),
    )
    with _one_at_a_time:
        document = press.weasyprint.HTML(string=typeface.showable(markup), url_fetcher=press.refuse)
        return bytes(
            document.write_pdf(
                stylesheets=press.stylesheets[presented.language],
                font_config=press.font_config,
                pdf_variant="pdf/a-3b",
                attachments=[press.attachment(invoice, xml, presented.label("xml_original"))],
                finisher=_finish,
            )
        )


def render_sheet(markup: str, css: str, language: str = "ro") -> bytes:
    """Return the PDF/A of a page of ours in the invoice's look, with some rules of its own."""
    press = _press()
    own = press.weasyprint.CSS(string=css, font_config=press.font_config, url_fetcher=press.refuse)
    with _one_at_a_time:
        document = press.weasyprint.HTML(string=typeface.showable(markup), url_fetcher=press.refuse)
        return bytes(
            document.write_pdf(
                stylesheets=[*press.stylesheets[language], own],
                font_config=press.font_config,
                pdf_variant="pdf/a-3b",
            )
        )


def render_file(
    source: Path,
    target: Path,
    language: str = "ro",
    pinned: Mapping[str, PinnedCertificate] = PINNED,
) -> None:
    """Render a UBL document or an ANAF zip to `target`, which is whole or untouched.

    A zip tells the upload index by its file name and brings the signature,
    which is verified against `pinned`. Raises `BadInput` (also
    as `DocumentRefused` and `ZipRefused`) when there is nothing to render or
    the target cannot be written.
    """
    data = _read(source)
    upload_id: str | None = None
    verdict: Verdict | None = None
    if data.startswith(b"PK"):
        package = anaf_zip.read_zip(data)
        data = package.document
        stem = Path(package.document_name).stem
        upload_id = stem if stem.isdecimal() else None
        verdict = signature.verify(data, package.signature, pinned=pinned, at=None)
    invoice = ubl.read(data)
    pdf = render_invoice(invoice, xml=data, upload_id=upload_id, verdict=verdict, language=language)
    _write(target, pdf)


@dataclass(frozen=True)
class _Press:
    """What every render shares; made once per process, because it costs as much as five pages."""

    weasyprint: Any
    refuse: Any
    font_config: Any
    stylesheets: dict[str, list[Any]]
    template: Template

    def attachment(self, invoice: Invoice, xml: bytes, description: str) -> Any:
        day = datetime.combine(invoice.issue_date, time(), UTC) if invoice.issue_date else _NO_DATE
        return self.weasyprint.Attachment(
            file_obj=io.BytesIO(xml),
            name=attachment_name(invoice.number),
            description=description,
            created=day,
            modified=day,
            relationship="Source",
            url_fetcher=self.refuse,
        )


_NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def _press() -> _Press:
    # Importing WeasyPrint costs half a second, which the other commands need not pay.
    with _without_host_fonts():
        import weasyprint
        from weasyprint.text.fonts import FontConfiguration

        font_config = FontConfiguration()

    class PackageFonts(weasyprint.URLFetcher):  # type: ignore[misc]
        """Gives the style sheet its fonts, and nothing else to anybody."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            if url.startswith("font:"):
                return weasyprint.urls.URLFetcherResponse(url, typeface.read(url[5:]))
            raise ValueError(f"nothing is fetched: {url}")

    class Refusal(weasyprint.URLFetcher):  # type: ignore[misc]
        """Refuses every address, files of this machine included."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            raise ValueError(f"nothing is fetched: {url}")

    for name in typeface.NAMES:
        typeface.read(name)
    css = files(__package__).joinpath("invoice.css").read_text(encoding="utf-8")
    stylesheets = {
        language: [
            weasyprint.CSS(
                string=css + _page_numbers(language),
                font_config=font_config,
                url_fetcher=PackageFonts(),
            )
        ]
        for language in ("ro", "en")
    }
    environment = Environment(
        loader=PackageLoader("appliance.sync.pdf", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    template = environment.get_template("invoice.html.jinja")
    return _Press(weasyprint, Refusal(), font_config, stylesheets, template)


def _page_numbers(language: str) -> str:
    page, of = (presentation.LABELS[key].in_language(language) for key in ("page", "of_pages"))
    return (
        f'@page {{ @bottom-right {{ content: "{page} " counter(page) " {of} " counter(pages) }} }}'
    )


@contextmanager
def _without_host_fonts() -> Iterator[None]:
    """Let fontconfig start with no font of this machine; the environment is put back afterwards."""
    before = os.environ.get("FONTCONFIG_FILE")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as empty, warnings.catch_warnings():
        empty.write(
            '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">'
            "<fontconfig><cachedir>/nonexistent</cachedir></fontconfig>"
        )
        empty.flush()
        warnings.filterwarnings("ignore", message="No fonts configured")
        os.environ["FONTCONFIG_FILE"] = empty.name
        try:
            yield
        finally:
            if before is None:
                del os.environ["FONTCONFIG_FILE"]
            else:
                os.environ["FONTCONFIG_FILE"] = before


def attachment_name(number: str) -> str:
    """Return `<number>.xml` with whatever a file system may dislike as an underscore."""
    kept = re.sub(r"[^\w.-]+", "_", number).strip("._-")[:60]
    return f"{kept or 'factura'}.xml"


def _finish(_document: Any, pdf: Any) -> None:
    """Mend what WeasyPrint 70 leaves: /AF lists every attachment twice, /EF lacks /UF."""
    catalog = pdf.catalog
    if "AF" in catalog:
        unique = dict.fromkeys(catalog["AF"])
        catalog["AF"].clear()
        catalog["AF"].extend(unique)
    for entry in pdf.objects:
        if isinstance(entry, dict) and entry.get("Type") == "/Filespec":
            entry["EF"]["UF"] = entry["EF"]["F"]


def _footer(
    presented: Presented, upload_id: str | None, message_id: str | None, verdict: Verdict | None
) -> str:
    parts = [f"{f.label} {f.value}" for f in _identification(presented, upload_id, message_id)]
    if verdict is not None:
        result = _RESULTS[verdict.result].in_language(presented.language)
        parts.append(f"{presented.label('signature')}: {result}")
    return f"SPV · {' · '.join(parts)}" if parts else ""


def _running(presented: Presented) -> str:
    """The head of the later pages, two lines at most; the whole names are on the first page."""
    text = f"{presented.title} {presented.number} · {presented.supplier.name}"
    return text if len(text) <= 180 else f"{text[:179]}…"


def _tall(presented: Presented) -> frozenset[int]:
    """The lines so long that a page may end within them; the others stay in one piece."""

    def height(line: LineRow) -> int:
        facts = " · ".join(f"{fact.label}: {fact.value}" for fact in line.facts)
        texts = (line.name, line.description, line.note, facts)
        return sum(1 + len(part) // 60 for text in texts if text for part in text.split("\n"))

    return frozenset(i for i, line in enumerate(presented.lines) if height(line) > 14)


def _identification(
    presented: Presented, upload_id: str | None, message_id: str | None
) -> tuple[Field, ...]:
    pairs = (("upload_id", upload_id), ("message_id", message_id))
    return tuple(Field(presented.label(key), value) for key, value in pairs if value)


_RESULTS = {
    SignatureResult.VALID: Sentence("valabilă", "valid"),
    SignatureResult.VALID_UNKNOWN_CERTIFICATE: Sentence(
        "corectă, certificat necunoscut", "correct, certificate unknown"
    ),
    SignatureResult.INVALID: Sentence("NEVALABILĂ", "NOT VALID"),
    SignatureResult.ABSENT: Sentence("lipsește", "absent"),
}


def _capital(sentence: str) -> str:
    text = sentence[:1].upper() + sentence[1:]
    return text if text.endswith(".") else f"{text}."


def _widths(presented: Presented) -> dict[str, float]:
    """The columns of numbers, as wide as their widest entry: a number must never wrap.

    The texts beside them take what is left. Lower bounds keep the usual
    invoice's columns in place; upper bounds keep room for the names.
    """
    lines, vat = presented.lines, presented.vat
    adjustments, totals = presented.adjustments, presented.totals
    label = presented.label
    currency = f"{label('net')}, {presented.currency}"
    total = max(
        _column((total.value for total in totals), "", 0, 60),
        typeface.width(presented.payable, 14, bold=True),
    )
    widths = {
        "number": max(_column((line.number for line in lines), "", 4, 14) + 3, 7),
        "quantity": _column((line.quantity for line in lines), label("quantity"), 16, 36),
        "price": _column((line.price for line in lines), label("price"), 16, 36),
        "vat": _column((_unbroken(line.vat) for line in lines), label("vat"), 9, 24),
        "net": _column((line.net for line in lines), currency, 18, 44),
        "base": _column((row.base for row in adjustments), label("base"), 18, 44),
        "percent": _column((row.percent for row in adjustments), label("percent"), 9, 24),
        "adjustment_vat": _column((_unbroken(row.vat) for row in adjustments), label("vat"), 9, 24),
        "adjustment": _column((row.amount for row in adjustments), label("amount"), 18, 44),
        "taxable": _column((row.taxable for row in vat), label("taxable"), 18, 44),
        "tax": _column((row.tax for row in vat), label("vat"), 16, 44),
        "total": total + 1,
        "totals": max(72.0, total + 36),
    }
    size = 21 if typeface.width(presented.payable, 21, bold=True) < 100 else 13
    widths["payable_size"] = size
    widths["payable"] = max(40.0, typeface.width(presented.payable, size, bold=True) + 1)
    return widths


def _vat_alone(presented: Presented, widths: dict[str, float]) -> bool:
    """Whether the VAT table is too long or too wide to stand beside the totals."""
    room = _PAGE_WIDTH - 10 - widths["totals"] - widths["taxable"] - widths["tax"] - 6
    return len(presented.vat) > 5 or room < 26


def _column(texts: Iterable[str], heading: str, least: float, most: float) -> float:
    widest = max((typeface.width(text, 8.5) for text in texts), default=0.0)
    return min(max(widest + 0.4, typeface.width(heading, 7.5) + 0.4, least), most)


def _unbroken(words: str) -> str:
    """What must stay on one line where words may wrap: all of it when that is short enough."""
    if typeface.width(words, 8.5) <= 21:
        return words
    return max(words.split(" "), key=len)


def _read(source: Path) -> bytes:
    try:
        with source.open("rb") as file:
            data = file.read(LARGEST_INPUT + 1)
    except OSError as error:
        raise BadInput(
            Sentence(
                f"Fișierul {source} nu poate fi citit ({error.strerror}). Verifică numele.",
                f"the file {source} cannot be read ({error.strerror}); check its name",
            )
        ) from None
    if len(data) > LARGEST_INPUT:
        raise BadInput(
            Sentence(
                f"Fișierul {source} este prea mare pentru o factură (peste 64 MB).",
                f"the file {source} is too large for an invoice (over 64 MB)",
            )
        )
    return data


def _write(target: Path, content: bytes) -> None:
    try:
        descriptor, name = tempfile.mkstemp(prefix=".tmp-", dir=target.absolute().parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(
            Sentence(
                f"Fișierul {target} nu poate fi scris ({error.strerror}). Alege alt loc.",
                f"the file {target} cannot be written ({error.strerror}); choose another place",
            )
        ) from None

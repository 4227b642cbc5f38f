"""The PDF: whole, safe, the same every time, and in our own type."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import Decimal, InvalidOperation
from html import unescape
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing import get_context
from pathlib import Path

import pikepdf
import pytest
import weasyprint
from lxml import etree

from appliance.core import codelists, presentation, ubl
from appliance.core.errors import BadInput, DocumentRefused, ZipRefused
from appliance.core.signature import SignatureResult, Verdict
from appliance.core.ubl_model import (
    Address,
    Attachment,
    Contact,
    DocumentType,
    Identifier,
    Invoice,
    Line,
    Party,
    PaymentMeans,
    VatSubtotal,
)
from appliance.sync.pdf import typeface
from appliance.sync.pdf.render import attachment_name, render_file, render_invoice

NBSP = "\N{NO-BREAK SPACE}"
XML = b"<?xml version='1.0'?><Invoice>\r\n  original bytes, kept\r\n</Invoice>"
VALID = Verdict(SignatureResult.VALID, "")

SMALL_UBL = """<?xml version="1.0" encoding="UTF-8"?>
<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
  xmlns:cac="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"
  xmlns:cbc="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2">
  <cbc:ID>PRB/77</cbc:ID><cbc:IssueDate>2026-11-24</cbc:IssueDate>
  <cbc:InvoiceTypeCode>380</cbc:InvoiceTypeCode>
  <cbc:DocumentCurrencyCode>RON</cbc:DocumentCurrencyCode>
  <cac:AccountingSupplierParty><cac:Party><cac:PartyLegalEntity>
    <cbc:RegistrationName>Șantier Ținut SRL</cbc:RegistrationName>
  </cac:PartyLegalEntity></cac:Party></cac:AccountingSupplierParty>
  <cac:AccountingCustomerParty><cac:Party><cac:PartyLegalEntity>
    <cbc:RegistrationName>Alfa Construct SRL</cbc:RegistrationName>
  </cac:PartyLegalEntity></cac:Party></cac:AccountingCustomerParty>
  <cac:LegalMonetaryTotal>
    <cbc:PayableAmount currencyID="RON">1210.50</cbc:PayableAmount>
  </cac:LegalMonetaryTotal>
</Invoice>
""".encode()


def line(number: int, **changes: object) -> Line:
    made = Line(
        id=str(number),
        name=f"Articolul {number}",
        quantity=Decimal(number),
        unit="H87",
        price=Decimal("10.50"),
        net_amount=Decimal("10.50") * number,
        vat_category="S",
        vat_rate=Decimal(21),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def invoice(lines: int | tuple[Line, ...] = 1, **changes: object) -> Invoice:
    if isinstance(lines, int):
        lines = tuple(line(number) for number in range(1, lines + 1))
    made = Invoice(
        type=DocumentType.INVOICE,
        number="EFI/12 03",
        issue_date=date(2026, 11, 24),
        currency="RON",
        payable_amount=Decimal("1234567890.5"),
        supplier=Party(
            name="Șantier Ținut SRL",
            legal_name="Șantier Ținut SRL",
            vat_identifier="RO24387371",
            address=Address("Str. Învățătorului nr. 5", city="Iași", country="RO"),
        ),
        customer=Party(name="Alfa SRL", legal_name="Alfa SRL"),
        type_code="380",
        lines=lines,
        vat_subtotals=(VatSubtotal("S", Decimal(21), Decimal("1000"), Decimal("210")),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def pages(pdf: bytes, *options: str) -> list[str]:
    """The text of each page, as poppler reads it back."""
    command = ["pdftotext", *options, "-", "-"]
    text = subprocess.run(command, input=pdf, capture_output=True, check=True).stdout.decode()
    return text.split("\f")[:-1]


def text_of(pdf: bytes) -> str:
    return "\n".join(pages(pdf, "-raw"))


def fonts_of(pdf: bytes) -> set[str]:
    names = set()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        for entry in document.objects:
            if isinstance(entry, pikepdf.Dictionary) and entry.get("/Type") == "/Font":
                names.add(str(entry["/BaseFont"]))
    return names


def test_the_page_says_what_the_invoice_says_in_romanian() -> None:
    text = text_of(
        render_invoice(invoice(), xml=XML, upload_id="5004", message_id="3003", verdict=VALID)
    )

    for expected in (
        "Factură",
        "EFI/12 03",
        "24.11.2026",
        f"1.234.567.890,50{NBSP}lei",
        "Șantier Ținut SRL",
        "Str. Învățătorului nr. 5",
        f"1{NBSP}buc",
        "Pagina 1 din 1",
    ):
        assert expected.replace(NBSP, " ") in text.replace(NBSP, " ")


def test_the_foot_of_every_page_names_the_message_and_the_signature() -> None:
    pdf = render_invoice(
        invoice(120), xml=XML, upload_id="5004552043", message_id="3003894211", verdict=VALID
    )
    every = pages(pdf)

    assert len(every) > 3
    for number, page in enumerate(every, 1):
        assert "Index de încărcare 5004552043" in page
        assert "Id mesaj 3003894211" in page
        assert "Semnătura MF: valabilă" in page
        assert f"Pagina {number} din {len(every)}" in page


@pytest.mark.parametrize("result", SignatureResult)
def test_each_result_of_the_signature_is_said_in_a_sentence(result: SignatureResult) -> None:
    for language in ("ro", "en"):
        verdict = Verdict(result, "")
        text = text_of(render_invoice(invoice(), xml=XML, verdict=verdict, language=language))

        said = re.sub(r"\s+", " ", text).lower()
        assert verdict.sentence.in_language(language).lower().rstrip(".") in said


def test_the_head_of_the_table_is_repeated_on_every_page_with_lines() -> None:
    every = pages(render_invoice(invoice(200), xml=XML))

    with_lines = [page for page in every if "Articolul" in page]
    assert len(with_lines) > 4
    assert all("Denumire" in page and "Cantitate" in page for page in with_lines)
    shown = "\n".join(every)
    assert all(f"Articolul {number}" in shown for number in range(1, 201))


@pytest.mark.parametrize("lines", range(14, 34))
def test_a_table_head_never_stands_alone_at_the_end_of_a_page(lines: int) -> None:
    for page in pages(render_invoice(invoice(lines), xml=XML)):
        assert ("Denumire" in page) == ("Articolul" in page)
        assert ("Detalierea TVA" in page) == ("Taxabil" in page)


def test_the_totals_stay_together() -> None:
    totals = {
        "line_extension_amount": Decimal("100.01"),
        "tax_exclusive_amount": Decimal("100.02"),
        "tax_amount": Decimal("100.03"),
        "tax_inclusive_amount": Decimal("100.04"),
    }
    for lines in range(15, 32):
        every = pages(render_invoice(invoice(lines, **totals), xml=XML))

        holding = [{f"100,0{n}" in page for n in (1, 2, 3, 4)} for page in every]
        assert sorted(map(sorted, holding))[-1] == [True]
        assert all(len(one) == 1 for one in holding)


def test_a_number_never_wraps_however_long_it_is() -> None:
    enormous = Decimal("123456789012.34")
    long_name = "Servicii de consultanță pentru implementarea sistemului informatic integrat"
    pdf = render_invoice(
        invoice(
            currency="EUR",
            payable_amount=enormous,
            lines=(
                line(
                    1,
                    name=long_name,
                    quantity=Decimal("12345678.125"),
                    price=Decimal("0.00012345"),
                    net_amount=enormous,
                ),
            ),
            vat_subtotals=(VatSubtotal("S", Decimal(21), enormous, enormous),),
            tax_inclusive_amount=enormous,
        ),
        xml=XML,
    )

    words = text_of(pdf).replace(NBSP, " ").split()
    assert words.count("123.456.789.012,34") == 6
    assert "12.345.678,125" in words
    assert "0,00012345" in words


def test_a_description_longer_than_a_page_is_shown_whole() -> None:
    description = " ".join(f"cuvânt{number}" for number in range(3000))
    pdf = render_invoice(invoice(lines=(line(1, description=description), line(2))), xml=XML)

    shown = set(text_of(pdf).split())
    assert {f"cuvânt{number}" for number in range(3000)} <= shown
    assert all("Denumire" in page for page in pages(pdf) if "cuvânt" in page)


def test_it_is_a_pdf_a_3b_with_the_original_attached_once() -> None:
    pdf = render_invoice(invoice(), xml=XML)

    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert document.check_pdf_syntax() == []
        with document.open_metadata() as metadata:
            assert metadata.pdfa_status == "3B"
        assert str(document.Root.OutputIntents[0].S) == "/GTS_PDFA1"
        assert document.trailer.ID is not None
        assert list(document.attachments) == ["EFI_12_03.xml"]
        attached = document.attachments["EFI_12_03.xml"]
        assert attached.get_file().read_bytes() == XML
        assert len(document.Root.AF) == 1
        filespec = document.Root.AF[0]
        assert filespec.objgen == attached.obj.objgen
        assert str(filespec.AFRelationship) == "/Source"
        assert filespec.EF.UF.objgen == filespec.EF.F.objgen
        assert str(filespec.EF.F.Subtype) in ("/text/xml", "/application/xml")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("EFI-1203", "EFI-1203.xml"),
        ("../../etc/passwd", "etc_passwd.xml"),
        ("", "factura.xml"),
        ("///", "factura.xml"),
        ("A" * 200, "A" * 60 + ".xml"),
    ],
)
def test_the_attachment_is_named_after_the_invoice_and_safely(number: str, name: str) -> None:
    assert attachment_name(number) == name


def test_only_our_typeface_is_embedded_whatever_the_sender_writes() -> None:
    odd = "Ünïcödé Ελληνικά Кириллица 北京 عربى עברית 🧾 ﷽ \u0219\u0163 s\u0326"
    pdf = render_invoice(invoice(notes=(odd,), lines=(line(1, name=odd),)), xml=XML)

    fonts = fonts_of(pdf)
    assert fonts
    assert all("Plex" in name for name in fonts), fonts
    text = text_of(pdf)
    assert "Ελληνικά Кириллица" in text
    # A script that the typeface lacks is spelled in ASCII; an empty box would hide it.
    assert "BeiJing" in text


def test_a_fullwidth_bracket_does_not_become_markup() -> None:
    shown = typeface.showable("\uff1cscript\uff1e \u202e1,00\u202c")

    assert unescape(shown) == "<script> 1,00"
    assert "<" not in shown


def test_the_same_invoice_gives_the_same_bytes_in_any_process() -> None:
    first = render_invoice(invoice(3), xml=XML, upload_id="1", verdict=VALID)
    render_invoice(invoice(7, number="other"), xml=XML)
    again = render_invoice(invoice(3), xml=XML, upload_id="1", verdict=VALID)
    script = (
        "import hashlib; from tests.sync import test_pdf as t;"
        "print(hashlib.sha256(t.render_invoice(t.invoice(3), xml=t.XML, upload_id='1',"
        " verdict=t.VALID)).hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "1234", "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

    assert first == again
    assert hashlib.sha256(first).hexdigest() == elsewhere


class Canary:
    """A little server on loopback that counts who comes, and a file nobody may read."""

    def __init__(self, secret: Path) -> None:
        self.visits: list[str] = []
        secret.write_text("body { content: 'CANARY-FILE-CONTENT' }")
        self.secret = secret.as_uri()
        visits = self.visits

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                visits.append(self.path)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def references(self) -> list[str]:
        return [
            f'"><img src="{self.url}/img">',
            f"<link rel=stylesheet href='{self.url}/css'>",
            f'<link rel=attachment href="{self.secret}">',
            f"<style>@import url({self.url}/import); body{{display:none}}</style>",
            f"<style>@font-face{{font-family:Plex;src:url({self.url}/font)}}</style>",
            f'<a rel=attachment href="{self.secret}">x</a>',
            f"</td></tr></table><object data='{self.url}/object'></object>",
            f'<svg><image href="{self.url}/svg"/></svg>',
            f"<div style=\"background:url('{self.url}/background')\">",
            f'<base href="{self.url}/"><img src=base>',
            f"<embed src='{self.secret}'><iframe src='{self.url}/frame'></iframe>",
            f"}} @page {{ background: url({self.url}/page) }} h1 {{ content: url({self.url}/h1)",
            "{{ 7 * 7 }}{% for x in y %}",
            "--><script>alert(1)</script><!--",
        ]


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    made = Canary(tmp_path / "secret.css")
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_hostile_document_fetches_nothing_and_is_shown_as_text(canary: Canary) -> None:
    references = canary.references()
    evil = " ".join(references)
    hostile = invoice(
        number=references[0],
        supplier=Party(
            name=evil,
            legal_name=evil,
            legal_id=Identifier(evil, evil),
            contact=Contact(evil, evil, evil),
        ),
        notes=tuple(references),
        payment_terms=evil,
        lines=(line(1, name=evil, description=evil, unit=evil),),
        payment_means=(PaymentMeans(code=evil, iban=evil),),
        attachments=(Attachment(id="1", filename=evil, uri=canary.secret),),
        extras=(ubl_extra(evil),),
    )

    pdf = render_invoice(hostile, xml=XML, upload_id=evil, message_id=evil)

    assert canary.visits == []
    with pikepdf.open(io.BytesIO(pdf)) as document:
        assert len(document.attachments) == 1
        for entry in document.objects:
            if isinstance(entry, pikepdf.Stream):
                assert b"CANARY-FILE-CONTENT" not in entry.read_bytes()
    shown = squeezed(text_of(pdf))
    for reference in references:
        assert squeezed(reference) in shown


def test_the_canary_sings_for_a_renderer_without_our_refusal(canary: Canary) -> None:
    weasyprint.HTML(string=f"<p>{' '.join(canary.references()[:2])}").write_pdf()

    assert len(canary.visits) >= 1


def ubl_extra(value: str) -> ubl.Extra:
    return ubl.Extra(value, value)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def test_no_leaf_of_a_real_document_is_missing_from_its_pdf(corpus: Path) -> None:
    paths = list(filter(Path.is_file, sorted(corpus.rglob("*.xml"))))
    with ProcessPoolExecutor(2, get_context("spawn")) as both_cores:
        walked, missing = zip(*both_cores.map(missing_leaves, paths, chunksize=4), strict=True)

    assert sum(walked) > 20_000
    assert [each for one in missing for each in one] == []


def missing_leaves(path: Path) -> tuple[int, list[tuple[str, str, str]]]:
    """Return how many leaves the document has and those that its PDF does not show."""
    data = path.read_bytes()
    try:
        read = ubl.read(data)
    except DocumentRefused:
        return 0, []
    text = body_text(render_invoice(read, xml=data))
    found = list(leaves(etree.fromstring(data)))
    missing = [
        (path.name, where, accepted[0])
        for where, accepted in found
        if not any(squeezed(one) in text for one in accepted)
    ]
    return len(found), missing


def body_text(pdf: bytes) -> str:
    """The text between head and foot of the pages, without white space or repeated table heads."""
    crop = ("-raw", "-x", "0", "-y", "46", "-W", "596", "-H", "742")
    text = squeezed("".join(pages(pdf, *crop)))
    return re.sub(r"Nr\.DenumireCantitatePrețunitarTVAValoare(,\w{3})?", "", text)


# Markers of the structure, not something the sender says.
STRUCTURAL = {"TaxScheme/ID", "Invoice/UBLVersionID", "CreditNote/UBLVersionID"}
SIGNATURE = "http://www.w3.org/2000/09/xmldsig#"
CODED = {
    "PaymentMeansCode": codelists.PAYMENT_MEANS,
    "DescriptionCode": codelists.TAX_POINT_CODES,
    "TaxCategory/ID": codelists.VAT_CATEGORIES,
    "ClassifiedTaxCategory/ID": codelists.VAT_CATEGORIES,
}


def leaves(root: etree._Element) -> Iterator[tuple[str, list[str]]]:
    """Every text of the document with the forms in which it may be shown."""
    for element in root.iter(etree.Element):
        name = etree.QName(element).localname
        if etree.QName(element).namespace == SIGNATURE:
            continue
        parent = element.getparent()
        where = name if parent is None else f"{etree.QName(parent).localname}/{name}"
        text = (element.text or "").strip()
        if len(element) or not text or where in STRUCTURAL:
            continue
        if name == "EmbeddedDocumentBinaryObject":
            yield where, [element.get("filename", ""), element.get("mimeCode", "")]
            continue
        yield where, forms(where, name, text)
        if unit := element.get("unitCode"):
            words = [codelists.unit(unit, Decimal(q), "ro") for q in (1, 2)]
            yield f"{where}/@unitCode", words


def forms(where: str, name: str, text: str) -> list[str]:
    accepted = [text]
    for key, table in CODED.items():
        if where.endswith(key):
            accepted.append(codelists.words(table, text, "ro"))
    if name == "AllowanceChargeReasonCode":
        accepted += [
            codelists.words(table, text, "ro")
            for table in (codelists.ALLOWANCE_REASONS, codelists.CHARGE_REASONS)
        ]
    if name == "IdentificationCode":
        accepted.append(codelists.country(text, "ro"))
    if name == "CountrySubentity":
        accepted.append(codelists.subdivision(text, "ro"))
    if name == "CityName":
        accepted.append(codelists.city(text, "RO"))
    if name == "DocumentTypeCode" and text == "130":
        accepted.append("Obiect facturat")
    if name == "ChargeIndicator":
        accepted.append("Cost suplimentar" if text in ("true", "1") else "Reducere")
    if re.fullmatch(r"\d{4}-\d\d-\d\d.*", text):
        accepted.append(presentation.format_date(date.fromisoformat(text[:10]), "ro"))
    if re.fullmatch(r"[+-]?[\d.]+", text):
        try:
            number = Decimal(text)
        except InvalidOperation:
            return accepted
        accepted.append(presentation.format_number(number, "ro"))
        accepted.append(presentation.format_money(number, "RON", "ro"))
        accepted.append(presentation.format_number(-number, "ro"))
        accepted.append(presentation.format_money(-number, "RON", "ro"))
    return accepted


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.xml", content)
    return buffer.getvalue()


def test_render_takes_a_document_and_an_anaf_zip(tmp_path: Path) -> None:
    document, package = tmp_path / "a.xml", tmp_path / "a.zip"
    document.write_bytes(SMALL_UBL)
    package.write_bytes(zipped(**{"5004552043": SMALL_UBL}))

    render_file(document, tmp_path / "a.pdf")
    render_file(package, tmp_path / "b.pdf")

    assert "1.210,50 lei" in text_of((tmp_path / "a.pdf").read_bytes()).replace(NBSP, " ")
    from_zip = text_of((tmp_path / "b.pdf").read_bytes())
    assert "Index de încărcare 5004552043" in from_zip
    assert "Semnătura MF: lipsește" in from_zip
    with pikepdf.open(tmp_path / "b.pdf") as pdf:
        assert pdf.attachments["PRB_77.xml"].get_file().read_bytes() == SMALL_UBL


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"PK\x03\x04 broken", ZipRefused), (b"<html/>", DocumentRefused), (b"", DocumentRefused)],
)
def test_what_cannot_be_rendered_is_refused_and_leaves_the_target_alone(
    tmp_path: Path, content: bytes, error: type[Exception]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out.pdf"
    source.write_bytes(content)
    target.write_bytes(b"what was there")

    with pytest.raises(error):
        render_file(source, target)

    assert target.read_bytes() == b"what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.pdf"]


def test_a_file_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        render_file(tmp_path / "absent.xml", tmp_path / "out.pdf")


def test_a_place_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    source = tmp_path / "a.xml"
    source.write_bytes(SMALL_UBL)

    with pytest.raises(BadInput, match="cannot be written"):
        render_file(source, tmp_path / "absent" / "out.pdf")


@pytest.mark.full
def test_a_long_lived_renderer_does_not_grow() -> None:
    def resident() -> int:
        status = Path("/proc/self/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1])

    def render(count: int) -> None:
        for number in range(count):
            render_invoice(invoice(number % 30 + 1, number=f"N-{number}"), xml=XML)

    render(60)
    before = resident()
    render(150)

    assert resident() - before < 8_000  # kB

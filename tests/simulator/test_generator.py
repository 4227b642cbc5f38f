"""The invented invoices are right to the last ban, varied, and the same each time."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pikepdf
import pytest
from lxml import etree
from PIL import Image
from stdnum import iban as stdnum_iban
from stdnum.ro import cui as stdnum_cui

from appliance.core import ubl
from appliance.core.spv import read_buyer_message, read_error_document
from appliance.simulator.attachments import pdf, png
from appliance.simulator.catalogue import CUSTOMERS, SELLER_WITHOUT_SOFTWARE, SUPPLIERS
from appliance.simulator.companies import CLIENTS
from appliance.simulator.generator import Planned, one_more, plan
from appliance.simulator.invoice import CIUS_RO

ANCHOR = datetime(2026, 11, 24, 10, tzinfo=UTC)
COMPANIES = (
    *(client.company for client in CLIENTS),
    *(supplier.company for supplier in SUPPLIERS),
    *CUSTOMERS,
    SELLER_WITHOUT_SOFTWARE,
)
NS = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}


def document(entry: Planned) -> bytes:
    return entry.write("6471400001", "6471400000")


@pytest.fixture(scope="module")
def entries() -> list[Planned]:
    return plan(7, 200, ANCHOR)


@pytest.fixture(scope="module")
def invoices(entries: list[Planned]) -> list[tuple[Planned, bytes]]:
    return [(entry, document(entry)) for entry in entries if entry.tip.startswith("FACTURA")]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def everything(seed: int) -> list[bytes]:
        return [document(entry) for entry in plan(seed, 60, ANCHOR)]

    assert everything(1) == everything(1)
    assert everything(1) != everything(2)


@pytest.mark.parametrize("company", COMPANIES, ids=lambda company: company.name)
def test_identifiers_have_right_check_digits(company) -> None:  # type: ignore[no-untyped-def]
    assert stdnum_cui.is_valid(company.cif)
    assert stdnum_iban.is_valid(company.iban)


def test_no_two_companies_share_an_identifier() -> None:
    assert len({company.cif for company in COMPANIES}) == len(COMPANIES)


def test_everything_lies_in_the_58_days_before_the_anchor_oldest_first(
    entries: list[Planned],
) -> None:
    moments = [entry.created for entry in entries]
    assert moments == sorted(moments)
    assert moments[0] >= ANCHOR - timedelta(days=58)
    assert moments[-1] <= ANCHOR - timedelta(minutes=4)


def test_the_sums_are_those_of_en_16931(invoices: list[tuple[Planned, bytes]]) -> None:
    """Worked out again from the written file alone, with XPath and decimals."""
    for entry, data in invoices:
        root = etree.fromstring(data)

        def number(path: str, at: etree._Element = root) -> Decimal:
            found = at.xpath(path, namespaces=NS)
            return Decimal(found[0].text) if found else Decimal(0)

        def cents(value: Decimal) -> Decimal:
            return value.quantize(Decimal("0.01"), ROUND_HALF_UP)

        lines = root.xpath("cac:InvoiceLine|cac:CreditNoteLine", namespaces=NS)
        by_rate: Counter[tuple[str, str]] = Counter()
        for line in lines:
            quantity = number("cbc:InvoicedQuantity|cbc:CreditedQuantity", line)
            base = number("cac:Price/cbc:BaseQuantity", line) or Decimal(1)
            gross = cents(quantity * number("cac:Price/cbc:PriceAmount", line) / base)
            net = number("cbc:LineExtensionAmount", line)
            assert net == gross - number("cac:AllowanceCharge/cbc:Amount", line), entry
            category = line.xpath("string(.//cac:ClassifiedTaxCategory/cbc:ID)", namespaces=NS)
            rate = line.xpath("string(.//cac:ClassifiedTaxCategory/cbc:Percent)", namespaces=NS)
            by_rate[category, rate] += net  # type: ignore[assignment]
        for part in root.xpath("cac:AllowanceCharge", namespaces=NS):
            sign = 1 if part.xpath("string(cbc:ChargeIndicator)", namespaces=NS) == "true" else -1
            category = part.xpath("string(cac:TaxCategory/cbc:ID)", namespaces=NS)
            rate = part.xpath("string(cac:TaxCategory/cbc:Percent)", namespaces=NS)
            by_rate[category, rate] += sign * number("cbc:Amount", part)  # type: ignore[assignment]
        vat = Decimal(0)
        subtotals = root.xpath("cac:TaxTotal/cac:TaxSubtotal", namespaces=NS)
        assert len(subtotals) == len(by_rate)
        for part in subtotals:
            category = part.xpath("string(cac:TaxCategory/cbc:ID)", namespaces=NS)
            rate = part.xpath("string(cac:TaxCategory/cbc:Percent)", namespaces=NS)
            taxable = number("cbc:TaxableAmount", part)
            assert taxable == by_rate[category, rate]
            tax = number("cbc:TaxAmount", part)
            assert tax == cents(taxable * Decimal(rate or 0) / 100)
            vat += tax
        total = "cac:LegalMonetaryTotal/cbc:"
        exclusive = sum(by_rate.values(), Decimal(0))
        assert number(f"{total}TaxExclusiveAmount") == exclusive
        assert number("cac:TaxTotal[1]/cbc:TaxAmount") == vat
        assert number(f"{total}TaxInclusiveAmount") == exclusive + vat
        assert number(f"{total}PayableAmount") == exclusive + vat - number(f"{total}PrepaidAmount")


def test_our_reader_takes_every_one_as_cius_ro(invoices: list[tuple[Planned, bytes]]) -> None:
    for entry, data in invoices:
        invoice = ubl.read(data)
        assert invoice.customization_id == CIUS_RO
        sides = invoice.supplier.all_identifiers() | invoice.customer.all_identifiers()
        assert entry.cif in sides
        assert any(c.isdigit() for c in invoice.number)  # BR-RO-010
        for line in invoice.lines:
            assert len(line.name or "") <= 100  # BR-RO-L: BT-153
            assert len(line.description or "") <= 200
        assert all(len(note) <= 300 for note in invoice.notes)


def test_the_variety_that_a_demo_needs_is_there(invoices: list[tuple[Planned, bytes]]) -> None:
    read = [(entry, data, ubl.read(data)) for entry, data in invoices]
    categories = {(part.category, part.rate) for _, _, i in read for part in i.vat_subtotals}
    assert {"S", "AE", "E", "O", "Z", "K"} == {category for category, _ in categories}
    assert {21, 19, 11, 0} <= {rate for _, rate in categories if rate is not None}
    lengths = {len(i.lines) for _, _, i in read}
    assert {1, 200} <= lengths
    assert {"380", "381", "389"} <= {i.type_code for _, _, i in read}
    assert {"RON", "EUR"} == {i.currency for _, _, i in read}
    assert all(i.tax_amount_accounting is not None for _, _, i in read if i.currency == "EUR")
    assert any(i.payable_amount < 0 for _, _, i in read)
    assert any(i.prepaid_amount for _, _, i in read)
    assert any(i.allowances_charges for _, _, i in read)
    assert len({means.code for _, _, i in read for means in i.payment_means}) >= 4
    assert {"application/pdf", "image/png"} == {a.mime for _, _, i in read for a in i.attachments}
    assert any("ț" in i.supplier.name and "ș" in data.decode() for _, data, i in read)
    assert any(data.startswith(b"\xef\xbb\xbf") and b"\r\n" in data for _, data, _ in read)
    assert any(entry.self_billed for entry, _, _ in read)
    assert {entry.tip for entry, _, _ in read} == {"FACTURA PRIMITA", "FACTURA TRIMISA"}
    assert {entry.cif for entry, _, _ in read} == {client.company.cif for client in CLIENTS}


def test_romanian_letters_have_commas_and_never_cedillas(
    invoices: list[tuple[Planned, bytes]],
) -> None:
    assert not any(c in data.decode() for _, data in invoices for c in "şţŞŢ")


def test_a_supplier_returns_month_after_month(invoices: list[tuple[Planned, bytes]]) -> None:
    months: dict[tuple[str, str], set[int]] = {}
    for entry, _ in invoices:
        months.setdefault((entry.issuer, entry.cif), set()).add(entry.created.month)
    assert sum(len(seen) > 1 for seen in months.values()) > 20


def test_a_credit_note_refers_to_an_invoice_that_came_before(
    invoices: list[tuple[Planned, bytes]],
) -> None:
    seen: dict[str, set[str]] = {}
    found = 0
    for entry, data in invoices:
        invoice = ubl.read(data)
        if invoice.type_code == "381":
            (preceding,) = invoice.preceding_invoices
            found += preceding.number in seen.get(entry.issuer, set())
            assert preceding.issue_date is not None
            assert invoice.issue_date is not None
            assert preceding.issue_date <= invoice.issue_date
        seen.setdefault(entry.issuer, set()).add(invoice.number)
    assert found >= 1


def test_numbers_of_one_seller_are_never_given_twice(
    invoices: list[tuple[Planned, bytes]],
) -> None:
    numbers = Counter(
        (entry.issuer, entry.upload, ubl.read(data).number) for entry, data in invoices
    )
    assert len({(issuer, number) for issuer, _, number in numbers}) == len(numbers)


def test_clients_trade_with_each_other_in_two_messages_of_one_upload(
    entries: list[Planned],
) -> None:
    uploads: dict[int, list[Planned]] = {}
    for entry in entries:
        uploads.setdefault(entry.upload, []).append(entry)
    pairs = [group for group in uploads.values() if len(group) == 2]
    assert pairs
    for first, second in pairs:
        assert first.cif != second.cif
        assert {first.tip, second.tip} == {"FACTURA PRIMITA", "FACTURA TRIMISA"}
        assert document(first) == document(second)


def test_errors_and_a_buyers_message_can_be_read(entries: list[Planned]) -> None:
    errors = [entry for entry in entries if entry.tip == "ERORI FACTURA"]
    answers = [entry for entry in entries if entry.tip.startswith("MESAJ CUMPARATOR")]
    assert errors
    assert answers
    for entry in errors:
        assert read_error_document(document(entry)).upload_id == "6471400001"
    for entry in answers:
        assert entry.about is not None
        assert read_buyer_message(document(entry)).upload_id == "6471400000"


SCHEMA_ORDER = (
    "CustomizationID ProfileID ID IssueDate DueDate InvoiceTypeCode Note TaxPointDate "
    "DocumentCurrencyCode TaxCurrencyCode BuyerReference InvoicePeriod OrderReference "
    "BillingReference DespatchDocumentReference ContractDocumentReference "
    "AdditionalDocumentReference ProjectReference AccountingSupplierParty AccountingCustomerParty "
    "PayeeParty Delivery PaymentMeans PaymentTerms AllowanceCharge TaxTotal LegalMonetaryTotal "
    "InvoiceLine"
)
ORDER = SCHEMA_ORDER.split()
CREDIT_ORDER = [name.replace("InvoiceLine", "CreditNoteLine") for name in ORDER]
CREDIT_ORDER.remove("InvoiceTypeCode")
CREDIT_ORDER.remove("TaxPointDate")
CREDIT_ORDER[4:4] = ["TaxPointDate", "CreditNoteTypeCode"]


def test_elements_stand_in_the_order_of_the_ubl_schema(
    invoices: list[tuple[Planned, bytes]],
) -> None:
    for _, data in invoices:
        root = etree.fromstring(data)
        names = [etree.QName(child).localname for child in root]
        order = ORDER if etree.QName(root).localname == "Invoice" else CREDIT_ORDER
        assert names == sorted(names, key=order.index)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_a_small_number_of_invoices_is_a_small_world(count: int) -> None:
    entries = plan(3, count, ANCHOR)
    assert len({e.upload for e in entries if e.tip.startswith("FACTURA")}) == count
    assert all(document(entry) for entry in entries)


def test_one_more_arrives_now() -> None:
    for client in range(len(CLIENTS)):
        for received in (True, False):
            (entry, *_) = one_more(1, 17, client, received, ANCHOR)
            invoice = ubl.read(document(entry))
            assert entry.created == ANCHOR
            own = invoice.customer if received else invoice.supplier
            assert CLIENTS[client].company.cif in own.all_identifiers()


def test_the_attachments_open() -> None:
    with pikepdf.open(io.BytesIO(pdf("Aviz (1) \\ ș", ["x"]))) as opened:
        assert len(opened.pages) == 1
    with Image.open(io.BytesIO(png(0x336699))) as picture:
        picture.load()
        assert picture.size == (96, 64)

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from appliance.core import ubl
from appliance.core.errors import DocumentRefused
from appliance.core.ubl import DocumentType, Extra, Invoice

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "ubl"

# Where each business term of EN 16931 lands. The vectors say each term by its number: a text is
# "BT-27", an amount 92.00, a date the n-th day after New Year 2026.
TERMS = {
    "1": "number",
    "2": "issue_date",
    "3": "type_code",
    "7": "tax_point_date",
    "8": "tax_point_code",
    "9": "due_date",
    "10": "buyer_reference",
    "11": "project_reference",
    "12": "contract_reference",
    "13": "order_reference",
    "14": "sales_order_reference",
    "15": "receiving_reference",
    "16": "despatch_reference",
    "17": "originator_reference",
    "18": "invoiced_object.value",
    "18-1": "invoiced_object.scheme",
    "19": "accounting_cost",
    "20": "payment_terms",
    "23": "profile_id",
    "24": "customization_id",
    "25": "preceding_invoices.0.number",
    "26": "preceding_invoices.0.issue_date",
    "27": "supplier.legal_name",
    "28": "supplier.trading_name",
    "29": "supplier.identifiers.0.value",
    "29-1": "supplier.identifiers.0.scheme",
    "30": "supplier.legal_id.value",
    "30-1": "supplier.legal_id.scheme",
    "31": "supplier.vat_identifier",
    "32": "supplier.tax_registration",
    "33": "supplier.legal_form",
    "34": "supplier.endpoint.value",
    "34-1": "supplier.endpoint.scheme",
    "35": "supplier.address.street",
    "36": "supplier.address.additional_street",
    "37": "supplier.address.city",
    "38": "supplier.address.postal_code",
    "39": "supplier.address.subdivision",
    "40": "supplier.address.country",
    "41": "supplier.contact.name",
    "42": "supplier.contact.telephone",
    "43": "supplier.contact.email",
    "44": "customer.legal_name",
    "45": "customer.trading_name",
    "46": "customer.identifiers.0.value",
    "46-1": "customer.identifiers.0.scheme",
    "47": "customer.legal_id.value",
    "47-1": "customer.legal_id.scheme",
    "48": "customer.vat_identifier",
    "49": "customer.endpoint.value",
    "49-1": "customer.endpoint.scheme",
    "50": "customer.address.street",
    "51": "customer.address.additional_street",
    "52": "customer.address.city",
    "53": "customer.address.postal_code",
    "54": "customer.address.subdivision",
    "55": "customer.address.country",
    "56": "customer.contact.name",
    "57": "customer.contact.telephone",
    "58": "customer.contact.email",
    "59": "payee.name",
    "60": "payee.identifiers.0.value",
    "60-1": "payee.identifiers.0.scheme",
    "61": "payee.legal_id.value",
    "61-1": "payee.legal_id.scheme",
    "62": "tax_representative.name",
    "63": "tax_representative.vat_identifier",
    "64": "tax_representative.address.street",
    "65": "tax_representative.address.additional_street",
    "66": "tax_representative.address.city",
    "67": "tax_representative.address.postal_code",
    "68": "tax_representative.address.subdivision",
    "69": "tax_representative.address.country",
    "70": "delivery.party_name",
    "71": "delivery.location_id.value",
    "71-1": "delivery.location_id.scheme",
    "72": "delivery.date",
    "73": "period_start",
    "74": "period_end",
    "75": "delivery.address.street",
    "76": "delivery.address.additional_street",
    "77": "delivery.address.city",
    "78": "delivery.address.postal_code",
    "79": "delivery.address.subdivision",
    "80": "delivery.address.country",
    "81": "payment_means.0.code",
    "82": "payment_means.0.name",
    "83": "payment_means.0.payment_id",
    "84": "payment_means.0.iban",
    "85": "payment_means.0.account_name",
    "86": "payment_means.0.bic",
    "87": "payment_means.0.card_number",
    "88": "payment_means.0.card_holder",
    "89": "payment_means.0.mandate",
    "90": "supplier.creditor_id",
    "91": "payment_means.0.debited_account",
    "92": "allowances_charges.0.amount",
    "93": "allowances_charges.0.base_amount",
    "94": "allowances_charges.0.percent",
    "95": "allowances_charges.0.vat_category",
    "96": "allowances_charges.0.vat_rate",
    "97": "allowances_charges.0.reason",
    "98": "allowances_charges.0.reason_code",
    "99": "allowances_charges.1.amount",
    "100": "allowances_charges.1.base_amount",
    "101": "allowances_charges.1.percent",
    "102": "allowances_charges.1.vat_category",
    "103": "allowances_charges.1.vat_rate",
    "104": "allowances_charges.1.reason",
    "105": "allowances_charges.1.reason_code",
    "106": "line_extension_amount",
    "107": "allowance_total",
    "108": "charge_total",
    "109": "tax_exclusive_amount",
    "110": "tax_amount",
    "111": "tax_amount_accounting",
    "112": "tax_inclusive_amount",
    "113": "prepaid_amount",
    "114": "rounding_amount",
    "115": "payable_amount",
    "116": "vat_subtotals.0.taxable_amount",
    "117": "vat_subtotals.0.tax_amount",
    "118": "vat_subtotals.0.category",
    "119": "vat_subtotals.0.rate",
    "120": "vat_subtotals.0.exemption_reason",
    "121": "vat_subtotals.0.exemption_code",
    "122": "attachments.0.id",
    "123": "attachments.0.description",
    "124": "attachments.0.uri",
    "126": "lines.0.id",
    "127": "lines.0.note",
    "128": "lines.0.object_id.value",
    "128-1": "lines.0.object_id.scheme",
    "129": "lines.0.quantity",
    "130": "lines.0.unit",
    "131": "lines.0.net_amount",
    "132": "lines.0.order_line",
    "133": "lines.0.accounting_cost",
    "134": "lines.0.period_start",
    "135": "lines.0.period_end",
    "136": "lines.0.allowances_charges.0.amount",
    "137": "lines.0.allowances_charges.0.base_amount",
    "138": "lines.0.allowances_charges.0.percent",
    "139": "lines.0.allowances_charges.0.reason",
    "140": "lines.0.allowances_charges.0.reason_code",
    "141": "lines.0.allowances_charges.1.amount",
    "142": "lines.0.allowances_charges.1.base_amount",
    "143": "lines.0.allowances_charges.1.percent",
    "144": "lines.0.allowances_charges.1.reason",
    "145": "lines.0.allowances_charges.1.reason_code",
    "146": "lines.0.price",
    "147": "lines.0.price_discount",
    "148": "lines.0.gross_price",
    "149": "lines.0.base_quantity",
    "150": "lines.0.base_unit",
    "151": "lines.0.vat_category",
    "152": "lines.0.vat_rate",
    "153": "lines.0.name",
    "154": "lines.0.description",
    "155": "lines.0.seller_item_id",
    "156": "lines.0.buyer_item_id",
    "157": "lines.0.standard_item_id.value",
    "157-1": "lines.0.standard_item_id.scheme",
    "158": "lines.0.classifications.0.code",
    "158-1": "lines.0.classifications.0.list_id",
    "158-2": "lines.0.classifications.0.list_version",
    "159": "lines.0.origin_country",
    "160": "lines.0.properties.0.name",
    "161": "lines.0.properties.0.value",
    "162": "supplier.address.line",
    "163": "customer.address.line",
    "164": "tax_representative.address.line",
    "165": "delivery.address.line",
}
BOTH = ["every-term-invoice.xml", "every-term-credit-note.xml"]


def vector(name: str) -> Invoice:
    return ubl.read((VECTORS / name).read_bytes())


def value_at(invoice: Invoice, path: str) -> Any:
    def step(value: Any, name: str) -> Any:
        return value[int(name)] if name.isdigit() else getattr(value, name)

    return reduce(step, path.split("."), invoice)


def expected(term: str, found: object) -> object:
    if isinstance(found, date):
        return date(2026, 1, 1) + timedelta(days=int(term))
    if isinstance(found, Decimal):
        return Decimal(term)
    return f"BT-{term}"


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("term", TERMS)
def test_each_business_term_lands_in_its_field(name: str, term: str) -> None:
    found = value_at(vector(name), TERMS[term])

    assert found == expected(term, found)


@pytest.mark.parametrize("name", BOTH)
def test_currencies_notes_and_the_attachment_are_read(name: str) -> None:
    invoice = vector(name)

    assert (invoice.currency, invoice.tax_currency) == ("EUR", "RON")  # BT-5, BT-6
    assert invoice.notes == ("#BT-21#BT-22",)
    attachment = invoice.attachments[0]
    assert (attachment.content, attachment.mime) == (b"BT-125", "application/pdf")
    assert attachment.filename == "BT-125-2.pdf"


def test_no_business_term_is_missing_from_the_table() -> None:
    # BT-4 does not exist; the others are the test above.
    elsewhere = {4, 5, 6, 21, 22, 125}
    named = {int(term) for term in TERMS if "-" not in term}

    assert named | elsewhere == set(range(1, 166))


@pytest.mark.parametrize("name", BOTH)
def test_what_no_field_took_is_kept_beside(name: str) -> None:
    assert vector(name).extras == (Extra("cac:PaymentMeans/cac:CardAccount/cbc:NetworkID", "VISA"),)


def test_the_root_tells_an_invoice_from_a_credit_note() -> None:
    assert [vector(name).type for name in BOTH] == [DocumentType.INVOICE, DocumentType.CREDIT_NOTE]


def test_prefixes_blanks_zones_and_the_habits_of_senders_are_tolerated() -> None:
    invoice = vector("prefixed.xml")

    assert invoice.number == "FCT 17"
    assert (invoice.issue_date, invoice.due_date) == (date(2026, 11, 3), date(2026, 12, 3))
    assert invoice.supplier.name == "Țiglă & Șindrilă S.R.L."
    assert invoice.supplier.cif == "12345674"
    assert str(invoice.payable_amount) == "121.0000"
    assert invoice.notes == ("Întreținere și curățenie",)
    assert (invoice.extras, invoice.oddities) == ((), ())


def test_thirteen_zeros_identify_nobody() -> None:
    customer = vector("prefixed.xml").customer

    assert customer.cif == ""
    assert customer.all_identifiers() == frozenset()


def test_every_identifier_of_a_party_is_compared_in_its_normal_form() -> None:
    assert vector("prefixed.xml").supplier.all_identifiers() == {"12345674", "J123452019"}


def test_what_cannot_be_read_is_left_out_named_and_kept() -> None:
    invoice = vector("oddities.xml")

    assert (invoice.number, invoice.issue_date, invoice.due_date) == ("", None, None)
    assert invoice.tax_exclusive_amount is None
    assert invoice.attachments[0].content is None
    assert sorted({oddity.code for oddity in invoice.oddities}) == [
        "attachment_unreadable",
        "currency_mismatch",
        "date_unreadable",
        "number_missing",
        "number_unreadable",
        "several_tax_totals",
    ]
    kept = {extra.path: extra.value for extra in invoice.extras}
    assert kept["cbc:IssueDate"] == "03.11.2026"
    assert kept["cac:LegalMonetaryTotal/cbc:TaxExclusiveAmount"] == "1.234,56"
    assert kept["cac:InvoiceLine[2]/cac:Item/cbc:BrandName"] == "Fagul"
    assert kept["cac:InvoiceLine[2]/{urn:own}Lot"] == "L7"
    assert kept["ext:UBLExtensions"] == "xmldsig"
    assert kept["cbc:UBLVersionID"] == "1.0"


def test_vat_written_as_one_total_for_each_rate_gives_every_rate() -> None:
    subtotals = vector("oddities.xml").vat_subtotals

    assert [(s.category, s.rate) for s in subtotals] == [("S", Decimal(21)), ("S", Decimal(11))]


def test_a_person_is_named_when_no_company_is() -> None:
    assert vector("oddities.xml").supplier.name == "Ion Dinu"


def test_a_credit_note_counts_against_the_buyers_debt() -> None:
    assert vector("every-term-credit-note.xml").signed_payable == Decimal("-115.00")
    assert vector("every-term-invoice.xml").signed_payable == Decimal("115.00")


def test_the_value_in_lei_follows_the_rate_that_the_vat_totals_give() -> None:
    invoice = vector("every-term-invoice.xml")  # 110.00 EUR of VAT are 111.00 lei

    assert invoice.ron_payable() == Decimal("116.05")


def test_a_rate_of_no_world_gives_no_value_in_lei() -> None:
    data = (VECTORS / "every-term-invoice.xml").read_bytes().replace(b">110.00<", b">0.0000001<")
    data = data.replace(b">111.00<", b">99999999999999.00<")

    assert ubl.read(data).ron_payable() is None


def test_the_value_in_lei_is_unknown_where_the_document_gives_no_rate() -> None:
    text = (VECTORS / "prefixed.xml").read_text().replace("RON", "USD")

    assert ubl.read(text.encode()).ron_payable() is None
    assert vector("prefixed.xml").ron_payable() == Decimal("121.0000")


def small(inside: str, payable: str = "1.00", root: str = "Invoice") -> bytes:
    namespace = "urn:oasis:names:specification:ubl:schema:xsd:"
    return (
        f'<{root} xmlns="{namespace}{root}-2" '
        f'xmlns:cac="{namespace}CommonAggregateComponents-2" '
        f'xmlns:cbc="{namespace}CommonBasicComponents-2">'
        f"<cbc:DocumentCurrencyCode>RON</cbc:DocumentCurrencyCode>{inside}"
        f"<cac:LegalMonetaryTotal><cbc:PayableAmount>{payable}</cbc:PayableAmount>"
        f"</cac:LegalMonetaryTotal></{root}>"
    ).encode()


@pytest.mark.parametrize("text", ["12,50", "1.234,50", "1e5", "NaN", "INF", "²", "9" * 15, "0x1F"])
def test_a_payable_amount_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(DocumentRefused, match=re.escape(text)):
        ubl.read(small("", payable=text))


@pytest.mark.parametrize("text", ["-0.00", "5", "007.10", "99999999999999.99"])
def test_an_amount_keeps_its_value_and_its_decimals(text: str) -> None:
    assert ubl.read(small("", payable=text)).payable_amount.compare_total(Decimal(text)) == 0


def test_a_document_without_a_payable_amount_is_refused() -> None:
    with pytest.raises(DocumentRefused, match="no payable amount") as refused:
        ubl.read(small("", payable=" "))

    assert "suma de plată" in refused.value.sentence.ro


def test_a_comment_inside_a_value_hides_nothing() -> None:
    invoice = ubl.read(small("<cbc:ID>AB<!-- x -->CD</cbc:ID>", payable="1<!-- 0 -->00.00"))

    assert (invoice.number, invoice.payable_amount) == ("ABCD", Decimal("100.00"))


def test_elements_inside_a_value_are_kept_beside() -> None:
    invoice = ubl.read(small("<cbc:ID>AB<b xmlns=''>C</b></cbc:ID><cbc:ID>second</cbc:ID>"))

    assert invoice.number == "AB"
    assert invoice.extras == (Extra("cbc:ID/b", "C"), Extra("cbc:ID", "second"))


def test_a_value_from_a_foreign_namespace_is_no_field() -> None:
    invoice = ubl.read(small("<x:ID xmlns:x='urn:x'>1</x:ID>"))

    assert invoice.number == ""
    assert invoice.extras == (Extra("{urn:x}ID", "1"),)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"<Invoice/>", "namespace of UBL"),
        (b"<CreditNote xmlns='urn:oasis:names:specification:ubl:schema:xsd:Invoice-2'/>", "UBL"),
        (b"<CrossIndustryInvoice xmlns='urn:x'/>", "CII"),
        (b"<header xmlns='mfp:anaf:dgti:efactura:stareMesajFactura:v1'/>", "ANAF"),
        (b"<Signature xmlns='http://www.w3.org/2000/09/xmldsig#'/>", "signature"),
        (b"<html/>", "not a UBL invoice"),
    ],
)
def test_another_kind_of_document_is_refused_by_its_name(document: bytes, words: str) -> None:
    with pytest.raises(DocumentRefused, match=words):
        ubl.read(document)


def test_five_thousand_lines_are_read_in_order() -> None:
    line = (
        "<cac:InvoiceLine><cbc:ID>{0}</cbc:ID><cbc:InvoicedQuantity unitCode='H87'>{0}"
        "</cbc:InvoicedQuantity><cbc:LineExtensionAmount currencyID='RON'>1.10"
        "</cbc:LineExtensionAmount><cac:Item><cbc:Name>Articol {0}</cbc:Name></cac:Item>"
        "</cac:InvoiceLine>"
    )
    invoice = ubl.read(small("".join(line.format(n) for n in range(1, 5001))))

    assert [item.id for item in invoice.lines] == [str(n) for n in range(1, 5001)]
    assert sum((item.net_amount or 0 for item in invoice.lines), Decimal(0)) == Decimal("5500.00")


def test_a_line_references_the_object_only_by_type_130() -> None:
    reference = (
        "<cac:DocumentReference><cbc:ID>{}</cbc:ID><cbc:DocumentTypeCode>{}"
        "</cbc:DocumentTypeCode></cac:DocumentReference>"
    )
    inside = reference.format("K", "50") + reference.format("O", "130")
    invoice = ubl.read(small(f"<cac:InvoiceLine>{inside}</cac:InvoiceLine>"))
    object_id = invoice.lines[0].object_id

    assert object_id is not None
    assert object_id.value == "O"
    assert Extra("cac:InvoiceLine/cac:DocumentReference[1]/cbc:ID", "K") in invoice.extras

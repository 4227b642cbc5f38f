"""Real documents of others, read twice: by `core.ubl` and by XPath over the same bytes.

`pytest -s` prints how many of how many agree.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest
from lxml import etree

from appliance.core import ubl
from appliance.core.errors import DocumentRefused
from appliance.core.ubl import Invoice

_UBL = "urn:oasis:names:specification:ubl:schema:xsd:"
_ROOTS = {f"{{{_UBL}Invoice-2}}Invoice", f"{{{_UBL}CreditNote-2}}CreditNote"}
_NAMES = {
    "cac": f"{_UBL}CommonAggregateComponents-2",
    "cbc": f"{_UBL}CommonBasicComponents-2",
}


def _xpath(expression: str) -> etree.XPath:
    return etree.XPath(expression, namespaces=_NAMES)


_NUMBER = _xpath("string(/*/cbc:ID[1])")
_DATE = _xpath("string(/*/cbc:IssueDate)")
_PARTY_NAME = (
    "string((/*/cac:{0}/cac:Party/cac:PartyLegalEntity/cbc:RegistrationName"
    "[normalize-space()] | /*/cac:{0}/cac:Party/cac:PartyName/cbc:Name[normalize-space() and "
    "not(../../cac:PartyLegalEntity/cbc:RegistrationName[normalize-space()])])[1])"
)
_SUPPLIER = _xpath(_PARTY_NAME.format("AccountingSupplierParty"))
_CUSTOMER = _xpath(_PARTY_NAME.format("AccountingCustomerParty"))
_CURRENCY = _xpath("string(/*/cbc:DocumentCurrencyCode)")
_PAYABLE_CURRENCY = _xpath("string(/*/cac:LegalMonetaryTotal/cbc:PayableAmount/@currencyID)")
_PAYABLE = _xpath("string(/*/cac:LegalMonetaryTotal/cbc:PayableAmount)")
_SUBTOTALS = _xpath("/*/cac:TaxTotal/cac:TaxSubtotal")
_SUBTOTAL = [
    _xpath("string(cac:TaxCategory/cbc:ID)"),
    _xpath(
        "string(cac:TaxCategory/cbc:Percent | cbc:Percent[not(../cac:TaxCategory/cbc:Percent)])"
    ),
    _xpath("string(cbc:TaxableAmount)"),
    _xpath("string(cbc:TaxAmount)"),
]
_LINES = _xpath("count(/*/cac:InvoiceLine | /*/cac:CreditNoteLine)")


def _documents(corpus: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(corpus.rglob("*")):
        name = str(path.relative_to(corpus))
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
                for member in archive.namelist():
                    if member.lower().endswith(".xml"):
                        yield f"{name}!{member}", archive.read(member)
        elif path.is_file() and path.suffix.lower() == ".xml":
            yield name, path.read_bytes()


def _root(data: bytes) -> etree._Element:
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, huge_tree=True))


def _said(root: etree._Element) -> dict[str, object]:
    def text(expression: etree.XPath, node: etree._Element = root) -> str:
        return str(expression(node)).strip()

    return {
        "number": text(_NUMBER),
        "issue_date": text(_DATE)[:10],
        "supplier": text(_SUPPLIER),
        "customer": text(_CUSTOMER),
        "currency": text(_CURRENCY) or text(_PAYABLE_CURRENCY),
        "payable_amount": text(_PAYABLE),
        "vat_subtotals": [
            tuple(text(expression, node) for expression in _SUBTOTAL) for node in _SUBTOTALS(root)
        ],
        "lines": int(_LINES(root)),
    }


def _plain(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"


def _understood(invoice: Invoice) -> dict[str, object]:
    return {
        "number": invoice.number,
        "issue_date": invoice.issue_date.isoformat() if invoice.issue_date else "",
        "supplier": invoice.supplier.name,
        "customer": invoice.customer.name,
        "currency": invoice.currency,
        "payable_amount": _plain(invoice.payable_amount),
        "vat_subtotals": [
            (s.category, _plain(s.rate), _plain(s.taxable_amount), _plain(s.tax_amount))
            for s in invoice.vat_subtotals
        ],
        "lines": len(invoice.lines),
    }


def test_every_whole_document_says_what_xpath_says(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared, different, fragments = 0, [], 0
    for name, data in _documents(corpus):
        root = _root(data)
        if root.tag not in _ROOTS:
            continue
        if not str(_PAYABLE(root)).strip():
            fragments += 1
            continue
        compared += 1
        said, understood = _said(root), _understood(ubl.read(data))
        different += [
            f"{name}: {key}: {said[key]!r} is not {understood[key]!r}"
            for key in said
            if said[key] != understood[key]
        ]
    with capsys.disabled():
        equal = compared - len({line.split(": ")[0] for line in different})
        print(f"\ncorpus: {equal} of {compared} equal, {fragments} fragments refused")

    assert compared > 0
    assert different == []


def test_fragments_and_other_documents_are_refused_with_one_sentence(corpus: Path) -> None:
    refused = 0
    for name, data in _documents(corpus):
        root = _root(data)
        if root.tag in _ROOTS and str(_PAYABLE(root)).strip():
            continue
        with pytest.raises(DocumentRefused) as refusal:
            ubl.read(data)
        refused += 1
        for text in refusal.value.sentence:
            assert text, name
            assert "\n" not in text, name

    assert refused > 0


def test_nothing_that_a_real_document_says_is_lost(corpus: Path) -> None:
    """Each text of the XML is found whole in a field, or among the extras."""
    for name, data in _documents(corpus):
        root = _root(data)
        if root.tag not in _ROOTS or not str(_PAYABLE(root)).strip():
            continue
        kept = set(_values(ubl.read(data)))
        for element in root.iter(f"{{{_NAMES['cbc']}}}*"):
            local = etree.QName(element).localname
            text = (element.text or "").strip()
            if not text or local in _IMPLIED or element.get("mimeCode"):
                continue
            scheme = element.getparent()
            if scheme is not None and etree.QName(scheme).localname == "TaxScheme":
                continue  # decides between BT-31 and BT-32, and is VAT everywhere else
            assert _forms(text) & kept, f"{name}: {local}: {text}"


# What these say is in the type, in the order or in the number of the fields.
_IMPLIED = {"UBLVersionID", "ChargeIndicator", "LineCountNumeric", "DocumentTypeCode"}


def _values(value: object) -> Iterator[object]:
    if isinstance(value, str):
        # A field of several texts has them on lines of its own.
        yield from (" ".join(line.split()) for line in value.split("\n"))
        yield " ".join(value.split())
    elif isinstance(value, Decimal | date):
        yield value
    elif isinstance(value, tuple):
        for inner in value:
            yield from _values(inner)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _values(getattr(value, field.name))


def _forms(text: str) -> set[object]:
    """The text, and what it is as an IBAN, a currency, a number or a date."""
    forms: set[object] = {" ".join(text.split()), "".join(text.split()), text.upper()}
    with suppress(InvalidOperation):
        forms.add(Decimal(text))
    with suppress(ValueError):
        forms.add(date.fromisoformat(text[:10]))
    return forms

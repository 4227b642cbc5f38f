"""What people read: nothing left out, Romanian first, English complete."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from appliance.core import codelists, presentation, ubl_model
from appliance.core.presentation import LABELS, Presented, present
from appliance.core.sentence import Sentence
from appliance.core.ubl_model import (
    Address,
    AllowanceCharge,
    DocumentType,
    Identifier,
    Invoice,
    Line,
    Party,
    VatSubtotal,
)

NBSP = "\N{NO-BREAK SPACE}"


class Filler:
    """Fills every field of every value with something that occurs only once, and remembers it."""

    # Not shown as they are: derived from other fields, or for rules and not for people.
    silent = frozenset({(Party, "cif"), (ubl_model.Oddity, "code")})

    def __init__(self) -> None:
        self.count = 0
        self.expected: dict[str, str] = {}

    def fill(self, kind: Any, where: str) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return self.fill(next(a for a in arguments if a is not types.NoneType), where)
        if origin is tuple:
            return tuple(self.fill(arguments[0], f"{where}[{n}]") for n in range(2))
        if kind is Sentence:
            return Sentence(self.fill(str, where), "")
        if is_dataclass(kind):
            return self.dataclass(kind, where)
        self.count += 1
        if kind is str:
            return self.remember(where, f"w{self.count:04d}x", f"w{self.count:04d}x")
        if kind is Decimal:
            value = Decimal(f"{self.count}.125")
            return self.remember(where, value, f"{self.count:,}".replace(",", ".") + ",125")
        if kind is date:
            day = date(2001, 1, 1) + timedelta(days=self.count)
            return self.remember(where, day, f"{day:%d.%m.%Y}")
        if kind is bool:
            return self.count % 2 == 0
        if kind is bytes:
            return self.remember(where, bytes(self.count), f"{self.count}{NBSP}B")
        assert issubclass(kind, Enum), f"{where}: the test does not know {kind}"
        return next(iter(kind))

    def dataclass(self, kind: Any, where: str) -> Any:
        hints = typing.get_type_hints(kind)
        values = {}
        for field in fields(kind):
            value = self.fill(hints[field.name], f"{where}.{field.name}")
            if (kind, field.name) in self.silent:
                self.expected.pop(f"{where}.{field.name}", None)
            values[field.name] = value
        return kind(**values)

    def remember(self, where: str, value: Any, text: str) -> Any:
        self.expected[where] = text
        return value


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from texts(getattr(value, field.name))


def simple(**changes: Any) -> Invoice:
    invoice = Invoice(
        type=DocumentType.INVOICE,
        number="F-1",
        issue_date=date(2026, 11, 24),
        currency="RON",
        payable_amount=Decimal("1234.5"),
        supplier=Party(name="Șantier SRL", legal_name="Șantier SRL"),
        customer=Party(name="Alfa SRL", legal_name="Alfa SRL"),
        type_code="380",
    )
    return replace(invoice, **changes)


def test_every_field_of_an_invoice_reaches_the_page() -> None:
    filler = Filler()
    invoice = filler.fill(Invoice, "invoice")

    shown = "\n".join(texts(present(invoice)))

    missing = {where: text for where, text in filler.expected.items() if text not in shown}
    assert len(filler.expected) > 250
    assert missing == {}


def test_an_amount_is_shown_as_romanians_write_it() -> None:
    presented = present(simple())

    assert presented.payable == f"1.234,50{NBSP}lei"
    assert presented.dates[0].value == "24.11.2026"


def test_an_amount_is_shown_as_the_english_write_it() -> None:
    presented = present(simple(), "en")

    assert presented.payable == f"RON{NBSP}1,234.50"
    assert presented.dates[0].value == f"24{NBSP}Nov{NBSP}2026"


@pytest.mark.parametrize(
    ("written", "currency", "shown"),
    [
        ("1234.5", "RON", "1.234,50"),
        ("1234.5000", "RON", "1.234,50"),
        ("0.000123", "RON", "0,000123"),
        ("-1000000", "EUR", "-1.000.000,00"),
        ("1500", "JPY", "1.500"),
        ("0", "RON", "0,00"),
        ("100.", "RON", "100,00"),
        ("2E+3", "RON", "2.000,00"),
    ],
)
def test_money_keeps_what_was_written_and_no_zero_more(
    written: str, currency: str, shown: str
) -> None:
    assert presentation.format_money(Decimal(written), currency, "ro") == shown


@pytest.mark.parametrize(
    ("written", "shown"), [("10.0000", "10"), ("21.00", "21"), ("0.5", "0,5"), ("100", "100")]
)
def test_a_quantity_loses_the_zeros_at_its_end(written: str, shown: str) -> None:
    assert presentation.format_number(Decimal(written), "ro") == shown


@pytest.mark.parametrize(
    ("type_", "code", "total", "title"),
    [
        (DocumentType.INVOICE, "380", "100", "Factură"),
        (DocumentType.INVOICE, "", "100", "Factură"),
        (DocumentType.INVOICE, "380", "-100", "Factură storno"),
        (DocumentType.INVOICE, "384", "100", "Factură corectată"),
        (DocumentType.INVOICE, "389", "100", "Autofactură"),
        (DocumentType.INVOICE, "751", "100", "Factură – informații în scopuri contabile"),
        (DocumentType.INVOICE, "9999", "100", "Factură"),
        (DocumentType.CREDIT_NOTE, "381", "100", "Notă de creditare"),
        (DocumentType.CREDIT_NOTE, "380", "100", "Notă de creditare"),
        (DocumentType.CREDIT_NOTE, "9999", "100", "Notă de creditare"),
        (DocumentType.CREDIT_NOTE, "261", "100", "Notă de creditare – autofactură"),
    ],
)
def test_the_title_says_what_the_document_is(
    type_: DocumentType, code: str, total: str, title: str
) -> None:
    invoice = simple(type=type_, type_code=code, tax_inclusive_amount=Decimal(total))

    assert present(invoice).title == title


def test_an_unknown_code_is_shown_as_it_is_written() -> None:
    line = Line(quantity=Decimal(2), unit="QQ9", vat_category="XX")
    presented = present(simple(type_code="9999", lines=(line,)))

    assert presented.lines[0].quantity == f"2{NBSP}QQ9"
    assert presented.lines[0].vat == "XX"
    assert "9999" in [field.value for field in presented.technical]


@pytest.mark.parametrize(
    ("unit", "quantity", "ro", "en"),
    [
        ("H87", 1, "buc", "pc"),
        ("HUR", 1, "oră", "hour"),
        ("HUR", 2, "ore", "hours"),
        ("MON", -1, "lună", "month"),
        ("DAY", 30, "zile", "days"),
        ("KWH", 1200, "kWh", "kWh"),
    ],
)
def test_a_unit_agrees_with_its_quantity(unit: str, quantity: int, ro: str, en: str) -> None:
    assert codelists.unit(unit, Decimal(quantity), "ro") == ro
    assert codelists.unit(unit, Decimal(quantity), "en") == en


def test_a_romanian_address_is_written_as_on_an_envelope() -> None:
    address = Address(
        street="Bd. Unirii nr. 1",
        city="SECTOR3",
        postal_code="030167",
        subdivision="RO-B",
        country="RO",
    )
    presented = present(simple(supplier=Party(name="A", legal_name="A", address=address)))

    assert presented.supplier.fields[0].value == (
        "Bd. Unirii nr. 1\n030167 Sector 3, București, România"
    )


def test_reverse_charge_is_said_in_words_with_its_reason() -> None:
    subtotal = VatSubtotal(
        "AE", Decimal(0), Decimal(100), Decimal(0), "Taxare inversă art. 331", "VATEX-EU-AE"
    )
    presented = present(
        simple(
            vat_subtotals=(subtotal,),
            lines=(Line(vat_category="AE", vat_rate=Decimal(0)),),
        )
    )

    assert presented.lines[0].vat == "Taxare inversă"
    assert presented.vat[0].category == "Taxare inversă"
    assert presented.vat[0].note == "Taxare inversă art. 331 (VATEX-EU-AE)"


def test_an_allowance_is_taken_off_and_a_charge_is_added() -> None:
    allowance = AllowanceCharge(False, Decimal("10"), Decimal("100"), Decimal("10"), "", "95")
    charge = AllowanceCharge(True, Decimal("5"), reason_code="FC")
    presented = present(simple(allowances_charges=(allowance, charge)))

    assert [(row.kind, row.reason, row.amount) for row in presented.adjustments] == [
        ("Reducere", "Discount", "-10,00"),
        ("Cost suplimentar", "Transport", "5,00"),
    ]


def test_a_foreign_amount_is_given_in_lei_where_the_document_has_the_rate() -> None:
    invoice = simple(
        currency="EUR",
        tax_currency="RON",
        payable_amount=Decimal("121"),
        tax_amount=Decimal("21"),
        tax_amount_accounting=Decimal("106.89"),
    )

    assert present(invoice).payable == f"121,00{NBSP}EUR"
    assert present(invoice).payable_in_lei == f"615,89{NBSP}lei"
    credit = replace(invoice, type=DocumentType.CREDIT_NOTE)
    assert present(credit).payable_in_lei == f"615,89{NBSP}lei"
    assert present(replace(invoice, tax_currency=None)).payable_in_lei == ""


def test_an_account_is_grouped_in_fours_and_another_number_is_left_alone() -> None:
    assert presentation.group_iban("RO49AAAA1B31007593840000").split(NBSP) == [
        "RO49",
        "AAAA",
        "1B31",
        "0075",
        "9384",
        "0000",
    ]
    assert presentation.group_iban("1112222") == "1112222"


def test_an_empty_invoice_has_no_empty_labels() -> None:
    invoice = Invoice(
        type=DocumentType.INVOICE,
        number="",
        issue_date=None,
        currency="",
        payable_amount=Decimal(0),
        supplier=Party(),
        customer=Party(),
    )
    presented = present(invoice)

    assert presented.payable == "0,00"
    empty = (presented.dates, presented.references, presented.lines, presented.totals)
    assert empty == ((), (), (), ())


def test_a_register_number_is_told_from_another_identifier() -> None:
    def labels(value: str) -> list[str]:
        party = Party(name="A", legal_name="A", legal_id=Identifier(value))
        return [field.label for field in present(simple(supplier=party)).supplier.fields]

    assert labels("J40/7746/2009") == ["Nr. reg. com."]
    assert labels("987654321") == ["Nr. înregistrare"]


def every_sentence() -> Iterator[Sentence]:
    yield from LABELS.values()
    for value in vars(codelists).values():
        if isinstance(value, dict):
            yield from (words for words in value.values() if isinstance(words, Sentence))


def test_our_romanian_is_written_with_the_comma_below() -> None:
    for sentence in every_sentence():
        assert not set(sentence.ro) & set("şţŞŢãÃ"), sentence
    assert "ș" in "".join(sentence.ro for sentence in every_sentence())


def test_our_english_is_complete() -> None:
    for sentence in every_sentence():
        assert sentence.en, sentence
        assert not re.search("[ăâîșț]", sentence.en.lower()), sentence


def test_the_english_page_has_no_romanian_label() -> None:
    filler = Filler()
    invoice = filler.fill(Invoice, "invoice")
    romanian: Presented = present(invoice, "ro")
    english = present(invoice, "en")

    assert romanian.label("extras") == "Alte informații din XML"
    assert not re.search("[ăâîșț]", "\n".join(texts(english)).lower())

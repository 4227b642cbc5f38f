"""What an invoice says: the values of EN 16931, whoever wrote them down.

`core.ubl` fills these from UBL; nothing here knows XML. Texts are stripped and
`''` when absent, amounts are `Decimal` exactly as written (`100.00` keeps its
zeros) and `None` when absent. A number `BT-n` is the business term of
EN 16931-1 that the field carries; parties give the seller's and the buyer's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum

from appliance.core import cif as cifs
from appliance.core.sentence import Sentence


class DocumentType(StrEnum):
    """The two roots of UBL that are invoices; a corrective invoice is an `invoice`."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


@dataclass(frozen=True)
class Extra:
    """A text of the XML that no field took: `cac:Delivery/cbc:Quantity`, `12`."""

    path: str
    value: str


@dataclass(frozen=True)
class Oddity:
    """Something read with a guess or left aside; `code` is for rules, the sentence for people."""

    code: str
    sentence: Sentence


@dataclass(frozen=True)
class Identifier:
    """A value with the scheme it belongs to (ISO 6523 ICD, EAS or VAT), `''` when none."""

    value: str
    scheme: str = ""


@dataclass(frozen=True)
class Address:
    """BG-5 seller, BG-8 buyer, BG-12 tax representative, BG-15 deliver-to."""

    street: str = ""  # BT-35, BT-50, BT-64, BT-75
    additional_street: str = ""  # BT-36, BT-51, BT-65, BT-76
    line: str = ""  # BT-162, BT-163, BT-164, BT-165
    city: str = ""  # BT-37, BT-52, BT-66, BT-77
    postal_code: str = ""  # BT-38, BT-53, BT-67, BT-78
    subdivision: str = ""  # BT-39, BT-54, BT-68, BT-79; CIUS-RO: RO-CJ, and SECTOR1 in the city
    country: str = ""  # BT-40, BT-55, BT-69, BT-80


@dataclass(frozen=True)
class Contact:
    """BG-6 of the seller, BG-9 of the buyer."""

    name: str = ""  # BT-41, BT-56
    telephone: str = ""  # BT-42, BT-57
    email: str = ""  # BT-43, BT-58


@dataclass(frozen=True)
class Party:
    """Seller BG-4, buyer BG-7, payee BG-10, tax representative BG-11."""

    name: str = ""  # legal name when given, else the trading name
    trading_name: str = ""  # BT-28, BT-45
    legal_name: str = ""  # BT-27, BT-44; payee BT-59, representative BT-62
    cif: str = ""  # the one identifier to show, as core.cif normalises it
    vat_identifier: str = ""  # BT-31, BT-48, BT-63, as written
    tax_registration: str = ""  # BT-32, as written
    legal_id: Identifier | None = None  # BT-30, BT-47, BT-61
    identifiers: tuple[Identifier, ...] = ()  # BT-29, BT-46, BT-60
    creditor_id: str = ""  # BT-90, the SEPA identifier among BT-29 or BT-60
    endpoint: Identifier | None = None  # BT-34, BT-49
    legal_form: str = ""  # BT-33
    address: Address = field(default_factory=Address)
    contact: Contact = field(default_factory=Contact)

    def all_identifiers(self) -> frozenset[str]:
        """Return BT-29 to BT-32 (BT-46 to BT-48) normalised, to compare a client's CIF with."""
        written = [self.vat_identifier, self.tax_registration]
        written += [identifier.value for identifier in self.identifiers]
        if self.legal_id is not None:
            written.append(self.legal_id.value)
        return frozenset(filter(None, map(cifs.normalise, written)))


@dataclass(frozen=True)
class Delivery:
    """BG-13."""

    party_name: str = ""  # BT-70
    location_id: Identifier | None = None  # BT-71
    date: date | None = None  # BT-72
    address: Address = field(default_factory=Address)  # BG-15


@dataclass(frozen=True)
class PaymentMeans:
    """BG-16 with BG-17 (transfer), BG-18 (card), BG-19 (direct debit)."""

    code: str = ""  # BT-81, UNTDID 4461
    name: str = ""  # BT-82
    payment_id: str = ""  # BT-83
    iban: str = ""  # BT-84, blanks removed
    account_name: str = ""  # BT-85
    bic: str = ""  # BT-86
    card_number: str = ""  # BT-87
    card_holder: str = ""  # BT-88
    mandate: str = ""  # BT-89
    debited_account: str = ""  # BT-91


@dataclass(frozen=True)
class AllowanceCharge:
    """BG-20 and BG-27 allowances, BG-21 and BG-28 charges."""

    is_charge: bool
    amount: Decimal | None  # BT-92, BT-99, BT-136, BT-141
    base_amount: Decimal | None = None  # BT-93, BT-100, BT-137, BT-142
    percent: Decimal | None = None  # BT-94, BT-101, BT-138, BT-143
    reason: str = ""  # BT-97, BT-104, BT-139, BT-144
    reason_code: str = ""  # BT-98, BT-105, BT-140, BT-145
    vat_category: str = ""  # BT-95, BT-102; on the document only
    vat_rate: Decimal | None = None  # BT-96, BT-103


@dataclass(frozen=True)
class VatSubtotal:
    """BG-23."""

    category: str  # BT-118
    rate: Decimal | None  # BT-119
    taxable_amount: Decimal | None  # BT-116
    tax_amount: Decimal | None  # BT-117
    exemption_reason: str = ""  # BT-120
    exemption_code: str = ""  # BT-121


@dataclass(frozen=True)
class PrecedingInvoice:
    """BG-3."""

    number: str  # BT-25
    issue_date: date | None = None  # BT-26


@dataclass(frozen=True)
class Attachment:
    """BG-24: an embedded file, an address, or only the name of a document."""

    id: str = ""  # BT-122
    description: str = ""  # BT-123
    filename: str = ""  # BT-125-2
    mime: str = ""  # BT-125-1
    content: bytes | None = None  # BT-125
    uri: str = ""  # BT-124


@dataclass(frozen=True)
class Classification:
    """BT-158: a code of the list (`STI` is CPV, `CV` the combined nomenclature)."""

    code: str
    list_id: str = ""  # BT-158-1
    list_version: str = ""  # BT-158-2


@dataclass(frozen=True)
class Property:
    """BG-32."""

    name: str  # BT-160
    value: str  # BT-161


@dataclass(frozen=True)
class Line:
    """BG-25."""

    id: str = ""  # BT-126
    name: str = ""  # BT-153
    description: str = ""  # BT-154
    quantity: Decimal | None = None  # BT-129
    unit: str = ""  # BT-130
    net_amount: Decimal | None = None  # BT-131
    price: Decimal | None = None  # BT-146
    base_quantity: Decimal | None = None  # BT-149
    base_unit: str = ""  # BT-150
    price_discount: Decimal | None = None  # BT-147
    gross_price: Decimal | None = None  # BT-148
    vat_category: str = ""  # BT-151
    vat_rate: Decimal | None = None  # BT-152
    seller_item_id: str = ""  # BT-155
    buyer_item_id: str = ""  # BT-156
    standard_item_id: Identifier | None = None  # BT-157
    classifications: tuple[Classification, ...] = ()  # BT-158
    origin_country: str = ""  # BT-159
    properties: tuple[Property, ...] = ()  # BG-32
    note: str = ""  # BT-127
    accounting_cost: str = ""  # BT-133
    order_line: str = ""  # BT-132
    object_id: Identifier | None = None  # BT-128
    period_start: date | None = None  # BT-134
    period_end: date | None = None  # BT-135
    allowances_charges: tuple[AllowanceCharge, ...] = ()  # BG-27, BG-28


@dataclass(frozen=True)
class Invoice:
    """One invoice or credit note with everything that it says."""

    type: DocumentType
    number: str  # BT-1
    issue_date: date | None  # BT-2
    currency: str  # BT-5
    payable_amount: Decimal  # BT-115, sign as written
    supplier: Party  # BG-4
    customer: Party  # BG-7

    customization_id: str = ""  # BT-24
    profile_id: str = ""  # BT-23
    type_code: str = ""  # BT-3, UNTDID 1001
    due_date: date | None = None  # BT-9
    tax_point_date: date | None = None  # BT-7
    tax_point_code: str = ""  # BT-8, UNTDID 2005: 3, 35 or 432
    tax_currency: str | None = None  # BT-6
    notes: tuple[str, ...] = ()  # BT-22, with BT-21 as #code# in front where the sender wrote it
    buyer_reference: str = ""  # BT-10
    accounting_cost: str = ""  # BT-19
    period_start: date | None = None  # BT-73
    period_end: date | None = None  # BT-74

    order_reference: str = ""  # BT-13
    sales_order_reference: str = ""  # BT-14
    contract_reference: str = ""  # BT-12
    project_reference: str = ""  # BT-11
    despatch_reference: str = ""  # BT-16
    receiving_reference: str = ""  # BT-15
    originator_reference: str = ""  # BT-17
    invoiced_object: Identifier | None = None  # BT-18
    preceding_invoices: tuple[PrecedingInvoice, ...] = ()  # BG-3

    payee: Party | None = None  # BG-10
    tax_representative: Party | None = None  # BG-11
    delivery: Delivery | None = None  # BG-13
    payment_means: tuple[PaymentMeans, ...] = ()  # BG-16
    payment_terms: str = ""  # BT-20

    allowances_charges: tuple[AllowanceCharge, ...] = ()  # BG-20, BG-21
    tax_amount: Decimal | None = None  # BT-110
    tax_amount_accounting: Decimal | None = None  # BT-111, in the tax currency
    vat_subtotals: tuple[VatSubtotal, ...] = ()  # BG-23
    line_extension_amount: Decimal | None = None  # BT-106
    allowance_total: Decimal | None = None  # BT-107
    charge_total: Decimal | None = None  # BT-108
    tax_exclusive_amount: Decimal | None = None  # BT-109
    tax_inclusive_amount: Decimal | None = None  # BT-112
    prepaid_amount: Decimal | None = None  # BT-113
    rounding_amount: Decimal | None = None  # BT-114

    lines: tuple[Line, ...] = ()  # BG-25
    attachments: tuple[Attachment, ...] = ()  # BG-24
    extras: tuple[Extra, ...] = ()
    oddities: tuple[Oddity, ...] = ()

    @property
    def signed_payable(self) -> Decimal:
        """The amount as the buyer's debt: a credit note negated, a negative invoice kept."""
        if self.type is DocumentType.CREDIT_NOTE:
            return self.payable_amount.copy_negate()
        return self.payable_amount

    @property
    def ibans(self) -> tuple[str, ...]:
        """The supplier's accounts (BT-84), each once, in the order of the document."""
        return tuple(dict.fromkeys(means.iban for means in self.payment_means if means.iban))

    def ron_payable(self) -> Decimal | None:
        """Return the signed amount in lei, or `None` when the document does not say it.

        An amount in another currency is known in lei only where the document
        states its VAT in both (BT-110 and BT-111 with BT-6 = RON): their
        quotient is the rate that the supplier used. The result has two
        decimals; a rate that comes from rounded VAT is as exact as that VAT.
        """
        if self.currency == "RON":
            return self.signed_payable
        if self.tax_currency != "RON" or not self.tax_amount or not self.tax_amount_accounting:
            return None
        in_lei = self.signed_payable * self.tax_amount_accounting / self.tax_amount
        if abs(in_lei) >= 10**15:
            return None  # no rate of this world
        return in_lei.quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")

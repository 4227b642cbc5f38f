"""Writes an invoice or credit note as UBL 2.1, the sums of EN 16931 worked out exactly.

A `Draft` says what was sold to whom; everything that follows from it (line
amounts, VAT per category and rate, totals) is computed here in integer minor
units and written with two decimals. Styles imitate the different programs that
write such files: with a byte order mark and CRLF, with a prefixed root, on one line.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from xml.sax.saxutils import escape, quoteattr

from appliance.simulator.companies import Company

CIUS_RO = "urn:cen.eu:en16931:2017#compliant#urn:efactura.mfinante.ro:CIUS-RO:1.0.1"

EXEMPTIONS = {
    "AE": ("VATEX-EU-AE", "Taxare inversă conform art. 331 din Codul fiscal"),
    "E": ("VATEX-EU-132", "Scutit fără drept de deducere conform art. 292 din Codul fiscal"),
    "O": ("VATEX-EU-O", "Regim special de scutire pentru întreprinderi mici, art. 310 Cod fiscal"),
    "K": ("VATEX-EU-IC", "Livrare intracomunitară scutită conform art. 294 din Codul fiscal"),
}


@dataclass(frozen=True)
class LineDraft:
    """What one line sells."""

    name: str
    quantity: Decimal
    unit: str  # UN/ECE Recommendation 20
    price: Decimal
    category: str = "S"
    rate: int = 21
    description: str = ""
    note: str = ""
    seller_id: str = ""
    standard_id: str = ""  # GTIN
    classification: str = ""  # CPV
    base_quantity: Decimal | None = None
    discount_percent: int = 0
    origin: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    period: tuple[date, date] | None = None

    @property
    def discount(self) -> int:
        return _minor(self._gross() * self.discount_percent / 100)

    @property
    def net(self) -> int:
        """BT-131: price times quantity, less the discount, in minor units."""
        return _minor(self._gross()) - self.discount

    def _gross(self) -> Decimal:
        return self.quantity * self.price / (self.base_quantity or 1)


@dataclass(frozen=True)
class AllowanceDraft:
    """An allowance or charge on the whole document, in minor units."""

    is_charge: bool
    amount: int
    reason: str
    code: str
    category: str = "S"
    rate: int = 21
    percent: int = 0
    base: int = 0


@dataclass(frozen=True)
class AttachmentDraft:
    id: str
    description: str
    filename: str
    mime: str
    content: bytes


@dataclass(frozen=True)
class PaymentDraft:
    code: str  # UNTDID 4461
    name: str
    iban: str = ""
    account_name: str = ""
    bank: str = ""
    reference: str = ""
    card: str = ""


@dataclass(frozen=True)
class Draft:
    """Everything that an invoice says before the arithmetic."""

    number: str
    issue_date: date
    supplier: Company
    customer: Company
    lines: tuple[LineDraft, ...]
    due_date: date | None = None
    tax_point: date | None = None
    type_code: str = "380"
    currency: str = "RON"
    exchange_rate: Decimal | None = None  # RON for one unit of the currency
    notes: tuple[str, ...] = ()
    allowances: tuple[AllowanceDraft, ...] = ()
    prepaid: int = 0
    preceding: tuple[tuple[str, date], ...] = ()
    period: tuple[date, date] | None = None
    order: str = ""
    contract: str = ""
    despatch: str = ""
    project: str = ""
    buyer_reference: str = ""
    payments: tuple[PaymentDraft, ...] = ()
    terms: str = ""
    delivery_date: date | None = None
    delivery_place: Company | None = None
    attachments: tuple[AttachmentDraft, ...] = ()
    payee: str = ""

    @property
    def is_credit_note(self) -> bool:
        return self.type_code == "381"


@dataclass(frozen=True)
class Totals:
    """The sums of a draft (BG-22, BG-23), in minor units of its currency."""

    lines: int
    allowances: int
    charges: int
    exclusive: int
    vat: int
    inclusive: int
    payable: int
    subtotals: tuple[tuple[str, int, int, int], ...] = field(default=())
    """Category, rate, taxable, VAT."""


def totals(draft: Draft) -> Totals:
    """Work out the sums by EN 16931 (BR-CO-10 to 17, BR-S-08)."""
    taxable: dict[tuple[str, int], int] = {}
    for line in draft.lines:
        key = (line.category, line.rate)
        taxable[key] = taxable.get(key, 0) + line.net
    for allowance in draft.allowances:
        key = (allowance.category, allowance.rate)
        change = allowance.amount if allowance.is_charge else -allowance.amount
        taxable[key] = taxable.get(key, 0) + change
    subtotals = tuple(
        (category, rate, base, _minor(Decimal(base) * rate / 10_000))
        for (category, rate), base in sorted(taxable.items(), key=lambda item: item[0])
    )
    line_sum = sum(line.net for line in draft.lines)
    allowed = sum(a.amount for a in draft.allowances if not a.is_charge)
    charged = sum(a.amount for a in draft.allowances if a.is_charge)
    exclusive = line_sum - allowed + charged
    vat = sum(tax for *_, tax in subtotals)
    return Totals(
        lines=line_sum,
        allowances=allowed,
        charges=charged,
        exclusive=exclusive,
        vat=vat,
        inclusive=exclusive + vat,
        payable=exclusive + vat - draft.prepaid,
        subtotals=subtotals,
    )


def _minor(amount: Decimal) -> int:
    return int((amount * 100).quantize(Decimal(1), ROUND_HALF_UP))


# The tree


@dataclass(frozen=True)
class Node:
    name: str
    text: str = ""
    children: tuple[Node, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


_Child = Node | Iterable["Node | None"] | None


def node(name: str, *children: _Child | str, **attributes: str) -> Node:
    text = "".join(child for child in children if isinstance(child, str))
    flat: list[Node] = []
    for child in children:
        if isinstance(child, Node):
            flat.append(child)
        elif child is not None and not isinstance(child, str):
            flat.extend(grandchild for grandchild in child if grandchild is not None)
    return Node(name, text, tuple(flat), tuple(attributes.items()))


def _optional(name: str, text: str, **attributes: str) -> Node | None:
    return node(name, text, **attributes) if text else None


def write(draft: Draft) -> bytes:
    """Return the document as its supplier's program would write it; equal drafts, equal bytes."""
    root = "CreditNote" if draft.is_credit_note else "Invoice"
    return _serialise(node(root, *_document(draft)), draft.supplier.style)


def _document(draft: Draft) -> list[_Child]:
    sums, credit = totals(draft), draft.is_credit_note
    currency = draft.currency
    vat_buyer = all(line.category != "O" for line in draft.lines)

    def money(name: str, minor: int) -> Node:
        return node(f"cbc:{name}", _amount(minor), currencyID=currency)

    issued = draft.issue_date.isoformat()
    tax_point = draft.tax_point.isoformat() if draft.tax_point else ""
    type_code = node(f"cbc:{'CreditNote' if credit else 'Invoice'}TypeCode", draft.type_code)
    notes = [node("cbc:Note", text) for text in draft.notes]
    due = draft.due_date.isoformat() if draft.due_date else ""
    head: list[_Child] = [
        node("cbc:CustomizationID", CIUS_RO),
        node("cbc:ProfileID", "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"),
        node("cbc:ID", draft.number),
        node("cbc:IssueDate", issued),
    ]
    if credit:
        head += [_optional("cbc:TaxPointDate", tax_point), type_code, notes]
    else:
        head += [_optional("cbc:DueDate", due), type_code, notes]
        head += [_optional("cbc:TaxPointDate", tax_point)]
    return [
        *head,
        node("cbc:DocumentCurrencyCode", currency),
        node("cbc:TaxCurrencyCode", "RON") if draft.exchange_rate else None,
        _optional("cbc:BuyerReference", draft.buyer_reference),
        _period(draft.period),
        node("cac:OrderReference", node("cbc:ID", draft.order)) if draft.order else None,
        [
            node(
                "cac:BillingReference",
                node(
                    "cac:InvoiceDocumentReference",
                    node("cbc:ID", number),
                    node("cbc:IssueDate", day.isoformat()),
                ),
            )
            for number, day in draft.preceding
        ],
        _reference("cac:DespatchDocumentReference", draft.despatch),
        _reference("cac:ContractDocumentReference", draft.contract),
        [_attachment(attachment) for attachment in draft.attachments],
        None if credit else _reference("cac:ProjectReference", draft.project),
        node("cac:AccountingSupplierParty", _party(draft.supplier, with_vat=vat_buyer)),
        node("cac:AccountingCustomerParty", _party(draft.customer, with_vat=vat_buyer)),
        node("cac:PayeeParty", node("cac:PartyName", node("cbc:Name", draft.payee)))
        if draft.payee
        else None,
        _delivery(draft),
        [_payment(payment, due if credit else "") for payment in draft.payments],
        node("cac:PaymentTerms", node("cbc:Note", draft.terms)) if draft.terms else None,
        [_allowance(allowance, currency) for allowance in draft.allowances],
        node(
            "cac:TaxTotal",
            money("TaxAmount", sums.vat),
            [
                node(
                    "cac:TaxSubtotal",
                    money("TaxableAmount", base),
                    money("TaxAmount", tax),
                    _category("cac:TaxCategory", category, rate, reasons=True),
                )
                for category, rate, base, tax in sums.subtotals
            ],
        ),
        node(
            "cac:TaxTotal",
            node(
                "cbc:TaxAmount",
                _amount(_minor(Decimal(sums.vat) * draft.exchange_rate / 100)),
                currencyID="RON",
            ),
        )
        if draft.exchange_rate
        else None,
        node(
            "cac:LegalMonetaryTotal",
            money("LineExtensionAmount", sums.lines),
            money("TaxExclusiveAmount", sums.exclusive),
            money("TaxInclusiveAmount", sums.inclusive),
            money("AllowanceTotalAmount", sums.allowances) if sums.allowances else None,
            money("ChargeTotalAmount", sums.charges) if sums.charges else None,
            money("PrepaidAmount", draft.prepaid) if draft.prepaid else None,
            money("PayableAmount", sums.payable),
        ),
        [_line(number, line, draft) for number, line in enumerate(draft.lines, 1)],
    ]


def _line(number: int, line: LineDraft, draft: Draft) -> Node:
    kind = "CreditNoteLine" if draft.is_credit_note else "InvoiceLine"
    quantity = "CreditedQuantity" if draft.is_credit_note else "InvoicedQuantity"
    currency = draft.currency
    discount = None
    if line.discount:
        discount = node(
            "cac:AllowanceCharge",
            node("cbc:ChargeIndicator", "false"),
            node("cbc:AllowanceChargeReasonCode", "95"),
            node("cbc:AllowanceChargeReason", "Reducere comercială"),
            node("cbc:MultiplierFactorNumeric", str(line.discount_percent)),
            node("cbc:Amount", _amount(line.discount), currencyID=currency),
            node("cbc:BaseAmount", _amount(line.net + line.discount), currencyID=currency),
        )
    return node(
        f"cac:{kind}",
        node("cbc:ID", str(number)),
        _optional("cbc:Note", line.note),
        node(f"cbc:{quantity}", _plain(line.quantity), unitCode=line.unit),
        node("cbc:LineExtensionAmount", _amount(line.net), currencyID=currency),
        _period(line.period),
        discount,
        node(
            "cac:Item",
            _optional("cbc:Description", line.description),
            node("cbc:Name", line.name),
            node("cac:SellersItemIdentification", node("cbc:ID", line.seller_id))
            if line.seller_id
            else None,
            node(
                "cac:StandardItemIdentification",
                node("cbc:ID", line.standard_id, schemeID="0160"),
            )
            if line.standard_id
            else None,
            node("cac:OriginCountry", node("cbc:IdentificationCode", line.origin))
            if line.origin
            else None,
            node(
                "cac:CommodityClassification",
                node("cbc:ItemClassificationCode", line.classification, listID="STI"),
            )
            if line.classification
            else None,
            _category("cac:ClassifiedTaxCategory", line.category, line.rate),
            [
                node("cac:AdditionalItemProperty", node("cbc:Name", name), node("cbc:Value", value))
                for name, value in line.properties
            ],
        ),
        node(
            "cac:Price",
            node("cbc:PriceAmount", _plain(line.price), currencyID=currency),
            node("cbc:BaseQuantity", _plain(line.base_quantity), unitCode=line.unit)
            if line.base_quantity
            else None,
        ),
    )


def _category(name: str, category: str, rate: int, *, reasons: bool = False) -> Node:
    code, reason = EXEMPTIONS.get(category, ("", "")) if reasons else ("", "")
    return node(
        name,
        node("cbc:ID", category),
        # BR-O-05: what is outside VAT has no rate
        None if category == "O" else node("cbc:Percent", f"{rate}.00"),
        _optional("cbc:TaxExemptionReasonCode", code),
        _optional("cbc:TaxExemptionReason", reason),
        node("cac:TaxScheme", node("cbc:ID", "VAT")),
    )


def _party(company: Company, *, with_vat: bool) -> Node:
    # BR-O-02: outside VAT nobody's VAT identifier is named; the CUI goes to BT-30 and BT-47
    show_vat = with_vat and (company.vat or company.country != "RO")
    schemes = [_tax_scheme(company.vat_identifier, "VAT")] if show_vat else []
    legal = company.registration if show_vat else company.cif
    return node(
        "cac:Party",
        node("cac:PartyName", node("cbc:Name", company.name)),
        node(
            "cac:PostalAddress",
            node("cbc:StreetName", company.street),
            node("cbc:CityName", company.city),
            _optional("cbc:PostalZone", company.postcode),
            _optional("cbc:CountrySubentity", company.county),
            node("cac:Country", node("cbc:IdentificationCode", company.country)),
        ),
        schemes,
        node(
            "cac:PartyLegalEntity",
            node("cbc:RegistrationName", company.name),
            _optional("cbc:CompanyID", legal),
        ),
        node(
            "cac:Contact",
            _optional("cbc:Name", company.contact),
            _optional("cbc:Telephone", company.phone),
            _optional("cbc:ElectronicMail", company.email),
        )
        if company.contact or company.phone or company.email
        else None,
    )


def _tax_scheme(identifier: str, scheme: str) -> Node:
    return node(
        "cac:PartyTaxScheme",
        node("cbc:CompanyID", identifier),
        node("cac:TaxScheme", node("cbc:ID", scheme)),
    )


def _period(period: tuple[date, date] | None) -> Node | None:
    if period is None:
        return None
    return node(
        "cac:InvoicePeriod",
        node("cbc:StartDate", period[0].isoformat()),
        node("cbc:EndDate", period[1].isoformat()),
    )


def _reference(name: str, text: str) -> Node | None:
    return node(name, node("cbc:ID", text)) if text else None


def _delivery(draft: Draft) -> Node | None:
    if draft.delivery_date is None:
        return None
    place = draft.delivery_place
    return node(
        "cac:Delivery",
        node("cbc:ActualDeliveryDate", draft.delivery_date.isoformat()),
        node(
            "cac:DeliveryLocation",
            node(
                "cac:Address",
                node("cbc:StreetName", place.street),
                node("cbc:CityName", place.city),
                _optional("cbc:CountrySubentity", place.county),
                node("cac:Country", node("cbc:IdentificationCode", place.country)),
            ),
        )
        if place
        else None,
    )


def _payment(payment: PaymentDraft, due: str) -> Node:
    account = None
    if payment.iban:
        account = node(
            "cac:PayeeFinancialAccount",
            node("cbc:ID", payment.iban),
            _optional("cbc:Name", payment.account_name),
            _reference("cac:FinancialInstitutionBranch", payment.bank),
        )
    card = None
    if payment.card:
        card = node(
            "cac:CardAccount",
            node("cbc:PrimaryAccountNumberID", payment.card),
            node("cbc:NetworkID", "VISA"),
        )
    return node(
        "cac:PaymentMeans",
        Node("cbc:PaymentMeansCode", payment.code, (), (("name", payment.name),)),
        _optional("cbc:PaymentDueDate", due),
        _optional("cbc:PaymentID", payment.reference),
        card,
        account,
    )


def _allowance(allowance: AllowanceDraft, currency: str) -> Node:
    return node(
        "cac:AllowanceCharge",
        node("cbc:ChargeIndicator", "true" if allowance.is_charge else "false"),
        node("cbc:AllowanceChargeReasonCode", allowance.code),
        node("cbc:AllowanceChargeReason", allowance.reason),
        _optional("cbc:MultiplierFactorNumeric", str(allowance.percent or "")),
        node("cbc:Amount", _amount(allowance.amount), currencyID=currency),
        node("cbc:BaseAmount", _amount(allowance.base), currencyID=currency)
        if allowance.percent
        else None,
        _category("cac:TaxCategory", allowance.category, allowance.rate),
    )


def _attachment(attachment: AttachmentDraft) -> Node:
    return node(
        "cac:AdditionalDocumentReference",
        node("cbc:ID", attachment.id),
        node("cbc:DocumentDescription", attachment.description),
        node(
            "cac:Attachment",
            node(
                "cbc:EmbeddedDocumentBinaryObject",
                base64.b64encode(attachment.content).decode("ascii"),
                mimeCode=attachment.mime,
                filename=attachment.filename,
            ),
        ),
    )


def _amount(minor: int) -> str:
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100}.{abs(minor) % 100:02d}"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# The bytes

_COMMON = (
    ' xmlns:cac="urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2"'
    ' xmlns:cbc="urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2"'
)


def _serialise(root: Node, style: str) -> bytes:
    namespace = f"urn:oasis:names:specification:ubl:schema:xsd:{root.name}-2"
    prefix = "ns4:" if style == "prefixed" else ""
    xmlns = "xmlns:ns4" if prefix else "xmlns"
    standalone = ' standalone="yes"' if prefix else ""
    indent = {"compact": "", "prefixed": "    "}.get(style, "  ")
    parts = [f'<?xml version="1.0" encoding="UTF-8"{standalone}?>', "" if not indent else "\n"]
    parts.append(f"<{prefix}{root.name} {xmlns}={quoteattr(namespace)}{_COMMON}>")
    for child in root.children:
        _put(child, parts, indent, 1)
    parts.append(f"{chr(10) if indent else ''}</{prefix}{root.name}>")
    text = "".join(parts) + ("\n" if indent else "")
    if style == "windows":
        return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    return text.encode()


def _put(item: Node, parts: list[str], indent: str, depth: int) -> None:
    if indent:
        parts.append("\n" + indent * depth)
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in item.attributes)
    if item.children:
        parts.append(f"<{item.name}{attributes}>")
        for child in item.children:
            _put(child, parts, indent, depth + 1)
        if indent:
            parts.append("\n" + indent * depth)
        parts.append(f"</{item.name}>")
    else:
        parts.append(f"<{item.name}{attributes}>{escape(item.text)}</{item.name}>")

"""An invoice as people read it: ordered, labelled, formatted, in their language.

`present()` is the one place that decides which words, which number format and
which order a document is shown with; the PDF and the portal's page lay out the
same `Presented`. Every field of `Invoice` has a place here and what no field
took stands in `extras`, so nothing that the XML says is dropped. Texts are
plain: whoever writes HTML escapes them. A value may hold line breaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from appliance.core import codelists, money
from appliance.core.sentence import Sentence
from appliance.core.ubl_model import (
    Address,
    AllowanceCharge,
    Attachment,
    Delivery,
    DocumentType,
    Identifier,
    Invoice,
    Line,
    Party,
    PaymentMeans,
    VatSubtotal,
)

NBSP = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Field:
    """A label and its value; a label `''` means that the value speaks for itself."""

    label: str
    value: str


@dataclass(frozen=True)
class Card:
    """A party, a delivery or a way to pay: what it is, its name, what is known of it."""

    role: str
    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class LineRow:
    """One line of the invoice; `price` names the base quantity when it is not one."""

    number: str
    name: str
    description: str
    note: str
    facts: tuple[Field, ...]
    quantity: str
    price: str
    vat: str
    net: str


@dataclass(frozen=True)
class AdjustmentRow:
    """An allowance (with a minus) or a charge of the whole document."""

    kind: str
    reason: str
    base: str
    percent: str
    vat: str
    amount: str


@dataclass(frozen=True)
class VatRow:
    """One row of the VAT breakdown; `note` says why there is no VAT."""

    category: str
    rate: str
    taxable: str
    tax: str
    note: str


@dataclass(frozen=True)
class AttachmentRow:
    """One document that supports the invoice; `position` counts `Invoice.attachments` from 0."""

    position: int
    name: str
    fields: tuple[Field, ...]
    embedded: bool


@dataclass(frozen=True)
class Presented:
    """A whole invoice, ready to be laid out from top to bottom."""

    language: str
    title: str
    number: str
    currency: str
    dates: tuple[Field, ...]
    payable_label: str
    payable: str
    payable_in_lei: str
    """The same amount in lei where the document itself gives the rate, else `''`."""
    supplier: Card
    customer: Card
    others: tuple[Card, ...]
    references: tuple[Field, ...]
    lines: tuple[LineRow, ...]
    adjustments: tuple[AdjustmentRow, ...]
    vat: tuple[VatRow, ...]
    totals: tuple[Field, ...]
    """Every total but the payable one, in the order of the sum."""
    payments: tuple[Card, ...]
    payment_terms: str
    notes: tuple[str, ...]
    attachments: tuple[AttachmentRow, ...]
    technical: tuple[Field, ...]
    warnings: tuple[str, ...]
    """What was read with a guess or left aside, a sentence each."""
    extras: tuple[Field, ...]

    def label(self, key: str) -> str:
        """Return the words of a heading or a column in the document's language."""
        return LABELS[key].in_language(self.language)


def present(invoice: Invoice, language: str = "ro") -> Presented:
    """Return everything the invoice says, in Romanian for `ro` and in English otherwise."""
    return _Presenter(invoice, language).present()


def format_date(day: date | None, language: str) -> str:
    """Return `24.11.2026`, in English `24 Nov 2026`; `''` for no date."""
    if day is None:
        return ""
    if language == "ro":
        return f"{day.day:02d}.{day.month:02d}.{day.year:04d}"
    return f"{day.day}{NBSP}{_MONTHS[day.month - 1]}{NBSP}{day.year:04d}"


def format_money(amount: Decimal | None, currency: str, language: str) -> str:
    """Return the number with at least the currency's decimals, and no zeros beyond them."""
    if amount is None:
        return ""
    return money.format_decimal(_at_least(amount, money.exponent(currency)), language)


def format_number(value: Decimal | None, language: str) -> str:
    """Return a quantity or a rate without the zeros at its end."""
    return "" if value is None else money.format_decimal(_at_least(value, 0), language)


def group_iban(iban: str) -> str:
    """Return the account in groups of four, held together by no-break spaces (ISO 13616)."""
    if len(iban) < 15 or not (iban[:2].isalpha() and iban[2:4].isdecimal() and iban.isalnum()):
        return iban
    return NBSP.join(iban[start : start + 4] for start in range(0, len(iban), 4))


class _Presenter:
    def __init__(self, invoice: Invoice, language: str) -> None:
        self.invoice = invoice
        self.language = "ro" if language == "ro" else "en"

    def present(self) -> Presented:
        invoice = self.invoice
        in_lei = invoice.ron_payable() if invoice.currency != "RON" else None
        if in_lei is not None and invoice.type is DocumentType.CREDIT_NOTE:
            in_lei = in_lei.copy_negate()
        credit = invoice.type is DocumentType.CREDIT_NOTE
        return Presented(
            language=self.language,
            title=self.title(),
            number=invoice.number,
            currency=self.currency_name(invoice.currency),
            dates=self.dates(),
            payable_label=self.label("credited" if credit else "payable"),
            payable=self.amount_with_currency(invoice.payable_amount, invoice.currency),
            payable_in_lei=self.amount_with_currency(in_lei, "RON"),
            supplier=self.party("supplier", invoice.supplier),
            customer=self.party("customer", invoice.customer),
            others=self.others(),
            references=self.references(),
            lines=tuple(map(self.line, invoice.lines)),
            adjustments=tuple(map(self.adjustment, invoice.allowances_charges)),
            vat=tuple(map(self.vat_row, invoice.vat_subtotals)),
            totals=self.totals(),
            payments=tuple(map(self.payment, invoice.payment_means)),
            payment_terms=invoice.payment_terms,
            notes=invoice.notes,
            attachments=tuple(
                self.attachment(position, attachment)
                for position, attachment in enumerate(invoice.attachments)
            ),
            technical=self.technical(),
            warnings=tuple(
                oddity.sentence.in_language(self.language) for oddity in invoice.oddities
            ),
            extras=tuple(Field(_steps(extra.path), extra.value) for extra in invoice.extras),
        )

    def label(self, key: str) -> str:
        return LABELS[key].in_language(self.language)

    def fields(self, *pairs: tuple[str, str]) -> tuple[Field, ...]:
        return tuple(Field(self.label(key) if key else "", value) for key, value in pairs if value)

    def day(self, day: date | None) -> str:
        return format_date(day, self.language)

    def amount(self, amount: Decimal | None) -> str:
        return format_money(amount, self.invoice.currency, self.language)

    def amount_with_currency(self, amount: Decimal | None, currency: str) -> str:
        number = format_money(amount, currency, self.language)
        if not number or not currency:
            return number
        if self.language == "ro":
            return f"{number}{NBSP}{self.currency_name(currency)}"
        return f"{currency}{NBSP}{number}"

    def currency_name(self, currency: str) -> str:
        return "lei" if currency == "RON" and self.language == "ro" else currency

    def number(self, value: Decimal | None) -> str:
        return format_number(value, self.language)

    def percent(self, value: Decimal | None) -> str:
        return "" if value is None else f"{self.number(value)}%"

    def quantity(self, quantity: Decimal | None, unit: str) -> str:
        words = codelists.unit(unit, quantity, self.language).replace(" ", NBSP)
        return NBSP.join(filter(None, (self.number(quantity), words)))

    def period(self, start: date | None, end: date | None) -> str:
        if start is None or end is None:
            key = "since" if end is None else "until"
            day = self.day(start or end)
            return f"{self.label(key)} {day}" if day else ""
        return f"{self.day(start)} – {self.day(end)}"

    def title(self) -> str:
        """The type in words: who reads `Notă de creditare` must not take it for an invoice."""
        invoice = self.invoice
        credit = invoice.type is DocumentType.CREDIT_NOTE
        if not credit and invoice.type_code in ("", "380"):
            reversal = (invoice.tax_inclusive_amount or invoice.payable_amount) < 0
            return self.label("reversal" if reversal else "invoice")
        found = codelists.DOCUMENT_TYPES.get(invoice.type_code)
        if found is None or (credit and invoice.type_code == "380"):
            return self.label("credit_note" if credit else "invoice")
        return found.in_language(self.language)

    def dates(self) -> tuple[Field, ...]:
        invoice = self.invoice
        code = codelists.words(codelists.TAX_POINT_CODES, invoice.tax_point_code, self.language)
        return self.fields(
            ("issue_date", self.day(invoice.issue_date)),
            ("due_date", self.day(invoice.due_date)),
            ("tax_point", self.day(invoice.tax_point_date)),
            ("tax_point", code),
            ("period", self.period(invoice.period_start, invoice.period_end)),
        )

    def references(self) -> tuple[Field, ...]:
        invoice = self.invoice
        preceding = [
            f"{one.number} {self.label('of_date')} {self.day(one.issue_date)}"
            if one.issue_date
            else one.number
            for one in invoice.preceding_invoices
        ]
        return self.fields(
            *(("preceding", text) for text in preceding),
            ("order", invoice.order_reference),
            ("sales_order", invoice.sales_order_reference),
            ("contract", invoice.contract_reference),
            ("project", invoice.project_reference),
            ("despatch", invoice.despatch_reference),
            ("receiving", invoice.receiving_reference),
            ("originator", invoice.originator_reference),
            ("object", self.identifier(invoice.invoiced_object)),
            ("buyer_reference", invoice.buyer_reference),
            ("accounting_cost", invoice.accounting_cost),
        )

    def technical(self) -> tuple[Field, ...]:
        invoice = self.invoice
        return self.fields(
            ("type_code", invoice.type_code),
            ("currency", invoice.currency),
            ("tax_currency", invoice.tax_currency or ""),
            ("customization", invoice.customization_id),
            ("profile", invoice.profile_id),
        )

    def identifier(self, identifier: Identifier | None) -> str:
        if identifier is None or not identifier.value:
            return ""
        if not identifier.scheme:
            return identifier.value
        return f"{identifier.value} ({codelists.scheme(identifier.scheme)})"

    def party(self, role: str, party: Party) -> Card:
        name = party.legal_name or party.name or party.trading_name
        contact = party.contact
        known_as = [text for text in (party.name, party.trading_name) if text != name]
        legal = party.legal_id.value if party.legal_id else ""
        trade_register = legal[:1] in ("J", "F", "C") and legal[1:2].isdecimal()
        legal_text = self.identifier(party.legal_id)
        repeated = legal_text in (party.vat_identifier, party.tax_registration)
        return Card(
            self.label(role),
            name,
            self.fields(
                *(("trading_name", text) for text in dict.fromkeys(known_as)),
                ("", self.address(party.address)),
                ("vat_identifier", party.vat_identifier),
                ("tax_registration", party.tax_registration),
                (
                    "trade_register" if trade_register else "legal_id",
                    "" if repeated else legal_text,
                ),
                *(("identifier", self.identifier(one)) for one in party.identifiers),
                ("creditor_id", party.creditor_id),
                ("", party.legal_form),
                (
                    "contact",
                    " · ".join(filter(None, (contact.name, contact.telephone, contact.email))),
                ),
                ("endpoint", self.identifier(party.endpoint)),
            ),
        )

    def address(self, address: Address) -> str:
        town = " ".join(
            filter(None, (address.postal_code, codelists.city(address.city, address.country)))
        )
        region = codelists.subdivision(address.subdivision, self.language)
        country = codelists.country(address.country, self.language)
        place = ", ".join(filter(None, (town, region, country)))
        return "\n".join(
            filter(None, (address.street, address.additional_street, address.line, place))
        )

    def others(self) -> tuple[Card, ...]:
        invoice = self.invoice
        cards = []
        if invoice.payee is not None:
            cards.append(self.party("payee", invoice.payee))
        if invoice.tax_representative is not None:
            cards.append(self.party("tax_representative", invoice.tax_representative))
        if invoice.delivery is not None:
            cards.append(self.delivery(invoice.delivery))
        return tuple(card for card in cards if card.name or card.fields)

    def delivery(self, delivery: Delivery) -> Card:
        return Card(
            self.label("delivery"),
            delivery.party_name,
            self.fields(
                ("delivery_date", self.day(delivery.date)),
                ("location", self.identifier(delivery.location_id)),
                ("", self.address(delivery.address)),
            ),
        )

    def line(self, line: Line) -> LineRow:
        price = self.amount(line.price)
        if price and (line.base_quantity not in (None, 1) or line.base_unit not in ("", line.unit)):
            base = self.quantity(line.base_quantity, line.base_unit or line.unit)
            price = f"{price}\n/{NBSP}{base}"
        return LineRow(
            number=line.id,
            name=line.name,
            description=line.description if line.description != line.name else "",
            note=line.note,
            facts=self.line_facts(line),
            quantity=self.quantity(line.quantity, line.unit),
            price=price,
            vat=self.vat(line.vat_category, line.vat_rate),
            net=self.amount(line.net_amount),
        )

    def line_facts(self, line: Line) -> tuple[Field, ...]:
        return (
            *self.fields(
                ("period", self.period(line.period_start, line.period_end)),
                ("seller_item_id", line.seller_item_id),
                ("buyer_item_id", line.buyer_item_id),
                ("standard_item_id", self.identifier(line.standard_item_id)),
                *(
                    (
                        "classification",
                        f"{one.code} ({' '.join(filter(None, (one.list_id, one.list_version)))})"
                        if one.list_id or one.list_version
                        else one.code,
                    )
                    for one in line.classifications
                ),
                ("origin", codelists.country(line.origin_country, self.language)),
            ),
            *(Field(one.name, one.value) for one in line.properties),
            *self.fields(
                ("order_line", line.order_line),
                ("accounting_cost", line.accounting_cost),
                ("object", self.identifier(line.object_id)),
                ("gross_price", self.amount(line.gross_price)),
                ("price_discount", self.amount(line.price_discount)),
            ),
            *map(self.line_adjustment, line.allowances_charges),
        )

    def reason(self, adjustment: AllowanceCharge) -> str:
        table = codelists.CHARGE_REASONS if adjustment.is_charge else codelists.ALLOWANCE_REASONS
        code = codelists.words(table, adjustment.reason_code, self.language)
        return " · ".join(dict.fromkeys(filter(None, (adjustment.reason, code))))

    def line_adjustment(self, adjustment: AllowanceCharge) -> Field:
        how = ""
        if adjustment.percent is not None:
            how = self.percent(adjustment.percent)
        if adjustment.base_amount is not None:
            how = f"{how} {self.label('of')} {self.amount(adjustment.base_amount)}".strip()
        vat = self.vat(adjustment.vat_category, adjustment.vat_rate)
        if vat:
            vat = f"{self.label('vat')} {vat}"
        explained = ", ".join(filter(None, (self.reason(adjustment), how, vat)))
        amount = self.signed(adjustment)
        label = self.label("charge" if adjustment.is_charge else "allowance")
        return Field(label, f"{amount} ({explained})" if explained else amount)

    def signed(self, adjustment: AllowanceCharge) -> str:
        amount = adjustment.amount
        if amount is None or adjustment.is_charge:
            return self.amount(amount)
        return self.amount(_negated(amount))

    def adjustment(self, adjustment: AllowanceCharge) -> AdjustmentRow:
        return AdjustmentRow(
            kind=self.label("charge" if adjustment.is_charge else "allowance"),
            reason=self.reason(adjustment),
            base=self.amount(adjustment.base_amount),
            percent=self.percent(adjustment.percent),
            vat=self.vat(adjustment.vat_category, adjustment.vat_rate),
            amount=self.signed(adjustment),
        )

    def vat(self, category: str, rate: Decimal | None) -> str:
        """`21%`; a category without VAT in words, with its rate when that is not nothing."""
        if category in ("", "S"):
            return self.percent(rate) or self.category(category)
        words = self.category(category)
        return f"{self.percent(rate)} {words}" if rate else words

    def category(self, code: str) -> str:
        return codelists.words(codelists.VAT_CATEGORIES, code, self.language)

    def vat_row(self, subtotal: VatSubtotal) -> VatRow:
        reason, code = subtotal.exemption_reason, subtotal.exemption_code
        return VatRow(
            category=self.category(subtotal.category),
            rate=self.percent(subtotal.rate),
            taxable=self.amount(subtotal.taxable_amount),
            tax=self.amount(subtotal.tax_amount),
            note=f"{reason} ({code})" if reason and code else reason or code,
        )

    def totals(self) -> tuple[Field, ...]:
        invoice = self.invoice
        accounting = self.amount_with_currency(
            invoice.tax_amount_accounting, invoice.tax_currency or ""
        )
        return self.fields(
            ("line_extension", self.amount(invoice.line_extension_amount)),
            ("allowance_total", self.amount(_negated(invoice.allowance_total))),
            ("charge_total", self.amount(invoice.charge_total)),
            ("tax_exclusive", self.amount(invoice.tax_exclusive_amount)),
            ("tax_amount", self.amount(invoice.tax_amount)),
            ("tax_in_lei" if invoice.tax_currency == "RON" else "tax_accounting", accounting),
            ("tax_inclusive", self.amount(invoice.tax_inclusive_amount)),
            ("prepaid", self.amount(_negated(invoice.prepaid_amount))),
            ("rounding", self.amount(invoice.rounding_amount)),
        )

    def payment(self, means: PaymentMeans) -> Card:
        words = codelists.words(codelists.PAYMENT_MEANS, means.code, self.language)
        return Card(
            self.label("payment"),
            words or means.name,
            self.fields(
                ("iban", group_iban(means.iban)),
                ("account_name", means.account_name),
                ("bic", means.bic),
                ("payment_id", means.payment_id),
                ("card_number", means.card_number),
                ("card_holder", means.card_holder),
                ("mandate", means.mandate),
                ("debited_account", group_iban(means.debited_account)),
                ("payment_name", means.name if words not in ("", means.name) else ""),
            ),
        )

    def attachment(self, position: int, attachment: Attachment) -> AttachmentRow:
        name = attachment.filename or attachment.id or attachment.uri
        size = attachment.content and format_size(len(attachment.content), self.language)
        return AttachmentRow(
            position=position,
            name=name,
            fields=self.fields(
                ("description", attachment.description),
                ("attachment_id", attachment.id if attachment.id != name else ""),
                ("mime", attachment.mime),
                ("size", size or ""),
                ("uri", attachment.uri if attachment.uri != name else ""),
            ),
            embedded=attachment.content is not None,
        )


def format_size(size: int, language: str) -> str:
    """Return `12 kB` or `1,5 MB`, in decimal units."""
    if size < 1000:
        return f"{size}{NBSP}B"
    if size < 1_000_000:
        return f"{(size + 500) // 1000}{NBSP}kB"
    tenths = (size + 50_000) // 100_000
    return f"{format_number(Decimal(tenths).scaleb(-1), language)}{NBSP}MB"


def _at_least(value: Decimal, decimals: int) -> Decimal:
    """The same number with no zeros at its end beyond `decimals`, and at least so many digits."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return value
    places = -exponent
    kept = list(digits)
    while places > decimals and kept and kept[-1] == 0:
        kept.pop()
        places -= 1
    if places < decimals:
        kept += [0] * (decimals - places)
        places = decimals
    return Decimal((sign, tuple(kept) or (0,), -places))


def _steps(path: str) -> str:
    """`cac:Delivery/cbc:Quantity` as `Delivery › Quantity`: the prefixes tell a reader nothing."""
    return " › ".join(step.rpartition(":")[2] for step in path.split("/"))


def _negated(amount: Decimal | None) -> Decimal | None:
    return amount.copy_negate() if amount else amount


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

LABELS = {
    key: Sentence(*words)
    for key, words in {
        # titles
        "invoice": ("Factură", "Invoice"),
        "reversal": ("Factură storno", "Reversal invoice"),
        "credit_note": ("Notă de creditare", "Credit note"),
        "number": ("Nr.", "No."),
        # dates
        "issue_date": ("Data emiterii", "Issue date"),
        "due_date": ("Scadență", "Due date"),
        "tax_point": ("Exigibilitatea TVA", "VAT point"),
        "period": ("Perioada", "Period"),
        "since": ("din", "from"),
        "until": ("până la", "until"),
        "of_date": ("din", "of"),
        # parties
        "supplier": ("Furnizor", "Supplier"),
        "customer": ("Client", "Customer"),
        "payee": ("Beneficiarul plății", "Payee"),
        "tax_representative": ("Reprezentant fiscal", "Tax representative"),
        "delivery": ("Livrare", "Delivery"),
        "trading_name": ("Denumire comercială", "Trading name"),
        "vat_identifier": ("Cod TVA", "VAT ID"),
        "tax_registration": ("Cod fiscal", "Tax number"),
        "trade_register": ("Nr. reg. com.", "Trade register"),
        "legal_id": ("Nr. înregistrare", "Registration no."),
        "identifier": ("Identificator", "Identifier"),
        "creditor_id": ("Creditor SEPA", "SEPA creditor"),
        "contact": ("Contact", "Contact"),
        "endpoint": ("Adresă electronică", "Electronic address"),
        "delivery_date": ("Data livrării", "Delivery date"),
        "location": ("Locul livrării", "Location"),
        # references
        "references": ("Referințe", "References"),
        "preceding": ("Factura anterioară", "Preceding invoice"),
        "order": ("Comandă", "Order"),
        "sales_order": ("Comanda furnizorului", "Sales order"),
        "contract": ("Contract", "Contract"),
        "project": ("Proiect", "Project"),
        "despatch": ("Aviz de expediție", "Despatch advice"),
        "receiving": ("Aviz de recepție", "Receiving advice"),
        "originator": ("Licitație sau lot", "Tender or lot"),
        "object": ("Obiect facturat", "Invoiced object"),
        "buyer_reference": ("Referința clientului", "Buyer reference"),
        "accounting_cost": ("Referință contabilă", "Accounting reference"),
        # lines
        "lines": ("Linii", "Lines"),
        "item": ("Denumire", "Item"),
        "quantity": ("Cantitate", "Quantity"),
        "price": ("Preț unitar", "Unit price"),
        "vat": ("TVA", "VAT"),
        "net": ("Valoare", "Amount"),
        "note": ("Notă", "Note"),
        "seller_item_id": ("Cod furnizor", "Seller's code"),
        "buyer_item_id": ("Cod client", "Buyer's code"),
        "standard_item_id": ("Cod standard", "Standard code"),
        "classification": ("Clasificare", "Classification"),
        "origin": ("Origine", "Origin"),
        "order_line": ("Linia comenzii", "Order line"),
        "gross_price": ("Preț brut", "Gross price"),
        "price_discount": ("Reducere de preț", "Price discount"),
        "allowance": ("Reducere", "Allowance"),
        "charge": ("Cost suplimentar", "Charge"),
        "of": ("din", "of"),
        # allowances, VAT and totals
        "adjustments": ("Reduceri și costuri suplimentare", "Allowances and charges"),
        "reason": ("Motiv", "Reason"),
        "base": ("Bază", "Base"),
        "percent": ("Procent", "Percent"),
        "amount": ("Sumă", "Amount"),
        "vat_breakdown": ("Detalierea TVA", "VAT breakdown"),
        "category": ("Categorie", "Category"),
        "rate": ("Cotă", "Rate"),
        "taxable": ("Bază de impozitare", "Taxable amount"),
        "totals": ("Totaluri", "Totals"),
        "line_extension": ("Total linii", "Sum of lines"),
        "allowance_total": ("Reduceri", "Allowances"),
        "charge_total": ("Costuri suplimentare", "Charges"),
        "tax_exclusive": ("Total fără TVA", "Total without VAT"),
        "tax_amount": ("Total TVA", "Total VAT"),
        "tax_in_lei": ("Total TVA în lei", "Total VAT in lei"),
        "tax_accounting": ("TVA în moneda contabilă", "VAT in accounting currency"),
        "tax_inclusive": ("Total cu TVA", "Total with VAT"),
        "prepaid": ("Plătit în avans", "Paid in advance"),
        "rounding": ("Rotunjire", "Rounding"),
        "payable": ("Total de plată", "Amount due"),
        "credited": ("Total creditat", "Amount credited"),
        "in_lei": (
            "în lei, la cursul care rezultă din TVA-ul documentului",
            "in lei, at the rate implied by the document's VAT",
        ),
        # payment
        "payment": ("Plată", "Payment"),
        "payment_terms": ("Termeni de plată", "Payment terms"),
        "payment_name": ("Descriere", "Description"),
        "iban": ("Cont", "Account"),
        "account_name": ("Titularul contului", "Account name"),
        "bic": ("BIC", "BIC"),
        "payment_id": ("Referința plății", "Remittance information"),
        "card_number": ("Card", "Card"),
        "card_holder": ("Titularul cardului", "Card holder"),
        "mandate": ("Mandat", "Mandate"),
        "debited_account": ("Cont debitat", "Debited account"),
        # the rest
        "notes": ("Mențiuni", "Notes"),
        "attachments": ("Documente însoțitoare", "Supporting documents"),
        "description": ("Descriere", "Description"),
        "attachment_id": ("Referință", "Reference"),
        "mime": ("Tip", "Type"),
        "size": ("Mărime", "Size"),
        "uri": ("Adresă web", "Web address"),
        "technical": ("Date tehnice", "Technical data"),
        "type_code": ("Codul tipului", "Type code"),
        "currency": ("Monedă", "Currency"),
        "tax_currency": ("Moneda contabilă a TVA", "VAT accounting currency"),
        "customization": ("Specificație", "Specification"),
        "profile": ("Proces", "Process"),
        "warnings": ("De verificat", "To be checked"),
        "extras": ("Alte informații din XML", "Other information in the XML"),
        # the document's way through SPV
        "spv": ("Identificare SPV", "SPV identification"),
        "upload_id": ("Index de încărcare", "Upload index"),
        "message_id": ("Id mesaj", "Message id"),
        "signature": ("Semnătura MF", "MF signature"),
        "page": ("Pagina", "Page"),
        "of_pages": ("din", "of"),
        "xml_original": ("Originalul XML al facturii", "The invoice's original XML"),
        "xml_attached": (
            "Originalul XML este atașat acestui PDF; el este documentul legal.",
            "The original XML is attached to this PDF; it is the legal document.",
        ),
    }.items()
}

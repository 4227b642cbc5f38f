"""UBL 2.1 Invoice and CreditNote, from bytes to the values of `core.ubl_model`.

The paths are those of the EN 16931 syntax binding (CEN/TS 16931-3-2), with the
habits of CIUS-RO and of older UBL that real senders keep. Each field *takes*
its element out of the tree; whatever nobody took ends in `Invoice.extras`, so
a new field of a sender is seen before anybody wrote code for it.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from lxml import etree

from appliance.core import cif as cifs
from appliance.core import xml
from appliance.core.errors import DocumentRefused
from appliance.core.sentence import Sentence
from appliance.core.ubl_model import (
    Address,
    AllowanceCharge,
    Attachment,
    Classification,
    Contact,
    Delivery,
    DocumentType,
    Extra,
    Identifier,
    Invoice,
    Line,
    Oddity,
    Party,
    PaymentMeans,
    PrecedingInvoice,
    Property,
    VatSubtotal,
)
from appliance.core.ubl_tree import UBL, Node, Reading

__all__ = [
    "Address",
    "AllowanceCharge",
    "Attachment",
    "Classification",
    "Contact",
    "Delivery",
    "DocumentType",
    "Extra",
    "Identifier",
    "Invoice",
    "Line",
    "Oddity",
    "Party",
    "PaymentMeans",
    "PrecedingInvoice",
    "Property",
    "VatSubtotal",
    "read",
]

_ROOTS = {
    f"{{{UBL}Invoice-2}}Invoice": DocumentType.INVOICE,
    f"{{{UBL}CreditNote-2}}CreditNote": DocumentType.CREDIT_NOTE,
}


def read(data: bytes) -> Invoice:
    """Return everything that the document says.

    Optional parts may be absent and codes unknown; a date or amount that is
    none is left out, named in `oddities` and kept in `extras`. Raises
    `DocumentRefused` for bytes that `core.xml` refuses, for another kind of
    document, and for one without a payable amount (BT-115), since nobody could
    decide about it.
    """
    root = xml.parse(data)
    kind = _ROOTS.get(str(root.tag))
    if kind is None:
        raise DocumentRefused(_other_document(root))
    reading = Reading()
    invoice = _invoice(Node(root, "", reading), kind, reading)
    reading.leave_the_rest()
    return replace(invoice, extras=tuple(reading.extras), oddities=tuple(reading.oddities))


def _invoice(root: Node, kind: DocumentType, reading: Reading) -> Invoice:
    credit = kind is DocumentType.CREDIT_NOTE
    root.implied("cbc:UBLVersionID", "2.0", "2.1", "2.2", "2.3", "2.4")
    reading.currency = root.text("cbc:DocumentCurrencyCode").upper()
    totals = root.child("cac:LegalMonetaryTotal")
    if not reading.currency:
        reading.currency = totals.currency("cbc:PayableAmount")
        reading.odd(
            "currency_missing",
            "Factura nu spune în ce monedă este. Verifică factura originală.",
            "the invoice does not say its currency; look at the original invoice",
        )
    payable = _payable(totals, reading)
    number = root.text("cbc:ID")
    issued = root.date("cbc:IssueDate")
    if not number:
        reading.odd("number_missing", "Factura nu are număr.", "the invoice does not have a number")
    tax_currency = root.text("cbc:TaxCurrencyCode").upper() or None
    tax, tax_accounting, subtotals = _tax(root, tax_currency, reading)
    object_, project, attachments = _documents(root, credit)
    means_nodes = root.children("cac:PaymentMeans")
    terms_nodes = root.children("cac:PaymentTerms")
    due = root.date("cbc:DueDate")
    for node in (*means_nodes, *terms_nodes):
        # BT-9 of a credit note stands here; an invoice may repeat it.
        there = node.date("cbc:PaymentDueDate")
        if due is None:
            due = there
        elif there is not None and there != due:
            node.put_back("cbc:PaymentDueDate", there.isoformat())
    period = root.child("cac:InvoicePeriod")
    order = root.child("cac:OrderReference")
    payee, representative = root.child("cac:PayeeParty"), root.child("cac:TaxRepresentativeParty")
    delivery = root.child("cac:Delivery")
    supplier = _party(root.child("cac:AccountingSupplierParty").child("cac:Party"))
    lines = root.children("cac:CreditNoteLine" if credit else "cac:InvoiceLine")
    root.implied("cbc:LineCountNumeric", str(len(lines)))
    return Invoice(
        type=kind,
        number=number,
        issue_date=issued,
        currency=reading.currency,
        payable_amount=payable,
        supplier=supplier,
        customer=_party(root.child("cac:AccountingCustomerParty").child("cac:Party")),
        customization_id=root.text("cbc:CustomizationID"),
        profile_id=root.text("cbc:ProfileID"),
        type_code=root.text("cbc:CreditNoteTypeCode" if credit else "cbc:InvoiceTypeCode"),
        due_date=due,
        tax_point_date=root.date("cbc:TaxPointDate"),
        tax_point_code=period.text("cbc:DescriptionCode"),
        tax_currency=tax_currency,
        notes=root.texts("cbc:Note"),
        buyer_reference=root.text("cbc:BuyerReference"),
        accounting_cost=root.text("cbc:AccountingCost"),
        period_start=period.date("cbc:StartDate"),
        period_end=period.date("cbc:EndDate"),
        order_reference=order.text("cbc:ID"),
        sales_order_reference=order.text("cbc:SalesOrderID"),
        contract_reference=root.child("cac:ContractDocumentReference").text("cbc:ID"),
        project_reference=root.child("cac:ProjectReference").text("cbc:ID") or project,
        despatch_reference=root.child("cac:DespatchDocumentReference").text("cbc:ID"),
        receiving_reference=root.child("cac:ReceiptDocumentReference").text("cbc:ID"),
        originator_reference=root.child("cac:OriginatorDocumentReference").text("cbc:ID"),
        invoiced_object=object_,
        preceding_invoices=_preceding(root),
        payee=_party(payee) if payee else None,
        tax_representative=_party(representative) if representative else None,
        delivery=_delivery(delivery) if delivery else None,
        payment_means=tuple(_payment_means(node) for node in means_nodes),
        payment_terms="\n".join(note for node in terms_nodes for note in node.texts("cbc:Note")),
        allowances_charges=_allowances_charges(root),
        tax_amount=tax,
        tax_amount_accounting=tax_accounting,
        vat_subtotals=subtotals,
        line_extension_amount=totals.amount("cbc:LineExtensionAmount"),
        allowance_total=totals.amount("cbc:AllowanceTotalAmount"),
        charge_total=totals.amount("cbc:ChargeTotalAmount"),
        tax_exclusive_amount=totals.amount("cbc:TaxExclusiveAmount"),
        tax_inclusive_amount=totals.amount("cbc:TaxInclusiveAmount"),
        prepaid_amount=totals.amount("cbc:PrepaidAmount"),
        rounding_amount=totals.amount("cbc:PayableRoundingAmount"),
        lines=tuple(_line(node, credit) for node in lines),
        attachments=attachments,
    )


def _payable(totals: Node, reading: Reading) -> Decimal:
    amount = totals.amount("cbc:PayableAmount")
    if amount is not None:
        return amount
    written = [extra.value for extra in reading.extras if extra.path.endswith("cbc:PayableAmount")]
    if written:
        raise DocumentRefused(
            Sentence(
                f"Suma de plată „{written[0][:40]}” nu este un număr. "
                "Cere emitentului o factură corectă.",
                f'the payable amount "{written[0][:40]}" is not a number; '
                "ask the sender for a correct invoice",
            )
        )
    raise DocumentRefused(
        Sentence(
            "Documentul nu are suma de plată (PayableAmount), deci nu este o factură întreagă. "
            "Cere emitentului factura întreagă.",
            "the document has no payable amount, so it is not a whole invoice; "
            "ask the sender for the whole one",
        )
    )


def _tax(
    root: Node, tax_currency: str | None, reading: Reading
) -> tuple[Decimal | None, Decimal | None, tuple[VatSubtotal, ...]]:
    """BT-110, BT-111, BG-23: a TaxTotal in the tax currency is BT-111, the others are VAT."""
    tax: Decimal | None = None
    accounting: Decimal | None = None
    subtotals: list[VatSubtotal] = []
    for total in root.children("cac:TaxTotal"):
        currency = total.currency("cbc:TaxAmount")
        foreign = tax_currency not in (None, reading.currency) and currency == tax_currency
        amount = total.amount("cbc:TaxAmount", tax_currency if foreign else None)
        if foreign and accounting is None:
            accounting = amount
        elif tax is None and not foreign:
            tax = amount
        elif not foreign and tax_currency == reading.currency and not total.has("cac:TaxSubtotal"):
            accounting = amount  # BT-6 repeats BT-5, and the total is written twice
        elif amount is not None:
            total.put_back("cbc:TaxAmount", f"{amount:f}")
            reading.odd(
                "several_tax_totals",
                "Factura are mai multe totaluri de TVA. Verifică factura originală.",
                "the invoice has several VAT totals; look at the original invoice",
            )
        if not foreign:
            subtotals += [_subtotal(node) for node in total.children("cac:TaxSubtotal")]
    return tax, accounting, tuple(subtotals)


def _subtotal(node: Node) -> VatSubtotal:
    category = node.child("cac:TaxCategory")
    category.child("cac:TaxScheme").implied("cbc:ID", "VAT", "TVA")
    rate = category.number("cbc:Percent")
    return VatSubtotal(
        category=category.text("cbc:ID"),
        # UBL 2.0 had the rate beside the category.
        rate=node.number("cbc:Percent") if rate is None else rate,
        taxable_amount=node.amount("cbc:TaxableAmount"),
        tax_amount=node.amount("cbc:TaxAmount"),
        exemption_reason="\n".join(category.texts("cbc:TaxExemptionReason")),
        exemption_code=category.text("cbc:TaxExemptionReasonCode"),
    )


def _documents(root: Node, credit: bool) -> tuple[Identifier | None, str, tuple[Attachment, ...]]:
    """BT-18 (type 130), BT-11 of a credit note (type 50), BG-24: one element for three things."""
    invoiced_object: Identifier | None = None
    project = ""
    attachments = []
    for node in root.children("cac:AdditionalDocumentReference"):
        code = node.text("cbc:DocumentTypeCode")
        if code == "130" and invoiced_object is None and not node.has("cac:Attachment"):
            invoiced_object = node.identifier("cbc:ID")
        elif code == "50" and credit and not project:
            project = node.text("cbc:ID")
        else:
            if code:
                node.put_back("cbc:DocumentTypeCode", code)
            attachments.append(_attachment(node))
    return invoiced_object, project, tuple(attachments)


def _attachment(node: Node) -> Attachment:
    inside = node.child("cac:Attachment")
    external = inside.child("cac:ExternalReference")
    content, mime, filename = inside.binary("cbc:EmbeddedDocumentBinaryObject")
    return Attachment(
        id=node.text("cbc:ID"),
        description="\n".join(node.texts("cbc:DocumentDescription"))
        or node.text("cbc:DocumentType"),
        filename=filename or external.text("cbc:FileName"),
        mime=mime or external.text("cbc:MimeCode"),
        content=content,
        uri=external.text("cbc:URI"),
    )


def _preceding(root: Node) -> tuple[PrecedingInvoice, ...]:
    found = []
    for billing in root.children("cac:BillingReference"):
        for name in ("cac:InvoiceDocumentReference", "cac:CreditNoteDocumentReference"):
            for node in billing.children(name):
                found.append(PrecedingInvoice(node.text("cbc:ID"), node.date("cbc:IssueDate")))
    return tuple(found)


def _party(node: Node) -> Party:
    trading_name = node.child("cac:PartyName").text("cbc:Name")
    legal = node.child("cac:PartyLegalEntity")
    legal_name = legal.text("cbc:RegistrationName")
    vat_identifier, tax_registration = _tax_schemes(node)
    given = [
        identifier
        for entry in node.children("cac:PartyIdentification")
        if (identifier := entry.identifier("cbc:ID")) is not None
    ]
    creditors = [identifier for identifier in given if identifier.scheme.upper() == "SEPA"]
    identifiers = tuple(identifier for identifier in given if identifier not in creditors)
    legal_id = legal.identifier("cbc:CompanyID")
    contact = node.child("cac:Contact")
    name = legal_name or trading_name
    if not name:
        # A natural person, as UBL before EN 16931 had it.
        person = node.child("cac:Person")
        name = f"{person.text('cbc:FirstName')} {person.text('cbc:FamilyName')}".strip()
    return Party(
        name=name,
        trading_name=trading_name,
        legal_name=legal_name,
        cif=_shown_cif(vat_identifier, tax_registration, legal_id, identifiers),
        vat_identifier=vat_identifier,
        tax_registration=tax_registration,
        legal_id=legal_id,
        identifiers=identifiers,
        creditor_id=creditors[0].value if creditors else "",
        endpoint=node.identifier("cbc:EndpointID"),
        legal_form=legal.text("cbc:CompanyLegalForm"),
        address=_address(node.child("cac:PostalAddress")),
        contact=Contact(
            name=contact.text("cbc:Name"),
            telephone=contact.text("cbc:Telephone"),
            email=contact.text("cbc:ElectronicMail"),
        ),
    )


def _tax_schemes(party: Node) -> tuple[str, str]:
    """BT-31 is what stands under the scheme VAT, BT-32 what stands under any other or none."""
    vat_identifier = tax_registration = ""
    for node in party.children("cac:PartyTaxScheme"):
        company = node.text("cbc:CompanyID")
        scheme = node.child("cac:TaxScheme").text("cbc:ID").upper()
        if scheme in ("VAT", "TVA") and not vat_identifier:
            vat_identifier = company
        elif scheme not in ("VAT", "TVA") and not tax_registration:
            tax_registration = company
        elif company:
            node.put_back("cbc:CompanyID", company)
    return vat_identifier, tax_registration


def _shown_cif(
    vat_identifier: str,
    tax_registration: str,
    legal_id: Identifier | None,
    identifiers: tuple[Identifier, ...],
) -> str:
    """The first of BT-31, BT-32, BT-30, BT-29 that is a tax identifier and not a register's number.

    A company outside VAT has its CUI, a person their CNP, in one of the last
    two; J40/123/2020 and a GLN stand there as well.
    """
    for written in (vat_identifier, tax_registration):
        if cifs.normalise(written):
            return cifs.normalise(written)
    for identifier in (legal_id, *identifiers):
        if identifier is None or identifier.scheme == "0088":
            continue
        value = cifs.normalise(identifier.value)
        if cifs.scheme(value) in ("cui", "cnp") and "/" not in identifier.value:
            return value
    return ""


def _address(node: Node) -> Address:
    lines = [line.text("cbc:Line") for line in node.children("cac:AddressLine")]
    return Address(
        street=node.text("cbc:StreetName"),
        additional_street=node.text("cbc:AdditionalStreetName"),
        line="\n".join(filter(None, lines)),
        city=node.text("cbc:CityName"),
        postal_code=node.text("cbc:PostalZone"),
        subdivision=node.text("cbc:CountrySubentity"),
        country=node.child("cac:Country").text("cbc:IdentificationCode"),
    )


def _delivery(node: Node) -> Delivery:
    location = node.child("cac:DeliveryLocation")
    address = location.child("cac:Address")
    return Delivery(
        party_name=node.child("cac:DeliveryParty").child("cac:PartyName").text("cbc:Name"),
        location_id=location.identifier("cbc:ID"),
        date=node.date("cbc:ActualDeliveryDate"),
        address=_address(address if address else node.child("cac:DeliveryAddress")),
    )


def _payment_means(node: Node) -> PaymentMeans:
    code = node.take("cbc:PaymentMeansCode")
    account = node.child("cac:PayeeFinancialAccount")
    branch = account.child("cac:FinancialInstitutionBranch")
    card = node.child("cac:CardAccount")
    mandate = node.child("cac:PaymentMandate")
    return PaymentMeans(
        code="" if code is None else (code.text or "").strip(),
        name="" if code is None else code.get("name", "").strip(),
        payment_id="\n".join(node.texts("cbc:PaymentID")),
        iban="".join(account.text("cbc:ID").split()),
        account_name=account.text("cbc:Name"),
        bic=branch.text("cbc:ID") or branch.child("cac:FinancialInstitution").text("cbc:ID"),
        card_number=card.text("cbc:PrimaryAccountNumberID"),
        card_holder=card.text("cbc:HolderName"),
        mandate=mandate.text("cbc:ID"),
        debited_account=mandate.child("cac:PayerFinancialAccount").text("cbc:ID"),
    )


def _allowances_charges(parent: Node) -> tuple[AllowanceCharge, ...]:
    found = []
    for node in parent.children("cac:AllowanceCharge"):
        category = node.child("cac:TaxCategory")
        category.child("cac:TaxScheme").implied("cbc:ID", "VAT", "TVA")
        found.append(
            AllowanceCharge(
                is_charge=node.text("cbc:ChargeIndicator").lower() in ("true", "1"),
                amount=node.amount("cbc:Amount"),
                base_amount=node.amount("cbc:BaseAmount"),
                percent=node.number("cbc:MultiplierFactorNumeric"),
                reason="\n".join(node.texts("cbc:AllowanceChargeReason")),
                reason_code=node.text("cbc:AllowanceChargeReasonCode"),
                vat_category=category.text("cbc:ID"),
                vat_rate=category.number("cbc:Percent"),
            )
        )
    return tuple(found)


def _line(node: Node, credit: bool) -> Line:
    quantity, unit = node.quantity("cbc:CreditedQuantity" if credit else "cbc:InvoicedQuantity")
    item = node.child("cac:Item")
    category = item.child("cac:ClassifiedTaxCategory")
    category.child("cac:TaxScheme").implied("cbc:ID", "VAT", "TVA")
    price = node.child("cac:Price")
    base_quantity, base_unit = price.quantity("cbc:BaseQuantity")
    discount = price.child("cac:AllowanceCharge")
    discount.implied("cbc:ChargeIndicator", "FALSE", "0")
    period = node.child("cac:InvoicePeriod")
    return Line(
        id=node.text("cbc:ID"),
        name=item.text("cbc:Name"),
        description="\n".join(item.texts("cbc:Description")),
        quantity=quantity,
        unit=unit,
        net_amount=node.amount("cbc:LineExtensionAmount"),
        price=price.amount("cbc:PriceAmount"),
        base_quantity=base_quantity,
        base_unit=base_unit,
        price_discount=discount.amount("cbc:Amount"),
        gross_price=discount.amount("cbc:BaseAmount"),
        vat_category=category.text("cbc:ID"),
        vat_rate=category.number("cbc:Percent"),
        seller_item_id=item.child("cac:SellersItemIdentification").text("cbc:ID"),
        buyer_item_id=item.child("cac:BuyersItemIdentification").text("cbc:ID"),
        standard_item_id=item.child("cac:StandardItemIdentification").identifier("cbc:ID"),
        classifications=_classifications(item),
        origin_country=item.child("cac:OriginCountry").text("cbc:IdentificationCode"),
        properties=tuple(
            Property(entry.text("cbc:Name"), entry.text("cbc:Value"))
            for entry in item.children("cac:AdditionalItemProperty")
        ),
        note="\n".join(node.texts("cbc:Note")),
        accounting_cost=node.text("cbc:AccountingCost"),
        order_line=node.child("cac:OrderLineReference").text("cbc:LineID"),
        object_id=_line_object(node),
        period_start=period.date("cbc:StartDate"),
        period_end=period.date("cbc:EndDate"),
        allowances_charges=_allowances_charges(node),
    )


def _classifications(item: Node) -> tuple[Classification, ...]:
    return tuple(
        Classification(
            (element.text or "").strip(),
            element.get("listID", "").strip(),
            element.get("listVersionID", "").strip(),
        )
        for node in item.children("cac:CommodityClassification")
        for element in node.take_all("cbc:ItemClassificationCode")
    )


def _line_object(line: Node) -> Identifier | None:
    found: Identifier | None = None
    for node in line.children("cac:DocumentReference"):
        code = node.text("cbc:DocumentTypeCode")
        if found is None and code in ("", "130"):
            found = node.identifier("cbc:ID")
        elif code:
            node.put_back("cbc:DocumentTypeCode", code)
    return found


def _other_document(root: etree._Element) -> Sentence:
    name = etree.QName(root)
    if name.localname == "CrossIndustryInvoice":
        return Sentence(
            "Documentul este o factură în sintaxa CII, iar aici se citesc numai facturi UBL. "
            "Cere emitentului varianta UBL.",
            "the document is an invoice in CII syntax and only UBL is read here; "
            "ask the sender for UBL",
        )
    if name.localname == "header" and (name.namespace or "").startswith("mfp:anaf:"):
        return Sentence(
            "Documentul este un răspuns al ANAF, nu o factură. Caută factura în același mesaj.",
            "the document is an answer of ANAF and no invoice; look for the invoice beside it",
        )
    if name.localname == "Signature":
        return Sentence(
            "Fișierul este semnătura unei facturi, nu factura. Deschide fișierul de lângă el.",
            "the file is the signature of an invoice, not the invoice; open the file beside it",
        )
    if name.localname in ("Invoice", "CreditNote"):
        shown = (name.namespace or "")[:80]
        return Sentence(
            f"Documentul {name.localname} nu este în spațiul de nume UBL 2.1 („{shown}”). "
            "Cere emitentului o factură UBL.",
            f'the {name.localname} is not in the namespace of UBL 2.1 ("{shown}"); '
            "ask the sender for a UBL invoice",
        )
    shown = name.localname[:40]
    return Sentence(
        f"Documentul „{shown}” nu este o factură UBL. Verifică dacă este fișierul corect.",
        f'the document "{shown}" is not a UBL invoice; check that it is the right file',
    )

"""UBL 2.1 Invoice and CreditNote, from bytes to the values of `core.ubl_model`."""

from __future__ import annotations

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


def read(data: bytes) -> Invoice:
    """Return what the document says, or raise `DocumentRefused`."""
    raise NotImplementedError

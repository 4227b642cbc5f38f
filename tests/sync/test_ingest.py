"""What a message becomes, from its bytes alone."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from appliance.core.roles import Kind
from appliance.simulator import generator
from appliance.simulator.invoice import AttachmentDraft, LineDraft
from appliance.store import manifest
from appliance.store.documents import NewDocument
from appliance.store.messages import Message, MessageState
from appliance.store.notices import NewNotice
from appliance.sync import ingest
from tests.support.spv import (
    ALFA,
    BETA,
    STRANGER,
    bomb,
    invoice,
    members,
    package,
    signer,
)

SELF_BILLED = f"Factura cu id_incarcare=57001 transmisa de cif={ALFA}  ca autofactura in numele cif={STRANGER}"  # noqa: E501
UID = "01m85vtt47c27z69bbry2bhpdd"


def message(tip: str = "FACTURA PRIMITA", **fields: Any) -> Message:
    defaults: dict[str, Any] = {
        "id": 1,
        "uid": UID,
        "client_id": 7,
        "client_uid": "01m85vtt47c27z69bbry2bhalf",
        "message_id": "7001",
        "upload_id": "57001",
        "cif": ALFA,
        "details": "Factura cu id_incarcare=57001",
        "created_raw": "202610312330",
        "created_at": datetime(2026, 10, 31, 21, 30, tzinfo=UTC),
        "entry": {},
        "state": MessageState.QUEUED,
        "problem": None,
        "listed_at": datetime(2026, 11, 24, 10, tzinfo=UTC),
        "settled_at": None,
    }
    return Message(type=tip, **{**defaults, **fields})


def plan(
    data: bytes, about: Message | None = None, *, own: str = ALFA, others: str = BETA
) -> ingest.Filing | ingest.Quarantine:
    return ingest.plan(
        about or message(),
        data,
        own=frozenset({own}),
        others=frozenset({others}),
        pinned={signer().pinned.fingerprint: signer().pinned},
    )


def document(data: bytes, about: Message | None = None, **more: Any) -> NewDocument:
    filing = plan(data, about, **more)
    assert isinstance(filing, ingest.Filing)
    assert isinstance(filing.new, NewDocument)
    assert {file.stored_name for file in filing.new.files} == filing.files.keys()
    assert filing.files["message.zip"] == data
    return filing.new


def notice(data: bytes, about: Message) -> NewNotice:
    filing = plan(data, about)
    assert isinstance(filing, ingest.Filing)
    assert isinstance(filing.new, NewNotice)
    assert {file.stored_name for file in filing.new.files} == filing.files.keys()
    assert filing.files["message.zip"] == data
    return filing.new


def refused(data: bytes, about: Message | None = None) -> str:
    """The one sentence of a document that has to be looked at by a person."""
    new = document(data, about)
    assert new.type == "unreadable"
    assert new.problem is not None
    for text in (new.problem.ro, new.problem.en):
        assert 20 < len(text) < 400
        assert "\n" not in text
    assert new.problem.ro != new.problem.en
    return new.problem.en


# Documents


def test_a_received_invoice_becomes_a_purchase_with_everything_it_says() -> None:
    new = document(package())

    assert (new.kind, new.type, new.source) == (Kind.RECEIVED, "invoice", "spv")
    assert (new.number, new.issue_date) == ("EFI-1203", date(2026, 11, 3))
    assert new.folder_name == "2026-11-03_ENEL-ENERGIE_EFI-1203"
    assert (new.partner_name, new.partner_cif) == ("ENEL ENERGIE SA", STRANGER)
    assert (new.customer_name, new.customer_cif) == ("Alfa Construct SRL", ALFA)
    assert (new.payable_minor, new.signed_minor, new.ron_minor) == (12100, 12100, 12100)
    assert (new.tax_minor, new.currency) == (2100, "RON")
    assert new.summary == "Energie electrică"
    assert [(line.name, line.quantity, line.net_minor) for line in new.lines] == [
        ("Energie electrică", "100", 10000)
    ]
    assert (new.signature_result, new.warnings, new.problem) == ("valid", (), None)
    assert (new.uid, new.message_uid) == (UID, UID)
    assert new.received_at == datetime(2026, 10, 31, 21, 30, tzinfo=UTC)


def test_an_issued_invoice_is_a_sale_named_after_the_customer() -> None:
    new = document(package(invoice(ALFA, STRANGER)), message("FACTURA TRIMISA"))

    assert new.kind is Kind.ISSUED
    assert new.partner_name == "ENEL ENERGIE SA"
    assert "ENEL-ENERGIE" in new.folder_name


def test_a_self_billed_invoice_is_a_purchase_although_the_buyer_sent_it() -> None:
    about = message("FACTURA TRIMISA", details=SELF_BILLED)

    new = document(package(invoice(STRANGER, ALFA, type_code="389")), about)

    assert new.kind is Kind.RECEIVED
    assert new.partner_name == "ENEL ENERGIE SA"


def test_a_credit_note_counts_below_zero() -> None:
    new = document(package(invoice(type_code="381")))

    assert new.type == "credit_note"
    assert (new.payable_minor, new.signed_minor, new.ron_minor) == (12100, -12100, -12100)


@pytest.mark.parametrize(
    ("own", "other", "kind"), [(ALFA, BETA, Kind.ISSUED), (BETA, ALFA, Kind.RECEIVED)]
)
def test_between_two_clients_each_has_its_own_side(own: str, other: str, kind: Kind) -> None:
    zipped = package(invoice(ALFA, BETA))

    # Whatever the list calls it: the party decides.
    for tip in ("FACTURA PRIMITA", "FACTURA TRIMISA"):
        new = document(zipped, message(tip, cif=own), own=own, others=other)
        assert (new.kind, new.warnings) == (kind, ())


def test_an_invoice_between_strangers_is_kept_with_a_warning() -> None:
    new = document(package(invoice(STRANGER, "14399840")))

    assert new.warnings == ("cif_not_ours",)
    assert new.kind is Kind.RECEIVED


def test_an_invoice_of_another_client_is_quarantined() -> None:
    found = plan(package(invoice(STRANGER, BETA)))

    assert found == ingest.Quarantine((BETA,))


def test_an_invoice_in_another_currency_keeps_both_amounts() -> None:
    new = document(package(invoice(currency="EUR", exchange_rate=Decimal("5.0873"))))

    assert (new.currency, new.payable_minor) == ("EUR", 12100)
    assert new.ron_minor == 61554  # by BT-111, which is rounded


def test_a_currency_without_a_rate_has_no_amount_in_lei() -> None:
    document_ = invoice().replace(b'"RON"', b'"USD"').replace(b">RON<", b">USD<")

    assert document(package(document_)).ron_minor is None


def test_a_currency_without_decimals_is_counted_whole() -> None:
    document_ = invoice().replace(b'"RON"', b'"JPY"').replace(b">RON<", b">JPY<")

    assert document(package(document_)).payable_minor == 121


@pytest.mark.parametrize("written", [b"1" + b"0" * 40 + b".00", b"9" * 19, b"1E+999999", b"NaN"])
def test_an_amount_that_no_column_holds_is_refused_with_one_sentence(written: bytes) -> None:
    closing = b"</cbc:PayableAmount>"
    huge = invoice().replace(b">121.00" + closing, b">" + written + closing)
    assert huge != invoice()

    assert "payable amount" in refused(package(huge))


def test_a_rate_that_gives_more_lei_than_a_column_holds_gives_none() -> None:
    odd = invoice(currency="EUR", exchange_rate=Decimal(5))
    odd = odd.replace(b">105.00<", b">99999999999.00<").replace(b">21.00<", b">0.01<")
    odd = odd.replace(b">121.00<", b">99999999999.00<")

    new = document(package(odd))

    assert new.payable_minor == 9999999999900
    assert new.ron_minor is None


def test_attachments_get_names_that_windows_takes_and_nobody_is_fooled_by() -> None:
    attachments = tuple(
        AttachmentDraft(str(place), "", name, "application/pdf", b"%PDF-" + name.encode())
        for place, name in enumerate(
            [
                "Aviz nr. 7.pdf",
                "AVIZ NR. 7.PDF",
                "../../etc/passwd",
                "con",
                "x" * 300 + ".xlsx",
                "a.exe",
            ]
        )
    )

    filing = plan(package(invoice(attachments=attachments)))

    assert isinstance(filing, ingest.Filing)
    added = [file for file in filing.new.files if file.role == "attachment"]
    assert [file.stored_name for file in added] == [
        "attachment-1.pdf", "attachment-2.pdf", "attachment-3", "attachment-4",
        "attachment-5.xlsx", "attachment-6.exe",
    ]  # fmt: skip
    assert [filing.files[file.stored_name] for file in added] == [a.content for a in attachments]
    shown = [file.shown_name or "" for file in added]
    assert len({name.casefold() for name in shown}) == len(shown)
    for name in shown:
        assert 0 < len(name) <= 60
        assert name.isascii()
        assert not set(name) & set('\\/:*?"<>|')
    assert [file.mime for file in added][-1] == "application/octet-stream"


def test_an_attachments_extension_cannot_leave_the_archive() -> None:
    names = ("a.pdf/../../b", "b.\u202efdp", "c.p\u0103d", "d." + "e" * 80, ".", "..", "")
    attachments = tuple(
        AttachmentDraft(str(place), "", name, "application/pdf", b"x")
        for place, name in enumerate(names)
    )

    filing = plan(package(invoice(attachments=attachments)))

    assert isinstance(filing, ingest.Filing)
    for name in filing.files:
        assert name.isascii()
        assert "/" not in name
        assert len(name) <= 80


def test_five_thousand_lines_are_five_thousand_rows() -> None:
    line = LineDraft("Șurub M8 × 40", Decimal(3), "H87", Decimal("0.37"))

    new = document(package(invoice(lines=(line,) * 5000)))

    assert len(new.lines) == 5000
    assert new.problem is None


def test_a_moment_that_cannot_be_read_is_the_moment_of_listing() -> None:
    about = message(created_at=None, created_raw="azi")

    new = document(package(), about)

    assert new.received_at == about.listed_at


def test_the_same_message_always_becomes_the_same_thing() -> None:
    assert plan(package()) == plan(package())


def test_a_forged_signature_is_said_and_the_invoice_kept() -> None:
    document_ = invoice()
    forged = members(
        ("semnatura_6001.xml", signer().sign(document_)),
        ("6001.xml", document_.replace(b"121.00", b"921.00")),
    )

    assert document(forged).signature_result == "invalid"


def test_an_invoice_without_signature_is_kept_and_says_so() -> None:
    assert document(members(("6001.xml", invoice()))).signature_result == "absent"


def test_further_members_stay_in_the_zip_and_are_announced() -> None:
    document_ = invoice()
    zipped = members(
        ("semnatura_6001.xml", signer().sign(document_)), ("6001.xml", document_), ("x.txt", b"x")
    )

    assert document(zipped).warnings == ("zip_has_more",)


# Notices


def test_an_error_message_is_a_notice_with_anafs_reasons() -> None:
    data = package(generator.error_document("57001", ALFA, ["BR-RO-010: fără cifră", "R6.2"]))

    new = notice(data, message("ERORI FACTURA"))

    assert new.type == "anaf_error"
    assert new.text == "BR-RO-010: fără cifră\nR6.2"
    assert new.folder_name == "2026-10-31_Eroare-ANAF_57001"


def test_a_buyers_message_is_a_notice_with_its_text() -> None:
    data = package(generator.buyer_message("57001", "Preț greșit la poziția 2"))

    new = notice(data, message("MESAJ CUMPARATOR PRIMIT"))

    assert (new.type, new.text) == ("buyer_message", "Preț greșit la poziția 2")


def test_a_buyers_message_names_the_invoice_that_it_is_about() -> None:
    data = package(generator.buyer_message("57001", "Preț greșit"), upload_id="6009")

    assert notice(data, message("MESAJ CUMPARATOR PRIMIT")).upload_id == "57001"


def test_a_header_of_anafs_that_nobody_knows_is_a_notice_with_what_anaf_said() -> None:
    data = members(("6001.xml", b'<header xmlns="mfp:anaf:nou:v1" altceva="1"/>'))

    told = notice(data, message("NOTIFICARE NOUA", details="Ceva nou"))
    silent = notice(data, message("NOTIFICARE NOUA", details=""))

    assert (told.type, told.text) == ("unknown", "Ceva nou")
    assert silent.text == "NOTIFICARE NOUA"


TIPS = ["ERORI FACTURA", "MESAJ CUMPARATOR PRIMIT", "NOTIFICARE NOUA"]


@pytest.mark.parametrize("tip", TIPS)
def test_an_invoice_waits_for_the_client_whatever_the_list_called_it(tip: str) -> None:
    """A notice is seen by the firm at once, so nothing but ANAF's own header may be one."""
    assert document(package(), message(tip)).type == "invoice"
    refused = document(members(("6001.xml", with_doctype(DTD))), message(tip))
    assert refused.type == "unreadable"
    assert refused.problem is not None


@pytest.mark.parametrize("tip", TIPS)
def test_an_invoice_of_another_client_is_quarantined_whatever_the_list_called_it(tip: str) -> None:
    filing = plan(package(invoice(STRANGER, BETA)), message(tip))

    assert isinstance(filing, ingest.Quarantine)


def test_an_invoice_under_an_unknown_type_is_a_document_all_the_same() -> None:
    assert document(package(), message("FACTURA NOUA")).kind is Kind.RECEIVED


@pytest.mark.parametrize("tip", TIPS)
@pytest.mark.parametrize("data", [b"PK\3\4 broken", members(("6001.xml", b"<other/>"))])
def test_what_cannot_be_read_is_kept_for_a_person_to_look_at(tip: str, data: bytes) -> None:
    new = document(data, message(tip))

    assert new.type == "unreadable"
    assert new.problem is not None


# Bad input, by name

DTD = b'<!DOCTYPE Invoice [<!ENTITY a "b">]>'


def with_doctype(doctype: bytes) -> bytes:
    head, _, rest = invoice().partition(b"?>")
    return head + b"?>" + doctype + rest


LAUGHS = (
    b"<!DOCTYPE Invoice ["
    + b"".join(
        b'<!ENTITY l%d "%s">' % (i, b"&l%d;" % (i - 1) * 10 if i else b"ha") for i in range(9)
    )
    + b"]>"
)


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (with_doctype(DTD), "DOCTYPE"),
        (with_doctype(LAUGHS), "DOCTYPE"),
        (with_doctype(b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">'), "DOCTYPE"),
        (invoice().replace(b"<cbc:ID>", b"<cbc:ID>&xxe;", 1), ""),
        (b"<Factura><a/></Factura>", "Factura"),
        (invoice().replace(b"xsd:Invoice-2", b"xsd:Invoice-3"), "Invoice"),
        (invoice()[:-30], ""),
        (b"not xml at all", ""),
        (b"", ""),
        (b"<a>" * 200_000, ""),
        ("<Invoice/>".encode("utf-32"), ""),
        (b"\xff\xfe\x00", ""),
    ],
)
def test_xml_that_is_dangerous_or_no_invoice_is_kept_with_one_sentence(
    xml: bytes, says: str
) -> None:
    data = members(("semnatura_6001.xml", signer().sign(xml)), ("6001.xml", xml))

    assert says in refused(data)


@pytest.mark.parametrize("element", [b"<a/>", b"<a b='c'/>", b"<!---->", b"<?p?>"])
def test_fifty_megabytes_of_tiny_elements_cost_neither_memory_nor_the_zip(element: bytes) -> None:
    buffer = io.BytesIO()
    xml = b"<Invoice>" + element * (50 * 1024 * 1024 // len(element)) + b"</Invoice>"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("6001.xml", xml)

    assert refused(buffer.getvalue())


@pytest.mark.parametrize("element", [b"<a/>", b"<a b='c'/>", b"<!---->", b"<?p?>"])
def test_eight_megabytes_of_tiny_elements_are_refused_too(element: bytes) -> None:
    xml = b"<Invoice>" + element * (8 * 1024 * 1024 // len(element)) + b"</Invoice>"

    # Stored, so that no ratio speaks before the elements are counted.
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("6001.xml", xml)

    assert refused(buffer.getvalue())


def encrypted() -> bytes:
    data = bytearray(members(("6001.xml", invoice())))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def flipped() -> bytes:
    data = bytearray(package())
    data[len(data) // 3] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (package()[:-40], "truncated"),
        (package()[:200], "truncated"),
        (flipped(), ""),
        (members(("semnatura_6001.xml", signer().sign(b"x"))), "only the signature"),
        (members(), "no file"),
        (members(("a.xml", invoice()), ("b.xml", invoice(number="2"))), "several"),
        (members(("readme.txt", b"hello")), "no XML"),
        (members(("../../6001.xml", invoice())), "dangerous file name"),
        (members(("/etc/6001.xml", invoice())), "dangerous file name"),
        (members(("C:\\6001.xml", invoice())), "dangerous file name"),
        (members(*((f"{n}.txt", b"") for n in range(60))), "more than"),
        (bomb(), "dangerous size"),
        (encrypted(), "encrypted"),
        (b"<html><body>Sistem indisponibil</body></html>", "HTML"),
        (b'{"eroare": "A aparut o eroare tehnica"}', "JSON"),
        (b"", "empty"),
        (b"PK", ""),
        (b"PK\x05\x06" + b"\0" * 18, ""),
        (bytes(range(256)) * 40, "not a zip"),
    ],
)  # fmt: skip
def test_a_zip_that_cannot_be_opened_is_kept_with_one_sentence(data: bytes, says: str) -> None:
    assert says in refused(data)


def test_wrong_member_names_are_told_by_their_content() -> None:
    document_ = invoice()
    zipped = members(("factura.xml", document_), ("sig.xml", signer().sign(document_)))

    new = document(zipped)

    assert (new.type, new.signature_result) == ("invoice", "valid")


@pytest.mark.parametrize(
    ("tip", "kind"),
    [
        ("FACTURA PRIMITA", Kind.RECEIVED),
        ("FACTURA TRIMISA", Kind.ISSUED),
        ("NOTIFICARE NOUA", Kind.OTHER),
    ],
)
def test_what_cannot_be_read_lies_where_its_list_entry_says(tip: str, kind: Kind) -> None:
    new = document(b"PK broken", message(tip))

    assert new.kind is kind
    assert new.folder_name == f"2026-10-31_Document_{UID[-6:]}"
    assert [file.shown_suffix for file in new.files] == [".zip"]


def test_everything_planned_fits_into_a_manifest() -> None:
    from appliance.core.chain import canonical
    from appliance.store.clients import ClientRow

    client = ClientRow.__new__(ClientRow)
    for name, value in {"uid": "u", "name": "Alfa", "folder_name": "Alfa"}.items():
        object.__setattr__(client, name, value)
    about = message(entry={"x": 1e308, "y": "Ț"})
    odd = invoice(number="№ 7/ă\u200f", notes=("\U0001f600",))
    for data in (package(), package(odd), b"PK broken"):
        new = document(data, about)
        assert canonical(
            manifest.of_document(new, client=client, identifiers=[ALFA], message=about)
        )
        assert replace(new, uid="x") != new

"""ANAF's answers, as its swagger shows them and as they were met."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.anaf_zip import read_zip
from appliance.core.errors import DocumentRefused, ZipRefused
from appliance.core.roles import Kind
from appliance.core.signature import SignatureResult, verify
from appliance.core.spv import (
    CifResult,
    FaultKind,
    ListEntry,
    MessageType,
    SpvFault,
    check_cif,
    document_root,
    kind_of,
    read_buyer_message,
    read_created,
    read_download,
    read_error_document,
    read_list,
)

SIMPLE = (
    b'{"mesaje":[{"data_creare":"202211011415","cif":"8000000000","id_solicitare":"5001131297",'
    b'"detalii":"Factura cu id_incarcare=5001131297 emisa de cif_emitent=8000000000 pentru '
    b'cif_beneficiar=3","tip":"FACTURA TRIMISA","id":"3001503294"}],'
    b'"serial":"1234AA456","cui":"8000000000","titlu":"Lista Mesaje disponibile din ultimele 1 '
    b'zile"}'
)


def listed(*messages: Any, **more: Any) -> bytes:
    return json.dumps({"mesaje": list(messages), **more}).encode()


def error(text: str, title: str = "Lista Mesaje") -> bytes:
    return json.dumps({"eroare": text, "titlu": title}).encode()


def fault(status: int, body: bytes) -> SpvFault:
    with pytest.raises(SpvFault) as raised:
        read_list(status, body)
    return raised.value


# Lists


def test_a_simple_list_of_the_swagger_is_read() -> None:
    answer = read_list(200, SIMPLE)
    (entry,) = answer.entries
    assert (answer.serial, answer.cifs, answer.page, answer.pages, answer.total) == (
        "1234AA456",
        ("8000000000",),
        1,
        1,
        1,
    )
    assert (entry.message_id, entry.upload_id, entry.cif) == (
        "3001503294",
        "5001131297",
        "8000000000",
    )
    assert (entry.type, entry.message_type) == ("FACTURA TRIMISA", MessageType.ISSUED)
    assert (entry.issuer_cif, entry.beneficiary_cif) == ("8000000000", "3")
    assert entry.created_at == datetime(2022, 11, 1, 12, 15, tzinfo=UTC)
    assert entry.raw["detalii"].startswith("Factura cu id_incarcare=")


def test_every_example_of_the_published_interface_is_understood(corpus: Path) -> None:
    """What the swagger shows as a list is a list, as an error is a fault that is not a guess."""
    path = corpus / "florin-szilagyi__ts-anaf" / "sdk" / "openapi" / "lista.json"
    read = {"list": 0, "empty": 0, "fault": 0}
    for name, route in json.loads(path.read_text())["paths"].items():
        for status, response in route["get"]["responses"].items():
            for content in response.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    value = example["value"]
                    body = value if isinstance(value, str) else json.dumps(value)
                    if name == "/descarcare":
                        with pytest.raises(SpvFault) as raised:
                            read_download(int(status), body.encode())
                        if "eroare" in body:
                            assert raised.value.kind is not FaultKind.TRANSIENT, body
                        read["fault"] += 1
                        continue
                    # it documents ANAF's errors under 400 too; they come with 200
                    code = 200 if "eroare" in body else int(status)
                    try:
                        answer = read_list(code, body.encode())
                    except SpvFault as found:
                        assert found.kind is not FaultKind.TRANSIENT, body  # noqa: PT017
                        read["fault"] += 1
                    else:
                        read["list" if answer.entries else "empty"] += 1
    assert read == {"list": 2, "empty": 2, "fault": 28}


def test_a_page_says_where_it_stands() -> None:
    answer = read_list(
        200,
        listed(
            numar_inregistrari_in_pagina=0,
            numar_total_inregistrari_per_pagina=500,
            numar_total_inregistrari=14130,
            numar_total_pagini=29,
            index_pagina_curenta=29,
            cui="80,RO81, 82",
            serial="1234",
        ),
    )
    assert (answer.page, answer.pages, answer.total, answer.entries) == (29, 29, 14130, ())
    assert answer.cifs == ("80", "81", "82")


@pytest.mark.parametrize(
    "text", ["Nu exista mesaje in ultimele 15 zile", "Nu exista mesaje in intervalul selectat"]
)
def test_no_messages_is_an_empty_list(text: str) -> None:
    assert read_list(200, error(text)).entries == ()


def test_numbers_for_ids_and_missing_fields_are_tolerated() -> None:
    answer = read_list(
        200,
        listed(
            {"id": 3001503294, "id_solicitare": 5001131297, "cif": 80, "tip": "FACTURA PRIMITA"},
            {"detalii": "Erori de validare identificate la factura primita cu id_incarcare=42"},
            "nonsense",
        ),
    )
    first, second, third = answer.entries
    assert (first.message_id, first.upload_id, first.cif) == ("3001503294", "5001131297", "80")
    assert (second.message_id, second.upload_id) == (None, "42")
    assert (third.message_id, third.raw) == (None, {"value": "nonsense"})


@pytest.mark.parametrize(
    ("tip", "expected"),
    [
        ("FACTURA PRIMITA", MessageType.RECEIVED),
        ("factura  primita", MessageType.RECEIVED),
        ("FACTURA TRIMISA", MessageType.ISSUED),
        ("ERORI FACTURA", MessageType.ERROR),
        ("MESAJ CUMPARATOR PRIMIT", MessageType.BUYER_MESSAGE),
        ("MESAJ CUMPARATOR TRANSMIS", MessageType.BUYER_MESSAGE),
        ("MESAJ CUMPARATOR PRIMIT / MESAJ CUMPARATOR TRANSMIS", MessageType.BUYER_MESSAGE),
        ("AVIZ NOU", MessageType.UNKNOWN),
        ("", MessageType.UNKNOWN),
    ],
)
def test_the_type_is_told_by_its_first_words_and_kept_raw(tip: str, expected: MessageType) -> None:
    (entry,) = read_list(200, listed({"id": "1", "tip": tip})).entries
    assert (entry.message_type, entry.type) == (expected, tip)


@pytest.mark.parametrize("word", ["autofactura", "autofactutra"])
def test_a_self_billed_invoice_names_seller_and_buyer_the_right_way_round(word: str) -> None:
    details = (
        f"Factura cu id_incarcare=6471405871 transmisa de cif=18680651  ca {word} "
        "in numele cif=7323483"
    )
    (entry,) = read_list(200, listed({"id": "1", "detalii": details})).entries
    assert entry.self_billed
    assert (entry.issuer_cif, entry.beneficiary_cif) == ("7323483", "18680651")


def test_the_error_of_a_declared_self_billed_invoice_is_self_billed() -> None:
    details = (
        "Erori de validare identificate la factura de tip declarat=AUTOFACTURA, transmisa cu "
        "id_incarcare=42"
    )
    (entry,) = read_list(200, listed({"id": "1", "detalii": details})).entries
    assert (entry.self_billed, entry.upload_id) == (True, "42")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("202607011200", datetime(2026, 7, 1, 9, tzinfo=UTC)),  # summer time
        ("202601011200", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("202610250330", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # the first of the two
        ("202613011200", None),
        ("2026070112", None),
        ("", None),
        ("00010101000", None),
        ("000101010000", None),
        ("٢٠٢٦٠٧٠١١٢٠٠", None),
    ],
)
def test_a_creation_time_is_romanian_wall_time(raw: str, expected: datetime | None) -> None:
    assert read_created(raw) == expected


# Faults


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            "Pagina solicitata 50 este mai mare decat numarul toatal de pagini 29",
            FaultKind.END_OF_PAGES,
        ),
        (
            "Pagina solicitata 50 este mai mare decat numarul total de pagini 29",
            FaultKind.END_OF_PAGES,
        ),
        ("Nu aveti drept in SPV pentru CIF=8000000000", FaultKind.PERMISSION),
        ("Nu exista niciun CIF pentru care sa aveti drept in SPV", FaultKind.PERMISSION),
        ("Nu exista niciun CIF petru care sa aveti drept", FaultKind.PERMISSION),
        ("CIF introdus= aaa nu este un numar", FaultKind.OUR_BUG),
        ("Numarul de zile introdus= aaa nu este un numar intreg", FaultKind.OUR_BUG),
        ("Numarul de zile trebuie sa fie intre 1 si 60", FaultKind.OUR_BUG),
        (
            "startTime = aaa nu este un numar sau nu are o valoare acceptata de sistem",
            FaultKind.OUR_BUG,
        ),
        (
            "startTime = 09-07-2022 10:41:11 nu poate fi mai vechi de 60 de zile fata de momentul "
            "requestului",
            FaultKind.CLOCK,
        ),
        (
            "endTime = 09-08-2022 10:41:11 nu poate fi <= startTime = 06-09-2022 09:48:20",
            FaultKind.OUR_BUG,
        ),
        ("Valorile acceptate pentru parametrul filtru sunt E, T, P sau R", FaultKind.OUR_BUG),
        (
            "S-au facut deja 1000 interogari de lista mesaje de catre utilizator in cursul zilei",
            FaultKind.QUOTA_LIST,
        ),
        (
            "S-au facut deja 1500 de interogari de tip lista mesaje de catre CUI= 8 in cursul "
            "zilei",
            FaultKind.QUOTA_LIST,
        ),
        ("A aparut o eroare tehnica. Cod: 104", FaultKind.TRANSIENT),
        ("Ceva cu totul nou", FaultKind.TRANSIENT),
        (
            "Lista de mesaje este mai mare decat numarul de 500 elemente permise in pagina. "
            "Folositi endpoint-ul cu paginatie.",
            FaultKind.USE_PAGES,
        ),
    ],
)
def test_every_error_text_under_http_200_says_what_to_do(text: str, kind: FaultKind) -> None:
    found = fault(200, error(text))
    assert (found.kind, found.answer) == (kind, text)
    assert text in found.sentence.ro
    assert text in found.sentence.en


def test_a_window_in_the_future_tells_the_time_of_the_server() -> None:
    found = fault(
        200,
        error(
            "endTime = 30-07-2026 15:15:28 nu poate in viitor fata de momentul requestului = "
            "30-07-2026 15:15:27"
        ),
    )
    assert found.kind is FaultKind.CLOCK
    assert found.server_time == datetime(2026, 7, 30, 12, 15, 27, tzinfo=UTC)


HTML = (
    b"<html><head><title>Request Rejected</title><style>p{}</style></head><body>The requested URL "
    b"was rejected. Please consult with your administrator.<br>Your support ID is: 17</body></html>"
)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, HTML, FaultKind.TRANSIENT),
        (200, b"<html><body>Mentenanta sistem</body></html>", FaultKind.TRANSIENT),
        (200, b"", FaultKind.TRANSIENT),
        (200, b"{", FaultKind.TRANSIENT),
        (200, b"[]", FaultKind.TRANSIENT),
        (200, b"null", FaultKind.TRANSIENT),
        (200, b"[" * 100_000, FaultKind.TRANSIENT),
        (200, SIMPLE[:-3], FaultKind.TRANSIENT),
        (200, SIMPLE + b"}x", FaultKind.TRANSIENT),
        (200, b'{"altceva":1}}', FaultKind.TRANSIENT),
        (200, SIMPLE + SIMPLE, FaultKind.TRANSIENT),
        (200, b"\xff\xfe{}", FaultKind.TRANSIENT),
        (200, b"{}", FaultKind.TRANSIENT),
        (204, b"", FaultKind.TRANSIENT),
        (302, b"", FaultKind.TRANSIENT),
        (404, b"<html>404</html>", FaultKind.TRANSIENT),
        (429, b'{"message":"Limit exceeded"}', FaultKind.TRANSIENT),
        (500, b"", FaultKind.TRANSIENT),
        (502, b"<html>Bad Gateway</html>", FaultKind.TRANSIENT),
        (503, error("Nu aveti drept in SPV pentru CIF=8"), FaultKind.TRANSIENT),
        (401, b"", FaultKind.TOKEN),
        (200, b'{"timestamp":1,"status":401,"error":"Unauthorized"}', FaultKind.TRANSIENT),
        (403, b"<html>Forbidden</html>", FaultKind.TRANSIENT),
        (403, b'{"message":"Forbidden"}', FaultKind.TOKEN),
        (403, b"", FaultKind.TOKEN),
        (
            400,
            b'{"timestamp":"19-08-2021 11:59:29","status":400,"error":"Bad Request","message":'
            b'"Parametrii zile si cif sunt obligatorii"}',
            FaultKind.OUR_BUG,
        ),
    ],
)
def test_whatever_else_comes_is_a_fault_with_a_sentence(
    status: int, body: bytes, kind: FaultKind
) -> None:
    found = fault(status, body)
    assert found.kind is kind
    assert len(found.answer) <= 300
    assert "\n" not in found.answer
    assert found.sentence.ro


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"", "răspuns gol"),
        (200, b" \r\n", "răspuns gol"),
        (204, b"", "răspuns gol"),
        (200, SIMPLE[:-3], "incomplet sau stricat"),
        (200, b'{"ceva":1}', "nu cunoaștem"),
        (200, error("Ceva nou"), "nu cunoaștem"),
        (200, b"<html><body>Mentenanta sistem</body></html>", "mentenanță"),
        (200, b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Request Rejected. Your support ID is: 1",
         "Filtrul de protecție"),
        (200, b"<html><body>Bun venit</body></html>", "pagină web"),
        (502, b"<html>502 Bad Gateway</html>", "pagină web"),
        (429, b"", "prea multe apeluri"),
        (500, b"", "nu a putut răspunde"),
        (403, b"{}", "bifat serviciul „E-Factura”"),
    ],
)  # fmt: skip
def test_a_person_is_told_what_came_instead_of_an_answer(
    status: int, body: bytes, said: str
) -> None:
    for read in (read_list, read_download):
        with pytest.raises(SpvFault) as raised:
            read(status, body)
        assert said in raised.value.sentence.ro
        assert raised.value.sentence.en != raised.value.sentence.ro


def test_a_list_with_one_brace_too_many_is_a_whole_list() -> None:
    assert read_list(200, SIMPLE + b"}\n") == read_list(200, SIMPLE)


def test_a_web_page_is_quoted_as_a_person_would_read_it() -> None:
    assert fault(200, HTML).answer == (
        "The requested URL was rejected. Please consult with your administrator. "
        "Your support ID is: 17"
    )


def test_a_long_answer_is_cut() -> None:
    assert len(fault(200, error("x" * 5000)).answer) == 300


def test_the_example_with_one_brace_too_many_is_still_understood() -> None:
    body = (
        b'{"eroare":"S-au facut deja 10 descarcari de mesaj in cursul zilei","titlu":"Descarcare '
        b'mesaj"}}'
    )
    with pytest.raises(SpvFault) as raised:
        read_download(200, body)
    assert raised.value.kind is FaultKind.QUOTA_MESSAGE


# Downloads


def test_a_zip_passes_through_byte_for_byte() -> None:
    body = b"PK\x03\x04 whatever follows"
    assert read_download(200, body) is body


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Id descarcare introdus= 123a nu este un numar intreg", FaultKind.OUR_BUG),
        ("S-au facut deja 10 descarcari de mesaj in cursul zilei", FaultKind.QUOTA_MESSAGE),
        (
            "S-au facut deja 10 descarcari la mesajul cu id_descarcare=7  in cursul zilei",
            FaultKind.QUOTA_MESSAGE,
        ),
        ("Nu aveti dreptul sa descarcati acesta factura", FaultKind.PERMISSION),
        ("Pentru id=21 nu exista inregistrata nici o factura", FaultKind.GONE),
        (
            "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in care "
            "este disponibil",
            FaultKind.EXPIRED,
        ),
    ],
)
def test_every_error_of_a_download_says_what_to_do(text: str, kind: FaultKind) -> None:
    with pytest.raises(SpvFault) as raised:
        read_download(200, error(text, "Descarcare mesaj"))
    assert (raised.value.kind, raised.value.answer) == (kind, text)


def test_the_sixty_days_as_plain_text_are_understood_too() -> None:
    text = "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in care"
    with pytest.raises(SpvFault) as raised:
        read_download(200, text.encode())
    assert raised.value.kind is FaultKind.EXPIRED


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, HTML, FaultKind.TRANSIENT),
        (200, b"", FaultKind.TRANSIENT),
        (204, b"", FaultKind.TRANSIENT),
        (500, b"PK\x03\x04", FaultKind.TRANSIENT),
        (200, b"%PDF-1.7", FaultKind.TRANSIENT),
        (200, SIMPLE, FaultKind.TRANSIENT),
        (401, b"{}", FaultKind.TOKEN),
    ],
)
def test_what_is_no_zip_is_never_returned(status: int, body: bytes, kind: FaultKind) -> None:
    with pytest.raises(SpvFault) as raised:
        read_download(status, body)
    assert raised.value.kind is kind


# Whatever comes


@given(status=st.sampled_from((200, 204, 400, 401, 500)), body=st.binary(max_size=300))
def test_no_bytes_break_the_readers(status: int, body: bytes) -> None:
    for data in (body, b"PK" + body, b'{"mesaje":' + body, b"<a>" + body):
        with contextlib.suppress(SpvFault):
            read_list(status, data)
        with contextlib.suppress(SpvFault):
            read_download(status, data)
        with contextlib.suppress(ZipRefused):
            read_zip(data)
        with contextlib.suppress(DocumentRefused):
            document_root(data)
        assert verify(body, data, pinned={}, at=None).result is not SignatureResult.VALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = ("id", "id_solicitare", "cif", "tip", "detalii", "data_creare", "cif_emitent")


@given(
    messages=st.lists(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=7) | JSON, max_size=4),
    more=st.dictionaries(st.sampled_from(("cui", "serial", "titlu", "numar_total_pagini")), JSON),
)
def test_no_entry_is_lost_whatever_its_fields_hold(messages: list[Any], more: Any) -> None:
    answer = read_list(200, listed(*messages, **more))
    assert len(answer.entries) == len(messages)
    assert all(isinstance(entry.upload_id, str) for entry in answer.entries)


# Documents of ANAF's own


def test_the_reasons_of_an_error_document_are_read(corpus: Path) -> None:
    path = "OCA__l10n-romania/branch-16.0/l10n_ro_account_edi_ubl/tests/3828.zip.d/3828.xml"
    document = read_error_document((corpus / path).read_bytes())
    assert (document.upload_id, document.cif) == ("3828", "47024170")
    (text,) = document.errors
    assert text.startswith("E: validari globale\n eroare regula: R6.1: CIF-ul vanzatorului")


def test_the_other_spellings_of_an_error_are_read() -> None:
    document = read_error_document(
        b'<header xmlns="mfp:anaf:dgti:efactura:mesajEroriFactuta:v1" Index_incarcare="1" '
        b'Cif_emitent="2"><Eroare errorMessage="unu"/><Error>doi</Error><Error/></header>'
    )
    assert document.errors == ("unu", "doi")


def test_a_buyer_message_is_read() -> None:
    message = read_buyer_message(
        b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><header '
        b'xmlns="mfp:anaf:dgti:spv:reqMesaj:v1" index_incarcare="191823" '
        b'message="mesaj de test, standard RASP"/>'
    )
    assert (message.upload_id, message.text) == ("191823", "mesaj de test, standard RASP")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"<a/>",
        b'<header xmlns="urn:other"/>',
        b'<header xmlns="mfp:anaf:dgti:spv:reqMesaj:v1"/>',
        b'<!DOCTYPE header><header xmlns="mfp:anaf:dgti:spv:reqMesaj:v1" message="x"/>',
    ],
)
def test_what_is_neither_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentRefused):
        read_error_document(data)
    with pytest.raises(DocumentRefused):
        read_buyer_message(data)


def test_the_root_is_found_without_reading_the_rest() -> None:
    namespace = "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
    start = f'\ufeff<?xml version="1.0"?><!-- x --><i:Invoice xmlns:i="{namespace}">'.encode()
    assert document_root(start + b"<a>" * 100_000) == (namespace, "Invoice")
    assert document_root("<a/>".encode("utf-16")) == ("", "a")
    assert document_root(b'<?xml version="1.0" encoding="utf-16"?><a/>') == ("", "a")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"<", b"{}", b"<!DOCTYPE a><a/>"])
def test_what_has_no_root_is_refused(data: bytes) -> None:
    with pytest.raises(DocumentRefused):
        document_root(data)


# Whose document it is


@dataclass(frozen=True)
class Side:
    ids: frozenset[str]

    def all_identifiers(self) -> frozenset[str]:
        return self.ids


@dataclass(frozen=True)
class Parties:
    """As much of an invoice as these questions look at."""

    supplier: Side
    customer: Side


def parties(supplier: str, customer: str) -> Any:
    return Parties(Side(frozenset(supplier.split())), Side(frozenset(customer.split())))


OWN = frozenset({"11", "12"})


@pytest.mark.parametrize(
    ("supplier", "customer", "message_type", "kind"),
    [
        ("99", "11", MessageType.RECEIVED, Kind.RECEIVED),
        ("99", "12 98", MessageType.ISSUED, Kind.RECEIVED),  # self-billed: still a purchase
        ("11", "99", MessageType.ISSUED, Kind.ISSUED),
        ("11", "99", MessageType.RECEIVED, Kind.ISSUED),
        ("11", "12", MessageType.RECEIVED, Kind.RECEIVED),  # to oneself: two messages
        ("11", "12", MessageType.ISSUED, Kind.ISSUED),
        ("98", "99", MessageType.RECEIVED, Kind.RECEIVED),
        ("98", "99", MessageType.UNKNOWN, Kind.OTHER),
        ("98", "99", None, Kind.OTHER),
        ("11", "99", None, Kind.ISSUED),
    ],
)
def test_the_party_decides_the_kind_and_the_type_breaks_ties(
    supplier: str, customer: str, message_type: MessageType | None, kind: Kind
) -> None:
    assert kind_of(parties(supplier, customer), OWN, message_type) is kind


def test_a_document_of_another_client_is_told_from_one_of_nobody() -> None:
    others = frozenset({"21", "22"})
    assert check_cif(parties("21", "11"), OWN, others).result is CifResult.OK
    foreign = check_cif(parties("22", "21 99"), OWN, others)
    assert (foreign.result, foreign.identifiers) == (CifResult.FOREIGN_CLIENT, ("21", "22"))
    assert check_cif(parties("98", "99"), OWN, others).result is CifResult.UNKNOWN
    assert check_cif(parties("", ""), OWN, others).result is CifResult.UNKNOWN


def test_an_entry_keeps_everything_anaf_said() -> None:
    raw = {"id": "1", "tip": "AVIZ NOU", "ceva": {"nou": [1, 2]}}
    (entry,) = read_list(200, listed(raw)).entries
    assert isinstance(entry, ListEntry)
    assert entry.raw == raw

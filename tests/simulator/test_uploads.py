"""Uploads and their states, validation, conversion and the check of signatures."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from appliance.core import anaf_zip, spv
from appliance.simulator.generator import plan
from tests.simulator.calls import FIRST, REST, SECOND, get, index_of, simple, stare, upload
from tests.support.simulator import NOON, Clock, Running

# States and uploads


def test_the_state_of_a_message_leads_to_its_download(client: httpx.Client) -> None:
    entries = simple(client).entries
    good = next(e for e in entries if e.message_type is spv.MessageType.ISSUED)
    bad = next(e for e in entries if e.message_type is spv.MessageType.ERROR)
    assert stare(client, bad.upload_id).endswith(
        '<header xmlns="mfp:anaf:dgti:efactura:stareMesajFactura:v1" stare="nok" '
        f'id_descarcare="{bad.message_id}"/>'
    )
    assert 'stare="ok"' in stare(client, good.upload_id)
    assert 'errorMessage="Nu exista factura cu id_incarcare= 15000"' in stare(client, 15000)
    assert 'errorMessage="Id_incarcare introdus= aaa nu este un numar intreg"' in stare(
        client, "aaa"
    )


def test_the_hundredth_state_of_a_day_is_the_last(client: httpx.Client) -> None:
    client.post("/simulator/limits", json={"states_per_message": 2})
    upload_id = simple(client).entries[0].upload_id
    assert 'stare="ok"' in [stare(client, upload_id) for _ in range(2)][-1]
    assert "S-au facut deja 2 descarcari de mesaj in cursul zilei" in stare(client, upload_id)


@pytest.fixture(scope="module")
def own_invoice() -> bytes:
    """An invoice from the first client to the second."""
    entries = plan(1, 200, NOON)
    between = [e for e in entries if {e.issuer, e.beneficiary} == {FIRST, SECOND}]
    data = next(e for e in between if not e.self_billed).write("", "")
    # the second issued it; let the first one do so
    swapped = data.replace(FIRST.encode(), b"@").replace(SECOND.encode(), FIRST.encode())
    return swapped.replace(b"@", SECOND.encode())


def test_a_valid_upload_reaches_both_sides(client: httpx.Client, own_invoice: bytes) -> None:
    upload_id = index_of(upload(client, own_invoice))
    sent = next(e for e in simple(client, FIRST).entries if e.upload_id == upload_id)
    came = next(e for e in simple(client, SECOND).entries if e.upload_id == upload_id)
    assert (sent.type, came.type) == ("FACTURA TRIMISA", "FACTURA PRIMITA")
    assert sent.message_id != came.message_id
    assert sent.details == came.details
    assert f'stare="ok" id_descarcare="{sent.message_id}"' in stare(client, upload_id)
    package = anaf_zip.read_zip(get(client, "descarcare", id=came.message_id).content)
    assert package.document == own_invoice


def test_the_same_invoice_again_is_an_error_that_names_the_first(
    client: httpx.Client, own_invoice: bytes
) -> None:
    first, second = (index_of(upload(client, own_invoice)) for _ in range(2))
    assert 'stare="nok"' in stare(client, second)
    entry = next(e for e in simple(client).entries if e.upload_id == second)
    assert entry.type == "ERORI FACTURA"
    package = anaf_zip.read_zip(get(client, "descarcare", id=entry.message_id).content)
    (text,) = spv.read_error_document(package.document).errors
    assert text == (
        f"Factura a mai fost transmisa anterior cu index={first} si data incarcare="
        "24-11-2026 12:00:00"
    )


def test_an_invoice_with_wrong_sums_becomes_an_error(
    client: httpx.Client, own_invoice: bytes
) -> None:
    wrong = re.sub(rb"(?<=TaxInclusiveAmount currencyID=\"RON\">)[\d.]+", b"1.00", own_invoice)
    upload_id = index_of(upload(client, wrong))
    entry = next(e for e in simple(client).entries if e.upload_id == upload_id)
    package = anaf_zip.read_zip(get(client, "descarcare", id=entry.message_id).content)
    assert "BR-CO-15" in spv.read_error_document(package.document).errors[0]


def test_a_buyers_answer_reaches_the_seller(client: httpx.Client, own_invoice: bytes) -> None:
    upload_id = index_of(upload(client, own_invoice))
    answer = (
        '<header xmlns="mfp:anaf:dgti:spv:reqMesaj:v1" '
        f'index_incarcare="{upload_id}" message="Lipsește avizul"/>'
    ).encode()
    index_of(upload(client, answer, "RASP", SECOND))
    came = simple(client, FIRST).entries[0]
    assert came.type == "MESAJ CUMPARATOR PRIMIT"
    package = anaf_zip.read_zip(get(client, "descarcare", id=came.message_id).content)
    message = spv.read_buyer_message(package.document)
    assert (message.upload_id, message.text) == (upload_id, "Lipsește avizul")
    assert simple(client, SECOND).entries[0].type == "MESAJ CUMPARATOR TRANSMIS"


def test_a_self_billed_upload_is_sent_by_the_buyer(
    client: httpx.Client, own_invoice: bytes
) -> None:
    upload_id = index_of(upload(client, own_invoice, cif=SECOND, autofactura="DA"))
    entry = next(e for e in simple(client, SECOND).entries if e.upload_id == upload_id)
    assert (entry.type, entry.self_billed) == ("FACTURA TRIMISA", True)
    assert (entry.issuer_cif, entry.beneficiary_cif) == (FIRST, SECOND)


def test_uploads_are_refused_in_anafs_words(client: httpx.Client, own_invoice: bytes) -> None:
    def said(answer: httpx.Response) -> str:
        assert answer.status_code == 200
        assert 'ExecutionStatus="1"' in answer.text
        match = re.search(r'errorMessage="([^"]*)"', answer.text)
        assert match
        return match[1]

    assert said(upload(client, own_invoice, "XYZ")) == (
        "Valorile acceptate pentru parametrul standard sunt UBL, CN, CII sau RASP"
    )
    assert said(upload(client, own_invoice, cif="123a")) == "CIF introdus= 123a nu este un numar"
    assert said(upload(client, own_invoice, cif="1234")) == "Nu aveti drept in SPV pentru CIF=1234"
    assert said(upload(client, own_invoice, autofactura="NU")) == (
        "Daca parametrul autofacturare trebuie completat, valoarea acceptata este DA"
    )
    assert said(upload(client, b" " * (10 * 1024 * 1024 + 1))) == (
        "Marime fisier transmis mai mare de 10 MB."
    )
    for data in (b"<Invoice>", b"text", b"<Invoice1/>"):
        assert said(upload(client, data)).startswith(
            "Fisierul transmis nu este valid. org.xml.sax.SAXParseException; lineNumber: 1; "
        )
    empty = upload(client, b"")
    assert empty.status_code == 400
    assert empty.json()["message"] == "Trebuie sa aveti atasat in request un fisier de tip xml"


def test_a_slow_upload_is_in_progress_at_first(
    client: httpx.Client, spv_server: Running, clock: Clock, own_invoice: bytes
) -> None:
    spv_server.simulator.state.processing = timedelta(seconds=30)
    spv_server.simulator.state.indexing = timedelta(minutes=10)
    upload_id = index_of(upload(client, own_invoice))
    assert 'stare="in prelucrare"' in stare(client, upload_id)
    clock.advance(seconds=31)
    assert 'stare="ok"' in stare(client, upload_id)
    assert upload_id not in {e.upload_id for e in simple(client).entries}
    clock.advance(minutes=10)
    assert upload_id in {e.upload_id for e in simple(client).entries}


# validare, transformare, signature


def test_validation_and_conversion_need_no_token(spv_server: Running, own_invoice: bytes) -> None:
    with httpx.Client(base_url=f"{spv_server.url}{REST}") as anyone:
        answer = anyone.post("/validare/FACT1", content=own_invoice).json()
        assert (answer["stare"], list(answer)) == ("ok", ["stare", "trace_id"])
        answer = anyone.post("/validare/FCN", content=own_invoice).json()
        assert (answer["stare"], list(answer)) == ("nok", ["stare", "Messages", "trace_id"])
        answer = anyone.post("/validare/X", content=own_invoice).json()
        assert answer["Messages"] == [
            {"message": "Valorile acceptate pentru parametrul standard sunt FACT1 si FCN"}
        ]
        assert anyone.post("/transformare/FACT1", content=own_invoice).content[:5] == b"%PDF-"
        assert anyone.post("/transformare/FACT1/DA", content=own_invoice).content[:5] == b"%PDF-"
        assert anyone.post("/transformare/FACT1", content=b"<a/>").json()["stare"] == "nok"
        assert anyone.post("/validare/", content=own_invoice).status_code == 404
    test_host = f"{spv_server.url}/test/FCTEL/rest/validare/FACT1"
    assert httpx.post(test_host, content=own_invoice).status_code == 404


def test_the_signature_check_tells_good_from_bad(client: httpx.Client, corpus: Path) -> None:
    entry = simple(client).entries[0]
    package = anaf_zip.read_zip(get(client, "descarcare", id=entry.message_id).content)

    def check(document: bytes, sign: bytes | None) -> str:
        files = {"file": ("a.xml", document), "signature": ("b.xml", sign or b"")}
        return str(client.post("/api/validate/signature", files=files).json()["msg"])

    assert "au fost validate cu succes" in check(package.document, package.signature)
    assert "NU au putut fi validate" in check(package.document + b" ", package.signature)
    answer = client.post("/api/validate/signature", files={"file": b"x"})
    assert (answer.status_code, "request incorect" in answer.json()["msg"]) == (400, True)
    path = "OCA__l10n-romania/branch-15.0/l10n_ro_account_edi_ubl/tests/4186086961.zip"
    real = anaf_zip.read_zip((corpus / path).read_bytes())
    assert "au fost validate cu succes" in check(real.document, real.signature)

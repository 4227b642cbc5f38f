"""A client that no one here wrote must be able to use the simulator: everything over real HTTP."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import pytest

from appliance.core import anaf_zip, certificates, signature, spv, ubl
from appliance.core.errors import BadInput
from appliance.simulator import Limits, serve
from appliance.simulator.companies import CLIENTS
from appliance.simulator.generator import plan
from tests.support.simulator import NOON, Clock, Running, running_simulator

REST = "/prod/FCTEL/rest"
FIRST, SECOND, THIRD = (client.company.cif for client in CLIENTS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spv_server(clock: Clock) -> Iterator[Running]:
    with running_simulator(clock=clock) as running:
        yield running


@pytest.fixture
def client(spv_server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=spv_server.url, headers=spv_server.headers) as made:
        yield made


def get(client: httpx.Client, resource: str, **query: Any) -> httpx.Response:
    return client.get(f"{REST}/{resource}", params=query)


def simple(client: httpx.Client, cif: str = FIRST, days: int = 60, **more: Any) -> spv.MessageList:
    answer = get(client, "listaMesajeFactura", zile=days, cif=cif, **more)
    return spv.read_list(answer.status_code, answer.content)


def refused(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["eroare", "titlu"]
    return str(body["eroare"])


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def paged(client: httpx.Client, start: datetime, end: datetime, page: Any = 1, **more: Any) -> Any:
    query = {"startTime": ms(start), "endTime": ms(end), "cif": FIRST, "pagina": page, **more}
    return get(client, "listaMesajePaginatieFactura", **query)


# OAuth


def authorize(client: httpx.Client, about: dict[str, Any], **more: str) -> dict[str, list[str]]:
    query = {
        "response_type": "code",
        "client_id": about["client_id"],
        "redirect_uri": "https://localhost:9443/callback?firm=1",
        "token_content_type": "jwt",
        "state": "s t&a=te",
        **more,
    }
    answer = client.get("/anaf-oauth2/v1/authorize", params=query)
    assert answer.status_code == 302
    location = urlparse(answer.headers["location"])
    assert location.netloc == "localhost:9443"
    return parse_qs(location.query)


def exchange(client: httpx.Client, about: dict[str, Any], **form: str) -> httpx.Response:
    return client.post(
        "/anaf-oauth2/v1/token",
        data={"token_content_type": "jwt", **form},
        auth=(about["client_id"], about["client_secret"]),
    )


CODE_FORM = {
    "grant_type": "authorization_code",
    "redirect_uri": "https://localhost:9443/callback?firm=1",
}


def test_a_code_becomes_a_token_that_works(client: httpx.Client, spv_server: Running) -> None:
    about = spv_server.about
    answer = authorize(client, about)
    assert answer["state"] == ["s t&a=te"]
    assert answer["firm"] == ["1"]
    tokens = exchange(client, about, code=answer["code"][0], **CODE_FORM).json()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 7_776_000)
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    hello = httpx.get(f"{spv_server.url}/TestOauth/jaxrs/hello?name=Ana", headers=headers)
    assert (hello.status_code, hello.text) == (200, "Hello, Ana!")


def test_client_credentials_in_the_body_work_as_well(
    client: httpx.Client, spv_server: Running
) -> None:
    about = spv_server.about
    code = authorize(client, about)["code"][0]
    form = {**CODE_FORM, "code": code, "token_content_type": "jwt"}
    secrets = {key: about[key] for key in ("client_id", "client_secret")}
    assert client.post("/anaf-oauth2/v1/token", data={**form, **secrets}).status_code == 200


def test_a_token_looks_like_anafs(spv_server: Running) -> None:
    token = str(spv_server.about["access_token"])
    assert token.startswith("ewogICJhbGci")  # pretty-printed before it was encoded
    assert len(token) > 1500
    head, body, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    assert json.loads(head)["alg"] == "RS512"
    claims = json.loads(body)
    assert claims["exp"] - claims["iat"] == 7_776_000
    assert claims["nbf"] == claims["iat"] - 300
    assert claims["sub"] == claims["serial"].replace(":", "")
    assert not any(cif in body.decode() for cif in spv_server.about["cifs"])


def test_a_code_works_once_within_a_minute_for_its_own_address(
    client: httpx.Client, spv_server: Running, clock: Clock
) -> None:
    about = spv_server.about
    used, late, moved = (authorize(client, about)["code"][0] for _ in range(3))
    other = {**CODE_FORM, "redirect_uri": "https://localhost:9443/other"}
    assert exchange(client, about, code=used, **CODE_FORM).status_code == 200
    for answer in (
        exchange(client, about, code=used, **CODE_FORM),
        exchange(client, about, code=moved, **other),
        exchange(client, about, code="nonsense", **CODE_FORM),
    ):
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    clock.advance(seconds=61)
    assert exchange(client, about, code=late, **CODE_FORM).json()["error"] == "invalid_grant"


def test_a_refresh_rotates_both_tokens(client: httpx.Client, spv_server: Running) -> None:
    about = spv_server.about
    form = {"grant_type": "refresh_token", "refresh_token": about["refresh_token"]}
    first = exchange(client, about, **form).json()
    assert first["access_token"] != about["access_token"]
    assert first["refresh_token"] != about["refresh_token"]
    again = exchange(client, about, **form)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    form["refresh_token"] = first["refresh_token"]
    assert exchange(client, about, **form).status_code == 200


def test_without_rotation_a_refresh_token_stays_good(
    client: httpx.Client, spv_server: Running
) -> None:
    client.post("/simulator/oauth", json={"rotation": False})
    about = spv_server.about
    form = {"grant_type": "refresh_token", "refresh_token": about["refresh_token"]}
    assert exchange(client, about, **form).status_code == 200
    assert exchange(client, about, **form).status_code == 200


def test_tokens_expire_after_90_and_365_days(
    client: httpx.Client, spv_server: Running, clock: Clock
) -> None:
    about = spv_server.about
    clock.advance(days=90)
    assert get(client, "listaMesajeFactura", zile=1, cif=FIRST).status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": about["refresh_token"]}
    clock.advance(days=276)
    answer = exchange(client, about, **form)
    assert answer.json()["error_description"] == "Refresh Token status is expired"


def test_wrong_credentials_are_an_invalid_client(client: httpx.Client, spv_server: Running) -> None:
    about = {**spv_server.about, "client_secret": "wrong"}
    answer = exchange(client, about, grant_type="refresh_token", refresh_token="x")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")
    answer = exchange(client, spv_server.about)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_the_person_may_refuse_or_have_no_certificate(
    client: httpx.Client, spv_server: Running
) -> None:
    about = spv_server.about
    assert authorize(client, about, simulate="access_denied")["error"] == ["access_denied"]
    client.post("/simulator/oauth", json={"next": "no_code"})
    assert set(authorize(client, about)) == {"firm", "state"}
    assert "code" in authorize(client, about)


def test_a_token_that_is_not_a_jwt_is_given_and_not_accepted(
    client: httpx.Client, spv_server: Running
) -> None:
    code = authorize(client, spv_server.about)["code"][0]
    form = {**CODE_FORM, "token_content_type": "opaque"}
    token = exchange(client, spv_server.about, code=code, **form).json()["access_token"]
    assert re.fullmatch("[0-9a-f]{64}", token)
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{spv_server.url}{REST}/listaMesajeFactura?zile=1&cif={FIRST}"
    assert httpx.get(url, headers=headers).status_code == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x.y.z", "Basic eDp5", "Bearer ewo.ewo."])
def test_without_a_good_token_there_is_401(spv_server: Running, header: str) -> None:
    url = f"{spv_server.url}{REST}/descarcare?id=1"
    answer = httpx.get(url, headers={"Authorization": header})
    assert (answer.status_code, answer.json()["status"]) == (401, 401)
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_refresh_token_is_no_access_token(spv_server: Running) -> None:
    headers = {"Authorization": f"Bearer {spv_server.about['refresh_token']}"}
    assert httpx.get(f"{spv_server.url}{REST}/descarcare?id=1", headers=headers).status_code == 401


def test_revoke_leads_to_a_login_page(client: httpx.Client) -> None:
    answer = client.post("/anaf-oauth2/v1/revoke")
    assert (answer.status_code, answer.headers["location"]) == (302, "/my.policy")


# Lists


def test_a_list_has_anafs_keys_in_anafs_order_without_blanks(client: httpx.Client) -> None:
    text = get(client, "listaMesajeFactura", zile=60, cif=FIRST).text
    assert re.match(
        r'\{"mesaje":\[\{"data_creare":"\d{12}","cif":"\d+","id_solicitare":"\d{10}","detalii":"'
        r"Factura cu id_incarcare=\d{10} emisa de cif_emitent=\d+ pentru cif_beneficiar=\d+"
        r'","tip":"FACTURA (PRIMITA|TRIMISA)","id":"\d{10}"\},',
        text,
    )
    assert text.endswith(
        f'],"serial":"34000025{"69AF5D9E5C1720F20000000025"}69","cui":"{FIRST},{SECOND},{THIRD}",'
        '"titlu":"Lista Mesaje disponibile din ultimele 60 zile"}'
    )


def test_every_client_gets_own_messages_only(client: httpx.Client) -> None:
    for cif in (FIRST, SECOND, THIRD):
        answer = simple(client, cif)
        assert answer.entries
        assert {entry.cif for entry in answer.entries} == {cif}
        assert answer.cifs == (FIRST, SECOND, THIRD)
        created = [entry.created_at for entry in answer.entries]
        assert created == sorted(created, reverse=True)  # type: ignore[type-var]


def test_simple_and_paged_list_say_the_same(client: httpx.Client) -> None:
    answer = paged(client, NOON - timedelta(days=60), NOON)
    assert answer.text.index('"mesaje"') < answer.text.index('"numar_inregistrari_in_pagina"')
    assert list(answer.json())[1:] == [
        "numar_inregistrari_in_pagina",
        "numar_total_inregistrari_per_pagina",
        "numar_total_inregistrari",
        "numar_total_pagini",
        "index_pagina_curenta",
        "serial",
        "cui",
        "titlu",
    ]
    assert answer.json()["titlu"] == (
        "Lista Mesaje disponibile din intervalul 25-09-2026 13:00:00 - 24-11-2026 12:00:00"
    )
    pages = spv.read_list(200, answer.content)
    assert [e.raw for e in pages.entries] == [e.raw for e in simple(client).entries]
    assert (pages.page, pages.pages, pages.total) == (1, 1, len(pages.entries))


def test_filters_divide_the_list(client: httpx.Client) -> None:
    whole = {entry.message_id: entry.message_type for entry in simple(client).entries}
    parts = {}
    for letter, kind in (
        ("E", spv.MessageType.ERROR),
        ("T", spv.MessageType.ISSUED),
        ("P", spv.MessageType.RECEIVED),
        ("R", spv.MessageType.BUYER_MESSAGE),
    ):
        answer = simple(client, filtru=letter)
        assert {entry.message_type for entry in answer.entries} <= {kind}
        parts |= {entry.message_id: entry.message_type for entry in answer.entries}
    assert parts == whole


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"zile": "aaa"}, "Numarul de zile introdus= aaa nu este un numar intreg"),
        ({"zile": "0"}, "Numarul de zile trebuie sa fie intre 1 si 60"),
        ({"zile": "61"}, "Numarul de zile trebuie sa fie intre 1 si 60"),
        ({"cif": "aaa"}, "CIF introdus= aaa nu este un numar"),
        ({"cif": "8000000000"}, "Nu aveti drept in SPV pentru CIF=8000000000"),
        ({"filtru": "X"}, "Valorile acceptate pentru parametrul filtru sunt E, T, P sau R"),
    ],
)
def test_the_simple_list_refuses_in_anafs_words(
    client: httpx.Client, query: dict[str, str], text: str
) -> None:
    answer = get(client, "listaMesajeFactura", **{"zile": "60", "cif": FIRST, **query})
    assert refused(answer) == text


def test_the_paged_list_refuses_in_anafs_words(client: httpx.Client) -> None:
    start = NOON - timedelta(days=1)
    no_number = "nu este un numar sau nu are o valoare acceptata de sistem"
    assert refused(paged(client, start, NOON, "aa")) == f"pagina = aa {no_number}"
    assert refused(paged(client, start, NOON, 0)) == f"pagina = 0 {no_number}"
    assert refused(paged(client, start, NOON, startTime="x")) == f"startTime = x {no_number}"
    assert refused(paged(client, start, NOON, endTime="x")) == f"endTime = x {no_number}"
    assert refused(paged(client, start, NOON, cif="x")) == f"CIF introdus= x {no_number}"
    assert refused(paged(client, start, NOON, endTime="9" * 18)).startswith("endTime = ")
    early = NOON - timedelta(days=60, seconds=1)
    assert refused(paged(client, early, NOON)) == (
        "startTime = 25-09-2026 12:59:59 nu poate fi mai vechi de 60 de zile fata de momentul "
        "requestului"
    )
    assert refused(paged(client, start, NOON + timedelta(seconds=1))) == (
        "endTime = 24-11-2026 12:00:01 nu poate in viitor fata de momentul requestului = "
        "24-11-2026 12:00:00"
    )
    assert refused(paged(client, NOON, start)) == (
        "endTime = 23-11-2026 12:00:00 nu poate fi <= startTime = 24-11-2026 12:00:00"
    )
    assert refused(paged(client, NOON - timedelta(seconds=30), NOON)) == (
        "Nu exista mesaje in intervalul selectat"
    )
    assert refused(paged(client, NOON - timedelta(days=60), NOON, 2)) == (
        "Pagina solicitata 2 este mai mare decat numarul toatal de pagini 1"
    )


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        ("listaMesajeFactura", "Parametrii zile si cif sunt obligatorii"),
        (
            "listaMesajePaginatieFactura",
            "Parametrii startTime, endTime, cif si pagina sunt obligatorii",
        ),
        ("descarcare", "Parametrul id este obligatoriu"),
        ("stareMesaj", "Parametrul id_incarcare este obligatoriu"),
    ],
)
def test_a_missing_parameter_is_400_with_anafs_json(
    client: httpx.Client, resource: str, message: str
) -> None:
    answer = get(client, resource)
    assert answer.status_code == 400
    assert answer.text == (
        '{"timestamp":"24-11-2026 12:00:00","status":400,"error":"Bad Request",'
        f'"message":"{message}"}}'
    )


def test_nothing_in_the_window_is_an_error_text_and_an_empty_list(
    client: httpx.Client, clock: Clock
) -> None:
    clock.advance(days=70)
    headers = {"Authorization": f"Bearer {_fresh(client)}"}
    answer = client.get(f"{REST}/listaMesajeFactura?zile=15&cif={FIRST}", headers=headers)
    assert refused(answer) == "Nu exista mesaje in ultimele 15 zile"
    assert spv.read_list(200, answer.content).entries == ()


def _fresh(client: httpx.Client) -> str:
    """Return the client's own token; it lives longer than the messages."""
    return client.headers["Authorization"].removeprefix("Bearer ")


def test_more_than_500_need_the_paged_list(clock: Clock) -> None:
    with (
        running_simulator(invoices=1100, clock=clock) as running,
        httpx.Client(base_url=running.url, headers=running.headers) as client,
    ):
        text = refused(get(client, "listaMesajeFactura", zile=60, cif=FIRST))
        assert text == (
            "Lista de mesaje este mai mare decat numarul de 500 elemente permise in pagina. "
            "Folositi endpoint-ul cu paginatie."
        )
        start = NOON - timedelta(days=60)
        first, second = (
            spv.read_list(200, paged(client, start, NOON, page).content) for page in (1, 2)
        )
        assert (first.pages, len(first.entries)) == (2, 500)
        ids = {entry.message_id for entry in (*first.entries, *second.entries)}
        assert len(ids) == first.total == 500 + len(second.entries)


# Downloads


def test_a_download_is_a_zip_signed_in_the_form_of_production(
    client: httpx.Client, spv_server: Running
) -> None:
    own = certificates.from_pem(spv_server.simulator.certificate)
    for cif in (FIRST, SECOND, THIRD):
        for entry in simple(client, cif).entries:
            answer = get(client, "descarcare", id=entry.message_id)
            package = anaf_zip.read_zip(spv.read_download(answer.status_code, answer.content))
            assert package.document_name == f"{entry.upload_id}.xml"
            assert package.notes == ()
            verdict = signature.verify(
                package.document,
                package.signature,
                pinned={own.fingerprint: own},
                at=entry.created_at,
            )
            assert verdict.result is signature.SignatureResult.VALID
            if entry.message_type is spv.MessageType.ERROR:
                assert spv.read_error_document(package.document).upload_id == entry.upload_id
            elif entry.message_type is spv.MessageType.BUYER_MESSAGE:
                assert spv.read_buyer_message(package.document).upload_id != entry.upload_id
            else:
                invoice = ubl.read(package.document)
                assert cif in (
                    invoice.supplier.all_identifiers() | invoice.customer.all_identifiers()
                )


def test_the_same_message_has_the_same_bytes_each_time(client: httpx.Client) -> None:
    entry = simple(client).entries[0]
    first, second = (get(client, "descarcare", id=entry.message_id).content for _ in range(2))
    assert first == second


def test_downloads_are_refused_in_anafs_words(client: httpx.Client, clock: Clock) -> None:
    assert refused(get(client, "descarcare", id="123a")) == (
        "Id descarcare introdus= 123a nu este un numar intreg"
    )
    assert refused(get(client, "descarcare", id="21")) == (
        "Pentru id=21 nu exista inregistrata nici o factura"
    )
    other = simple(client, SECOND).entries[0].message_id
    oldest = simple(client).entries[-1].message_id
    client.post("/simulator/rights", json={"cifs": [FIRST]})
    assert refused(get(client, "descarcare", id=other)) == (
        "Nu aveti dreptul sa descarcati acesta factura"
    )
    clock.advance(days=61)
    assert refused(get(client, "descarcare", id=oldest)) == (
        "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in care "
        "este disponibil"
    )


def test_the_eleventh_download_of_a_day_is_refused_and_the_next_day_is_new(
    client: httpx.Client, clock: Clock
) -> None:
    wanted, other = (entry.message_id for entry in simple(client).entries[:2])
    for _ in range(10):
        assert get(client, "descarcare", id=wanted).content[:2] == b"PK"
    assert refused(get(client, "descarcare", id=wanted)) == (
        f"S-au facut deja 10 descarcari la mesajul cu id_descarcare={wanted}  in cursul zilei"
    )
    assert get(client, "descarcare", id=other).content[:2] == b"PK"
    clock.advance(hours=11, minutes=59)  # still 24 November in Bucharest
    assert "S-au facut deja" in refused(get(client, "descarcare", id=wanted))
    clock.advance(minutes=1)
    assert get(client, "descarcare", id=wanted).content[:2] == b"PK"


# Limits


def test_the_call_after_the_thousandth_in_a_minute_is_429(clock: Clock) -> None:
    limits = Limits(calls_per_minute=20)
    with (
        running_simulator(clock=clock, limits=limits) as running,
        httpx.Client(base_url=running.url, headers=running.headers) as client,
    ):
        codes = [get(client, "stareMesaj", id_incarcare=1).status_code for _ in range(22)]
        assert codes == [200] * 20 + [429] * 2
        clock.advance(seconds=60)
        assert get(client, "stareMesaj", id_incarcare=1).status_code == 200
    assert Limits().calls_per_minute == 1000


def test_daily_limits_are_refused_in_anafs_words(client: httpx.Client) -> None:
    client.post("/simulator/limits", json={"lists_per_day": 2, "pages_per_day": 1})
    start = NOON - timedelta(days=1)
    text = "S-au facut deja {} interogari de lista mesaje de catre utilizator in cursul zilei"
    for _ in range(2):
        simple(client)
    assert refused(get(client, "listaMesajeFactura", zile=1, cif=FIRST)) == text.format(2)
    simple(client, SECOND)
    paged(client, start, NOON)
    assert refused(paged(client, start, NOON)) == text.format(1)
    defaults = Limits()
    assert (defaults.lists_per_day, defaults.pages_per_day) == (1500, 100_000)
    assert (defaults.downloads_per_message, defaults.states_per_message) == (10, 100)


# States and uploads


def stare(client: httpx.Client, upload_id: Any) -> str:
    answer = get(client, "stareMesaj", id_incarcare=upload_id)
    assert answer.headers["content-type"] == "application/xml"
    return answer.text


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


def upload(
    client: httpx.Client, data: bytes, standard: str = "UBL", cif: str = FIRST, **more: str
) -> httpx.Response:
    query = {"standard": standard, "cif": cif, **more}
    return client.post(f"{REST}/upload", params=query, content=data)


def index_of(answer: httpx.Response) -> str:
    match = re.search(
        r'dateResponse="202611241200" ExecutionStatus="0" index_incarcare="(\d+)"', answer.text
    )
    assert match, answer.text
    return match[1]


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


# The simulator's own


def test_time_can_be_set_and_advanced(client: httpx.Client) -> None:
    answer = client.post("/simulator/clock", json={"now": "2027-03-28T00:30:00+00:00"})
    assert answer.json() == {"now": "2027-03-28T00:30:00+00:00"}
    answer = client.post("/simulator/clock", json={"advance": 3600})
    assert answer.json() == {"now": "2027-03-28T01:30:00+00:00"}
    # the night in which Romania loses an hour
    assert client.get("/nowhere").json()["path"] == "/nowhere"


def test_an_invoice_can_arrive_now(client: httpx.Client, clock: Clock) -> None:
    clock.advance(hours=5)
    before = {entry.message_id for entry in simple(client).entries}
    answer = client.post("/simulator/messages", json={"count": 3, "received": True}).json()
    added = {message["id"] for message in answer["messages"]}
    assert {entry.message_id for entry in simple(client).entries} - before == added
    assert len(added) == 3
    document = plan(9, 5, NOON)[0].write("", "").decode()
    answer = client.post("/simulator/messages", json={"cif": SECOND, "xml": document}).json()
    (message,) = answer["messages"]
    package = anaf_zip.read_zip(get(client, "descarcare", id=message["id"]).content)
    assert package.document == document.encode()


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"now": "x"}', b'{"advance": "x"}'])
def test_a_wrong_request_to_the_simulator_is_400(client: httpx.Client, body: bytes) -> None:
    assert client.post("/simulator/clock", content=body).status_code == 400


def test_a_right_can_be_taken_away(client: httpx.Client) -> None:
    client.post("/simulator/rights", json={"cifs": []})
    assert refused(get(client, "listaMesajeFactura", zile=1, cif=FIRST)) == (
        "Nu exista niciun CIF pentru care sa aveti drept in SPV"
    )


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("waf", spv.FaultKind.TRANSIENT),
        ("maintenance", spv.FaultKind.TRANSIENT),
        ("bad_gateway", spv.FaultKind.TRANSIENT),
        ("not_found_page", spv.FaultKind.TRANSIENT),
        ("error", spv.FaultKind.TRANSIENT),
        ("empty", spv.FaultKind.TRANSIENT),
        ("too_many", spv.FaultKind.TRANSIENT),
        ("technical", spv.FaultKind.TRANSIENT),
        ("unauthorized", spv.FaultKind.TRANSIENT),
        ("extra_brace", spv.FaultKind.QUOTA_MESSAGE),
        ("expired_text", spv.FaultKind.EXPIRED),
    ],
)
def test_an_armed_fault_strikes_once(client: httpx.Client, kind: str, fault: spv.FaultKind) -> None:
    wanted = simple(client).entries[0].message_id
    client.post("/simulator/faults", json={"path": "descarcare", "kind": kind})
    answer = get(client, "descarcare", id=wanted)
    with pytest.raises(spv.SpvFault) as raised:
        spv.read_download(answer.status_code, answer.content)
    assert raised.value.kind is fault
    assert get(client, "descarcare", id=wanted).content[:2] == b"PK"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "truncated"),
        ("only_signature", "only the signature"),
        ("traversal", "dangerous file name"),
        ("bomb", "dangerous size"),
    ],
)
def test_a_damaged_zip_can_be_served(client: httpx.Client, kind: str, words: str) -> None:
    client.post("/simulator/faults", json={"path": "descarcare", "kind": kind})
    answer = get(client, "descarcare", id=simple(client).entries[0].message_id)
    with pytest.raises(anaf_zip.ZipRefused, match=words):
        anaf_zip.read_zip(spv.read_download(answer.status_code, answer.content))


def test_a_tampered_a_renamed_and_an_unsigned_zip_can_be_served(
    client: httpx.Client, spv_server: Running
) -> None:
    own = certificates.from_pem(spv_server.simulator.certificate)
    wanted = simple(client).entries[0].message_id
    results = []
    for kind in ("tampered", "wrong_names", "one_member"):
        client.post("/simulator/faults", json={"path": "descarcare", "kind": kind})
        package = anaf_zip.read_zip(get(client, "descarcare", id=wanted).content)
        verdict = signature.verify(
            package.document, package.signature, pinned={own.fingerprint: own}, at=None
        )
        results.append((str(verdict.result), len(package.notes)))
    assert results == [("invalid", 0), ("valid", 1), ("absent", 1)]


def test_a_list_may_hold_numbers_or_lack_ids(client: httpx.Client) -> None:
    plain = simple(client).entries
    client.post("/simulator/faults", json={"path": "listaMesaje", "kind": "numbers"})
    assert [e.message_id for e in simple(client).entries] == [e.message_id for e in plain]
    client.post("/simulator/faults", json={"path": "listaMesaje", "kind": "no_id"})
    assert [e.message_id for e in simple(client).entries] == [None] * len(plain)
    client.post("/simulator/faults", json={"path": "listaMesaje", "kind": "foreign"})
    assert {e.cif for e in simple(client).entries} == {"80999994"}


def test_a_connection_can_break_in_the_middle(client: httpx.Client) -> None:
    wanted = simple(client).entries[0].message_id
    client.post("/simulator/faults", json={"path": "descarcare", "kind": "cut"})
    with pytest.raises(httpx.TransportError):
        get(client, "descarcare", id=wanted)
    assert get(client, "descarcare", id=wanted).content[:2] == b"PK"


# Real files and restarts


def test_real_files_are_served_byte_for_byte(corpus: Path, clock: Clock) -> None:
    with (
        running_simulator(invoices=1, documents=corpus, clock=clock) as running,
        httpx.Client(base_url=running.url, headers=running.headers) as client,
    ):
        state = running.simulator.state
        assert state.served > 150
        served_xml, served_zip = set(), set()
        for entry in simple(client).entries:
            data = get(client, "descarcare", id=entry.message_id).content
            served_zip.add(data)
            served_xml.add(anaf_zip.read_zip(data).document)
        for path in corpus.rglob("*.zip"):
            assert path.read_bytes() in served_zip
        names = {root[1] for root in spv.DOCUMENT_ROOTS} - {"CrossIndustryInvoice"}
        checked = 0
        for path in corpus.rglob("*.xml"):
            try:
                is_ubl = spv.document_root(path.read_bytes())[1] in names
            except spv.DocumentRefused:
                continue
            if is_ubl and path.is_file():
                assert path.read_bytes() in served_xml
                checked += 1
        assert checked > 150


def test_files_that_are_no_ubl_are_counted_and_left_out(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "note.xml").write_bytes(b"<note/>")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "text.txt").write_bytes(b"x")
    own = next(e for e in plan(1, 40, NOON) if e.cif == FIRST and e.tip == "FACTURA TRIMISA")
    (tmp_path / "own.XML").write_bytes(own.write("", ""))
    with running_simulator(invoices=0, documents=tmp_path, clock=clock) as running:
        state = running.simulator.state
        assert (state.served, state.ignored) == (1, 2)
        (message,) = state.messages.values()
        assert message.tip == "FACTURA TRIMISA"  # the client sold it


def test_a_restart_with_its_directory_is_the_same_world(tmp_path: Path, clock: Clock) -> None:
    """Key, tokens, messages, what arrived meanwhile and what was used up."""
    seen = []
    tokens: dict[str, Any] = {}
    for start in range(2):
        with (
            running_simulator(clock=clock, directory=tmp_path / "spv") as running,
            httpx.Client(base_url=running.url) as client,
        ):
            if start == 0:
                tokens = dict(running.about)
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            if start == 0:
                form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
                assert exchange(client, tokens, **form).status_code == 200
                client.post("/simulator/messages", json={"count": 2})
            else:
                assert exchange(client, tokens, **form).status_code == 400
            entries = simple(client).entries
            documents = [get(client, "descarcare", id=e.message_id).content for e in entries[:5]]
            seen.append(([e.raw for e in entries], documents, running.simulator.certificate))
        clock.advance(hours=7)
    assert seen[0] == seen[1]
    assert (tmp_path / "spv" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_restart_after_a_power_cut_forgets_half_a_line_and_goes_on(
    tmp_path: Path, clock: Clock
) -> None:
    def world(add: int) -> list[str | None]:
        with (
            running_simulator(clock=clock, directory=tmp_path) as running,
            httpx.Client(base_url=running.url, headers=running.headers) as client,
        ):
            if add:
                client.post("/simulator/messages", json={"count": add})
            return [entry.message_id for entry in simple(client).entries]

    before = world(2)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"at": "2026-11-')
    assert world(0) == before
    after = world(1)
    assert len(after) == len(before) + 1
    assert world(0) == after


def test_a_file_keeps_its_id_whatever_else_is_served(tmp_path: Path, clock: Clock) -> None:
    entries = [entry for entry in plan(1, 9, NOON) if entry.tip == "FACTURA PRIMITA"]
    documents = [entry.write("", "") for entry in entries]

    def served() -> dict[bytes, str]:
        with running_simulator(invoices=0, documents=tmp_path, clock=clock) as running:
            messages = running.simulator.state.messages.values()
            return {message.write(): message.id for message in messages}

    for name, document in zip("bd", documents[:2], strict=True):
        (tmp_path / f"{name}.xml").write_bytes(document)
    before = served()
    for name, document in zip("ac", documents[2:4], strict=True):
        (tmp_path / f"{name}.xml").write_bytes(document)
    clock.advance(days=3)
    after = served()
    assert len(after) == 4
    assert before.items() <= after.items()


def test_a_port_that_is_taken_is_one_sentence(spv_server: Running) -> None:
    port = int(spv_server.url.rsplit(":", 1)[1])
    with pytest.raises(BadInput, match="choose another port"):
        serve(port=port, invoices=0)


def test_serve_stands_alone_and_its_file_is_all_a_client_needs(tmp_path: Path) -> None:
    about, pem = tmp_path / "spv.json", tmp_path / "spv.pem"
    code = (
        "from pathlib import Path; from appliance.simulator import serve; "
        f"serve(invoices=10, json_file=Path({str(about)!r}), certificate=Path({str(pem)!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            known = json.loads(about.read_text())
            assert list(known) == [
                "url",
                "client_id",
                "client_secret",
                "access_token",
                "refresh_token",
                "cifs",
            ]
            assert known["url"] in first
            assert about.stat().st_mode & 0o777 == 0o600
            certificates.from_pem(pem.read_bytes())
            headers = {"Authorization": f"Bearer {known['access_token']}"}
            url = f"{known['url']}{REST}/listaMesajeFactura?zile=60&cif={known['cifs'][0]}"
            assert httpx.get(url, headers=headers).json()["mesaje"]
        finally:
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(10) == 0


def test_the_clock_is_the_real_one_by_default() -> None:
    with running_simulator(invoices=0) as running:
        now = datetime.fromisoformat(httpx.get(f"{running.url}/simulator").json()["now"])
        assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)

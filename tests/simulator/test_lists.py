"""Lists of messages, simple and paged, and what ANAF answers to a wrong question."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx
import pytest

from appliance.core import spv
from tests.simulator.calls import FIRST, REST, SECOND, THIRD, get, paged, refused, simple
from tests.support.simulator import NOON, Clock, running_simulator


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

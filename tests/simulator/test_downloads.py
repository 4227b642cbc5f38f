"""Downloads of messages, and the limits of every call."""

from __future__ import annotations

from datetime import timedelta

import httpx

from appliance.core import anaf_zip, certificates, signature, spv, ubl
from appliance.simulator import Limits
from tests.simulator.calls import FIRST, SECOND, THIRD, get, paged, refused, simple
from tests.support.simulator import NOON, Clock, Running, running_simulator

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

"""The load mode: many clients, many messages, none of them stored."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from datetime import timedelta

import httpx
import pytest

from appliance.core import anaf_zip, certificates, signature, spv, ubl
from appliance.simulator import Limits, Signer, Simulator
from appliance.simulator.state import WINDOW
from tests.support.simulator import NOON, Clock, running_simulator


@pytest.fixture(scope="module")
def large() -> Simulator:
    """500 clients and 200,000 messages."""
    return Simulator(1, 200_000, clock=Clock(), signer=Signer.load(None), clients=500)


def test_500_clients_with_200_000_messages_take_a_few_megabytes() -> None:
    signer = Signer.load(None)
    tracemalloc.start()
    try:
        simulator = Simulator(1, 200_000, clock=Clock(), signer=signer, clients=500)
        state = simulator.state
        for cif in state.crowd.cifs if state.crowd else ():
            listed = state.listed(cif, NOON - WINDOW, NOON, "")
            for place in range(0, len(listed), 10):  # enough to be seen, if they were kept
                listed[place].entry()
        for number in range(2000):
            message = state.listed(state.crowd.cifs[number % 500], NOON - WINDOW, NOON, "")[0]  # type: ignore[union-attr]
            state.zip_of(message)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert state.count() == 200_000
    assert size < 8_000_000


def test_every_message_is_listed_once_under_its_own_company(large: Simulator) -> None:
    state = large.state
    assert state.crowd is not None
    seen: Counter[str] = Counter()
    for cif in state.crowd.cifs[:3] + state.crowd.cifs[-3:]:
        listed = state.listed(cif, NOON - WINDOW, NOON, "")
        assert len(listed) == 400
        moments = [message.created for message in listed]
        assert moments == sorted(moments, reverse=True)
        assert {message.cif for message in listed} == {cif}
        for message in listed:
            seen[message.id] += 1
            same, upload = state.message(message.id), state.upload_of(message.upload_id)
            assert same is not None
            assert upload is not None
            assert (same.entry(), upload.download_id) == (message.entry(), message.id)
    assert set(seen.values()) == {1}
    assert len(seen) == 6 * 400
    assert len(set(state.crowd.cifs)) == 500


def test_a_window_and_a_filter_choose_what_plain_counting_chooses(large: Simulator) -> None:
    state = large.state
    assert state.crowd is not None
    cif = state.crowd.cifs[17]
    everything = list(state.listed(cif, NOON - WINDOW, NOON, ""))
    start, end = everything[300].created, everything[20].created
    inside = [m.id for m in everything if start <= m.created <= end]

    assert [m.id for m in state.listed(cif, start, end, "")] == inside
    assert not state.listed(cif, NOON, NOON + timedelta(days=1), "")
    assert not state.listed("999", NOON - WINDOW, NOON, "")
    filtered = {letter: state.listed(cif, NOON - WINDOW, NOON, letter) for letter in "PTER"}
    assert {letter: len(found) for letter, found in filtered.items()} == {
        "P": 290, "T": 90, "E": 10, "R": 10,
    }  # fmt: skip


def test_its_invoices_are_whole_signed_and_each_a_different_one(large: Simulator) -> None:
    state = large.state
    assert state.crowd is not None
    pinned = {state.signer.pinned.fingerprint: state.signer.pinned}
    numbers = set()
    for cif in state.crowd.cifs[:4]:
        for message in state.listed(cif, NOON - timedelta(days=12), NOON, ""):
            package = anaf_zip.read_zip(state.zip_of(message))
            verdict = signature.verify(
                package.document, package.signature, pinned=pinned, at=message.created
            )
            assert verdict.result is signature.SignatureResult.VALID
            kind = spv.message_type(message.tip)
            if kind not in (spv.MessageType.RECEIVED, spv.MessageType.ISSUED):
                continue
            invoice = ubl.read(package.document)
            side = invoice.customer if kind is spv.MessageType.RECEIVED else invoice.supplier
            assert side.cif == cif
            assert cif in message.details
            numbers.add((invoice.supplier.cif, invoice.number))
    assert len(numbers) > 250


def test_the_same_seed_and_moment_give_the_same_bytes(large: Simulator) -> None:
    again = Simulator(1, 200_000, clock=Clock(), signer=large.state.signer, clients=500)
    assert large.state.crowd is not None
    for cif in large.state.crowd.cifs[::100]:
        for message in large.state.listed(cif, NOON - timedelta(days=3), NOON, ""):
            other = again.state.message(message.id)
            assert other is not None
            assert again.state.zip_of(other) == large.state.zip_of(message)


def test_a_client_fetches_them_over_http_as_from_any_spv() -> None:
    with (
        running_simulator(invoices=4000, clients=4, clock=Clock(), limits=Limits.none()) as running,
        httpx.Client(base_url=f"{running.url}/prod/FCTEL/rest/", headers=running.headers) as client,
    ):
        about = running.about
        assert len(about["cifs"]) == 4
        millis = int(NOON.timestamp() * 1000)
        ids: list[str] = []
        for page in (1, 2):
            answer = client.get(
                "listaMesajePaginatieFactura",
                params={
                    "startTime": millis - 59 * 86_400_000,
                    "endTime": millis,
                    "cif": about["cifs"][3],
                    "pagina": page,
                },
            )
            listed = spv.read_list(answer.status_code, answer.content)
            ids += [entry.message_id or "" for entry in listed.entries]
        assert len(set(ids)) == len(ids) == 1000

        zipped = client.get("descarcare", params={"id": ids[-1]})
        package = anaf_zip.read_zip(zipped.content)
        own = certificates.from_pem(running.simulator.certificate)
        verdict = signature.verify(
            package.document, package.signature, pinned={own.fingerprint: own}, at=None
        )
        assert verdict.result is signature.SignatureResult.VALID


def test_an_invoice_can_arrive_at_one_of_the_many_and_is_listed_with_the_others(
    large: Simulator,
) -> None:
    state = Simulator(1, 900, clock=Clock(), signer=large.state.signer, clients=30).state
    cif = state.rights[next(iter(state.rights))][20]
    before = len(state.listed(cif, NOON - WINDOW, NOON, ""))

    (message,) = state.add_generated(cif, True)

    listed = state.listed(cif, NOON - WINDOW, NOON, "")
    assert len(listed) == before + 1
    assert listed[0] is message
    assert ubl.read(anaf_zip.read_zip(state.zip_of(message)).document).customer.cif == cif

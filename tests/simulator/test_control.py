"""The simulator's own paths: time, new messages, rights, faults."""

from __future__ import annotations

import httpx
import pytest

from appliance.core import anaf_zip, certificates, signature, spv
from appliance.simulator.generator import plan
from tests.simulator.calls import FIRST, SECOND, exchange, get, refused, simple
from tests.support.simulator import NOON, Clock, Running


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


def test_every_code_and_token_that_was_given_out_can_be_asked_for(
    client: httpx.Client, spv_server: Running
) -> None:
    about = spv_server.about
    query = {"client_id": about["client_id"], "redirect_uri": "http://localhost/back"}
    sent = client.get("/anaf-oauth2/v1/authorize", params=query).headers["location"]
    code = sent.rpartition("code=")[2]
    pair = exchange(
        client,
        about,
        grant_type="authorization_code",
        code=code,
        redirect_uri=query["redirect_uri"],
    ).json()

    issued = client.post("/simulator/issued", json={}).json()["issued"]

    assert issued == [
        about["access_token"], about["refresh_token"], code,
        pair["access_token"], pair["refresh_token"],
    ]  # fmt: skip


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

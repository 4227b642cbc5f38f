"""enrol.sock of the real process: what the portal may ask."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.anaf import CLIENT_ID, CLIENT_SECRET, Anaf
from tests.support.vault import CALLBACK, VaultProcess

APPLICATION = {
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "redirect_uri": CALLBACK,
}


async def test_the_way_from_nothing_to_a_mapped_cif(vault: VaultProcess, anaf: Anaf) -> None:
    assert (await vault.enrol.get("/status")).json()["application"] is None
    assert (await vault.enrol.put("/application", json=APPLICATION)).status_code == 204
    begun = (
        await vault.enrol.post(
            "/authorisations",
            json={"session": "s", "requested_by": "ana", "holder": "Ana Pop", "about": "client-7"},
        )
    ).json()
    address = urlsplit(begun["authorise_url"])
    assert address.path == "/anaf-oauth2/v1/authorize"
    assert parse_qs(address.query) == {
        "response_type": ["code"],
        "client_id": [CLIENT_ID],
        "redirect_uri": [CALLBACK],
        "token_content_type": ["jwt"],
        "state": [begun["state"]],
    }
    finished = await vault.enrol.post(
        "/authorisations/code", json={"session": "s", "state": begun["state"], "code": "c"}
    )
    grant = finished.json()["grant"]
    assert finished.json() == {
        "grant": grant,
        "serial": "3400002569AB",
        "renewed": False,
        "instead_of": "",
        "about": "client-7",
    }
    body = {"grant": grant, "confirmed_by": "ana"}
    assert (await vault.enrol.put("/cifs/RO12345674", json=body)).status_code == 204
    status = (await vault.enrol.get("/status")).json()
    assert status["application"]["client_id"] == CLIENT_ID
    (shown,) = status["grants"]
    assert shown["grant"] == grant
    assert (shown["serial"], shown["holder"]) == ("3400002569AB", "Ana Pop")
    assert (shown["state"], shown["cifs"], shown["offered"]) == ("active", ["12345674"], [])
    assert shown["access_expires_at"] > shown["renew_at"] > shown["created_at"]
    assert shown["refused_at"] is None
    for named, cifs in (("0" * 32, ["12345674"]), (grant, [])):
        answer = await vault.enrol.request(
            "DELETE", "/cifs/12345674", json={"by": "ana", "grant": named}
        )
        assert answer.status_code == 204
        assert (await vault.grant())["cifs"] == cifs
    await vault.map("12345674", grant)
    assert (await vault.enrol.request("DELETE", "/cifs/12345674")).status_code == 204
    assert (await vault.grant())["cifs"] == []
    tested = (await vault.enrol.post(f"/grants/{grant}/test")).json()
    assert tested["ok"] is True
    assert anaf.calls[-1]["path"] == "/TestOauth/jaxrs/hello"
    revoked = await vault.enrol.post(f"/grants/{grant}/revoke")
    assert "Renunțare Oauth" in revoked.json()["sentence"]["ro"]
    assert (await vault.grant())["state"] == "revoked"
    assert (await vault.enrol.post(f"/grants/{grant}/test")).status_code == 404


@pytest.mark.parametrize(
    "greeting", [b"<html>Request Rejected</html>", b'\n{"status":401}', b" ", b""]
)
async def test_a_page_or_an_error_under_200_is_no_connection_that_works(
    vault: VaultProcess, anaf: Anaf, greeting: bytes
) -> None:
    grant = await vault.enrolled("12345674")
    anaf.greeting = greeting
    tested = (await vault.enrol.post(f"/grants/{grant}/test")).json()
    assert tested["ok"] is False
    assert "altceva decât răspunsul de test" in tested["sentence"]["ro"]


REFUSED: list[tuple[str, str, Any, int]] = [
    ("GET", "/", None, 404),
    ("GET", "/application", None, 405),
    ("POST", "/status", {}, 405),
    ("PUT", "/application", {}, 400),
    ("PUT", "/application", APPLICATION | {"redirect_uri": "http://evil.example/x"}, 400),
    ("PUT", "/application", APPLICATION | {"redirect_uri": "https://a/\r\nx"}, 400),
    ("PUT", "/application", APPLICATION | {"redirect_uri": "javascript:alert(1)"}, 400),
    ("PUT", "/application", APPLICATION | {"client_id": "a:b"}, 400),
    ("PUT", "/application", APPLICATION | {"client_secret": "with blank"}, 400),
    ("PUT", "/application", APPLICATION | {"client_secret": 5}, 400),
    ("PUT", "/application", APPLICATION | {"client_secret": None, "client_id": "other"}, 400),
    ("POST", "/authorisations", {"session": "s"}, 400),
    ("POST", "/authorisations", {"session": "s", "requested_by": "a", "holder": "x" * 121}, 400),
    ("POST", "/authorisations", {"session": "s", "requested_by": "a", "grant": "f" * 32}, 404),
    ("POST", "/authorisations/code", {"session": "s", "state": "invented", "code": "c"}, 400),
    ("PUT", "/cifs/12345674", {"grant": "0" * 32, "confirmed_by": "ana"}, 404),
    ("PUT", "/cifs/ABCDEF", {"grant": "0" * 32, "confirmed_by": "ana"}, 400),
    ("PUT", "/cifs/12345674", {"grant": "0" * 32}, 400),
    ("DELETE", "/cifs/%2e%2e", None, 404),
    ("POST", f"/grants/{'0' * 32}/test", None, 404),
    ("POST", f"/grants/{'0' * 32}/revoke", None, 404),
    ("POST", "/grants/../status/test", None, 404),
    ("POST", "/authorisations", ["no", "object"], 400),
    ("GET", "/prod/FCTEL/rest/descarcare?id=1", None, 404),
]


async def test_what_cannot_be_done_gets_a_sentence_in_both_languages(
    vault: VaultProcess,
) -> None:
    await vault.register()
    for method, path, body, status in REFUSED:
        answer = await vault.enrol.request(method, path, json=body)
        assert answer.status_code == status, (method, path, body)
        error = answer.json()["error"]
        assert error["ro"]
        assert error["en"]
        assert error["ro"] != error["en"]


async def test_what_enrol_does_not_know_is_in_the_audit_chain_once_a_minute(
    vault: VaultProcess,
) -> None:
    for _ in range(20):
        await vault.enrol.get("/prod/FCTEL/rest/descarcare?id=1")
    await vault.enrol.request("DELETE", "/status")
    for number in range(200):
        await vault.enrol.get(f"/{number}")
    await vault.end()
    refused = [entry for entry in vault.audit() if entry["action"] == "call:unknown"]
    assert {"GET /prod/FCTEL/rest/descarcare", "DELETE /status"} <= {
        entry["data"]["call"] for entry in refused
    }
    assert {entry["data"]["socket"] for entry in refused} == {"enrol.sock"}
    assert {entry["actor"] for entry in refused} == {f"uid:{os.getuid()}"}
    assert len(refused) <= 2 * 50, "two minutes at most"


NONSENSE = [
    b"{",
    b"\xff\xfe",
    b"[" * 60_000,
    b'{"session":' + b"9" * 60_000 + b"}",
    b'{"session":"' + b"x" * 60_000 + b'","requested_by":"a"}',
    b'"text"',
]


async def test_a_body_without_sense_is_400_and_the_vault_goes_on(
    vault: VaultProcess,
) -> None:
    for body in NONSENSE:
        answer = await vault.enrol.post("/authorisations", content=body)
        assert answer.status_code == 400, body[:40]
    assert (await vault.enrol.get("/status")).status_code == 200


async def test_a_long_body_is_refused_before_it_is_read(vault: VaultProcess) -> None:
    answer = await vault.enrol.post("/authorisations", content=b"x" * 5_000_000)
    assert answer.status_code == 413


async def test_before_the_application_is_known_the_next_step_is_told(vault: VaultProcess) -> None:
    answer = await vault.enrol.post("/authorisations", json={"session": "s", "requested_by": "a"})
    assert answer.status_code == 400
    assert "client_id" in answer.json()["error"]["ro"]


async def test_the_redirect_address_can_change_without_the_secret(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.register()
    changed = {"client_id": CLIENT_ID, "redirect_uri": "https://localhost:8443/inapoi"}
    assert (await vault.enrol.put("/application", json=changed)).status_code == 204
    await vault.authorise()
    assert anaf.token_requests[0]["form"]["redirect_uri"] == ["https://localhost:8443/inapoi"]


async def test_a_refusal_of_anaf_reaches_the_portal_without_its_html(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.register()
    begun = await vault.enrol.post("/authorisations", json={"session": "s", "requested_by": "a"})
    anaf.code_answer = (400, b'{"error":"invalid_grant","error_description":"<script>x</script>"}')
    answer = await vault.enrol.post(
        "/authorisations/code", json={"session": "s", "state": begun.json()["state"], "code": "c"}
    )
    assert answer.status_code == 400
    assert "script" not in answer.text
    assert "60 de secunde" in answer.json()["error"]["ro"]


async def test_the_test_renews_a_token_that_anaf_rejects(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.register()
    grant = await vault.authorise()
    anaf.refused = set(anaf.issued)
    tested = (await vault.enrol.post(f"/grants/{grant}/test")).json()
    assert (tested["ok"], len(anaf.refreshes)) == (True, 1)


async def test_the_test_says_what_is_wrong(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.register()
    grant = await vault.authorise()
    anaf.api_status = 401
    for _ in range(2):
        tested = (await vault.enrol.post(f"/grants/{grant}/test")).json()
        assert tested["ok"] is False
        assert "E-Factura" in tested["sentence"]["ro"]
    assert len(anaf.refreshes) == 1


async def test_the_test_says_that_a_refused_renewal_is_tried_a_second_time(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.register()
    grant = await vault.authorise()
    anaf.refused = set(anaf.issued)
    anaf.token_answer = (400, b'{"error":"invalid_grant"}')
    tested = (await vault.enrol.post(f"/grants/{grant}/test")).json()
    assert tested["ok"] is False
    assert "a doua oară" in tested["sentence"]["ro"]

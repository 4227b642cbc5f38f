"""OAuth as ANAF has it: codes, tokens, their lives and their refusals."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import pytest

from tests.simulator.calls import FIRST, REST, exchange, get
from tests.support.simulator import Clock, Running


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

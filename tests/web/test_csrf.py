"""No other site, and no other visitor's token, makes a browser act here."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from appliance.core.roles import Status
from appliance.store import documents
from tests.support.web import FORM, ORIGIN, Site

_SOURCES: list[tuple[Mapping[str, str], bool]] = [
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "same-origin", "origin": ORIGIN}, True),
    ({"origin": ORIGIN}, True),
    ({}, False),
    ({"sec-fetch-site": "none"}, False),
    ({"sec-fetch-site": "same-site"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "cross-site", "origin": ORIGIN}, False),
    ({"sec-fetch-site": ""}, False),
    ({"origin": "null"}, False),
    ({"origin": "https://evil.example"}, False),
    ({"origin": f"{ORIGIN}.evil.example"}, False),
    ({"origin": "https://localhost:8080"}, False),
    ({"referer": f"{ORIGIN}/"}, False),
]


@pytest.mark.parametrize(("headers", "accepted"), _SOURCES)
async def test_where_a_post_comes_from_decides(
    site: Site, headers: Mapping[str, str], accepted: bool
) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    sent = {"content-type": "application/x-www-form-urlencoded", **headers}
    body = f"csrf={ana.token()}&seen_status=pending&seen_revision=1".encode()
    response = await ana.request("POST", f"/documents/{uid}/approve", headers=sent, content=body)
    assert response.status_code == (303 if accepted else 403)
    approved = (await documents.by_uid(uid)).status is Status.APPROVED
    assert approved is accepted


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_are_refused_before_the_router(site: Site, method: str) -> None:
    ana = await site.browser("ana")
    response = await ana.request(method, "/", headers=FORM)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, POST"


async def test_the_token_of_another_session_is_worth_nothing(site: Site) -> None:
    uid = await site.invoice()
    ana, other = await site.browser("ana"), await site.browser("ana")
    fields = {"seen_status": "pending", "seen_revision": "1"}
    for token in (other.token(), "", "0" * 64, ana.token()[:-1], ana.token().upper(), "ș" * 64):
        response = await ana.post(f"/documents/{uid}/approve", fields, token=token)
        assert response.status_code == 403, token
    await ana.get("/clients")
    assert (await documents.by_uid(uid)).status is Status.PENDING


async def test_the_token_may_come_in_the_header_and_never_twice(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    token = ana.token()
    body = b"seen_status=pending&seen_revision=1"
    sent = {**FORM, "content-type": "application/x-www-form-urlencoded"}
    address = f"/documents/{uid}/approve"
    doubled = f"csrf={token}&csrf={token}&".encode() + body
    response = await ana.request("POST", address, headers=sent, content=doubled)
    assert response.status_code == 403
    response = await ana.request("POST", address, headers={**sent, "x-csrf": token}, content=body)
    assert response.status_code == 303


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "multipart/form-data; boundary=x", ""]
)
async def test_a_token_in_another_kind_of_body_does_not_count(
    site: Site, content_type: str
) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    body = f"csrf={ana.token()}&seen_status=pending&seen_revision=1".encode()
    headers = {**FORM, "content-type": content_type}
    response = await ana.request("POST", f"/documents/{uid}/approve", headers=headers, content=body)
    assert response.status_code == 403


async def test_a_log_in_form_is_bound_to_its_browser(site: Site) -> None:
    mine, other = await site.browser(), await site.browser()
    await mine.get("/login")
    await other.get("/login")
    fields = {"email": "ana@example.ro", "password": "x", "next": ""}
    assert (await mine.post("/login", fields, token=other.token())).status_code == 403
    assert "nu mai este valabil" in mine.page
    mine.cookies.clear()
    assert (await mine.post("/login", fields, token=other.token())).status_code == 403


async def test_a_form_of_a_session_that_has_ended_leads_to_the_log_in_and_back(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    await ana.get(f"/documents/{uid}")
    site.clock.forward(minutes=31)
    response = await ana.post(
        f"/documents/{uid}/approve",
        {"seen_status": "pending", "seen_revision": "1"},
        headers={"referer": f"{ORIGIN}/documents/{uid}"},
    )
    assert response.headers["location"] == f"/login?next=/documents/{uid}"
    assert (await documents.by_uid(uid)).status is Status.PENDING


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example", "/\\evil.example", "https://evil.example", "https:evil.example",
        "/%09/evil.example", "/%2f/evil", "javascript:alert(1)", "/\tevil", "\\\\evil", "/ok?x=1",
        "/ok#x", "/ok\r\nset-cookie: a=b", "ok", "///", "/documents/../x", "/ș",
    ],
)  # fmt: skip
async def test_log_in_leads_to_no_other_place(site: Site, target: str) -> None:
    browser = await site.browser()
    await browser.get("/login")
    response = await browser.post(
        "/login",
        {"email": "ana@example.ro", "password": "corect cal baterie capsator", "next": target},
    )
    assert response.status_code in (303, 400)
    if response.status_code == 303:
        assert response.headers["location"] == "/"


async def test_an_htmx_request_of_an_ended_session_is_told_where_to_go(site: Site) -> None:
    response = await (await site.browser()).get("/clients", **{"hx-request": "true"})
    assert response.headers["hx-redirect"] == "/login?next=/clients"


async def test_a_form_that_is_too_large_is_refused(site: Site) -> None:
    ana = await site.browser("ana")
    response = await ana.post("/language", {"language": "x" * 70_000})
    assert response.status_code == 413

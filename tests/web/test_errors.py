"""Hosts, headers and errors: what goes wrong is said once, in words, and keeps its secrets."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from litestar import get, post

from appliance.config import Settings
from appliance.core import errors
from appliance.core.errors import ArhivarError
from appliance.store import documents
from appliance.web.auth.guards import ANYONE, allow
from appliance.web.auth.host import Place
from appliance.web.errors import STATUS_CODES, status_of
from appliance.web.pages import HANDLERS
from tests.support.store import World
from tests.support.web import Browser, Site, running


@pytest.mark.parametrize(
    "host",
    [
        "example.com", "localhost", "localhost:8081", "localhost:99999", "localhost:8080.evil.com",
        "evil.com:8080", "localhostx8080", "127.0.0.1:8080", "localhost:8080,evil.com", "",
    ],
)  # fmt: skip
async def test_any_other_host_is_refused(site: Site, host: str) -> None:
    response = await Browser(site.app).get("/login", host=host)
    assert response.status_code == 421
    assert "http://localhost:8080" in response.text


async def test_a_forwarded_host_is_not_believed(site: Site) -> None:
    response = await Browser(site.app).get("/", **{"x-forwarded-host": "evil.example"})
    assert response.headers["location"] == "/login"
    assert "evil" not in response.text


@pytest.mark.parametrize(
    ("url", "peer", "told", "address"),
    [
        ("http://localhost:8080", "127.0.0.1", "8.8.8.8", "127.0.0.1"),
        ("https://arhiva.example", "127.0.0.1", "8.8.8.8", "8.8.8.8"),
        ("https://arhiva.example", "203.0.113.7", "8.8.8.8", "203.0.113.7"),
        ("https://arhiva.example", "127.0.0.1", "nu; sunt", "unknown"),
        ("https://arhiva.example", "127.0.0.1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("https://arhiva.example", "127.0.0.1", "::ffff:8.8.8.8", "8.8.8.8"),
    ],
)
def test_the_address_comes_from_the_connection_and_behind_tls_from_our_own_proxy(
    url: str, peer: str, told: str, address: str
) -> None:
    scope = {"client": (peer, 1), "headers": [(b"x-real-ip", told.encode())]}
    assert Place(Settings(web_url=url)).address_of(scope) == address


async def test_head_answers_like_get_without_the_body(site: Site) -> None:
    browser = Browser(site.app)
    full, head = await browser.get("/login"), await browser.request("HEAD", "/login")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == full.headers["content-length"]


@pytest.mark.parametrize("kind", [*ArhivarError.__subclasses__()])
def test_every_error_of_ours_has_a_status(kind: type[ArhivarError]) -> None:
    if kind.__module__.startswith("appliance.core") or kind in STATUS_CODES:
        assert 400 <= status_of(kind.__new__(kind)) < 504


async def test_a_defect_is_a_page_with_a_reference_and_a_line_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    @get("/broken", opt=allow(ANYONE))
    async def broken() -> str:
        secret = "parola-canar"  # noqa: F841 - a local that no page and no log may show
        raise RuntimeError("ceva s-a stricat")

    async with running(world, handlers=[*HANDLERS, broken]) as site:
        with caplog.at_level(logging.ERROR):
            response = await Browser(site.app).get("/broken?token=query-canar")
    assert response.status_code == 500
    reference = response.text.partition("Referință: ")[2][:12]
    assert f"defect {reference} on GET /broken" in caplog.text
    assert "RuntimeError" not in response.text
    assert "ceva s-a stricat" not in response.text
    assert "canar" not in response.text
    assert "query-canar" not in caplog.text


async def test_a_busy_store_asks_to_come_back(world: World) -> None:
    @get("/busy", opt=allow(ANYONE))
    async def busy() -> str:
        raise errors.Busy(errors.Sentence("Baza este ocupată.", "the database is busy"))

    async with running(world, handlers=[*HANDLERS, busy]) as site:
        response = await Browser(site.app).get("/busy")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert "Baza este ocupată." in response.text
        english = await Browser(site.app, accept_language="en").get("/busy")
        assert "The database is busy" in english.text


async def test_an_error_for_htmx_takes_the_place_of_the_page(world: World) -> None:
    @post("/refused", opt=allow("person"))
    async def refused() -> str:
        raise errors.BadInput(errors.Sentence("Nu așa.", "not like this"))

    async with running(world, handlers=[*HANDLERS, refused]) as site:
        ana = await site.browser("ana")
        response = await ana.post("/refused", headers={"hx-request": "true"})
        assert response.status_code == 400
        assert response.headers["hx-retarget"] == "#main"
        assert 'id="main"' in response.text


async def test_what_was_typed_is_never_markup(site: Site) -> None:
    evil = "<script>alert(1)</script>"
    browser = await site.browser()
    await browser.get("/login")
    response = await browser.post("/login", {"email": evil, "password": "x", "next": evil})
    assert evil not in response.text
    for path in (f"/{evil}", f"/login?next={evil}", f"/activate/{evil}"):
        assert evil not in (await browser.get(path)).text


async def test_what_an_invoice_says_is_never_markup(site: Site) -> None:
    evil = "<script>alert(1)</script>"
    uid = await site.invoice(partner_name=evil, number=evil, summary=evil, warnings=(evil,))
    ana = await site.browser("ana")
    for path in (f"/documents/{uid}", f"/documents/{uid}/reject", "/"):
        response = await ana.get(path)
        while "location" in response.headers:
            response = await ana.get(response.headers["location"])
        assert evil not in response.text
        assert "&lt;script&gt;" in response.text


@pytest.mark.parametrize("after", ["x", "2026-11-24_x", "0", "2026-13-01_1", "' OR 1=1 --"])
async def test_a_page_of_a_list_that_is_none_is_refused(site: Site, after: str) -> None:
    ana = await site.browser("ana")
    response = await ana.get(f"/clients/{site.world.alfa_uid}/approved?after={after}")
    assert response.status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"seen_status": "pending"}, {"seen_status": "x", "seen_revision": "1"},
        {"seen_status": "pending", "seen_revision": "-1"},
        {"seen_status": "pending", "seen_revision": "9" * 30},
        {"seen_status": "pending", "seen_revision": "１"},
        {"seen_status": "pending", "seen_revision": "1", "back": "x\x00"},
    ],
)  # fmt: skip
async def test_a_decision_without_what_was_seen_is_refused(
    site: Site, fields: dict[str, Any]
) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    response = await ana.post(f"/documents/{uid}/approve", fields)
    assert response.status_code == 400
    assert (await documents.by_uid(uid)).status == "pending"


async def test_a_field_that_comes_twice_is_refused(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    body = f"csrf={ana.token()}&seen_status=pending&seen_status=approved&seen_revision=1"
    response = await ana.request(
        "POST",
        f"/documents/{uid}/approve",
        headers={
            "sec-fetch-site": "same-origin",
            "content-type": "application/x-www-form-urlencoded",
        },
        content=body.encode(),
    )
    assert response.status_code == 400


async def test_a_report_of_the_policy_is_one_line_without_what_was_sent(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    sent = (
        b'[{"type":"csp-violation","body":{"effectiveDirective":"script-src-elem",'
        b'"blockedURL":"https://evil.example/canar?x=canar","documentURL":"http://canar"}}]'
    )
    headers = {"sec-fetch-site": "same-origin", "content-type": "application/reports+json"}
    browser = Browser(site.app)
    with caplog.at_level(logging.WARNING):
        for body in (sent, b"", b"[[[[", b"{}", b'[{"body":1}]', b"x" * 20_000, *[sent] * 30):
            response = await browser.request("POST", "/csp-report", headers=headers, content=body)
            assert response.status_code == 204
    lines = [record.getMessage() for record in caplog.records if "policy" in record.getMessage()]
    assert set(lines) == {"policy blocked directive=script-src-elem host=evil.example"}
    assert len(lines) == 20
    assert "canar" not in caplog.text
    foreign = {**headers, "sec-fetch-site": "cross-site"}
    response = await browser.request("POST", "/csp-report", headers=foreign, content=sent)
    assert response.status_code == 403


async def test_static_files_are_kept_as_long_as_their_address_names_their_content(
    site: Site,
) -> None:
    browser = await site.browser()
    page = (await browser.get("/login")).text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    response = await browser.get(address, **{"accept-encoding": "gzip"})
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-encoding"] == "gzip"
    assert response.text.startswith("/* The whole look")
    again = await browser.get(address, **{"if-none-match": response.headers["etag"]})
    assert again.status_code == 304
    for path in ("../app.py", "..%2fapp.py", "vendor/../../app.py", "/etc/passwd", "nix.css"):
        assert (await browser.get(f"/static/{path}")).status_code == 404

"""The real portal over a real store, and browsers that speak to it.

Every answer that a `Browser` gets is checked for the headers that all answers
carry, so the whole suite asserts them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from appliance.core import naming, ubl
from appliance.core.money import to_minor
from appliance.core.roles import Kind, Status
from appliance.core.ubl_model import DocumentType
from appliance.simulator import generator
from appliance.store import accounts, documents, messages, notices
from appliance.store.documents import NewDocument, NewFile, NewLine
from appliance.store.engine import open_store, transaction
from appliance.store.files import Archive
from appliance.store.ids import new_uid
from appliance.web.app import PortalApp, create_app
from appliance.web.auth.headers import ALWAYS
from appliance.web.auth.passwords import Passwords
from tests.support.store import NOW, World, entry

ORIGIN = "http://localhost:8080"
PASSWORD = "corect cal baterie capsator"

# What a browser sends with a form of the same site.
FORM = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "origin": ORIGIN}


def cheap_passwords() -> Passwords:
    """Argon2id that costs nothing, for tests that are about something else."""
    return Passwords(memory_kib=8, time_cost=1)


@dataclass
class Clock:
    """The moment that the portal reads."""

    moment: datetime = NOW

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, **passed: float) -> None:
        self.moment += timedelta(**passed)


@dataclass
class Browser:
    """One person's browser: cookies, the last page, forms posted as a browser posts them."""

    app: PortalApp
    origin: str = ORIGIN
    address: str = "127.0.0.1"
    cookies: dict[str, str] = field(default_factory=dict)
    page: str = ""
    accept_language: str = "ro-RO,ro;q=0.9"

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """Send one request and keep the cookies of the answer."""
        sent = {"accept-language": self.accept_language, **(headers or {})}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        transport = httpx.ASGITransport(app=self.app, client=(self.address, 50000))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=self.origin) as client:
            response = await client.request(method, path, headers=sent, content=content)
        check_headers(response, secure=self.origin.startswith("https"))
        for line in response.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            value, _, attributes = rest.partition(";")
            if "max-age=0" in attributes.lower():
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        if response.headers.get("content-type", "").startswith("text/html") and response.text:
            self.page = response.text
        return response

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page."""
        return await self.request("GET", path, headers=headers)

    async def post(
        self,
        path: str,
        fields: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> httpx.Response:
        """Post a form with the token of the last page."""
        form = {"csrf": self.token() if token is None else token, **(fields or {})}
        return await self.request(
            "POST",
            path,
            headers={
                **FORM,
                "content-type": "application/x-www-form-urlencoded",
                **(headers or {}),
            },
            content=str(httpx.QueryParams(form)).encode(),
        )

    def token(self) -> str:
        """Return the token of the last page's forms."""
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.page)
        return found.group(1) if found else ""

    async def log_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        """Open the log-in page and send it; afterwards a page of the portal is open."""
        await self.get("/login")
        response = await self.post("/login", {"email": email, "password": password, "next": ""})
        if response.status_code == 303:
            place = response.headers["location"]
            while place:
                opened = await self.get(place)
                place = opened.headers.get("location", "")
        return response


def check_headers(response: httpx.Response, *, secure: bool) -> None:
    """Assert what every answer carries, whatever its status."""
    headers = response.headers
    for name in ALWAYS:
        assert len(headers.get_list(name)) == 1, (name, response.status_code, response.url)
    for name in ("x-content-type-options", "x-frame-options", "permissions-policy"):
        assert headers[name] == ALWAYS[name]
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    static = response.url.path.startswith("/static/") and response.status_code in (200, 304)
    assert static or headers["cache-control"] == "no-store"
    assert ("strict-transport-security" in headers) is secure
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers
    for cookie in headers.get_list("set-cookie"):
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "path=/", "samesite=lax"} <= parts, cookie
        assert cookie.startswith("__Host-") is secure
        assert ("secure" in parts) is secure
        assert not any(part.startswith("domain") for part in parts)
    assert headers["reporting-endpoints"] == 'csp="/csp-report"'
    if headers.get("content-type", "").startswith("text/"):
        assert "charset=utf-8" in headers["content-type"]
        assert headers["content-type"].count("charset") == 1


@dataclass
class Site:
    """The portal with the people of `World`, who all have the same password."""

    world: World
    app: PortalApp
    clock: Clock

    async def browser(self, name: str | None = None, **fields: Any) -> Browser:
        """Return a fresh browser, of the person when a name is given."""
        browser = Browser(self.app, **fields)
        if name is not None:
            response = await browser.log_in(f"{name}@example.ro")
            assert response.status_code == 303, response.text
        return browser

    async def invoice(
        self,
        status: Status = Status.PENDING,
        *,
        client_id: int | None = None,
        mark: str = "",
        position: int = 0,
        uploader_id: int | None = None,
        **fields: Any,
    ) -> str:
        """Store a real invoice with its files and bring it to the status; return its uid.

        `mark` is written into its names, texts and files.
        """
        client = self.world.alfa if client_id is None else client_id
        client_uid = self.world.alfa_uid if client == self.world.alfa else self.world.beta_uid
        new, files = real_invoice(
            client, mark=mark, position=position, uploader_id=uploader_id, **fields
        )
        archive = Archive(self.world.settings.archive_dir)
        month = documents.archive_month(new.received_at)
        pdf = files.pop("invoice.pdf")
        archive.write_document(client_uid, month, new.uid, files, {"uid": new.uid})
        archive.write_derived(client_uid, month, new.uid, "invoice.pdf", pdf)
        await documents.add(new, at=NOW)
        await self.world.bring(new.uid, status)
        return new.uid

    async def notice(self, client_id: int | None = None, text: str = "Eroare ANAF") -> str:
        """Store a notice of an ANAF error; return its uid."""
        client = self.world.alfa if client_id is None else client_id
        (message,) = await messages.remember(client, [entry(new_uid(NOW)[-9:])], NOW)
        uid = new_uid(NOW)
        await notices.add(
            notices.NewNotice(
                uid=uid,
                client_id=client,
                message_uid=message.uid,
                type="anaf_error",
                text=text,
                received_at=NOW,
                folder_name=f"2026-11-24_EROARE_{uid[-6:]}",
                upload_id="5001",
            ),
            NOW,
        )
        return uid


def real_invoice(
    client_id: int, *, mark: str = "", position: int = 0, **fields: Any
) -> tuple[NewDocument, dict[str, bytes]]:
    """Return a generated invoice as the store takes it, and its files."""
    received = [p for p in generator.plan(7, 40, NOW) if p.tip == generator.RECEIVED]
    planned = received[position % len(received)]
    xml = planned.write("5001", "")
    read = ubl.read(xml)
    supplier = read.supplier.name
    if mark:
        xml = xml.replace(supplier.encode(), f"{mark} SRL".encode())
        supplier = f"{mark} SRL"
        read = ubl.read(xml)
    uid = new_uid(NOW)
    payable = to_minor(read.payable_amount, read.currency)
    signed = to_minor(read.signed_payable, read.currency)
    note = f"nota {mark}".encode()
    pdf = f"%PDF-1.7 {mark}".encode()
    files = {
        "message.zip": b"PK\x03\x04" + note,
        "invoice.xml": xml,
        "signature.xml": b"<?xml version='1.0'?><Signature/>" + note,
        "anexa.bin": b"<script>alert(1)</script>" + note,
        "invoice.pdf": pdf,
    }

    def file(role: str, name: str, **names: str) -> NewFile:
        data = files[name]
        return NewFile(
            role, name, "text/html", len(data), hashlib.sha256(data).hexdigest(), **names
        )

    folder = naming.standard_name(read.issue_date, supplier, read.number, uid, NOW.date())
    values: dict[str, Any] = {
        "kind": Kind.RECEIVED,
        "source": "spv",
        "type": read.type.value if isinstance(read.type, DocumentType) else "invoice",
        "received_at": NOW - timedelta(hours=1),
        "folder_name": folder,
        "signature_result": "valid",
        "signature_reason": "ok",
        "number": read.number,
        "issue_date": read.issue_date,
        "due_date": read.due_date,
        "supplier_name": supplier,
        "supplier_cif": read.supplier.cif,
        "customer_name": read.customer.name,
        "customer_cif": read.customer.cif,
        "partner_name": supplier,
        "partner_cif": read.supplier.cif,
        "currency": read.currency,
        "payable_minor": payable,
        "signed_minor": signed,
        "ron_minor": signed if read.currency == "RON" else None,
        "summary": read.lines[0].name,
        "lines": [NewLine(line_id=line.id, name=line.name) for line in read.lines],
        "files": [
            file("zip", "message.zip"),
            file("invoice", "invoice.xml", shown_suffix=".xml"),
            file("signature", "signature.xml", shown_suffix="_semnatura.xml"),
            file("attachment", "anexa.bin", shown_name="anexă ”1”.html"),
            file("pdf", "invoice.pdf", shown_suffix=".pdf"),
        ],
    }
    return NewDocument(uid=uid, client_id=client_id, **(values | fields)), files


@asynccontextmanager
async def running(world: World, **options: Any) -> AsyncIterator[Site]:
    """Start the portal on the world's store; everybody gets the same password."""
    clock = options.pop("clock", None) or Clock()
    options.setdefault("passwords", cheap_passwords())
    app = create_app(world.settings, clock=clock, **options)
    stored = await options["passwords"].hash(PASSWORD)
    async with transaction():
        for account_id in world.ids.values():
            await accounts.set_password_hash(account_id, stored, NOW, rehash=True)
    # Not through the lifespan: its task group may not be left in another task than it
    # was entered in, which is how pytest ends a fixture. The browser tests serve it whole.
    async with open_store(world.settings) as opened:
        app.portal.store = opened
        yield Site(world, app, clock)


@pytest.fixture
async def site(world: World) -> AsyncIterator[Site]:
    """A running portal with its own clock."""
    async with running(world) as made:
        yield made


def path_of(address: str) -> str:
    """Return the path of a redirect, without its query."""
    return urlsplit(address).path

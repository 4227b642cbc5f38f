"""Files of strangers are handed out so that no browser takes them for a page of ours."""

from __future__ import annotations

import pytest

from appliance.core.roles import Status
from appliance.store import documents
from appliance.web.pages.files import detected_type, disposition_name
from tests.support.web import Site


async def test_every_file_is_an_attachment_in_a_sandbox_with_a_type_of_ours(site: Site) -> None:
    uid = await site.invoice(mark="Curent")
    ana = await site.browser("ana")
    expected = {
        "message.zip": "application/zip",
        "invoice.xml": "application/xml",
        "signature.xml": "application/xml",
        "anexa.bin": "application/octet-stream",
    }
    for name, media_type in expected.items():
        response = await ana.get(f"/documents/{uid}/files/{name}")
        assert response.headers["content-type"] == media_type
        assert response.headers["content-disposition"].startswith("attachment; filename=")
        assert response.headers["content-security-policy"].startswith("sandbox;")
        assert int(response.headers["content-length"]) == len(response.content)
        stored = next(
            file for file in (await documents.by_uid(uid)).files if file.stored_name == name
        )
        assert stored.size == len(response.content)
    html = await ana.get(f"/documents/{uid}/files/anexa.bin")
    assert html.content.startswith(b"<script>")
    assert (
        "filename*=UTF-8''anex%C4%83%20%E2%80%9D1%E2%80%9D.html"
        in (html.headers["content-disposition"])
    )


async def test_our_own_pdf_opens_in_the_browser_or_is_saved(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    shown = await ana.get(f"/documents/{uid}/files/invoice.pdf")
    assert shown.headers["content-type"] == "application/pdf"
    assert shown.headers["content-disposition"].startswith("inline; ")
    saved = await ana.get(f"/documents/{uid}/files/invoice.pdf?download=1")
    assert saved.headers["content-disposition"].startswith("attachment; ")


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "nix.xml",
        "%2e%2e",
        "%2e%2e%2finvoice.xml",
        "..%2f..%2farhivar.db",
        "invoice.XML",
    ],
)
async def test_only_files_of_the_document_exist(site: Site, name: str) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    response = await ana.get(f"/documents/{uid}/files/{name}")
    assert response.status_code == 404


async def test_a_file_whose_bytes_are_gone_is_said_to_be_missing(site: Site) -> None:
    new = await site.world.document(Status.APPROVED)
    ana = await site.browser("ana")
    assert (await ana.get(f"/documents/{new}/files/invoice.xml")).status_code == 404
    page = await ana.get(f"/documents/{new}")
    assert page.status_code == 200
    assert "nu poate fi afișat ca factură" in page.text


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"<?xml version='1.0'?>", "application/xml"),
        (b"\xef\xbb\xbf<?xml ", "application/xml"),
        ("\ufeff<?xml ".encode("utf-16-le"), "application/xml"),
        (b"<html><script>", "application/octet-stream"),
        (b"<svg xmlns=", "application/octet-stream"),
        (b"GIF89a", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_type_is_found_in_the_first_bytes(start: bytes, media_type: str) -> None:
    assert detected_type(start) == media_type


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("factura.pdf", "factura.pdf"),
        ('a"b.pdf', "a_b.pdf"),
        ("a\r\nSet-Cookie: x=1.pdf", "aSet-Cookie_ x=1.pdf"),
        ("..\\..\\x.exe", "_.._x.exe"),
        ("gpj.\u202efdp.exe", "gpj.fdp.exe"),
        ("anexă ș ț.xml", "anexa s t.xml"),
        ("", "document"),
        ("密码", "document"),
        ("x" * 300, "x" * 120),
    ],
)
def test_no_name_breaks_out_of_its_header(name: str, plain: str) -> None:
    text = disposition_name(name)
    assert text.startswith(f"filename=\"{plain}\"; filename*=UTF-8''")
    assert text.isascii()
    assert text.count('"') == 2
    assert "\r" not in text
    assert "\n" not in text

"""Zips as they must not be: each function takes a good one and gives a bad one back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import datetime
from functools import cache

from appliance.simulator import attachments
from appliance.simulator.signing import Signer, zipped

Spoil = Callable[[bytes, Signer], bytes]
_Members = tuple[tuple[str, bytes], ...]


def _members(body: bytes) -> _Members:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return tuple((name, archive.read(name)) for name in archive.namelist())


def _packed(members: _Members) -> bytes:
    return zipped(members, datetime(2026, 1, 1))  # noqa: DTZ001 - a zip has no zone


def _is_signature(name: str) -> bool:
    return name.startswith("semnatura")


def _renamed(body: bytes, rename: Callable[[str], str]) -> bytes:
    return _packed(tuple((rename(name), content) for name, content in _members(body)))


def _resigned(body: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """Put another signature in, made by `sign` from the document."""
    members = _members(body)
    document = next(content for name, content in members if not _is_signature(name))
    return _packed(
        tuple((n, sign(document) if _is_signature(n) else content) for n, content in members)
    )


def truncated(body: bytes, signer: Signer) -> bytes:
    return body[: len(body) * 2 // 3]


def bad_crc(body: bytes, signer: Signer) -> bytes:
    """The checksum of the first member, as the central directory has it, is wrong."""
    at = body.index(b"PK\x01\x02") + 16
    return body[:at] + bytes((body[at] ^ 1,)) + body[at + 1 :]


def without_signature(body: bytes, signer: Signer) -> bytes:
    return _packed(tuple(m for m in _members(body) if not _is_signature(m[0])))


def only_signature(body: bytes, signer: Signer) -> bytes:
    return _packed(tuple(m for m in _members(body) if _is_signature(m[0])))


def with_pdf(body: bytes, signer: Signer) -> bytes:
    members = _members(body)
    name = next(name for name, _ in members if not _is_signature(name)).replace(".xml", ".pdf")
    return _packed((*members, (name, attachments.pdf("Factura", ["adaugat de simulator"]))))


def other_names(body: bytes, signer: Signer) -> bytes:
    return _renamed(body, lambda n: "semnatura.xml" if _is_signature(n) else "factura.xml")


def other_id(body: bytes, signer: Signer) -> bytes:
    def next_one(name: str) -> str:
        prefix = "semnatura_" if _is_signature(name) else ""
        number = name.removeprefix(prefix).removesuffix(".xml")
        return f"{prefix}{int(number) + 1 if number.isdecimal() else 1}.xml"

    return _renamed(body, next_one)


def tampered(body: bytes, signer: Signer) -> bytes:
    return _packed(tuple((n, c if _is_signature(n) else c + b" ") for n, c in _members(body)))


def other_signature(body: bytes, signer: Signer) -> bytes:
    """A good signature, by the right certificate, of a document that is not this one."""
    return _resigned(body, lambda document: signer.sign(document + b"\n"))


def stranger(body: bytes, signer: Signer) -> bytes:
    return _resigned(body, lambda document: _stranger().sign(document))


@cache
def _stranger() -> Signer:
    return Signer.load(None)


def test_form(body: bytes, signer: Signer) -> bytes:
    return _resigned(body, signer.sign_enveloped)


def traversal(body: bytes, signer: Signer) -> bytes:
    return _renamed(body, lambda name: f"../{name}")


def bomb(body: bytes, signer: Signer) -> bytes:
    return _packed(
        tuple((n, c if _is_signature(n) else bytes(40_000_000)) for n, c in _members(body))
    )

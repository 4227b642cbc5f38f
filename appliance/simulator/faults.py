"""What goes wrong at ANAF, as it was seen to go wrong, to be armed for a number of calls.

A fault either takes the place of an answer or, with `after`, changes a good one.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.simulator.signing import zipped


def _same(body: bytes) -> bytes:
    return body


@dataclass(frozen=True)
class Fault:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    after: bool = False
    change: Callable[[bytes], bytes] = _same
    cut: bool = False


def _page(title: str, text: str) -> bytes:
    return f"<html><head><title>{title}</title></head><body>{text}</body></html>".encode()


def _changed(change: Callable[[bytes], bytes]) -> Fault:
    return Fault(after=True, change=change)


def _members(body: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def _repacked(change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Fault:
    def repack(body: bytes) -> bytes:
        kept = [change(name, content) for name, content in _members(body)]
        members = tuple(member for member in kept if member is not None)
        return zipped(members, datetime(2026, 1, 1))  # noqa: DTZ001 - a zip has no zone

    return _changed(repack)


def _only(signature: bool) -> Fault:
    return _repacked(
        lambda name, content: (name, content) if name.startswith("sem") is signature else None
    )


def _relisted(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Fault:
    def relist(body: bytes) -> bytes:
        answer = json.loads(body)
        answer["mesaje"] = [change(entry) for entry in answer.get("mesaje", ())]
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()

    return _changed(relist)


def _number(value: str) -> str | int:
    return int(value) if value.isdigit() else value


_PLAIN_EXPIRED = (
    "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in care este "
    "disponibil"
)

FAULTS: Mapping[str, Fault] = {
    "waf": Fault(
        body=_page(
            "Request Rejected",
            "The requested URL was rejected. Please consult with your administrator.<br><br>"
            "Your support ID is: 17422331549302",
        ),
        content_type="text/html",
    ),
    "maintenance": Fault(body=_page("", "Mentenanta sistem"), content_type="text/html"),
    "bad_gateway": Fault(502, _page("502 Bad Gateway", "nginx"), "text/html"),
    "not_found_page": Fault(404, _page("404", "Not Found"), "text/html"),
    "error": Fault(500),
    "empty": Fault(),
    "too_many": Fault(429),
    "unauthorized": Fault(
        body=b'{"timestamp":"24-11-2026 10:00:00","status":401,"error":"Unauthorized"}'
    ),
    "technical": Fault(
        body=b'{"eroare":"A aparut o eroare tehnica. Cod: 1814","titlu":"Lista Mesaje"}'
    ),
    "extra_brace": Fault(
        body=b'{"eroare":"S-au facut deja 10 descarcari de mesaj in cursul zilei",'
        b'"titlu":"Descarcare mesaj"}}'
    ),
    "expired_text": Fault(body=_PLAIN_EXPIRED.encode(), content_type="text/plain"),
    "cut": Fault(after=True, cut=True),
    "truncated": _changed(lambda body: body[: len(body) * 2 // 3]),
    "one_member": _only(signature=False),
    "only_signature": _only(signature=True),
    "wrong_names": _repacked(
        lambda name, content: ("semnatura.xml" if "semn" in name else "factura.xml", content)
    ),
    "tampered": _repacked(
        lambda name, content: (name, content if "semn" in name else content + b" ")
    ),
    "traversal": _repacked(lambda name, content: (f"../{name}", content)),
    "bomb": _repacked(
        lambda name, content: (name, content if "semn" in name else bytes(40_000_000))
    ),
    "numbers": _relisted(lambda entry: {k: _number(v) for k, v in entry.items()}),
    "no_id": _relisted(lambda entry: {k: v for k, v in entry.items() if k != "id"}),
    "foreign": _relisted(lambda entry: {**entry, "cif": "80999994"}),
}

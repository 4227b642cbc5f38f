"""A vault that misbehaves on request, and the messages that it lists, for the tests of sync."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from hypercorn.asyncio import serve
from hypercorn.config import Config

from appliance.simulator.companies import Company
from appliance.simulator.invoice import Draft, LineDraft, write
from appliance.simulator.signing import Signer, zipped

AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
LISTED = "202611230915"  # 07:15 UTC

ALFA, BETA, STRANGER = "12345674", "98765438", "22000460"

Answer = tuple[int, bytes, dict[str, str]]


@cache
def signer() -> Signer:
    return Signer.load(None)


def company(cif: str, name: str, **fields: Any) -> Company:
    return Company(name=name, cif=cif, city="Iași", county="RO-IS", street="Str. Mare 1", **fields)


PARTIES = {
    ALFA: company(ALFA, "Alfa Construct SRL"),
    BETA: company(BETA, "Beta Comerț SRL"),
    STRANGER: company(STRANGER, "ENEL ENERGIE SA"),
}


def draft(supplier: str = STRANGER, customer: str = ALFA, **fields: Any) -> Draft:
    """An invoice of 121,00 lei, unless told otherwise."""
    defaults: dict[str, Any] = {
        "number": "EFI-1203",
        "issue_date": date(2026, 11, 3),
        "supplier": PARTIES.get(supplier) or company(supplier, f"Furnizor {supplier} SRL"),
        "customer": PARTIES.get(customer) or company(customer, f"Client {customer} SRL"),
        "lines": (LineDraft("Energie electrică", Decimal(100), "KWH", Decimal(1)),),
    }
    return Draft(**{**defaults, **fields})


def invoice(supplier: str = STRANGER, customer: str = ALFA, **fields: Any) -> bytes:
    return write(draft(supplier, customer, **fields))


def package(document: bytes | None = None, upload_id: str = "6001") -> bytes:
    """The zip that ANAF would give, signed by `signer()`."""
    return signer().pack(upload_id, invoice() if document is None else document, AT)


def members(*parts: tuple[str, bytes]) -> bytes:
    """A zip of exactly these members."""
    return zipped(parts, AT)


def bomb(size: int = 40 * 1024 * 1024) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("6001.xml", b"0" * size)
    return buffer.getvalue()


def listed(message_id: str | None, cif: str = ALFA, **fields: Any) -> dict[str, Any]:
    """An entry of the list in ANAF's words."""
    entry = {
        "data_creare": LISTED,
        "cif": cif,
        "id_solicitare": f"5{message_id}",
        "detalii": f"Factura cu id_incarcare=5{message_id} emisa de cif_emitent={STRANGER} "
        f"pentru cif_beneficiar={ALFA}",
        "tip": "FACTURA PRIMITA",
        "id": message_id,
        **fields,
    }
    return {name: value for name, value in entry.items() if value is not None}


def refusal(status: int, reason: str, retry_after: int | None = None) -> Answer:
    """What the vault answers by itself."""
    headers = {"arhivar-reason": reason}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return status, b'{"error":{"ro":"x","en":"x"}}', headers


def eroare(text: str) -> Answer:
    """What ANAF answers instead, under HTTP 200."""
    return 200, json.dumps({"eroare": text, "titlu": "Descarcare mesaj"}).encode(), {}


@dataclass
class FakeVault:
    """spv.sock as it would be if ANAF listed these entries and gave out these zips."""

    socket: Path
    entries: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    zips: dict[str, bytes] = field(default_factory=dict)
    cifs: str = f"{ALFA},{BETA}"
    # The next answers to a download of this message or a list of this CIF, before the usual one.
    answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    hold: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    page_size: int = 500
    lists: list[dict[str, str]] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    grants: list[dict[str, Any]] = field(default_factory=list)  # as GET /arhivar/standing tells
    not_allowed: list[str] = field(default_factory=list)  # reported; it says another may be
    standings: int = 0  # how often it was asked for them

    def offer(self, message_id: str, data: bytes, cif: str = ALFA, **fields: Any) -> None:
        """List a message and have its zip ready."""
        self.entries[cif].append(listed(message_id, **{"cif": cif, **fields}))
        self.zips[message_id] = data

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        query = {k: v[0] for k, v in parse_qs(scope["query_string"].decode()).items()}
        status, answer, headers = await self._answer(scope["path"], query, body)
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        pairs.append((b"content-length", str(len(answer)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        if path == "/arhivar/seen-cifs":
            self.seen.append(json.loads(body))
            return 204, b"", {}
        if path == "/arhivar/not-allowed":
            self.not_allowed.append(json.loads(body)["grant"])
            return 200, b'{"again": true}', {"content-type": "application/json"}
        if path == "/arhivar/standing":
            self.standings += 1
            told = json.dumps({"application": True, "grants": self.grants}).encode()
            return 200, told, {"content-type": "application/json"}
        key = query.get("id") or query["cif"]
        if path.endswith("/descarcare"):
            self.downloads.append(key)
        else:
            self.lists.append(query)
        self.asked.set()
        if key in self.hold:
            await self.hold[key].wait()
        if self.answers[key]:
            return self.answers[key].pop(0)
        if path.endswith("/descarcare"):
            return 200, self.zips[key], {"content-type": "application/zip"}
        return 200, self._page(key, int(query["pagina"])), {"content-type": "application/json"}

    def _page(self, cif: str, page: int) -> bytes:
        entries = self.entries[cif]
        if not entries:
            return json.dumps({"eroare": "Nu exista mesaje in intervalul selectat"}).encode()
        first = (page - 1) * self.page_size
        pages = -(-len(entries) // self.page_size)
        return json.dumps(
            {
                "mesaje": entries[first : first + self.page_size],
                "serial": "34AB",
                "cui": self.cifs,
                "titlu": "Lista Mesaje",
                "numar_total_inregistrari": len(entries),
                "numar_total_pagini": pages,
                "index_pagina_curenta": page,
            }
        ).encode()


@asynccontextmanager
async def running_vault(path: Path) -> AsyncIterator[FakeVault]:
    """Serve spv.sock at `path` in this event loop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen(64)
    vault = FakeVault(path)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 0.2
    stop = asyncio.Event()
    task = asyncio.create_task(serve(vault, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    try:
        yield vault
    finally:
        for event in vault.hold.values():
            event.set()
        stop.set()
        await task
        path.unlink(missing_ok=True)


def names(paths: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in paths)

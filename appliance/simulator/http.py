"""Requests and answers as ASGI carries them, and the forms in which ANAF answers.

The texts under HTTP 200, their spelling mistakes included, are ANAF's.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from appliance.core.times import BUCHAREST

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

NO_NUMBER = "nu este un numar sau nu are o valoare acceptata de sistem"
_PIECES = 16  # of a slow body
_BODY_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("an object is expected")
        return value


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False  # announce the whole length, send half, break the connection
    slow: float = 0  # seconds that the body takes
    late: float = 0  # seconds before the answer begins


def digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def moment_of(milliseconds: str | int) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def wall(moment: datetime) -> str:
    return f"{moment.astimezone(BUCHAREST):%d-%m-%Y %H:%M:%S}"


def json_answer(value: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(status, text.encode())


def error_answer(text: str, title: str) -> Response:
    return json_answer({"eroare": text, "titlu": title})


def status_answer(status: int, error: str, message: str, now: datetime) -> Response:
    answer = {"timestamp": wall(now), "status": status, "error": error, "message": message}
    return json_answer(answer, status=status)


def bad_request(message: str, now: datetime) -> Response:
    return status_answer(400, "Bad Request", message, now)


def not_found(path: str, now: datetime) -> Response:
    stamp = now.isoformat(timespec="milliseconds")
    answer = {"timestamp": stamp, "status": 404, "error": "Not Found", "path": path}
    return json_answer(answer, status=404)


def xml_answer(header: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n{header}'
    return Response(200, text.encode(), "application/xml")


async def read_body(receive: Receive) -> bytes | None:
    """Return the whole body, `None` when it is larger than anything ANAF would read."""
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return b"".join(chunks)
        chunk = event.get("body", b"")
        size += len(chunk)
        if size <= _BODY_LIMIT:
            chunks.append(chunk)
        if not event.get("more_body"):
            return b"".join(chunks) if size <= _BODY_LIMIT else None


async def reply(response: Response, send: Send) -> None:
    headers = [
        (b"content-type", response.content_type.encode("ascii")),
        (b"content-length", str(len(response.body)).encode("ascii")),
        (b"x-correlation-id", secrets.token_hex(8).encode("ascii")),
        *((name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.cut:
        half = response.body[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        raise ConnectionResetError("a fault of the simulator: the connection breaks here")
    if response.slow:
        step = max(1, len(response.body) // _PIECES)
        for start in range(0, len(response.body), step):
            piece = response.body[start : start + step]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(response.slow / _PIECES)
        await send({"type": "http.response.body"})
        return
    await send({"type": "http.response.body", "body": response.body})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return

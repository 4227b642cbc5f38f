"""One HTTP request and its one answer, between the ASGI server and the methods.

Nothing is buffered that a stranger may make long: the body is read only by
`read_body()`, with a cap and a clock, and what a method did not read is
discarded after the answer has gone out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_XML = 64 * 1024  # bytes of a PROPFIND body
_BODY_SECONDS = 30.0
# An answer without having read the body closes the connection on it, and a
# client still sending may then never see the answer: so much is thrown away first.
_DISCARD = 4 * 1024 * 1024
_DISCARD_SECONDS = 10.0


class TooLarge(BadInput):
    """The body is longer than this method takes (413)."""


@dataclass(frozen=True)
class Answer:
    """Status, headers and a whole body; `get.py` streams files itself."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    length: int | None = None  # of a body that is not sent (HEAD)


@dataclass
class Request:
    """What came in; `raw_path` as sent, header names in lower case."""

    method: str
    raw_path: bytes
    address: str
    scheme: str
    headers: list[tuple[bytes, bytes]]
    receive: Receive
    send: Send
    body_read: bool = field(default=False, init=False)
    gone: bool = field(default=False, init=False)
    started: bool = field(default=False, init=False)

    @classmethod
    def from_scope(cls, scope: Scope, receive: Receive, send: Send) -> Request:
        client = scope.get("client")
        return cls(
            method=scope["method"],
            raw_path=_path_of(scope["raw_path"], scope["query_string"]),
            address=client[0] if client else "",
            scheme=scope["scheme"],
            headers=[(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]],
            receive=receive,
            send=send,
        )

    def header(self, name: bytes) -> bytes | None:
        """Return the header's value, or None; one that stands there twice is refused."""
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise BadInput(
                Sentence(
                    f"Antetul {name.decode()} apare de două ori. Repetă cererea.",
                    f"the header {name.decode()} stands there twice; send it once",
                )
            )
        return values[0].strip() if values else None

    @property
    def has_body(self) -> bool:
        return any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
            for name, value in self.headers
        )

    async def read_body(self, limit: int = MAX_XML) -> bytes:
        """Return the whole body; raises `TooLarge` past `limit`, `BadInput` when it never ends."""
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while not self.body_read:
                    body += await self._next()
                    if len(body) > limit:
                        raise TooLarge(_TOO_LARGE)
        except TimeoutError:
            raise BadInput(_TOO_SLOW) from None
        return bytes(body)

    async def answer(self, answer: Answer) -> None:
        """Send the answer whole, then discard a bounded rest of an unread body."""
        length = len(answer.body) if answer.length is None else answer.length
        headers = [*answer.headers]
        if answer.status != 304:
            headers.append((b"content-length", str(length).encode()))
        unread = self.has_body and not self.body_read
        await self.start(answer.status, headers)
        await self.send(
            {"type": "http.response.body", "body": answer.body, "more_body": unread},
        )
        if unread:
            await self._discard()
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.started = True
        everything = [*headers, (b"x-content-type-options", b"nosniff")]
        await self.send(
            {"type": "http.response.start", "status": status, "headers": everything},
        )

    async def watch(self) -> None:
        """Set `gone` when the client hangs up; runs beside an answer that takes long."""
        while not self.gone:
            await self._next()

    async def _next(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            self.body_read = True
            return b""
        if not message.get("more_body", False):
            self.body_read = True
        return bytes(message.get("body", b""))

    async def _discard(self) -> None:
        discarded = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not self.body_read and discarded <= _DISCARD:
                    discarded += len(await self._next())


def error(status: int, sentence: Sentence, language: str, condition: str = "") -> Answer:
    """Return the answer with a `DAV:error` (RFC 4918 §16) that holds our sentence.

    `condition` is the local name of a precondition of DAV: where one fits.
    """
    named = f"<D:{condition}/>" if condition else ""
    code = "ro" if language == "ro" else "en"
    body = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<D:error xmlns:D="DAV:">{named}'
        f'<A:sentence xmlns:A="urn:arhivar:dav" xml:lang="{code}">'
        f"{escape(sentence.in_language(language))}</A:sentence></D:error>\n"
    )
    return Answer(status, (XML,), body.encode())


XML = (b"content-type", b"application/xml; charset=utf-8")

_TOO_LARGE = Sentence(
    "Cererea este prea lungă. Cere mai puține proprietăți.",
    "the request is too long; ask for fewer properties",
)
_TOO_SLOW = Sentence(
    "Cererea nu s-a încheiat la timp. Verifică legătura și repetă.",
    "the request did not end in time; check the connection and repeat it",
)


def _path_of(target: bytes, query: bytes) -> bytes:
    # No name has a question mark, so a path with one names nothing, cut or not.
    if query:
        target += b"?" + query
    # A proxy may be sent the absolute form (RFC 9112 §3.2.2); "*" comes with OPTIONS.
    if target.startswith(b"/"):
        return target
    scheme, separator, rest = target.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        _, slash, path = rest.partition(b"/")
        return slash + path or b"/"
    return b"/" if target == b"*" else target

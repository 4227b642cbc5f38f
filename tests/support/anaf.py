"""A token endpoint and an API that misbehave on request: ANAF as the vault's tests need it."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from hypercorn.asyncio import serve
from hypercorn.config import Config

CLIENT_ID = "f0e1d2c3b4a59687"
CLIENT_SECRET = "canary-client-secret-7781"
SERIAL = "34:00:00:25:69:AB"
# Answers of the token endpoint.
INVALID_GRANT = (400, b'{"error":"invalid_grant","error_description":"<b>expired</b>"}')
MAINTENANCE = (200, b"<html>Mentenanta sistem</html>")


@dataclass
class Anaf:
    """What it does next is in its fields; what it saw is in its lists."""

    url: str = ""
    expires_in: int = 7_776_000
    token_answer: tuple[int, bytes] | None = None  # instead of tokens
    code_answer: tuple[int, bytes] | None = None
    hold: asyncio.Event | None = None  # the token endpoint waits for it
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    serial: str = SERIAL
    refreshes: list[str] = field(default_factory=list)
    token_requests: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # access tokens that get 401
    spent: set[str] = field(default_factory=set)  # refresh tokens that get invalid_grant
    api_status: int = 200
    api_body: bytes = b'{"mesaje":[],"titlu":"Lista Mesaje"}'
    greeting: bytes = b"Hello, Arhivar!"
    api_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    echo_token: bool = False
    break_after: int | None = None  # bytes of the body, then the connection is cut
    body_chunks: int = 1
    _next: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"].endswith("/token"):
            status, answer = await self._token(scope, parse_qs(body.decode()))
            await _answer(send, status, [answer], [(b"content-type", b"application/json")])
        else:
            await self._api(scope, send)

    async def _token(self, scope: Any, form: dict[str, list[str]]) -> tuple[int, bytes]:
        kind = form["grant_type"][0]
        authorization = dict(scope["headers"]).get(b"authorization", b"").decode()
        self.token_requests.append({"form": form, "authorization": authorization})
        if kind == "refresh_token":
            self.refreshes.append(form["refresh_token"][0])
            self.asked.set()
            if self.hold is not None:
                await self.hold.wait()
            if self.token_answer is not None:
                return self.token_answer
            if self.refreshes[-1] in self.spent:
                return INVALID_GRANT
        elif self.code_answer is not None:
            return self.code_answer
        return 200, self.new_tokens()

    def new_tokens(self) -> bytes:
        self._next += 1
        claims = {"serial": self.serial, "jti": f"canary-{self._next}", "iss": "test"}
        payload = base64.urlsafe_b64encode(json.dumps(claims, indent=2).encode()).decode()
        access = f"ewogICJhbGci.{payload.rstrip('=')}.canary-access-{self._next:04d}"
        refresh = f"canary-refresh-{self._next:04d}-{'r' * 600}"
        self.issued += [access, refresh]
        return json.dumps(
            {
                "access_token": access,
                "refresh_token": refresh,
                "token_type": "Bearer",
                "expires_in": self.expires_in,
            }
        ).encode()

    async def _api(self, scope: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        self.calls.append(
            {"path": scope["path"], "query": scope["query_string"].decode(), "headers": headers}
        )
        if token in self.refused or token not in self.issued:
            await _answer(send, 401, [b'{"status":401}'], [(b"www-authenticate", b"Bearer")])
            return
        body = self.greeting if scope["path"].endswith("/hello") else self.api_body
        if self.echo_token:
            body = b"hello " + token.encode()
        extra = [
            (b"content-type", b"application/json"),
            (b"set-cookie", b"MRHSession=canary-cookie; path=/"),
            *self.api_headers,
        ]
        if self.break_after is not None:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", str(len(body)).encode())],
                }
            )
            await send(
                {"type": "http.response.body", "body": body[: self.break_after], "more_body": True}
            )
            raise ConnectionError("cut")
        await _answer(send, self.api_status, [body] * self.body_chunks, extra)


async def _answer(
    send: Any, status: int, parts: list[bytes], headers: list[tuple[bytes, bytes]]
) -> None:
    length = str(sum(map(len, parts))).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", length)],
        }
    )
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running_anaf() -> AsyncIterator[Anaf]:
    """Serve on a free port of loopback, in this event loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    anaf = Anaf(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 0.2
    stop = asyncio.Event()
    task = asyncio.create_task(serve(anaf, config, shutdown_trigger=stop.wait))
    try:
        yield anaf
    finally:
        stop.set()
        if anaf.hold is not None:
            anaf.hold.set()
        await task

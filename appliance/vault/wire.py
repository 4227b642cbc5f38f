"""HTTP/1.1 on a unix socket, as small as the vault needs it.

h11 reads and frames; a request's body is at most 64 kB, an answer may be a
stream. Each connection's peer is known by its uid before a byte is read.
An exception of a handler is logged by type and place only: its text might
hold what nobody may read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import h11

from appliance.core.errors import ArhivarError, Busy, NotFound
from appliance.core.sentence import Sentence

log = logging.getLogger(__name__)

MAX_BODY = 65_536
_IDLE_SECONDS = 120
# More than our neighbours ever use; each is an open file, of which a renewal needs a few.
_CONNECTIONS = 300
_CHUNK = 65_536


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # as it was sent, nothing decoded
    query: str
    headers: dict[str, str]
    body: bytes
    peer_uid: int

    def json(self) -> dict[str, Any]:
        """Return the object of the body, empty for no body; `Refused` for anything else."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Refused(400, Sentence("Cererea nu este JSON.", "the request is no JSON object"))
        return value


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, **headers: str) -> Answer:
        body = json.dumps(value, ensure_ascii=False).encode()
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, body, {"Content-Type": "application/json; charset=utf-8", **names})

    @classmethod
    def refusal(cls, status: int, sentence: Sentence, **headers: str) -> Answer:
        return cls.json({"error": {"ro": sentence.ro, "en": sentence.en}}, status, **headers)


class Refused(ArhivarError):
    """A request that gets this status and sentence."""

    def __init__(self, status: int, sentence: Sentence) -> None:
        super().__init__(sentence)
        self.status = status


Handler = Callable[[Request], Awaitable[Answer]]


class Server:
    """Serves one listening socket until `close()`; `refused` is told who may not speak."""

    def __init__(
        self,
        handler: Handler,
        allowed_uids: Collection[int],
        refused: Callable[[int], None],
    ) -> None:
        self._handler = handler
        self._refused = refused
        self._allowed = frozenset(allowed_uids)
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._closing = False

    async def start(self, listener: socket.socket) -> None:
        # Python 3.13 would remove the file at the end, systemd's as well; who bound it does that.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, **keep)

    async def close(self, seconds: float) -> None:
        """Take no more requests, let those under way end, cut what is left."""
        self._closing = True
        self._server.close()
        for writer in list(self._idle):
            writer.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= _CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            uid = _peer_uid(writer)
            if uid in self._allowed:
                await self._converse(reader, writer, uid)
            else:
                self._refused(uid)
        except (ConnectionError, TimeoutError, h11.ProtocolError):
            pass
        except Exception as error:  # the edge, as in _handle
            log.error("%s on a connection\n%s", type(error).__name__, places(error))
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int
    ) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16_384)
        while not self._closing:
            self._idle.add(writer)
            try:
                event = await _next(connection, reader)
            except h11.RemoteProtocolError as error:
                await _respond(connection, writer, _bad_request(error.error_status_hint))
                return
            finally:
                self._idle.discard(writer)
            if not isinstance(event, h11.Request):
                return
            answer = await self._handle(connection, reader, event, uid)
            await _respond(connection, writer, answer, body=event.method != b"HEAD")
            if connection.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                return
            connection.start_next_cycle()

    async def _handle(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        head: h11.Request,
        uid: int,
    ) -> Answer:
        try:
            body = bytearray()
            while not isinstance(event := await _next(connection, reader), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    raise ConnectionError
                body += event.data
                if len(body) > MAX_BODY:
                    return _bad_request(413)
        except h11.RemoteProtocolError as error:
            return _bad_request(error.error_status_hint)
        path, _, query = head.target.decode("ascii").partition("?")
        headers: dict[str, str] = {}
        for name, value in head.headers:
            key = name.decode("ascii").lower()
            if key in headers and key.startswith("arhivar-"):
                return _bad_request(400)
            headers[key] = value.decode("latin-1")
        request = Request(head.method.decode("ascii"), path, query, headers, bytes(body), uid)
        try:
            return await self._handler(request)
        except Refused as error:
            return Answer.refusal(error.status, error.sentence)
        except NotFound as error:
            return Answer.refusal(404, error.sentence)
        except Busy as error:
            return Answer.refusal(503, error.sentence, Retry_After="5")
        except ArhivarError as error:
            return Answer.refusal(400, error.sentence)
        except Exception as error:  # the edge: whatever it is, the process goes on
            log.error("%s in a handler\n%s", type(error).__name__, places(error))
            return Answer.refusal(
                500,
                Sentence(
                    "Seiful a întâmpinat o eroare neașteptată; vezi jurnalul serviciului.",
                    "the vault met an unexpected error; see the service's log",
                ),
            )


def places(error: BaseException) -> str:
    """Return where an error came from, without its text."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> Any:
    while (event := connection.next_event()) is h11.NEED_DATA:
        async with asyncio.timeout(_IDLE_SECONDS):
            connection.receive_data(await reader.read(_CHUNK))
    return event


async def _respond(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    answer: Answer,
    *,
    body: bool = True,
) -> None:
    """Send the answer; without `body` its head alone (RFC 9110 §9.3.2)."""
    headers = dict(answer.headers)
    if isinstance(answer.body, bytes):
        headers["Content-Length"] = str(len(answer.body))
    if answer.status in (204, 304):
        headers.pop("Content-Length", None)
    try:
        head = connection.send(
            h11.Response(
                status_code=answer.status,
                headers=list(headers.items()),
                reason=_reason(answer.status),
            )
        )
        assert head is not None
        writer.write(head)
        if isinstance(answer.body, bytes):
            if body and answer.body:
                writer.write(connection.send(h11.Data(data=answer.body)) or b"")
        elif body:
            async for chunk in answer.body:
                writer.write(connection.send(h11.Data(data=chunk)) or b"")
                # Who reads no more holds one of the connections to ANAF.
                async with asyncio.timeout(_IDLE_SECONDS):
                    await writer.drain()
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
    except BaseException:
        # An answer that ends early must not look complete.
        writer.transport.abort()
        raise
    finally:
        if not isinstance(answer.body, bytes):
            await answer.body.aclose()


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def _bad_request(status: int) -> Answer:
    return Answer.refusal(
        status, Sentence("Cererea nu poate fi citită.", "the request cannot be read")
    )


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    return int(struct.unpack("3i", credentials)[1])

"""The drive as an ASGI application: who asks, for which verb, and every error's answer.

HTTP/1.1 only. Three verbs read, one acts, and every other one is refused
without a look at the path: nothing in this tree is ever written by a client.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from appliance.config import Settings
from appliance.core.errors import (
    ArhivarError,
    BadInput,
    Busy,
    NotAllowed,
    NotFound,
    PeriodClosed,
    StaleDocument,
    TransitionRefused,
)
from appliance.core.sentence import Sentence
from appliance.dav import auth, destination
from appliance.dav.exchange import Answer, Receive, Request, Scope, Send, TooLarge, error
from appliance.dav.get import ALLOW, get
from appliance.dav.last_used import LastUsed
from appliance.dav.listings import Listings
from appliance.dav.move import move
from appliance.dav.propfind import ABSENT, propfind
from appliance.dav.resources import Resources
from appliance.store.engine import open_store
from appliance.store.files import Archive

log = logging.getLogger(__name__)

_WINDOWS = b"Microsoft-WebDAV-MiniRedir"

STATUS_CODES: Mapping[type[ArhivarError], int] = {
    TooLarge: 413,
    BadInput: 400,
    NotFound: 404,
    NotAllowed: 403,
    TransitionRefused: 409,
    StaleDocument: 409,
    PeriodClosed: 409,
    Busy: 503,
}


@dataclass(frozen=True)
class Call:
    """One authenticated request with everything that a verb needs."""

    request: Request
    resources: Resources
    listings: Listings
    hosts: frozenset[str]
    device: str
    at: datetime


async def _options(call: Call) -> Answer:
    """Level 2 is claimed although nothing locks here: a Mac mounts level 1 read-only."""
    return Answer(200, ((b"dav", b"1, 2"), (b"ms-author-via", b"DAV"), ALLOW))


async def _propfind(call: Call) -> Answer:
    return await propfind(call.request, call.resources, call.listings)


async def _get(call: Call) -> Answer | None:
    return await get(call.request, call.resources)


async def _move(call: Call) -> Answer:
    return await move(
        call.request, call.resources, hosts=call.hosts, device=call.device, at=call.at
    )


async def _refuse(call: Call) -> Answer:
    return error(403, _READ_ONLY, call.resources.language)


@dataclass(frozen=True)
class Verb:
    """A row of the table of verbs; `acts` bars it to a device that may only read."""

    handler: Callable[[Call], Awaitable[Answer | None]]
    acts: bool


VERBS: Mapping[str, Verb] = {
    "OPTIONS": Verb(_options, acts=False),
    "PROPFIND": Verb(_propfind, acts=False),
    "GET": Verb(_get, acts=False),
    "HEAD": Verb(_get, acts=False),
    "MOVE": Verb(_move, acts=True),
}
OTHER_VERBS = Verb(_refuse, acts=False)


class Drive:
    """The application; the store is open between lifespan's startup and shutdown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._archive = Archive(settings.archive_dir)
        self._stack = AsyncExitStack()
        self._last_used = LastUsed()
        self._listings = Listings()
        self._visitors = auth.Visitors()
        public = urlsplit(settings.dav_url)
        self._public_scheme = public.scheme
        self._hosts = frozenset(
            {destination.host_of(public.netloc.encode()), "localhost", "127.0.0.1", "[::1]"}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(Request.from_scope(scope, receive, send), scope["http_version"])
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._stack.enter_async_context(open_store(self._settings))
        except ArhivarError as problem:
            await send({"type": "lifespan.startup.failed", "message": str(problem)})
            return
        self._listings.clear()
        self._visitors.clear()
        self._stack.push_async_callback(self._last_used.close)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, request: Request, version: str) -> None:
        if version not in ("1.0", "1.1"):
            await request.answer(Answer(505))
            return
        language = self._settings.language
        try:
            answer = await self._answer(request, language)
        except ArhivarError as problem:
            answer = error(status_of(problem), problem.sentence, language)
        except Exception:
            log.exception("drive: a request failed")
            answer = error(500, _DEFECT, language)
        if answer is not None and not request.started:
            await request.answer(answer)

    async def _answer(self, request: Request, language: str) -> Answer | None:
        if not auth.is_private(request.address, request.scheme, public_scheme=self._public_scheme):
            # No challenge: it would invite the password onto this connection.
            return error(403, _TLS_ONLY, language)
        at = datetime.now(UTC)
        visitor = await auth.identify(
            self._visitors, request.header(b"authorization"), self._address(request), language, at
        )
        if isinstance(visitor, Answer):
            return visitor
        self._last_used.note(visitor.device, at)
        windows = _WINDOWS in (request.header(b"user-agent") or b"")
        resources = Resources(visitor.viewer, self._archive, at, windows=windows)
        verb = VERBS.get(request.method, OTHER_VERBS)
        if verb.acts and visitor.device.read_only:
            return error(403, _READ_ONLY_DEVICE, resources.language)
        host = request.header(b"host")
        hosts = self._hosts | {destination.host_of(host)} if host else self._hosts
        call = Call(request, resources, self._listings, hosts, visitor.device.device, at)
        try:
            return await verb.handler(call)
        except NotFound:
            # The sentence of an absent thing must not tell what was looked for.
            return error(404, ABSENT, resources.language)
        except ArhivarError as problem:
            return error(status_of(problem), problem.sentence, resources.language)

    def _address(self, request: Request) -> str:
        """Return whose failures count: the client's, also when our proxy stands between."""
        forwarded = request.header(b"x-forwarded-for")
        if forwarded and self._public_scheme == "https" and auth.is_loopback(request.address):
            # The proxy appends; what stands before its own entry anybody may have written.
            return forwarded.rpartition(b",")[2].strip().decode("latin-1")[:64]
        return request.address


def status_of(problem: ArhivarError) -> int:
    """Return the status of the nearest class in `STATUS_CODES`, 500 for none."""
    for kind in type(problem).__mro__:
        if kind in STATUS_CODES:
            return STATUS_CODES[kind]
    return 500


_READ_ONLY = Sentence(
    "Pe disc nu se scrie și nu se șterge nimic. Mută dosarul unui document ca să îl aprobi, "
    "iar restul fă în portal.",
    "nothing is written or deleted on the drive; move a document's folder to approve it, "
    "and do the rest in the portal",
)
_READ_ONLY_DEVICE = Sentence(
    "Parola acestui dispozitiv permite doar citirea. "
    "Cere administratorului una cu drept de mutare.",
    "this device's password may only read; ask the administrator for one that may move",
)
_TLS_ONLY = Sentence(
    "Discul se deschide numai prin https. Folosește adresa care începe cu https://.",
    "the drive opens over https only; use the address that begins with https://",
)
_DEFECT = Sentence(
    "Ceva nu a mers la noi și nu s-a schimbat nimic. Încearcă din nou; dacă se repetă, "
    "anunță administratorul.",
    "something failed on our side and nothing was changed; try again, and tell the "
    "administrator if it repeats",
)

"""What every request passes before the router: host, session, then the proof that it is ours.

Also what fails here is answered here, in the visitor's language. Nothing is
written for a visitor who is not logged in.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from litestar.exceptions import MethodNotAllowedException

from appliance.core.errors import Busy, NotFound
from appliance.core.sentence import Sentence
from appliance.store import accounts, sessions
from appliance.web import i18n
from appliance.web.asgi import App, Message, Receive, Scope, Send
from appliance.web.auth import csrf
from appliance.web.auth.cookies import CookieName
from appliance.web.auth.guards import NotLoggedIn
from appliance.web.auth.headers import REPORTS
from appliance.web.auth.sessions import alive, hash_of, seen_is_old
from appliance.web.errors import answer
from appliance.web.portal import Portal
from appliance.web.visit import Visit, safe_path, set_visit

# Forms that are shown to people who are not logged in: bound to a nonce cookie instead.
BEFORE_LOG_IN = frozenset({"/login", "/activate"})
BODY_SECONDS = 30
# What a page asks for by itself, while nobody is there: the stream, and `data-again` (app.js).
UNATTENDED = "/spv/progress"
UNATTENDED_HEADER = b"x-unattended"


class Gate:
    """The middleware in front of the router."""

    def __init__(self, app: App, portal: Portal) -> None:
        self._app = app
        self._portal = portal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        visit = self._visit(scope)
        set_visit(scope, visit)

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((b"set-cookie", cookie.encode()) for cookie in visit.cookies),
                ]
            await send(message)

        try:
            self._portal.place.check(scope)
            if visit.method not in ("GET", "POST"):
                raise MethodNotAllowedException(headers={"allow": "GET, HEAD, POST"})
            await self._find_session(visit, scope)
            if visit.method == "POST":
                receive = await self._check_forgery(visit, scope, receive)
        except Exception as error:  # every error has its page; see errors.answer
            page = answer(visit, error)
            # Outside the router there is no request that Litestar would want.
            bare: Any = page.to_asgi_response(app=None, request=None)  # type: ignore[arg-type]
            await bare(scope, receive, send_with_cookies)
            return
        await self._app(scope, receive, send_with_cookies)

    def _visit(self, scope: Scope) -> Visit:
        headers = scope["headers"]
        text = {name: value.decode("latin-1") for name, value in headers}
        origin = self._portal.place.origin
        referer = text.get(b"referer", "")
        referring = referer.removeprefix(origin).partition("?")[0]
        return Visit(
            at=self._portal.clock(),
            method=scope["method"],
            path=scope["path"],
            referring_path=safe_path(referring) if referer.startswith(f"{origin}/") else "",
            htmx=b"hx-request" in text,
            unattended=scope["path"].endswith(UNATTENDED) or UNATTENDED_HEADER in text,
            address=self._portal.place.address_of(scope),
            agent=text.get(b"user-agent", ""),
            language=i18n.preferred(
                text.get(b"accept-language", ""), self._portal.settings.language
            ),
        )

    async def _find_session(self, visit: Visit, scope: Scope) -> None:
        presented = self._portal.cookies.read(scope["headers"], CookieName.SESSION)
        if presented is None:
            return
        session = await sessions.load_session(hash_of(presented))
        if session is None or not alive(
            session,
            auth_epoch=session.account_epoch,
            disabled=session.account_disabled,
            at=visit.at,
        ):
            # The row goes at the next log-in: a page that is only read writes nothing.
            visit.cookies.append(self._portal.cookies.clear(CookieName.SESSION))
            if session is not None:
                with suppress(NotFound):
                    lapsed = await accounts.viewer(session.account_id)
                    if lapsed.language != visit.language:
                        visit.lapsed_language = lapsed.language
            return
        with suppress(NotFound):
            visit.viewer = await accounts.viewer(session.account_id)
            visit.language = visit.viewer.language
            visit.session_hash = session.token_hash
            visit.csrf = csrf.session_token(self._portal.key, session.token_hash)
            if not visit.unattended and seen_is_old(session, visit.at):
                with suppress(Busy):
                    await sessions.touch(session.token_hash, visit.at)

    async def _check_forgery(self, visit: Visit, scope: Scope, receive: Receive) -> Receive:
        headers = list(scope["headers"])
        csrf.check_source(headers, self._portal.place.origin)
        if visit.path == REPORTS:
            # The browser itself sends it, from no form; it changes nothing.
            return receive
        expected: str | None
        if visit.path in BEFORE_LOG_IN:
            nonce = self._portal.cookies.read(headers, CookieName.PRE_SESSION)
            expected = csrf.nonce_token(self._portal.key, nonce) if nonce else None
        elif visit.viewer is None:
            raise NotLoggedIn
        else:
            expected = visit.csrf
        body = b""
        if csrf.is_form(headers):
            body = await _whole_body(receive, csrf.MAX_FORM)
            receive = _again(body, receive)
        csrf.check_token(headers, body, expected)
        return receive


async def _whole_body(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise csrf.TooLarge(
                        Sentence("Cererea s-a întrerupt.", "the request was cut short")
                    )
                parts.append(message["body"])
                size += len(message["body"])
                if size > limit:
                    raise csrf.TooLarge(
                        Sentence(
                            "Formularul este prea mare. Scurtează textul.",
                            "the form is too large; shorten the text",
                        )
                    )
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise csrf.TooLarge(
            Sentence(
                "Formularul a ajuns prea încet. Încearcă din nou.",
                "the form arrived too slowly; try again",
            )
        ) from None


def _again(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay

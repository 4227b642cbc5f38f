"""The ASGI application: which path is answered by what. All state is elsewhere.

/anaf-oauth2/v1/…            authorisation
/prod/FCTEL/rest/lista…      lists
…/descarcare                 downloads
…/upload, …/stareMesaj       uploads
…/validare, …/transformare   validation (and /api/validate/signature)
/simulator                   control, the only paths that are not ANAF's
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from appliance.simulator import authorisation, downloads, lists, uploads, validation
from appliance.simulator.control import Control
from appliance.simulator.http import (
    Receive,
    Request,
    Response,
    Scope,
    Send,
    lifespan,
    not_found,
    read_body,
    reply,
    status_answer,
)
from appliance.simulator.oauth import Authority
from appliance.simulator.state import State

_Handler = Callable[[State, Request, str], Response]

# (read, path below /prod/FCTEL/rest/): the paths that need a token
_RESOURCES: Mapping[tuple[bool, str], _Handler] = {
    (True, "listaMesajeFactura"): lists.simple,
    (True, "listaMesajePaginatieFactura"): lists.paged,
    (True, "descarcare"): downloads.download,
    (True, "stareMesaj"): uploads.status,
    (False, "upload"): uploads.upload,
    (False, "uploadb2c"): uploads.upload,
}


@dataclass
class App:
    """One simulated SPV over HTTP."""

    state: State
    authority: Authority

    def __post_init__(self) -> None:
        self.control = Control(self.state, self.authority)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        body = await read_body(receive)
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        query = dict(
            parse_qsl(scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)
        )
        request = Request(scope["method"], scope["path"], query, headers, body or b"")
        response = self.answer(request) if body is not None else Response(413)
        if not request.path.startswith("/simulator"):
            await self.control.hold(request.path, receive, response.late)
        await reply(response, send)

    def answer(self, request: Request) -> Response:
        """Return the answer to one request."""
        path = request.path.rstrip("/")
        if path.startswith("/simulator"):
            return self.control.answer(request)
        oauth = path.startswith("/anaf-oauth2/v1/")
        now = self.state.now()
        if not oauth and self.state.over_rate():
            return status_answer(429, "Too Many Requests", "Limita de apeluri a fost depasita", now)
        struck = self.control.fault_for(request)
        if struck is not None:
            fault, scene = struck
            if fault.instead is not None:
                return fault.instead(scene)
        if oauth:
            response = self._oauth(path.removeprefix("/anaf-oauth2/v1/"), request)
        else:
            response = self._resource(path, request)
        if struck is not None and fault.change is not None and response.status == 200:
            return fault.change(response, scene)
        return response

    def _oauth(self, name: str, request: Request) -> Response:
        if name == "authorize" and request.method == "GET":
            response = authorisation.authorize(
                self.authority, request.query, self.control.next_authorisation
            )
            if response.status == 302:
                self.control.next_authorisation = ""
            return response
        if name == "token" and request.method == "POST":
            return authorisation.token(self.authority, request)
        if name == "revoke":
            return authorisation.revoke()
        return not_found(request.path, self.state.now())

    def _resource(self, path: str, request: Request) -> Response:
        get = request.method in ("GET", "HEAD")
        now = self.state.now()
        if path == "/api/validate/signature" and not get:
            return validation.validate_signature(self.state, request)
        if path == "/TestOauth/jaxrs/hello" and get:
            return authorisation.hello(self.authority, request, now)
        match = re.fullmatch(r"/(prod|test)/FCTEL/rest/(.+)", path)
        if match is None:
            return not_found(path, now)
        inner = match[2]
        if match[1] == "prod" and not get and inner.split("/")[0] in ("validare", "transformare"):
            # needs no token: the public host has the same resource
            return validation.convert(self.state, inner.split("/"), request)
        handler = _RESOURCES.get((get, inner))
        if handler is None:
            return not_found(path, now)
        serial = self.authority.serial_of(request.headers.get("authorization", ""))
        if serial is None:
            challenge = 'Bearer realm="anaf", error="invalid_token"'
            response = status_answer(401, "Unauthorized", "invalid_token", now)
            return dataclasses.replace(response, headers=(("WWW-Authenticate", challenge),))
        return handler(self.state, request, serial)

"""The portal as an ASGI application, from the outside in:

    SecurityHeaders   every header of the list, on every answer
    Gate              host, session, proof that a POST is ours
    Litestar          routes; the guard asks each handler's declaration

Litestar's own sessions, CSRF, OpenAPI pages and debug pages are not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from litestar import Litestar, Request, Response
from litestar.handlers import BaseRouteHandler

from appliance.config import Settings
from appliance.store.engine import open_store
from appliance.web.asgi import Receive, Scope, Send
from appliance.web.auth.guards import guard, require_declarations
from appliance.web.auth.headers import SecurityHeaders
from appliance.web.auth.passwords import Passwords
from appliance.web.errors import answer
from appliance.web.gate import Gate
from appliance.web.pages import HANDLERS
from appliance.web.portal import Portal
from appliance.web.visit import visit_of

MAX_BODY = 1_000_000


def now() -> datetime:
    """Return the moment of a request, read once by the gate."""
    return datetime.now(UTC)


class PortalApp:
    """What Hypercorn serves; `litestar` has the routes, for whoever walks them."""

    def __init__(self, portal: Portal, handlers: Sequence[BaseRouteHandler]) -> None:
        self.portal = portal
        self.litestar = _litestar(portal, handlers)
        gate = Gate(self.litestar, portal)
        self._app = SecurityHeaders(gate, secure=portal.place.secure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def stopping(self, stop: asyncio.Event) -> None:
        """Wait until told to stop; answers that would go on for long end then, not when cut off."""
        await stop.wait()
        self.portal.watches.close()


def create_app(
    settings: Settings,
    *,
    passwords: Passwords | None = None,
    clock: Callable[[], datetime] = now,
    handlers: Sequence[BaseRouteHandler] = HANDLERS,
) -> PortalApp:
    """Return the portal. A handler that does not declare who may call it stops it here."""
    portal = Portal(settings, clock, passwords or Passwords())
    return PortalApp(portal, handlers)


def _litestar(portal: Portal, handlers: Sequence[BaseRouteHandler]) -> Litestar:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with open_store(portal.settings) as store:
            portal.store = store
            # A key that cannot be read stops the start, not the first form.
            portal.key  # noqa: B018
            try:
                yield
            finally:
                await portal.watches.closed()
        portal.store = None

    app = Litestar(
        route_handlers=list(handlers),
        guards=[guard],
        exception_handlers={Exception: _refuse},
        lifespan=[lifespan],
        openapi_config=None,
        debug=False,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        multipart_form_part_limit=20,
    )
    app.state.portal = portal
    require_declarations(app)
    return app


def _refuse(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    return answer(visit_of(request), error)

"""Every handler declares who may call it; the application refuses one that does not.

    @get("/clients", opt=allow(Role.ADMIN, Role.ACCOUNTANT))
    @post("/documents/{uid:str}/approve", opt=allow(Role.OWNER, Role.APPROVER, object="document"))

The declaration is checked twice. `require_declarations()` stops the start when
one is missing. `guard()` runs before each handler and asks for the roles at
*any* client; for a handler with an object, `check_object()` asks again for the
roles at the object's client, after the store has found it for this person
(foreign and absent are the same 404).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.routes import HTTPRoute

from appliance.core.errors import ArhivarError, NotAllowed
from appliance.core.roles import Role, Viewer
from appliance.core.sentence import Sentence
from appliance.web.visit import visit_of

ANYONE = "anyone"  # also without a session
PERSON = "person"  # anybody who is logged in
OBJECTS = frozenset({"client", "document", "grant", "notice"})


class NotLoggedIn(ArhivarError):
    """Nobody is logged in: log in, then come back to the page that was asked for."""

    def __init__(self) -> None:
        super().__init__(
            Sentence(
                "Sesiunea s-a încheiat. Autentifică-te din nou; nimic nu s-a pierdut.",
                "you are not logged in; log in and nothing is lost",
            )
        )


def allow(*who: Role | str, object: str | None = None) -> dict[str, Any]:
    """Return the declaration of a handler: who may call it, and on what object."""
    unknown = [one for one in who if one not in {ANYONE, PERSON} and not isinstance(one, Role)]
    if not who or unknown:
        raise ValueError(f"not a role: {unknown}")
    if object is not None and object not in OBJECTS:
        raise ValueError(f"not an object: {object}")
    return {"allow": frozenset(who), "object": object}


def require_declarations(app: Litestar) -> None:
    """Raise `ImproperlyConfiguredException` naming every handler whose declaration is missing.

    A handler whose address names an object (`OBJECTS`) has to
    declare that object and to take it from its loader.
    """
    silent = []
    for method, path, handler in endpoints(app):
        named = OBJECTS & {name.removesuffix("_uid") for name in path_parameters(path)}
        wanted = {handler.opt.get("object")} - {None}
        loaded = OBJECTS & handler.resolve_dependencies().keys()
        if not handler.opt.get("allow") or not named == wanted == loaded:
            silent.append(f"{method} {path}")
    if silent:
        raise ImproperlyConfiguredException(
            f"these handlers do not declare who may call them on what: {', '.join(silent)}"
        )


def endpoints(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield method, path and handler of everything that can be called.

    Litestar adds OPTIONS to every route by itself; the gate refuses that method.
    """
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            raise ImproperlyConfiguredException(f"not an HTTP route: {route.path}")
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield str(method), route.path_format, handler


def path_parameters(path: str) -> list[str]:
    """Return the names of the parameters of a path such as `/clients/{client_uid}`."""
    return re.findall(r"{(\w+)", path)


def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let the request through to the handler, or raise `NotLoggedIn` or `NotAllowed`."""
    who = handler.opt.get("allow")
    if not who:
        raise _refused()
    if ANYONE in who:
        return
    viewer = visit_of(connection).viewer
    if viewer is None:
        raise NotLoggedIn
    if PERSON not in who and not who & roles_anywhere(viewer):
        raise _refused()


def check_object(
    connection: ASGIConnection[Any, Any, Any, Any], viewer: Viewer, client_id: int
) -> None:
    """Raise `NotAllowed` unless the handler's declaration names a role the person has there."""
    who = connection.route_handler.opt["allow"]
    if PERSON not in who and not who & viewer.roles_at(client_id):
        raise _refused()


def roles_anywhere(viewer: Viewer) -> frozenset[Role]:
    """Return every role that the person has at one client or another."""
    roles: set[Role] = {membership.role for membership in viewer.memberships.values()}
    if viewer.firm_role is not None:
        roles.add(viewer.firm_role)
        if viewer.assigned_clients:
            roles.add(Role.ACCOUNTANT)
    return frozenset(roles)


def _refused() -> NotAllowed:
    return NotAllowed(
        Sentence(
            "Rolul tău nu permite această pagină. Cere acces administratorului firmei.",
            "your role does not reach this page; ask the administrator for access",
        )
    )

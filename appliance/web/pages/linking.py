""" "Leagă SPV": from the six steps to ANAF's page and back.

Every page has an address that can be reloaded and gone back to (`web.way`): ANAF's own
pages end in a browser's error often enough. The way to ANAF is a link and no redirect
after a form, which the policy's `form-action` would have to allow for every host that
ANAF leads through. What comes back in the address of `/spv/callback` is handed to the
vault and answered with a redirect to a clean address, whatever came of it.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler

from appliance.core.errors import ArhivarError, BadInput, NotFound
from appliance.core.roles import FIRM_ROLES, LINKERS, Role, Viewer
from appliance.core.sentence import Sentence
from appliance.store import clients
from appliance.store.clients import ClientRow
from appliance.web.auth.guards import ANYONE, allow, roles_anywhere
from appliance.web.forms import read_form, see_other
from appliance.web.linked import Sight, linkable, require_manager
from appliance.web.pages.frame import Frame, frame_for
from appliance.web.pages.objects import load_client, load_grant
from appliance.web.portal import portal_of
from appliance.web.render import page, said
from appliance.web.visit import Visit, safe_path, viewer_of, visit_of
from appliance.web.way import Way, of_session, recall, remember, session

CALLBACK = "/spv/callback"
START = "/spv/link"
FAILED = "/spv/link/failed"
GO = "/spv/link/go"
MAX_HOLDER = 120

_CLIENT = {"client": Provide(load_client)}
_GRANT = {"grant": Provide(load_grant)}
_STATE = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_CODE = re.compile(r"[\x21-\x7e]{1,4096}")
_ERROR = re.compile(r"[a-z_]{1,40}", re.ASCII)


# The steps


@get(START, opt=allow(*LINKERS))
async def firm_steps(request: Request[Any, Any, Any]) -> Response[str]:
    """The steps for a certificate of the firm, which serves several clients.

    Who is of no firm comes to those of the own company: the address is one that a
    person types on the computer with the certificate.
    """
    place = await _start(viewer_of(request))
    return await _steps(request, START) if place == START else see_other(place)


@post(START, opt=allow(*FIRM_ROLES), status_code=303)
async def firm_begin(request: Request[Any, Any, Any]) -> Response[str]:
    """Begin; the clients are confirmed one by one when ANAF has listed them."""
    return await _begin(request, START)


@get(
    "/clients/{client_uid:str}/spv/link",
    opt=allow(*LINKERS, object="client"),
    dependencies=_CLIENT,
)
async def client_steps(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """The steps for one client."""
    _require_cif(client)
    return await _steps(request, f"/clients/{client.uid}/spv/link", client=client)


@post(
    "/clients/{client_uid:str}/spv/link",
    opt=allow(*LINKERS, object="client"),
    dependencies=_CLIENT,
    status_code=303,
)
async def client_begin(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """Begin; this client is what is asked about afterwards."""
    _require_cif(client)
    return await _begin(request, f"/clients/{client.uid}/spv/link", client=client)


@get("/spv/grants/{grant_uid:str}/link", opt=allow(*LINKERS, object="grant"), dependencies=_GRANT)
async def again_steps(
    request: Request[Any, Any, Any], grant: NamedDependency[Sight]
) -> Response[str]:
    """The steps for an authorisation that has to be given again."""
    require_manager(grant)
    return await _steps(request, f"/spv/grants/{grant.grant.uid}/link", grant=grant)


@post(
    "/spv/grants/{grant_uid:str}/link",
    opt=allow(*LINKERS, object="grant"),
    dependencies=_GRANT,
    status_code=303,
)
async def again_begin(
    request: Request[Any, Any, Any], grant: NamedDependency[Sight]
) -> Response[str]:
    """Begin; with the same certificate everything goes on as it was."""
    require_manager(grant)
    return await _begin(request, f"/spv/grants/{grant.grant.uid}/link", grant=grant)


async def _steps(
    request: Request[Any, Any, Any],
    place: str,
    *,
    client: ClientRow | None = None,
    grant: Sight | None = None,
    holder: str | None = None,
    problem: Sentence | None = None,
) -> Response[str]:
    visit, viewer, portal = visit_of(request), viewer_of(request), portal_of(request)
    application = (await portal.vault.status()).application
    if holder is None:
        holder = (grant.grant.holder if grant else "") or viewer.name
    return page(
        visit,
        "link.html",
        status=HTTPStatus.BAD_REQUEST if problem else HTTPStatus.OK,
        frame=await frame_of(viewer, client or _first_client(grant)),
        client=client,
        grant=grant,
        place=place,
        address=portal.settings.web_url.rstrip("/")
        + (START if place == await _start(viewer) else place),
        registered=application is not None,
        may_register=viewer.firm_role is Role.ADMIN,
        holder=holder,
        max_holder=MAX_HOLDER,
        cancel=_cancel(client, grant),
        problem=said(problem, visit.language) if problem else None,
    )


async def _begin(
    request: Request[Any, Any, Any],
    place: str,
    *,
    client: ClientRow | None = None,
    grant: Sight | None = None,
) -> Response[str]:
    visit, viewer, portal = visit_of(request), viewer_of(request), portal_of(request)
    holder = " ".join((await read_form(request))["holder"].split())
    if not holder or len(holder) > MAX_HOLDER:
        wrong = Sentence(
            "Scrie numele titularului certificatului, de cel mult 120 de caractere.",
            "Give the name of the certificate's holder, of at most 120 characters.",
        )
        return await _steps(
            request, place, client=client, grant=grant, holder=holder[:MAX_HOLDER], problem=wrong
        )
    try:
        address = await portal.vault.begin(
            session(visit, portal),
            requested_by=viewer.user_uid,
            holder=holder,
            about=client.uid if client else "",
            grant=grant.grant.uid if grant else "",
        )
    except BadInput as error:
        return await _steps(
            request, place, client=client, grant=grant, holder=holder, problem=error.sentence
        )
    remember(visit, portal, Way(session(visit, portal), place, holder, address))
    return see_other(GO)


@get(GO, opt=allow(*LINKERS))
async def go(request: Request[Any, Any, Any]) -> Response[str]:
    """What ANAF's page and the browser will ask, and the link that leads there."""
    visit, viewer = visit_of(request), viewer_of(request)
    way = recall(request)
    if way is None or not way.address:
        return see_other(_done(request) or FAILED)
    return page(
        visit,
        "link_go.html",
        frame=await frame_of(viewer, await _client_at(way.back, viewer)),
        way=way,
    )


# And back


@get(CALLBACK, opt=allow(ANYONE))
async def callback(request: Request[Any, Any, Any]) -> Response[str]:
    """Hand what ANAF sent to the vault; the answer is always a redirect to a clean address.

    Nothing of the query is logged or shown. Who is not logged in any more comes
    to the log-in page and from there to the advice to begin again.
    """
    visit = visit_of(request)
    if visit.viewer is None:
        response = see_other(f"/login?{urlencode({'next': FAILED}, safe='/')}")
    elif not roles_anywhere(visit.viewer) & LINKERS:
        response = see_other(FAILED)
    else:
        response = see_other(await _came_back(request, visit, visit.viewer))
    response.headers["referrer-policy"] = "no-referrer"
    return response


async def _came_back(request: Request[Any, Any, Any], visit: Visit, viewer: Viewer) -> str:
    portal, query = portal_of(request), request.query_params
    here, way, own = session(visit, portal), recall(request), of_session(request)
    back, earlier = way.back if way else "", own.grant if own else ""
    state, code, error = (query.get(name, "") for name in ("state", "code", "error"))
    if not _STATE.fullmatch(state):
        return FAILED
    spent = hashlib.sha256(state.encode()).hexdigest()
    try:
        done = await portal.vault.finish(
            here,
            state,
            code=code if _CODE.fullmatch(code) else "",
            error=(error if _ERROR.fullmatch(error) else "unknown") if error else "",
        )
    except ArhivarError as refusal:
        if own and own.done and own.spent == spent:
            return own.done  # the same answer again, of a browser that went back: it is linked
        why = refusal.sentence
        remember(visit, portal, Way(here, back, ro=why.ro, en=why.en, grant=earlier))
        return FAILED
    told = {"done": "other" if done.instead_of else "renewed" if done.renewed else "new"}
    if done.about:
        told["about"] = done.about
    place = f"/spv/grants/{done.grant}?{urlencode(told)}"
    remember(visit, portal, Way(here, back, grant=done.grant, done=place, spent=spent))
    return place


@get(FAILED, opt=allow(*LINKERS))
async def failed(request: Request[Any, Any, Any]) -> Response[str]:
    """Why it did not work, what to look at, and the way to begin again."""
    if place := _done(request):
        return see_other(place)
    visit, viewer = visit_of(request), viewer_of(request)
    way = recall(request)
    client = await _client_at(way.back, viewer) if way else None
    again = safe_path(way.back) if way else ""
    return page(
        visit,
        "link_failed.html",
        frame=await frame_of(viewer, client),
        why=said(Sentence(way.ro, way.en), visit.language) if way else "",
        again=again or await _start(viewer),
    )


async def _start(viewer: Viewer) -> str:
    """Return where this person begins: the firm's steps, those of the one client, or the list."""
    if viewer.firm_role is not None:
        return START
    own = linkable(viewer, await clients.list_for(viewer))
    return f"/clients/{own[0].uid}/spv/link" if len(own) == 1 else "/spv/grants"


def _done(request: Request[Any, Any, Any]) -> str:
    """Return the page that this session's last authorisation led to, '' when it failed."""
    way = of_session(request)
    return way.done if way else ""


async def frame_of(viewer: Viewer, client: ClientRow | None) -> Frame:
    """Return the menu of a page about linking: the firm's, or that of one of their clients."""
    if viewer.firm_role is not None and client is None:
        return await frame_for(viewer, "health")
    if client is None:
        own = linkable(viewer, await clients.list_for(viewer))
        client = own[0] if own else None
    return await frame_for(viewer, "spv", client)


def _first_client(grant: Sight | None) -> ClientRow | None:
    reached = (*grant.served, *grant.offered) if grant else ()
    return reached[0].client if len({one.client.id for one in reached}) == 1 else None


def _cancel(client: ClientRow | None, grant: Sight | None) -> str:
    if grant is not None:
        return f"/spv/grants/{grant.grant.uid}"
    return f"/clients/{client.uid}/spv" if client else "/spv/grants"


def _require_cif(client: ClientRow) -> None:
    if client.provisional:
        raise BadInput(
            Sentence(
                "Clientul nu are încă un CIF, deci nu are un SPV de legat. Adaugă-i întâi CIF-ul.",
                "the client has no CIF yet, so there is no SPV to link; add the CIF first",
            )
        )


async def _client_at(place: str, viewer: Viewer) -> ClientRow | None:
    """Return the client whose page it began on, if it is this person's."""
    found = re.fullmatch(r"/clients/([0-9a-z]{26})/spv/link", place)
    if found is None:
        return None
    try:
        return await clients.by_uid(found[1], viewer)
    except NotFound:
        return None


HANDLERS: list[BaseRouteHandler] = [
    firm_steps,
    firm_begin,
    client_steps,
    client_begin,
    again_steps,
    again_begin,
    go,
    callback,
    failed,
]

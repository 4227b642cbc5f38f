"""Authorisations in SPV: whose certificate, for which clients, until when, and whether they work.

What a person sees of one is `web.linked`. A CIF reaches a client by the POST of a
person alone (`confirm`): it is recorded first, then the vault is told, then the
client's messages are fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler

from appliance.core.errors import NotFound
from appliance.core.roles import LINKERS, Role, Viewer
from appliance.core.sentence import Sentence
from appliance.store import clients, linking, listings, runs
from appliance.store.clients import ClientRow
from appliance.web.auth.guards import allow
from appliance.web.forms import read_form, see_other
from appliance.web.linked import (
    Reached,
    Sight,
    candidates,
    linkable,
    may_confirm,
    require_manager,
    seen_by,
)
from appliance.web.pages.frame import Frame
from appliance.web.pages.grant_rows import grant_row
from appliance.web.pages.linking import frame_of
from appliance.web.pages.objects import load_grant
from appliance.web.pages.spv import listed_lines
from appliance.web.portal import portal_of
from appliance.web.render import page, said, translate
from appliance.web.vault import Grant
from appliance.web.visit import Visit, viewer_of, visit_of

_GRANT = {"grant": Provide(load_grant)}
_SEVERAL = "several"


@get("/spv/grants", opt=allow(*LINKERS))
async def grant_list(request: Request[Any, Any, Any]) -> Response[str]:
    """Those that this person sees; what needs somebody stands first."""
    visit, viewer = visit_of(request), viewer_of(request)
    status = await portal_of(request).vault.status()
    sights = await seen_by(viewer, status.grants)
    sights.sort(key=lambda sight: sight.grant.state == "active")
    own = linkable(viewer, await clients.list_for(viewer))
    text = ""
    if request.query_params.get("revoked") and not _is_there(status.grants, request):
        text = translate(visit.language, "grants.revoked.done")
    return page(
        visit,
        "grants.html",
        frame=await _frame(viewer, None),
        rows=[await grant_row(sight, visit) for sight in sights],
        firm=viewer.firm_role is not None,
        may_register=viewer.firm_role is Role.ADMIN,
        own=own,
        done={"text": text, "undo": None} if text else None,
    )


@get("/spv/grants/{grant_uid:str}", opt=allow(*LINKERS, object="grant"), dependencies=_GRANT)
async def grant_page(
    request: Request[Any, Any, Any], grant: NamedDependency[Sight]
) -> Response[str]:
    """One of them. `?about=` names the client that it was authorised for, whose CIF comes first.

    `?done=` and `?linked=` say what was just done, if it is so.
    """
    return await _page(request, grant)


@post(
    "/spv/grants/{grant_uid:str}/test",
    opt=allow(*LINKERS, object="grant"),
    dependencies=_GRANT,
    status_code=200,
)
async def test(request: Request[Any, Any, Any], grant: NamedDependency[Sight]) -> Response[str]:
    """Ask ANAF now, and tell for each client how its last list went."""
    visit = visit_of(request)
    works, sentence = await portal_of(request).vault.test(grant.grant.uid)
    text = said(sentence, visit.language)
    lists = [await _last_list(reached, visit) for reached in grant.served]
    return await _page(request, grant, tested={"ok": works, "text": text, "lists": lists})


@post(
    "/spv/grants/{grant_uid:str}/confirm",
    opt=allow(*LINKERS, object="grant"),
    dependencies=_GRANT,
    status_code=303,
)
async def confirm(request: Request[Any, Any, Any], grant: NamedDependency[Sight]) -> Response[str]:
    """Read these CIFs with this certificate from now on, and begin at once.

    The field may hold several, with a blank between. None is read before all are
    found to be this person's to confirm; after a crash in between, those recorded
    are known, and pressing again does the rest.
    """
    visit, viewer, portal = visit_of(request), viewer_of(request), portal_of(request)
    wanted = await _of_form(request)
    if not all(may_confirm(viewer, grant, one.client, one.cif) for one in wanted):
        raise _not_yours()
    uid = grant.grant.uid
    for one in wanted:
        await linking.confirmed(one.client, one.cif, uid, visit.at, by=viewer)
        await portal.vault.confirm(one.cif, uid, by=viewer.user_uid)
        await runs.begin(one.client.id, viewer.user_id, visit.at)
    told = {one.client.uid for one in wanted}
    return see_other(f"/spv/grants/{uid}?linked={told.pop() if len(told) == 1 else _SEVERAL}")


@post(
    "/spv/grants/{grant_uid:str}/unmap",
    opt=allow(*LINKERS, object="grant"),
    dependencies=_GRANT,
    status_code=303,
)
async def unmap(request: Request[Any, Any, Any], grant: NamedDependency[Sight]) -> Response[str]:
    """Read this CIF with this certificate no more; other certificates go on."""
    visit, viewer, portal = visit_of(request), viewer_of(request), portal_of(request)
    uid = grant.grant.uid
    for one in await _of_form(request):
        await linking.taken_back(one.client, one.cif, uid, visit.at, by=viewer)
        await portal.vault.unmap(one.cif, uid, by=viewer.user_uid)
    # It may have been this person's only reason to see the grant.
    status = await portal.vault.status()
    left = await seen_by(viewer, [one for one in status.grants if one.uid == uid])
    return see_other(f"/spv/grants/{uid}?done=unmapped" if left else "/spv/grants")


@get(
    "/spv/grants/{grant_uid:str}/revoke",
    opt=allow(*LINKERS, object="grant"),
    dependencies=_GRANT,
)
async def ask_revoke(
    request: Request[Any, Any, Any], grant: NamedDependency[Sight]
) -> Response[str]:
    """What erasing does, and what only the holder can do at ANAF."""
    require_manager(grant)
    visit, viewer = visit_of(request), viewer_of(request)
    return page(
        visit,
        "grant_revoke.html",
        frame=await _frame(viewer, _client(grant)),
        uid=grant.grant.uid,
        holder=grant.grant.holder,
        served=grant.served,
        others=grant.others,
    )


@post(
    "/spv/grants/{grant_uid:str}/revoke",
    opt=allow(*LINKERS, object="grant"),
    dependencies=_GRANT,
    status_code=303,
)
async def revoke(request: Request[Any, Any, Any], grant: NamedDependency[Sight]) -> Response[str]:
    """Erase it here for good."""
    require_manager(grant)
    visit, viewer = visit_of(request), viewer_of(request)
    await linking.revoked(grant.grant.uid, visit.at, by=viewer)
    await portal_of(request).vault.revoke(grant.grant.uid, by=viewer.user_uid)
    return see_other(f"/spv/grants?revoked={grant.grant.uid}")


# The page of one


async def _page(
    request: Request[Any, Any, Any], sight: Sight, *, tested: dict[str, Any] | None = None
) -> Response[str]:
    visit, viewer = visit_of(request), viewer_of(request)
    grant, query = sight.grant, request.query_params
    asked = await _about(query.get("about", ""), viewer)
    possible = await candidates(sight, viewer)
    first = [one for one in possible if asked and one.client.id == asked.id]
    rest = [one for one in possible if one in sight.offered and one not in first]
    others = [one for one in possible if one not in first and one not in rest]
    return page(
        visit,
        "grant.html",
        path=f"/spv/grants/{grant.uid}",
        frame=await _frame(viewer, asked or _client(sight)),
        row=await grant_row(sight, visit),
        sight=sight,
        firm=viewer.firm_role is not None,
        certificate=_in_pairs(grant.serial),
        asked=first,
        offered=rest,
        others=others,
        told=_told(query, sight, visit),
        tested=tested,
    )


def _told(query: Any, sight: Sight, visit: Visit) -> dict[str, str] | None:
    """What was just done, when it is so."""
    done, linked = query.get("done", ""), query.get("linked", "")
    if done in ("new", "renewed", "other", "unmapped"):
        return {"text": translate(visit.language, f"grants.done.{done}"), "place": ""}
    served = {one.client.uid: one.client for one in sight.served}
    if linked == _SEVERAL and len(served) > 1:
        return {"text": translate(visit.language, "grants.linked.several"), "place": ""}
    if linked in served:
        text = translate(visit.language, "grants.linked", client=served[linked].name)
        return {"text": text, "place": f"/clients/{linked}/spv"}
    return None


async def _last_list(reached: Reached, visit: Visit) -> dict[str, str]:
    """How the last list of this CIF went, as the client's page says it."""
    found = [one for one in await listings.of_client(reached.client.id) if one.cif == reached.cif]
    problem = found[0].problem if found else None
    return {
        "who": f"{reached.client.name} ({reached.shown})",
        "text": " ".join(listed_lines(found, visit)),
        "problem": said(problem, visit.language) if problem else "",
        "place": f"/clients/{reached.client.uid}/spv",
    }


async def _frame(viewer: Viewer, client: ClientRow | None) -> Frame:
    """People of the firm come from the list of all, others from their client."""
    return await frame_of(viewer, client if viewer.firm_role is None else None)


def _in_pairs(serial: str) -> str:
    return ":".join(serial[at : at + 2] for at in range(0, len(serial), 2))


def _client(sight: Sight) -> ClientRow | None:
    return sight.served[0].client if len({one.client.id for one in sight.served}) == 1 else None


def _is_there(grants: Sequence[Grant], request: Request[Any, Any, Any]) -> bool:
    return any(grant.uid == request.query_params.get("revoked") for grant in grants)


async def _about(uid: str, viewer: Viewer) -> ClientRow | None:
    try:
        client = await clients.by_uid(uid, viewer)
    except NotFound:
        return None
    return client if viewer.roles_at(client.id) & LINKERS else None


async def _of_form(request: Request[Any, Any, Any]) -> list[Reached]:
    """Return the CIFs of the form with their clients; `NotFound` unless all are this person's.

    A CIF of another's client and one of nobody are the same error.
    """
    viewer = viewer_of(request)
    numbers = dict.fromkeys((await read_form(request))["cif"].split())
    owners = await clients.all_identifiers()
    rows = {row.id: row for row in linkable(viewer, await clients.list_for(viewer))}
    found = [Reached(cif, rows[owners[cif]]) for cif in numbers if owners.get(cif) in rows]
    if not found or len(found) != len(numbers):
        raise _not_yours()
    return found


def _not_yours() -> NotFound:
    return NotFound(
        Sentence(
            "CIF-ul nu este al unui client pe care îl poți lega aici. Reîncarcă pagina legăturii.",
            "the CIF is of no client that you can link here; reload the connection's page",
        )
    )


HANDLERS: list[BaseRouteHandler] = [
    grant_list,
    grant_page,
    test,
    confirm,
    unmap,
    ask_revoke,
    revoke,
]

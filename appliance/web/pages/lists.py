"""Lists of documents by status, and the firm's list of clients."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler

from appliance.core.errors import NotFound
from appliance.core.lifecycle import Action
from appliance.core.roles import CLIENT_ROLES, FIRM_ROLES, Kind, Status, Viewer
from appliance.store import clients, documents, duplicates, notices
from appliance.store.clients import ClientRow
from appliance.web import i18n
from appliance.web.auth.guards import PERSON, allow
from appliance.web.forms import see_other
from appliance.web.pages.cards import Card, card_of
from appliance.web.pages.frame import SECTION_ICONS, Frame, frame_for
from appliance.web.pages.objects import load_client
from appliance.web.pages.places import done_at, list_place
from appliance.web.pages.standing import standing_for
from appliance.web.render import count, page, translate
from appliance.web.visit import Visit, viewer_of, visit_of

CARDS, ROWS = 20, 50
# So long a confirmation is news, and may be taken back from where it stands.
NEWS = timedelta(minutes=10)
_CLIENT = {"client": Provide(load_client)}

# After these a person may change their mind at once, without a further word.
UNDO = {Action.APPROVE: Action.WITHDRAW, Action.REJECT: Action.RECONSIDER}


@dataclass(frozen=True)
class Stretch:
    """A page of a list as the template shows it."""

    items: list[Card]
    next: str | None


@dataclass(frozen=True)
class Done:
    """What the person has just done, and how to take it back."""

    text: str
    document: Card | None = None
    undo: str = ""


@get("/", opt=allow(PERSON))
async def home(request: Request[Any, Any, Any]) -> Response[str]:
    """Lead everybody to where their work is."""
    visit, viewer = visit_of(request), viewer_of(request)
    if viewer.firm_role is not None:
        return see_other("/clients")
    rows = await clients.list_for(viewer)
    if not rows:
        return page(visit, "nothing.html", frame=await frame_for(viewer, "home"))
    counted = await documents.counts(viewer)
    waiting = [row for row in rows if counted[row.id].seen.get(Status.PENDING)]
    return see_other(f"/clients/{(waiting or rows)[0].uid}/pending")


@get("/clients", opt=allow(*FIRM_ROLES))
async def client_list(request: Request[Any, Any, Any]) -> Response[str]:
    """The firm's clients with what waits at each; of what is with the client only how much."""
    visit, viewer = visit_of(request), viewer_of(request)
    counted = await documents.counts(viewer)
    open_notices = Counter(
        notice.client_id for notice in await notices.list_for(viewer, alerts_only=True)
    )
    rows = []
    for client in await clients.list_for(viewer):
        if not viewer.roles_at(client.id) & FIRM_ROLES:
            continue
        seen, waiting = counted[client.id].seen, counted[client.id].waiting
        pending, rejected = waiting.get(Status.PENDING), waiting.get(Status.REJECTED)
        rows.append(
            {
                "uid": client.uid,
                "name": client.name,
                "approved": seen.get(Status.APPROVED, 0),
                "archived": seen.get(Status.ARCHIVED, 0),
                "pending": pending.count if pending else 0,
                "pending_text": _waiting_text(visit, "clients.waiting", pending),
                "rejected": rejected.count if rejected else 0,
                "notices": open_notices[client.id],
            }
        )
    return page(
        visit,
        "clients.html",
        frame=await frame_for(viewer, "clients"),
        rows=rows,
        obstacles=await standing_for(visit, viewer),
    )


@get("/clients/{client_uid:str}", opt=allow(PERSON, object="client"), dependencies=_CLIENT)
async def open_client(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """Lead to the list that this person works from at this client."""
    sides = viewer_of(request).roles_at(client.id)
    section = Status.PENDING if sides & CLIENT_ROLES else Status.APPROVED
    return see_other(f"/clients/{client.uid}/{section.value}")


@get(
    "/clients/{client_uid:str}/pending",
    opt=allow(*CLIENT_ROLES, object="client"),
    dependencies=_CLIENT,
)
async def pending(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """What waits for the client's yes."""
    return await _list(request, client, Status.PENDING)


@get(
    "/clients/{client_uid:str}/approved",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="client"),
    dependencies=_CLIENT,
)
async def approved(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """What was approved; for the accountant the work that waits."""
    return await _list(request, client, Status.APPROVED)


@get(
    "/clients/{client_uid:str}/rejected",
    opt=allow(*CLIENT_ROLES, object="client"),
    dependencies=_CLIENT,
)
async def rejected(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """What was rejected; the firm's people do not come here."""
    return await _list(request, client, Status.REJECTED)


@get(
    "/clients/{client_uid:str}/archived",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="client"),
    dependencies=_CLIENT,
)
async def archived(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """What was recorded."""
    return await _list(request, client, Status.ARCHIVED)


async def done_of(request: Request[Any, Any, Any], viewer: Viewer) -> Done | None:
    """Return the confirmation that the address asks for, when it is true.

    It is shown only for some minutes and only if that step really is the person's
    own and the document's last one, so nobody can be led to believe in one by a link.
    """
    action, uid = request.query_params.get("done", ""), request.query_params.get("document", "")
    if action not in {*Action, "take"} or not uid:
        return None
    at = visit_of(request).at
    try:
        document = await documents.get(uid, viewer)
    except NotFound:
        returned = await documents.returned_by(uid, viewer, at - NEWS)
        if action != Action.RETURN or returned is None:
            return None
        return _done(action, card_of(returned, viewer, at), viewer)
    last = document.events[-1]
    if last.action != action or last.actor_uid != viewer.user_uid or last.at < at - NEWS:
        return None
    return _done(action, card_of(document, viewer, at), viewer)


def _done(action: str, card: Card, viewer: Viewer) -> Done:
    undo = UNDO.get(Action(action)) if action in {*Action} else None
    offered = undo.value if undo is not None and undo.value in card.actions else ""
    return Done(translate(viewer.language, f"done.{action}", what=card.what), card, offered)


async def _list(
    request: Request[Any, Any, Any], client: ClientRow, status: Status
) -> Response[str]:
    visit, viewer = visit_of(request), viewer_of(request)
    frame = await frame_for(viewer, status.value, client)
    asked, after = request.query_params.get("kind", ""), request.query_params.get("after")
    kind = Kind(asked) if asked in {*Kind} else None
    here = list_place(visit.path, kind)
    limit = CARDS if status is Status.PENDING else ROWS
    stretch = await _stretch(visit, viewer, client, status, after, limit=limit, kind=kind)
    done = await done_of(request, viewer)
    if after is not None and not stretch.items:
        # The last of this stretch was decided just now.
        asked_done = request.query_params.get("done", "")
        if done is None or done.document is None:
            return see_other(here)
        return see_other(done_at(here, asked_done, done.document.uid))
    place = list_place(visit.path, kind, after)
    response = page(
        visit,
        "pending.html" if status is Status.PENDING else "list.html",
        frame=frame,
        heading=_heading(viewer.language, status, frame),
        page=stretch,
        paged=after is not None,
        here=here,
        place=place,
        total=frame.count(status),
        waiting=_waiting_here(visit, frame) if status is Status.APPROVED else "",
        filters=_filters(visit, kind) if frame.count(status) else [],
        empty=_empty(viewer.language, status, frame),
        obstacles=await standing_for(visit, viewer, client) if status is Status.PENDING else [],
        done=done,
        undo_back=f"{place}#d-{done.document.uid}" if done and done.document else "",
    )
    if visit.htmx:
        # The list stays one entry of the browser's history, without the note.
        response.headers["hx-replace-url"] = place
    return response


async def _stretch(
    visit: Visit,
    viewer: Viewer,
    client: ClientRow,
    status: Status,
    after: str | None,
    *,
    limit: int,
    kind: Kind | None = None,
) -> Stretch:
    found = await documents.page(viewer, client.uid, status, after=after, limit=limit, kind=kind)
    why = await documents.reasons([row.id for row in found.rows])
    twins = await duplicates.twins(viewer, [row.id for row in found.rows])
    cards = [
        card_of(row, viewer, visit.at, why.get(row.id), twins.get(row.id)) for row in found.rows
    ]
    return Stretch(cards, found.next)


def _heading(language: str, status: Status, frame: Frame) -> str:
    firm = status is Status.APPROVED and frame.firm_here
    return translate(language, "nav.approved.firm" if firm else f"nav.{status.value}")


def _filters(visit: Visit, chosen: Kind | None) -> list[dict[str, object]]:
    filters: list[dict[str, object]] = [
        {
            "label": translate(visit.language, "filter.all"),
            "href": visit.path,
            "current": chosen is None,
        }
    ]
    for kind in (Kind.RECEIVED, Kind.ISSUED, Kind.OTHER):
        filters.append(
            {
                "label": translate(visit.language, f"filter.{kind.value}"),
                "href": f"{visit.path}?kind={kind.value}",
                "current": kind is chosen,
            }
        )
    return filters


def _empty(language: str, status: Status, frame: Frame) -> dict[str, str]:
    key = title = f"empty.{status.value}"
    if status is Status.APPROVED and frame.firm_here:
        key = title = f"{key}.firm"
    elif status is not Status.ARCHIVED and not frame.decides:
        # Spoken to who only looks, or only adds: nothing waits for them.
        key = f"{key}.{'upload' if frame.uploads and status is Status.PENDING else 'look'}"
        title = key if status is Status.PENDING else title
    return {
        "icon": "check" if status is Status.PENDING else SECTION_ICONS[status.value],
        "title": translate(language, title),
        "text": translate(language, f"{key}.more"),
    }


def _waiting_here(visit: Visit, frame: Frame) -> str:
    if not frame.firm_here or frame.counts is None:
        return ""
    return _waiting_text(visit, "list.waiting", frame.counts.waiting.get(Status.PENDING))


def _waiting_text(visit: Visit, key: str, waiting: documents.Waiting | None) -> str:
    if waiting is None:
        return ""
    since = i18n.day(waiting.oldest, visit.language)
    return count(visit.language, key, waiting.count, since=since)


HANDLERS: list[BaseRouteHandler] = [
    home,
    client_list,
    open_client,
    pending,
    approved,
    rejected,
    archived,
]

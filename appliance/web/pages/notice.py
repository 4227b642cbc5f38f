"""ANAF's errors and buyers' messages: alerts until somebody of each side says "seen"."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Stream

from appliance.core.errors import NotFound
from appliance.core.roles import CLIENT_ROLES, FIRM_ROLES
from appliance.core.sentence import Sentence
from appliance.store import notices
from appliance.store.clients import ClientRow
from appliance.store.notices import NoticeRow
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.forms import see_other
from appliance.web.pages.files import file_answer
from appliance.web.pages.frame import frame_for
from appliance.web.pages.objects import load_client, load_notice
from appliance.web.portal import portal_of
from appliance.web.render import page, translate
from appliance.web.visit import viewer_of, visit_of

_LOOK = {
    "anaf_error": ("exclamation-circle", "bad"),
    "buyer_message": ("information-circle", "archived"),
}
_NOTICE = {"notice": Provide(load_notice)}


@get(
    "/clients/{client_uid:str}/notices",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="client"),
    dependencies={"client": Provide(load_client)},
)
async def notice_list(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """The client's notices, the newest first."""
    visit, viewer = visit_of(request), viewer_of(request)
    shown = []
    for notice in await notices.list_for(viewer, client.uid):
        icon, style = _LOOK.get(notice.type, ("question-mark-circle", "warn"))
        known = notice.type if notice.type in _LOOK else "unknown"
        shown.append(
            {
                "uid": notice.uid,
                "label": translate(visit.language, f"notice.{known}"),
                "icon": icon,
                "style": style,
                "text": notice.text,
                "when": i18n.lately(notice.created_at, visit.at, visit.language),
                "upload_id": notice.upload_id,
                "open": notice.alerts(viewer),
            }
        )
    frame = await frame_for(viewer, "notices", client)
    return page(visit, "notices.html", frame=frame, notices=shown)


@post(
    "/notices/{notice_uid:str}/acknowledge",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="notice"),
    dependencies=_NOTICE,
    status_code=303,
)
async def acknowledge(
    request: Request[Any, Any, Any], notice: NamedDependency[NoticeRow]
) -> Response[str]:
    """Take it off the alerts of this person's side."""
    await notices.acknowledge(notice.uid, viewer_of(request), visit_of(request).at)
    return see_other(f"/clients/{notice.client_uid}/notices")


@get(
    "/notices/{notice_uid:str}/files/{name:str}",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="notice"),
    dependencies=_NOTICE,
)
async def notice_file(
    request: Request[Any, Any, Any], notice: NamedDependency[NoticeRow], name: FromPath[str]
) -> Stream:
    """One file of the notice; its zip is evidence and may hold more, so it is not given out."""
    for file in notice.files:
        if file.stored_name == name and file.shown_name is not None:
            opened = portal_of(request).archive.open_file(
                notice.client_uid, notice.archive_month, notice.uid, name
            )
            return file_answer(opened, file.shown_name or name)
    raise NotFound(Sentence("Fișierul nu există.", "there is no such file"))


HANDLERS: list[BaseRouteHandler] = [notice_list, acknowledge, notice_file]

"""For administrators: the application that the firm registered at ANAF, without which nobody links.

The secret goes from the form to the vault and is never shown again.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import BaseRouteHandler

from appliance.core.errors import BadInput
from appliance.core.roles import Role
from appliance.core.sentence import Sentence
from appliance.store import linking
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.forms import read_form, see_other
from appliance.web.pages.frame import frame_for
from appliance.web.pages.linking import CALLBACK
from appliance.web.portal import portal_of
from appliance.web.render import page, said, translate
from appliance.web.visit import viewer_of, visit_of


@get("/settings/spv", opt=allow(Role.ADMIN))
async def application_page(request: Request[Any, Any, Any]) -> Response[str]:
    """How to register the application, the address that ANAF asks for, and the two fields."""
    return await _page(request)


@post("/settings/spv", opt=allow(Role.ADMIN), status_code=303)
async def set_application(request: Request[Any, Any, Any]) -> Response[str]:
    """Keep the credentials in the vault; without a secret the one that is there stays."""
    visit, viewer, portal = visit_of(request), viewer_of(request), portal_of(request)
    form = await read_form(request)
    client_id = form["client_id"].strip()
    try:
        await portal.vault.set_application(
            client_id, form["client_secret"].strip(), _callback(request), by=viewer.user_uid
        )
    except BadInput as error:
        return await _page(request, client_id=client_id, problem=error.sentence)
    await linking.application_set(client_id, visit.at, by=viewer)
    return see_other("/settings/spv?saved=1")


def _callback(request: Request[Any, Any, Any]) -> str:
    return portal_of(request).settings.web_url.rstrip("/") + CALLBACK


async def _page(
    request: Request[Any, Any, Any],
    *,
    client_id: str | None = None,
    problem: Sentence | None = None,
) -> Response[str]:
    visit = visit_of(request)
    application = (await portal_of(request).vault.status()).application
    if client_id is None:
        client_id = application.client_id if application else ""
    text = ""
    if application and request.query_params.get("saved"):
        text = translate(visit.language, "application.saved")
    changed = i18n.moment(application.changed_at, visit.language) if application else ""
    return page(
        visit,
        "application.html",
        status=HTTPStatus.BAD_REQUEST if problem else HTTPStatus.OK,
        frame=await frame_for(viewer_of(request), "health"),
        callback=_callback(request),
        client_id=client_id,
        changed=changed,
        # What the vault sends to ANAF must be what is registered there, byte for byte.
        moved=application.redirect_uri
        if application and application.redirect_uri != _callback(request)
        else "",
        secure=portal_of(request).place.secure,
        problem=said(problem, visit.language) if problem else None,
        done={"text": text, "undo": None} if text else None,
    )


HANDLERS: list[BaseRouteHandler] = [application_page, set_application]

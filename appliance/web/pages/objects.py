"""Loading what a handler works on: by what the person may see, else 404; then by declaration.

A handler with an object gets it from here and from nowhere else. What is
foreign and what is absent are the same error, raised by the store.
"""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.params import FromPath

from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.store import clients, documents, notices
from appliance.store.clients import ClientRow
from appliance.store.documents import DocumentView
from appliance.store.notices import NoticeRow
from appliance.web.auth.guards import check_object
from appliance.web.linked import Sight, seen_by
from appliance.web.portal import portal_of
from appliance.web.visit import viewer_of
from appliance.web.way import just_authorised


async def load_client(request: Request[Any, Any, Any], client_uid: FromPath[str]) -> ClientRow:
    """Return the client of the address."""
    viewer = viewer_of(request)
    client = await clients.by_uid(client_uid, viewer)
    check_object(request, viewer, client.id)
    return client


async def load_document(
    request: Request[Any, Any, Any], document_uid: FromPath[str]
) -> DocumentView:
    """Return the document of the address."""
    viewer = viewer_of(request)
    document = await documents.get(document_uid, viewer)
    check_object(request, viewer, document.client_id)
    return document


async def load_notice(request: Request[Any, Any, Any], notice_uid: FromPath[str]) -> NoticeRow:
    """Return the notice of the address."""
    viewer = viewer_of(request)
    notice = await notices.get(notice_uid, viewer)
    check_object(request, viewer, notice.client_id)
    return notice


async def load_grant(request: Request[Any, Any, Any], grant_uid: FromPath[str]) -> Sight:
    """Return the authorisation of the address as this person sees it.

    Whose clients it serves decides both whether it exists for them and what of it.
    """
    status = await portal_of(request).vault.status()
    found = [grant for grant in status.grants if grant.uid == grant_uid]
    proved = just_authorised(request)
    for sight in await seen_by(viewer_of(request), found, proved=proved):
        return sight
    raise NotFound(
        Sentence(
            "Legătura cu SPV nu există sau nu ai acces la ea. Vezi lista legăturilor tale.",
            "there is no such connection to SPV, or it is not yours to see; look at your list",
        )
    )

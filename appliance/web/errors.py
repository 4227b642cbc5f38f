"""One place turns errors into pages: an `ArhivarError` is a status and its own sentence.

Anything else is a defect of ours: the visitor gets a page with a reference, the
log gets the same reference with the traceback (which holds no local values).
"""

from __future__ import annotations

import logging
import secrets
from http import HTTPStatus
from urllib.parse import urlencode

from litestar import Response
from litestar.exceptions import HTTPException

from appliance.core import errors
from appliance.core.errors import ArhivarError
from appliance.web.auth.csrf import ForgedRequest, TooLarge
from appliance.web.auth.guards import NotLoggedIn
from appliance.web.auth.host import WrongHost
from appliance.web.auth.throttle import TooManyTries
from appliance.web.render import page, said, translate
from appliance.web.visit import Visit

log = logging.getLogger("arhivar.web")

STATUS_CODES: dict[type[ArhivarError], int] = {
    errors.BadInput: HTTPStatus.BAD_REQUEST,
    errors.NotAllowed: HTTPStatus.FORBIDDEN,
    ForgedRequest: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.TransitionRefused: HTTPStatus.CONFLICT,
    errors.StaleDocument: HTTPStatus.CONFLICT,
    errors.PeriodClosed: HTTPStatus.CONFLICT,
    errors.ArchiveConflict: HTTPStatus.CONFLICT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    WrongHost: HTTPStatus.MISDIRECTED_REQUEST,
    TooManyTries: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Busy: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SchemaUnknown: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ConfigError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: ArhivarError) -> int:
    """Return the HTTP status of an error of ours; 500 for one that no page expects."""
    for kind in type(error).__mro__:
        if kind in STATUS_CODES:
            return STATUS_CODES[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def answer(visit: Visit, error: Exception) -> Response[str]:
    """Return the page for an error that no handler dealt with."""
    if isinstance(error, NotLoggedIn):
        return to_log_in(visit)
    if isinstance(error, ArhivarError):
        return _page(visit, status_of(error), said(error.sentence, visit.language))
    if isinstance(error, HTTPException) and error.status_code < 500:
        # The framework's own details may repeat what was sent; our words do not.
        status = error.status_code
        known = status if status in (404, 405, 413) else 400
        response = _page(visit, status, translate(visit.language, f"error.{known}"))
        if allow := (error.headers or {}).get("allow"):
            response.headers["allow"] = allow
        return response
    reference = secrets.token_hex(6)
    log.error("defect %s on %s %s", reference, visit.method, visit.path, exc_info=error)
    return _page(
        visit,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        translate(visit.language, "error.500"),
        reference=reference,
    )


def to_log_in(visit: Visit) -> Response[str]:
    """Return the way to the log-in page, and from there back to what was asked for."""
    come_back = visit.path if visit.method == "GET" else visit.referring_path
    asked = {"next": "" if come_back == "/" else come_back, "lang": visit.lapsed_language}
    query = urlencode({name: value for name, value in asked.items() if value}, safe="/")
    place = f"/login?{query}" if query else "/login"
    if visit.htmx:
        return Response("", status_code=HTTPStatus.FORBIDDEN, headers={"hx-redirect": place})
    return Response("", status_code=HTTPStatus.SEE_OTHER, headers={"location": place})


def _page(visit: Visit, status: int, sentence: str, *, reference: str = "") -> Response[str]:
    known = status if status in (403, 404, 409, 429, 500, 503) else 400
    response = page(
        visit,
        "error.html",
        status=status,
        title=translate(visit.language, f"error.title.{known}"),
        sentence=sentence,
        reference=reference,
        back=visit.path if status in (409, 503) and visit.method == "GET" else "/",
    )
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        response.headers["retry-after"] = "300" if status == 429 else "5"
    if visit.htmx:
        # An error is shown where the page's middle was, whatever was to be swapped.
        response.headers |= {
            "hx-retarget": "#main",
            "hx-reselect": "#main",
            "hx-reswap": "outerHTML",
            "hx-push-url": "false",
        }
    return response

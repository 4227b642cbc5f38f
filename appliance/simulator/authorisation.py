"""ANAF's OAuth over HTTP: authorize, token, revoke, and the page that greets a good token.

Source: the Ministry's OAuth procedure (Oauth_procedura_inregistrare_aplicatii).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlencode

from appliance.simulator.http import Request, Response, json_answer, status_answer
from appliance.simulator.oauth import Authority, TokenRefused


def authorize(authority: Authority, query: Mapping[str, str], outcome: str) -> Response:
    """Answer as after the holder chose a certificate; `outcome` as in POST /simulator/oauth."""
    redirect = query.get("redirect_uri", "")
    if query.get("client_id") != authority.client_id or "://" not in redirect:
        page = b"<html><body><h1>400</h1>client_id sau redirect_uri necunoscut</body></html>"
        return Response(400, page, "text/html")
    outcome = query.get("simulate") or outcome
    answer: dict[str, str] = {}
    if outcome == "access_denied":
        answer["error"] = "access_denied"
    elif outcome != "no_code":
        answer["code"] = authority.code(redirect)
    if "state" in query:
        answer["state"] = query["state"]
    mark = "&" if "?" in redirect else "?"
    location = redirect + (mark + urlencode(answer) if answer else "")
    return Response(302, headers=(("Location", location),))


def token(authority: Authority, request: Request) -> Response:
    form = request.form()
    client = (form.get("client_id", ""), form.get("client_secret", ""))
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
            client = (name, secret)
    try:
        return json_answer(authority.exchange(form, client))
    except TokenRefused as refused:
        return json_answer(
            {"error": refused.error, "error_description": refused.description}, status=400
        )


def revoke() -> Response:
    """Not usable without a browser: ANAF redirects to its login page."""
    return Response(302, headers=(("Location", "/my.policy"),))


def hello(authority: Authority, request: Request, now: datetime) -> Response:
    if authority.serial_of(request.headers.get("authorization", "")) is None:
        return status_answer(401, "Unauthorized", "invalid_token", now)
    return Response(200, f"Hello, {request.query.get('name', '')}!".encode(), "text/plain")

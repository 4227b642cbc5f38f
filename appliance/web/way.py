"""How far one browser has come in linking SPV: a cookie, sealed with the portal's key.

So every page on the way has an address that can be reloaded and gone back to, and
nothing of it is kept here. It holds no secret: the address at ANAF is one that the
browser is sent to anyway, and serves in this session alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Any

from litestar import Request

from appliance.web.auth.cookies import CookieName
from appliance.web.portal import Portal, portal_of
from appliance.web.vault import session_of
from appliance.web.visit import Visit, visit_of

SECONDS = 15 * 60  # ANAF's answer is taken for ten minutes


@dataclass(frozen=True)
class Way:
    """Where it began, where at ANAF it goes on, and what came of it: a sentence or a grant."""

    session: str  # what stands for the session in the vault
    back: str  # the page it began on
    holder: str = ""
    address: str = ""
    ro: str = ""
    en: str = ""
    grant: str = ""  # authorised in this session, with the certificate in hand
    done: str = ""  # the page that this led to
    spent: str = ""  # what stands for the state that it came back with


def remember(visit: Visit, portal: Portal, way: Way) -> None:
    """Put it into the cookie, in place of what is there."""
    text = json.dumps(asdict(way), ensure_ascii=False).encode()
    body = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    sealed = f"{body}.{_seal(portal, body)}"
    visit.cookies.append(portal.cookies.write(CookieName.SPV, sealed, max_age=SECONDS))


def recall(request: Request[Any, Any, Any]) -> Way | None:
    """Return what the cookie holds; None when there is none or it is not of our making."""
    portal = portal_of(request)
    sealed = portal.cookies.read(request.scope["headers"], CookieName.SPV) or ""
    body, _, seal = sealed.partition(".")
    if not hmac.compare_digest(seal.encode("utf-8", "replace"), _seal(portal, body).encode()):
        return None
    try:
        return Way(**json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except TypeError:
        return None  # of the version before an upgrade


def of_session(request: Request[Any, Any, Any]) -> Way | None:
    """Return what the cookie holds if it is of this session: another's may have been here."""
    way = recall(request)
    return way if way and way.session == session(visit_of(request), portal_of(request)) else None


def just_authorised(request: Request[Any, Any, Any]) -> str:
    """Return the grant that was authorised in this session a moment ago, '' for none."""
    way = of_session(request)
    return way.grant if way else ""


def session(visit: Visit, portal: Portal) -> str:
    """Return what stands for this session in the vault."""
    return session_of(portal.key, visit.session_hash or "")


def _seal(portal: Portal, body: str) -> str:
    text = body.encode("utf-8", "replace")
    return hmac.new(portal.key, b"spv-way\0" + text, hashlib.sha256).hexdigest()

"""What is known of one request before a handler sees it.

The gate fills it once; handlers read it and never look at cookies or headers
for who is asking.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from litestar.connection import ASGIConnection

from appliance.core.roles import Viewer
from appliance.web.asgi import Scope

_KEY = "arhivar_visit"
_SAFE_PATH = re.compile(r"/(?!/)[a-z0-9/_-]*", re.ASCII)


@dataclass
class Visit:
    """One request: when, from where, by whom."""

    at: datetime
    method: str
    path: str
    referring_path: str  # of the page of ours that sent this, empty when unknown
    htmx: bool
    unattended: bool  # asked for by a page, not by a person: it keeps no session alive
    address: str
    agent: str
    language: str
    session_hash: str | None = None
    viewer: Viewer | None = None
    csrf: str = ""  # the token for this page's forms; empty when it may have none
    lapsed_language: str = ""  # of who was logged in until just now, when it is another
    cookies: list[str] = field(default_factory=list)  # Set-Cookie headers of the answer


def safe_path(text: str) -> str:
    """Return the text when it is a path of ours to go to, else an empty one.

    No host, no scheme, no query, nothing encoded: what a redirect may follow.
    """
    return text if _SAFE_PATH.fullmatch(text) else ""


def set_visit(scope: Scope, visit: Visit) -> None:
    """Attach it to the request."""
    scope[_KEY] = visit


def visit_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Visit:
    """Return what the gate found out about this request."""
    return cast("Visit", cast("dict[str, Any]", connection.scope)[_KEY])


def viewer_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Viewer:
    """Return the logged-in person; only behind a guard that demands one."""
    viewer = visit_of(connection).viewer
    if viewer is None:
        raise RuntimeError("a handler asked who is logged in without declaring that it needs one")
    return viewer

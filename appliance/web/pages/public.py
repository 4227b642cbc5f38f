"""What anybody may fetch: styles, scripts, fonts, and whether the portal is well."""

from __future__ import annotations

import json
import logging
import re
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, get, post
from litestar.params import FromPath

from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.store import clients
from appliance.web.auth.guards import ANYONE, allow
from appliance.web.auth.headers import REPORTS
from appliance.web.static_files import static_files
from appliance.web.visit import visit_of

log = logging.getLogger("arhivar.web")

_MOST_REPORT, _MOST_LINES = 16 * 1024, 20
_reported: dict[str, Any] = {"minute": None, "lines": 0}


@get("/static/{path:path}", opt=allow(ANYONE))
async def static(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[bytes]:
    """A file of ours; with its own hash in the address it may be kept for a year."""
    name = path.lstrip("/")
    file = static_files().get(name)
    if file is None:
        raise NotFound(Sentence("Fișierul nu există.", "there is no such file"))
    headers = {
        "etag": f'"{file.version}"',
        "vary": "accept-encoding",
        "cache-control": "public, max-age=31536000, immutable"
        if request.query_params.get("v") == file.version
        else "public, max-age=86400",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
    content = file.content
    if file.packed and "gzip" in request.headers.get("accept-encoding", ""):
        content = file.packed
        headers["content-encoding"] = "gzip"
    return Response(content, headers=headers, media_type=file.media_type)


@get("/healthz", opt=allow(ANYONE))
async def health() -> Response[str]:
    """Say `ok` when the database answers; an error of the store is a 503 like everywhere."""
    await clients.firm()
    return Response("ok\n", media_type="text/plain")


@post(REPORTS, opt=allow(ANYONE), status_code=204)
async def report(request: Request[Any, Any, Any]) -> None:
    """Log what the policy blocked on somebody's page: the directive and the host, nothing else.

    At most twenty lines a minute for everybody together: who posts here is not known.
    """
    minute = visit_of(request).at.replace(second=0, microsecond=0)
    body = await request.body()
    for directive, host in _blocked(body if len(body) <= _MOST_REPORT else b""):
        if minute != _reported["minute"]:
            _reported.update(minute=minute, lines=0)
        if _reported["lines"] < _MOST_LINES:
            _reported["lines"] += 1
            log.warning("policy blocked directive=%s host=%s", directive, host)


def _blocked(body: bytes) -> list[tuple[str, str]]:
    try:
        entries = json.loads(body)
        bodies = [entry["body"] for entry in entries]
        return [
            (
                re.sub(r"[^a-z-]", "", str(each.get("effectiveDirective", "")))[:40],
                re.sub(r"[^a-z0-9.-]", "", urlsplit(str(each.get("blockedURL", ""))).netloc)[:80],
            )
            for each in bodies
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


HANDLERS = [static, health, report]

"""What anybody may fetch: styles, scripts, fonts, and whether the portal is well."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.store import clients
from appliance.web.auth.guards import ANYONE, allow
from appliance.web.static_files import static_files


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


HANDLERS = [static, health]

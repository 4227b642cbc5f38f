"""PROPFIND (RFC 4918 §9.1): one resource, or it and its members, from rows."""

from __future__ import annotations

from functools import lru_cache

from appliance.core import tree
from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence
from appliance.dav import multistatus
from appliance.dav.exchange import XML, Answer, Request, error
from appliance.dav.listings import Listings
from appliance.dav.multistatus import HEAD, TAIL, Asked, Renderer
from appliance.dav.resources import Resources


async def propfind(request: Request, resources: Resources, listings: Listings) -> Answer:
    """Answer 207, 404 for what the person may not see, 403 for a depth without end.

    On a file, which has no members, every depth is 0. No answer redirects: Windows
    cannot follow, so both spellings of the closing slash are one place.
    """
    depth = _depth(request)
    asked = multistatus.parse(await request.read_body())
    segments = tree.split(request.raw_path)
    node = resources.find(segments)
    if node is None:
        return error(404, ABSENT, resources.language)
    if depth is None and node.item.collection:
        return error(403, _INFINITE, resources.language, "propfind-finite-depth")
    renderer = _renderer(asked)
    members = b""
    if depth == 1 and node.item.collection:
        sight = resources.sight(node)
        if sight is not None:
            members = await listings.members(node.item.href, sight, renderer)
            note = resources.note(node)
            if note is not None:
                members += renderer(note.item).encode()
        else:
            members = "".join(map(renderer, resources.members(node))).encode()
    # The folder itself is dated anew each time, so only its members are kept.
    return Answer(207, (XML,), b"".join((HEAD, renderer(node.item).encode(), members, TAIL)))


@lru_cache(maxsize=64)
def _renderer(asked: Asked) -> Renderer:
    return Renderer(asked)


def _depth(request: Request) -> int | None:
    """Return 0 or 1, or None for infinity, which a missing header means."""
    value = request.header(b"depth")
    if value is None or value.lower() == b"infinity":
        return None
    if value not in (b"0", b"1"):
        raise BadInput(_BAD_DEPTH)
    return int(value)


ABSENT = Sentence(
    "Aici nu este nimic. Reîncarcă dosarul.",
    "there is nothing here; reload the folder",
)
_INFINITE = Sentence(
    "Dosarele se listează unul câte unul. Cere Depth 0 sau 1.",
    "folders are listed one at a time; ask with Depth 0 or 1",
)
_BAD_DEPTH = Sentence(
    "Antetul Depth nu este valid. Cere Depth 0 sau 1.",
    "the Depth header is not valid; ask with Depth 0 or 1",
)

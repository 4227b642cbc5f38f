"""Where a step leads back to: a list of the portal that a form or an address may name, checked."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from appliance.core.lifecycle import Action
from appliance.core.roles import Kind

_CURSOR = r"after=[0-9a-z_-]{1,60}"
_LIST = re.compile(
    r"/clients/[0-9a-z]{26}/(?:pending|approved|rejected|archived)"
    rf"(?:\?(?:(?:kind=(?:{'|'.join(Kind)})(?:&{_CURSOR})?)|{_CURSOR}))?"
    r"(?:#d-[0-9a-z]{26})?",
    re.ASCII,
)


def list_place(path: str, kind: Kind | None = None, after: str | None = None) -> str:
    """Return the address of a stretch of a list."""
    query = {"kind": kind.value if kind else None, "after": after}
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{path}?{given}" if given else path


def safe_list(text: str) -> str:
    """Return the text when it is a list of ours, at some stretch and card of it, else an empty one.

    It says nothing of whether the person may read that list: the list itself does.
    """
    return text if _LIST.fullmatch(text) else ""


def document_place(uid: str) -> str:
    """Return the address of a document's page."""
    return f"/documents/{uid}"


def done_at(place: str, action: Action | str, uid: str) -> str:
    """Return the place with a note of what was just done there; see `lists.done_of()`."""
    path, mark, card = place.partition("#")
    joint = "&" if "?" in path else "?"
    return f"{path}{joint}{urlencode({'done': str(action), 'document': uid})}{mark}{card}"

"""PROPFIND bodies in and multistatus bodies out (RFC 4918 §9.1, §13, §14).

A listing is one template filled for each member: what was asked is compiled
once into the template, so a member costs a few string substitutions. The
prefix `D:` is declared once, on top, because old Windows versions read no
other form. The quota properties do not exist here: a Mac that is told them
hangs for 90 seconds (macOS 15.4 and later).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from appliance.core import xml
from appliance.core.errors import BadInput, DocumentRefused
from appliance.core.sentence import Sentence
from appliance.core.times import from_text

DAV = "DAV:"
_XML = "http://www.w3.org/XML/1998/namespace"
_MAX_NAMES = 200
_MAX_BODY, _MAX_NODES, _MAX_DEPTH = 64 * 1024, 2000, 20


class Item(NamedTuple):
    """One resource as its properties show it; times are text of `core.times`."""

    href: str
    name: str
    created: str
    modified: str
    collection: bool = True
    size: int = 0
    mime: str = ""
    etag: str = ""


class Name(NamedTuple):
    """A property's name."""

    namespace: str
    local: str


@dataclass(frozen=True)
class Asked:
    """What a PROPFIND asks for: all, the names alone, or these."""

    names: tuple[Name, ...] | None = None  # None: allprop, or propname
    names_only: bool = False
    include: tuple[Name, ...] = ()


_COLLECTION = {
    "creationdate": "%(created)s",
    "displayname": "%(name)s",
    "getlastmodified": "%(modified)s",
    "resourcetype": "<D:collection/>",
    "supportedlock": "",
    "lockdiscovery": "",
}
_FILE = {
    "creationdate": "%(created)s",
    "displayname": "%(name)s",
    "getcontentlength": "%(size)d",
    "getcontenttype": "%(mime)s",
    "getetag": "%(etag)s",
    "getlastmodified": "%(modified)s",
    "resourcetype": "",
    "supportedlock": "",
    "lockdiscovery": "",
}
# Windows reads at most 1,000,000 bytes of a folder, so `allprop` leaves out
# what a client that needs it asks for by name.
_COMPACT = frozenset(
    {"creationdate", "getcontentlength", "getetag", "getlastmodified", "resourcetype"}
)


def parse(body: bytes) -> Asked:
    """Return what the body asks for; an empty one asks for everything.

    Raises `BadInput` for anything that is no `propfind` element, for a DTD, and
    for more than 200 names.
    """
    if not body.strip():
        return Asked()
    try:
        root = xml.parse(body, max_bytes=_MAX_BODY, max_nodes=_MAX_NODES, max_depth=_MAX_DEPTH)
    except DocumentRefused:  # whose sentence speaks of invoices
        raise BadInput(_NOT_PROPFIND) from None
    if root.tag != f"{{{DAV}}}propfind":
        raise BadInput(_NOT_PROPFIND)
    parts = {child.tag: child for child in root if isinstance(child.tag, str)}
    include = parts.get(f"{{{DAV}}}include")
    if (prop := parts.get(f"{{{DAV}}}prop")) is not None:
        return Asked(names=_names(prop))
    if f"{{{DAV}}}propname" in parts:
        return Asked(names_only=True)
    if f"{{{DAV}}}allprop" in parts:
        return Asked(include=_names(include) if include is not None else ())
    raise BadInput(_NOT_PROPFIND)


class Renderer:
    """What was asked, compiled into one template for folders and one for files."""

    def __init__(self, asked: Asked) -> None:
        self.collection = _template(asked, _COLLECTION)
        self._file = _template(asked, _FILE)
        self._named = "%(name)s" in self.collection + self._file

    def __call__(self, item: Item) -> str:
        """Return the `response` element of one resource."""
        # Of a folder's listing this is the inner loop: nothing is computed unasked.
        values: dict[str, object] = {
            "href": item.href,
            "created": iso(item.created),
            "modified": http_date(item.modified),
        }
        if self._named:
            values["name"] = escape(item.name)
        if item.collection:
            return self.collection % values
        values |= {"size": item.size, "mime": escape(item.mime), "etag": item.etag}
        return self._file % values


def render(asked: Asked, items: Iterable[Item]) -> bytes:
    """Return the whole multistatus body for the items, in their order."""
    return HEAD + "".join(map(Renderer(asked), items)).encode() + TAIL


HEAD = b'<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">'
TAIL = b"</D:multistatus>\n"


def iso(text: str) -> str:
    """Return the form of `creationdate` (RFC 3339, with Z)."""
    return text[:19] + "Z"


def http_date(text: str) -> str:
    """Return the form of `getlastmodified` and of the header (RFC 9110 §5.6.7)."""
    return _http_date(text[:19])


@lru_cache(maxsize=16_384)
def _http_date(second: str) -> str:
    return format_datetime(_moment(second), usegmt=True)


def _moment(second: str) -> datetime:
    return from_text(second + ".000000Z")


def _template(asked: Asked, live: dict[str, str]) -> str:
    if asked.names_only:
        found, missing = [Name(DAV, local) for local in live], list[Name]()
        values = dict.fromkeys(live, "")
    elif asked.names is None:
        wanted = [Name(DAV, local) for local in live if local in _COMPACT]
        wanted += [name for name in asked.include if name not in wanted]
        found = [name for name in wanted if _is_live(name, live)]
        missing, values = [], live
    else:
        found = [name for name in asked.names if _is_live(name, live)]
        missing, values = [name for name in asked.names if not _is_live(name, live)], live
    stats = []
    if found or not missing:
        props = "".join(_element(f"D:{name.local}", values[name.local]) for name in found)
        stats.append(_propstat(props, "200 OK"))
    if missing:
        stats.append(_propstat("".join(map(_missing, missing)), "404 Not Found"))
    return f"<D:response><D:href>%(href)s</D:href>{''.join(stats)}</D:response>"


def _is_live(name: Name, live: dict[str, str]) -> bool:
    return name.namespace == DAV and name.local in live


def _element(tag: str, content: str) -> str:
    return f"<{tag}>{content}</{tag}>" if content else f"<{tag}/>"


def _missing(name: Name) -> str:
    local = name.local.replace("%", "%%")
    if name.namespace == DAV:
        return f"<D:{local}/>"
    if name.namespace == _XML:  # no other prefix may stand for it
        return f"<xml:{local}/>"
    namespace = quoteattr(name.namespace).replace("%", "%%")
    if not name.namespace:
        return f"<{local} xmlns={namespace}/>"
    return f"<x:{local} xmlns:x={namespace}/>"


def _propstat(props: str, status: str) -> str:
    return (
        f"<D:propstat><D:prop>{props}</D:prop><D:status>HTTP/1.1 {status}</D:status></D:propstat>"
    )


def _names(prop: etree._Element) -> tuple[Name, ...]:
    names: dict[Name, None] = {}
    for child in prop:
        if not isinstance(child.tag, str):
            continue
        qualified = etree.QName(child)
        names[Name(qualified.namespace or "", qualified.localname)] = None
    if len(names) > _MAX_NAMES:
        raise BadInput(
            Sentence(
                f"Cererea numește peste {_MAX_NAMES} de proprietăți. Cere mai puține.",
                f"the request names more than {_MAX_NAMES} properties; ask for fewer",
            )
        )
    return tuple(names)


_NOT_PROPFIND = Sentence(
    "Corpul cererii nu este un PROPFIND valid. Trimite XML fără DOCTYPE sau un corp gol.",
    "the body is no valid PROPFIND; send XML without DOCTYPE, or nothing",
)

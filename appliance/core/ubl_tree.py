"""A UBL tree from which fields are taken one by one, and what is left when all are.

`core.ubl` knows which element is which field; here is how a text becomes a
date, a number or an identifier, and that nothing gets lost on the way.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from lxml import etree

from appliance.core.sentence import Sentence
from appliance.core.ubl_model import Extra, Identifier, Oddity

UBL = "urn:oasis:names:specification:ubl:schema:xsd:"

_PREFIXES = {
    f"{UBL}CommonAggregateComponents-2": "cac",
    f"{UBL}CommonBasicComponents-2": "cbc",
    f"{UBL}CommonExtensionComponents-2": "ext",
    "http://www.w3.org/2000/09/xmldsig#": "ds",
}

# 14 whole digits: in no currency does such an amount leave 64 bits of minor units.
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,14}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})")
# xsd:date may end in a zone; some senders write a whole dateTime.
_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:Z|[+-][0-9]{2}:[0-9]{2}|T[0-9:.,Z+-]*)?")

_EXTRA_LENGTH = 2000
_TELLING_ATTRIBUTES = ("schemeID", "currencyID", "unitCode", "filename", "mimeCode", "name")


class Reading:
    """What one document has left beside its fields."""

    def __init__(self) -> None:
        self.currency = ""
        self.nodes: list[Node] = []
        self.extras: list[Extra] = []
        self.oddities: list[Oddity] = []

    def odd(self, code: str, ro: str, en: str) -> None:
        self.oddities.append(Oddity(code, Sentence(ro, en)))

    def leave(self, element: etree._Element, path: str) -> None:
        """Keep every text below an element that no field took."""
        if path.rpartition("/")[2] in ("ext:UBLExtensions", "ds:Signature") and _is_signed(element):
            # Base64 that says nothing to a reader: that it is there is all.
            self.extras.append(Extra(path, "xmldsig"))
            return
        text = _text(element)
        if text:
            self.extras.append(Extra(path, _shortened(text)))
        for name in _TELLING_ATTRIBUTES:
            value = element.get(name)
            if value and value != self.currency:
                self.extras.append(Extra(f"{path}/@{name}", _shortened(value)))
        for child, name in _numbered(element):
            self.leave(child, f"{path}/{name}")

    def leave_the_rest(self) -> None:
        for node in self.nodes:
            for element, name in node.rest():
                self.leave(element, node.path_of(name))


class Node:
    """An aggregate whose children are taken one by one; an absent one is false and has none."""

    __slots__ = ("_children", "_path", "_reading")

    def __init__(self, element: etree._Element | None, path: str, reading: Reading) -> None:
        self._path = path
        self._reading = reading
        self._children: dict[str, list[etree._Element]] = {}
        if element is not None:
            for child in element:
                self._children.setdefault(str(child.tag), []).append(child)
            reading.nodes.append(self)

    def __bool__(self) -> bool:
        return bool(self._path)

    def path_of(self, name: str) -> str:
        return f"{self._path}/{name}" if self._path else name

    def rest(self) -> Iterator[tuple[etree._Element, str]]:
        for tag, elements in self._children.items():
            for element in elements:
                yield element, _prefixed(tag)

    def has(self, name: str) -> bool:
        return bool(self._children.get(_TAGS[name]))

    def take(self, name: str) -> etree._Element | None:
        """Take the first child of this name that says something, and the empty ones before it."""
        waiting = self._children.get(_TAGS[name])
        if not waiting:
            return None
        position = next((n for n, element in enumerate(waiting) if _text(element)), None)
        element = waiting[position or 0]
        del waiting[: len(waiting) if position is None else position + 1]
        self._leave_inside(element, name)
        return element

    def take_all(self, name: str) -> list[etree._Element]:
        """Take every child of this name that says something."""
        waiting = self._children.pop(_TAGS[name], [])
        for element in waiting:
            self._leave_inside(element, name)
        return [element for element in waiting if _text(element)]

    def text(self, name: str) -> str:
        """Take one line: a name or number that a sender broke over lines comes back on one."""
        element = self.take(name)
        return "" if element is None else _line(element)

    def texts(self, name: str) -> tuple[str, ...]:
        """Take every text of this name, its lines as they are."""
        return tuple(_text(element) for element in self.take_all(name))

    def implied(self, name: str, *expected: str) -> None:
        """Take a child that says only what is known anyway; another value stays an extra."""
        waiting = self._children.get(_TAGS[name])
        if waiting and _text(waiting[0]).upper() in expected:
            waiting.pop(0)

    def identifier(self, name: str) -> Identifier | None:
        element = self.take(name)
        if element is None or not _text(element):
            return None
        return Identifier(_line(element), element.get("schemeID", "").strip())

    def currency(self, name: str) -> str:
        """Return the currency of an amount that stays to be taken."""
        for element in self._children.get(_TAGS[name], ())[:1]:
            return element.get("currencyID", "").strip().upper()
        return ""

    def binary(self, name: str) -> tuple[bytes | None, str, str]:
        """Take an embedded file: its bytes, media type and file name."""
        element = self.take(name)
        if element is None:
            return None, "", ""
        mime, filename = element.get("mimeCode", "").strip(), element.get("filename", "").strip()
        try:
            content = base64.b64decode("".join(_text(element).split()), validate=True)
        except (binascii.Error, ValueError):
            self.put_back(name, _text(element))
            shown = filename[:60] or self.path_of(name)
            self._reading.odd(
                "attachment_unreadable",
                f"Fișierul atașat „{shown}” este stricat și nu poate fi deschis. "
                "Cere-l emitentului.",
                f'the attached file "{shown}" is damaged and cannot be opened; '
                "ask the sender for it",
            )
            return None, mime, filename
        return content or None, mime, filename

    def amount(self, name: str, currency: str | None = None) -> Decimal | None:
        element = self.take(name)
        if element is None:
            return None
        written = element.get("currencyID", "").strip()
        if written and written.upper() != (currency or self._reading.currency):
            self._reading.extras.append(Extra(f"{self.path_of(name)}/@currencyID", written))
            if currency is None:
                self._odd_currency(name, written)
        return self._decimal(element, name)

    def number(self, name: str) -> Decimal | None:
        element = self.take(name)
        return None if element is None else self._decimal(element, name)

    def quantity(self, name: str) -> tuple[Decimal | None, str]:
        element = self.take(name)
        if element is None:
            return None, ""
        return self._decimal(element, name), element.get("unitCode", "").strip()

    def date(self, name: str) -> date | None:
        text = self.text(name)
        if not text:
            return None
        written = _DATE.fullmatch(text)
        try:
            if written:
                return date.fromisoformat(written[1])
        except ValueError:
            pass
        self._unreadable("date_unreadable", name, text)
        return None

    def child(self, name: str) -> Node:
        """Take the first child of this name as an aggregate; absent, one without children."""
        waiting = self._children.get(_TAGS[name])
        if not waiting:
            return Node(None, "", self._reading)
        return Node(waiting.pop(0), self.path_of(name), self._reading)

    def children(self, name: str) -> list[Node]:
        """Take all children of this name, numbered in their paths where they are several."""
        waiting = self._children.pop(_TAGS[name], [])
        path = self.path_of(name)
        if len(waiting) == 1:
            return [Node(waiting[0], path, self._reading)]
        return [
            Node(element, f"{path}[{position}]", self._reading)
            for position, element in enumerate(waiting, start=1)
        ]

    def put_back(self, name: str, value: str) -> None:
        """Keep a value that was read and then not wanted."""
        self._reading.extras.append(Extra(self.path_of(name), _shortened(value)))

    def _leave_inside(self, element: etree._Element, name: str) -> None:
        """A text with elements inside: the text is the field, they are extras."""
        if len(element):
            for child, inner in _numbered(element):
                self._reading.leave(child, f"{self.path_of(name)}/{inner}")

    def _decimal(self, element: etree._Element, name: str) -> Decimal | None:
        text = _text(element)
        if not text:
            return None
        if _DECIMAL.fullmatch(text):
            return Decimal(text)
        self._unreadable("number_unreadable", name, text)
        return None

    def _unreadable(self, code: str, name: str, text: str) -> None:
        self.put_back(name, text)
        path, shown = self.path_of(name), text[:40]
        kinds = {"date_unreadable": ("o dată", "date"), "number_unreadable": ("un număr", "number")}
        self._reading.odd(
            code,
            f"Valoarea „{shown}” din {path} nu este {kinds[code][0]} și a fost lăsată deoparte. "
            "Verifică factura originală.",
            f'"{shown}" in {path} is not a {kinds[code][1]} and was left out; '
            "look at the original invoice",
        )

    def _odd_currency(self, name: str, written: str) -> None:
        if any(oddity.code == "currency_mismatch" for oddity in self._reading.oddities):
            return
        self._reading.odd(
            "currency_mismatch",
            f"Suma din {self.path_of(name)} este în {written}, iar factura este în "
            f"{self._reading.currency}. Verifică factura originală.",
            f"the amount in {self.path_of(name)} is in {written} and the invoice is in "
            f"{self._reading.currency}; look at the original invoice",
        )


class _Tags(dict[str, str]):
    """`cbc:ID` → `{urn:…}ID`, each written out once."""

    def __missing__(self, name: str) -> str:
        prefix, _, local = name.partition(":")
        tag = next(f"{{{uri}}}{local}" for uri, short in _PREFIXES.items() if short == prefix)
        self[name] = tag
        return tag


_TAGS = _Tags()


def _prefixed(tag: str) -> str:
    uri, _, local = tag.rpartition("}")
    prefix = _PREFIXES.get(uri[1:]) if uri else ""
    if prefix is None:
        return tag
    return f"{prefix}:{local}" if prefix else local


def _numbered(element: etree._Element) -> Iterator[tuple[etree._Element, str]]:
    """Yield the children with their names, `[n]` behind those of several."""
    counts = Counter(str(child.tag) for child in element)
    seen: Counter[str] = Counter()
    for child in element:
        tag = str(child.tag)
        seen[tag] += 1
        yield child, f"{_prefixed(tag)}[{seen[tag]}]" if counts[tag] > 1 else _prefixed(tag)


def _is_signed(element: etree._Element) -> bool:
    return next(element.iter(_TAGS["ds:Signature"]), None) is not None


def _text(element: etree._Element) -> str:
    return (element.text or "").strip()


def _shortened(text: str) -> str:
    if len(text) <= _EXTRA_LENGTH:
        return text
    return f"{text[:_EXTRA_LENGTH]}… ({len(text)})"


def _line(element: etree._Element) -> str:
    text = _text(element)
    return " ".join(text.split()) if "\n" in text or "\t" in text or "\r" in text else text

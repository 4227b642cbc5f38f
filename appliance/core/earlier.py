"""What earlier tools left: which files of a folder or zip belong together, by name alone.

ANAF's own names, those of our drive and those of the PyPI package anaf-sync (0.8) are known:

    4001234.zip                                  ANAF's zip as it was downloaded
    4001234.xml    semnatura_4001234.xml         the pair that is in it
    x.xml  x_semnatura.xml  x.zip  x.json  x.pdf the same beside one another, whatever x is

Only a zip and an XML document are something to import. A signature and the JSON that
anaf-sync writes travel with their document; PDFs, pictures and the rest are counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.core import spv

ABOUT_LIMIT = 256 * 1024
NAME_LIMIT = 200

_SIGNATURE = re.compile(r"semnatura_(?P<of>.+)|(?P<before>.+)[_-](?:semnatura|signature)")
# Made by systems and by ourselves; nobody misses them.
_NOISE = frozenset({"__macosx", ".git", "manifest.json"})


@dataclass(frozen=True)
class Part:
    """One thing to import: a zip, or an XML document with what lies beside it."""

    name: str
    signature: str | None = None
    about: str | None = None


@dataclass(frozen=True)
class Grouped:
    """What a list of names holds; zips come first, for they bring the most evidence."""

    parts: tuple[Part, ...]
    ignored: int


@dataclass(frozen=True)
class About:
    """What an earlier tool noted of a message; empty where it did not."""

    message_id: str = ""
    upload_id: str = ""
    cif: str = ""
    type: str = ""
    details: str = ""
    created_raw: str = ""

    @property
    def created_at(self) -> datetime | None:
        """Return the moment at which SPV had it, when that can be read."""
        return spv.read_created(self.created_raw)


def group(names: Iterable[str]) -> Grouped:
    """Tell documents from what belongs to them; `/` separates folders.

    A signature without its document is counted as ignored when a zip lies beside it
    (it holds the signature too), and is a part of its own when not, so that it is
    refused in words and not passed over.
    """
    # Looked up without regard to case; names that differ by case alone stay two.
    everything = [(name.casefold(), name) for name in names]
    known = dict(everything)
    zips, documents, alone, ignored = [], [], [], 0
    signed: dict[str, str] = {}
    for key, name in everything:
        of = _signed_by(key)
        if of is not None and f"{of}.xml" in known:
            signed[f"{of}.xml"] = name
    taken = set(signed.values())
    for key, name in everything:
        stem, about = key[:-4], known.get(f"{key[:-4]}.json")
        if _is_noise(key):
            continue
        if key.endswith(".zip"):
            zips.append(Part(name, about=about))
        elif not key.endswith(".xml"):
            # A JSON that goes with a document is used, not ignored.
            with_document = key.endswith(".json") and {
                f"{key[:-5]}{end}" for end in (".zip", ".xml")
            }
            ignored += not (with_document and with_document & known.keys())
        elif name in taken:
            continue
        elif (of := _signed_by(key)) is not None:
            if f"{of}.zip" in known:
                ignored += 1
            else:
                alone.append(Part(name))
        else:
            documents.append(Part(name, signed.get(key), known.get(f"{stem}.json")))
    # With a signature before without: of two equal invoices the first one is kept.
    documents.sort(key=lambda part: part.signature is None)
    return Grouped((*zips, *documents, *alone), ignored)


def read_about(data: bytes) -> About:
    """Return what the JSON beside a document says; nothing for JSON of another kind.

    Both anaf-sync's words (`message.request_id`) and ANAF's own (`id_solicitare`) are read.
    """
    try:
        value = json.loads(data[:ABOUT_LIMIT])
    except (ValueError, RecursionError):
        return About()
    entry = value.get("message", value) if isinstance(value, dict) else None
    if not isinstance(entry, dict):
        return About()

    def first(*keys: str) -> str:
        return next((text for key in keys if (text := _text(entry.get(key)))), "")

    return About(
        message_id=_digits(first("id", "message_id")),
        upload_id=_digits(first("request_id", "id_solicitare", "upload_id")),
        cif=first("cif"),
        type=first("message_type", "tip"),
        details=first("details", "detalii"),
        created_raw=first("created_at", "data_creare", "created_raw"),
    )


def upload_id_of(name: str) -> str:
    """Return the upload id that ANAF names the document of a zip by, or nothing."""
    base = re.split(r"[/\\]", name)[-1]
    found = re.fullmatch(r"(?:semnatura_)?([0-9]{5,20})\.xml", base, re.IGNORECASE)
    return found[1] if found else ""


def shown(name: str) -> str:
    """Return a file's name as people are shown it: printable, and not endless."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return clean if len(clean) <= NAME_LIMIT else f"…{clean[1 - NAME_LIMIT :]}"


def _signed_by(key: str) -> str | None:
    """Return the path, without `.xml`, of the document that a signature's name points at."""
    if not key.endswith(".xml"):
        return None
    folder, slash, base = key[:-4].rpartition("/")
    found = _SIGNATURE.fullmatch(base)
    return f"{folder}{slash}{found['of'] or found['before']}" if found else None


def _is_noise(key: str) -> bool:
    return any(part.startswith(".") or part in _NOISE for part in key.split("/"))


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value.strip()[:500] if isinstance(value, str) else ""


def _digits(text: str) -> str:
    return text if re.fullmatch(r"[0-9]{1,20}", text) else ""

"""The drive as a tree of names: what a path means, and what a move between two paths asks for.

A document never moves on disk; where it stands on the drive is a function of
its status, kind, period and name (design.md §3). This file holds that function
both ways, for the server, the export and the tests:

    /<client>/De aprobat/<name>/<file>
    /<client>/Aprobate/<name>/<file>
    /<client>/Respinse/<name>/<file>
    /<client>/{Emise,Primite,Altele}/<yyyy-mm>/<name>/<file>

Names are compared by `key()`: Windows does not tell cases apart, and a Mac
sends accents decomposed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from appliance.core.lifecycle import Action
from appliance.core.roles import CLIENT_ROLES, Kind, Role, Status
from appliance.core.sentence import Sentence


class Folder(StrEnum):
    """The folders of a client, by the names that people see."""

    TO_APPROVE = "De aprobat"
    APPROVED = "Aprobate"
    REJECTED = "Respinse"
    ISSUED = "Emise"
    RECEIVED = "Primite"
    OTHER = "Altele"


STATUS_FOLDERS: Mapping[Status, Folder] = {
    Status.PENDING: Folder.TO_APPROVE,
    Status.APPROVED: Folder.APPROVED,
    Status.REJECTED: Folder.REJECTED,
}
KIND_FOLDERS: Mapping[Kind, Folder] = {
    Kind.ISSUED: Folder.ISSUED,
    Kind.RECEIVED: Folder.RECEIVED,
    Kind.OTHER: Folder.OTHER,
}
STATUS_OF: Mapping[Folder, Status] = {folder: status for status, folder in STATUS_FOLDERS.items()}
KIND_OF: Mapping[Folder, Kind] = {folder: kind for kind, folder in KIND_FOLDERS.items()}

# Which step a move between two approval folders is; into a kind folder it is `record`.
STEPS: Mapping[tuple[Folder, Folder], Action] = {
    (Folder.TO_APPROVE, Folder.APPROVED): Action.APPROVE,
    (Folder.TO_APPROVE, Folder.REJECTED): Action.REJECT,
    (Folder.REJECTED, Folder.TO_APPROVE): Action.RECONSIDER,
    **{(Folder.APPROVED, folder): Action.RECORD for folder in KIND_OF},
}

REJECTED_BY_MOVE = "mutat pe disc"  # the reason that a rejection needs
ALIAS_LASTS = timedelta(minutes=10)

_FIRM_FOLDERS = (Folder.APPROVED, Folder.ISSUED, Folder.RECEIVED, Folder.OTHER)
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}", re.ASCII)
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)  # RFC 3986 §2.3
_MAX_PATH = 4096  # bytes as sent, three for each byte of a name
_MAX_SEGMENTS = 12
# Beside the category "other" (controls, formats such as right-to-left marks,
# surrogates, unassigned): what no name of ours ever holds.
_NEVER_IN_A_NAME = frozenset('\\/:*?"<>|')


@dataclass(frozen=True)
class Place:
    """What a path names; empty fields below the deepest one that is given.

    A document's folder directly below a kind folder has no month: it is where
    a move put it, and it resolves for `ALIAS_LASTS` only.
    """

    client: str = ""
    folder: Folder | None = None
    month: str = ""
    name: str = ""
    file: str = ""

    @property
    def is_document(self) -> bool:
        return bool(self.name) and not self.file

    @property
    def segments(self) -> tuple[str, ...]:
        """Return the path that `parse()` reads back to this place."""
        parts = (self.client, self.folder or "", self.month, self.name, self.file)
        return tuple(str(part) for part in parts if part)


@dataclass(frozen=True)
class Standing:
    """The facts of a document that decide where it stands."""

    status: Status
    kind: Kind
    period: str | None
    name: str
    alias_path: str | None = None  # below the client's folder
    alias_until: datetime | None = None


@dataclass(frozen=True)
class Move:
    """A move that is an action; whether this person may take it, `core.lifecycle` decides."""

    action: Action
    reason: str | None = None
    period: str | None = None  # None when recording: the default one
    alias_path: str | None = None  # the name stays here too for `ALIAS_LASTS`


@dataclass(frozen=True)
class Refusal:
    """A move that changes nothing; a conflict (409) could be one after a correction."""

    sentence: Sentence
    conflict: bool = False


def key(name: str) -> str:
    """Return what two spellings of one name have in common: composed, without case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def split(path: bytes) -> tuple[str, ...] | None:
    """Return the names of a path as it came over the wire, or None when it can name nothing.

    Each segment is percent-decoded once and composed (NFC). Doubled and
    closing slashes do not count. A path with `.` or `..`, bytes that are not
    UTF-8, control or direction characters or characters that Windows forbids
    names nothing, and so does one that is absurdly long.
    """
    if len(path) > _MAX_PATH or not path.startswith(b"/"):
        return None
    names = []
    for segment in path.split(b"/"):
        if not segment:
            continue
        try:
            name = unquote_to_bytes(segment).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if name in (".", "..") or not _may_be_a_name(name):
            return None
        names.append(unicodedata.normalize("NFC", name))
    return tuple(names) if len(names) <= _MAX_SEGMENTS else None


def join(segments: Iterable[str], *, collection: bool) -> str:
    """Return the one percent-encoded spelling of a path; a collection ends with a slash."""
    path = "".join("/" + encode(segment) for segment in segments)
    return path + "/" if collection else path


def encode(name: str) -> str:
    """Percent-encode one name, everywhere in the same way (and safe inside XML).

    All but the unreserved characters of RFC 3986 §2.3, as neon does: cadaver
    compares its own spelling with ours letter by letter.
    """
    return name if _UNRESERVED.fullmatch(name) else quote(name, safe="")


def parse(segments: Sequence[str]) -> Place | None:
    """Return the place that the names lead to, or None when the tree has no such level.

    Whether the client, the month or the document exists is not asked here.
    """
    if not segments:
        return Place()
    place = Place(client=segments[0])
    if len(segments) == 1:
        return place
    folder = _FOLDER_BY_KEY.get(key(segments[1]))
    if folder is None:
        return None
    place = replace(place, folder=folder)
    rest = list(segments[2:])
    if rest and folder in KIND_OF and is_month(rest[0]):
        place = replace(place, month=rest.pop(0))
    if len(rest) > 2:
        return None
    return replace(place, name=rest[0] if rest else "", file=rest[1] if len(rest) > 1 else "")


def is_month(text: str) -> bool:
    """Tell whether the text is written like the folder of a month: yyyy-mm.

    2026-13 is too: as a destination it is a wrong month, not another level of the tree.
    """
    return _MONTH.fullmatch(text) is not None


def folders_for(roles: frozenset[Role]) -> tuple[Folder, ...]:
    """Return the folders of a client that exist for a person with these roles there.

    People of the firm have no folder for what is not approved: to them it is
    absent, not forbidden.
    """
    if roles & CLIENT_ROLES:
        return tuple(Folder)
    return _FIRM_FOLDERS if roles else ()


def place_of(client: str, document: Standing) -> Place:
    """Return the one place where the document stands."""
    if document.status in STATUS_FOLDERS:
        return Place(client, STATUS_FOLDERS[document.status], name=document.name)
    return Place(client, KIND_FOLDERS[document.kind], document.period or "", document.name)


def stands_at(place: Place, document: Standing, at: datetime) -> bool:
    """Tell whether the document is found at the place now: where it stands, or under its alias."""
    real = place_of(place.client, document)
    if key(place.name) == key(document.name) and (real.folder, real.month) == (
        place.folder,
        place.month,
    ):
        return True
    if document.alias_path is None or document.alias_until is None or at >= document.alias_until:
        return False
    asked = replace(place, client="", file="")
    return key("/".join(asked.segments)) == key(document.alias_path)


def move_intent(source: Place, target: Place | None, *, name: str, kind: Kind) -> Move | Refusal:
    """Return the action that moving a document's folder from `source` to `target` is.

    `name` and `kind` are those of the document that stands at `source`; `None`
    as target is a path that the tree does not have. Nothing but a whole folder
    under its own name moves, and only along `STEPS` within its client.
    """
    if not source.is_document or source.folder is None:
        return Refusal(_ONLY_FOLDERS)
    if target is None or target.folder is None or not target.is_document:
        return Refusal(_NO_SUCH_PLACE)
    if key(target.client) != key(source.client):
        return Refusal(_OTHER_CLIENT)
    if key(target.name) != key(name):
        return Refusal(_NAME_STAYS)
    action = STEPS.get((source.folder, target.folder))
    if action is None or source.month:
        return Refusal(_NO_SUCH_PLACE)
    if action is not Action.RECORD:
        return Move(action, reason=REJECTED_BY_MOVE if action is Action.REJECT else None)
    if KIND_OF[target.folder] is not kind:
        return Refusal(_wrong_kind(KIND_FOLDERS[kind]), conflict=True)
    if target.month:
        return Move(action, period=target.month)
    return Move(action, alias_path=f"{target.folder}/{name}")


def is_litter(name: str) -> bool:
    """Tell whether systems ask for this name in every folder, though nobody ever put it there."""
    return name.startswith(("._", "~$", ".~lock.")) or key(name) in _LITTER


def _may_be_a_name(name: str) -> bool:
    return _UNRESERVED.fullmatch(name) is not None or not any(
        character in _NEVER_IN_A_NAME or unicodedata.category(character).startswith("C")
        for character in name
    )


def _wrong_kind(right: Folder) -> Sentence:
    return Sentence(
        f"Documentul nu este de acest fel. Mută-l în „{right}”.",
        f"the document is of another kind; move it to {right}",
    )


_FOLDER_BY_KEY = {key(folder): folder for folder in Folder}
_LITTER = frozenset(
    {
        "desktop.ini",
        "folder.jpg",
        "folder.gif",
        "autorun.inf",
        "thumbs.db",
        ".ds_store",
        ".hidden",
        ".spotlight-v100",
        ".trashes",
        ".fseventsd",
        ".metadata_never_index",
        ".metadata_never_index_unless_rootfs",
        ".temporaryitems",
        ".apdisk",
        ".directory",
        ".git",
        ".xdg-volume-info",
        ".trash",
    }
)
_ONLY_FOLDERS = Sentence(
    "Se mută numai dosarul întreg al unui document. Mută dosarul, nu fișierele din el.",
    "only the whole folder of a document moves; move the folder, not the files in it",
)
_NO_SUCH_PLACE = Sentence(
    "Documentul nu se poate muta acolo. Din „De aprobat” se mută în „Aprobate” sau „Respinse”, "
    "din „Aprobate” în „Emise”, „Primite” sau „Altele”.",
    "the document cannot be moved there; from De aprobat it goes to Aprobate or Respinse, "
    "from Aprobate to Emise, Primite or Altele",
)
_OTHER_CLIENT = Sentence(
    "Documentul nu se poate muta la alt client. Lasă-l în dosarul firmei sale.",
    "the document cannot be moved to another client; leave it in the folder of its company",
)
_NAME_STAYS = Sentence(
    "Dosarul unui document nu se redenumește. Mută-l sub numele pe care îl are.",
    "the folder of a document is not renamed; move it under the name that it has",
)

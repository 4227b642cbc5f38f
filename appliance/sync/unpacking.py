"""A zip that holds many things, opened into the spool, one item of the import for each.

What strangers packed is not trusted: names never become paths, sizes are counted
while reading and not taken from the directory, and a zip that would fill the
disk is refused before it is opened. Opened again after a crash it gives the same
items, and those that are there are left alone.
"""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO

from appliance.core import anaf_zip
from appliance.core.earlier import ABOUT_LIMIT, About, Grouped, Part, group, read_about
from appliance.core.errors import BadInput, ZipRefused
from appliance.core.sentence import Sentence
from appliance.store import imports
from appliance.store.imports import Item, NewItem, Run
from appliance.store.spool import UPLOAD_LIMIT, Spool

MAX_DEPTH = 3
MAX_MEMBERS = 200_000
MAX_DIRECTORY = 24 * 1024 * 1024
MAX_UNPACKED = 20 * 1024**3
RATIO = 100  # of everything unpacked to the zip; invoices reach 20
_FREE_RATIO = 64 * 1024 * 1024  # below this no ratio can hurt
_AT_ONCE = 200
_END_LIMIT = 65_535 + 22 + 76  # comment, end record, zip64 record and locator
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


def is_container(path: Path) -> bool:
    """Tell whether a zip is one of several things rather than one message of ANAF's.

    Raises `ZipRefused` for a file that cannot be opened as a zip at all.
    """
    with _opened(path) as archive:
        names = _names(archive)
    parts = group(names).parts
    if any(part.name.lower().endswith(".zip") for part in parts) or len(parts) > 2:
        return True
    if path.stat().st_size > anaf_zip.TOTAL_LIMIT:
        return bool(parts)
    if len(parts) < 2:
        return False
    # Two documents, or a document and a signature under a name that nobody knows.
    try:
        anaf_zip.read_zip(path.read_bytes())
    except ZipRefused:
        return True
    return False


async def unpack(item: Item, run: Run, spool: Spool) -> tuple[list[NewItem], int]:
    """Write what the zip of the item holds into the spool, and add it to the run.

    Returns the last items, which the caller adds in the transaction that settles
    this one, and how many files were ignored. Raises `ZipRefused` for a zip
    that is too deep, too full or too large, and `Busy` for a full disk.
    """
    if item.depth >= MAX_DEPTH:
        raise ZipRefused(_TOO_DEEP)
    grouped, sizes = await asyncio.to_thread(_directory, spool.path(item.uid))
    remaining = iter(grouped.parts)
    last: list[NewItem] = []
    while some := list(islice(remaining, _AT_ONCE)):
        if last:
            await imports.add(run, last, run.created_at)
        uids = {imports.inner_uid(item.uid, part.name): part for part in some}
        known = await imports.known_uids(list(uids))
        fresh = {uid: part for uid, part in uids.items() if uid not in known}
        last = await asyncio.to_thread(_write, item, fresh, sizes, spool)
    return last, grouped.ignored


def _directory(path: Path) -> tuple[Grouped, Mapping[str, int]]:
    with _opened(path) as archive:
        names = _names(archive)
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    if len(names) > MAX_MEMBERS:
        raise ZipRefused(_TOO_MANY)
    if len(set(names)) != len(names):
        raise ZipRefused(_TWICE)
    total = sum(sizes.values())
    if total > MAX_UNPACKED or (total > _FREE_RATIO and total > RATIO * path.stat().st_size):
        raise ZipRefused(_TOO_LARGE)
    return group(names), sizes


def _write(
    item: Item, parts: Mapping[str, Part], sizes: Mapping[str, int], spool: Spool
) -> list[NewItem]:
    made = []
    with _opened(spool.path(item.uid)) as archive:
        for uid, part in parts.items():
            name = f"{item.name}/{part.name}"
            try:
                about = _about(archive, part)
                signature = (
                    _read(archive, part.signature, anaf_zip.MEMBER_LIMIT)
                    if part.signature
                    else None
                )
                limit = UPLOAD_LIMIT if part.name.lower().endswith(".zip") else None
                limit = min(limit or anaf_zip.MEMBER_LIMIT, sizes[part.name])
                with archive.open(part.name) as member:
                    spool.put(uid, _Member(member), limit, signature)
            except BadInput:
                made.append(NewItem(uid, name, depth=item.depth + 1, problem=_MEMBER_TOO_LARGE))
            except _BROKEN:
                made.append(NewItem(uid, name, depth=item.depth + 1, problem=_MEMBER_BROKEN))
            else:
                made.append(
                    NewItem(uid, name, about=about, client_id=item.client_id, depth=item.depth + 1)
                )
    return made


def _about(archive: zipfile.ZipFile, part: Part) -> About:
    if part.about is not None:
        with suppress(*_BROKEN):
            return read_about(_read(archive, part.about, ABOUT_LIMIT))
    return About()


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise BadInput(_MEMBER_TOO_LARGE)
    return data


class _Member:
    """A member whose damage is told from that of the disk it is copied to."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def read(self, size: int) -> bytes:
        try:
            return self._member.read(size)
        except OSError as error:
            raise zipfile.BadZipFile(str(error)) from None


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [info.filename for info in archive.infolist() if not info.is_dir()]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        if _directory_size(path) > MAX_DIRECTORY:
            raise ZipRefused(_TOO_MANY)
        return zipfile.ZipFile(path)
    except _BROKEN:
        raise ZipRefused(_NOT_A_ZIP) from None


def _directory_size(path: Path) -> int:
    """Return how many bytes the directory takes, which zipfile reads whole into memory.

    APPNOTE 6.3.10: end of central directory §4.3.16, zip64 §4.3.14.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _END_LIMIT))
        end = file.read()
    place = end.rfind(b"PK\x05\x06")
    if place < 0 or len(end) < place + 22:
        raise ZipRefused(_NOT_A_ZIP)
    stated: int = struct.unpack_from("<I", end, place + 12)[0]
    wide = end.rfind(b"PK\x06\x06", 0, place)
    if wide >= 0 and len(end) >= wide + 48:
        stated = max(stated % 0xFFFFFFFF, struct.unpack_from("<Q", end, wide + 40)[0])
    return stated


_NOT_A_ZIP = Sentence(
    "Zipul este trunchiat sau deteriorat. Copiază-l din nou și repetă importul.",
    "the zip is truncated or damaged; copy it again and repeat the import",
)
_TOO_DEEP = Sentence(
    f"Zipul este în mai mult de {MAX_DEPTH} zipuri unul în altul. Dezarhivează-l și repetă "
    "importul.",
    f"the zip lies in more than {MAX_DEPTH} zips; unpack it and repeat the import",
)
_TOO_MANY = Sentence(
    f"Zipul are peste {MAX_MEMBERS} de fișiere. Împarte-l în mai multe.",
    f"the zip has more than {MAX_MEMBERS} files; split it",
)
_TWICE = Sentence(
    "Zipul conține două fișiere cu același nume. Dezarhivează-l și repetă importul.",
    "the zip holds two files of the same name; unpack it and repeat the import",
)
_TOO_LARGE = Sentence(
    "Zipul se dezarhivează la o mărime periculoasă și nu a fost deschis. Verifică-l.",
    "the zip would unpack to a dangerous size and was not opened; check it",
)
_MEMBER_TOO_LARGE = Sentence(
    "Fișierul din zip este mai mare decât orice factură. Verifică-l.",
    "the file in the zip is larger than any invoice; check it",
)
_MEMBER_BROKEN = Sentence(
    "Fișierul din zip este deteriorat sau protejat cu parolă. Dezarhivează-l și repetă importul.",
    "the file in the zip is damaged or encrypted; unpack it and repeat the import",
)

"""A file of the archive as it is at the moment it is opened.

Everything in a document's folder is written once and is what its row says. The
PDF alone is derived: it may be replaced (by rename) at any time, and its row
follows a moment later, or after a restart. What is sent is therefore told from
the open file, never from the row.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import UTC, datetime
from typing import BinaryIO

from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.dav.multistatus import Item
from appliance.dav.resources import Node, etag_of
from appliance.store.files import DERIVED

_CHUNK = 1024 * 1024
# Shorter files are read in the loop's own thread: a change of thread costs more.
_SMALL = 64 * 1024
_REMEMBERED = 4096

_digests: dict[tuple[int, ...], str] = {}


class Damaged(ArhivarError):
    """A file that is written once has not the length that it was written with."""


async def as_it_is(file: BinaryIO, node: Node) -> Item:
    """Return the node's item with length, ETag and date of exactly this open file.

    Raises `Damaged` for a file that can only have been cut or overwritten.
    """
    if node.file is None:
        raise ValueError("only a file has bytes")
    stat = os.fstat(file.fileno())
    if node.file.stored_name not in DERIVED:
        if stat.st_size != node.file.size:
            raise Damaged(_DAMAGED)
        return node.item
    digest = await _digest(file.fileno(), stat)
    if digest == node.file.sha256:
        return node.item
    modified = to_text(datetime.fromtimestamp(stat.st_mtime, UTC))
    return node.item._replace(size=stat.st_size, etag=etag_of(digest), modified=modified)


async def _digest(handle: int, stat: os.stat_result) -> str:
    # Replaced by rename, a file of these five is always the same bytes.
    key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key not in _digests:
        if stat.st_size <= _SMALL:
            digest = _read(handle)
        else:
            digest = await asyncio.to_thread(_read, handle)
        if len(_digests) >= _REMEMBERED:
            _digests.clear()
        _digests[key] = digest
    return _digests[key]


def _read(handle: int) -> str:
    digest, position = hashlib.sha256(), 0
    while chunk := os.pread(handle, _CHUNK, position):
        digest.update(chunk)
        position += len(chunk)
    return digest.hexdigest()


_DAMAGED = Sentence(
    "Fișierul din arhivă nu mai este întreg. Anunță administratorul.",
    "the file in the archive is no longer whole; tell the administrator",
)

"""The members of folders as they were last rendered, for as long as they are true.

A folder of documents is listed again and again by every client that has it
open, and changes seldom. Kept are the rendered members, each by the row that it
came from, and all of them joined. Whether they are still true is asked of the
database at every request: first whether anybody has committed anything since,
then whether this folder has changed. After a change the rows are read again,
and only the members whose rows are new are rendered again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from appliance.core import tree
from appliance.dav.multistatus import Item, Renderer
from appliance.store import drive

MOST_BYTES = 48 * 1024 * 1024
_AT_ONCE = 500  # members rendered before other requests get their turn
_EACH = 400  # bytes that a member takes beside its two renderings: the row and its place


class _Key(NamedTuple):
    """Everything that the rendered members depend on, beside the rows."""

    above: str
    sight: drive.Sight
    template: str


@dataclass
class _Kept:
    version: int  # of the database when the rest was last known to be true
    stamp: int
    notices: list[str]
    fragments: dict[str, bytes]
    body: bytes

    @property
    def size(self) -> int:
        return 2 * len(self.body) + _EACH * len(self.fragments)


class Listings:
    """What one process keeps, at most `most` bytes; the longest unused goes first."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self.size = 0

    def clear(self) -> None:
        """Forget everything; to be called when the store was opened anew."""
        self._kept.clear()
        self.size = 0

    async def members(self, above: str, sight: drive.Sight, renderer: Renderer) -> bytes:
        """Return the rendered members of the folder at the path `above`, as they are now."""
        key = _Key(above, sight, renderer.collection)
        kept = self._kept.get(key)
        # Each is asked before what it vouches for is read: a change meanwhile makes
        # the next request look again, and never a listing older than its stamp.
        version = drive.data_version()
        if kept is not None and kept.version == version:
            self._kept.move_to_end(key)
            return kept.body
        stamp, notices = drive.stamp(sight), drive.notices_in(sight)
        if kept is not None and (kept.stamp, kept.notices) == (stamp, notices):
            kept.version = version
            self._kept.move_to_end(key)
            return kept.body
        lines = drive.documents_in(sight) + notices
        known = {} if kept is None else kept.fragments
        found = [known.get(line) for line in lines]
        missing = [number for number, fragment in enumerate(found) if fragment is None]
        for count, number in enumerate(missing, start=1):
            found[number] = _render(above, lines[number], renderer)
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        fragments = [fragment for fragment in found if fragment is not None]
        body = b"".join(fragments)
        self._keep(
            key,
            _Kept(version, stamp, notices, dict(zip(lines, fragments, strict=True)), body),
        )
        return body

    def _keep(self, key: _Key, kept: _Kept) -> None:
        before = self._kept.pop(key, None)
        if before is not None:
            self.size -= before.size
        if kept.size > self._most:
            return
        self._kept[key] = kept
        self.size += kept.size
        while self.size > self._most:
            _, gone = self._kept.popitem(last=False)
            self.size -= gone.size


def _render(above: str, line: str, renderer: Renderer) -> bytes:
    name, changed_at, received_at = drive.entry_of(line)
    return renderer(Item(f"{above}{tree.encode(name)}/", name, received_at, changed_at)).encode()

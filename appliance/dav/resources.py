"""What stands at a path for one person: the only file here that asks the store for rows.

Nothing walks over files. A path is resolved from its names by one or two point
reads; what the person may not see is absent, in every form.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO

from appliance.core import tree
from appliance.core.roles import Status, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.core.tree import Folder, Place
from appliance.dav.multistatus import Item
from appliance.store import drive
from appliance.store.files import Archive

WINDOWS_MOST = 1_900  # members of less than 460 bytes and the note, in 1,000,000 bytes

_MIME = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,60}/[a-zA-Z0-9!#$&^_.+-]{1,80}")


@dataclass(frozen=True)
class Node:
    """One resource; `place` has the names as they are stored."""

    place: Place
    item: Item
    client: drive.ClientRow | None = None
    document: drive.DriveDocument | None = None
    notice: drive.DriveNotice | None = None
    file: drive.DriveFile | None = None
    text: bytes = b""  # of a file that is nobody's document


class Resources:
    """The tree as `viewer` sees it at one moment.

    Windows reads no more than 1,000,000 bytes of a folder and then shows none of
    it. With `windows` the folders before the archive hold the oldest 1,900
    documents and, when there are others, a note that says so.
    """

    def __init__(
        self, viewer: Viewer, archive: Archive, at: datetime, *, windows: bool = False
    ) -> None:
        self.viewer = viewer
        self.language = viewer.language
        self._archive = archive
        self._at = at
        self._oldest = WINDOWS_MOST if windows else None
        # Folders above the documents are made at the asking: a listing of now.
        self._now = to_text(at)

    def find(self, segments: Sequence[str] | None) -> Node | None:
        """Return what stands at the names, or None: absent and foreign are the same."""
        if segments is None or any(map(tree.is_litter, segments[-1:])):
            return None
        place = tree.parse(segments)
        if place is None:
            return None
        if not place.client:
            return Node(place, self._collection(place, self._now, self._now))
        client = drive.find_client(self.viewer, place.client)
        if client is None:
            return None
        place = replace(place, client=client.folder_name)
        if place.folder is None:
            return self._above(place, client)
        if place.folder not in tree.folders_for(self.viewer.roles_at(client.id)):
            return None
        if not place.name:
            if place.month and place.month not in self._months(client, place.folder):
                return None
            return self._above(place, client)
        node = self._document(place, client) or self._notice(place, client)
        if node is None:
            return self._note_at(place, client)
        return self._file(node, place.file) if place.file else self._with_newest(node)

    def sight(self, node: Node) -> drive.Sight | None:
        """Return what the person sees of a folder whose members are documents, None for others."""
        place, client = node.place, node.client
        if client is None or place.folder is None or place.name:
            return None
        if place.folder in tree.STATUS_OF:
            status = tree.STATUS_OF[place.folder]
            return drive.sight_of(self.viewer, client.id, status, oldest=self._oldest)
        if place.month:
            kind = tree.KIND_OF[place.folder]
            return drive.sight_of(self.viewer, client.id, Status.ARCHIVED, kind, place.month)
        return None

    def note(self, node: Node) -> Node | None:
        """Return the note in a folder that does not show everything, None in any other."""
        sight = self.sight(node)
        if node.client is None or sight is None or not drive.holds_more(sight):
            return None
        name = _NOTE_NAME.in_language(self.language)
        text = f"\ufeff{_NOTE.in_language(self.language)}\r\n".encode()
        place = replace(node.place, name=name)
        date = node.client.created_at
        item = Item(
            tree.join(place.segments, collection=False),
            name,
            date,
            date,
            collection=False,
            size=len(text),
            mime="text/plain; charset=utf-8",
            etag=etag_of(hashlib.sha256(text).hexdigest()),
        )
        return Node(place, item, node.client, text=text)

    def members(self, node: Node) -> Iterator[Item]:
        """Yield the members of a collection that has no `sight()`: there are never many."""
        place, client = node.place, node.client
        if node.document or node.notice:
            for file in self._files(node):
                yield self._file_item(replace(place, file=file.shown_name), file)
        elif client is None:
            for each in drive.clients_of(self.viewer):
                yield self._above(Place(each.folder_name), each).item
        elif place.folder is None:
            for folder in tree.folders_for(self.viewer.roles_at(client.id)):
                yield self._above(replace(place, folder=folder), client).item
        else:
            for month in self._months(client, place.folder):
                yield self._above(replace(place, month=month), client).item

    def open(self, node: Node) -> BinaryIO:
        """Open the bytes of a file; raises `NotFound` when the archive has lost them."""
        if node.text:
            note = os.fdopen(os.memfd_create("note"), "w+b")
            note.write(node.text)
            note.flush()
            return note
        entry = node.document or node.notice
        if entry is None or node.file is None:
            raise ValueError("only a file can be opened")
        return self._archive.open_file(
            entry.client_uid, entry.archive_month, entry.uid, node.file.stored_name
        )

    def _months(self, client: drive.ClientRow, folder: Folder) -> list[str]:
        return drive.periods_in(self.viewer, client.id, tree.KIND_OF[folder], self._at)

    def _above(self, place: Place, client: drive.ClientRow) -> Node:
        item = self._collection(place, client.created_at, self._now)
        return Node(place, item, client)

    def _note_at(self, place: Place, client: drive.ClientRow) -> Node | None:
        name = _NOTE_NAME.in_language(self.language)
        if place.file or tree.key(place.name) != tree.key(name):
            return None
        return self.note(self._above(replace(place, name=""), client))

    def _document(self, place: Place, client: drive.ClientRow) -> Node | None:
        found = drive.resolve(self.viewer, client.id, place.name)
        if found is None or not tree.stands_at(place, found.standing, self._at):
            return None
        place = replace(place, name=found.folder_name, file="")
        item = self._collection(place, found.received_at, found.changed_at)
        return Node(place, item, client, document=found)

    def _notice(self, place: Place, client: drive.ClientRow) -> Node | None:
        if place.folder is not Folder.OTHER or not place.month:
            return None
        found = drive.resolve_notice(self.viewer, client.id, place.month, place.name)
        if found is None:
            return None
        place = replace(place, name=found.folder_name, file="")
        item = self._collection(place, found.created_at, found.created_at)
        return Node(place, item, client, notice=found)

    def _files(self, node: Node) -> Sequence[drive.DriveFile]:
        if node.document:
            return drive.files_of(node.document)
        return drive.files_of_notice(node.notice) if node.notice else ()

    def _file(self, node: Node, name: str) -> Node | None:
        for file in self._files(node):
            if tree.key(file.shown_name) == tree.key(name):
                place = replace(node.place, file=file.shown_name)
                return replace(node, place=place, item=self._file_item(place, file), file=file)
        return None

    def _with_newest(self, node: Node) -> Node:
        """Date the folder by its newest file: a Mac lists it again only when its date moves.

        The PDF arrives after the document and is replaced without a change of it.
        """
        newest = max((file.created_at for file in self._files(node)), default="")
        item = node.item
        return replace(node, item=item._replace(modified=max(item.modified, newest)))

    @staticmethod
    def _collection(place: Place, created: str, modified: str) -> Item:
        segments = place.segments
        href = tree.join(segments, collection=True)
        return Item(href, segments[-1] if segments else "Arhivar", created, modified)

    @staticmethod
    def _file_item(place: Place, file: drive.DriveFile) -> Item:
        return Item(
            tree.join(place.segments, collection=False),
            file.shown_name,
            file.created_at,
            file.created_at,
            collection=False,
            size=file.size,
            # A type that a stranger wrote must not end a header.
            mime=file.mime if _MIME.fullmatch(file.mime) else "application/octet-stream",
            etag=etag_of(file.sha256),
        )


def etag_of(sha256: str) -> str:
    """Return the strong ETag of the bytes with this digest, in its quotes."""
    return f'"{sha256[:32]}"'


_NOTE_NAME = Sentence("Mai sunt documente.txt", "There are more documents.txt")
_NOTE = Sentence(
    "Windows nu poate deschide dosare mai mari, așa că aici sunt cele mai vechi 1.900 de "
    "documente. Celelalte apar pe măsură ce le muți pe acestea, iar în portal le vezi pe toate.",
    "Windows cannot open larger folders, so these are the oldest 1,900 documents; "
    "the others appear as you move these, and the portal shows all of them",
)

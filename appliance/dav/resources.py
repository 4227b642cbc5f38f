"""What stands at a path for one person: the only file here that asks the store for rows.

Nothing walks over files. A path is resolved from its names by one or two point
reads; what the person may not see is absent, in every form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import BinaryIO

from appliance.core import tree
from appliance.core.roles import Viewer
from appliance.core.times import to_text
from appliance.core.tree import Folder, Place
from appliance.dav.multistatus import Item
from appliance.store import drive
from appliance.store.files import Archive

_MIME = re.compile(r"[a-zA-Z0-9!#$&^_.+-]{1,60}/[a-zA-Z0-9!#$&^_.+-]{1,80}")


@dataclass(frozen=True)
class Node:
    """One resource; `place` has the names as they are stored."""

    place: Place
    item: Item
    client: drive.ClientFolder | None = None
    document: drive.DocumentEntry | None = None
    notice: drive.NoticeEntry | None = None
    file: drive.FileEntry | None = None

    @property
    def uid(self) -> str:
        entry = self.document or self.notice
        return entry.uid if entry else ""


class Resources:
    """The tree as `viewer` sees it at one moment."""

    def __init__(self, viewer: Viewer, archive: Archive, at: datetime) -> None:
        self.viewer = viewer
        self.language = viewer.language
        self._archive = archive
        self._at = at
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
        client = next(
            (
                client
                for client in drive.clients_of(self.viewer)
                if tree.key(client.folder_name) == tree.key(place.client)
            ),
            None,
        )
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
        return self._file(node, place.file) if node and place.file else node

    def members(self, node: Node) -> Iterator[Item]:
        """Yield the members of a collection."""
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
        elif place.folder in tree.STATUS_OF:
            yield from self._documents(place, client)
        elif place.month:
            yield from self._documents(place, client)
            if place.folder is Folder.OTHER:
                for notice in drive.notices_in(self.viewer, client.id, place.month):
                    inner = replace(place, name=notice.folder_name)
                    yield self._collection(inner, notice.created_at, notice.created_at)
        else:
            for month in self._months(client, place.folder):
                yield self._above(replace(place, month=month), client).item

    def open(self, node: Node) -> BinaryIO:
        """Open the bytes of a file; raises `NotFound` when the archive has lost them."""
        entry = node.document or node.notice
        if entry is None or node.client is None or node.file is None:
            raise ValueError("only a file can be opened")
        return self._archive.open_file(
            node.client.uid, entry.archive_month, entry.uid, node.file.stored_name
        )

    def _months(self, client: drive.ClientFolder, folder: Folder) -> list[str]:
        return drive.months_of(self.viewer, client.id, tree.KIND_OF[folder], self._at)

    def _above(self, place: Place, client: drive.ClientFolder) -> Node:
        item = self._collection(place, client.created_at, self._now)
        return Node(place, item, client)

    def _documents(self, place: Place, client: drive.ClientFolder) -> Iterator[Item]:
        assert place.folder is not None
        if place.folder in tree.STATUS_OF:
            rows = drive.documents_in(self.viewer, client.id, tree.STATUS_OF[place.folder])
        else:
            rows = drive.filed_in(self.viewer, client.id, tree.KIND_OF[place.folder], place.month)
        above = tree.join(place.segments, collection=True)
        for name, received_at, changed_at in rows:
            yield Item(f"{above}{tree.encode(name)}/", name, received_at, changed_at)

    def _document(self, place: Place, client: drive.ClientFolder) -> Node | None:
        entry = drive.document_at(self.viewer, client.id, tree.key(place.name))
        if entry is None or not tree.stands_at(place, entry.standing, self._at):
            return None
        place = replace(place, name=entry.standing.name, file="")
        item = self._collection(place, entry.received_at, entry.changed_at)
        return Node(place, item, client, document=entry)

    def _notice(self, place: Place, client: drive.ClientFolder) -> Node | None:
        if place.folder is not Folder.OTHER or not place.month:
            return None
        entry = drive.notice_at(self.viewer, client.id, place.month, tree.key(place.name))
        if entry is None:
            return None
        place = replace(place, name=entry.folder_name, file="")
        item = self._collection(place, entry.created_at, entry.created_at)
        return Node(place, item, client, notice=entry)

    def _files(self, node: Node) -> Sequence[drive.FileEntry]:
        if node.document:
            return drive.files_of(node.document.uid)
        return drive.notice_files_of(node.uid)

    def _file(self, node: Node, name: str) -> Node | None:
        for file in self._files(node):
            if tree.key(file.shown_name) == tree.key(name):
                place = replace(node.place, file=file.shown_name)
                return replace(node, place=place, item=self._file_item(place, file), file=file)
        return None

    @staticmethod
    def _collection(place: Place, created: str, modified: str) -> Item:
        segments = place.segments
        href = tree.join(segments, collection=True)
        return Item(href, segments[-1] if segments else "Arhivar", created, modified)

    @staticmethod
    def _file_item(place: Place, file: drive.FileEntry) -> Item:
        return Item(
            tree.join(place.segments, collection=False),
            file.shown_name,
            file.created_at,
            file.created_at,
            collection=False,
            size=file.size,
            # A type that a stranger wrote must not end a header.
            mime=file.mime if _MIME.fullmatch(file.mime) else "application/octet-stream",
            etag=f'"{file.sha256[:32]}"',
        )

"""What the drive shows, read straight from rows.

Every function is synchronous: a point read is shorter than a change of thread,
and a list of thousands is one query whose rows become tuples. Moments stay
text (core/times.py). Nothing is returned that the person may not see.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from appliance.core import tree
from appliance.core.roles import DocumentFacts, Kind, Role, Status, Viewer
from appliance.core.times import from_text
from appliance.store import periods
from appliance.store.clients import CLIENT_QUERY, ClientRow, client_of, visible_clients
from appliance.store.engine import ENGINE, Row, data_version, fetch_now
from appliance.store.scope import notices_seen, scoped_at

__all__ = [
    "ClientRow",
    "DriveDocument",
    "DriveEntry",
    "DriveFile",
    "DriveNotice",
    "Sight",
    "clients_of",
    "data_version",
    "documents_in",
    "entry_of",
    "files_of",
    "files_of_notice",
    "find_client",
    "holds_more",
    "notices_in",
    "periods_in",
    "resolve",
    "resolve_notice",
    "sight_of",
    "stamp",
]

_FIRST_RECEIVED = "ORDER BY received_at, id"
_MOMENT = len("2026-11-24T19:30:00.000000Z")  # every moment of the store (core/times.py)


class DriveEntry(NamedTuple):
    """A member of a folder: the folder of one document or notice."""

    folder_name: str
    changed_at: str
    received_at: str


@dataclass(frozen=True)
class Sight:
    """A folder that holds documents, and what somebody sees of it: two who see the same are equal.

    `documents` and `notices` are the conditions of `store.scope` with their values;
    without notices the folder has none. `oldest` of the documents are seen, None: all.
    """

    client_id: int
    status: Status
    kind: Kind | None
    period: str | None
    documents: tuple[str, tuple[Any, ...]]
    notices: tuple[str, tuple[Any, ...]] | None
    oldest: int | None = None


class DriveFile(NamedTuple):
    """A file in the folder of a document or notice, and where its bytes are in the archive."""

    shown_name: str
    stored_name: str
    role: str
    mime: str
    size: int
    sha256: str
    created_at: str


@dataclass(frozen=True)
class DriveDocument:
    """A document that a path names, with what a move and a download need."""

    id: int
    uid: str
    client_id: int
    client_uid: str
    kind: Kind
    status: Status
    revision: int
    folder_name: str
    archive_month: str
    period: str | None
    received_at: str
    changed_at: str
    alias_path: str | None
    alias_until: datetime | None
    facts: DocumentFacts

    @property
    def standing(self) -> tree.Standing:
        """Return what decides where on the drive it stands."""
        return tree.Standing(
            status=self.status,
            kind=self.kind,
            period=self.period,
            name=self.folder_name,
            alias_path=self.alias_path,
            alias_until=self.alias_until,
        )


@dataclass(frozen=True)
class DriveNotice:
    """A notice that a path names."""

    id: int
    uid: str
    client_id: int
    client_uid: str
    folder_name: str
    archive_month: str
    period: str
    created_at: str


def clients_of(viewer: Viewer) -> list[ClientRow]:
    """Return the clients that exist for this person, by name."""
    if viewer.firm_role is Role.ADMIN:
        rows = fetch_now(f"{CLIENT_QUERY} ORDER BY client.folder_key")
    else:
        rows = fetch_now(
            f"{CLIENT_QUERY} WHERE client.id IN (SELECT value FROM json_each(?)) "
            "ORDER BY client.folder_key",
            [json.dumps(visible_clients(viewer))],
        )
    return [client_of(row) for row in rows]


def find_client(viewer: Viewer, name: str) -> ClientRow | None:
    """Return the client whose folder bears this name in any case, if it is the person's."""
    rows = fetch_now(f"{CLIENT_QUERY} WHERE client.folder_key = ?", [tree.key(name)])
    if not rows or not viewer.roles_at(rows[0]["id"]):
        return None
    return client_of(rows[0])


def sight_of(
    viewer: Viewer,
    client_id: int,
    status: Status,
    kind: Kind | None = None,
    period: str | None = None,
    *,
    oldest: int | None = None,
) -> Sight:
    """Return what this person sees of a folder, on request only the oldest documents of it.

    For `archived` give kind and period; the other three folders hold all kinds.
    Notices are filed under Altele.
    """
    documents, notices = scoped_at(viewer, client_id), None
    if (status, kind) == (Status.ARCHIVED, Kind.OTHER) and viewer.roles_at(client_id):
        seen = notices_seen(viewer)
        notices = seen.sql, tuple(seen.values)
    seen_of = documents.sql, tuple(documents.values)
    return Sight(client_id, status, kind, period, seen_of, notices, oldest)


def documents_in(sight: Sight) -> list[str]:
    """Return the documents that stand in a folder, in no order that counts.

    Each is one text, which `entry_of()` reads: a list of thousands is asked for
    again after every change in it, and most of it is not read then.
    """
    folder, values = _folder_of(sight)
    condition, more = sight.documents
    index, end, values = "document_folder", "", [*values, *more]
    if sight.oldest is not None:
        index, end = "document_oldest", f"{_FIRST_RECEIVED} LIMIT ?"
        values.append(sight.oldest)
    rows = ENGINE.run_now_tuples(
        "SELECT changed_at || received_at || folder_name FROM document "
        f"INDEXED BY {index} WHERE {folder} AND ({condition}) {end}",
        values,
    )
    return [line for (line,) in rows]


def holds_more(sight: Sight) -> bool:
    """Tell whether the folder has documents for this person beyond its `oldest`."""
    if sight.oldest is None:
        return False
    folder, values = _folder_of(sight)
    condition, more = sight.documents
    rows = ENGINE.run_now_tuples(
        f"SELECT 1 FROM document INDEXED BY document_oldest WHERE {folder} AND ({condition}) "
        f"{_FIRST_RECEIVED} LIMIT 1 OFFSET ?",
        [*values, *more, sight.oldest],
    )
    return bool(rows)


def notices_in(sight: Sight) -> list[str]:
    """Return the notices that stand in a folder, in the form of `documents_in()`."""
    if sight.notices is None:
        return []
    condition, values = sight.notices
    rows = ENGINE.run_now_tuples(
        "SELECT created_at || created_at || folder_name FROM notice "
        f"WHERE client = ? AND period = ? AND {condition}",
        [sight.client_id, sight.period, *values],
    )
    return [line for (line,) in rows]


def entry_of(line: str) -> DriveEntry:
    """Read what `documents_in()` and `notices_in()` return."""
    return DriveEntry(line[2 * _MOMENT :], line[:_MOMENT], line[_MOMENT : 2 * _MOMENT])


def periods_in(viewer: Viewer, client_id: int, kind: Kind, at: datetime) -> list[str]:
    """Return the months below Emise, Primite or Altele, the earliest first.

    Months that hold something the person may see, and open months also when empty.
    """
    if not viewer.roles_at(client_id):
        return []
    condition = scoped_at(viewer, client_id)
    if condition.sql == "1" or client_id not in viewer.memberships:
        # Everything archived is theirs to see.
        rows = fetch_now(
            "SELECT period FROM folder WHERE client = ? AND status = 'archived' AND kind = ? "
            "AND documents > 0",
            [client_id, kind.value],
        )
    else:
        rows = fetch_now(
            "SELECT DISTINCT period FROM document INDEXED BY document_folder "
            f"WHERE client = ? AND status = 'archived' AND kind = ? AND ({condition.sql})",
            [client_id, kind.value, *condition.values],
        )
    found = {row["period"] for row in rows if row["period"]}
    if kind is Kind.OTHER:
        seen = notices_seen(viewer)
        notices = fetch_now(
            f"SELECT DISTINCT period FROM notice WHERE client = ? AND {seen.sql}",
            [client_id, *seen.values],
        )
        found |= {row["period"] for row in notices}
    closed = fetch_now("SELECT MAX(period) AS p FROM closed_period WHERE client = ?", [client_id])
    return sorted(found | set(periods.open_after(closed[0]["p"], at)))


def resolve(viewer: Viewer, client_id: int, name: str) -> DriveDocument | None:
    """Return the client's document whose folder bears this name in any case.

    Where it stands is not asked here: `core.tree.stands_at()` compares the
    path with its `standing`.
    """
    condition = scoped_at(viewer, client_id)
    rows = fetch_now(
        "SELECT document.id, document.uid, document.client, client.uid AS client_uid, "
        "document.kind, document.status, document.revision, document.folder_name, "
        "document.archive_month, document.period, document.received_at, document.changed_at, "
        "document.alias_path, document.alias_until, document.partner_cif, document.uploader, "
        "document.ron_minor, document.taken_at FROM document "
        "JOIN client ON client.id = document.client "
        f"WHERE document.client = ? AND document.folder_key = ? AND ({condition.sql})",
        [client_id, tree.key(name), *condition.values],
    )
    return _document(rows[0]) if rows else None


def resolve_notice(viewer: Viewer, client_id: int, period: str, name: str) -> DriveNotice | None:
    """Return the notice that is filed in this month under this name in any case."""
    if not viewer.roles_at(client_id):
        return None
    seen = notices_seen(viewer)
    rows = fetch_now(
        "SELECT notice.id, notice.uid, notice.client, client.uid AS client_uid, "
        "notice.folder_name, notice.archive_month, notice.period, notice.created_at FROM notice "
        "JOIN client ON client.id = notice.client "
        f"WHERE notice.client = ? AND notice.folder_key = ? AND notice.period = ? AND {seen.sql}",
        [client_id, tree.key(name), period, *seen.values],
    )
    if not rows:
        return None
    row = rows[0]
    return DriveNotice(
        id=row["id"],
        uid=row["uid"],
        client_id=row["client"],
        client_uid=row["client_uid"],
        folder_name=row["folder_name"],
        archive_month=row["archive_month"],
        period=row["period"],
        created_at=row["created_at"],
    )


def files_of(document: DriveDocument) -> list[DriveFile]:
    """Return the files that the document's folder shows."""
    return _files("document", document.id)


def files_of_notice(notice: DriveNotice) -> list[DriveFile]:
    """Return the files that the notice's folder shows."""
    return _files("notice", notice.id)


def stamp(sight: Sight) -> int:
    """Return a number that rises with every change of a document in the folder.

    Two equal stamps mean that `documents_in()` gives what it gave before. It
    tells nothing of notices, whose sight hangs on documents elsewhere, nor of
    files that were added to a document.
    """
    folder, values = _folder_of(sight)
    rows = ENGINE.run_now_tuples(f"SELECT SUM(version) FROM folder WHERE {folder}", values)
    return rows[0][0] or 0


def _folder_of(sight: Sight) -> tuple[str, list[Any]]:
    """Return the terms that `document` and `folder` have in common."""
    terms = ["client = ?", "status = ?"]
    values: list[Any] = [sight.client_id, sight.status.value]
    if sight.kind is not None:
        terms.append("kind = ?")
        values.append(sight.kind.value)
    if sight.period is not None:
        terms.append("period = ?")
        values.append(sight.period)
    return " AND ".join(terms), values


def _files(owner: str, owner_id: int) -> list[DriveFile]:
    rows = ENGINE.run_now_tuples(
        f"SELECT shown_name, stored_name, role, mime, size, sha256, created_at FROM {owner}_file "
        f"WHERE {owner} = ? AND shown_name IS NOT NULL ORDER BY id",
        [owner_id],
    )
    return list(map(DriveFile._make, rows))


def _document(row: Row) -> DriveDocument:
    kind, status = Kind(row["kind"]), Status(row["status"])
    return DriveDocument(
        id=row["id"],
        uid=row["uid"],
        client_id=row["client"],
        client_uid=row["client_uid"],
        kind=kind,
        status=status,
        revision=row["revision"],
        folder_name=row["folder_name"],
        archive_month=row["archive_month"],
        period=row["period"],
        received_at=row["received_at"],
        changed_at=row["changed_at"],
        alias_path=row["alias_path"],
        alias_until=from_text(row["alias_until"]) if row["alias_until"] else None,
        facts=DocumentFacts(
            client_id=row["client"],
            status=status,
            kind=kind,
            partner_cif=row["partner_cif"],
            uploader_id=row["uploader"],
            ron_minor=row["ron_minor"],
            taken=row["taken_at"] is not None,
        ),
    )

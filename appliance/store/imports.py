"""Imports: what was handed in, as what, and what became of each file.

A run is one folder or file that a person handed in; an item is one zip or
document of it, and its uid is that of the document or notice it becomes. Only
sync settles items. Handing the same things in again makes a new run whose
items end as duplicates: nothing is ever stored twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from appliance.core.earlier import About, shown
from appliance.core.errors import NotAllowed, NotFound
from appliance.core.lifecycle import IMPORTS, import_choices
from appliance.core.roles import FIRM_ROLES, Role, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import audit, jobs
from appliance.store.accounts import SYSTEM
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.ids import UID_LENGTH, new_uid
from appliance.store.records import facts_of

# Behind everything that ANAF may take away again.
PRIORITY = -10
ABANDONED = timedelta(days=1)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_LENGTH = 10  # of a uid: its moment
_NO_ABOUT = About()
_LOOKED_AT = 5000  # of a run's results


class ItemState(StrEnum):
    """What became of one file."""

    QUEUED = "queued"
    OPENED = "opened"  # a zip of several things: they are items of their own
    ARCHIVED = "archived"
    NOTICE = "notice"
    DUPLICATE = "duplicate"  # `same_as` says of what
    REFUSED = "refused"  # `problem` says why; nothing of it was kept


@dataclass(frozen=True)
class Run:
    """One import."""

    id: int
    uid: str
    client_id: int | None  # None: each file's own CIF says whose it is
    account_id: int | None  # None: the command line
    source: str
    status: Status
    ignored: int
    created_at: datetime
    handed_in_at: datetime | None
    finished_at: datetime | None
    counts: Mapping[ItemState, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Return how many items have an end, zips that were opened not counted."""
        return sum(
            number
            for state, number in self.counts.items()
            if state not in (ItemState.QUEUED, ItemState.OPENED)
        )

    @property
    def waiting(self) -> int:
        """Return how many items are still to be filed."""
        return self.counts.get(ItemState.QUEUED, 0)


@dataclass(frozen=True)
class Item:
    """One file of an import."""

    id: int
    uid: str
    run_id: int
    client_id: int | None
    name: str
    about: About
    depth: int  # in how many zips it lay
    state: ItemState
    upload_id: str
    same_as: str | None
    problem: Sentence | None


@dataclass(frozen=True)
class NewItem:
    """What `add()` writes; the file lies in the spool before."""

    uid: str
    name: str
    sha256: str = ""
    about: About = _NO_ABOUT
    depth: int = 0
    client_id: int | None = None
    problem: Sentence | None = None  # it could not even be read: refused at once


@dataclass(frozen=True)
class Origin:
    """Where an imported document came from: the run's source and the file's name in it."""

    source: str
    name: str
    upload_id: str


async def begin(
    source: str,
    status: Status,
    at: datetime,
    *,
    client_id: int | None = None,
    by: Viewer | None = None,
) -> Run:
    """Open a run, with an audit record of who imports as what.

    Without a person it is the command line, which may do everything. A person
    needs a role at the client that may choose this status (`core.lifecycle`):
    `NotAllowed` else, with the choices that they have.
    """
    if by is not None:
        if client_id is None:
            raise ValueError("a person imports for one client")
        require(status, by, client_id)
    uid = new_uid(at)
    async with joined():
        made = await execute(
            "INSERT INTO import_run (uid, client, account, source, status, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
            [uid, client_id, by.user_id if by else None, shown(source), status.value, to_text(at)],
        )
        await audit.append(
            "import:begin", by.user_uid if by else SYSTEM, await _client_uid(client_id), uid,
            {"status": status.value}, at=at,
        )  # fmt: skip
    return _run(made[0])


def require(status: Status, viewer: Viewer, client_id: int) -> None:
    """Raise `NotAllowed` unless the person may import as this, before anything is sent."""
    if status not in import_choices(viewer, client_id):
        raise _not_allowed(status)


async def add(run: Run, items: Sequence[NewItem], at: datetime) -> None:
    """Add items, each with its job; one that is there already stays as it is."""
    async with joined():
        fresh = []
        for item in items:
            client_id = item.client_id if item.client_id is not None else run.client_id
            made = await execute(
                "INSERT INTO import_item (uid, run, client, name, sha256, about, depth, state, "
                "problem, settled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (uid) DO NOTHING RETURNING uid",
                [
                    item.uid,
                    run.id,
                    client_id,
                    shown(item.name),
                    item.sha256,
                    json.dumps(vars(item.about), ensure_ascii=False),
                    item.depth,
                    ItemState.REFUSED if item.problem else ItemState.QUEUED,
                    item.problem.to_json() if item.problem else None,
                    to_text(at) if item.problem else None,
                ],
            )
            if made and not item.problem:
                fresh.append((client_id, item.uid))
        for client_id in dict.fromkeys(client for client, _ in fresh):
            uids = [uid for client, uid in fresh if client == client_id]
            await jobs.insert_many("import", uids, at, client_id=client_id, priority=PRIORITY)


async def handed_in(run: Run, at: datetime, *, ignored: int = 0) -> None:
    """Note that nothing more is coming; a run with nothing left to file ends with it."""
    async with joined():
        await execute(
            "UPDATE import_run SET handed_in_at = COALESCE(handed_in_at, ?), "
            "ignored = ignored + ? WHERE id = ?",
            [to_text(at), ignored, run.id],
        )
        await _finish(run.id, at)


async def end_abandoned(at: datetime) -> int:
    """End the runs of a day ago whose hand-in was killed; return how many.

    What they handed in is filed all the same, and the import may be repeated.
    """
    async with joined():
        abandoned = await execute(
            "UPDATE import_run SET handed_in_at = ? WHERE handed_in_at IS NULL "
            "AND finished_at IS NULL AND created_at < ? RETURNING id",
            [to_text(at), to_text(at - ABANDONED)],
        )
        for row in abandoned:
            await _finish(row["id"], at)
    return len(abandoned)


async def ignore(run_id: int, number: int) -> None:
    """Count files of an opened zip that no invoice is in."""
    async with joined():
        await execute("UPDATE import_run SET ignored = ignored + ? WHERE id = ?", [number, run_id])


async def get(uid: str) -> tuple[Item, Run]:
    """Return the item with its run; `NotFound` when there is none."""
    rows = await fetch("SELECT * FROM import_item WHERE uid = ?", [uid])
    if not rows:
        raise _nothing()
    return _item(rows[0]), await by_id(rows[0]["run"])


async def by_id(run_id: int) -> Run:
    """Return the run with its counts."""
    rows = await fetch("SELECT * FROM import_run WHERE id = ?", [run_id])
    if not rows:
        raise _nothing()
    return (await _counted(rows))[0]


async def claim(item: Item, client_id: int, key: str, upload_id: str) -> str | None:
    """Say that this item files the invoice `key`; None, or the uid of the item that does already.

    At most one item of a client ever has a key, also of two workers that ask at
    once. An item that asks again has it.
    """
    async with joined():
        holder = await fetch(
            "SELECT uid FROM import_item WHERE client = ? AND claim = ? AND id <> ?",
            [client_id, key, item.id],
        )
        if holder:
            return str(holder[0]["uid"])
        await execute(
            "UPDATE import_item SET client = ?, claim = ?, upload_id = ? WHERE id = ?",
            [client_id, key, upload_id or None, item.id],
        )
    return None


async def settle(
    item: Item,
    state: ItemState,
    at: datetime,
    *,
    client_id: int | None = None,
    same_as: str | None = None,
    problem: Sentence | None = None,
) -> None:
    """Note what became of an item; the first end stays. The last one ends its run."""
    async with joined():
        await execute(
            "UPDATE import_item SET state = ?, client = COALESCE(client, ?), same_as = ?, "
            "problem = ?, claim = CASE WHEN ? THEN claim END, settled_at = ? "
            "WHERE id = ? AND state = 'queued'",
            [
                state.value,
                client_id,
                same_as,
                problem.to_json() if problem else None,
                state in (ItemState.ARCHIVED, ItemState.NOTICE),
                to_text(at),
                item.id,
            ],
        )
        await _finish(item.run_id, at)


async def known_uids(uids: Sequence[str]) -> frozenset[str]:
    """Return which of these items exist."""
    rows = await fetch(
        "SELECT uid FROM import_item WHERE uid IN (SELECT value FROM json_each(?))",
        [json.dumps(list(uids))],
    )
    return frozenset(row["uid"] for row in rows)


async def queued_among(uids: Sequence[str]) -> frozenset[str]:
    """Return which of these items are still to be filed."""
    rows = await fetch(
        "SELECT uid FROM import_item WHERE state = 'queued' "
        "AND uid IN (SELECT value FROM json_each(?))",
        [json.dumps(list(uids))],
    )
    return frozenset(row["uid"] for row in rows)


def inner_uid(uid: str, what: str) -> str:
    """Return the uid of something inside an item: the same one each time it is opened."""
    digest = int.from_bytes(hashlib.sha256(f"{uid}/{what}".encode(errors="replace")).digest())
    tail = "".join(
        _ALPHABET[digest >> shift & 31] for shift in range(0, 5 * (UID_LENGTH - _TIME_LENGTH), 5)
    )
    return uid[:_TIME_LENGTH] + tail


# For people


async def origin(document_uid: str) -> Origin | None:
    """Return where a document was imported from, for whoever may see the document."""
    rows = await fetch(
        "SELECT import_run.source, import_item.name, import_item.upload_id FROM import_item "
        "JOIN import_run ON import_run.id = import_item.run WHERE import_item.uid = ?",
        [document_uid],
    )
    if not rows:
        return None
    return Origin(rows[0]["source"], rows[0]["name"], rows[0]["upload_id"] or "")


async def of_client(client_id: int, viewer: Viewer, limit: int = 20) -> list[Run]:
    """Return the imports at this client that the person may know of, the youngest first.

    The client's people who see everything there see all of them; people of the firm
    their own and those that brought archived documents, anybody else their own:
    of the others even the file's name is not theirs.
    """
    theirs, values = " AND account = ?", [viewer.user_id]
    membership = viewer.memberships.get(client_id)
    if membership is not None and membership.sees_everything:
        theirs, values = "", []
    elif viewer.roles_at(client_id) & FIRM_ROLES:
        theirs = " AND (account = ? OR status = 'archived')"
    rows = await fetch(
        f"SELECT * FROM import_run WHERE client = ?{theirs} ORDER BY id DESC LIMIT ?",
        [client_id, *values, limit],
    )
    return await _counted(rows)


@dataclass(frozen=True)
class Result:
    """One line of a run's results, as one person may read it."""

    name: str
    state: ItemState
    document_uid: str | None  # what it became, or is a copy of; None: not theirs to open
    problem: Sentence | None


async def results(run: Run, viewer: Viewer | None, limit: int = 200) -> list[Result]:
    """Return what is worth telling of a run's items: refused ones first, then copies.

    A line about a document (filed, or a copy of one) is only there for who may see
    that document; the run's counts hold the others. Without a viewer: all.
    """
    rows = await fetch(
        "SELECT import_item.name, import_item.state AS item_state, import_item.problem "
        "AS item_problem, import_item.same_as, document.* FROM import_item "
        "LEFT JOIN document ON document.uid = COALESCE(import_item.same_as, import_item.uid) "
        "WHERE import_item.run = ? AND import_item.state IN ('refused', 'duplicate') "
        "ORDER BY import_item.state = 'refused' DESC, import_item.id LIMIT ?",
        [run.id, _LOOKED_AT],
    )
    lines: list[Result] = []
    for row in rows:
        state = ItemState(row["item_state"])
        sees = row["uid"] is not None and (viewer is None or viewer.may_see(facts_of(row)))
        if state is not ItemState.REFUSED and not sees and viewer is not None:
            continue
        problem = Sentence.from_json(row["item_problem"]) if row["item_problem"] else None
        lines.append(Result(row["name"], state, row["uid"] if sees else None, problem))
        if len(lines) == limit:
            break
    return lines


async def _finish(run_id: int, at: datetime) -> None:
    done = await execute(
        "UPDATE import_run SET finished_at = ? WHERE id = ? AND finished_at IS NULL "
        "AND handed_in_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM import_item "
        "WHERE run = import_run.id AND state = 'queued') RETURNING *",
        [to_text(at), run_id],
    )
    if done:
        (run,) = await _counted(done)
        counts = {state.value: number for state, number in run.counts.items() if number}
        await audit.append(
            "import:end", "sync", await _client_uid(run.client_id), run.uid, counts, at=at
        )


async def _counted(rows: Sequence[Row]) -> list[Run]:
    counted = await fetch(
        "SELECT run, state, COUNT(*) AS items FROM import_item "
        "WHERE run IN (SELECT value FROM json_each(?)) GROUP BY run, state",
        [json.dumps([row["id"] for row in rows])],
    )
    counts: dict[int, dict[ItemState, int]] = {row["id"]: {} for row in rows}
    for row in counted:
        counts[row["run"]][ItemState(row["state"])] = row["items"]
    return [_run(row, counts[row["id"]]) for row in rows]


async def _client_uid(client_id: int | None) -> str:
    if client_id is None:
        return ""
    rows = await fetch("SELECT uid FROM client WHERE id = ?", [client_id])
    return str(rows[0]["uid"])


def _run(row: Row, counts: Mapping[ItemState, int] | None = None) -> Run:
    return Run(
        id=row["id"],
        uid=row["uid"],
        client_id=row["client"],
        account_id=row["account"],
        source=row["source"],
        status=Status(row["status"]),
        ignored=row["ignored"],
        created_at=from_text(row["created_at"]),
        handed_in_at=from_text(row["handed_in_at"]) if row["handed_in_at"] else None,
        finished_at=from_text(row["finished_at"]) if row["finished_at"] else None,
        counts=counts or {},
    )


def _item(row: Row) -> Item:
    return Item(
        id=row["id"],
        uid=row["uid"],
        run_id=row["run"],
        client_id=row["client"],
        name=row["name"],
        about=About(**json.loads(row["about"])),
        depth=row["depth"],
        state=ItemState(row["state"]),
        upload_id=row["upload_id"] or "",
        same_as=row["same_as"],
        problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
    )


def _not_allowed(status: Status) -> NotAllowed:
    if IMPORTS.get(status, frozenset()) & {Role.OWNER}:
        return NotAllowed(
            Sentence(
                "Documente gata aprobate pot aduce numai titularul și aprobatorii clientului. "
                "Alege „de aprobat”.",
                "only the client's owner and approvers can bring approved documents; "
                "choose to be approved",
            )
        )
    return NotAllowed(
        Sentence(
            "Documente gata înregistrate poate aduce numai contabilul. Alege „de aprobat”.",
            "only the accountant can bring recorded documents; choose to be approved",
        )
    )


def _nothing() -> NotFound:
    return NotFound(
        Sentence("Importul nu există. Reîncarcă lista.", "there is no such import; reload the list")
    )

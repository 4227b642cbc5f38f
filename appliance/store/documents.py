"""Documents: how their status changes, and who gets to see one.

`act()` is the only way a status changes. Whoever reads documents for a person
goes through `scoped()`; what that person may not see is `NotFound`, in the
same words as what does not exist.

What a caller needs of documents is here; how they come in is `incoming.py`,
their lists are `lists.py`, their values `records.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from appliance.core.errors import NotAllowed, TransitionRefused
from appliance.core.lifecycle import Action, decide
from appliance.core.roles import VISIBLE_TO_FIRM, Role, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.core.tree import ALIAS_LASTS
from appliance.store import audit, periods
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.events import Why, add_event, last_step, reasons, stale
from appliance.store.incoming import (
    add,
    add_file,
    archive_month,
    first_digest,
    free_folder_name,
    kept_elsewhere,
    link_message,
)
from appliance.store.lists import ClientCounts, Page, Waiting, counts, cursor_of, page, position
from appliance.store.records import (
    COLUMNS,
    DocumentRow,
    DocumentView,
    Event,
    File,
    Line,
    NewDocument,
    NewFile,
    NewLine,
    event_of,
    facts_of,
    fields_of,
    file_of,
    line_of,
    no_document,
    row_of,
)
from appliance.store.scope import Condition, scoped

__all__ = [
    "Acted",
    "ClientCounts",
    "DocumentRow",
    "DocumentView",
    "Event",
    "File",
    "Line",
    "NewDocument",
    "NewFile",
    "NewLine",
    "Page",
    "Waiting",
    "Why",
    "act",
    "add",
    "add_file",
    "archive_month",
    "by_uid",
    "counts",
    "cursor_of",
    "first_digest",
    "free_folder_name",
    "get",
    "kept_elsewhere",
    "last_step",
    "link_message",
    "page",
    "position",
    "reasons",
    "returned_by",
    "scoped",
    "take",
]


@dataclass(frozen=True)
class Acted:
    """Where the document stands after a step."""

    status: Status
    period: str | None
    folder_name: str


async def act(
    document_uid: str,
    action: Action,
    viewer: Viewer,
    *,
    seen_status: Status,
    seen_revision: int,
    at: datetime,
    channel: str,
    device: str | None = None,
    reason: str | None = None,
    period: str | None = None,
    alias_path: str | None = None,
) -> Acted:
    """Move a document one step, and record who moved it.

    `seen_status` and `seen_revision` are what the person was looking at. Status,
    event and audit record are committed together or not at all. `alias_path`
    (below the client's folder) is where a move on the drive put the document:
    it is found there too for ten minutes.

    Raises `NotFound` when the document is not this person's to see, now,
    `StaleDocument` when it has moved since they saw it, `TransitionRefused`,
    `NotAllowed` and `BadInput` as `core.lifecycle.decide()` does, and
    `PeriodClosed` for a month outside `periods.choices()`.
    """
    async with joined():
        row = await _visible(document_uid, viewer)
        facts = facts_of(row)
        if facts.status is not seen_status or row["revision"] != seen_revision:
            raise await stale(row["id"], at)
        new = decide(action, facts, viewer, reason=reason)
        if action is Action.RECORD:
            own = date.fromisoformat(row["list_date"])
            period = await periods.chosen(facts.client_id, period, own, at)
        else:
            period = None
        taken_at, taken_by = row["taken_at"], row["taken_by"]
        if new is Status.PENDING:
            taken_at = taken_by = None
        elif new is Status.ARCHIVED and taken_at is None:
            taken_at, taken_by = to_text(at), viewer.user_id
        moved = await execute(
            "UPDATE document SET status = ?, period = ?, taken_at = ?, taken_by = ?, "
            "alias_path = ?, alias_until = ?, changed_at = ? "
            "WHERE id = ? AND status = ? AND revision = ? RETURNING id",
            [
                new.value,
                period,
                taken_at,
                taken_by,
                alias_path,
                to_text(at + ALIAS_LASTS) if alias_path is not None else None,
                to_text(at),
                row["id"],
                seen_status.value,
                seen_revision,
            ],
        )
        if not moved:
            raise await stale(row["id"], at)
        event_id = await add_event(
            row["id"],
            at,
            action=action.value,
            old=facts.status,
            new=new,
            revision=seen_revision,
            account_id=viewer.user_id,
            channel=channel,
            device=device,
            reason=(reason or "").strip() or None,
            period=period,
        )
        data: dict[str, object] = {
            "event": event_id,
            "from": facts.status.value,
            "to": new.value,
            "revision": seen_revision,
            "channel": channel,
        }
        if period is not None:
            data["period"] = period
        if action is Action.APPROVE:
            data["sha256"] = await _stored_digest(row["id"])
        await audit.append(
            f"document:{action.value}",
            viewer.user_uid,
            row["client_uid"],
            document_uid,
            data,
            at=at,
        )
    return Acted(new, period, row["folder_name"])


async def take(
    document_uid: str,
    viewer: Viewer,
    at: datetime,
    *,
    channel: str = "portal",
    device: str | None = None,
) -> bool:
    """Note that the accountant works with the document: the client cannot withdraw it any more.

    Tells whether this call did it; a document that is taken stays as it was.
    """
    async with joined():
        row = await _visible(document_uid, viewer)
        facts = facts_of(row)
        if Role.ACCOUNTANT not in viewer.acting_roles(facts):
            raise NotAllowed(
                Sentence(
                    "Numai contabilul clientului preia documente. Cere-i contabilului.",
                    "only the client's accountant takes documents; ask the accountant",
                )
            )
        if facts.taken or facts.status is Status.ARCHIVED:
            return False
        if facts.status is not Status.APPROVED:
            raise TransitionRefused(
                Sentence(
                    "Documentul nu este aprobat și nu poate fi preluat. Reîncarcă pagina.",
                    "the document is not approved and cannot be taken; reload the page",
                )
            )
        await execute(
            "UPDATE document SET taken_at = ?, taken_by = ?, changed_at = ? WHERE id = ?",
            [to_text(at), viewer.user_id, to_text(at), row["id"]],
        )
        await add_event(
            row["id"],
            at,
            action="take",
            old=facts.status,
            new=facts.status,
            revision=row["revision"],
            account_id=viewer.user_id,
            channel=channel,
            device=device,
        )
        await audit.append(
            "document:take", viewer.user_uid, row["client_uid"], document_uid, {}, at=at
        )
    return True


async def get(document_uid: str, viewer: Viewer) -> DocumentView:
    """Return the document with lines, files and history; `NotFound` when it is not theirs.

    Who sees it with the firm's eyes alone gets the history since the approval
    that showed it to them, and that it came in: what the client's people did and
    wrote before was their own business.
    """
    condition = scoped(viewer)
    found = await _view(
        Condition(f"document.uid = ? AND ({condition.sql})", [document_uid, *condition.values])
    )
    if replace(viewer, firm_role=None, assigned_clients=frozenset()).may_see(found.facts):
        return found
    return replace(found, events=_since_shown(found.events))


def _since_shown(events: tuple[Event, ...]) -> tuple[Event, ...]:
    shown = [
        place
        for place, event in enumerate(events)
        if event.new_status in VISIBLE_TO_FIRM and event.old_status not in VISIBLE_TO_FIRM
    ]
    since = shown[-1] if shown else len(events)
    return (*(event for event in events[:since] if event.old_status is None), *events[since:])


async def returned_by(document_uid: str, viewer: Viewer, since: datetime) -> DocumentRow | None:
    """Return a document that this accountant gave back since then, as they saw it; else None.

    It is the client's again and not theirs to see. Nothing is told once it was
    corrected, nor what became of it.
    """
    rows = await fetch(
        f"SELECT {COLUMNS} FROM document JOIN client ON client.id = document.client "
        "WHERE document.uid = ? AND EXISTS (SELECT 1 FROM event WHERE event.document = document.id "
        "AND event.action = 'return' AND event.account = ? AND event.at >= ? "
        "AND event.revision = document.revision)",
        [document_uid, viewer.user_id, to_text(since)],
    )
    if not rows or Role.ACCOUNTANT not in viewer.roles_at(rows[0]["client_id"]):
        return None
    return row_of(rows[0])


async def by_uid(document_uid: str) -> DocumentView:
    """Return the document for the system itself (rendering, export): nobody's rights are asked."""
    return await _view(Condition("document.uid = ?", [document_uid]))


async def _view(condition: Condition) -> DocumentView:
    rows = await fetch(
        f"SELECT {COLUMNS}, message.message_id, message.upload_id FROM document "
        "JOIN client ON client.id = document.client "
        f"LEFT JOIN message ON message.id = document.message WHERE {condition.sql}",
        condition.values,
    )
    if not rows:
        raise no_document()
    document_id = rows[0]["id"]
    lines = await fetch(
        "SELECT * FROM document_line WHERE document = ? ORDER BY position", [document_id]
    )
    files = await fetch("SELECT * FROM document_file WHERE document = ? ORDER BY id", [document_id])
    events = await fetch(
        "SELECT event.*, account.name AS actor_name, account.uid AS actor_uid FROM event "
        "LEFT JOIN account ON account.id = event.account WHERE event.document = ? "
        "ORDER BY event.id",
        [document_id],
    )
    return DocumentView(
        **fields_of(rows[0]),
        message_id=rows[0]["message_id"],
        upload_id=rows[0]["upload_id"],
        lines=tuple(line_of(row) for row in lines),
        files=tuple(file_of(row) for row in files),
        events=tuple(event_of(row) for row in events),
    )


async def _visible(document_uid: str, viewer: Viewer) -> Row:
    rows = await fetch(
        "SELECT document.id, document.client, client.uid AS client_uid, document.kind, "
        "document.status, document.revision, document.partner_cif, document.uploader, "
        "document.ron_minor, document.list_date, document.taken_at, document.taken_by, "
        "document.folder_name FROM document JOIN client ON client.id = document.client "
        "WHERE document.uid = ?",
        [document_uid],
    )
    if not rows or not viewer.may_see(facts_of(rows[0])):
        raise no_document()
    return rows[0]


async def _stored_digest(document_id: int) -> str:
    rows = await fetch(
        "SELECT role, sha256 FROM document_file WHERE document = ? ORDER BY id", [document_id]
    )
    return first_digest([(row["role"], row["sha256"]) for row in rows])

"""Notices: ANAF's errors and buyers' messages. They have no status and need no approval.

A notice is filed under Altele at once and stays an alert to both sides, the
client's people and the firm's, until each has acknowledged it. A message of a
type that nobody knew is a notice as well, so it is never dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appliance.core import naming
from appliance.core.errors import NotFound
from appliance.core.roles import CLIENT_ROLES, FIRM_ROLES, Role, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import audit, clients, periods, tables
from appliance.store.documents import NewFile, archive_month, free_folder_name
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.scope import notices_seen


@dataclass(frozen=True)
class NewNotice:
    """Everything that `add()` writes; the files are in the archive before."""

    uid: str
    client_id: int
    message_uid: str | None  # None: imported
    type: str  # anaf_error, buyer_message, unknown
    text: str
    received_at: datetime
    folder_name: str  # as wanted: `add()` appends ~2 when it is taken
    upload_id: str | None = None  # of the invoice that it is about
    archive_month: str | None = None  # None: that of `received_at`
    acknowledged: bool = False  # of old records: an alert to nobody
    files: Sequence[NewFile] = ()


@dataclass(frozen=True)
class NoticeFile:
    """A file of a notice."""

    role: str
    stored_name: str
    shown_name: str | None
    mime: str
    size: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True)
class NoticeRow:
    """A notice as both sides see it."""

    id: int
    uid: str
    client_id: int
    client_uid: str
    client_name: str
    type: str
    upload_id: str | None
    text: str
    folder_name: str
    period: str
    archive_month: str
    created_at: datetime
    acknowledged_client_at: datetime | None
    acknowledged_firm_at: datetime | None
    files: tuple[NoticeFile, ...] = ()

    def alerts(self, viewer: Viewer) -> bool:
        """Tell whether somebody on the person's side still has to acknowledge it."""
        roles = viewer.roles_at(self.client_id)
        return bool(
            (roles & CLIENT_ROLES and self.acknowledged_client_at is None)
            or (roles & FIRM_ROLES and self.acknowledged_firm_at is None)
        )


async def add(new: NewNotice, at: datetime) -> int:
    """File a notice whose files are in the archive, and return its id.

    Rows, audit record and the message's state "notice" are committed together.
    A notice with this uid that is already there stays and its id is returned.
    """
    async with joined():
        known = await fetch("SELECT id FROM notice WHERE uid = ?", [new.uid])
        if known:
            return int(known[0]["id"])
        client = await clients.by_id(new.client_id)
        message = await _settle_message(new.message_uid, at) if new.message_uid else None
        seen = to_text(at) if new.acknowledged else None
        folder_name = await free_folder_name(new.client_id, new.folder_name)
        made = await tables.Notice.insert(
            tables.Notice(
                uid=new.uid,
                client=new.client_id,
                message=message,
                type=new.type,
                upload_id=new.upload_id,
                text=new.text,
                folder_name=folder_name,
                folder_key=folder_name.casefold(),
                period=periods.current_period(new.received_at),
                archive_month=new.archive_month or archive_month(new.received_at),
                created_at=to_text(at),
                acknowledged_client_at=seen,
                acknowledged_firm_at=seen,
            )
        )
        notice_id = int(made[0]["id"])
        taken: set[str] = set()
        for file in new.files:
            shown = file.shown_name
            if file.shown_suffix is not None:
                shown = folder_name + file.shown_suffix
            if shown is not None:
                shown = naming.free_file_name(shown, taken)
                taken.add(shown.casefold())
            await tables.NoticeFile.insert(
                tables.NoticeFile(
                    notice=notice_id,
                    role=file.role,
                    stored_name=file.stored_name,
                    shown_name=shown,
                    shown_key=shown.casefold() if shown is not None else None,
                    mime=file.mime,
                    size=file.size,
                    sha256=file.sha256,
                    created_at=to_text(at),
                )
            )
        await audit.append("notice:add", "sync", client.uid, new.uid, {"type": new.type}, at=at)
    return notice_id


async def link_message(notice_id: int, message_uid: str, at: datetime) -> bool:
    """Settle a message as a notice that was imported before, with the same bytes.

    Again does nothing. False when the notice names another message: then nothing is settled.
    """
    async with joined():
        rows = await fetch(
            "SELECT client.uid AS client_uid, message.uid AS message_uid FROM notice "
            "JOIN client ON client.id = notice.client "
            "LEFT JOIN message ON message.id = notice.message WHERE notice.id = ?",
            [notice_id],
        )
        found = rows[0]
        if found["message_uid"] is not None:
            return bool(found["message_uid"] == message_uid)
        message = await _settle_message(message_uid, at)
        await execute("UPDATE notice SET message = ? WHERE id = ?", [message, notice_id])
        await audit.append(
            "message:settle", "sync", found["client_uid"], message_uid, {"state": "notice"}, at=at
        )
    return True


async def _settle_message(message_uid: str, at: datetime) -> int:
    settled = await execute(
        "UPDATE message SET state = 'notice', problem = NULL, settled_at = ? "
        "WHERE uid = ? RETURNING id",
        [to_text(at), message_uid],
    )
    if not settled:
        raise ValueError(f"there is no message {message_uid}")
    return int(settled[0]["id"])


async def list_for(
    viewer: Viewer, client_uid: str | None = None, *, alerts_only: bool = False
) -> list[NoticeRow]:
    """Return the notices of one client or of all of the person's, the newest first.

    A client that is not theirs is `NotFound`.
    """
    if client_uid is not None:
        ids = [(await clients.by_uid(client_uid, viewer)).id]
    elif viewer.firm_role is Role.ADMIN:
        ids = [client.id for client in await clients.all_clients()]
    else:
        ids = clients.visible_clients(viewer)
    unseen = "AND (acknowledged_client_at IS NULL OR acknowledged_firm_at IS NULL) "
    seen = notices_seen(viewer)
    rows = await fetch(
        f"{_NOTICE} WHERE notice.client IN (SELECT value FROM json_each(?)) AND {seen.sql} "
        f"{unseen if alerts_only else ''}ORDER BY notice.id DESC",
        [json.dumps(ids), *seen.values],
    )
    found = [_notice(row) for row in rows]
    return [notice for notice in found if notice.alerts(viewer)] if alerts_only else found


async def get(uid: str, viewer: Viewer) -> NoticeRow:
    """Return the notice with its files; `NotFound` when it is not this person's to see."""
    seen = notices_seen(viewer)
    rows = await fetch(f"{_NOTICE} WHERE notice.uid = ? AND {seen.sql}", [uid, *seen.values])
    if not rows or not viewer.roles_at(rows[0]["client"]):
        raise _no_notice()
    files = await fetch("SELECT * FROM notice_file WHERE notice = ? ORDER BY id", [rows[0]["id"]])
    return _notice(rows[0], files)


async def acknowledge(uid: str, viewer: Viewer, at: datetime) -> None:
    """Note that the person's side has seen it; again does nothing.

    Who has roles on both sides acknowledges for both.
    """
    async with joined():
        notice = await get(uid, viewer)
        roles = viewer.roles_at(notice.client_id)
        sides = []
        if roles & CLIENT_ROLES and notice.acknowledged_client_at is None:
            sides.append("client")
        if roles & FIRM_ROLES and notice.acknowledged_firm_at is None:
            sides.append("firm")
        for side in sides:
            await execute(
                f"UPDATE notice SET acknowledged_{side}_at = ?, acknowledged_{side}_by = ? "
                "WHERE id = ?",
                [to_text(at), viewer.user_id, notice.id],
            )
            await audit.append(
                "notice:acknowledge",
                viewer.user_uid,
                notice.client_uid,
                uid,
                {"side": side},
                at=at,
            )


_NOTICE = (
    "SELECT notice.*, client.uid AS client_uid, client.name AS client_name FROM notice "
    "JOIN client ON client.id = notice.client"
)


def _notice(row: Row, files: Sequence[Row] = ()) -> NoticeRow:
    return NoticeRow(
        id=row["id"],
        uid=row["uid"],
        client_id=row["client"],
        client_uid=row["client_uid"],
        client_name=row["client_name"],
        type=row["type"],
        upload_id=row["upload_id"],
        text=row["text"],
        folder_name=row["folder_name"],
        period=row["period"],
        archive_month=row["archive_month"],
        created_at=from_text(row["created_at"]),
        acknowledged_client_at=_moment(row["acknowledged_client_at"]),
        acknowledged_firm_at=_moment(row["acknowledged_firm_at"]),
        files=tuple(
            NoticeFile(
                role=file["role"],
                stored_name=file["stored_name"],
                shown_name=file["shown_name"],
                mime=file["mime"],
                size=file["size"],
                sha256=file["sha256"],
                created_at=from_text(file["created_at"]),
            )
            for file in files
        ),
    )


def _moment(text: str | None) -> datetime | None:
    return from_text(text) if text else None


def _no_notice() -> NotFound:
    return NotFound(
        Sentence(
            "Notificarea nu există sau nu ai acces la ea. Verifică lista de notificări.",
            "there is no such notice, or it is not yours to see; look at the list",
        )
    )

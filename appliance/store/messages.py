"""What ANAF listed: every entry once per client, and what became of it.

Nothing that was listed is ever forgotten: an entry is queued, archived, a
notice, or settled with a sentence that says why it has no document.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import audit, jobs
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.ids import new_uid

if TYPE_CHECKING:
    from appliance.core.spv import ListEntry

_AT_ONCE = 500
NAMELESS = "fara-id-"  # begins what stands for the id of an entry that was listed without one


class MessageState(StrEnum):
    """What became of an entry of the list."""

    QUEUED = "queued"  # to be downloaded and filed
    ARCHIVED = "archived"  # it is a document, perhaps one "de verificat manual"
    NOTICE = "notice"
    EXPIRED = "expired"  # ANAF no longer gives it
    NOT_ALLOWED = "not_allowed"  # the certificate has no right to it
    QUARANTINED = "quarantined"  # it names another client


@dataclass(frozen=True)
class Message:
    """An entry of the SPV message list; `uid` is also that of its document or notice."""

    id: int
    uid: str
    client_id: int
    client_uid: str
    message_id: str
    upload_id: str | None
    cif: str
    type: str
    details: str
    created_raw: str
    created_at: datetime | None
    entry: Mapping[str, Any]  # as ANAF sent it
    state: MessageState
    problem: Sentence | None
    listed_at: datetime
    settled_at: datetime | None


class Known(NamedTuple):
    """Of a message only what tells it from others."""

    message_id: str
    cif: str
    upload_id: str | None
    type: str
    created_raw: str


@dataclass(frozen=True)
class Waiting:
    """A queued message: when it is tried next (None: a person has to look), and why it waits."""

    message: Message
    next_attempt_at: datetime | None
    problem: Sentence | None


async def remember(
    client_id: int, entries: Iterable[ListEntry], at: datetime, *, priority: int = 0
) -> list[Message]:
    """Store the entries that this client did not have, each with a uid and a job `message`.

    Rows and jobs are committed together, the jobs in the order of the entries.
    The same list again gives nothing new and an empty list changes nothing. An
    entry that was kept without its id (`keep_nameless`) and has one now is
    the same message. Entries without an id are left out.
    """
    wanted = {entry.message_id: entry for entry in entries if entry.message_id}
    # Through a reader first: most lists hold nothing new, and then nobody waits for the writer.
    known = await listed_before(client_id, wanted)
    fresh = [entry for message_id, entry in wanted.items() if message_id not in known]
    if not fresh:
        return []
    async with joined():
        client = await fetch("SELECT uid FROM client WHERE id = ?", [client_id])
        added = await _name(client_id, fresh)
        named = {message.message_id for message in added}
        fresh = [entry for entry in fresh if entry.message_id not in named]
        for start in range(0, len(fresh), _AT_ONCE):
            added += await _insert(client_id, fresh[start : start + _AT_ONCE], at)
        await jobs.insert_many(
            "message",
            [message.uid for message in added],
            at,
            client_id=client_id,
            priority=priority,
        )
        if added:
            await audit.append(
                "message:list",
                "sync",
                client[0]["uid"],
                client[0]["uid"],
                {"new": len(added), "first": added[0].uid, "last": added[-1].uid},
                at=at,
            )
    return added


async def keep_nameless(client_id: int, entries: Iterable[ListEntry], at: datetime) -> int:
    """Keep entries that cannot be downloaded, as not allowed, and return how many are new.

    Each is kept once, and not when the client has the same message with an id.
    """
    nameless = {_saying(entry): entry for entry in entries if not entry.message_id}
    known = {_saying(message) for message in await _saying_the_same(client_id, nameless.values())}
    kept = 0
    for saying, entry in nameless.items():
        if entry.upload_id and saying in known:
            continue
        said = json.dumps(dict(entry.raw), sort_keys=True, default=str)
        made = f"{NAMELESS}{hashlib.sha256(said.encode()).hexdigest()[:16]}"
        if await listed_before(client_id, [made]):
            continue
        async with joined():
            for message in await _insert(client_id, [replace(entry, message_id=made)], at):
                await settle(message.uid, MessageState.NOT_ALLOWED, _no_id(entry), at)
                kept += 1
    return kept


async def _name(client_id: int, fresh: Sequence[ListEntry]) -> list[Message]:
    """Give the id that they have now to messages that were kept without, and return them queued."""
    of_saying = {_saying(entry): entry for entry in fresh if entry.upload_id}
    named = []
    for message in await _saying_the_same(client_id, of_saying.values()):
        entry = of_saying.pop(_saying(message), None)
        if entry is None or not message.message_id.startswith(NAMELESS):
            continue
        await execute(
            "UPDATE message SET message_id = ?, entry = ?, state = 'queued', problem = NULL, "
            "settled_at = NULL WHERE id = ?",
            [entry.message_id, json.dumps(dict(entry.raw), ensure_ascii=False), message.id],
        )
        named.append(await get(message.uid))
    return named


def _saying(message: ListEntry | Message | Known) -> tuple[str, str, str, str]:
    """Return what tells a message from others when its id is not there."""
    return message.cif, message.upload_id or "", message.type, message.created_raw


def not_among(known: Iterable[Known], entries: Iterable[ListEntry]) -> int:
    """Return how many of the messages none of the entries is, with an id or without."""
    listed = list(entries)
    ids = {entry.message_id for entry in listed}
    sayings = {_saying(entry) for entry in listed if entry.upload_id}
    return sum(m.message_id not in ids and _saying(m) not in sayings for m in known)


async def _saying_the_same(client_id: int, entries: Iterable[ListEntry]) -> list[Message]:
    """Return the client's messages with the upload ids of these entries."""
    uploads = sorted({entry.upload_id for entry in entries if entry.upload_id})
    if not uploads:
        return []
    rows = await fetch(
        f"{_MESSAGE} WHERE message.upload_id IN (SELECT value FROM json_each(?)) "
        "AND message.client = ? ORDER BY message.id",
        [json.dumps(uploads), client_id],
    )
    return [_message(row) for row in rows]


async def queue_again(
    client_id: int, message_ids: Iterable[str], at: datetime, *, settled_before: datetime
) -> int:
    """Queue those of the ids that were not allowed before then: a right may have come back."""
    rows = await fetch(
        "SELECT uid FROM message WHERE client = ? AND state = 'not_allowed' AND settled_at < ? "
        "AND message_id IN (SELECT value FROM json_each(?)) ORDER BY created_at, id",
        [client_id, to_text(settled_before), json.dumps(list(message_ids))],
    )
    if not rows:
        return 0
    uids = [row["uid"] for row in rows]
    async with joined():
        for uid in uids:
            await settle(uid, MessageState.QUEUED, None, at)
        await jobs.insert_many("message", uids, at, client_id=client_id)
    return len(uids)


async def listed_before(client_id: int, message_ids: Iterable[str]) -> frozenset[str]:
    """Return those of the ids that the client has already."""
    rows = await fetch(
        "SELECT message_id FROM message WHERE client = ? "
        "AND message_id IN (SELECT value FROM json_each(?))",
        [client_id, json.dumps(list(message_ids))],
    )
    return frozenset(row["message_id"] for row in rows)


async def queued_among(uids: Iterable[str]) -> frozenset[str]:
    """Return those of the messages that are still to be downloaded and filed."""
    rows = await fetch(
        "SELECT uid FROM message WHERE state = 'queued' "
        "AND uid IN (SELECT value FROM json_each(?))",
        [json.dumps(list(uids))],
    )
    return frozenset(row["uid"] for row in rows)


async def created_between(client_id: int, cif: str, start: datetime, end: datetime) -> list[Known]:
    """Return the messages of the CIF that ANAF made in that time: a list of it must have them."""
    rows = await fetch(
        "SELECT message_id, cif, upload_id, type, created_raw FROM message "
        "WHERE client = ? AND cif = ? AND created_at BETWEEN ? AND ?",
        [client_id, cif, to_text(start), to_text(end)],
    )
    return [Known(*row.values()) for row in rows]


async def known_ids(client_id: int) -> frozenset[str]:
    """Return every message id of the client that was ever listed."""
    rows = await fetch("SELECT message_id FROM message WHERE client = ?", [client_id])
    return frozenset(row["message_id"] for row in rows)


async def get(uid: str) -> Message:
    """Return the message; `NotFound` when there is none."""
    rows = await fetch(f"{_MESSAGE} WHERE message.uid = ?", [uid])
    if not rows:
        raise _no_message()
    return _message(rows[0])


async def settle(
    uid: str, state: MessageState | str, problem: Sentence | None, at: datetime
) -> None:
    """Note what became of the message; again, also with another outcome, the last one counts.

    A message that has become a document stays `archived`: whoever comes late
    with a worse outcome changes nothing.
    """
    outcome = MessageState(state)
    async with joined():
        rows = await execute(
            "UPDATE message SET state = ?, problem = ?, settled_at = ? "
            "WHERE uid = ? AND (state NOT IN ('archived', 'notice') OR state = ?) "
            "RETURNING client",
            [
                outcome.value,
                problem.to_json() if problem else None,
                None if outcome is MessageState.QUEUED else to_text(at),
                uid,
                outcome.value,
            ],
        )
        if not rows:
            await get(uid)
            return
        client = (await fetch("SELECT uid FROM client WHERE id = ?", [rows[0]["client"]]))[0]
        await audit.append(
            "message:settle", "sync", client["uid"], uid, {"state": outcome.value}, at=at
        )


async def explain(uid: str, problem: Sentence) -> None:
    """Say why a queued message still waits (a quota, an outage); settled ones stay as they are."""
    async with joined():
        await execute(
            "UPDATE message SET problem = ? WHERE uid = ? AND state = 'queued'",
            [problem.to_json(), uid],
        )


async def give_jobs(client_id: int, at: datetime) -> None:
    """Give a job to each queued message that has none: its last one was parked."""
    rows = await fetch(
        "SELECT uid FROM message WHERE client = ? AND state = 'queued' AND NOT EXISTS "
        "(SELECT 1 FROM job WHERE kind = 'message' AND object_uid = message.uid "
        "AND state IN ('queued', 'leased')) ORDER BY created_at, id",
        [client_id],
    )
    if rows:
        await jobs.insert_many("message", [row["uid"] for row in rows], at, client_id=client_id)


async def progress(client_id: int | None = None) -> dict[MessageState, int]:
    """Return how many messages are in each state, of one client or of all."""
    if client_id is None:
        rows = await fetch("SELECT state, COUNT(*) AS messages FROM message GROUP BY state")
    else:
        rows = await fetch(
            "SELECT state, COUNT(*) AS messages FROM message WHERE client = ? GROUP BY state",
            [client_id],
        )
    counted = dict.fromkeys(MessageState, 0)
    for row in rows:
        counted[MessageState(row["state"])] = row["messages"]
    return counted


async def in_state(
    state: MessageState, client_id: int | None = None, *, settled_since: datetime | None = None
) -> list[Message]:
    """Return the messages in this state, the one listed first first."""
    conditions = ["message.state = ?"]
    values: list[Any] = [state.value]
    if client_id is not None:
        conditions.append("message.client = ?")
        values.append(client_id)
    if settled_since is not None:
        conditions.append("message.settled_at >= ?")
        values.append(to_text(settled_since))
    rows = await fetch(f"{_MESSAGE} WHERE {' AND '.join(conditions)} ORDER BY message.id", values)
    return [_message(row) for row in rows]


async def waiting(client_id: int, limit: int = 500) -> list[Waiting]:
    """Return the client's queued messages, the one that is tried next first."""
    rows = await fetch(
        "SELECT message.*, client.uid AS client_uid, job.next_attempt_at, "
        "job.problem AS job_problem FROM message JOIN client ON client.id = message.client "
        "LEFT JOIN job ON job.kind = 'message' AND job.object_uid = message.uid "
        "AND job.state IN ('queued', 'leased') "
        "WHERE message.client = ? AND message.state = 'queued' "
        "ORDER BY job.next_attempt_at IS NULL, job.next_attempt_at, message.id LIMIT ?",
        [client_id, limit],
    )
    found = []
    for row in rows:
        message = _message(row)
        said = Sentence.from_json(row["job_problem"]) if row["job_problem"] else None
        when = from_text(row["next_attempt_at"]) if row["next_attempt_at"] else None
        found.append(Waiting(message, when, said or message.problem))
    return found


async def page(
    client_id: int, state: MessageState | None = None, *, after: str | None = None, limit: int = 50
) -> list[Message]:
    """Return the client's messages, of one state or of all, the youngest at ANAF first.

    `after` is the uid of the last one of the page before.
    """
    conditions = ["message.client = ?"]
    values: list[Any] = [client_id]
    if state is not None:
        conditions.append("message.state = ?")
        values.append(state.value)
    if after is not None:
        last = await get(after)
        if last.created_at is None:
            conditions.append("message.created_at IS NULL AND message.id < ?")
            values.append(last.id)
        else:
            conditions.append(
                "(message.created_at IS NULL OR (message.created_at, message.id) < (?, ?))"
            )
            values += [to_text(last.created_at), last.id]
    rows = await fetch(
        f"{_MESSAGE} WHERE {' AND '.join(conditions)} "
        "ORDER BY message.created_at DESC, message.id DESC LIMIT ?",
        [*values, limit],
    )
    return [_message(row) for row in rows]


async def unsettled_by_client() -> dict[int, dict[MessageState, int]]:
    """Return, by client, how many messages wait or ended without a document or notice."""
    rows = await fetch(
        "SELECT client, state, COUNT(*) AS messages FROM message WHERE state IN "
        "('queued', 'expired', 'not_allowed', 'quarantined') GROUP BY client, state"
    )
    found: dict[int, dict[MessageState, int]] = {}
    for row in rows:
        found.setdefault(row["client"], {})[MessageState(row["state"])] = row["messages"]
    return found


async def _insert(client_id: int, entries: Sequence[ListEntry], at: datetime) -> list[Message]:
    values: list[Any] = []
    for entry in entries:
        values += [
            new_uid(at),
            client_id,
            entry.message_id,
            entry.upload_id or None,
            entry.cif,
            entry.type,
            entry.details,
            entry.created_raw,
            to_text(entry.created_at) if entry.created_at else None,
            json.dumps(dict(entry.raw), ensure_ascii=False),
            to_text(at),
        ]
    rows = await execute(
        "INSERT INTO message (uid, client, message_id, upload_id, cif, type, details, "
        "created_raw, created_at, entry, listed_at, state) VALUES "
        + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued')"] * len(entries))
        + " ON CONFLICT (client, message_id) DO NOTHING RETURNING id",
        values,
    )
    if not rows:
        return []
    added = await fetch(
        f"{_MESSAGE} WHERE message.id IN (SELECT value FROM json_each(?)) ORDER BY message.id",
        [json.dumps([row["id"] for row in rows])],
    )
    return [_message(row) for row in added]


_MESSAGE = (
    "SELECT message.*, client.uid AS client_uid FROM message "
    "JOIN client ON client.id = message.client"
)


def _message(row: Row) -> Message:
    return Message(
        id=row["id"],
        uid=row["uid"],
        client_id=row["client"],
        client_uid=row["client_uid"],
        message_id=row["message_id"],
        upload_id=row["upload_id"],
        cif=row["cif"],
        type=row["type"],
        details=row["details"],
        created_raw=row["created_raw"],
        created_at=from_text(row["created_at"]) if row["created_at"] else None,
        entry=json.loads(row["entry"]),
        state=MessageState(row["state"]),
        problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
        listed_at=from_text(row["listed_at"]),
        settled_at=from_text(row["settled_at"]) if row["settled_at"] else None,
    )


def _no_id(entry: ListEntry) -> Sentence:
    upload = entry.upload_id or "?"
    return Sentence(
        f"ANAF a listat mesajul cu indexul de încărcare {upload} fără id de descărcare, deci nu "
        "poate fi adus. Verifică-l în SPV.",
        f"ANAF listed the message with upload index {upload} without a download id, so it cannot "
        "be fetched; check it in SPV",
    )


def _no_message() -> NotFound:
    return NotFound(
        Sentence("Mesajul nu există. Reîncarcă lista.", "there is no such message; reload the list")
    )

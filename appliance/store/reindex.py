"""`arhivar reindex`: rows that are missing, rebuilt from the archive on disk.

A manifest says what a document is, the decisions of the days what became of
it. A row that exists is never touched, so running it again, or after a crash
in the middle, only goes on. What has no known decision comes back as pending,
"de verificat": nobody's approval is ever made up.

It belongs before the first fetch after a loss: messages that were listed anew
have another uid, and their documents are refused here with a sentence.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from appliance.config import Settings
from appliance.core import naming
from appliance.core.errors import ArhivarError, BadInput
from appliance.core.roles import Status
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.store import audit, decisions, jobs, manifest, pdfs
from appliance.store.engine import execute, fetch, open_store, transaction
from appliance.store.files import DERIVED, Archive, Folder

TO_VERIFY = Sentence(
    "De verificat: documentul a fost refăcut din arhivă, iar decizia luată pentru el nu este "
    "cunoscută. Verifică-l și decide din nou.",
    "to be verified: the document was rebuilt from the archive and what was decided about it is "
    "not known; look at it and decide again",
)
ACTOR = "reindex"

_STATE = (
    *manifest.DOCUMENT,
    "status",
    "revision",
    "source",
    "received_at",
    "archive_month",
    "period",
    "taken_at",
    "signature_result",
    "signature_reason",
    "signature_fingerprint",
)
_EVENT = ("at", "action", "old_status", "new_status", "revision", "reason", "period")
_CHUNK = 500


@dataclass
class Report:
    """What came back, and what could not."""

    clients: int = 0
    documents: int = 0
    undecided: int = 0
    notices: int = 0
    messages: int = 0
    new_audit_log: bool = False  # the log that the archive has noted heads of is gone
    problems: list[tuple[str, Sentence]] = field(default_factory=list)


@dataclass
class _Known:
    """What the decisions of all days say about things whose rows are missing."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    notices: dict[str, dict[str, Any]] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    closed: list[dict[str, Any]] = field(default_factory=list)


async def reindex(settings: Settings, at: datetime) -> Report:
    """Rebuild every missing row of a client, message, document and notice; tell what was done.

    Each document comes back in one transaction with its lines, files, events
    (channel `reindex`) and an audit record. A folder that cannot be brought
    back is named in the report and does not stop the others. Raises
    `SchemaUnknown` for a database of another version.
    """
    report = Report()
    archive = Archive(settings.archive_dir)
    async with open_store(settings):
        missing = [folder async for folder in _missing(archive)]
        known = _read_decisions(archive, {folder.uid for folder in missing})
        for folder in missing:
            try:
                facts = archive.read_manifest(folder.client_uid, folder.month, folder.uid)
                async with transaction():
                    await _restore(folder, facts, known, archive, at, report)
            except ArhivarError as error:
                report.problems.append((str(folder), error.sentence))
            except (
                KeyError,
                TypeError,
                ValueError,
                AttributeError,
                sqlite3.IntegrityError,
            ) as error:
                report.problems.append((str(folder), _unusable(folder, error)))
        await _restore_messages(known, at, report)
        await _restore_closed_periods(known)
        if report.clients or report.documents or report.notices or report.messages:
            await _begin_anew(settings, at, report)
    return report


async def _begin_anew(settings: Settings, at: datetime, report: Report) -> None:
    """Where rows were lost the audit log may be another one: say so, in it and in the archive.

    Without a row to rebuild nothing is excused: a log that was cut stays a problem.
    """
    anchors = decisions.anchors(settings.archive_dir)
    broken = audit.verify(settings.database_path, anchors=anchors)
    lost = {found.seq for found in broken if found.kind == "anchor"}
    if not lost:
        return
    heads = [head for seq, head in anchors.items() if seq in lost]
    async with transaction():
        await audit.append(
            "audit:restart", ACTOR, "", "", {"heads": [head.hex() for head in heads]}, at=at
        )
    decisions.give_up_anchors(settings, heads, at)
    report.new_audit_log = True


async def _missing(archive: Archive) -> AsyncIterator[Folder]:
    for chunk in _chunks(archive.folders()):
        marks = ",".join("?" * len(chunk))
        uids = [folder.uid for folder in chunk]
        rows = await fetch(
            f"SELECT uid FROM document WHERE uid IN ({marks}) "
            f"UNION SELECT uid FROM notice WHERE uid IN ({marks})",
            uids + uids,
        )
        there = {row["uid"] for row in rows}
        for folder in chunk:
            if folder.uid not in there:
                yield folder


def _read_decisions(archive: Archive, wanted: set[str]) -> _Known:
    known = _Known()
    for line in decisions.read(archive.root):
        kind, uid = line["type"], line.get("uid")
        if kind == "client":
            known.clients[str(uid)] = line
        elif kind == "message":
            known.messages[str(uid)] = line
        elif kind == "closed_period":
            known.closed.append(line)
        elif kind == "event" and line.get("document") in wanted:
            known.events[line["document"]].append(line)
        elif kind == "document" and uid in wanted:
            before = known.documents.get(uid)
            # A day that was written again later holds a newer state than the days after it.
            if before is None or before["changed_at"] <= line["changed_at"]:
                known.documents[uid] = line
        elif kind == "notice" and uid in wanted:
            known.notices[uid] = line
    for events in known.events.values():
        events.sort(key=lambda event: (event["at"], event["revision"]))
    return known


async def _restore(
    folder: Folder,
    facts: Mapping[str, Any],
    known: _Known,
    archive: Archive,
    at: datetime,
    report: Report,
) -> None:
    if facts["uid"] != folder.uid or facts["client"]["uid"] != folder.client_uid:
        raise ValueError("the manifest is of another folder")
    made: list[str] = []
    client = await _client(facts["client"], known, at, made)
    message = await _message(client, facts["message"], folder, known, at, made)
    if "notice" in facts:
        await _notice(folder, client, message, facts, known, at)
        made.append("notices")
    else:
        decided = await _document(folder, client, message, facts, known, archive, at)
        made += ["documents"] if decided else ["documents", "undecided"]
    for name in made:
        setattr(report, name, getattr(report, name) + 1)


async def _client(facts: Mapping[str, Any], known: _Known, at: datetime, made: list[str]) -> int:
    rows = await fetch("SELECT id FROM client WHERE uid = ?", [facts["uid"]])
    if rows:
        return int(rows[0]["id"])
    latest = {**facts, **known.clients.get(facts["uid"], {})}
    values = [(item["scheme"], item["value"]) for item in latest["identifiers"]]
    for _, value in values:
        if await fetch("SELECT 1 FROM client_identifier WHERE value = ?", [value]):
            raise BadInput(
                Sentence(
                    f"Clientul „{latest['name']}” a fost creat din nou cu alt identificator "
                    "intern. Pornește de la o bază de date fără el și rulează întâi "
                    "„arhivar reindex”.",
                    f"the client {latest['name']} was created anew under another internal id; "
                    "start from a database without it and run `arhivar reindex` first",
                )
            )
    taken = {row["folder_key"] for row in await fetch("SELECT folder_key FROM client")}
    name = naming.free_name(latest["folder_name"], taken)
    inserted = await _insert(
        "client",
        {
            "uid": facts["uid"],
            "name": latest["name"],
            "folder_name": name,
            "folder_key": name.casefold(),
            "provisional": int(not values),
            "created_at": latest.get("created_at") or to_text(at),
        },
    )
    for scheme, value in values:
        await _insert(
            "client_identifier",
            {"client": inserted, "scheme": scheme, "value": value, "confirmed_at": to_text(at)},
        )
    await audit.append("client:reindex", ACTOR, facts["uid"], facts["uid"], {}, at=at)
    made.append("clients")
    return inserted


async def _message(
    client: int,
    facts: Mapping[str, Any] | None,
    folder: Folder,
    known: _Known,
    at: datetime,
    made: list[str],
) -> int | None:
    if facts is None:
        return None
    rows = await fetch(
        "SELECT id, uid FROM message WHERE uid = ? OR client = ? AND message_id = ? "
        "ORDER BY uid <> ?",
        [facts["uid"], client, facts["message_id"], facts["uid"]],
    )
    if rows and rows[0]["uid"] != facts["uid"]:
        raise BadInput(
            Sentence(
                f"Mesajul {facts['message_id']} a fost listat din nou și se descarcă în alt dosar; "
                f"dosarul {folder} rămâne în arhivă fără document.",
                f"message {facts['message_id']} was listed anew and is downloaded to another "
                f"folder; the folder {folder} stays in the archive without a document",
            )
        )
    if rows:
        return int(rows[0]["id"])
    state = known.messages.get(facts["uid"], {}).get("state")
    made.append("messages")
    return await _insert(
        "message",
        {
            **manifest.columns(facts, manifest.MESSAGE),
            "client": client,
            "state": state if state in ("archived", "notice") else "archived",
            "settled_at": known.messages.get(facts["uid"], {}).get("settled_at") or to_text(at),
        },
    )


async def _document(
    folder: Folder,
    client: int,
    message: int | None,
    facts: Mapping[str, Any],
    known: _Known,
    archive: Archive,
    at: datetime,
) -> bool:
    """Insert a document with all that hangs on it; tell whether its decision was known."""
    state = known.documents.get(folder.uid)
    events = known.events.get(folder.uid, [])
    row = {
        **manifest.columns(facts["document"], manifest.DOCUMENT),
        "source": facts["source"],
        "received_at": facts["received_at"],
        "signature_result": facts["signature"]["result"],
        "signature_reason": facts["signature"]["reason"],
        "signature_fingerprint": facts["signature"]["fingerprint"],
        "status": Status.PENDING.value,
        "revision": 1,
    }
    if state is not None:
        row |= {name: state[name] for name in _STATE if name in state and name != "type"}
        row["type"] = state.get("document_type") or row["type"]
    elif events:
        row |= {"status": events[-1]["new_status"], "revision": events[-1]["revision"]}
        if row["status"] == Status.ARCHIVED:
            row["period"] = next((e["period"] for e in reversed(events) if e["period"]), None)
    else:
        row["problem"] = _joined(row["problem"]).to_json()
    row["status"] = Status(row["status"]).value
    taken = {
        found["folder_key"]
        for found in await fetch(
            "SELECT folder_key FROM document WHERE client = ? UNION "
            "SELECT folder_key FROM notice WHERE client = ?",
            [client, client],
        )
    }
    name = naming.free_name(row["folder_name"], taken)
    row |= {
        "uid": folder.uid,
        "client": client,
        "message": message,
        "archive_month": folder.month,
        "folder_name": name,
        "folder_key": name.casefold(),
        "uploader": await _account(facts["received_by"]),
        "taken_by": await _account(state.get("taken_by")) if state else None,
        "changed_at": to_text(at),
    }
    document = await _insert("document", row)
    for line in facts["document"]["lines"]:
        await _insert(
            "document_line", {**manifest.columns(line, manifest.LINE), "document": document}
        )
    files = _known_files(facts, state, archive, folder)
    await _files("document", document, files, name, facts["received_at"])
    if row["type"] in ("invoice", "credit_note") and not any(f["role"] == "pdf" for f in files):
        await pdfs.again([folder.uid], at)
    for event in await _history(events, row, at):
        await _insert("event", {**event, "document": document})
    await audit.append(
        "document:reindex",
        ACTOR,
        folder.client_uid,
        folder.uid,
        {"status": row["status"], "decided": state is not None or bool(events)},
        at=at,
    )
    return state is not None or bool(events)


async def _history(
    events: list[dict[str, Any]], row: Mapping[str, Any], at: datetime
) -> list[dict[str, Any]]:
    """Return the steps as rows; they end with the status that the document gets."""
    steps: list[dict[str, Any]] = []
    for event in events:
        steps.append(
            {
                **{name: event.get(name) for name in _EVENT},
                "account": await _account(event.get("account"), event.get("email")),
                "channel": ACTOR,
                # Where it was decided; the column says that it was rebuilt.
                "device": event.get("device") or event.get("channel"),
            }
        )
    last = steps[-1]["new_status"] if steps else None
    if last != row["status"]:
        steps.append(
            {
                "at": to_text(at),
                "action": ACTOR if steps else "ingest",
                "old_status": last,
                "new_status": row["status"],
                "revision": row["revision"],
                "channel": ACTOR,
            }
        )
    return steps


async def _notice(
    folder: Folder,
    client: int,
    message: int | None,
    facts: Mapping[str, Any],
    known: _Known,
    at: datetime,
) -> None:
    seen = known.notices.get(folder.uid, {})
    taken = {
        found["folder_key"]
        for found in await fetch(
            "SELECT folder_key FROM document WHERE client = ? UNION "
            "SELECT folder_key FROM notice WHERE client = ?",
            [client, client],
        )
    }
    wanted = seen.get("folder_name") or facts["notice"]["folder_name"]
    name = naming.free_name(wanted, taken)
    notice = await _insert(
        "notice",
        {
            **manifest.columns(facts["notice"], manifest.NOTICE),
            "uid": folder.uid,
            "client": client,
            "message": message,
            "folder_name": name,
            "folder_key": name.casefold(),
            "archive_month": folder.month,
            "created_at": facts["received_at"],
            "acknowledged_client_at": seen.get("acknowledged_client_at"),
            "acknowledged_client_by": await _account(seen.get("acknowledged_client_by")),
            "acknowledged_firm_at": seen.get("acknowledged_firm_at"),
            "acknowledged_firm_by": await _account(seen.get("acknowledged_firm_by")),
        },
    )
    await _files("notice", notice, facts["files"], name, facts["received_at"])
    await audit.append("notice:reindex", ACTOR, folder.client_uid, folder.uid, {}, at=at)


async def _restore_messages(known: _Known, at: datetime, report: Report) -> None:
    """Bring back messages without a folder of their own.

    Those that waited or could not be had, and those whose document an import
    had brought before: they are that document's again.
    """
    documents, notices = _kept_elsewhere(known.documents), _kept_elsewhere(known.notices)
    for uid, line in known.messages.items():
        rows = await fetch(
            "SELECT id FROM client WHERE uid = ? AND NOT EXISTS (SELECT 1 FROM message m "
            "WHERE m.uid = ? OR m.client = client.id AND m.message_id = ?)",
            [line["client"], uid, line["message_id"]],
        )
        if not rows:
            continue
        # Its folder would have brought it back: what is left has to be downloaded again.
        lost = line["state"] in ("archived", "notice") and uid not in documents | notices
        async with transaction():
            message = await _insert(
                "message",
                {
                    **{name: line.get(name) for name in manifest.MESSAGE},
                    "type": line["message_type"],
                    "client": rows[0]["id"],
                    "state": "queued" if lost else line["state"],
                    "problem": line.get("problem"),
                    "settled_at": None if lost else line.get("settled_at"),
                },
            )
            if lost or line["state"] == "queued":
                await jobs.insert("message", uid, at, client_id=rows[0]["id"])
            for table, kept in (("document", documents), ("notice", notices)):
                await execute(
                    f"UPDATE {table} SET message = ? WHERE uid = ? AND message IS NULL",
                    [message, kept.get(uid)],
                )
            await audit.append("message:reindex", ACTOR, line["client"], uid, {}, at=at)
        report.messages += 1


def _kept_elsewhere(lines: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return, by message, what an import had brought before the message came."""
    return {
        str(line["message"]): uid
        for uid, line in lines.items()
        if line.get("message") not in (None, uid)
    }


async def _restore_closed_periods(known: _Known) -> None:
    async with transaction():
        for line in known.closed:
            await execute(
                "INSERT INTO closed_period (client, period, closed_at, closed_by) "
                "SELECT id, ?, ?, ? FROM client WHERE uid = ? ON CONFLICT DO NOTHING",
                [
                    line["period"],
                    line["closed_at"],
                    await _account(line.get("closed_by")),
                    line["client"],
                ],
            )


async def _files(
    table: str, owner: int, files: Iterable[Mapping[str, Any]], folder_name: str, created_at: str
) -> None:
    taken: set[str] = set()
    for file in files:
        row = {**manifest.columns(file, manifest.FILE), table: owner, "created_at": created_at}
        suffix = row.pop("shown_suffix", None)
        shown = row["shown_name"] or (folder_name + suffix if suffix else None)
        if shown is not None:
            shown = naming.free_file_name(shown, taken)
            taken.add(shown.casefold())
        row |= {"shown_name": shown, "shown_key": shown.casefold() if shown else None}
        await _insert(f"{table}_file", row)


def _known_files(
    facts: Mapping[str, Any], state: Mapping[str, Any] | None, archive: Archive, folder: Folder
) -> list[Mapping[str, Any]]:
    """Return the files as last shown; a PDF that is not there is left to be rendered."""
    shown = {file["stored_name"]: file for file in facts["files"]}
    for file in state["files"] if state else ():
        if file["stored_name"] in DERIVED and not _is_whole(archive, folder, file):
            continue
        shown[file["stored_name"]] = {**shown.get(file["stored_name"], {}), **file}
    return list(shown.values())


def _is_whole(archive: Archive, folder: Folder, file: Mapping[str, Any]) -> bool:
    path = archive.path_of(folder.client_uid, folder.month, folder.uid, file["stored_name"])
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]


def _joined(problem: str | None) -> Sentence:
    """Return the sentence to be verified, after the problem that the document had before."""
    if not problem:
        return TO_VERIFY
    before = Sentence.from_json(problem)
    return Sentence(f"{before.ro} {TO_VERIFY.ro}", f"{before.en}; {TO_VERIFY.en}")


async def _account(uid: str | None, email: str | None = None) -> int | None:
    if not uid:
        return None
    rows = await fetch(
        "SELECT id FROM account WHERE uid = ? UNION ALL SELECT id FROM account WHERE email_key = ?",
        [uid, (email or "").casefold()],
    )
    return int(rows[0]["id"]) if rows else None


async def _insert(table: str, row: Mapping[str, Any]) -> int:
    names = ", ".join(row)
    marks = ", ".join("?" * len(row))
    made = await execute(
        f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id",
        list(row.values()),
    )
    return int(made[0]["id"])


def _unusable(folder: Folder, error: Exception) -> Sentence:
    return Sentence(
        f"Manifestul din {folder} nu poate fi folosit ({type(error).__name__}: {error}). "
        "Restaurează dosarul din copia de siguranță.",
        f"the manifest in {folder} cannot be used ({type(error).__name__}: {error}); "
        "restore the folder from a backup",
    )


def _chunks(folders: Iterator[Folder]) -> Iterator[list[Folder]]:
    while chunk := list(islice(folders, _CHUNK)):
        yield chunk

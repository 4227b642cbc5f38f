"""What people decided, kept beside the documents: archive/decisions/<yyyy-mm-dd>.jsonl.

A manifest holds what a document *is* and never changes; these files hold what
happened to it, a file for each day of Bucharest and a line for each thing, so
that `reindex` can bring rows back with their status. Lines, by `type`:

    event           one step of a document, with the account's uid and e-mail
    document        how the document stood when the file was written
    message         an entry of the SPV list that was listed or settled that day
    notice          a notice that came, was acknowledged, or got its message that day
    closed_period   an accounting month closed that day
    client          every client, with its folder and identifiers
    audit           number and head of the last record of the audit log then
    restart         heads that no longer count, since `reindex` began a new log

A file is replaced whole by rename. What an earlier writing of the day knew and
the database no longer knows stays in it: a database that was restored from a
backup must not erase the only trace of what it lost.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from appliance.config import Settings
from appliance.core.chain import canonical
from appliance.core.times import BUCHAREST, from_text, to_text
from appliance.store import audit
from appliance.store.files import DECISIONS, Archive

Line = dict[str, Any]

# A shutdown must not write all over again the years that a clock ahead has just brought.
_WRITING = threading.Lock()

_TYPES = ("client", "message", "document", "event", "notice", "closed_period", "audit", "restart")

# What a line of each type must say to be of use.
_NEEDED: dict[str, dict[str, type]] = {
    "client": {"uid": str, "name": str, "folder_name": str, "identifiers": list},
    "message": {"uid": str, "client": str, "message_id": str, "message_type": str, "state": str},
    "document": {"uid": str, "status": str, "changed_at": str, "files": list},
    "event": {"document": str, "at": str, "action": str, "new_status": str, "revision": int},
    "notice": {"uid": str},
    "closed_period": {"client": str, "period": str, "closed_at": str},
    "audit": {"seq": int, "head": str},
    "restart": {"heads": list},
}

_DOCUMENT_STATE = """
    d.uid, c.uid AS client, d.kind, d.status, d.revision, d.source, d.type, m.uid AS message,
    d.number, d.issue_date, d.due_date, d.tax_point_date, d.received_at, d.supplier_name,
    d.supplier_cif, d.customer_name, d.customer_cif, d.partner_name, d.partner_cif, d.currency,
    d.payable_minor, d.signed_minor, d.ron_minor, d.tax_minor, d.summary, d.folder_name,
    d.archive_month, d.period, d.taken_at, d.signature_result, d.signature_reason,
    d.signature_fingerprint, d.warnings, d.problem, d.changed_at,
    u.uid AS uploader, u.email AS uploader_email, t.uid AS taken_by, t.email AS taken_by_email
"""

_DOCUMENTS = f"""
    SELECT {_DOCUMENT_STATE} FROM document d
    JOIN client c ON c.id = d.client
    LEFT JOIN message m ON m.id = d.message
    LEFT JOIN account u ON u.id = d.uploader
    LEFT JOIN account t ON t.id = d.taken_by
    WHERE d.changed_at >= :start AND d.changed_at < :end
        OR d.id IN (SELECT document FROM event WHERE at >= :start AND at < :end)
    ORDER BY d.id
"""
_FILES = """
    SELECT f.role, f.stored_name, f.shown_name, f.mime, f.size, f.sha256
    FROM document_file f JOIN document d ON d.id = f.document WHERE d.uid = ? ORDER BY f.id
"""
_EVENTS = """
    SELECT d.uid AS document, c.uid AS client, e.at, e.action, e.old_status, e.new_status,
        e.revision, a.uid AS account, a.email AS email, e.channel, e.device, e.reason, e.period
    FROM event e JOIN document d ON d.id = e.document JOIN client c ON c.id = d.client
    LEFT JOIN account a ON a.id = e.account
    WHERE e.at >= :start AND e.at < :end ORDER BY e.id
"""
_MESSAGES = """
    SELECT m.uid, c.uid AS client, m.message_id, m.upload_id, m.cif, m.type, m.details,
        m.created_raw, m.created_at, m.entry, m.state, m.problem, m.listed_at, m.settled_at
    FROM message m JOIN client c ON c.id = m.client
    WHERE m.listed_at >= :start AND m.listed_at < :end
        OR m.settled_at >= :start AND m.settled_at < :end
    ORDER BY m.id
"""
_NOTICES = """
    SELECT n.uid, c.uid AS client, m.uid AS message, n.type, n.upload_id, n.text, n.folder_name,
        n.period, n.archive_month, n.created_at, n.acknowledged_client_at, n.acknowledged_firm_at,
        ac.uid AS acknowledged_client_by, af.uid AS acknowledged_firm_by
    FROM notice n JOIN client c ON c.id = n.client LEFT JOIN message m ON m.id = n.message
    LEFT JOIN account ac ON ac.id = n.acknowledged_client_by
    LEFT JOIN account af ON af.id = n.acknowledged_firm_by
    WHERE n.created_at >= :start AND n.created_at < :end
        OR n.acknowledged_client_at >= :start AND n.acknowledged_client_at < :end
        OR n.acknowledged_firm_at >= :start AND n.acknowledged_firm_at < :end
        OR m.settled_at >= :start AND m.settled_at < :end
    ORDER BY n.id
"""
_CLOSED = """
    SELECT c.uid AS client, p.period, p.closed_at, a.uid AS closed_by
    FROM closed_period p JOIN client c ON c.id = p.client
    LEFT JOIN account a ON a.id = p.closed_by
    WHERE p.closed_at >= :start AND p.closed_at < :end ORDER BY p.id
"""


def write_day(settings: Settings, day: date) -> Path:
    """Write the file of a day of Bucharest, whole, and return its path.

    Written again it holds the full day again, and what only the earlier
    writing knew. After a crash the old file or the new one is there. The
    database is only read, in one snapshot. Raises `Busy` for a full disk.
    """
    return _write(settings, day, [])


def _write(settings: Settings, day: date, further: list[Line]) -> Path:
    archive = Archive(settings.archive_dir)
    path = settings.archive_dir / DECISIONS / f"{day.isoformat()}.jsonl"
    with closing(audit.read_only(settings.database_path)) as connection:
        lines = _merged(_read_file(path), [*_collect(connection, day), *further])
    return archive.write_decisions(path.name, b"".join(canonical(line) + b"\n" for line in lines))


def write_due(settings: Settings, at: datetime) -> list[Path]:
    """Write today's file and those of the days since the last one, which may be incomplete.

    For the night and for shutdown. A machine that was off for a week leaves
    no day out: without any file it begins with the day of the first event. Who
    calls while another thread writes goes on where that one ended.
    """
    today = at.astimezone(BUCHAREST).date()
    written = []
    with _WRITING:
        day = min(_last_day(settings.archive_dir) or _first_day(settings) or today, today)
        while day <= today:
            written.append(write_day(settings, day))
            day += timedelta(days=1)
    return written


def days(archive_dir: Path) -> list[Path]:
    """Return the files that there are, oldest day first."""
    return sorted((archive_dir / DECISIONS).glob("[0-9]*.jsonl"))


def read(archive_dir: Path) -> Iterator[Line]:
    """Yield every line of every day, oldest day first; a line that cannot be used is left out."""
    for path in days(archive_dir):
        for line in _read_file(path):
            wanted = _NEEDED.get(line["type"])
            if wanted is not None and all(
                isinstance(line.get(name), kind) for name, kind in wanted.items()
            ):
                yield line


def anchors(archive_dir: Path) -> dict[int, bytes]:
    """Return the heads of the audit log that the files kept, the earliest for each number."""
    noted: list[tuple[int, str]] = []
    given_up: set[str] = set()
    for line in read(archive_dir):
        if line["type"] == "restart":
            given_up.update(map(str, line["heads"]))
        elif line["type"] == "audit" and line["seq"] > 0:
            noted.append((line["seq"], line["head"]))
    kept: dict[int, bytes] = {}
    for seq, head in noted:
        if head not in given_up and re.fullmatch("[0-9a-f]{64}", head):
            kept.setdefault(seq, bytes.fromhex(head))
    return kept


def give_up_anchors(settings: Settings, heads: Iterable[bytes], at: datetime) -> None:
    """Note that these heads belong to a log that was lost; they stay written and count no more.

    The note lies in the archive, which portal and drive cannot write: whoever
    rewrites the log in the database cannot excuse it.
    """
    line = {"type": "restart", "uid": to_text(at), "heads": sorted(head.hex() for head in heads)}
    _write(settings, at.astimezone(BUCHAREST).date(), [line])


def _collect(connection: sqlite3.Connection, day: date) -> Iterator[Line]:
    start = datetime.combine(day, time(), BUCHAREST)
    end = datetime.combine(day + timedelta(days=1), time(), BUCHAREST)
    within = {"start": to_text(start), "end": to_text(end)}
    connection.row_factory = _as_line
    connection.execute("BEGIN")
    for client in connection.execute("SELECT * FROM client ORDER BY id").fetchall():
        identifiers = connection.execute(
            "SELECT scheme, value, valid_from, confirmed_at FROM client_identifier "
            "WHERE client = ? ORDER BY id",
            (client.pop("id"),),
        )
        del client["folder_key"]
        yield {"type": "client", **client, "identifiers": identifiers.fetchall()}
    for kind, statement in (("message", _MESSAGES), ("document", _DOCUMENTS)):
        for line in connection.execute(statement, within).fetchall():
            found = {_renamed(kind, name): value for name, value in line.items()}
            if kind == "document":
                found["files"] = connection.execute(_FILES, (line["uid"],)).fetchall()
            yield {"type": kind, **found}
    for kind, statement in (("event", _EVENTS), ("closed_period", _CLOSED)):
        for line in connection.execute(statement, within).fetchall():
            yield {"type": kind, **line}
    for line in connection.execute(_NOTICES, within).fetchall():
        yield {"type": "notice", **{_renamed("notice", name): line[name] for name in line}}
    connection.row_factory = None
    seq, head = audit.head(connection)
    yield {"type": "audit", "seq": seq, "head": head.hex()}
    connection.execute("COMMIT")


def _renamed(kind: str, column: str) -> str:
    """Return the name of a column in a line, where `type` says what the line is."""
    return f"{kind}_type" if column == "type" else column


def _merged(before: list[Line], now: list[Line]) -> list[Line]:
    lines: dict[tuple[object, ...], Line] = {}
    for line in [*before, *now]:
        key = _key(line)
        old = lines.get(key)
        if old is None or not _stays(old, line):
            lines[key] = line
    order = {name: place for place, name in enumerate(_TYPES)}
    # Stable: within a type the database's own order, after what only the file knew.
    return sorted(lines.values(), key=lambda line: order.get(line["type"], len(order)))


def _stays(old: Line, new: Line) -> bool:
    """Tell whether the file knows a newer state than the database, as after a restore."""
    return str(old.get("changed_at") or "") > str(new.get("changed_at") or "")


def _key(line: Line) -> tuple[object, ...]:
    kind = line["type"]
    names = {
        "event": ("document", "at", "action", "new_status", "revision"),
        "closed_period": ("client", "period"),
        "audit": ("seq", "head"),
        "unreadable": ("text",),
    }.get(kind, ("uid",))
    return (kind, *(str(line.get(name)) for name in names))


def _read_file(path: Path) -> list[Line]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    lines: list[Line] = []
    for raw in data.split(b"\n"):
        try:
            line = json.loads(raw)
            canonical(line)
        except (ValueError, TypeError, RecursionError):
            line = None
        if isinstance(line, dict) and isinstance(line.get("type"), str):
            lines.append(line)
        elif raw.strip():
            lines.append({"type": "unreadable", "text": raw.decode(errors="replace")})
    return lines


def _as_line(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> Line:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


def _last_day(archive_dir: Path) -> date | None:
    for path in reversed(days(archive_dir)):
        try:
            return date.fromisoformat(path.stem)
        except ValueError:
            continue
    return None


def _first_day(settings: Settings) -> date | None:
    with closing(audit.read_only(settings.database_path)) as connection:
        first = connection.execute("SELECT MIN(at) FROM event").fetchone()[0]
    return from_text(first).astimezone(UTC).astimezone(BUCHAREST).date() if first else None

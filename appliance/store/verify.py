"""`arhivar check`: rows and files compared both ways, and every promise that can be counted.

It only reads, and may run while the services work: whatever is on its way in
(a folder whose row is still to come, a PDF being replaced) is no problem as
long as somebody is at work on it. Files never move and are never removed, so
what the walk misses it looks at a second time before it speaks.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

from appliance.config import Settings
from appliance.core.errors import ArhivarError, NotFound
from appliance.core.roles import Kind, Status
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.store import audit, decisions
from appliance.store.check_problems import Problem, problem
from appliance.store.files import DERIVED, MANIFEST, QUARANTINE, TEMPORARY, Archive, Folder

PARTS = 28
"""Nights in which a scrub reads every byte once (`part`)."""
IN_FLIGHT = timedelta(hours=1)
LEASE_GRACE = timedelta(minutes=15)
_CHUNK = 500

_SETTLED = ("expired", "not_allowed", "quarantined")


def check(
    settings: Settings,
    deep: bool = False,
    at: datetime | None = None,
    *,
    part: int | None = None,
) -> list[Problem]:
    """Return everything that is not as it must be, sorted; an empty list is a promise kept.

    Sizes and names are compared always; `deep` hashes every byte, `part` (0
    to 27) only those documents whose night it is. `at` is the moment of the
    question. A damaged database or file is a problem in the list and never an
    error, whatever it holds, and so is a database that is lost. Where neither
    database nor folders are, no archive is either: `NotFound`.
    """
    if at is None:
        raise ValueError("check() needs the moment it is asked at")
    if _absent(settings.database_path):
        if next(Archive(settings.archive_dir).folders(), None) is None:
            raise _no_archive(settings.data_dir)
        return [problem("database_missing", settings.database_path.name)]
    problems: list[Problem] = []
    try:
        with closing(audit.read_only(settings.database_path)) as connection:
            check_run = _Check(settings, connection, at, deep=deep, part=part)
            for look in (check_run.database, check_run.rows, check_run.files, check_run.audit):
                try:
                    problems.extend(look())
                except sqlite3.Error as error:
                    problems.append(problem("database", "arhivar.db", error))
    except sqlite3.Error as error:
        problems.append(problem("database", "arhivar.db", error))
    return sorted(set(problems))


def _absent(database: Path) -> bool:
    try:
        database.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # it may be there; SQLite says what is wrong with it
    return False


def _no_archive(data_dir: Path) -> NotFound:
    return NotFound(
        Sentence(
            f"În {data_dir} nu este nicio arhivă. Alege alt dosar (data_dir, ARHIVAR_DATA_DIR) "
            "sau fă o arhivă nouă cu „arhivar init”.",
            f"there is no archive in {data_dir}; choose another directory (data_dir, "
            "ARHIVAR_DATA_DIR) or make a new archive with `arhivar init`",
        )
    )


class _Check:
    def __init__(
        self,
        settings: Settings,
        connection: sqlite3.Connection,
        at: datetime,
        *,
        deep: bool,
        part: int | None,
    ) -> None:
        self.archive = Archive(settings.archive_dir)
        self.db = connection
        self.at = at
        self.deep = deep
        self.part = part
        connection.row_factory = sqlite3.Row

    # The database by itself

    def database(self) -> Iterator[Problem]:
        for row in self.db.execute("PRAGMA integrity_check(20)"):
            if row[0] != "ok":
                yield problem("database", "arhivar.db", row[0])
        for row in self.db.execute("PRAGMA foreign_key_check").fetchmany(20):
            yield problem("database", f"{row[0]} {row[1]}", f"{row[0]} → {row[2]}")

    def audit(self) -> Iterator[Problem]:
        for broken in audit.verify(self.db, anchors=decisions.anchors(self.archive.root)):
            ro, en = broken.sentence
            yield Problem(
                "audit", str(broken.seq or ""), Sentence(f"Jurnalul de audit: {ro}", f"audit: {en}")
            )

    def rows(self) -> Iterator[Problem]:
        self.db.execute("BEGIN")
        try:
            yield from self._events()
            if self.deep or self.part is not None:
                yield from self._event_records()
            yield from self._messages()
            yield from self._jobs()
            yield from self._names()
        finally:
            self.db.execute("COMMIT")

    def _events(self) -> Iterator[Problem]:
        for row in self.db.execute(
            "SELECT d.uid, d.status, d.kind, d.period, e.new_status FROM document d LEFT JOIN "
            "(SELECT document, MAX(id) AS last FROM event GROUP BY document) l "
            "ON l.document = d.id LEFT JOIN event e ON e.id = l.last"
        ):
            if row["new_status"] is None:
                yield problem("event_missing", row["uid"])
            elif row["new_status"] != row["status"]:
                detail = f"{row['status']} ≠ {row['new_status']}"
                yield problem("event_status", row["uid"], detail)
            if row["status"] not in set(Status) or row["kind"] not in set(Kind):
                yield problem("document_value", row["uid"], f"{row['status']}, {row['kind']}")
            elif row["status"] == Status.ARCHIVED and not row["period"]:
                yield problem("document_value", row["uid"], "archived, period NULL")
        for row in self.db.execute(
            "SELECT uid, was, old_status FROM (SELECT d.uid, e.old_status, LAG(e.new_status) "
            "OVER (PARTITION BY e.document ORDER BY e.id) AS was FROM event e "
            "JOIN document d ON d.id = e.document) WHERE was IS NOT old_status"
        ):
            yield problem("event_gap", row["uid"], f"{row['was']} ≠ {row['old_status']}")

    def _event_records(self) -> Iterator[Problem]:
        """Yield the steps that the audit log does not tell of; rebuilt ones have none there."""
        for row in self.db.execute(
            "WITH told AS (SELECT json_extract(text, '$.object') AS uid, "
            "json_extract(text, '$.action') AS action, COUNT(*) AS n FROM "
            "(SELECT CAST(body AS TEXT) AS text FROM audit) WHERE json_valid(text) GROUP BY 1, 2), "
            "done AS (SELECT d.uid, 'document:' || e.action AS action, COUNT(*) AS n "
            "FROM event e JOIN document d ON d.id = e.document WHERE e.channel <> 'reindex' "
            "GROUP BY 1, 2) "
            "SELECT done.uid, done.action, done.n, COALESCE(told.n, 0) AS told FROM done "
            "LEFT JOIN told ON told.uid = done.uid AND told.action = done.action "
            "WHERE told.n IS NULL OR told.n < done.n"
        ):
            detail = f"{row['action']} {row['told']} < {row['n']}"
            yield problem("event_audit", row["uid"], detail)

    def _messages(self) -> Iterator[Problem]:
        for row in self.db.execute(
            "SELECT m.uid, m.state, m.problem, d.uid AS document, n.uid AS notice, "
            "(SELECT COUNT(*) FROM job j WHERE j.kind = 'message' AND j.object_uid = m.uid "
            "AND (j.state IN ('queued', 'leased') OR j.state = 'parked' AND j.problem IS NOT NULL)"
            ") AS at_work FROM message m LEFT JOIN document d ON d.message = m.id "
            "LEFT JOIN notice n ON n.message = m.id"
        ):
            uid, state = row["uid"], row["state"]
            if state == "queued":
                if row["document"] or row["notice"]:
                    yield problem("document_message", row["document"] or row["notice"], state)
                if not row["at_work"]:
                    yield problem("message_forgotten", uid)
            elif state in ("archived", "notice"):
                if not (row["document"] or row["notice"]):
                    yield problem("message_without_document", uid)
            elif state in _SETTLED:
                if not row["problem"]:
                    yield problem("message_without_reason", uid, state)
                if state == "quarantined":
                    held = self.archive.root / QUARANTINE / uid / "message.zip"
                    if not held.is_file():
                        yield problem("missing_file", f"{QUARANTINE}/{uid}/message.zip")
            else:
                yield problem("message_state", uid, state)

    def _jobs(self) -> Iterator[Problem]:
        for row in self.db.execute(
            "SELECT kind, object_uid, lease_until FROM job WHERE state = 'leased' "
            "AND (lease_until IS NULL OR lease_until < ?)",
            (to_text(self.at - LEASE_GRACE),),
        ):
            yield problem("stale_lease", _job(row), row["lease_until"] or "?")
        for row in self.db.execute(
            "SELECT kind, object_uid FROM job WHERE state = 'parked' AND problem IS NULL"
        ):
            yield problem("parked_without_reason", _job(row))
        for kind, table in (
            ("list", "client"),
            ("message", "message"),
            ("render", "document"),
            ("import", "import_item"),
        ):
            for row in self.db.execute(
                f"SELECT kind, object_uid FROM job WHERE kind = ? "
                f"AND state IN ('queued', 'leased') AND object_uid <> '' "
                f"AND object_uid NOT IN (SELECT uid FROM {table})",
                (kind,),
            ):
                yield problem("orphan_job", _job(row))
        for row in self.db.execute(
            "SELECT i.uid FROM import_item i WHERE i.state = 'queued' AND NOT EXISTS (SELECT 1 "
            "FROM job j WHERE j.kind = 'import' AND j.object_uid = i.uid AND j.state <> 'done')"
        ):
            yield problem("import_forgotten", row["uid"])
        # A PDF may be on its way in a transaction of its own for a moment.
        for row in self.db.execute(
            "SELECT d.uid FROM document d WHERE d.type IN ('invoice', 'credit_note') "
            "AND d.problem IS NULL AND NOT EXISTS (SELECT 1 FROM document_file f "
            "WHERE f.document = d.id AND f.role = 'pdf') AND NOT EXISTS (SELECT 1 FROM job j "
            "WHERE j.kind = 'render' AND j.object_uid = d.uid AND j.state <> 'done') "
            "AND (SELECT MIN(e.at) FROM event e WHERE e.document = d.id) < ?",
            (to_text(self.at - IN_FLIGHT),),
        ):
            yield problem("not_rendered", row["uid"])

    def _names(self) -> Iterator[Problem]:
        """Folder names that a drive would show twice, and folders that count wrongly."""
        rows = self.db.execute(
            "SELECT client, folder_key, folder_name, uid FROM document UNION ALL "
            "SELECT client, folder_key, folder_name, uid FROM notice"
        )
        seen: dict[tuple[int, str], str] = {}
        for client, key, name, uid in rows:
            if key != name.casefold():
                yield problem("folder_name", name, f"{key} ≠ {name.casefold()}")
            other = seen.setdefault((client, name.casefold()), uid)
            if other != uid:
                yield problem("folder_name", name, f"{other}, {uid}")
        for row in self.db.execute(
            "SELECT client, status, kind, period, SUM(n) AS off FROM ("
            "SELECT client, status, kind, COALESCE(period, '') AS period, COUNT(*) AS n "
            "FROM document GROUP BY 1, 2, 3, 4 UNION ALL "
            "SELECT client, status, kind, period, -documents FROM folder) "
            "GROUP BY 1, 2, 3, 4 HAVING off <> 0"
        ):
            where = f"{row['client']}/{row['status']}/{row['kind']}/{row['period']}"
            yield problem("folder_count", where, f"{row['off']:+}")

    # Rows and files

    def files(self) -> Iterator[Problem]:
        yield from self._rows_to_files()
        yield from self._files_to_rows()

    def _rows_to_files(self) -> Iterator[Problem]:
        for table in ("document", "notice"):
            last = 0
            while True:
                rows = self.db.execute(
                    f"SELECT d.id, d.uid, c.uid AS client, d.archive_month, f.role, "
                    f"f.stored_name, f.size, f.sha256 FROM (SELECT * FROM {table} WHERE id > ? "
                    f"ORDER BY id LIMIT {_CHUNK}) d JOIN client c ON c.id = d.client "
                    f"LEFT JOIN {table}_file f ON f.{table} = d.id ORDER BY d.id",
                    (last,),
                ).fetchall()
                if not rows:
                    break
                last = rows[-1]["id"]
                for _, group in groupby(rows, key=lambda row: int(row["id"])):
                    yield from self._folder(list(group))

    def _folder(self, rows: list[sqlite3.Row]) -> Iterator[Problem]:
        first = rows[0]
        try:
            folder = Folder(first["client"], first["archive_month"], first["uid"])
        except (ArhivarError, TypeError):
            yield problem("missing_folder", f"{first['client']}/{first['uid']}")
            return
        path = self.archive.root / str(folder)
        try:
            present = {entry.name: entry for entry in os.scandir(path)}
        except OSError:
            yield problem("missing_folder", str(folder))
            return
        hashing = self.deep or (
            self.part is not None and zlib.crc32(folder.uid.encode()) % PARTS == self.part % PARTS
        )
        expected = {row["stored_name"]: row for row in rows if row["stored_name"] is not None}
        for name, row in expected.items():
            yield from self._file(folder, name, row, hashing=hashing)
        if MANIFEST not in present:
            yield problem("missing_file", f"{folder}/{MANIFEST}")
        elif hashing:
            yield from self._manifest(folder, expected)
        for name in sorted(present.keys() - expected.keys() - DERIVED - {MANIFEST}):
            yield problem("extra_file", f"{folder}/{name}")

    def _file(
        self, folder: Folder, name: str, row: sqlite3.Row, *, hashing: bool
    ) -> Iterator[Problem]:
        for attempt in (1, 2):
            found = list(_compare(self.archive, folder, name, row, hashing=hashing))
            if not found or name not in DERIVED or attempt == 2:
                break
            # The PDF may have been replaced a moment ago: ask for its row again.
            if self._being_rendered(folder):
                return
            again = self.db.execute(
                "SELECT f.* FROM document_file f JOIN document d ON d.id = f.document "
                "WHERE d.uid = ? AND f.stored_name = ?",
                (folder.uid, name),
            ).fetchone()
            row = again or row
        yield from found

    def _being_rendered(self, folder: Folder) -> bool:
        return bool(
            self.db.execute(
                "SELECT 1 FROM job WHERE kind = 'render' AND object_uid = ? "
                "AND state IN ('queued', 'leased')",
                (folder.uid,),
            ).fetchone()
        )

    def _manifest(self, folder: Folder, expected: dict[str, sqlite3.Row]) -> Iterator[Problem]:
        where = f"{folder}/{MANIFEST}"
        try:
            manifest = self.archive.read_manifest(folder.client_uid, folder.month, folder.uid)
            stated = {
                str(file["stored_name"]): (file["size"], file["sha256"])
                for file in manifest["files"]
            }
            client = manifest["client"]["uid"]
        except (ArhivarError, OSError, KeyError, TypeError):
            yield problem("manifest", where, "?")
            return
        if (manifest.get("uid"), client) != (folder.uid, folder.client_uid):
            yield problem("manifest", where, f"{client}/{manifest.get('uid')}")
        for name, row in expected.items():
            if name in DERIVED or name == MANIFEST:
                continue
            if stated.pop(name, None) != (row["size"], row["sha256"]):
                yield problem("manifest", where, name)
        for name in stated:
            yield problem("manifest", where, name)

    def _files_to_rows(self) -> Iterator[Problem]:
        for path in self.archive.strays():
            where = str(path.relative_to(self.archive.root))
            if not path.name.startswith(TEMPORARY):
                yield problem("stray", where)
            elif self._age(path) > IN_FLIGHT:
                yield problem("old_temporary", where)
        yield from self._quarantine()
        unknown: list[Folder] = []
        for chunk in _chunks(self.archive.folders(), _CHUNK):
            known = self._known(folder.uid for folder in chunk)
            unknown += [folder for folder in chunk if str(folder) not in known]
        # A second look: its row may have been committed since.
        for chunk in _chunks(unknown, _CHUNK):
            known = self._known(folder.uid for folder in chunk)
            for folder in chunk:
                if str(folder) in known or self._in_flight(folder):
                    continue
                yield problem("extra_folder", str(folder))

    def _quarantine(self) -> Iterator[Problem]:
        held = self.archive.root / QUARANTINE
        for path in sorted(held.iterdir()) if held.is_dir() else ():
            if path.name.startswith(TEMPORARY) or self._age(path) < IN_FLIGHT:
                continue
            if not self.db.execute(
                "SELECT 1 FROM message WHERE uid = ? AND state IN ('quarantined', 'queued')",
                (path.name,),
            ).fetchone():
                yield problem("stray", f"{QUARANTINE}/{path.name}")

    def _known(self, uids: Iterable[str]) -> set[str]:
        values = list(uids)
        marks = ",".join("?" * len(values))
        return {
            row[0]
            for table in ("document", "notice")
            for row in self.db.execute(
                f"SELECT c.uid || '/' || d.archive_month || '/' || d.uid FROM {table} d "
                f"JOIN client c ON c.id = d.client WHERE d.uid IN ({marks})",
                values,
            )
        }

    def _in_flight(self, folder: Folder) -> bool:
        """Tell whether somebody is at work on the folder, or was a moment ago."""
        if self.db.execute(
            "SELECT 1 FROM job WHERE object_uid = ? AND (state = 'queued' "
            "OR state = 'leased' AND lease_until >= ?)",
            (folder.uid, to_text(self.at - LEASE_GRACE)),
        ).fetchone():
            return True
        return self._age(self.archive.root / str(folder)) < IN_FLIGHT

    def _age(self, path: Path) -> timedelta:
        try:
            return timedelta(seconds=self.at.timestamp() - path.lstat().st_mtime)
        except OSError:  # gone: it was at work
            return timedelta(0)


def _compare(
    archive: Archive, folder: Folder, name: str, row: sqlite3.Row, *, hashing: bool
) -> Iterator[Problem]:
    where = f"{folder}/{name}"
    path = archive.root / str(folder) / name
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            yield problem("missing_file", where)
        elif facts.st_size != row["size"]:
            yield problem("wrong_size", where, f"{facts.st_size} ≠ {row['size']}")
        elif hashing:
            with archive.open_file(folder.client_uid, folder.month, folder.uid, name) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != row["sha256"]:
                    yield problem("wrong_bytes", where)
    except FileNotFoundError:
        yield problem("missing_file", where)
    except (OSError, ArhivarError) as error:
        yield problem("unreadable_file", where, error)


def _job(row: sqlite3.Row) -> str:
    return f"{row['kind']} {row['object_uid']}"


def _chunks(items: Iterable[Folder], size: int) -> Iterator[list[Folder]]:
    chunk: list[Folder] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

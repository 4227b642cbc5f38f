"""`arhivar export DIR`: the tree of the drive as plain folders, for a life without Arhivar.

Files are copied, never linked, and compared with their SHA-256 on the way. An
export that was interrupted goes on where it was; one that is made again brings
itself up to date: a document that has moved on since is moved in DIR too.
`.arhivar-export.json` in DIR says that the folder is ours and where each
document was put.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from appliance.config import Settings
from appliance.core import tree
from appliance.core.errors import ArhivarError, BadInput, Busy
from appliance.core.roles import Kind, Status
from appliance.core.sentence import Sentence
from appliance.core.times import from_text
from appliance.disk import fsync_directory
from appliance.store import audit
from appliance.store.files import Archive

MARKER = ".arhivar-export.json"
_CHUNK = 500


@dataclass
class Report:
    """What was written, and which files could not be."""

    folders: int = 0
    files: int = 0  # copied now
    unchanged: int = 0  # there already, from an earlier run
    problems: list[tuple[str, Sentence]] = field(default_factory=list)


@dataclass(frozen=True)
class _Item:
    uid: str
    client_uid: str
    month: str
    place: PurePosixPath
    files: tuple[dict[str, Any], ...]


def export(settings: Settings, target: Path) -> Report:
    """Write every document and notice as people see it on the drive into `target`.

    A folder that holds something and is no earlier export raises `BadInput`
    and is left alone; a full disk raises `Busy`, and the next run goes on. A
    file that is missing, damaged or cannot be written is named in the report
    and the rest is exported. Nothing in the archive or the database changes.
    """
    report = Report()
    placed = _enter(target)
    archive = Archive(settings.archive_dir)
    try:
        with closing(audit.read_only(settings.database_path)) as connection:
            connection.row_factory = sqlite3.Row
            for row in connection.execute("SELECT folder_name FROM client ORDER BY id").fetchall():
                for folder in (*tree.STATUS_FOLDERS.values(), *tree.KIND_FOLDERS.values()):
                    place = PurePosixPath(row["folder_name"], folder)
                    if _safe(place):
                        (target / place).mkdir(parents=True, exist_ok=True)
            for number, item in enumerate(_items(connection), start=1):
                _export_item(archive, item, target, placed, report)
                if number % _CHUNK == 0:
                    _write_marker(target, placed)
        _write_marker(target, placed)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            with suppress(OSError):
                _write_marker(target, placed)
            raise Busy(
                Sentence(
                    f"Nu se mai poate scrie în {target} ({error.strerror}). Eliberează spațiu și "
                    "rulează din nou aceeași comandă: continuă de unde a rămas.",
                    f"{target} takes no more ({error.strerror}); free some space and run the same "
                    "command again, it goes on where it was",
                )
            ) from error
        raise
    return report


def _enter(target: Path) -> dict[str, str]:
    """Return where an earlier export put each document; refuse a folder that is not one."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        # What a killed export left of its first marker counts as nothing.
        empty = all(path.name.startswith(f"{MARKER}.") for path in target.iterdir())
        if not empty:
            value = json.loads((target / MARKER).read_bytes())
            return {str(uid): str(place) for uid, place in value["folders"].items()}
        _write_marker(target, {})
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise _foreign(target) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _foreign(target) from error
    except PermissionError as error:
        raise BadInput(
            Sentence(
                f"Nu ai drepturi în {target}. Alege alt dosar.",
                f"you have no rights in {target}; choose another folder",
            )
        ) from error
    return {}


def _items(connection: sqlite3.Connection) -> Iterator[_Item]:
    for table in ("document", "notice"):
        columns = "d.status, d.kind, d.period" if table == "document" else "d.period"
        last = 0
        while True:
            rows = connection.execute(
                f"SELECT d.id, d.uid, d.archive_month, d.folder_name, {columns}, "
                f"c.uid AS client, c.folder_name AS client_folder, f.stored_name, f.shown_name, "
                f"f.size, f.sha256, f.created_at FROM (SELECT * FROM {table} WHERE id > ? "
                f"ORDER BY id LIMIT {_CHUNK}) d JOIN client c ON c.id = d.client "
                f"LEFT JOIN {table}_file f ON f.{table} = d.id AND f.shown_name IS NOT NULL "
                "ORDER BY d.id, f.id",
                (last,),
            ).fetchall()
            if not rows:
                break
            last = rows[-1]["id"]
            for _, group in groupby(rows, key=lambda row: int(row["id"])):
                found = list(group)
                yield _Item(
                    found[0]["uid"],
                    found[0]["client"],
                    found[0]["archive_month"],
                    _place(found[0], table),
                    tuple(dict(row) for row in found if row["stored_name"] is not None),
                )


def _place(row: sqlite3.Row, table: str) -> PurePosixPath:
    client, name = row["client_folder"], row["folder_name"]
    if table == "notice":
        return PurePosixPath(client, tree.KIND_FOLDERS[Kind.OTHER], row["period"], name)
    status = Status(row["status"])
    if status in tree.STATUS_FOLDERS:
        return PurePosixPath(client, tree.STATUS_FOLDERS[status], name)
    return PurePosixPath(client, tree.KIND_FOLDERS[Kind(row["kind"])], row["period"] or "", name)


def _export_item(
    archive: Archive, item: _Item, target: Path, placed: dict[str, str], report: Report
) -> None:
    where = str(item.place)
    if not _safe(item.place):
        report.problems.append((where, _not_exported(where, "?")))
        return
    folder = target / item.place
    before = placed.get(item.uid)
    if before is not None and before != where and _safe(PurePosixPath(before)):
        _move(target, PurePosixPath(before), item.place)
    report.folders += 1
    for file in item.files:
        shown = f"{where}/{file['shown_name']}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _safe(PurePosixPath(file["shown_name"])) or "/" in file["shown_name"]:
                raise BadInput(_not_exported(shown, "?"))
            if _copy(archive, item, file, folder / file["shown_name"]):
                report.files += 1
            else:
                report.unchanged += 1
        except ArhivarError as error:
            report.problems.append((shown, error.sentence))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            report.problems.append((shown, _not_exported(shown, error.strerror or str(error))))
    placed[item.uid] = where


def _copy(archive: Archive, item: _Item, file: dict[str, Any], path: Path) -> bool:
    """Copy one file, compared on the way; tell whether it had to be written.

    The time of the copy is set last, so it marks a file that is whole.
    """
    moment = int(from_text(file["created_at"]).timestamp())
    with suppress(FileNotFoundError):
        facts = path.lstat()
        if facts.st_size == file["size"] and int(facts.st_mtime) == moment:
            return False
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}")
    digest, size = hashlib.sha256(), 0
    try:
        with (
            archive.open_file(item.client_uid, item.month, item.uid, file["stored_name"]) as source,
            temporary.open("xb") as copy,
        ):
            while block := source.read(1 << 20):
                digest.update(block)
                size += len(block)
                copy.write(block)
        if (size, digest.hexdigest()) != (file["size"], file["sha256"]):
            raise BadInput(
                Sentence(
                    f"Fișierul {file['stored_name']} al documentului {item.uid} este stricat în "
                    "arhivă și nu a fost exportat. Rulează „arhivar check --deep”.",
                    f"{file['stored_name']} of document {item.uid} is damaged in the archive and "
                    "was not exported; run `arhivar check --deep`",
                )
            )
        os.utime(temporary, (moment, moment))
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return True


def _move(target: Path, before: PurePosixPath, now: PurePosixPath) -> None:
    """Follow a document that has moved since; what cannot be moved is written anew."""
    old, new = target / before, target / now
    if not old.is_dir() or new.exists():
        return
    with suppress(OSError):
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)


def _write_marker(target: Path, placed: dict[str, str]) -> None:
    temporary = target / f"{MARKER}.{secrets.token_hex(4)}"
    try:
        with temporary.open("x", encoding="utf-8") as file:
            json.dump({"v": 1, "folders": placed}, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target / MARKER)
        fsync_directory(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _safe(place: PurePosixPath) -> bool:
    return not place.is_absolute() and ".." not in place.parts and place.parts != ()


def _foreign(target: Path) -> BadInput:
    return BadInput(
        Sentence(
            f"{target} nu este gol și nu este un export al Arhivar. Alege un dosar gol.",
            f"{target} is not empty and is no export of Arhivar; choose an empty folder",
        )
    )


def _not_exported(what: str, cause: str) -> Sentence:
    return Sentence(
        f"{what} nu a fost exportat ({cause}). Rulează „arhivar check”, apoi exportă din nou.",
        f"{what} was not exported ({cause}); run `arhivar check`, then export again",
    )

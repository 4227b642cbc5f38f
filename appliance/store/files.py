"""The archive on disk: folders that are written once, whole or absent.

    <root>/<client uid>/<yyyy>/<mm>/<document uid>/    message.zip invoice.xml signature.xml
                                                       manifest.json attachments…  invoice.pdf
    <root>/<client uid>/proofs/                        yyyy-mm.pdf .json .sha256 (sync/proof.py)
    <root>/quarantine/<message uid>/                   message.zip manifest.json
    <root>/decisions/<yyyy-mm-dd>.jsonl                (store/decisions.py)

A folder is prepared under `.tmp-…` in its month's folder, every file and the
folder are fsynced, then it gets its name by rename and the month is fsynced.
Only then may a row promise it. Files are 0440 and folders 2750 under any umask:
readable by the group of the archive, writable by nobody but its owner.
`invoice.pdf` and the proofs are derived: they may be replaced, by rename.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import Any

from appliance.core.chain import canonical
from appliance.core.errors import ArchiveConflict, BadInput, Busy, NotFound
from appliance.core.sentence import Sentence
from appliance.disk import fsync_directory

MANIFEST = "manifest.json"
DERIVED = frozenset({"invoice.pdf"})
QUARANTINE = "quarantine"
DECISIONS = "decisions"
PROOFS = "proofs"
TEMPORARY = ".tmp-"

FILE_MODE = 0o440
FOLDER_MODE = 0o2750

_UID = re.compile(r"[0-9a-z](?:[0-9a-z-]{0,62}[0-9a-z])?")
_MONTH = re.compile(r"[0-9]{4}/(?:0[1-9]|1[0-2])")
_PROOF = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])\.(?:json|pdf|sha256)")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BROKEN = frozenset({errno.EIO, errno.EROFS})
_AT_ONCE = 32
_NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Folder:
    """Where the bytes of one document or notice lie."""

    client_uid: str
    month: str  # yyyy/mm of receipt
    uid: str

    def __post_init__(self) -> None:
        if not (
            _UID.fullmatch(self.client_uid)
            and self.client_uid not in (QUARANTINE, DECISIONS)
            and _MONTH.fullmatch(self.month)
            and _UID.fullmatch(self.uid)
        ):
            raise _bad_name(f"{self.client_uid}/{self.month}/{self.uid}")

    def __str__(self) -> str:
        return f"{self.client_uid}/{self.month}/{self.uid}"


class Archive:
    """The folders below `root`; safe for several threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Folders whose own name is known to have reached the disk.
        self._durable: set[str] = set()

    def write_document(
        self,
        client_uid: str,
        month: str,
        uid: str,
        files: Mapping[str, bytes],
        manifest: Mapping[str, object],
    ) -> dict[str, Any]:
        """Store the folder of a document or notice, durably, and return its manifest.

        The folder is whole or absent at every moment, also after a power cut.
        When it is there already with the same files nothing is written and
        the manifest *that stands there* is returned: facts as first parsed
        stay, and a repeated ingest takes them from it. Other bytes raise
        `ArchiveConflict`: the archive keeps the first copy and a person has
        to look. A disk that is full or broken raises `Busy` and nothing is
        left behind.
        """
        folder = Folder(client_uid, month, uid)
        return self._write_folder(str(folder), files, manifest)

    def withdraw(self, client_uid: str, month: str, uid: str) -> None:
        """Take back a folder that no row has ever promised; again, or of none, does nothing.

        For whoever finds, between the folder and its rows, that somebody else
        stored the same. It is whole or gone, also after a crash.
        """
        folder = Folder(client_uid, month, uid)
        place = self._path(f"{client_uid}/{month}")
        temporary = place / _temporary(uid)
        try:
            self._path(str(folder)).rename(temporary)
        except FileNotFoundError:
            return
        fsync_directory(place)
        _discard(temporary)

    def quarantine(self, message_uid: str, data: bytes, manifest: Mapping[str, object]) -> None:
        """Keep the zip of a message that belongs to another client than the one asked for.

        The promises of `write_document`; only administrators may be told of it.
        """
        if not _UID.fullmatch(message_uid):
            raise _bad_name(message_uid)
        self._write_folder(f"{QUARANTINE}/{message_uid}", {"message.zip": data}, manifest)

    def write_derived(
        self, client_uid: str, month: str, uid: str, name: str, data: bytes
    ) -> tuple[int, str]:
        """Put a derived file into a folder that exists; return its size and SHA-256.

        A reader sees the old file or the new one, whole. Raises `BadInput` for
        a name that is not derived, `NotFound` when there is no such folder and
        `Busy` like `write_document`.
        """
        if name not in DERIVED:
            raise _bad_name(name)
        folder = Folder(client_uid, month, uid)
        if not self._path(str(folder)).is_dir():
            raise _absent(str(folder))
        # In the month's folder, so that sweep() never has to enter documents.
        place, temporary = self._path(f"{client_uid}/{month}"), _temporary(uid)
        with _disk_errors():
            try:
                _write_file(place / temporary, data)
                (place / temporary).rename(self._path(str(folder)) / name)
            except BaseException:
                with suppress(OSError):
                    (place / temporary).unlink()
                raise
            fsync_directory(self._path(str(folder)))
        return len(data), hashlib.sha256(data).hexdigest()

    def write_decisions(self, name: str, data: bytes) -> Path:
        """Replace a file of decisions/ by rename: the old one or the new one, whole."""
        _check_name(name)
        return self._replace(DECISIONS, name, data)

    def write_proof(self, client_uid: str, name: str, data: bytes) -> Path:
        """Replace a file of a client's proofs by rename: the old one or the new one, whole."""
        return self._replace(*_proof(client_uid, name), data)

    def open_proof(self, client_uid: str, name: str) -> BufferedReader:
        """Open a file of a client's proofs; the promises of `open_file`."""
        return self._open("/".join(_proof(client_uid, name)))

    def path_of(self, client_uid: str, month: str, uid: str, stored_name: str) -> Path:
        """Return where a file lies or would lie; raises `BadInput` for a name that leaves it."""
        _check_name(stored_name)
        return self._path(str(Folder(client_uid, month, uid))) / stored_name

    def open_file(self, client_uid: str, month: str, uid: str, stored_name: str) -> BufferedReader:
        """Open a stored file for reading; raises `NotFound` when it is not there.

        No component of the way below the root may be a symbolic link.
        """
        path = self.path_of(client_uid, month, uid, stored_name)
        return self._open(str(path.relative_to(self.root)))

    def read_manifest(self, client_uid: str, month: str, uid: str) -> dict[str, Any]:
        """Return the facts stored with a folder; raises `BadInput` when they cannot be read."""
        with self.open_file(client_uid, month, uid, MANIFEST) as file:
            return _parse_manifest(file.read(), f"{client_uid}/{month}/{uid}")

    def folders(self) -> Iterator[Folder]:
        """Yield every folder of a document or notice, clients and months in order."""
        for client in _names(self.root):
            if not _UID.fullmatch(client) or client in (QUARANTINE, DECISIONS):
                continue
            for year in _names(self.root / client):
                for month in _names(self.root / client / year):
                    if not _MONTH.fullmatch(f"{year}/{month}"):
                        continue
                    for uid in _names(self.root / client / year / month):
                        if _UID.fullmatch(uid):
                            yield Folder(client, f"{year}/{month}", uid)

    def strays(self) -> Iterator[Path]:
        """Yield everything above the documents that the archive never makes, temporaries too."""
        for client in _names(self.root):
            place = self.root / client
            if client in (DECISIONS, QUARANTINE):
                yield from (place / name for name in _names(place) if name.startswith(TEMPORARY))
                continue
            if not _UID.fullmatch(client) or not _is_folder(place):
                yield place
                continue
            for year in _names(place):
                if year == PROOFS and _is_folder(place / year):
                    inner = place / year
                    yield from (
                        inner / name for name in _names(inner) if not _PROOF.fullmatch(name)
                    )
                    continue
                if not re.fullmatch(r"[0-9]{4}", year) or not _is_folder(place / year):
                    yield place / year
                    continue
                for month in _names(place / year):
                    inner = place / year / month
                    if not _MONTH.fullmatch(f"{year}/{month}") or not _is_folder(inner):
                        yield inner
                        continue
                    for name in _names(inner):
                        if not _UID.fullmatch(name) or not _is_folder(inner / name):
                            yield inner / name

    def sweep(self, at: datetime, older_than: timedelta = timedelta(hours=1)) -> list[Path]:
        """Remove what a killed process left half written; return what was removed.

        Only names that begin with `.tmp-` and were last changed before
        `at - older_than`: a writer of this moment is not disturbed.
        """
        removed = []
        for path in self.strays():
            if not path.name.startswith(TEMPORARY):
                continue
            try:
                if path.lstat().st_mtime > (at - older_than).timestamp():
                    continue
                _remove(path)
            except FileNotFoundError:
                continue
            removed.append(path)
        return removed

    def _path(self, below: str) -> Path:
        return self.root / below

    def _replace(self, place: str, name: str, data: bytes) -> Path:
        with _disk_errors():
            self._make_durable(place)
            folder, temporary = self._path(place), _temporary(name)
            try:
                _write_file(folder / temporary, data)
                (folder / temporary).rename(folder / name)
            except BaseException:
                with suppress(OSError):
                    (folder / temporary).unlink()
                raise
            fsync_directory(folder)
        return folder / name

    def _open(self, below: str) -> BufferedReader:
        parts = below.split("/")
        handle = -1
        try:
            handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in parts[:-1]:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW, dir_fd=handle)
                os.close(handle)
                handle = inner
            # Non-blocking: a pipe in place of a file must not stop the reader.
            file = os.open(parts[-1], os.O_RDONLY | os.O_NONBLOCK | _NOFOLLOW, dir_fd=handle)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise _absent(below)
            return os.fdopen(file, "rb")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
                raise _absent(below) from error
            raise
        finally:
            if handle >= 0:
                os.close(handle)

    def _write_folder(
        self, below: str, files: Mapping[str, bytes], manifest: Mapping[str, object]
    ) -> dict[str, Any]:
        for name in files:
            _check_name(name)
            if name == MANIFEST or name in DERIVED:
                raise _bad_name(name)
        everything = {**files, MANIFEST: canonical(manifest)}
        place, _, uid = below.rpartition("/")
        with _disk_errors():
            self._make_durable(place)
            final = self._path(below)
            if not os.path.lexists(final):
                temporary = self._path(place) / _temporary(uid)
                try:
                    _fill(temporary, everything)
                    temporary.rename(final)
                except OSError as error:
                    _discard(temporary)
                    # Another worker was faster; its copy is compared below.
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                        raise
                except BaseException:
                    _discard(temporary)
                    raise
                else:
                    fsync_directory(self._path(place))
                    return _parse_manifest(everything[MANIFEST], below)
            stored = self._compare(below, files)
            # The one who renamed it may have been killed before this.
            fsync_directory(self._path(place))
        return stored

    def _compare(self, below: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the manifest of a folder that holds exactly these files."""
        final = self._path(below)
        names = set(_names(final)) - DERIVED - {MANIFEST}
        differs = sorted(names ^ files.keys())
        differs += [
            name
            for name in sorted(names & files.keys())
            if (final / name).is_symlink() or (final / name).read_bytes() != files[name]
        ]
        if differs:
            raise ArchiveConflict(
                Sentence(
                    f"Arhiva are deja alt conținut la {below} ({', '.join(differs)[:200]}). "
                    "Prima copie rămâne; compară fișierele și decide.",
                    f"the archive already holds other content at {below} "
                    f"({', '.join(differs)[:200]}); the first copy stays, compare and decide",
                )
            )
        try:
            data = (final / MANIFEST).read_bytes()
        except FileNotFoundError:
            data = b""
        return _parse_manifest(data, below)

    def _make_durable(self, place: str) -> None:
        """Make the folders that lead to `place` and see to it that their names last."""
        current, below = self.root, ""
        if str(self.root) not in self._durable:
            self.root.mkdir(parents=True, exist_ok=True)
            _open_to_group(self.root)
            fsync_directory(self.root.parent)
            self._durable.add(str(self.root))
        for part in place.split("/"):
            below = f"{below}/{part}"
            parent, current = current, current / part
            if below in self._durable and current.is_dir():
                continue
            with suppress(FileExistsError):
                current.mkdir(0o700)
            _open_to_group(current)
            # Also when it was there: whoever made it may not have come this far.
            fsync_directory(parent)
            self._durable.add(below)


def _fill(temporary: Path, files: Mapping[str, bytes]) -> None:
    temporary.mkdir(0o700)
    names = list(files)
    for start in range(0, len(names), _AT_ONCE):
        # Written before the first of them is fsynced, so that the file system
        # commits them together; not all of any number, for they are open.
        with ExitStack() as opened:
            handles = [
                opened.enter_context(_written(temporary / name, files[name]))
                for name in names[start : start + _AT_ONCE]
            ]
            for handle in handles:
                os.fsync(handle)
    _open_to_group(temporary)
    fsync_directory(temporary)


def _open_to_group(folder: Path) -> None:
    # mkdir() ignores the set-group-id bit and obeys the umask; chmod() does neither.
    if stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE:
        folder.chmod(FOLDER_MODE)


def _write_file(path: Path, data: bytes) -> None:
    with _written(path, data) as handle:
        os.fsync(handle)


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[int]:
    """Open a new file that holds the data, still to be fsynced."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o400)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fchmod(handle, FILE_MODE)
        yield handle
    finally:
        os.close(handle)


def _discard(temporary: Path) -> None:
    shutil.rmtree(temporary, ignore_errors=True)


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def _temporary(name: str) -> str:
    return f"{TEMPORARY}{name}-{secrets.token_hex(8)}"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 (a third of the time)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _proof(client_uid: str, name: str) -> tuple[str, str]:
    """Return the place and the name of a file of the client's proofs."""
    if not _PROOF.fullmatch(name) or not _UID.fullmatch(client_uid):
        raise _bad_name(f"{client_uid}/{name}")
    return f"{client_uid}/{PROOFS}", name


def _check_name(name: str) -> None:
    bad = (
        not name
        or name.startswith(".")
        or len(name.encode(errors="replace")) > 200
        or any(character in "/\\\x7f" or character < " " for character in name)
        or not name.isprintable()
    )
    if bad:
        raise _bad_name(name)


def _parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadInput(
            Sentence(
                f"Fișierul {MANIFEST} din {where} lipsește sau este stricat. "
                "Restaurează dosarul din copia de siguranță.",
                f"{MANIFEST} in {where} is missing or damaged; restore the folder from a backup",
            )
        )
    return value


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn a disk that takes no more into `Busy`; any other error passes."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Busy(
                Sentence(
                    "Discul arhivei este plin și nu s-a scris nimic. "
                    "Eliberează spațiu; se reîncearcă automat.",
                    "the disk of the archive is full and nothing was written; "
                    "free some space, it is tried again by itself",
                )
            ) from error
        if error.errno in _BROKEN:
            raise Busy(
                Sentence(
                    f"Discul arhivei nu poate fi scris ({error.strerror}). "
                    "Verifică discul; se reîncearcă automat.",
                    f"the disk of the archive cannot be written ({error.strerror}); "
                    "check the disk, it is tried again by itself",
                )
            ) from error
        raise


def _bad_name(name: str) -> BadInput:
    return BadInput(
        Sentence(
            f"Numele {name[:80]!r} nu poate exista în arhivă. Redenumește fișierul.",
            f"the archive cannot hold the name {name[:80]!r}; rename the file",
        )
    )


def _absent(path: str) -> NotFound:
    return NotFound(
        Sentence(
            f"Fișierul {path} nu este în arhivă. Rulează „arhivar check”.",
            f"{path} is not in the archive; run `arhivar check`",
        )
    )

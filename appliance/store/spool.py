"""The files of imports on their way in: `spool/import/<uid>` and `<uid>.signature`.

Whoever hands files in (portal, command line) writes them here before any row
names them; sync files them and removes them. A name appears by rename, after
its bytes are on the disk: a file that is there is whole. The names are uids of
ours, never what somebody called the file.

    <uid>             the zip or document as it came
    <uid>.signature   the signature that lay beside a document
    .<uid>.<random>   on its way; removed when it is a day old
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from appliance.core.errors import BadInput, Busy
from appliance.core.sentence import Sentence
from appliance.disk import fsync_directory

UPLOAD_LIMIT = 2 * 1024**3
ROOM_LEFT = 512 * 1024 * 1024  # of the disk, for everybody else
_CHUNK = 1024 * 1024
_LEFT_BEHIND = timedelta(days=1)
_MODE = 0o640  # sync is in the group of the directory
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Readable(Protocol):
    """An open file, or what can be read like one."""

    def read(self, size: int, /) -> bytes: ...


class Spool:
    """The directory `spool/import`; safe for several processes at once."""

    def __init__(self, spool_dir: Path) -> None:
        self.root = spool_dir / "import"

    def path(self, uid: str) -> Path:
        return self.root / uid

    def signature_path(self, uid: str) -> Path:
        return self.root / f"{uid}.signature"

    def put(self, uid: str, source: Readable, limit: int, signature: bytes | None = None) -> str:
        """Store what `source` gives, durably, and return its SHA-256.

        Again replaces it. Raises `BadInput` for more than `limit` bytes and
        `Busy` for a full disk; nothing is left behind then.
        """
        if signature is not None:
            self._write(self.signature_path(uid), [signature], len(signature))
        return self._write(self.path(uid), iter(lambda: source.read(_CHUNK), b""), limit)

    async def receive(self, uid: str, chunks: AsyncIterator[bytes]) -> str:
        """Store an upload as it comes in, durably, and return its SHA-256.

        The memory it takes does not grow with the upload. Raises as `put()`.
        """
        writing = _Writing(self, self.path(uid), UPLOAD_LIMIT)
        try:
            async for chunk in chunks:
                writing.add(chunk)
            return writing.end()
        except BaseException:
            writing.give_up()
            raise

    def discard(self, uid: str) -> None:
        """Remove the files of an item that is settled; again does nothing."""
        for path in (self.path(uid), self.signature_path(uid)):
            path.unlink(missing_ok=True)

    def left_behind(self, at: datetime) -> list[str]:
        """Return the uids of files older than a day, and remove what was never finished.

        Of those that no queued item names the caller removes the files: a
        killed command had handed in a file and not yet its row.
        """
        old = set()
        with suppress(FileNotFoundError):
            for path in self.root.iterdir():
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime > (at - _LEFT_BEHIND).timestamp():
                        continue
                    if path.name.startswith("."):
                        path.unlink(missing_ok=True)
                    else:
                        old.add(path.name.removesuffix(".signature"))
        return sorted(old)

    def sweep(self, at: datetime, queued: Collection[str]) -> None:
        """Remove the files of `left_behind()` that are not those of a queued item."""
        for uid in self.left_behind(at):
            if uid not in queued:
                self.discard(uid)

    def _write(self, target: Path, chunks: Iterable[bytes], limit: int) -> str:
        writing = _Writing(self, target, limit)
        try:
            for chunk in chunks:
                writing.add(chunk)
            return writing.end()
        except BaseException:
            writing.give_up()
            raise

    def make(self) -> None:
        """Make the directory for everybody who hands in; each removes only their own, sync all.

        Made by sync, which owns it: the sticky bit lets the owner of a directory
        remove what others put there. Its group is that of the database.
        """
        if self.root.is_dir():
            return
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.root.mkdir(0o770)
            with suppress(PermissionError):
                os.chown(self.root, -1, self.root.parent.parent.stat().st_gid)
            self.root.chmod(0o3770)


class _Writing:
    """One file on its way to its name."""

    def __init__(self, spool: Spool, target: Path, limit: int) -> None:
        spool.make()
        self._target, self._limit = target, limit
        self._partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        self._digest, self._size = hashlib.sha256(), 0
        with _DiskErrors():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self._partial, flags, _MODE)
            os.fchmod(descriptor, _MODE)
            self._file = os.fdopen(descriptor, "wb")

    def add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._limit:
            raise BadInput(_too_large(self._limit))
        self._digest.update(chunk)
        with _DiskErrors():
            if self._size % (64 * _CHUNK) < len(chunk):
                require_room(self._target.parent)
            self._file.write(chunk)

    def end(self) -> str:
        with _DiskErrors():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.rename(self._target)
            fsync_directory(self._target.parent)
        return self._digest.hexdigest()

    def give_up(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)


def require_room(place: Path) -> None:
    """Raise `Busy` when the disk has less room than everybody else needs."""
    free = os.statvfs(place)
    if free.f_bavail * free.f_frsize < ROOM_LEFT:
        raise Busy(_DISK_FULL)


class _DiskErrors:
    """Turn a disk that takes no more into `Busy`; any other error passes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise Busy(_DISK_FULL) from error


_DISK_FULL = Sentence(
    "Discul este aproape plin și fișierul nu a fost preluat. Eliberează spațiu și încearcă "
    "din nou.",
    "the disk is almost full and the file was not taken; free some space and try again",
)


def _too_large(limit: int) -> Sentence:
    megabytes = limit // (1024 * 1024)
    return Sentence(
        f"Fișierul are peste {megabytes} MB și nu a fost preluat. Împarte arhiva în mai multe.",
        f"the file has more than {megabytes} MB and was not taken; split the archive",
    )

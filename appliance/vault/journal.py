"""refresh-*.journal: renewed pairs that must outlive a power cut before vault.db has them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from appliance.disk import fsync_directory


class Journal:
    """ANAF's answers that must outlive a database that cannot be written just then.

    A refreshed pair is kept here, sealed, before its transaction, and dropped
    after the commit: one file for each subject, whole or absent.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, subject: bytes, version: int, body: bytes) -> None:
        """Keep the record; on return it has reached the disk."""
        temporary = self._path(subject, ".tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(version.to_bytes(8, "big") + body)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path(subject))
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise
        fsync_directory(self._directory)

    def read(self) -> list[tuple[bytes, int, bytes]]:
        """Return subject, version and sealed body of every record kept."""
        return self._read(".journal")

    def unfinished(self) -> list[tuple[bytes, int, bytes]]:
        """Return the records that a killed process was about to keep; they may be torn."""
        return self._read(".tmp")

    def finish(self, subject: bytes) -> None:
        """Keep the unfinished record, which is whole; it reaches the disk with what follows."""
        self._path(subject, ".tmp").rename(self._path(subject))

    def discard(self, subject: bytes) -> None:
        """Remove the unfinished record, which is torn."""
        self._path(subject, ".tmp").unlink(missing_ok=True)

    def _read(self, suffix: str) -> list[tuple[bytes, int, bytes]]:
        entries = []
        for path in sorted(self._directory.glob(f"refresh-*{suffix}")):
            data = path.read_bytes()
            try:
                subject = bytes.fromhex(path.stem.removeprefix("refresh-"))
            except ValueError:
                continue
            entries.append((subject, int.from_bytes(data[:8], "big"), data[8:]))
        return entries

    def drop(self, subject: bytes) -> None:
        self._path(subject).unlink(missing_ok=True)
        fsync_directory(self._directory)

    def set_aside(self, subject: bytes) -> None:
        """Keep a record that does not open for a person to look at."""
        self._path(subject).replace(self._path(subject, ".broken"))

    def _path(self, subject: bytes, suffix: str = ".journal") -> Path:
        return self._directory / f"refresh-{subject.hex()}{suffix}"

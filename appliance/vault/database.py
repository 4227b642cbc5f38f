"""vault.db and shred.db: sealed records, the rows around them, the vault's own audit chain.

A record is read under the version its row shows; `record_high` keeps the
highest version ever written beside it, and the audit chain names every version
as well. A row that was put back from an older copy therefore does not open,
even for someone who also lowered `record_high`.

Shred salts live alone in shred.db, without a write-ahead log and overwritten
when deleted. Without its salt no copy of a record opens, so a backup keeps
shred.db apart and for a short time only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance.core import chain
from appliance.core.errors import Busy, NotFound, SchemaUnknown
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.vault import envelope
from appliance.vault.envelope import Keyring, Label, Purpose
from appliance.vault.errors import KeyRefused, SealBroken
from appliance.vault.schema import SCHEMA, TABLES, UPGRADES

log = logging.getLogger(__name__)


class Database:
    """The vault's files, for one thread; `close()` when done.

    Opening makes them (0600) when they are absent and brings an older schema
    up to date, in one transaction. Raises `SchemaUnknown` for
    the file of another version and `KeyRefused` when the keys we hold are not
    those that sealed what is there.
    """

    def __init__(self, directory: Path, keyring: Keyring, *, at: datetime) -> None:
        _make_private(directory)
        self._connect(directory, keyring, read_only=False)
        self._prepare(at)
        self._check_keys(at)
        self._read_marks()

    @classmethod
    def to_look_at(cls, directory: Path, keyring: Keyring) -> Database:
        """Return the files as they are, for reading beside the process that serves them.

        Nothing is made, upgraded or written. Raises `NotFound` when there are none,
        `SchemaUnknown` and `KeyRefused` as opening does.
        """
        database = cls.__new__(cls)
        if not (directory / "vault.db").exists():
            raise NotFound(
                Sentence(
                    f"În {directory} nu este niciun seif; pornește seiful sau restaurează copia "
                    "de siguranță.",
                    f"there is no vault in {directory}; start the vault or restore a backup",
                )
            )
        database._connect(directory, keyring, read_only=True)
        (schema,) = database.durable.execute("PRAGMA user_version").fetchone()
        if schema != SCHEMA:
            raise database._other_schema(schema)
        database._check_needed_keys()
        database._read_marks()
        return database

    def _connect(self, directory: Path, keyring: Keyring, *, read_only: bool) -> None:
        connect = _look if read_only else _connect
        self.path = directory / "vault.db"
        self._keyring = keyring
        self._written: dict[tuple[bytes, int], int] = {}  # the highest versions committed
        self._writing: dict[tuple[bytes, int], int] = {}  # those of the transaction under way
        self.durable = connect(self.path)
        # Counters may lose their last second in a power cut, never in a crash:
        # ANAF counts as well, and an fsync for each call would cost more than the call.
        self.counters = connect(self.path, synchronous="NORMAL")
        self._shred = connect(directory / "shred.db", journal="DELETE", synchronous="EXTRA")

    def _read_marks(self) -> None:
        (self.installation,) = self.durable.execute("SELECT uid FROM installation").fetchone()
        self._written = self._audited_versions()
        self._log_rolled_back()

    def close(self) -> None:
        for connection in (self.durable, self.counters, self._shred):
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit durably at the end, or leave everything as it was.

        Raises `Busy` when the disk is full or another process holds the lock.
        """
        try:
            with _transaction(self.durable) as connection:
                yield connection
            self._written.update(self._writing)
        finally:
            self._writing.clear()

    def counting(self) -> AbstractContextManager[sqlite3.Connection]:
        """Like `transaction()`, without waiting for the disk."""
        return _transaction(self.counters)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Return what a query finds, each row by the names of its columns."""
        cursor = self.durable.execute(query, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def put(self, subject: bytes, purpose: Purpose, secret: bytes, *, at: datetime) -> int:
        """Seal `secret` as the next version of its record, inside `transaction()`.

        The subject's salt is durable before, so a committed record always opens.
        """
        row = self.durable.execute(
            "SELECT version FROM record_high WHERE subject = ? AND purpose = ?",
            (subject, purpose),
        ).fetchone()
        key = (subject, int(purpose))
        version = max(row[0] if row else 0, self._written.get(key, 0)) + 1
        body = self.seal(subject, purpose, version, secret)
        self.durable.execute(
            "REPLACE INTO record (subject, purpose, version, body, sealed_at) "
            "VALUES (?, ?, ?, ?, ?)",
            (*key, version, body, to_text(at)),
        )
        self.durable.execute(
            "REPLACE INTO record_high (subject, purpose, version) VALUES (?, ?, ?)",
            (*key, version),
        )
        self.append(
            "record:write",
            "vault",
            subject.hex(),
            {
                "purpose": int(purpose),
                "version": version,
                "sha256": hashlib.sha256(body).hexdigest(),
            },
            at=at,
        )
        self._writing[key] = version
        return version

    def get(self, subject: bytes, purpose: Purpose) -> tuple[bytes, int] | None:
        """Return the secret and its version, None when there is no record.

        Raises `SealBroken` for one that was changed, moved or put back.
        """
        row = self._current(subject, purpose)
        if row is None:
            return None
        version, body = row
        return self.unseal(subject, purpose, version, body), version

    def _current(self, subject: bytes, purpose: int) -> tuple[int, bytes] | None:
        row = self.durable.execute(
            "SELECT r.version, r.body, h.version FROM record r LEFT JOIN record_high h "
            "ON h.subject = r.subject AND h.purpose = r.purpose "
            "WHERE r.subject = ? AND r.purpose = ?",
            (subject, purpose),
        ).fetchone()
        if row is None:
            return None
        version, body, high = row
        if version != high or version < self._written.get((subject, purpose), 0):
            raise SealBroken
        return version, body

    def version(self, subject: bytes, purpose: Purpose) -> int:
        """Return the version that is current, 0 when there is none."""
        row = self.durable.execute(
            "SELECT version FROM record WHERE subject = ? AND purpose = ?", (subject, purpose)
        ).fetchone()
        return int(row[0]) if row else 0

    def seal(self, subject: bytes, purpose: Purpose, version: int, secret: bytes) -> bytes:
        label = Label(self.installation, subject, purpose, version)
        return envelope.seal(self._keyring, label, self._salt(subject, make=True), secret)

    def unseal(self, subject: bytes, purpose: Purpose, version: int, body: bytes) -> bytes:
        try:
            label = Label(self.installation, subject, purpose, version)
        except ValueError:
            raise SealBroken from None
        return envelope.unseal(self._keyring, label, self._salt(subject), body)

    def outdated(self) -> list[tuple[bytes, int]]:
        """Return subject and purpose of the records that the newest key does not seal."""
        return self.durable.execute(
            "SELECT subject, purpose FROM record WHERE substr(body, 6, 4) <> ? "
            "ORDER BY subject, purpose",
            (self._keyring.newest,),
        ).fetchall()

    def rewrap(self, subject: bytes, purpose: int, *, at: datetime) -> bool:
        """Put the record under the newest key, in a transaction of its own; its version stays.

        False when there is nothing to do, or when somebody wrote it meanwhile: look
        again. Raises `SealBroken` for a record that `get()` refuses as well.
        """
        row = self._current(subject, purpose)
        if row is None or envelope.key_id_of(row[1]) == self._keyring.newest:
            return False
        version, body = row
        try:
            label = Label(self.installation, subject, Purpose(purpose), version)
        except ValueError:
            raise SealBroken from None
        rewrapped = envelope.rewrap(self._keyring, label, self._salt(subject), body)
        with self.transaction():
            changed = self.durable.execute(
                "UPDATE record SET body = ? WHERE subject = ? AND purpose = ? AND body = ?",
                (rewrapped, subject, purpose, body),
            ).rowcount
            if changed:
                self.append(
                    "record:rewrap",
                    "vault",
                    subject.hex(),
                    {
                        "purpose": purpose,
                        "version": version,
                        "key_id": self._keyring.newest.hex(),
                        "sha256": hashlib.sha256(rewrapped).hexdigest(),
                    },
                    at=at,
                )
        return bool(changed)

    def shred(self, subject: bytes) -> None:
        """Delete the subject's salt: none of its records opens any more, in no copy."""
        with _transaction(self._shred):
            self._shred.execute("DELETE FROM salt WHERE subject = ?", (subject,))

    def empty_log(self) -> None:
        """Take the pages of the past out of the write-ahead log, unless somebody reads just now.

        What was deleted is overwritten in vault.db (secure_delete) and gone from
        the log; the shredded salt is what counts, for copies as well.
        """
        with suppress(sqlite3.OperationalError):
            self.durable.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def salted(self) -> set[bytes]:
        """Return the subjects whose records could still be opened."""
        return {subject for (subject,) in self._shred.execute("SELECT subject FROM salt")}

    def keys(self) -> list[dict[str, object]]:
        """Return the key generations with the number of records each one seals."""
        counts: dict[bytes, int] = {}
        for (body,) in self.durable.execute("SELECT body FROM record"):
            identifier = envelope.key_id_of(body)
            counts[identifier] = counts.get(identifier, 0) + 1
        return [
            {
                "key_id": identifier.hex(),
                "created_at": created_at,
                "records": counts.get(identifier, 0),
                "newest": identifier == self._keyring.newest,
            }
            for identifier, created_at in self.durable.execute(
                "SELECT key_id, created_at FROM kek ORDER BY created_at"
            )
        ]

    def append(
        self, action: str, actor: str, object: str, data: Mapping[str, object], *, at: datetime
    ) -> None:
        """Add a record to the audit chain, inside `transaction()`. Never a secret."""
        last = self.durable.execute(
            "SELECT seq, head FROM audit ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        seq, previous = (last[0] + 1, last[1]) if last else (1, chain.FIRST)
        body = chain.canonical(
            {
                "v": chain.VERSION,
                "seq": seq,
                "t": to_text(at),
                "action": action,
                "actor": actor,
                "tenant": "",
                "object": object,
                "data": data,
            }
        )
        self.durable.execute(
            "INSERT INTO audit (seq, body, head) VALUES (?, ?, ?)",
            (seq, body, chain.next_head(previous, body)),
        )

    def audit_breaks(self) -> list[chain.Break]:
        """Return every place where the chain does not hold."""
        return list(
            chain.find_breaks(
                self.durable.execute("SELECT seq, body, head FROM audit ORDER BY seq")
            )
        )

    def _salt(self, subject: bytes, *, make: bool = False) -> bytes:
        row = self._shred.execute("SELECT salt FROM salt WHERE subject = ?", (subject,)).fetchone()
        if row is not None:
            return bytes(row[0])
        if not make:
            raise SealBroken
        salt = os.urandom(32)
        with _transaction(self._shred):
            self._shred.execute("INSERT INTO salt (subject, salt) VALUES (?, ?)", (subject, salt))
        return salt

    def _prepare(self, at: datetime) -> None:
        self._shred.execute(
            "CREATE TABLE IF NOT EXISTS salt (subject BLOB PRIMARY KEY, salt BLOB NOT NULL) STRICT"
        )
        with self.transaction():
            (schema,) = self.durable.execute("PRAGMA user_version").fetchone()
            if schema == 0:
                for statement in _statements(TABLES):
                    self.durable.execute(statement)
                self.durable.execute(
                    "INSERT INTO installation (id, uid, created_at) VALUES (1, ?, ?)",
                    (os.urandom(16), to_text(at)),
                )
            elif 0 < schema < SCHEMA:
                for version in range(schema + 1, SCHEMA + 1):
                    for statement in UPGRADES[version]:
                        self.durable.execute(statement)
                self.append("schema:upgrade", "vault", "", {"to": SCHEMA}, at=at)
                log.info("%s: schema %d is now %d", self.path, schema, SCHEMA)
            elif schema != SCHEMA:
                raise self._other_schema(schema)
            self.durable.execute(f"PRAGMA user_version = {SCHEMA}")

    def _other_schema(self, schema: int) -> SchemaUnknown:
        return SchemaUnknown(
            Sentence(
                f"Seiful ({self.path}) a fost scris de altă versiune a programului "
                f"(schema {schema}, aici {SCHEMA}); pornește versiunea potrivită.",
                f"the vault ({self.path}) was written by another version "
                f"(schema {schema}, here {SCHEMA}); run the matching version",
            )
        )

    def _check_needed_keys(self) -> None:
        used = {
            envelope.key_id_of(body) for (body,) in self.durable.execute("SELECT body FROM record")
        }
        missing = {identifier for identifier in used if identifier not in self._keyring}
        if missing:
            raise KeyRefused(
                Sentence(
                    "Cheia seifului nu este cea cu care a fost scris vault.db; "
                    "pune cheia potrivită sau restaurează copia de siguranță care îi corespunde.",
                    "the vault's key is not the one that vault.db was written with; "
                    "put the right key or restore the backup that belongs to it",
                )
            )

    def _check_keys(self, at: datetime) -> None:
        self._check_needed_keys()
        known = {identifier for (identifier,) in self.durable.execute("SELECT key_id FROM kek")}
        fresh = [identifier for identifier in self._keyring.ids if identifier not in known]
        if fresh:
            with self.transaction():
                for identifier in fresh:
                    self.durable.execute(
                        "INSERT INTO kek (key_id, created_at) VALUES (?, ?)",
                        (identifier, to_text(at)),
                    )
                    self.append("key:first-use", "vault", identifier.hex(), {}, at=at)

    def _audited_versions(self) -> dict[tuple[bytes, int], int]:
        written: dict[tuple[bytes, int], int] = {}
        marker = b'"action":"record:write"'  # canonical JSON writes it in no other place
        for (body,) in self.durable.execute(
            "SELECT body FROM audit WHERE instr(body, ?) > 0", (marker,)
        ):
            try:
                entry = json.loads(body)
                key = (bytes.fromhex(entry["object"]), int(entry["data"]["purpose"]))
                written[key] = max(written.get(key, 0), int(entry["data"]["version"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # `audit_breaks()` names it
        return written

    def _log_rolled_back(self) -> None:
        for subject, purpose, version in self.durable.execute(
            "SELECT subject, purpose, version FROM record ORDER BY subject, purpose"
        ):
            if version < self._written.get((subject, purpose), 0):
                log.error(
                    "record %s/%d is older than the audit log says and is not used",
                    subject.hex(),
                    purpose,
                )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.OperationalError as error:
        raise Busy(
            Sentence(
                f"Seiful nu a putut scrie pe disc ({error}); verifică spațiul liber, apoi încearcă "
                "din nou.",
                f"the vault could not write to disk ({error}); "
                "check the free space, then try again",
            )
        ) from error


def _connect(path: Path, *, journal: str = "WAL", synchronous: str = "FULL") -> sqlite3.Connection:
    _make_file(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=5)
    for pragma in (
        f"journal_mode = {journal}",
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        "secure_delete = ON",
        "trusted_schema = OFF",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _make_file(path: Path) -> None:
    # Before SQLite opens it, so that its mode is ours and -wal and -shm inherit it.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # One that is there is not opened: to close it again would drop the locks of this
        # process's connections (fcntl(2)), and whoever closes the database next, a command
        # or a backup, would take himself for the last and delete the log under our feet.
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path)) from None
        if mode & 0o077:
            path.chmod(0o600)


def _look(path: Path, **_: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o077:
        directory.chmod(0o700)

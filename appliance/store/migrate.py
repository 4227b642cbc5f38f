"""Bring `arhivar.db` to the schema that this version of the program knows.

A migration is a file of SQL in `migrations/`, named `NNNN_what.sql`, applied
whole or not at all and recorded in `schema_version` in the same transaction.
They run only here: a service that meets another schema refuses to start.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from appliance.config import Settings
from appliance.core.errors import Busy, ConfigError, SchemaUnknown
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.disk import fsync_directory

KEY_BYTES = 32
BUSY_SECONDS = 10.0

_VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Migration:
    """One file of `migrations/`."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return the migrations that travel with the program, in their order."""
    found = []
    for entry in resources.files("appliance.store").joinpath("migrations").iterdir():
        number, _, name = entry.name.removesuffix(".sql").partition("_")
        if entry.name.endswith(".sql") and number.isdigit():
            found.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def statements(script: str) -> Iterator[str]:
    """Split a script into its statements; a trigger with its inner semicolons is one."""
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        # SQLite's own tokenizer knows strings, comments and the END of a trigger.
        if sqlite3.complete_statement(pending):
            if _says_something(pending):
                yield pending.strip()
            pending = ""
    rest = pending.removesuffix(";")
    if _says_something(rest):
        raise ValueError(f"the script ends inside a statement: {rest.strip()[-80:]!r}")


def _says_something(statement: str) -> bool:
    lines = (line.split("--", 1)[0] for line in statement.splitlines())
    return bool("".join(lines).strip(" \t;"))


def migrate(settings: Settings, *, at: datetime | None = None) -> list[str]:
    """Create or upgrade the database and the portal's key; return what was applied.

    Every migration is one transaction, so after a crash the database is at
    one version or the next. Running it again, or twice at once, does nothing
    more. Raises `SchemaUnknown` for a database of a newer program, `Busy`
    when another process holds the database.
    """
    refuse_other_databases(settings)
    moment = at or datetime.now(UTC)
    _make_data_dir(settings.data_dir)
    make_database_file(settings.database_path)
    _make_key(portal_key_path(settings))
    try:
        with closing(
            sqlite3.connect(settings.database_path, timeout=BUSY_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # A rebuilt table would otherwise lose the rows that point at it; each
            # migration ends with a check of all of them instead.
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(_VERSIONS)
            return [
                migration.name
                for migration in migrations()
                if _apply(connection, migration, moment)
            ]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Busy(
                Sentence(
                    "Baza de date este folosită de alt proces. Oprește serviciile și "
                    "încearcă din nou.",
                    "another process is using the database; stop the services and try again",
                )
            ) from error
        raise


def refuse_other_databases(settings: Settings) -> None:
    """Raise `ConfigError` for a database this version cannot work with."""
    if settings.database_url:
        raise ConfigError(
            Sentence(
                "Această versiune lucrează doar cu SQLite. Șterge opțiunea database.url.",
                "this version works with SQLite only; remove the option database.url",
            )
        )


def check_schema(connection: sqlite3.Connection) -> None:
    """Raise `SchemaUnknown` unless the database is exactly at our last migration."""
    ours = [migration.version for migration in migrations()]
    try:
        rows = connection.execute("SELECT version FROM schema_version ORDER BY version")
        theirs = [row[0] for row in rows]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        theirs = []
    except sqlite3.DatabaseError as error:
        raise SchemaUnknown(
            Sentence(
                "Fișierul bazei de date nu este o bază SQLite. Restaurează o copie de siguranță.",
                "the database file is no SQLite database; restore a backup",
            )
        ) from error
    if theirs != ours:
        raise _unknown(theirs, ours)


def make_database_file(path: Path) -> None:
    """Create the file, empty and 0660, when it is absent.

    SQLite would make it 0640 under our umask; its -wal and -shm take the mode
    of this file.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o660)
    except FileExistsError:
        return
    try:
        os.fchmod(descriptor, 0o660)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _apply(connection: sqlite3.Connection, migration: Migration, at: datetime) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked inside the transaction: another process may have been faster.
        applied = [row[0] for row in connection.execute("SELECT version FROM schema_version")]
        ours = [known.version for known in migrations()]
        if set(applied) - set(ours):
            raise _unknown(applied, ours)
        if migration.version in applied:
            connection.execute("ROLLBACK")
            return False
        for statement in statements(migration.sql):
            connection.execute(statement)
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise ValueError(f"migration {migration.version} breaks references: {broken[:5]}")
        connection.execute(
            "INSERT INTO schema_version (version, name, applied_at) VALUES (?, ?, ?)",
            (migration.version, migration.name, to_text(at)),
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True


def _unknown(theirs: list[int], ours: list[int]) -> SchemaUnknown:
    if set(theirs) - set(ours):
        return SchemaUnknown(
            Sentence(
                "Baza de date a fost scrisă de o versiune mai nouă. Actualizează Arhivar.",
                "the database was written by a newer version; upgrade Arhivar",
            )
        )
    return SchemaUnknown(
        Sentence(
            "Baza de date nu este la zi cu programul. Rulează „arhivar migrate”.",
            "the database is not at the program's version; run `arhivar migrate`",
        )
    )


def portal_key_path(settings: Settings) -> Path:
    """Return where the key that signs forms and drive passwords lies."""
    return settings.data_dir / "portal.key"


def give_portal_key(settings: Settings, owner: int, group: int) -> None:
    """Make the portal's key and let this user and this group read it, nobody else.

    For root, before it becomes the user that migrates: that one parses what
    strangers wrote and has no use for the key. Without a data directory
    nothing happens, and the key is made with the database; run it again then.
    """
    path = portal_key_path(settings)
    if not settings.data_dir.is_dir():
        return
    _make_key(path)
    # Others may write in this directory: what they put in the key's place is not given away.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _no_key(path) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise _no_key(path)
        os.fchown(descriptor, owner, group)
        os.fchmod(descriptor, 0o440)
    finally:
        os.close(descriptor)


def _no_key(path: Path) -> ConfigError:
    return ConfigError(
        Sentence(
            f"{path} nu este un fișier obișnuit. Mută-l și rulează din nou comanda.",
            f"{path} is no ordinary file; move it away and run the command again",
        )
    )


def _make_data_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not path.is_dir():
            raise
        return  # from an earlier run, or by another process that migrates just now
    # The group of new files must be the directory's, whoever creates them.
    path.chmod(0o2771)


def _make_key(path: Path) -> None:
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o660)
    try:
        os.fchmod(descriptor, 0o660)
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        os.fsync(descriptor)
        # link(), unlike rename(), leaves the key of a faster process in place.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        temporary.unlink()
    fsync_directory(path.parent)

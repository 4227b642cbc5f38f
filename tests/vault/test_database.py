"""vault.db under somebody else's hands: what was put back or exchanged does not open."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.core.errors import Busy, SchemaUnknown
from appliance.vault import keys
from appliance.vault.database import Database
from appliance.vault.envelope import Purpose
from appliance.vault.errors import KeyRefused, SealBroken

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ALFA, BETA = b"A" * 16, b"B" * 16


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    keys.create(tmp_path / "kek")
    return tmp_path


@pytest.fixture
def database(directory: Path) -> Iterator[Database]:
    database = open_again(directory)
    yield database
    database.close()


def open_again(directory: Path) -> Database:
    return Database(directory, keys.load(directory / "kek", {}), at=AT)


def put(database: Database, subject: bytes, secret: bytes) -> None:
    with database.transaction():
        database.put(subject, Purpose.TOKENS, secret, at=AT)


def test_a_secret_outlives_a_restart_and_is_nowhere_in_the_files(
    database: Database, directory: Path
) -> None:
    put(database, ALFA, b"canary-token")
    again = open_again(directory)
    assert again.get(ALFA, Purpose.TOKENS) == (b"canary-token", 1)
    again.close()
    for path in directory.iterdir():
        assert b"canary-token" not in path.read_bytes()


def test_every_file_is_for_its_owner_alone(database: Database, directory: Path) -> None:
    put(database, ALFA, b"x")
    assert {path.name for path in directory.glob("*.db*")} >= {"vault.db", "vault.db-wal"}
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_loose_directory_is_tightened(directory: Path) -> None:
    directory.chmod(0o755)
    open_again(directory).close()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_whoever_looks_and_goes_does_not_take_what_is_written_afterwards(
    database: Database, directory: Path
) -> None:
    look = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]);"
        "print(connection.execute('SELECT count(*) FROM record').fetchone()[0]); connection.close()"
    )
    put(database, ALFA, b"one")
    open_again(directory).close()
    for count, subject in ((1, ALFA), (2, BETA)):
        put(database, subject, b"two")
        seen = subprocess.run(
            [sys.executable, "-c", look, directory / "vault.db"], check=True, capture_output=True
        )
        assert int(seen.stdout) == count
        # SQLite deletes the log when it believes that nobody else has the database open.
        assert (directory / "vault.db-wal").exists()


def test_what_was_not_committed_is_not_there(database: Database) -> None:
    put(database, ALFA, b"one")

    def interrupted() -> None:
        with database.transaction():
            database.put(ALFA, Purpose.TOKENS, b"two", at=AT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert database.get(ALFA, Purpose.TOKENS) == (b"one", 1)
    assert database.audit_breaks() == []


def test_a_row_that_was_put_back_does_not_open(database: Database) -> None:
    put(database, ALFA, b"one")
    old = database.durable.execute("SELECT version, body FROM record").fetchone()
    put(database, ALFA, b"two")
    database.durable.execute("UPDATE record SET version = ?, body = ?", old)
    with pytest.raises(SealBroken):
        database.get(ALFA, Purpose.TOKENS)
    database.durable.execute("UPDATE record SET version = 2")
    with pytest.raises(SealBroken):
        database.get(ALFA, Purpose.TOKENS)


def test_a_row_put_back_with_its_high_mark_is_found_by_the_audit_chain(
    database: Database, directory: Path
) -> None:
    put(database, ALFA, b"one")
    old = database.durable.execute("SELECT version, body FROM record").fetchone()
    put(database, ALFA, b"two")
    database.durable.execute("UPDATE record SET version = ?, body = ?", old)
    database.durable.execute("UPDATE record_high SET version = 1")
    with pytest.raises(SealBroken):
        database.get(ALFA, Purpose.TOKENS)
    again = open_again(directory)
    with pytest.raises(SealBroken):
        again.get(ALFA, Purpose.TOKENS)
    put(again, ALFA, b"three")
    assert again.get(ALFA, Purpose.TOKENS) == (b"three", 3)
    again.close()


def test_a_write_that_failed_makes_an_old_row_no_more_trusted_and_a_new_one_no_less(
    database: Database,
) -> None:
    put(database, ALFA, b"one")
    old = database.durable.execute("SELECT version, body FROM record").fetchone()
    put(database, ALFA, b"two")

    def fail() -> None:
        with database.transaction():
            database.put(ALFA, Purpose.TOKENS, b"three", at=AT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert database.get(ALFA, Purpose.TOKENS) == (b"two", 2)
    database.durable.execute("UPDATE record SET version = ?, body = ?", old)
    database.durable.execute("UPDATE record_high SET version = 1")
    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(SealBroken):
        database.get(ALFA, Purpose.TOKENS)


def test_two_rows_that_were_exchanged_do_not_open(database: Database) -> None:
    put(database, ALFA, b"alfa")
    put(database, BETA, b"beta")
    bodies = dict(database.durable.execute("SELECT subject, body FROM record").fetchall())
    for subject, other in ((ALFA, BETA), (BETA, ALFA)):
        database.durable.execute(
            "UPDATE record SET body = ? WHERE subject = ?", (bodies[other], subject)
        )
        with pytest.raises(SealBroken):
            database.get(subject, Purpose.TOKENS)


def test_an_exchanged_salt_opens_nothing(database: Database, directory: Path) -> None:
    put(database, ALFA, b"alfa")
    with sqlite3.connect(directory / "shred.db") as connection:
        connection.execute("UPDATE salt SET salt = ?", (bytes(32),))
    with pytest.raises(SealBroken):
        database.get(ALFA, Purpose.TOKENS)


def test_a_shredded_salt_is_overwritten_on_disk(database: Database, directory: Path) -> None:
    put(database, ALFA, b"alfa")
    with sqlite3.connect(directory / "shred.db") as connection:
        (salt,) = connection.execute("SELECT salt FROM salt").fetchone()
    assert salt in (directory / "shred.db").read_bytes()
    database.shred(ALFA)
    assert salt not in (directory / "shred.db").read_bytes()
    with pytest.raises(SealBroken):
        database.get(ALFA, Purpose.TOKENS)


def test_the_database_of_another_key_is_refused_before_anything_listens(
    database: Database, directory: Path
) -> None:
    put(database, ALFA, b"alfa")
    (directory / "kek").unlink()
    keys.create(directory / "kek")
    with pytest.raises(KeyRefused):
        open_again(directory)


def test_the_database_of_another_version_is_refused(database: Database, directory: Path) -> None:
    database.durable.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaUnknown):
        open_again(directory)


def test_the_first_schema_becomes_todays_with_everything_in_it(
    database: Database, directory: Path
) -> None:
    put(database, ALFA, b"alfa")
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO spv_grant (uid, serial, state, requested_by, created_at, issued_at, "
            "access_expires_at, refresh_expires_at) "
            "VALUES ('g', '1', 'active', 'ana', '', '', '', '')"
        )
        connection.execute(
            "INSERT INTO cif_grant (cif, grant_uid, confirmed_by, confirmed_at) "
            "VALUES ('12345674', 'g', 'ana', '')"
        )
    database.close()
    _make_first_schema(directory)

    for _ in range(2):
        again = open_again(directory)
        assert again.durable.execute("PRAGMA user_version").fetchone() == (2,)
        assert again.get(ALFA, Purpose.TOKENS) == (b"alfa", 1)
        assert again.durable.execute("SELECT serial, holder FROM spv_grant").fetchall() == [
            ("1", "")
        ]
        assert again.durable.execute("SELECT cif, not_allowed_at FROM cif_grant").fetchall() == [
            ("12345674", None)
        ]
        assert again.durable.execute("SELECT holder, about FROM authorisation").fetchall() == []
        assert again.audit_breaks() == []
        again.close()


def _make_first_schema(directory: Path) -> None:
    """Put everything that vault.db holds into a file of the first schema, in its place."""
    path, old = directory / "vault.db", directory / "old.db"
    connection = sqlite3.connect(old, isolation_level=None)
    connection.executescript(Path(__file__).with_name("schema_1.sql").read_text())
    connection.execute("PRAGMA user_version = 1")
    connection.execute("ATTACH ? AS today", (str(path),))
    tables = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")
    for (table,) in tables.fetchall():
        names = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")]
        assert names, table
        columns = ", ".join(names)
        connection.execute(
            f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}"
        )
    connection.close()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    old.rename(path)


def test_the_audit_chain_is_append_only_and_shows_what_was_changed(database: Database) -> None:
    put(database, ALFA, b"one")
    put(database, ALFA, b"two")
    for statement in ("UPDATE audit SET body = x'00'", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError):
            database.durable.execute(statement)
    database.durable.execute("DROP TRIGGER audit_no_update")
    database.durable.execute(
        "UPDATE audit SET body = CAST(replace(body, 'vault', 'thief') AS BLOB) WHERE seq = 2"
    )
    assert [found.seq for found in database.audit_breaks()] == [2]


def test_a_locked_database_is_busy_and_nothing_is_half_written(
    database: Database, directory: Path
) -> None:
    database.durable.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(directory / "vault.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy):
        put(database, ALFA, b"one")
    other.execute("ROLLBACK")
    other.close()
    assert database.get(ALFA, Purpose.TOKENS) is None
    put(database, ALFA, b"one")
    assert database.get(ALFA, Purpose.TOKENS) == (b"one", 1)


def test_a_full_disk_is_busy_and_leaves_the_last_version(database: Database) -> None:
    put(database, ALFA, b"one")
    (pages,) = database.durable.execute("PRAGMA page_count").fetchone()
    database.durable.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Busy):
        put(database, BETA, b"x" * 60_000)
    database.durable.execute("PRAGMA max_page_count = 1000000")
    assert database.get(ALFA, Purpose.TOKENS) == (b"one", 1)
    assert database.get(BETA, Purpose.TOKENS) is None

"""Migrations: whole or not at all, once, and never a schema that nobody knows."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from piccolo.table import Table

from appliance.config import Settings
from appliance.core.errors import Busy, ConfigError, SchemaUnknown
from appliance.store import engine, migrate, tables
from appliance.store.migrate import Migration, migrations, statements


def query(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(settings.database_path)) as connection:
        return connection.execute(sql).fetchall()


def test_an_empty_directory_becomes_a_database_and_a_second_run_changes_nothing(
    settings: Settings,
) -> None:
    first = migrate.migrate(settings)
    schema = query(settings, "SELECT sql FROM sqlite_master ORDER BY name")
    again = migrate.migrate(settings)

    assert first == [migration.name for migration in migrations()]
    assert again == []
    assert query(settings, "SELECT sql FROM sqlite_master ORDER BY name") == schema


def test_the_tables_have_the_columns_that_the_migrations_made(settings: Settings) -> None:
    migrate.migrate(settings)
    classes = {
        table._meta.tablename: table
        for table in vars(tables).values()
        if isinstance(table, type) and issubclass(table, Table) and table != Table
    }
    made = {
        str(name)
        for (name,) in query(settings, "SELECT name FROM sqlite_master WHERE type = 'table'")
    } - {"schema_version", "folder", "month_total", "certificate_total"}

    assert set(classes) == made
    for name, table in classes.items():
        rows = query(settings, f"PRAGMA table_info({name})")
        required = {str(row[1]) for row in rows if row[3] and not row[5]}
        columns = {column._meta.db_column_name for column in table._meta.columns}
        assert columns == {str(row[1]) for row in rows}, name
        assert required == {
            column._meta.db_column_name
            for column in table._meta.columns
            if not column._meta.null and not column._meta.primary_key
        }, name


def test_no_column_holds_floating_point(settings: Settings) -> None:
    migrate.migrate(settings)

    for (name,) in query(settings, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        types = {row[2] for row in query(settings, f"PRAGMA table_info({name})")}
        assert types <= {"TEXT", "INTEGER", "BIGINT", "BLOB"}, name


def test_a_trigger_with_its_semicolons_is_one_statement() -> None:
    script = """
    -- a comment; with a semicolon
    CREATE TABLE a (b TEXT DEFAULT ';'); CREATE TABLE c (d TEXT);
    CREATE TRIGGER t AFTER INSERT ON a BEGIN
        UPDATE a SET b = 'x;y'; /* ; */
        DELETE FROM c;
    END;
    -- the end;
    """

    found = list(statements(script))

    assert len(found) == 3
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in found:
            connection.execute(statement)


@pytest.mark.parametrize(
    "script", ["SELECT 'never closed;", "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;"]
)
def test_a_script_that_ends_inside_a_statement_is_a_defect(script: str) -> None:
    with pytest.raises(ValueError, match="inside a statement"):
        list(statements(script))


def test_a_migration_that_fails_leaves_the_version_before(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.migrate(settings)
    known = migrations()
    broken = Migration(99, "broken", "CREATE TABLE half (a TEXT);\nINSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr(migrate, "migrations", lambda: [*known, broken])

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate.migrate(settings)

    assert query(settings, "SELECT name FROM sqlite_master WHERE name = 'half'") == []
    assert query(settings, "SELECT MAX(version) FROM schema_version") == [(known[-1].version,)]


def test_a_migration_that_breaks_references_is_undone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.migrate(settings)
    orphan = Migration(99, "orphan", "INSERT INTO assignment (account, client) VALUES (1, 1);")
    known = migrations()
    monkeypatch.setattr(migrate, "migrations", lambda: [*known, orphan])

    with pytest.raises(ValueError, match="breaks references"):
        migrate.migrate(settings)

    assert query(settings, "SELECT * FROM assignment") == []


def test_a_later_migration_keeps_what_is_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.migrate(settings)
    with closing(sqlite3.connect(settings.database_path)) as connection:
        connection.execute("INSERT INTO setting VALUES ('a', 'b')")
        connection.commit()
    known = migrations()
    later = Migration(99, "later", "ALTER TABLE setting ADD COLUMN more TEXT;")
    monkeypatch.setattr(migrate, "migrations", lambda: [*known, later])

    assert migrate.migrate(settings) == ["later"]
    assert query(settings, "SELECT * FROM setting") == [("a", "b", None)]


async def test_a_service_refuses_a_schema_it_does_not_know(settings: Settings) -> None:
    migrate.migrate(settings)

    async def refused(version: str, match: str) -> None:
        with closing(sqlite3.connect(settings.database_path)) as connection:
            connection.execute(version)
            connection.commit()
        with pytest.raises(SchemaUnknown, match=match):
            async with engine.open_store(settings):
                pass

    await refused("INSERT INTO schema_version VALUES (9999, 'later', '')", "newer version")
    with pytest.raises(SchemaUnknown, match="newer version"):
        migrate.migrate(settings)
    await refused("DELETE FROM schema_version", "run `arhivar migrate`")
    await refused("DROP TABLE schema_version", "run `arhivar migrate`")


async def test_a_file_that_is_no_database_is_refused_with_a_sentence(settings: Settings) -> None:
    settings.data_dir.mkdir()
    settings.database_path.write_bytes(b"this is a letter, not a database" * 100)

    with pytest.raises(SchemaUnknown, match="no SQLite database"):
        async with engine.open_store(settings):
            pass


def test_a_database_that_somebody_holds_is_busy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.migrate(settings)
    monkeypatch.setattr(migrate, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(settings.database_path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Busy):
            migrate.migrate(settings)


def test_two_that_migrate_at_once_make_one_database(settings: Settings) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        applied = pool.map(migrate.migrate, [settings, settings])

    # Each is applied once, by whichever of the two came first to it.
    assert sorted(name for names in applied for name in names) == sorted(
        migration.name for migration in migrations()
    )
    assert len((settings.data_dir / "portal.key").read_bytes()) == 32
    assert [path.name for path in settings.data_dir.glob(".*")] == []


def test_another_database_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url="postgresql://x/y")

    with pytest.raises(ConfigError, match=r"database\.url"):
        migrate.migrate(settings)
    assert not settings.data_dir.exists()


def test_the_portals_key_is_given_to_a_user_and_a_group_and_stays_the_same(
    settings: Settings,
) -> None:
    migrate.give_portal_key(settings, os.getuid(), os.getgid())
    assert not settings.data_dir.exists()
    settings.data_dir.mkdir()

    migrate.give_portal_key(settings, os.getuid(), os.getgid())
    key = migrate.portal_key_path(settings).read_bytes()
    migrate.migrate(settings)
    migrate.give_portal_key(settings, os.getuid(), os.getgid())

    assert len(key) == 32
    assert migrate.portal_key_path(settings).read_bytes() == key
    assert migrate.portal_key_path(settings).stat().st_mode & 0o777 == 0o440


@pytest.mark.parametrize("planted", ["symlink_to", "hardlink_to"])
def test_what_somebody_put_in_the_place_of_the_key_is_not_given_away(
    settings: Settings, tmp_path: Path, planted: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"of root")
    secret.chmod(0o600)
    settings.data_dir.mkdir()
    getattr(migrate.portal_key_path(settings), planted)(secret)

    with pytest.raises(ConfigError, match=r"portal\.key"):
        migrate.give_portal_key(settings, os.getuid(), os.getgid())
    assert secret.stat().st_mode & 0o777 == 0o600

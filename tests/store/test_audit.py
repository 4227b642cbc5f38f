"""The audit log in the database: with its change or not at all, and read while services run."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from appliance.config import Settings
from appliance.core import chain
from appliance.store import audit, engine
from appliance.store.engine import open_store, transaction

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Path]:
    where = Settings(data_dir=tmp_path / "data")
    async with open_store(where, migrate=True):
        yield where.database_path


async def approve(number: int) -> int:
    data = {"from": "pending", "to": "approved", "revision": 1}
    return await audit.append("document:approve", "ana", "alfa", f"doc-{number}", data, at=NOON)


async def test_records_are_numbered_and_chained(database: Path) -> None:
    async with transaction():
        assert [await approve(number) for number in range(3)] == [1, 2, 3]
    async with transaction():
        assert await approve(3) == 4
    assert audit.verify(database) == []
    rows = await engine.fetch("SELECT body, head FROM audit ORDER BY seq")
    assert json.loads(rows[0]["body"]) == {
        "v": 1,
        "seq": 1,
        "t": "2026-11-24T12:00:00.000000Z",
        "action": "document:approve",
        "actor": "ana",
        "tenant": "alfa",
        "object": "doc-0",
        "data": {"from": "pending", "revision": 1, "to": "approved"},
    }
    with closing(audit.read_only(database)) as connection:
        assert audit.head(connection) == (4, rows[3]["head"])


async def test_a_record_vanishes_with_the_change_it_tells_of(database: Path) -> None:
    async with transaction():
        await approve(1)

    async def fail() -> None:
        async with transaction():
            await approve(2)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with transaction():
        assert await approve(3) == 2
    assert audit.verify(database) == []


async def test_a_record_of_its_own_is_refused(database: Path) -> None:
    with pytest.raises(RuntimeError):
        await approve(1)
    assert await engine.fetch("SELECT * FROM audit") == []


async def test_twenty_tasks_at_once_make_one_chain(database: Path) -> None:
    async def one(number: int) -> int:
        async with transaction():
            return await approve(number)

    assert sorted(await asyncio.gather(*(one(n) for n in range(20)))) == list(range(1, 21))
    assert audit.verify(database) == []


async def test_a_log_is_verified_while_another_transaction_is_open(database: Path) -> None:
    async with transaction():
        await approve(1)
    async with transaction():
        await approve(2)
        assert audit.verify(database) == []


async def test_the_table_refuses_to_be_changed(database: Path) -> None:
    async with transaction():
        await approve(1)
        await approve(2)
    for statement in (
        "UPDATE audit SET body = x'00' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 2",
        "INSERT INTO audit (seq, body, head) VALUES (9, x'00', x'00')",
    ):
        with closing(sqlite3.connect(database)) as connection, pytest.raises(sqlite3.Error):
            connection.execute(statement)


def loose(path: Path, count: int = 6) -> sqlite3.Connection:
    """Return a database with a chain and no triggers: the table of one who tampers."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE audit (seq INTEGER PRIMARY KEY, body BLOB, head BLOB)")
    head = chain.FIRST
    for seq in range(1, count + 1):
        record = {"v": 1, "seq": seq, "t": "t", "action": "a:b", "actor": "ana"}
        body = chain.canonical({**record, "tenant": "", "object": "x", "data": {}})
        head = chain.next_head(head, body)
        connection.execute("INSERT INTO audit VALUES (?, ?, ?)", (seq, body, head))
    return connection


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET body = replace(body, 'ana', 'dan') WHERE seq = 3", {(3, "type")}),
        (
            "UPDATE audit SET body = CAST(replace(body, 'ana', 'dan') AS BLOB) WHERE seq = 3",
            {(3, "edited")},
        ),
        ("DELETE FROM audit WHERE seq IN (2, 3)", {(2, "gap")}),
        ("DELETE FROM audit WHERE seq = 1", {(1, "gap")}),
        ("UPDATE audit SET head = CAST(head AS TEXT) WHERE seq = 3", {(3, "type")}),
        ("UPDATE audit SET head = 7 WHERE seq = 3", {(3, "type")}),
        ("UPDATE audit SET body = 1.5 WHERE seq = 3", {(3, "type")}),
        ("UPDATE audit SET body = NULL, head = NULL WHERE seq = 3", {(3, "type")}),
        ("UPDATE audit SET seq = -1 WHERE seq = 1", {(-1, "gap"), (-1, "moved"), (0, "gap")}),
        (
            "UPDATE audit SET seq = 9223372036854775807 WHERE seq = 6",
            {(6, "gap"), (2**63 - 1, "moved")},
        ),
        ("DROP TABLE audit", {(None, "unreadable")}),
        ("ALTER TABLE audit RENAME COLUMN head TO tail", {(None, "unreadable")}),
    ],
)
def test_what_was_done_to_the_table_is_named(
    tmp_path: Path, statement: str, found: set[tuple[int | None, str]]
) -> None:
    with closing(loose(tmp_path / "a.db")) as connection:
        connection.execute(statement)
    assert {(b.seq, b.kind) for b in audit.verify(tmp_path / "a.db")} == found


def test_a_cut_tail_shows_against_a_head_that_was_kept(tmp_path: Path) -> None:
    with closing(loose(tmp_path / "a.db")) as connection:
        anchor = dict([audit.head(connection)])
        assert audit.verify(connection, anchors=anchor) == []
        connection.execute("DELETE FROM audit WHERE seq > 4")
        assert audit.verify(connection) == []
        assert [(b.seq, b.kind) for b in audit.verify(connection, anchors=anchor)] == [
            (6, "anchor")
        ]


def test_a_damaged_or_absent_database_is_a_break_and_no_error(tmp_path: Path) -> None:
    with closing(loose(tmp_path / "a.db", count=400)):
        pass
    data = bytearray((tmp_path / "a.db").read_bytes())
    data[4096 * 5 : 4096 * 6] = b"\xff" * 4096
    (tmp_path / "a.db").write_bytes(data)
    (tmp_path / "b.db").write_bytes(b"this is no database" * 400)
    for name in ("a.db", "b.db", "absent.db"):
        (found,) = audit.verify(tmp_path / name)
        assert found.kind == "unreadable"
        assert "restore the database from a backup" in found.sentence.en
    assert not (tmp_path / "absent.db").exists()


_values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.binary(min_size=32, max_size=32),
)


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["body", "head"]), _values)))
@hypothesis_settings(deadline=None)
def test_whatever_is_put_into_the_table_the_verifier_answers(
    changes: list[tuple[int, str, object]],
) -> None:
    with closing(loose(Path(":memory:"))) as connection:
        before = connection.execute("SELECT * FROM audit").fetchall()
        for seq, column, value in changes:
            statement = f"UPDATE audit SET {column} = ? WHERE seq = ?"
            connection.execute(statement, (value, seq))
        touched = connection.execute("SELECT * FROM audit").fetchall() != before
        assert bool(audit.verify(connection)) == touched


@pytest.mark.parametrize("factory", [sqlite3.Row, lambda cursor, row: {"row": row}])
def test_a_connection_with_another_form_of_rows_will_do(
    tmp_path: Path, factory: Callable[..., object]
) -> None:
    with closing(loose(tmp_path / "a.db")) as connection:
        connection.row_factory = factory
        assert audit.verify(connection) == []

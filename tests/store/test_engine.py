"""One writer, readers apart: what the engine promises, and what SQLite would do without it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from appliance.config import Settings
from appliance.core.errors import BadInput, Busy, ConfigError, SchemaUnknown
from appliance.store import engine
from appliance.store.engine import WriteOutsideTransaction, execute, fetch, transaction
from appliance.store.tables import Setting


async def put(name: str, value: str = "x") -> None:
    await Setting.insert(Setting(name=name, value=value))


async def names() -> list[str]:
    return [row["name"] for row in await Setting.select(Setting.name).order_by(Setting.name)]


async def test_what_a_transaction_wrote_is_there_when_it_ends(store: engine.Store) -> None:
    async with transaction():
        await put("a")
        assert await names() == ["a"]

    assert await names() == ["a"]


async def test_nothing_of_it_is_there_when_it_raises(store: engine.Store) -> None:
    async def fails() -> None:
        async with transaction():
            await put("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()

    assert await names() == []
    async with transaction():
        await put("b")
    assert await names() == ["b"]


async def test_a_reader_elsewhere_sees_nothing_before_the_commit(store: engine.Store) -> None:
    wrote, looked = asyncio.Event(), asyncio.Event()

    async def writer() -> None:
        async with transaction():
            await put("a")
            wrote.set()
            await looked.wait()

    task = asyncio.create_task(writer())
    await wrote.wait()
    assert await names() == []
    looked.set()
    await task
    assert await names() == ["a"]


async def test_another_tasks_insert_waits_and_outlives_a_rollback(store: engine.Store) -> None:
    wrote = asyncio.Event()

    async def fails() -> None:
        async with transaction():
            await put("lost")
            wrote.set()
            # Long enough for the other task to be waiting for its turn.
            while not engine.ENGINE._turn._waiters:  # noqa: ASYNC110
                await asyncio.sleep(0)
            raise ZeroDivisionError

    async def succeeds() -> None:
        await wrote.wait()
        async with transaction():
            await put("kept")

    outcomes = await asyncio.gather(fails(), succeeds(), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError, type(None)]
    assert await names() == ["kept"]


async def test_a_task_started_inside_a_transaction_does_not_join_it(store: engine.Store) -> None:
    async def child() -> list[str]:
        with pytest.raises(WriteOutsideTransaction):
            await put("smuggled")
        with pytest.raises(WriteOutsideTransaction):
            await execute("DELETE FROM setting")
        return await names()

    async with transaction():
        await put("own")
        assert await asyncio.create_task(child()) == []

    assert await names() == ["own"]


async def test_a_write_outside_a_transaction_is_refused(store: engine.Store) -> None:
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: put("a"),
        lambda: execute("INSERT INTO setting VALUES ('a', 'b')"),
        lambda: engine.execute_many("INSERT INTO setting VALUES (?, ?)", [("a", "b")]),
        lambda: fetch("INSERT INTO setting VALUES ('a', 'b') RETURNING name"),
        lambda: fetch("PRAGMA user_version = 7"),
    ]
    for write in writes:
        with pytest.raises(WriteOutsideTransaction):
            await write()
    with pytest.raises(WriteOutsideTransaction):
        engine.fetch_now("DELETE FROM setting RETURNING name")

    assert await names() == []


async def test_a_transaction_inside_one_is_refused_and_joining_is_not(
    store: engine.Store,
) -> None:
    async with transaction():
        with pytest.raises(RuntimeError, match="already inside"):
            async with transaction():
                pass
        async with engine.joined():
            await put("a")

    async def fails() -> None:
        async with transaction():
            async with engine.joined():
                await put("b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()
    assert await names() == ["a"]


async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(
    store: engine.Store,
) -> None:
    wrote = asyncio.Event()

    async def writer() -> None:
        async with transaction():
            await put("a")
            wrote.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(writer())
    await wrote.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with transaction():
        assert await names() == []
        await put("b")
    assert await names() == ["b"]


async def test_cancelled_at_any_moment_it_is_whole_or_absent(store: engine.Store) -> None:
    async def writer(number: int) -> None:
        async with transaction():
            await put(f"{number:03d}-first")
            await put(f"{number:03d}-second")

    for number in range(60):
        task = asyncio.create_task(writer(number))
        for _ in range(number % 20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    found = await names()
    assert len(found) % 2 == 0
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert (first[:3], first[4:], second[4:]) == (second[:3], "first", "second")
    async with transaction():
        await put("after")
    assert "after" in await names()


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    with closing(sqlite3.connect(settings.database_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


async def test_a_database_held_too_long_is_busy_and_nothing_is_leaked(settings: Settings) -> None:
    async with engine.open_store(settings, migrate=True, busy_timeout=0.02):
        async with transaction():
            await put("before")
        await asyncio.gather(names(), names(), names())
        before = threading.active_count()
        with locked(settings):
            for _ in range(5):
                with pytest.raises(Busy):
                    async with transaction():
                        raise AssertionError("the block must not run")
            assert await names() == ["before"]
        assert threading.active_count() == before
        async with transaction():
            await put("now")
        assert await names() == ["before", "now"]


async def test_it_waits_for_another_process_within_the_timeout(settings: Settings) -> None:
    async with engine.open_store(settings, migrate=True, busy_timeout=30):
        with locked(settings):

            async def writer() -> None:
                async with transaction():
                    await put("a")

            task = asyncio.create_task(writer())
            await names()
            assert not task.done()
        await task
        assert await names() == ["a"]


@pytest.mark.parametrize("value", [1.5, Decimal("1.10"), object()])
async def test_what_is_not_exact_never_reaches_sql(store: engine.Store, value: object) -> None:
    with pytest.raises(TypeError, match="money is integers"):
        await fetch("SELECT ?", [value])
    async with transaction():
        with pytest.raises(TypeError, match="money is integers"):
            await execute("INSERT INTO setting VALUES ('a', ?)", [value])
        with pytest.raises(TypeError, match="money is integers"):
            await engine.execute_many("INSERT INTO setting VALUES ('a', ?)", [(value,)])


async def test_waiting_for_a_turn_that_never_comes_ends_as_busy(
    store: engine.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "TURN_TIMEOUT_SECONDS", 0.02)

    async with transaction():
        await put("own")
        with pytest.raises(Busy):
            await asyncio.gather(_in_a_transaction_of_its_own())

    assert await names() == ["own"]
    await _in_a_transaction_of_its_own()
    assert await names() == ["child", "own"]


async def _in_a_transaction_of_its_own() -> None:
    async with engine.joined():
        await put("child")


async def test_money_comes_back_as_it_went_in(store: engine.Store) -> None:
    for amount in (2**63 - 1, -(2**63), 9007199254740993, 9999999999999999):
        async with transaction():
            await execute(
                "INSERT INTO job (kind, object_uid, state, priority, next_attempt_at, created_at) "
                "VALUES ('x', ?, 'done', ?, '', '')",
                [str(amount), amount],
            )
        [row] = await fetch("SELECT priority FROM job WHERE object_uid = ?", [str(amount)])
        assert row["priority"] == amount


@pytest.mark.parametrize("value", ["\ud800", 2**63, -(2**63) - 1])
async def test_a_value_that_no_column_can_hold_is_bad_input(
    store: engine.Store, value: object
) -> None:
    with pytest.raises(BadInput):
        await fetch("SELECT ?", [value])
    with pytest.raises(BadInput):
        engine.fetch_now("SELECT ?", [value])


async def test_references_are_kept(store: engine.Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        async with transaction():
            await execute("INSERT INTO assignment (account, client) VALUES (1, 1)")


async def test_the_writer_is_durable_and_in_wal(store: engine.Store) -> None:
    async def pragma(name: str) -> object:
        return next(iter((await fetch(f"PRAGMA {name}"))[0].values()))

    async with transaction():
        assert await pragma("journal_mode") == "wal"
        assert await pragma("synchronous") == 2  # FULL
        assert await pragma("foreign_keys") == 1
        assert await pragma("query_only") == 0
    assert await pragma("query_only") == 1


async def test_piccolos_own_transactions_cannot_be_used(store: engine.Store) -> None:
    with pytest.raises(RuntimeError):
        engine.ENGINE.transaction()
    with pytest.raises(RuntimeError):
        engine.ENGINE.atomic()
    with pytest.raises(RuntimeError):
        await Setting.create_table(if_not_exists=True)


async def test_the_same_loop_shares_the_store_and_another_store_is_refused(
    store: engine.Store, tmp_path: Path
) -> None:
    async with engine.open_store(store.settings), transaction():
        await put("a")
    assert await names() == ["a"]

    other = Settings(data_dir=tmp_path / "other")
    with pytest.raises(RuntimeError, match="already opened"):
        async with engine.open_store(other, migrate=True):
            pass
    assert await names() == ["a"]


async def test_a_closed_store_says_so(settings: Settings) -> None:
    async with engine.open_store(settings, migrate=True):
        pass

    uses: list[Callable[[], Awaitable[object]]] = [lambda: fetch("SELECT 1"), lambda: put("a")]
    for use in uses:
        with pytest.raises(RuntimeError, match="not open"):
            await use()
    with pytest.raises(RuntimeError, match="not open"):
        async with transaction():
            pass


async def test_closing_waits_for_the_transaction_under_way(settings: Settings) -> None:
    opened = engine.open_store(settings, migrate=True)
    await opened.__aenter__()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def writer() -> None:
        async with transaction():
            begun.set()
            await go_on.wait()
            await put("a")

    task = asyncio.create_task(writer())
    await begun.wait()
    closing_it = asyncio.create_task(opened.__aexit__(None, None, None))
    await asyncio.sleep(0)
    go_on.set()
    await task
    await closing_it

    assert not [t for t in threading.enumerate() if t.name.startswith("arhivar-")]
    async with engine.open_store(settings):
        assert await names() == ["a"]


async def test_files_are_for_owner_and_group_whatever_the_umask(settings: Settings) -> None:
    old = os.umask(0o077)
    try:
        async with engine.open_store(settings, migrate=True):
            async with transaction():
                await put("a")
            found = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.data_dir.iterdir()
            }
    finally:
        os.umask(old)

    assert found == {
        "arhivar.db": 0o660,
        "arhivar.db-wal": 0o660,
        "arhivar.db-shm": 0o660,
        "portal.key": 0o660,
    }


async def test_the_portals_key_is_made_once_and_missed_when_it_is_gone(
    settings: Settings,
) -> None:
    async with engine.open_store(settings, migrate=True) as first:
        key = first.portal_key()
    async with engine.open_store(settings, migrate=True) as second:
        assert second.portal_key() == key
    assert len(key) == 32

    (settings.data_dir / "portal.key").unlink()
    async with engine.open_store(settings) as third:
        with pytest.raises(ConfigError, match="migrate"):
            third.portal_key()


async def test_a_service_makes_no_database(settings: Settings) -> None:
    with pytest.raises(SchemaUnknown, match="arhivar init"):
        async with engine.open_store(settings):
            pass
    assert not settings.data_dir.exists()


_SCRIPT = """
import asyncio, sys
from pathlib import Path
from appliance.config import Settings
from appliance.core.errors import Busy
from appliance.store import engine

async def main():
    store = engine.open_store(Settings(data_dir=Path(sys.argv[1])), busy_timeout=0.01)
    await store.__aenter__()
    await engine.fetch("SELECT 1")
    engine.fetch_now("SELECT 1")
    {body}

asyncio.run(main())
"""


def run(body: str, settings: Settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT.replace("{body}", body), str(settings.data_dir)],
        timeout=20,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "body",
    [
        "pass",
        "await store.__aexit__(None, None, None)",
        "await engine.transaction().__aenter__()",
        "raise SystemExit(0)",
    ],
)
async def test_a_process_ends_by_itself_however_it_leaves_the_store(
    settings: Settings, body: str
) -> None:
    await engine.migrate(settings)

    done = await asyncio.to_thread(run, body, settings)

    assert (done.returncode, done.stderr) == (0, "")


async def test_a_process_whose_begin_failed_ends_by_itself(settings: Settings) -> None:
    await engine.migrate(settings)
    body = "try:\n        async with engine.transaction(): pass\n    except Busy: print('busy')"

    with locked(settings):
        done = await asyncio.to_thread(run, body, settings)

    assert (done.returncode, done.stdout, done.stderr) == (0, "busy\n", "")


async def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing(store: engine.Store) -> None:
    async with transaction():
        [row] = await fetch("PRAGMA page_count")
        await fetch(f"PRAGMA max_page_count = {row['page_count'] + 2}")

    async def fills() -> None:
        async with transaction():
            await put("a")
            await put("big", "x" * 1_000_000)

    with pytest.raises(Busy, match="disk is full"):
        await fills()

    assert await names() == []
    async with transaction():
        await fetch("PRAGMA max_page_count = 1000000")
        await put("b")
    assert await names() == ["b"]

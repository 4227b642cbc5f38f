"""Piccolo's engine for `arhivar.db`: one writer, a few readers, nothing else.

Piccolo's own SQLite engine opens a connection and a thread for every query,
begins deferred transactions and leaks a thread when BEGIN fails. This one
keeps, per process,

* one writer connection behind a lock. It is used only between the BEGIN
  IMMEDIATE and the COMMIT of `transaction()`, and only by the task that opened
  it; tasks that want it next wait in line. BEGIN and COMMIT, which wait for
  other processes and for the disk, run in a thread of its own;
* reader connections (`query_only`), one per thread, for everything else. A
  write that is not inside a transaction is refused.

`transaction()` is how the rest of the store writes. Values are text, integers,
bytes or NULL: a float or a Decimal is refused before it reaches SQL.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from piccolo.engine.sqlite import SQLiteEngine
from piccolo.querystring import QueryString

from appliance.config import Settings
from appliance.core.errors import ArhivarError, BadInput, Busy, ConfigError, SchemaUnknown
from appliance.core.sentence import Sentence
from appliance.store import migrate as migrations

__all__ = [
    "ENGINE",
    "Row",
    "Store",
    "WriteOutsideTransaction",
    "data_version",
    "execute",
    "execute_many",
    "fetch",
    "fetch_now",
    "joined",
    "migrate",
    "open_store",
    "transaction",
]

Row = dict[str, Any]
T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 10.0  # for another process
TURN_TIMEOUT_SECONDS = 60.0  # for the other tasks of this one
_READERS = 2


class WriteOutsideTransaction(RuntimeError):
    """A statement that writes was not inside `transaction()` of its own task: a defect."""


@dataclass(frozen=True)
class Store:
    """The open store of this process."""

    settings: Settings

    def portal_key(self) -> bytes:
        """Return the key of drive passwords and CSRF tokens; `ConfigError` without it."""
        return ENGINE.portal_key()


class StoreEngine(SQLiteEngine):
    """The engine that every table of `tables.py` is bound to."""

    def __init__(self) -> None:
        super().__init__(path="")
        self._path: Path | None = None
        self._uses = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._key: bytes | None = None

    # Opening and closing

    async def open(self, path: Path, *, busy_timeout: float) -> None:
        """Open the connections; a second opening by the same loop shares them."""
        loop = asyncio.get_running_loop()
        if self._path is not None:
            if self._path != path or self._loop is not loop:
                raise RuntimeError(f"this process has already opened the store at {self._path}")
            self._uses += 1
            return
        self._path, self._loop, self._uses = path, loop, 1
        self._timeout = busy_timeout
        self._owner: asyncio.Task[Any] | None = None
        self._turn = asyncio.Lock()
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        # An idle pool thread ends by itself when the interpreter does, so a process
        # that forgets to close still exits.
        self._writer_thread = ThreadPoolExecutor(1, thread_name_prefix="arhivar-writer")
        self._reader_threads = ThreadPoolExecutor(_READERS, thread_name_prefix="arhivar-reader")
        try:
            self._writer = await self._on_writer(self._connect)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connections and end the threads; a transaction under way ends first."""
        self._uses -= 1
        if self._uses > 0:
            return
        async with self._turn:
            await asyncio.to_thread(self._reader_threads.shutdown)
            for connection in self._reader_connections:
                connection.close()
            # Last of all, so that SQLite can fold the journal into the file.
            writer = getattr(self, "_writer", None)
            if writer is not None:
                await self._on_writer(writer.close)
                del self._writer
            await asyncio.to_thread(self._writer_thread.shutdown)
            self._path = self._loop = self._key = None

    def portal_key(self) -> bytes:
        if self._key is None:
            path = self._opened().with_name("portal.key")
            try:
                key = path.read_bytes()
            except OSError:
                key = b""
            if len(key) != migrations.KEY_BYTES:
                raise ConfigError(
                    Sentence(
                        f"Cheia portalului ({path}) lipsește sau nu poate fi citită. "
                        "Rulează „arhivar migrate”.",
                        f"the portal's key ({path}) is missing or cannot be read; "
                        "run `arhivar migrate`",
                    )
                )
            self._key = key
        return self._key

    def _opened(self) -> Path:
        if self._path is None:
            raise RuntimeError("the store is not open: use open_store()")
        return self._path

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: a service never creates a database.
        connection = sqlite3.connect(
            f"{self._opened().as_uri()}?mode=rw",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            cached_statements=256,
            check_same_thread=False,
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        return connection

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
            self._reader_connections.append(connection)
        return connection

    # Transactions

    def in_own_transaction(self) -> bool:
        """Tell whether the running task is the one whose transaction is open."""
        return self._path is not None and self._owner is not None and self._owner is _this_task()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[None]:
        """See `transaction()`."""
        self._opened()
        if self.in_own_transaction():
            raise RuntimeError("this task is already inside a transaction")
        since = time.monotonic()
        try:
            async with asyncio.timeout(TURN_TIMEOUT_SECONDS):
                await self._turn.acquire()
        except TimeoutError as error:
            raise _busy() from error
        try:
            try:
                waited = time.monotonic() - since
                await _to_the_end(self._on_writer(lambda: self._begin(waited)))
            except BaseException:
                # A cancelled BEGIN may have succeeded a moment later.
                await self._roll_back()
                raise
            self._owner = _this_task()
            try:
                yield
            except BaseException:
                self._owner = None
                await self._roll_back()
                raise
            self._owner = None
            try:
                await _to_the_end(self._on_writer(self._commit))
            except BaseException:
                await self._roll_back()
                raise
        finally:
            self._turn.release()

    def _begin(self, waited: float) -> None:
        # The time in line counts: else ten tasks would each wait the whole timeout in
        # turn for a database that somebody else keeps.
        patience = max(self._timeout - waited, min(self._timeout, 1.0))
        with _translated():
            self._writer.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            self._writer.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        with _translated():
            self._writer.execute("COMMIT")

    async def _roll_back(self) -> None:
        await _to_the_end(self._on_writer(self._roll_back_now))

    def _roll_back_now(self) -> None:
        try:
            # SQLite has rolled back by itself after a full disk or an I/O error.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._writer.close()
            self._writer = self._connect()

    # Statements

    async def run_querystring(self, querystring: QueryString, in_pool: bool = False) -> list[Row]:
        """Run what Piccolo's query builder made."""
        statement, values = querystring.compile_string(engine_type="sqlite")
        return await self.run(statement, values)

    async def run_ddl(self, ddl: str, in_pool: bool = False) -> NoReturn:
        raise RuntimeError("the schema is changed by migrations only")

    async def run(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement: on the writer inside the task's own transaction, else on a reader."""
        _refuse_inexact(values)
        if self.in_own_transaction():
            # At once, in this thread: behind BEGIN IMMEDIATE nothing waits for a lock or for
            # the disk to sync, and a change of thread costs more than most statements.
            return _fetch(self._writer, statement, values)
        self._opened()
        return await asyncio.get_running_loop().run_in_executor(
            self._reader_threads, self.run_now, statement, values
        )

    async def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one writing statement for each row, inside the task's own transaction."""
        prepared = list(rows)
        for row in prepared:
            _refuse_inexact(row)
        if not self.in_own_transaction():
            raise WriteOutsideTransaction("executemany outside transaction()")

        with _translated():
            self._writer.executemany(statement, prepared)

    def run_now(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one reading statement in the calling thread and wait for it."""
        self._opened()
        return _fetch(self._reader(), statement, values)

    def run_now_tuples(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Like `run_now`, without the names of the columns, for the long lists of the drive."""
        self._opened()
        with _translated():
            return self._reader().execute(statement, values).fetchall()

    # What the parent class offers and this one must not do

    async def get_connection(self) -> NoReturn:
        raise RuntimeError("connections are the engine's own")

    def transaction(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("use appliance.store.engine.transaction()")

    def atomic(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("use appliance.store.engine.transaction()")

    def _on_writer(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._writer_thread, work)


def _this_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop in this thread
        return None


async def _to_the_end(work: asyncio.Future[T]) -> T:
    """Wait for the work whatever happens, then raise a cancellation that came meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: S110 - the work's own error is raised by result() below
            pass
    result = work.result()
    if cancelled is not None:
        raise cancelled
    return result


def _fetch(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> list[Row]:
    with _translated():
        cursor = connection.execute(statement, values)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _refuse_inexact(values: Sequence[Any]) -> None:
    for value in values:
        if value is not None and not isinstance(value, str | int | bytes):
            raise TypeError(
                f"{type(value).__name__} is no value for the database: "
                "money is integers, other decimals and moments are text"
            )


class _translated:
    """Raise SQLite's errors as what a caller can do about them."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeEncodeError | OverflowError):
            # A lone surrogate or a number beyond 64 bits can only have come from outside.
            raise BadInput(
                Sentence(
                    "O valoare nu poate fi citită. Verifică textul și numerele introduse.",
                    "a value cannot be read; check the text and the numbers given",
                )
            ) from error
        if not isinstance(error, sqlite3.OperationalError):
            return
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise _busy() from error
        if code == sqlite3.SQLITE_FULL:
            raise Busy(
                Sentence(
                    "Discul este plin și nu s-a scris nimic. Eliberează spațiu, apoi "
                    "încearcă din nou.",
                    "the disk is full and nothing was written; free some space and try again",
                )
            ) from error
        if code == sqlite3.SQLITE_READONLY:
            raise WriteOutsideTransaction(
                f"a write outside transaction() of its own task: {error}"
            ) from error


def _busy() -> Busy:
    return Busy(
        Sentence(
            "Baza de date este ocupată și nu s-a scris nimic. Încearcă din nou imediat.",
            "the database is busy and nothing was written; try again in a moment",
        )
    )


ENGINE = StoreEngine()


@asynccontextmanager
async def open_store(
    settings: Settings,
    *,
    migrate: bool = False,
    busy_timeout: float = BUSY_TIMEOUT_SECONDS,
) -> AsyncIterator[Store]:
    """Open the store of this process for as long as the block lasts.

    With `migrate` the database is created or upgraded first; without it,
    `SchemaUnknown` is raised for a database that is absent or not exactly at
    this program's version. Opened again by the same event loop it is shared;
    another loop or another database raises `RuntimeError`.
    """
    migrations.refuse_other_databases(settings)
    if migrate:
        await asyncio.to_thread(migrations.migrate, settings)
    else:
        await asyncio.to_thread(_check, settings.database_path)
    await ENGINE.open(settings.database_path.resolve(), busy_timeout=busy_timeout)
    try:
        yield Store(settings)
    finally:
        await _to_the_end(asyncio.ensure_future(ENGINE.close()))


async def migrate(settings: Settings) -> list[str]:
    """Create or upgrade the database; see `appliance.store.migrate.migrate()`."""
    return await asyncio.to_thread(migrations.migrate, settings)


def _check(path: Path) -> None:
    if not path.is_file():
        raise SchemaUnknown(
            Sentence(
                f"Baza de date nu există încă ({path}). Rulează „arhivar init”.",
                f"there is no database yet ({path}); run `arhivar init`",
            )
        )
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            migrations.check_schema(connection)
    except sqlite3.OperationalError as error:
        raise ArhivarError(
            Sentence(
                f"Baza de date nu poate fi deschisă ({path}): {error}. Verifică drepturile.",
                f"the database cannot be opened ({path}): {error}; check its permissions",
            )
        ) from error


def transaction() -> AbstractAsyncContextManager[None]:
    """Open a transaction: `async with transaction():` around everything that belongs together.

    What the block wrote is durable when it ends and undone when it raises or
    is cancelled. Tasks of one process wait in line for it; when another
    process keeps the database longer than the busy timeout, `Busy` is raised
    and nothing was written. Inside the task's own transaction it raises
    `RuntimeError`; `joined()` is for functions that serve both ways.

    It belongs to its task. A task started inside it neither sees nor joins it,
    and must not be awaited inside it when it writes too: it would wait for the
    turn that its parent holds, until that is `Busy`.
    """
    return ENGINE.begin()


@asynccontextmanager
async def joined() -> AsyncIterator[None]:
    """Be part of the task's own transaction when there is one, else open one."""
    if ENGINE.in_own_transaction():
        yield
    else:
        async with ENGINE.begin():
            yield


async def fetch(statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """Run one reading statement; inside the task's own transaction it sees what that wrote."""
    return await ENGINE.run(statement, values)


async def execute(statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """Run one writing statement and return what its RETURNING says.

    Outside the task's own transaction raises `WriteOutsideTransaction`.
    """
    if not ENGINE.in_own_transaction():
        raise WriteOutsideTransaction("execute() outside transaction() of its own task")
    return await ENGINE.run(statement, values)


async def execute_many(statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Run one writing statement for each row, inside the task's own transaction."""
    await ENGINE.run_many(statement, rows)


def fetch_now(statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """Run one reading statement at once, in the calling thread.

    For point reads that are shorter than a change of thread. It never sees
    the writes of a transaction that is still open.
    """
    return ENGINE.run_now(statement, values)


def data_version() -> int:
    """Return a number that changes whenever any other connection, of any process, has committed.

    It belongs to the calling thread's connection: compare it only with what
    the same thread was told before.
    """
    return int(ENGINE.run_now("PRAGMA data_version")[0]["data_version"])

"""An import that is killed, raced or rebuilt: everything is kept, and nothing twice."""

from __future__ import annotations

import asyncio
import inspect
import io
import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from appliance.config import Settings
from appliance.core.roles import Status
from appliance.store import decisions, documents, engine, imports, jobs, reindex
from appliance.store.files import Archive
from appliance.store.imports import ItemState
from appliance.store.messages import MessageState
from appliance.store.spool import Spool
from appliance.sync import importing, ingest, tasks
from appliance.sync.hand_in import _places, hand_in
from tests.support.desk import Desk
from tests.support.importing import ANAF_ERROR, NOW, handed, left, packed, work
from tests.support.spv import ALFA, BETA, invoice, package, signer


class Killed(BaseException):
    """The process ends here, and nothing of it runs any more."""


STEPS: list[tuple[Any, str]] = [
    (imports, "settle"),
    (imports, "add"),
    (imports, "claim"),
    (documents, "add"),
    (Spool, "discard"),
    (Spool, "put"),
    (Archive, "write_document"),
]


@pytest.mark.parametrize(("owner", "name"), STEPS)
async def test_killed_before_or_after_any_step_the_next_attempt_finishes_and_doubles_nothing(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    kills = 0
    for call, when in itertools.product((1, 2, 3), ("before", "after")):
        mark = f"{call}{when}"
        between_clients = package(invoice(ALFA, BETA, number=f"{mark}-a"))
        data = packed({"6001.zip": between_clients, "2.xml": invoice(number=f"{mark}-b")})
        (folder / "all.zip").write_bytes(data)
        run = await imports.begin(mark, Status.PENDING, NOW)
        await hand_in(run, _places(folder), Spool(desk.world.settings.spool_dir))

        with monkeypatch.context() as patched:
            died = _kill_at(patched, owner, name, call, when)
            await work(desk, Killed)
        kills += len(died)

        ended = await imports.by_id(run.id)
        assert ended.counts == {ItemState.ARCHIVED: 3, ItemState.OPENED: 2}, mark
        assert ended.finished_at is not None
    # Of what is done once in an import only the first call can be cut off.
    assert kills >= 2
    assert len(await desk.documents()) == 18
    assert left(desk) == []
    assert desk.problems() == []


def _kill_at(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, when: str
) -> list[int]:
    """End the process at this call of the function; return where that is noted."""
    real = getattr(owner, name)
    calls = itertools.count(1)
    died: list[int] = []

    def due() -> bool:
        return next(calls) == number

    def die() -> None:
        died.append(number)
        raise Killed

    async def later(*arguments: Any, **named: Any) -> Any:
        now = due()
        if now and when == "before":
            die()
        result = await real(*arguments, **named)
        if now:
            die()
        return result

    def at_once(*arguments: Any, **named: Any) -> Any:
        now = due()
        if now and when == "before":
            die()
        result = real(*arguments, **named)
        if now:
            die()
        return result

    monkeypatch.setattr(owner, name, later if inspect.iscoroutinefunction(real) else at_once)
    return died


async def test_a_file_that_was_handed_in_without_its_row_is_swept_a_day_later(
    desk: Desk, folder: Path
) -> None:
    spool = Spool(desk.world.settings.spool_dir)
    (folder / "1.xml").write_bytes(invoice())
    spool.put("left", io.BytesIO(b"x"), 10)
    os.utime(spool.path("left"), (1, 1))

    await handed(desk, folder)

    assert left(desk) == []


async def test_an_import_whose_command_was_killed_ends_a_day_later(desk: Desk) -> None:
    killed = await imports.begin("x", Status.PENDING, NOW - imports.ABANDONED)
    under_way = await imports.begin("y", Status.PENDING, NOW)

    assert await imports.end_abandoned(NOW + timedelta(seconds=1)) == 1
    assert await imports.end_abandoned(NOW + timedelta(seconds=1)) == 0

    assert (await imports.by_id(killed.id)).finished_at == NOW + timedelta(seconds=1)
    assert (await imports.by_id(under_way.id)).finished_at is None


async def test_two_that_bring_the_same_invoice_at_once_store_it_once(
    desk: Desk, folder: Path
) -> None:
    for name in ("a", "b", "c", "d"):
        (folder / f"{name}.xml").write_bytes(invoice())
    run = await imports.begin("x", Status.PENDING, NOW)
    await hand_in(run, _places(folder), Spool(desk.world.settings.spool_dir))
    due = await jobs.lease(10, datetime.now(UTC), 45, ["import"])

    await asyncio.gather(
        *(importing.file_import(job, desk.context, datetime.now(UTC)) for job in due)
    )

    ended = await imports.by_id(run.id)
    assert ended.counts == {ItemState.ARCHIVED: 1, ItemState.DUPLICATE: 3}
    assert len(await desk.documents()) == 1


async def test_when_import_and_download_race_one_document_is_left_and_no_folder_beside_it(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is stopped between its folder and its rows, and the other one is faster."""
    write = Archive.write_document
    for first in ("message", "import"):
        zipped = package(invoice(number=first))
        (folder / "6001.zip").write_bytes(zipped)
        run = await imports.begin(first, Status.PENDING, NOW)
        await hand_in(run, _places(folder), Spool(desk.world.settings.spool_dir))
        desk.vault.offer(f"7{first}", zipped)
        await desk.listing()
        started = asyncio.Event()
        loop = asyncio.get_running_loop()
        theirs = asyncio.Event()

        def slow(
            archive: Archive, *arguments: Any, loop: Any = loop, started: Any = started,
            theirs: Any = theirs,
        ) -> Any:  # fmt: skip
            manifest = write(archive, *arguments)
            if not started.is_set():
                loop.call_soon_threadsafe(started.set)
                asyncio.run_coroutine_threadsafe(theirs.wait(), loop).result()
            return manifest

        with monkeypatch.context() as patched:
            patched.setattr(Archive, "write_document", slow)
            slower = asyncio.create_task(work(desk) if first == "message" else _download(desk))
            await started.wait()
            await (_download(desk) if first == "message" else work(desk))
            theirs.set()
            await slower

    assert len(await desk.documents()) == 2
    assert sorted(d["source"] for d in await desk.documents()) == ["import", "spv"]
    assert len(list(desk.context.archive.folders())) == 2
    assert desk.problems() == []


async def test_a_message_at_work_twice_never_becomes_a_second_copy_of_the_import(
    desk: Desk, folder: Path
) -> None:
    zipped = package()
    (folder / "6001.zip").write_bytes(zipped)
    await handed(desk, folder)
    desk.vault.offer("7001", zipped)
    await desk.listing()
    message = await desk.only_message()
    planned = ingest.plan(
        message, zipped, own=frozenset({ALFA}), others=frozenset(), pinned=desk.context.pinned
    )
    assert isinstance(planned, ingest.Filing)

    for _ in range(2):  # two workers that had read it before either was done
        await ingest.file(planned, message, desk.context.archive, datetime.now(UTC))
    await _download(desk)

    (document,) = await desk.documents()
    assert document["source"] == "import"
    assert desk.problems() == []


@pytest.mark.parametrize("what", ["invoice", "notice"])
async def test_of_two_messages_with_the_same_bytes_only_one_takes_the_import(
    desk: Desk, folder: Path, what: str
) -> None:
    """Both have seen the import before either has taken it."""
    document = ANAF_ERROR if what == "notice" else invoice()
    zipped = signer().pack("6001", document, NOW)
    (folder / "6001.zip").write_bytes(zipped)
    await handed(desk, folder)
    for message_id in ("7001", "7002"):
        desk.vault.offer(message_id, zipped)
    await desk.listing()
    due = await jobs.lease(10, datetime.now(UTC), 45, ["message"])

    await asyncio.gather(*(tasks.run(job.id, desk.context) for job in due))

    kept = await engine.fetch(f"SELECT message FROM {'notice' if what == 'notice' else 'document'}")
    assert len({row["message"] for row in kept} - {None}) == 2
    assert desk.spooled() == ["import"]
    assert desk.problems() == []


async def _download(desk: Desk) -> None:
    await desk.run("message")


async def test_after_the_rows_are_lost_imports_come_back_with_their_status_and_message(
    desk: Desk, folder: Path
) -> None:
    settings = desk.world.settings
    zipped = package(invoice(number="1"))
    (folder / "1.zip").write_bytes(zipped)
    (folder / "2.xml").write_bytes(invoice(number="2", issue_date=date(2024, 3, 5)))
    await handed(desk, folder, Status.ARCHIVED)
    desk.vault.offer("7001", zipped)
    await desk.fetch()
    decisions.write_due(settings, datetime.now(UTC))
    async with engine.transaction():
        for table in (
            "import_item", "import_run", "event", "document_file", "document_line", "document",
            "message", "job",
        ):  # fmt: skip
            await engine.execute(f"DELETE FROM {table}")

    report = await asyncio.to_thread(_reindex, settings)

    assert (report.documents, report.undecided, report.messages) == (2, 0, 1)
    stored = {d["number"]: d for d in await desk.documents()}
    assert {n: (d["source"], d["status"], d["period"]) for n, d in stored.items()} == {
        "1": ("import", "archived", "2026-11"),
        "2": ("import", "archived", "2024-03"),
    }
    assert (await desk.only_message()).state is MessageState.ARCHIVED
    assert (await documents.by_uid(stored["1"]["uid"])).message_id == "7001"
    assert await jobs.latest("message", (await desk.only_message()).uid) is None


def _reindex(settings: Settings) -> reindex.Report:
    """In a process of its own, as the command is."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_reindexed, settings).result()


def _reindexed(settings: Settings) -> reindex.Report:
    return asyncio.run(reindex.reindex(settings, at=datetime.now(UTC)))

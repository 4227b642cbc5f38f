"""Which PDF comes first, which is asked for again, and how a long asking is broken off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from appliance.core.sentence import Sentence
from appliance.store import documents, engine, jobs, pdfs
from appliance.store.documents import NewFile
from appliance.store.pdfs import AGAIN, NEW, OPENED
from tests.support.store import NOW, World, new_document

PROBLEM = Sentence("Documentul cere prea multă memorie.", "it needs too much memory")


async def filed(world: World, age: int = 0, **fields: Any) -> str:
    """Add a document that came so many minutes ago, without asking for its PDF."""
    new = new_document(world.alfa, received_at=NOW - timedelta(minutes=age), **fields)
    await documents.add(new, at=NOW)
    return new.uid


async def ask(world: World, age: int) -> str:
    uid = await filed(world, age)
    await pdfs.ask(uid, NOW - timedelta(minutes=age), NOW)
    return uid


async def add_pdf(uid: str) -> None:
    row = NewFile("pdf", "invoice.pdf", "application/pdf", 9, "0" * 64, shown_suffix=".pdf")
    await documents.add_file(uid, row, at=NOW)


async def order() -> list[str]:
    return [job.object_uid for job in await jobs.lease(100, NOW, 45, ["render"])]


async def park(uid: str) -> None:
    job = await jobs.latest("render", uid)
    assert job is not None
    await jobs.park(job.id, NOW, PROBLEM)


async def everything(client_id: int | None = None) -> int:
    return [step async for step in pdfs.everything(client_id, NOW)][-1].asked


async def missing() -> int:
    return [step async for step in pdfs.missing(NOW)][-1].asked


async def test_the_newest_document_gets_its_pdf_first_whenever_it_was_filed(world: World) -> None:
    middle, oldest, newest = [await ask(world, age) for age in (20, 60, 1)]

    assert await order() == [newest, middle, oldest]


async def test_what_was_opened_comes_first_and_the_last_opened_before_all(world: World) -> None:
    uids = [await ask(world, age) for age in (1, 2, 3, 4)]
    await pdfs.opened(uids[3], NOW)
    await pdfs.opened(uids[2], NOW + timedelta(seconds=1))

    assert await order() == [uids[2], uids[3], uids[0], uids[1]]


async def test_opening_again_asks_for_nothing_more(world: World) -> None:
    uid = await filed(world)

    for _ in range(3):
        assert await pdfs.opened(uid, NOW) is None

    assert await jobs.waiting("render") == 1


async def test_a_parked_pdf_says_why_and_is_not_asked_for_by_looking(world: World) -> None:
    uid = await ask(world, 1)
    await park(uid)

    assert await pdfs.opened(uid, NOW) == PROBLEM
    assert await jobs.waiting("render") == 0


async def test_who_looks_at_one_client_is_told_of_its_own_parked_pdfs(world: World) -> None:
    mine = await ask(world, 1)
    await park(mine)
    other = new_document(world.beta)
    await documents.add(other, at=NOW)
    await pdfs.ask(other.uid, NOW, NOW)
    await park(other.uid)

    assert await pdfs.parked([world.alfa]) == [(mine, PROBLEM)]
    assert [uid for uid, _ in await pdfs.parked(None)] == [mine, other.uid]


async def test_what_is_made_again_comes_after_everything_new(world: World) -> None:
    old = [await filed(world, age) for age in (30, 10)]
    assert await everything() == 2
    new = await ask(world, 5)

    assert await order() == [new, old[1], old[0]]


async def test_everything_leaves_alone_what_is_asked_for_and_what_is_no_invoice(
    world: World,
) -> None:
    await filed(world, type="unreadable")
    uid = await ask(world, 1)
    await pdfs.opened(uid, NOW)

    assert await everything() == 0
    job = await jobs.latest("render", uid)
    assert job is not None
    assert job.priority == OPENED


async def test_everything_of_one_client_is_of_that_client(world: World) -> None:
    mine = await filed(world)
    other = new_document(world.beta)
    await documents.add(other, at=NOW)

    assert await everything(world.alfa) == 1
    assert await order() == [mine]


async def test_missing_pdfs_are_asked_for_and_those_that_are_there_are_not(world: World) -> None:
    there, parked, never = [await filed(world, age) for age in (1, 2, 3)]
    await add_pdf(there)
    await pdfs.ask(parked, NOW - timedelta(minutes=2), NOW)
    await park(parked)

    assert await missing() == 2
    assert await jobs.parked() == []
    assert await order() == [parked, never]
    assert (await jobs.latest("render", never)).priority == NEW  # type: ignore[union-attr]


async def test_broken_off_it_goes_on_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdfs, "_ROWS_AT_ONCE", 2)
    for age in range(5):
        await filed(world, age)
    steps = pdfs.everything(None, NOW)
    await anext(steps)
    half = await anext(steps)
    await steps.aclose()
    first = set(await order())
    for uid in first:
        job = await jobs.latest("render", uid)
        assert job is not None
        await jobs.finish(job.id, NOW)

    assert half.asked == len(first) == 2
    assert await everything() == 3
    assert not first & set(await order())
    assert await engine.fetch("SELECT * FROM setting WHERE name = 'rerender'") == []


async def test_what_an_older_program_broke_off_begins_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdfs, "_ROWS_AT_ONCE", 1)
    for age in range(3):
        await filed(world, age)
    steps = pdfs.everything(None, NOW)
    await anext(steps)
    await anext(steps)
    await steps.aclose()
    for uid in await order():
        job = await jobs.latest("render", uid)
        assert job is not None
        await jobs.finish(job.id, NOW)
    monkeypatch.setattr(pdfs, "__version__", "99")

    assert await everything() == 3


async def test_again_asks_once_and_low(world: World) -> None:
    uid = await filed(world)

    await pdfs.again([uid], NOW)
    await pdfs.again([uid], NOW)

    job = await jobs.latest("render", uid)
    assert job is not None
    assert (job.priority, await jobs.waiting("render")) == (AGAIN, 1)

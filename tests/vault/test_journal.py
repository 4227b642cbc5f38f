"""A renewed pair that the process or the disk did not let into the database."""

from __future__ import annotations

import errno
import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.core.errors import Busy
from tests.support.anaf import Anaf
from tests.support.vault import START, World


async def test_a_pair_that_the_database_could_not_take_comes_from_the_journal(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with sqlite3.connect(world.database.path, isolation_level=None) as other:
        world.database.durable.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")  # as a backup that hangs
        with pytest.raises(Busy):
            await world.renewal.access(uid, at=world.now)
        other.execute("ROLLBACK")
    other.close()
    world.restart()  # the process died meanwhile
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1
    assert list(world.directory.glob("*.journal")) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
async def test_a_pair_whose_journal_was_begun_when_the_process_was_killed_is_not_lost(
    world: World, anaf: Anaf, call: str
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*((os, "fsync") if call == "fsync" else (Path, "rename")), killed)
        with pytest.raises(Killed):
            await world.renewal.access(uid, at=world.now)
    assert len(list(world.directory.glob("*.tmp"))) == 1
    world.restart()
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1
    assert left_by_the_journal(world) == []


async def test_a_journal_that_was_torn_is_removed_and_the_pair_stays(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(Killed):
            await world.renewal.access(uid, at=world.now)
    [path] = world.directory.glob("*.tmp")
    whole = path.read_bytes()
    for length in (0, 5, 8, 20, 60, 100, 120, 300, len(whole) - 1):
        path.write_bytes(whole[:length])
        world.restart()
        assert left_by_the_journal(world) == [], length
        assert world.grants.status()["grants"][0]["state"] == "active"  # type: ignore[index]


async def test_a_journal_that_could_not_be_written_leaves_nothing(world: World) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", full)
        await world.renewal.access(uid, at=world.now)
    assert left_by_the_journal(world) == []


class Killed(BaseException):
    """The process ends here."""


def killed(*_: object) -> None:
    raise Killed


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def left_by_the_journal(world: World) -> list[str]:
    return sorted(path.name for path in world.directory.glob("refresh-*") if path.suffix != ".lock")


async def test_a_pair_that_the_database_could_not_take_is_written_at_the_next_call(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with sqlite3.connect(world.database.path, isolation_level=None) as other:
        world.database.durable.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await world.renewal.access(uid, at=world.now)
        other.execute("ROLLBACK")
    other.close()
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1


async def test_a_journal_older_than_the_row_changes_nothing(world: World, anaf: Anaf) -> None:
    uid = await world.authorise()
    subject = bytes.fromhex(uid)
    (body,) = world.database.durable.execute(
        "SELECT body FROM record WHERE subject = ? AND purpose = 1", (subject,)
    ).fetchone()
    world.now = START + timedelta(days=61)
    await world.list()
    (world.directory / f"refresh-{uid}.journal").write_bytes((1).to_bytes(8, "big") + body)
    world.restart()
    assert (await world.renewal.access(uid, at=world.now)).token.reveal() == anaf.issued[2]


async def test_a_journal_that_does_not_open_is_set_aside_and_the_vault_starts(
    world: World,
) -> None:
    uid = await world.authorise()
    path = world.directory / f"refresh-{uid}.journal"
    path.write_bytes((2).to_bytes(8, "big") + b"x" * 700)
    world.restart()
    assert (await world.list()).status == 200
    assert not path.exists()
    assert path.with_suffix(".broken").exists()

"""The day of a device is noted beside the requests, never in their way."""

from __future__ import annotations

import http.client
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.config import Settings
from appliance.core.roles import Status
from appliance.core.times import BUCHAREST
from appliance.dav.last_used import AGAIN_AFTER, LastUsed
from appliance.store import drive_passwords
from appliance.store.drive_passwords import DrivePassword
from appliance.store.engine import Store, open_store, transaction
from tests.support import store as stores
from tests.support.dav import World, make_world, served
from tests.support.store import NOW, settings, store

__all__ = ["settings", "store"]

TODAY = "2026-11-24"


def test_the_first_reads_of_a_day_do_not_wait_for_whoever_writes(tmp_path: Path) -> None:
    with served(make_world(tmp_path)) as world:
        row = world.add(status=Status.APPROVED)
        with closing(sqlite3.connect(world.settings.database_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            try:
                for who in ("ana", "contabil"):
                    _reads(world, who, row.path(), row.path(f"{row.name}.xml"))
            finally:
                other.execute("ROLLBACK")
        days: set[object] = set()
        while not days:  # bounded by the test's own time limit
            world.ask("OPTIONS", "/", "ana")
            rows = world.sql("SELECT last_used_on FROM drive_password WHERE account = 4")
            days = {day for (day,) in rows if day}
        now = datetime.now(UTC)
        near = (now, now - timedelta(minutes=10))
        assert days <= {moment.astimezone(BUCHAREST).date().isoformat() for moment in near}


def _reads(world: World, who: str, folder: str, file: str) -> None:
    # Less patience than the drive has with a database that is locked (10 s).
    with closing(http.client.HTTPConnection("127.0.0.1", world.port, timeout=6)) as connection:
        headers = {**world.authorization(who), "Depth": "1"}
        for verb, path, status in (
            ("OPTIONS", "/", 200),
            ("PROPFIND", folder, 207),
            ("GET", file, 200),
        ):
            connection.request(verb, path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status


@pytest.fixture
async def device(store: Store) -> DrivePassword:
    return await _device(store.settings)


async def _device(settings: Settings) -> DrivePassword:
    world = await stores.make_world(settings)
    password = await drive_passwords.create(world.ids["ana"], "laptop", NOW)
    found = drive_passwords.viewer_for("ana@example.ro", password, NOW)
    assert found is not None
    return found[1]


async def _day(device: DrivePassword) -> str | None:
    [row] = await drive_passwords.listed(device.account_id, NOW)
    return row.last_used_on


async def _pass(used: LastUsed) -> None:
    while used.waiting:
        await used.waiting[0]


async def test_a_device_is_noted_once_however_often_it_asks(
    device: DrivePassword, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, calls = LastUsed(), []
    real = drive_passwords.note_use

    async def counted(password_id: int, day: str) -> None:
        calls.append(day)
        await real(password_id, day)

    monkeypatch.setattr(drive_passwords, "note_use", counted)
    for second in range(50):
        used.note(device, NOW + timedelta(seconds=second))
    await _pass(used)

    assert await _day(device) == TODAY
    assert calls == [TODAY]


async def test_what_a_busy_database_refused_is_tried_again_minutes_later(
    settings: Settings,
) -> None:
    used = LastUsed()
    async with open_store(settings, migrate=True, busy_timeout=0.1):
        device = await _device(settings)
        with closing(sqlite3.connect(settings.database_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            used.note(device, NOW)
            await _pass(used)
            other.execute("ROLLBACK")
        assert await _day(device) is None

        used.note(device, NOW + AGAIN_AFTER - timedelta(seconds=1))
        assert not used.waiting
        used.note(device, NOW + AGAIN_AFTER)
        await _pass(used)

        assert await _day(device) == TODAY


async def test_the_store_can_close_while_a_day_is_still_to_be_noted(device: DrivePassword) -> None:
    used = LastUsed()
    async with transaction():
        used.note(device, NOW)
        await used.close()
        assert not used.waiting
    assert await _day(device) is None

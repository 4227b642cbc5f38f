"""A new generation of the key: added, met by the vault, and every record put under it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.vault import keys, recovery
from appliance.vault.database import Database
from appliance.vault.enrol import Enrol
from appliance.vault.envelope import Keyring, Purpose, key_id, key_id_of
from appliance.vault.errors import KeyRefused, SealBroken
from appliance.vault.refusals import Refusals
from appliance.vault.rewrapping import Rewrapped, rewrap
from appliance.vault.wire import Refused, Request
from tests.conftest import ROOT
from tests.support import vault_cli
from tests.support.anaf import Anaf
from tests.support.vault import VaultProcess, World
from tests.support.vault_cli import arhivar, make_page, start

CIF = "12345674"
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OLD, NEW = bytes(range(100, 132)), bytes(range(31, 63))
BOTH = Keyring({1: OLD, 2: NEW})


def filled(directory: Path, count: int) -> None:
    """Make a vault with so many records, in the place where the commands look."""
    keys.create(directory / "kek", OLD)
    with closing(Database(directory, Keyring({1: OLD}), at=AT)) as database:
        for number in range(count):
            with database.transaction():
                database.put(subject(number), Purpose.TOKENS, f"token {number}".encode(), at=AT)


def subject(number: int) -> bytes:
    return number.to_bytes(16, "big")


def key_ids(directory: Path) -> list[bytes]:
    with closing(sqlite3.connect(directory / "vault.db")) as connection:
        return [key_id_of(body) for (body,) in connection.execute("SELECT body FROM record")]


def actions(directory: Path) -> list[str]:
    with closing(sqlite3.connect(directory / "vault.db")) as connection:
        return [
            action
            for (action,) in connection.execute(
                "SELECT json_extract(CAST(body AS TEXT), '$.action') FROM audit ORDER BY seq"
            )
        ]


async def test_every_record_opens_with_the_new_key_alone_and_a_second_run_does_nothing(
    tmp_path: Path,
) -> None:
    filled(tmp_path, 5)
    with closing(Database(tmp_path, BOTH, at=AT)) as database:
        assert await rewrap(database, lambda: AT, at_most=3) == Rewrapped(3, 2)
        assert await rewrap(database, lambda: AT, at_most=3) == Rewrapped(2, 0)
        before = database.durable.execute("SELECT * FROM record").fetchall()
        assert await rewrap(database, lambda: AT) == Rewrapped(0, 0)
        assert database.durable.execute("SELECT * FROM record").fetchall() == before
        assert database.audit_breaks() == []
    with closing(Database(tmp_path, Keyring({2: NEW}), at=AT)) as database:
        for number in range(5):
            opened = database.get(subject(number), Purpose.TOKENS)
            assert opened == (f"token {number}".encode(), 1)
    assert actions(tmp_path).count("record:rewrap") == 5


async def test_a_record_that_is_written_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    with closing(Database(tmp_path, BOTH, at=AT)) as database:
        other = Database(tmp_path, BOTH, at=AT)
        real = database._salt

        def written_just_then(which: bytes, *, make: bool = False) -> bytes:
            database._salt = real  # type: ignore[method-assign]
            with other.transaction():
                other.put(which, Purpose.TOKENS, b"renewed", at=AT)
            return real(which, make=make)

        database._salt = written_just_then  # type: ignore[method-assign]
        assert not database.rewrap(subject(0), Purpose.TOKENS, at=AT)
        assert database.get(subject(0), Purpose.TOKENS) == (b"renewed", 2)
        other.close()
    assert "record:rewrap" not in actions(tmp_path)


async def test_what_does_not_open_stays_as_it_is_and_stops_nobody(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    with closing(Database(tmp_path, BOTH, at=AT)) as database:
        body = database.durable.execute(
            "SELECT body FROM record WHERE subject = ?", (subject(0),)
        ).fetchone()[0]
        broken = body[:60] + bytes([body[60] ^ 1]) + body[61:]
        database.durable.execute(
            "UPDATE record SET body = ? WHERE subject = ?", (broken, subject(0))
        )
        database.durable.execute("UPDATE record SET purpose = 99 WHERE subject = ?", (subject(1),))
        database.durable.execute(
            "UPDATE record_high SET purpose = 99 WHERE subject = ?", (subject(1),)
        )
        database.shred(subject(2))
        assert await rewrap(database, lambda: AT) == Rewrapped(1, 3)
        assert await rewrap(database, lambda: AT) == Rewrapped(0, 3)
        with pytest.raises(SealBroken):
            database.rewrap(subject(0), Purpose.TOKENS, at=AT)


async def test_rewrapping_gives_way_to_other_work(tmp_path: Path) -> None:
    filled(tmp_path, 6)
    turns = []

    async def other_work() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    with closing(Database(tmp_path, BOTH, at=AT)) as database:
        task = asyncio.create_task(other_work())
        await rewrap(database, lambda: AT)
        task.cancel()
    assert len(turns) >= 5


def test_killed_anywhere_the_next_run_goes_on(short: Path) -> None:
    filled(short / "vault", 300)
    assert arhivar(short, "vault", "rotate").returncode == 0
    new = keys.generations(short / "vault" / "kek", {})[2]
    for share in (0.05, 0.4, 0.8):
        process = start(short, "vault", "rewrap")
        while sum(one == key_id(new) for one in key_ids(short / "vault")) < 300 * share:
            assert process.poll() is None or process.returncode == 0
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with closing(
            Database(short / "vault", keys.load(short / "vault" / "kek", {}), at=AT)
        ) as it:
            assert it.get(subject(0), Purpose.TOKENS) == (b"token 0", 1)
            assert it.audit_breaks() == []

    done = arhivar(short, "vault", "rewrap")
    assert done.returncode == 0, done.stderr
    assert set(key_ids(short / "vault")) == {key_id(new)}
    assert actions(short / "vault").count("record:rewrap") == 300
    (short / "vault" / "kek").unlink()
    with closing(Database(short / "vault", keys.load(short / "vault" / "kek", {}), at=AT)) as it:
        for number in range(300):
            assert it.get(subject(number), Purpose.TOKENS) == (f"token {number}".encode(), 1)
    again = arhivar(short, "vault", "rewrap", language="ro_RO.UTF-8")
    assert (again.returncode, again.stdout) == (0, "Nu era nimic de făcut.\n")


async def test_a_running_vault_is_rotated_without_losing_a_call(
    vault: VaultProcess, anaf: Anaf
) -> None:
    make_page(vault.directory)
    await vault.enrolled(CIF)
    token = anaf.issued[0]

    done = await asyncio.to_thread(arhivar, vault.directory, "vault", "rotate")
    assert done.returncode == 0, done.stderr
    assert "restart the service" in done.stdout
    early = await asyncio.to_thread(arhivar, vault.directory, "vault", "rewrap")
    assert early.returncode == 2
    assert "restart the service" in early.stderr
    piled = await asyncio.to_thread(arhivar, vault.directory, "vault", "rotate")
    assert piled.returncode == 2
    assert "waiting already" in piled.stderr

    await vault.end()
    await vault.start()
    piled = await asyncio.to_thread(arhivar, vault.directory, "vault", "rotate")
    assert piled.returncode == 2
    assert "rewrap" in piled.stderr
    done = await asyncio.to_thread(arhivar, vault.directory, "vault", "rewrap")
    assert done.returncode == 0, done.stderr
    assert (await vault.list(CIF)).status_code == 200
    shown = (await vault.enrol.get("/status")).json()["keys"]
    assert [(one["records"], one["newest"]) for one in shown] == [(0, False), (2, True)]
    status = await asyncio.to_thread(arhivar, vault.directory, "vault", "status")
    assert "may be removed" in status.stdout

    # The first generation goes; the vault starts and passes calls without it.
    await vault.end()
    (vault.directory / "vault" / "kek").unlink()
    await vault.start()
    assert (await vault.list(CIF)).status_code == 200
    assert anaf.calls[-1]["headers"]["authorization"] == f"Bearer {token}"
    assert not (vault.directory / "vault" / "kek").exists()


async def test_calls_and_renewals_go_on_while_a_running_vault_rewraps(
    short: Path, anaf: Anaf
) -> None:
    vault = VaultProcess(short, anaf.url)
    anaf.expires_in = 0  # each call renews, so each call writes a record
    await vault.start()
    await vault.enrolled(CIF)
    await vault.end()
    ring = keys.load(short / "vault" / "kek", {})
    with closing(Database(short / "vault", ring, at=AT)) as database:
        for number in range(1, 400):
            with database.transaction():
                database.put(subject(number), Purpose.TOTP_SEED, b"seed", at=AT)
    assert arhivar(short, "vault", "rotate").returncode == 0
    await vault.start()

    process = start(short, "vault", "rewrap")
    answers = []
    while process.poll() is None:
        answers.append((await vault.list(CIF)).status_code)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert set(answers) == {200}
    assert "record" in out
    new = keys.load(short / "vault" / "kek", {}).newest
    assert set(key_ids(short / "vault")) == {new}
    await vault.close()


async def test_the_portal_may_not_ask_for_it(short: Path, anaf: Anaf) -> None:
    world = World(short, anaf)
    refusals = Refusals(world.database, "enrol.sock")
    enrol = Enrol(world.parts, world.gateway, refusals, lambda: world.now)
    for uid in (0, os.geteuid()):
        request = Request("POST", "/keys/rewrap", "", {}, b"", uid)
        assert (await enrol(request)).status == 200
    with pytest.raises(Refused) as caught:
        await enrol(Request("POST", "/keys/rewrap", "", {}, b"", 12345))
    assert caught.value.status == 403
    world.database.close()


def test_without_a_recovery_key_a_rotation_says_so_loudly(short: Path) -> None:
    filled(short / "vault", 1)
    done = arhivar(short, "vault", "rotate", language="ro_RO.UTF-8")
    assert done.returncode == 0
    assert "ATENȚIE: nu există cheie de recuperare" in done.stderr
    assert (short / "vault" / "kek.2").stat().st_mode & 0o777 == 0o600


def test_a_rotation_that_was_cut_off_before_the_key_was_written_is_done_again(short: Path) -> None:
    filled(short / "vault", 1)
    make_page(short)
    assert arhivar(short, "vault", "rotate").returncode == 0
    (short / "vault" / "kek.2").unlink()
    assert arhivar(short, "vault", "rotate").returncode == 0
    found = recovery.load(short / "vault")
    assert found is not None
    assert found.vouched_for(2, (short / "vault" / "kek.2").read_bytes())
    assert len(found.keys) == 2


def test_records_that_never_open_do_not_stop_the_next_rotation(short: Path) -> None:
    filled(short / "vault", 2)
    with closing(Database(short / "vault", Keyring({1: OLD}), at=AT)) as database:
        database.shred(subject(0))
    assert arhivar(short, "vault", "rotate").returncode == 0
    done = arhivar(short, "vault", "rewrap")
    assert done.returncode == 1
    assert "do not open and stay as they were: 1" in done.stderr
    assert arhivar(short, "vault", "rotate").returncode == 0
    assert arhivar(short, "vault", "rewrap").returncode == 1
    # Its key is still named by a record, so the vault refuses to start without it.
    (short / "vault" / "kek").unlink()
    with pytest.raises(KeyRefused):
        Database(short / "vault", keys.load(short / "vault" / "kek", {}), at=AT)


def test_two_commands_at_once_do_not_meet(short: Path) -> None:
    filled(short / "vault", 1)
    first = start(short, "vault", "init", extra={"LC_ALL": "C.UTF-8"})
    assert first.stdout is not None
    while "=" * 76 not in first.stdout.readline():
        pass
    second = arhivar(short, "vault", "rotate")
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert "another `arhivar vault` command" in second.stderr


IN_CREDSTORE = (
    "import os, pathlib, sys; from appliance.vault import keys;"
    "keys.CREDSTORE = pathlib.Path(os.environ['CREDSTORE']);"
    "from appliance.cli import main; sys.exit(main())"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="systemd's keys are root's")
async def test_where_systemd_keeps_the_keys_a_rotation_adds_one_there(
    short: Path, anaf: Anaf, credstore: Path
) -> None:
    given = short / "given"  # what systemd hands the service, decrypted
    environ = {
        **vault_cli.environ(short),
        "ARHIVAR_SINGLE_USER": "false",
        "CREDSTORE": os.fspath(credstore),
        "SYSTEMD_CREDENTIAL_SECRET": os.environ["SYSTEMD_CREDENTIAL_SECRET"],
        "LC_ALL": "C.UTF-8",
    }

    def arhivar(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", IN_CREDSTORE, "vault", *arguments],
            cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def hand_over() -> None:
        given.mkdir(exist_ok=True)
        for number, key in keys.decrypt_credstore(credstore).items():
            (given / f"vault-kek.{number}").write_bytes(key)
            (given / f"vault-kek.{number}").chmod(0o400)

    keys.add_to_credstore(1, OLD, credstore)
    hand_over()
    vault = VaultProcess(short, anaf.url)
    (short / "vault" / "kek").unlink()
    await vault.start({"CREDENTIALS_DIRECTORY": os.fspath(given)})
    await vault.enrolled(CIF)
    made = await asyncio.to_thread(arhivar, "init", "--yes")
    assert made.returncode == 0, made.stderr
    done = await asyncio.to_thread(arhivar, "rotate")
    assert done.returncode == 0, done.stderr
    assert os.fspath(credstore / "vault-kek.2") in done.stdout
    assert "LoadCredentialEncrypted=vault-kek.2" in done.stdout
    new = keys.decrypt_credstore(credstore)[2]
    found = recovery.load(short / "vault")
    assert found is not None
    assert found.vouched_for(2, new)

    await vault.end()
    hand_over()
    await vault.start({"CREDENTIALS_DIRECTORY": os.fspath(given)})
    done = await asyncio.to_thread(arhivar, "rewrap")
    assert done.returncode == 0, done.stderr
    assert set(key_ids(short / "vault")) == {key_id(new)}
    assert (await vault.list(CIF)).status_code == 200
    assert (await asyncio.to_thread(arhivar, "status")).returncode == 0
    assert not list((short / "vault").glob("kek*"))
    await vault.close()

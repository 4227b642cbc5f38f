"""The page in the safe: made once, and with a backup it opens everything on an empty machine."""

from __future__ import annotations

import base64
import json
import os
import pty
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.vault import paper, recovery
from appliance.vault.envelope import key_id
from tests.conftest import ROOT
from tests.support import vault_cli
from tests.support.anaf import Anaf
from tests.support.vault import VaultProcess
from tests.support.vault_cli import arhivar, groups_of, make_page, start

CIF = "12345674"
BACKUP = ("vault.db", "shred.db", recovery.NAME)


def back_up(directory: Path, target: Path) -> None:
    """Copy what a backup holds, and nothing of the keys; the vault is stopped."""
    target.mkdir()
    with sqlite3.connect(directory / "vault" / "vault.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for name in BACKUP:
        shutil.copy(directory / "vault" / name, target)


def restore(backup: Path, machine: Path) -> None:
    (machine / "vault").mkdir(parents=True)
    for name in BACKUP:
        shutil.copy(backup / name, machine / "vault")


def kek(directory: Path, name: str = "kek") -> bytes:
    return (directory / "vault" / name).read_bytes()


async def test_a_backup_and_the_page_open_every_connection_on_an_empty_machine(
    short: Path, anaf: Anaf
) -> None:
    old = VaultProcess(short / "old", anaf.url)
    groups = make_page(short / "old")
    await old.start()
    await old.enrolled(CIF)
    assert (await old.list(CIF)).status_code == 200
    token = anaf.calls[-1]["headers"]["authorization"]
    assert await old.end() == 0
    back_up(short / "old", short / "backup")
    shutil.rmtree(short / "old")

    new = short / "new"
    restore(short / "backup", new)
    typed = "\n".join(groups).lower()
    done = arhivar(new, "vault", "recover", typed=typed, language="ro_RO.UTF-8")
    assert done.returncode == 0, done.stderr
    assert "la loc" in done.stdout
    assert stat.S_IMODE((new / "vault" / "kek").stat().st_mode) == 0o600

    vault = VaultProcess(new, anaf.url)
    await vault.start()
    assert (await vault.list(CIF)).status_code == 200
    assert anaf.calls[-1]["headers"]["authorization"] == token
    await vault.close()
    await old.close()


async def test_after_a_rotation_the_same_page_opens_the_newest_backup(
    short: Path, anaf: Anaf
) -> None:
    vault = VaultProcess(short / "old", anaf.url)
    groups = make_page(short / "old")
    await vault.start()
    await vault.enrolled(CIF)
    await vault.end()
    assert arhivar(short / "old", "vault", "rotate").returncode == 0
    assert arhivar(short / "old", "vault", "rewrap").returncode == 0
    back_up(short / "old", short / "backup")

    restore(short / "backup", short / "new")
    done = arhivar(short / "new", "vault", "recover", typed=" ".join(groups))
    assert done.returncode == 0, done.stderr
    for name in ("kek", "kek.2"):
        assert kek(short / "new", name) == kek(short / "old", name)
    # A second run finds everything in its place.
    assert arhivar(short / "new", "vault", "recover", typed=" ".join(groups)).returncode == 0
    new = VaultProcess(short / "new", anaf.url)
    await new.start()
    assert (await new.list(CIF)).status_code == 200
    await new.close()
    await vault.close()


def test_the_page_is_shown_once_and_the_second_run_says_there_is_one(short: Path) -> None:
    groups = make_page(short)
    before = (short / "vault" / recovery.NAME).read_bytes()

    again = arhivar(short, "vault", "init", language="ro_RO.UTF-8")

    assert again.returncode == 0
    assert "există deja" in again.stdout
    assert not any(group in again.stdout for group in groups)
    assert (short / "vault" / recovery.NAME).read_bytes() == before
    written = b"".join(path.read_bytes() for path in (short / "vault").iterdir())
    key = paper.read(" ".join(groups))
    for trace in (
        key,
        key.hex().encode(),
        *(" ".join(groups[at : at + 2]).encode() for at in (0, 9)),
    ):
        assert trace not in written


def test_a_lost_key_is_not_replaced_by_one_that_opens_nothing(short: Path) -> None:
    make_page(short)
    add_record(short)
    (short / "vault" / "kek").unlink()
    who = ("--firm", "Contabilitate SRL", "--email", "ana@example.ro", "--name", "Ana Pop")
    for command in (("vault", "init"), ("init", *who)):
        done = arhivar(short, *command)
        assert done.returncode == 2
        assert "arhivar vault recover" in done.stderr
    assert not (short / "vault" / "kek").exists()


def test_the_last_group_proves_that_the_page_was_copied(short: Path) -> None:
    process = start(short, "vault", "init", extra={"LC_ALL": "C.UTF-8"})
    assert process.stdin is not None
    assert process.stdout is not None
    page = ""
    while page.count("=" * 76) < 3:
        page += process.stdout.readline()
    groups = groups_of(page)
    assert not (short / "vault" / recovery.NAME).exists()
    process.stdin.write(f"{groups[0]}\n{groups[-1].lower()}\n")
    process.stdin.flush()
    _, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert "not the last group" in err
    found = recovery.load(short / "vault")
    assert found is not None
    assert found.open(paper.read(" ".join(groups))) == {1: kek(short)}


@pytest.mark.parametrize("how", ["kill", "end of input"])
def test_whoever_goes_away_before_copying_leaves_nothing(short: Path, how: str) -> None:
    process = start(short, "vault", "init", extra={"LC_ALL": "C.UTF-8"})
    assert process.stdout is not None
    assert process.stdin is not None
    while "=" * 76 not in process.stdout.readline():
        pass
    if how == "kill":
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    assert process.returncode == (-9 if how == "kill" else 2)
    assert not (short / "vault" / recovery.NAME).exists()
    make_page(short)


def test_a_lost_page_is_replaced_and_opens_nothing_any_more(short: Path) -> None:
    lost, kept = make_page(short), make_page(short, "--replace")
    backup = short / "new"
    restore(short / "vault", backup)

    refused = arhivar(backup, "vault", "recover", typed=" ".join(lost))
    assert refused.returncode == 2
    assert "another recovery key" in refused.stderr
    assert arhivar(backup, "vault", "recover", typed=" ".join(kept)).returncode == 0
    assert kek(backup) == kek(short)


def test_recover_refuses_in_one_sentence_and_writes_nothing(short: Path) -> None:
    groups = make_page(short / "old")
    make_page(short / "other")
    typed = " ".join(groups)

    def refused(machine: Path, typed: str = typed) -> str:
        done = arhivar(machine, "vault", "recover", typed=typed)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr

    assert "there is no vault" in refused(short / "old" / "vault")
    machine = short / "new"
    restore(short / "old" / "vault", machine)
    assert "group 7" in refused(machine, " ".join([*groups[:6], "0000", *groups[7:]]))
    assert "here are 17" in refused(machine, " ".join(groups[:17]))
    (machine / "vault" / "shred.db").rename(machine / "shred.db")
    assert "shred.db is missing" in refused(machine)
    (machine / "shred.db").rename(machine / "vault" / "shred.db")
    shutil.copy(short / "other" / "vault" / recovery.NAME, machine / "vault")
    assert "different installations" in refused(machine)
    (machine / "vault" / recovery.NAME).unlink()
    assert "recovery.json is missing" in refused(machine)
    shutil.copy(short / "old" / "vault" / recovery.NAME, machine / "vault")
    assert not (machine / "vault" / "kek").exists()
    shutil.copy(short / "other" / "vault" / "kek", machine / "vault")
    assert "another key" in refused(machine)
    assert kek(machine) == kek(short / "other")


async def test_a_backup_whose_salts_are_of_another_day_is_refused_or_told(
    short: Path, anaf: Anaf
) -> None:
    vault = VaultProcess(short / "old", anaf.url)
    groups = make_page(short / "old")
    await vault.start()
    await vault.enrolled(CIF)
    grant = (await vault.grant())["grant"]
    await vault.end()
    back_up(short / "old", short / "backup")
    with sqlite3.connect(short / "backup" / "shred.db") as connection:
        connection.execute("DELETE FROM salt WHERE subject = ?", (bytes.fromhex(grant),))
    restore(short / "backup", short / "new")

    # The application's secret opens, the grant that was shredded since does not.
    done = arhivar(short / "new", "vault", "recover", typed=" ".join(groups))
    assert done.returncode == 1
    assert "do not open: 1" in done.stderr

    with sqlite3.connect(short / "backup" / "shred.db") as connection:
        connection.execute("DELETE FROM salt")
    restore(short / "backup", short / "third")
    done = arhivar(short / "third", "vault", "recover", typed=" ".join(groups))
    assert done.returncode == 2
    assert "shred.db is not from the same backup" in done.stderr
    assert not (short / "third" / "vault" / "kek").exists()
    await vault.close()


async def test_a_running_vault_is_not_recovered(vault: VaultProcess) -> None:
    groups = make_page(vault.directory)
    done = arhivar(vault.directory, "vault", "recover", typed=" ".join(groups))
    assert done.returncode == 2
    assert "already serves the vault" in done.stderr


def test_recovery_json_older_than_the_database_is_told(short: Path) -> None:
    groups = make_page(short / "old")
    shutil.copy(short / "old" / "vault" / recovery.NAME, short / "older.json")
    add_record(short / "old")
    assert arhivar(short / "old", "vault", "rotate").returncode == 0
    assert arhivar(short / "old", "vault", "rewrap").returncode == 0
    restore(short / "old" / "vault", short / "new")
    shutil.copy(short / "older.json", short / "new" / "vault" / recovery.NAME)

    done = arhivar(short / "new", "vault", "recover", typed=" ".join(groups))
    assert done.returncode == 2
    assert "older than vault.db" in done.stderr
    assert key_id(kek(short / "old", "kek.2")).hex() in done.stderr


@pytest.mark.parametrize("change", ["public", "mac", "replaced", "replaced and rotated"])
def test_the_next_generation_is_never_sealed_to_a_stranger(short: Path, change: str) -> None:
    make_page(short)
    file = short / "vault" / recovery.NAME
    older = file.read_bytes()
    if change.startswith("replaced"):
        make_page(short, "--replace")
        if change.endswith("rotated"):
            assert arhivar(short, "vault", "rotate").returncode == 0
            assert arhivar(short, "vault", "rewrap").returncode == 0
        file.write_bytes(older)
    else:
        value = json.loads(older)
        stranger = recovery.public_half(os.urandom(32))
        if change == "public":
            value["public"] = base64.b64encode(stranger).decode()
        else:
            value["keys"][0]["mac"] = "00" * 32
        file.write_text(json.dumps(value))
    before = file.read_bytes()

    for command in ("rotate", "init"):
        done = arhivar(short, "vault", command)
        assert done.returncode == 2, done.stdout
        said = {"public": "the last one made", "mac": "not the one that this vault wrote"}
        assert said.get(change, "the last one made") in done.stderr
    assert file.read_bytes() == before
    assert arhivar(short, "vault", "status").returncode == 1


def test_on_a_terminal_a_wrong_group_is_told_at_once(short: Path) -> None:
    groups = make_page(short / "old")
    restore(short / "old" / "vault", short / "new")
    rows = [groups[:6], ["0000", *groups[7:12]], groups[6:12], groups[12:]]
    master, slave = pty.openpty()
    (short / "new" / "arhivar.toml").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "appliance", "vault", "recover"],
        cwd=ROOT,
        env={**vault_cli.environ(short / "new"), "LC_ALL": "C.UTF-8"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    os.write(master, "".join(" ".join(row) + "\n" for row in rows).encode())
    said = b""
    while True:
        try:
            said += os.read(master, 4096)
        except OSError:  # the other side is closed
            break
    os.close(master)

    assert process.wait(60) == 0, said
    assert b"group 7" in said
    assert kek(short / "new") == kek(short / "old")


def add_record(directory: Path) -> None:
    from appliance.vault import access, keys
    from appliance.vault.envelope import Keyring, Purpose

    ring = Keyring(keys.generations(directory / "vault" / "kek", {}))
    database = access.opened(directory / "vault", ring)
    with database.transaction():
        database.put(b"S" * 16, Purpose.TOKENS, b"token", at=access.now())
    database.close()

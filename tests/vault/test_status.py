"""`arhivar vault status` and `audit verify`, of a vault that runs and of one that does not."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from appliance.vault import keys, recovery
from appliance.vault.envelope import key_id
from tests.support.anaf import CLIENT_ID, Anaf
from tests.support.vault import VaultProcess
from tests.support.vault_cli import arhivar, make_page

CIF = "12345674"


def rows(shown: str) -> list[list[str]]:
    """Return the words of every row of the keys' table."""
    found = (line.split() for line in shown.splitlines())
    return [words for words in found if words and words[0].isdecimal()]


async def test_running_and_stopped_it_shows_the_same(vault: VaultProcess, anaf: Anaf) -> None:
    make_page(vault.directory)
    await vault.enrolled(CIF)
    running = await asyncio.to_thread(arhivar, vault.directory, "vault", "status")
    grant = await vault.grant()
    await vault.end()
    stopped = await asyncio.to_thread(arhivar, vault.directory, "vault", "status")

    assert running.returncode == stopped.returncode == 0, running.stdout + stopped.stdout
    assert running.stdout.splitlines()[0] == "The vault is running."
    assert stopped.stdout.splitlines()[0] == "The vault is stopped."
    assert running.stdout.splitlines()[1:] == stopped.stdout.splitlines()[1:]
    (row,) = rows(running.stdout)
    identifier = key_id((vault.directory / "vault" / "kek").read_bytes()).hex()
    assert row[:2] == ["1", identifier]
    assert row[-3:] == ["2", "yes", "seals"]  # the application's secret and a pair
    for shown in (CLIENT_ID, grant["renew_at"][:10], grant["refresh_expires_at"][:10], "active"):
        assert shown in running.stdout


async def test_looking_changes_nothing(vault: VaultProcess) -> None:
    await vault.enrolled(CIF)
    await vault.end()
    before = (vault.directory / "vault" / "vault.db").read_bytes()
    keys.create(vault.directory / "vault" / "kek.2")
    await asyncio.to_thread(arhivar, vault.directory, "vault", "status")
    assert (vault.directory / "vault" / "vault.db").read_bytes() == before
    assert not (vault.directory / "vault" / "vault.db-wal").stat().st_size


async def test_without_a_recovery_key_it_warns_in_both_languages(vault: VaultProcess) -> None:
    for language, said in (
        ("ro_RO.UTF-8", "Nu există cheie de recuperare"),
        ("en_GB.UTF-8", "There is no recovery key"),
    ):
        done = await asyncio.to_thread(
            arhivar, vault.directory, "vault", "status", language=language
        )
        assert done.returncode == 1
        assert said in done.stdout
        assert "arhivar vault init" in done.stdout
    make_page(vault.directory)
    done = await asyncio.to_thread(arhivar, vault.directory, "vault", "status")
    assert done.returncode == 0
    found = recovery.load(vault.directory / "vault")
    assert found is not None
    assert found.fingerprint in done.stdout


async def test_a_new_generation_is_followed_to_the_end(vault: VaultProcess) -> None:
    async def notes() -> list[list[str]]:
        done = await asyncio.to_thread(arhivar, vault.directory, "vault", "status")
        assert done.returncode == 0, done.stdout
        return [row[2:] for row in rows(done.stdout)]

    make_page(vault.directory)
    await vault.enrolled(CIF)
    await asyncio.to_thread(arhivar, vault.directory, "vault", "rotate")
    old, new = await notes()
    assert old[-3:] == ["2", "yes", "seals"]
    assert new == ["–", "–", "0", "yes", "waits", "for", "the", "restart"]
    await vault.end()
    await vault.start()
    old, new = await notes()
    assert old[-5:] == ["2", "yes", "arhivar", "vault", "rewrap"]
    assert new[-3:] == ["0", "yes", "seals"]
    await asyncio.to_thread(arhivar, vault.directory, "vault", "rewrap")
    old, new = await notes()
    assert old[-5:] == ["0", "yes", "may", "be", "removed*"]
    assert new[-3:] == ["2", "yes", "seals"]


def test_what_may_be_removed_is_named_and_an_old_key_asks_for_a_rotation(short: Path) -> None:
    make_page(short)
    shown = arhivar(short, "vault", "status").stdout
    assert "*" not in shown
    assert "a year" not in shown
    arhivar(short, "vault", "rotate")
    arhivar(short, "vault", "rewrap")
    with closing(sqlite3.connect(short / "vault" / "vault.db")) as connection:
        connection.execute("UPDATE kek SET created_at = replace(created_at, '202', '201')")
        connection.commit()
    shown = arhivar(short, "vault", "status").stdout
    assert f"* {short / 'vault' / 'kek'}: only when" in shown
    assert "arhivar vault rotate" in shown


async def test_a_key_that_an_unfinished_renewal_needs_is_not_to_be_removed(
    vault: VaultProcess,
) -> None:
    make_page(vault.directory)
    grant = await vault.enrolled(CIF)
    await vault.end()
    directory = vault.directory / "vault"
    with closing(sqlite3.connect(directory / "vault.db")) as connection:
        (body,) = connection.execute("SELECT body FROM record WHERE purpose = 1").fetchone()
    arhivar(vault.directory, "vault", "rotate")
    arhivar(vault.directory, "vault", "rewrap")
    waiting = directory / f"refresh-{grant}.journal"
    waiting.write_bytes((2).to_bytes(8, "big") + body)
    assert "may be removed" not in arhivar(vault.directory, "vault", "status").stdout
    waiting.unlink()
    assert "may be removed" in arhivar(vault.directory, "vault", "status").stdout


async def test_a_broken_chain_is_named_by_status_and_by_audit_verify(vault: VaultProcess) -> None:
    make_page(vault.directory)
    await vault.enrolled(CIF)
    await vault.end()
    assert arhivar(vault.directory, "migrate").returncode == 0
    done = arhivar(vault.directory, "audit", "verify")
    assert (done.returncode, done.stdout) == (
        0,
        "the vault's chain is whole\nthe chain of arhivar.db is whole\n",
    )
    with closing(sqlite3.connect(vault.directory / "vault" / "vault.db")) as connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("UPDATE audit SET body = CAST(replace(body, 'ana', 'eve') AS BLOB)")
        connection.commit()
    for command in (("vault", "status"), ("audit", "verify")):
        done = arhivar(vault.directory, *command)
        assert done.returncode == 1
        assert "record" in done.stdout


@pytest.mark.parametrize("command", ["status", "rotate", "rewrap", "recover"])
def test_where_there_is_no_vault_one_sentence_says_what_to_do(short: Path, command: str) -> None:
    done = arhivar(short, "vault", command, language="ro_RO.UTF-8")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "arhivar vault init" in done.stderr


def test_the_first_run_ends_with_the_next_step_until_there_is_a_page(short: Path) -> None:
    who = ("--firm", "Contabilitate SRL", "--email", "ana@example.ro", "--name", "Ana Pop")
    done = arhivar(short, "init", *who)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("arhivar vault init")
    made = (short / "vault" / "kek").read_bytes()
    make_page(short)
    assert (short / "vault" / "kek").read_bytes() == made

    other = short / "other"
    make_page(other)
    done = arhivar(other, "init", *who)
    assert done.returncode == 0, done.stderr
    assert "vault init" not in done.stdout

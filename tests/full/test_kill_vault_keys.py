"""`arhivar vault init`, `rotate`, `rewrap`, `recover`: killed, or without a disk, at every step.

After the fault what was sealed before opens with the keys that are there, and a
recovery.json that is there opens with a page that a person has seen. The same
command run again ends where the undisturbed one does.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from appliance.vault import keys, paper, recovery
from appliance.vault.database import Database
from appliance.vault.envelope import Keyring, Purpose
from tests.conftest import ROOT
from tests.support import vault_cli
from tests.support.faults import Fault, most_by_one_thread, sample, struck, trace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RECORDS = 3
CALLS = ("fsync", "fdatasync", "rename", "link", "pwrite64")
COMMANDS = ("init", "rotate", "rewrap", "recover")


@dataclass
class Desk:
    """One installation that can be put back to its beginning, and the pages seen since."""

    directory: Path
    beginning: Path
    pages: list[bytes] = field(default_factory=list)

    @property
    def vault(self) -> Path:
        return self.directory / "vault"

    @property
    def log(self) -> Path:
        return self.directory / "strace"

    def begin_again(self) -> None:
        shutil.rmtree(self.vault, ignore_errors=True)
        shutil.copytree(self.beginning / "vault", self.vault)
        self.pages = [bytes.fromhex(key) for key in (self.beginning / "page").read_text().split()]
        self.log.write_bytes(b"")

    def run(self, command: str, under: list[str]) -> int:
        options = ["--yes"] if command == "init" else []
        done = subprocess.run(
            [*under, sys.executable, "-m", "appliance", "vault", command, *options],
            cwd=ROOT,
            env={**vault_cli.environ(self.directory), "LC_ALL": "C.UTF-8"},
            input=" ".join(paper.write(self.pages[0])) if self.pages else "",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if "=" * 76 in done.stdout and done.stdout.count("=" * 76) == 3:
            self.pages.append(paper.read(" ".join(vault_cli.groups_of(done.stdout))))
        return done.returncode

    def check(self) -> None:
        """What was sealed opens, the chain holds, and recovery.json is of a page that was seen."""
        found = recovery.load(self.vault)
        if found is not None:
            page = next(key for key in self.pages if recovery.public_half(key) == found.public)
            opened = found.open(page)
        if not any(map(os.path.lexists, keys.files(self.vault / "kek").values())):
            return  # recover, before it wrote the first
        held = keys.generations(self.vault / "kek", {})
        if found is not None:
            assert set(held.items()) <= set(opened.items())
        needed = Keyring(held if found is None else opened)
        with closing(Database.to_look_at(self.vault, needed)) as database:
            for number in range(RECORDS):
                assert database.get(bytes([number]) * 16, Purpose.TOKENS) == (b"token", 1)
            assert database.audit_breaks() == []
            assert database.durable.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def check_end(self, command: str) -> None:
        self.check()
        held = keys.generations(self.vault / "kek", {})
        found = recovery.load(self.vault)
        assert found is not None
        assert found.open(self.pages[-1]) == held
        assert sorted(held) == ([1] if command == "init" else [1, 2])
        if command == "rewrap":
            with closing(Database.to_look_at(self.vault, Keyring(held))) as database:
                assert database.outdated() == []
        left = [path.name for path in self.vault.iterdir() if path.name.startswith(".")]
        assert left == []

    def strike(self, command: str, fault: Fault) -> bool:
        self.begin_again()
        code = self.run(command, fault.strace(self.log))
        happened = code == -signal.SIGKILL if fault.kills else struck(self.log)
        assert happened or code == 0
        self.check()
        again = self.run(command, [])
        # A rotation that had ended says that its generation waits.
        assert again == 0 or (command == "rotate" and again == 2), again
        self.check_end(command)
        return happened


@pytest.fixture(scope="module", params=COMMANDS)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    command: str = request.param
    beginning = tmp_path_factory.mktemp(command)
    vault = beginning / "vault"
    keys.create(vault / "kek")
    with closing(Database(vault, keys.load(vault / "kek", {}), at=AT)) as database:
        for number in range(RECORDS):
            with database.transaction():
                database.put(bytes([number]) * 16, Purpose.TOKENS, b"token", at=AT)
    pages = []
    if command != "init":
        pages = [paper.read(" ".join(vault_cli.make_page(beginning)))]
    if command in ("rewrap", "recover"):
        assert vault_cli.arhivar(beginning, "vault", "rotate").returncode == 0
    if command == "recover":
        assert vault_cli.arhivar(beginning, "vault", "rewrap").returncode == 0
        for path in keys.files(vault / "kek").values():
            path.unlink()
    with closing(sqlite3.connect(vault / "vault.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (beginning / "page").write_text(" ".join(page.hex() for page in pages))
    directory = tmp_path_factory.mktemp(f"{command}-run")
    (directory / "arhivar.toml").touch()
    return Desk(directory, beginning)


@pytest.mark.parametrize("effect", ["signal=SIGKILL", "error=ENOSPC"])
def test_the_keys_outlive_it(
    desk: Desk, effect: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    command = request.node.callspec.params["desk"]
    desk.begin_again()
    assert desk.run(command, trace(desk.log, CALLS)) == 0
    desk.check_end(command)
    most = most_by_one_thread(desk.log)
    happened = 0
    wrong = []
    for call in CALLS:
        numbers = sample(most[call], 6) if call == "pwrite64" else count(1)
        for number in numbers if call in most else ():
            try:
                if not desk.strike(command, Fault(call, effect, number)):
                    break
                happened += 1
            except AssertionError as error:
                happened += 1
                wrong.append(f"{effect} at {call} {number}: {error}")
                if len(wrong) > 5:
                    break
    with capsys.disabled():
        print(f"\nvault {command}, {effect}: {happened} faults, {happened - len(wrong)} recovered")
    assert not wrong, "\n".join(wrong)
    assert happened > 0

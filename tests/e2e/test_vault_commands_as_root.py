"""`arhivar vault …` started by root: it becomes the vault's user, and leaves nothing of root's."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.config import Settings
from tests.e2e import test_four_users as machine
from tests.support.demo import until
from tests.support.vault_cli import groups_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make users")


@dataclass
class Box:
    settings: Settings
    command: list[str]
    environ: dict[str, str]

    def arhivar(self, *arguments: str, typed: str = "") -> str:
        done = subprocess.run(
            [*self.command, *arguments], env=self.environ, cwd="/", input=typed,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout

    def strangers(self) -> list[str]:
        """Return what in the vault's directory is not the vault's alone."""
        owner = pwd.getpwnam("arhivar-vault").pw_uid
        found = []
        for path in (self.settings.vault_dir, *self.settings.vault_dir.iterdir()):
            facts = path.lstat()
            if facts.st_uid != owner or facts.st_gid == 0 or facts.st_mode & 0o077:
                found.append(f"{path.name} {facts.st_uid}:{facts.st_gid} {facts.st_mode:o}")
        return found


@pytest.fixture
def box() -> Iterator[Box]:
    made_groups, made_users = machine._make_users()
    base = Path(tempfile.mkdtemp(prefix="arhivar-root-", dir="/tmp"))
    base.chmod(0o755)
    try:
        settings = machine._install(base)
        python, environ = machine._python(base)
        environ |= {"ARHIVAR_CONFIG": str(base / "arhivar.toml"), "COLUMNS": "100"}
        yield Box(settings, [*python, "-m", "appliance"], environ)
    finally:
        shutil.rmtree(base)
        for user in made_users:
            subprocess.run(["userdel", user], check=True)
        for group in made_groups:
            subprocess.run(["groupdel", group], check=False)


def running(box: Box, work: Callable[[], None]) -> None:
    vault = subprocess.Popen([*box.command, "vault"], env=box.environ, cwd="/")
    try:
        until("the vault's sockets", box.settings.spv_socket.exists, 30)
        work()
    finally:
        vault.send_signal(signal.SIGTERM)
        assert vault.wait(30) == 0


def test_the_keys_live_their_whole_life_as_the_vaults_user(box: Box) -> None:
    vault_dir = box.settings.vault_dir
    shutil.rmtree(vault_dir)  # as on a machine where the package has just been installed

    groups = groups_of(box.arhivar("vault", "init", "--yes"))
    assert box.strangers() == []

    def rotate() -> None:
        assert "The vault is running" in box.arhivar("vault", "status")
        assert "kek.2" in box.arhivar("vault", "rotate")

    running(box, rotate)
    running(box, lambda: None)
    assert "nothing to do" in box.arhivar("vault", "rewrap")
    assert "may be removed" in box.arhivar("vault", "status")
    assert box.arhivar("audit", "verify").splitlines()[0] == "the vault's chain is whole"
    assert box.strangers() == []

    backup = {name: (vault_dir / name).read_bytes() for name in
              ("vault.db", "shred.db", "recovery.json")}  # fmt: skip
    shutil.rmtree(vault_dir)
    vault_dir.mkdir()
    for name, content in backup.items():  # root's, as a restore leaves them
        (vault_dir / name).write_bytes(content)
    assert "back in" in box.arhivar("vault", "recover", typed=" ".join(groups))
    assert box.strangers() == []
    running(box, lambda: None)


def test_root_gives_away_nothing_that_the_vaults_user_put_in_the_keys_place(box: Box) -> None:
    of_root = box.settings.vault_dir.with_name("of-root")
    of_root.touch(0o600)
    box.settings.vault_key_file.unlink(missing_ok=True)
    box.settings.vault_key_file.symlink_to(of_root)
    box.arhivar("init", "--firm", "Contab", "--email", "ana@contab.ro", "--name", "Ana")
    assert of_root.stat().st_uid == 0

"""The four processes as four users, with the modes of docs/architecture.md: what each cannot reach.

Needs root, to make the users; CI is. The users are removed again, unless they were there before.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance import cli, config
from appliance.config import Settings
from appliance.store import clients
from appliance.store.engine import open_store
from appliance.store.migrate import migrate
from appliance.store.spool import Spool
from appliance.vault import keys
from tests.conftest import ROOT
from tests.support.demo import free_port, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make users")

# user: groups (design.md §5)
USERS = {
    "arhivar-web": ("arhivar-db", "arhivar-files", "arhivar-enrol"),
    "arhivar-dav": ("arhivar-db", "arhivar-files"),
    "arhivar-sync": ("arhivar-db", "arhivar-files", "arhivar-spv"),
    "arhivar-vault": ("arhivar-enrol", "arhivar-spv"),
}
PROCESSES = {name.removeprefix("arhivar-"): name for name in USERS}


@dataclass
class Machine:
    """An installation below one directory, with its processes running as their users."""

    settings: Settings
    python: list[str]
    environment: dict[str, str]
    pids: dict[str, int]

    def attempt(self, user: str, code: str) -> str:
        """Run Python as the user and return `yes`, or the name of the error it met."""
        program = (
            "import os, socket, sqlite3\n"
            "try:\n    " + code.replace("\n", "\n    ") + "\n    print('yes')\n"
            "except Exception as error:\n    print(type(error).__name__)\n"
        )
        entry = pwd.getpwnam(user)
        done = subprocess.run(
            [*self.python, "-c", program],
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=os.getgrouplist(user, entry.pw_gid),
            env=self.environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    made_groups, made_users = _make_users()
    # Not pytest's directory: the four users must be able to walk through it.
    base = Path(tempfile.mkdtemp(prefix="arhivar-users-", dir="/tmp"))
    base.chmod(0o755)
    children: list[subprocess.Popen[bytes]] = []
    try:
        settings = _install(base)
        python, environment = _python(base)
        environment["ARHIVAR_CONFIG"] = str(base / "arhivar.toml")
        pids = {}
        for name in ("vault", "sync", "web", "dav"):
            log = (base / f"{name}.log").open("wb")
            child = subprocess.Popen(
                [*python, "-m", "appliance", name], env=environment, cwd="/",
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            log.close()
            children.append(child)
            pids[name] = child.pid
            if name == "vault":
                until("the vault's sockets", lambda: settings.spv_socket.exists(), 30)
        for name in pids:
            _wait_until_ready(base, settings, name)
        yield Machine(settings, python, environment, pids)
    finally:
        for child in children:
            child.send_signal(signal.SIGTERM)
        for child in children:
            child.wait(30)
        shutil.rmtree(base)
        for user in made_users:
            subprocess.run(["userdel", user], check=True)
        for group in made_groups:
            subprocess.run(["groupdel", group], check=False)


def _make_users() -> tuple[list[str], list[str]]:
    groups = sorted({group for groups in USERS.values() for group in groups})
    made_groups = [group for group in groups if not _exists(grp.getgrnam, group)]
    for group in made_groups:
        subprocess.run(["groupadd", "--system", group], check=True)
    made_users = [user for user in USERS if not _exists(pwd.getpwnam, user)]
    for user in made_users:
        subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--shell",
             "/usr/sbin/nologin", "--groups", ",".join(USERS[user]), user],
            check=True,
        )  # fmt: skip
    return made_groups, made_users


def _exists(look_up: object, name: str) -> bool:
    try:
        look_up(name)  # type: ignore[operator]
    except KeyError:
        return False
    return True


def _install(base: Path) -> Settings:
    """Lay the directories out as the package does (docs/architecture.md, design.md §5)."""
    settings = replace(
        Settings(),
        data_dir=base / "data",
        vault_dir=base / "vault",
        vault_key_file=base / "vault" / "kek",
        run_dir=base / "run",
        web_port=free_port(),
        dav_port=free_port(),
        # Nobody listens there: this test is about what is not reached.
        spv_oauth_url="http://127.0.0.1:9/anaf-oauth2/v1",
        spv_api_url="http://127.0.0.1:9",
    )
    settings = replace(
        settings,
        web_url=f"http://localhost:{settings.web_port}",
        dav_url=f"http://localhost:{settings.dav_port}",
    )
    (base / "arhivar.toml").write_text(config.dump(settings))
    _directory(settings.data_dir, "arhivar-sync", "arhivar-db", 0o2770)
    _directory(settings.archive_dir, "arhivar-sync", "arhivar-files", 0o2750)
    _directory(settings.spool_dir, "arhivar-sync", "arhivar-db", 0o2710)
    _directory(Spool(settings.spool_dir).root, "arhivar-sync", "arhivar-db", 0o3770)
    Spool(settings.spool_dir).path("01another").touch()
    _directory(settings.vault_dir, "arhivar-vault", "arhivar-vault", 0o700)
    _directory(settings.run_dir, "arhivar-vault", "arhivar-vault", 0o755)
    previous = os.umask(0o027)
    try:
        migrate(settings)
        keys.create(settings.vault_key_file)
    finally:
        os.umask(previous)
    for path in settings.data_dir.iterdir():
        if path.is_file():
            shutil.chown(path, "arhivar-sync", "arhivar-db")
    shutil.chown(settings.vault_key_file, "arhivar-vault", "arhivar-vault")

    async def make_client() -> None:
        async with open_store(settings):
            await clients.create_client("Alfa Construct SRL", ["81042176"], datetime.now(UTC))

    asyncio.run(make_client())
    for path in settings.data_dir.iterdir():
        if path.is_file():
            shutil.chown(path, "arhivar-sync", "arhivar-db")
    # As `arhivar init` and `arhivar migrate` do when root starts them.
    cli._give_portal_key(settings)
    return settings


def _directory(path: Path, user: str, group: str, mode: int) -> None:
    path.mkdir()
    shutil.chown(path, user, group)
    path.chmod(mode)


def _python(base: Path) -> tuple[list[str], dict[str, str]]:
    """Find an interpreter and packages that the users can read, copying what they cannot."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(sys.prefix) / "lib" / version / "site-packages"
    places = [ROOT, packages]
    for attempt in range(2):
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": ":".join(map(str, places)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        for python in (getattr(sys, "_base_executable", sys.executable), f"/usr/bin/{version}"):
            entry = pwd.getpwnam("arhivar-dav")
            try:
                subprocess.run(
                    [python, "-c", "import appliance.cli, lxml.etree, litestar, piccolo, huey"],
                    user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], env=environment,
                    cwd="/", check=True, capture_output=True,
                )  # fmt: skip
            except (OSError, subprocess.CalledProcessError):
                continue
            return [python], environment
        if attempt == 0:
            shutil.copytree(ROOT / "appliance", base / "code" / "appliance")
            shutil.copytree(packages, base / "packages")
            places = [base / "code", base / "packages"]
    raise AssertionError("no interpreter that the four users can run; install python3 by apt")


def _wait_until_ready(base: Path, settings: Settings, name: str) -> None:
    def ready() -> bool:
        log = (base / f"{name}.log").read_text(errors="replace")
        assert "Traceback" not in log, log
        if name in ("web", "dav"):
            port = settings.web_port if name == "web" else settings.dav_port
            return subprocess.run(
                ["curl", "-s", "-o", "/dev/null", f"http://localhost:{port}/"], check=False
            ).returncode == 0  # fmt: skip
        return name == "vault" or settings.queue_path.exists()

    until(f"{name} ready", ready, 60)


def test_every_process_runs_as_its_own_user_for_good(machine: Machine) -> None:
    for name, pid in machine.pids.items():
        status = Path(f"/proc/{pid}/status").read_text()
        uid = str(pwd.getpwnam(PROCESSES[name]).pw_uid)
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert uids == [uid] * 4, name
        groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
        named = {grp.getgrgid(int(number)).gr_name for number in groups.split()[1:]}
        assert named <= {*USERS[PROCESSES[name]], PROCESSES[name]}, name
        assert set(USERS[PROCESSES[name]]) <= named, name


def _read(path: Path) -> str:
    return f"open({str(path)!r}, 'rb').read()"


def _enter(path: Path) -> str:
    return f"os.listdir({str(path)!r})"


def _create(directory: Path) -> str:
    name = str(directory / "planted")
    return f"os.close(os.open({name!r}, os.O_CREAT | os.O_WRONLY)); os.unlink({name!r})"


def _move(path: Path) -> str:
    """Away and back again, which asks the same rights as removing it."""
    away = f"{path}~"
    return f"os.rename({str(path)!r}, {away!r}); os.rename({away!r}, {str(path)!r})"


def _connect(path: Path) -> str:
    return f"socket.socket(socket.AF_UNIX).connect({str(path)!r})"


def _write_row(path: Path) -> str:
    return (
        f"c = sqlite3.connect({str(path)!r})\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "c.execute(\"INSERT INTO setting VALUES ('four', 'users')\")\n"
        "c.rollback()"
    )


def _attempts(s: Settings) -> dict[str, tuple[str, set[str]]]:
    """What is tried, and which process may."""
    return {
        "read and write rows": (_write_row(s.database_path), {"web", "dav", "sync"}),
        "read the portal's key": (_read(s.data_dir / "portal.key"), {"web", "dav"}),
        "read the queue": (_read(s.queue_path), {"sync"}),
        "list the archive": (_enter(s.archive_dir), {"web", "dav", "sync"}),
        "write into the archive": (_create(s.archive_dir), {"sync"}),
        "read the spool": (_enter(s.spool_dir), {"sync"}),
        "write into the spool": (_create(s.spool_dir), {"sync"}),
        "hand in an import": (_create(Spool(s.spool_dir).root), {"web", "dav", "sync"}),
        "take another's import away": (_move(Spool(s.spool_dir).path("01another")), {"sync"}),
        "enter the vault": (_enter(s.vault_dir), {"vault"}),
        "read the vault's key": (_read(s.vault_key_file), {"vault"}),
        "read the tokens": (_read(s.vault_dir / "vault.db"), {"vault"}),
        "use enrol.sock": (_connect(s.enrol_socket), {"web", "vault"}),
        "use spv.sock": (_connect(s.spv_socket), {"sync", "vault"}),
        "replace a socket": (_create(s.run_dir), {"vault"}),
    }


def test_each_user_reaches_what_the_table_gives_and_nothing_else(machine: Machine) -> None:
    """The table of docs/architecture.md, cell by cell: `yes` or the refusal."""
    attempts = _attempts(machine.settings)
    outcome = {
        (what, name): machine.attempt(user, code)
        for what, (code, _) in attempts.items()
        for name, user in PROCESSES.items()
    }

    expected = {
        (what, name): name in allowed
        for what, (_, allowed) in attempts.items()
        for name in PROCESSES
    }
    assert {cell: result == "yes" for cell, result in outcome.items()} == expected
    refusals = {result for result in outcome.values() if result != "yes"}
    assert refusals <= {"PermissionError", "OperationalError"}


def test_another_user_of_the_machine_reaches_nothing(machine: Machine) -> None:
    attempts = _attempts(machine.settings)
    outcome = {what: machine.attempt("nobody", code) for what, (code, _) in attempts.items()}
    assert set(outcome.values()) <= {"PermissionError", "OperationalError"}, outcome


def test_a_socket_that_lost_its_mode_still_knows_its_neighbour(machine: Machine) -> None:
    """The peer's uid is looked at as well, before a byte is read: drive and parser find no way."""
    spoken = {}
    for path in (machine.settings.enrol_socket, machine.settings.spv_socket):
        path.chmod(0o666)
        code = (
            f"s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r})\n"
            "s.sendall(b'GET /status HTTP/1.1\\r\\nHost: v\\r\\n\\r\\n')\n"
            "assert s.recv(9)"
        )
        for user in (*USERS, "nobody"):
            spoken[path.name, user] = machine.attempt(user, code)
        path.chmod(0o660)

    heard = {cell for cell, result in spoken.items() if result == "yes"}
    assert heard == {
        ("enrol.sock", "arhivar-web"),
        ("enrol.sock", "arhivar-vault"),
        ("spv.sock", "arhivar-sync"),
        ("spv.sock", "arhivar-vault"),
    }
    assert set(spoken.values()) <= {
        "yes", "AssertionError", "ConnectionResetError", "BrokenPipeError"
    }  # fmt: skip


def test_no_process_can_look_into_another(machine: Machine) -> None:
    for name, user in PROCESSES.items():
        for other, pid in machine.pids.items():
            if other == name:
                continue
            for secret in ("environ", "mem", "maps"):
                code = f"open('/proc/{pid}/{secret}', 'rb').read(1)"
                assert machine.attempt(user, code) == "PermissionError", (name, other, secret)


def test_files_of_the_database_stay_writable_for_the_group(machine: Machine) -> None:
    s = machine.settings
    for path in sorted(s.data_dir.glob("arhivar.db*")):
        assert path.stat().st_mode & 0o777 == 0o660, path.name
        assert path.stat().st_gid == grp.getgrnam("arhivar-db").gr_gid, path.name
    assert (s.vault_dir / "vault.db").stat().st_mode & 0o777 == 0o600
    assert s.queue_path.stat().st_mode & 0o077 == 0
    assert s.enrol_socket.stat().st_mode & 0o777 == 0o660
    assert s.spv_socket.stat().st_mode & 0o777 == 0o660

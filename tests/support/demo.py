"""A running `arhivar demo`, as a person starts it, for the end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from appliance import config

PROCESSES = ("simulator", "vault", "sync", "web", "dav")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(family: int, address: tuple[str, int] | str) -> bool:
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def until(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Return the first true value of `condition`; fail with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


class Demo:
    """One data directory; `start()` and `stop()` may alternate on it."""

    def __init__(
        self,
        data: Path,
        *,
        invoices: int = 40,
        documents: Path | None = None,
        command: Sequence[str] = (sys.executable, "-m", "appliance"),
        cwd: Path | None = None,
    ) -> None:
        self.data = data
        self._ports = {name: free_port() for name in ("portal", "drive", "spv")}
        self._command = [
            *command, "demo", "--data", str(data), "--invoices", str(invoices),
            "--portal-port", str(self._ports["portal"]),
            "--drive-port", str(self._ports["drive"]), "--spv-port", str(self._ports["spv"]),
        ]  # fmt: skip
        if documents is not None:
            self._command += ["--documents", str(documents)]
        self._arhivar = list(command)
        self._cwd = cwd
        self._process: subprocess.Popen[str] | None = None
        self.info: dict[str, Any] = {}

    def start(self, seconds: float = 90) -> None:
        """Return when demo.json is there: everything answers, fetching has begun."""
        output = (self.data.parent / f"{self.data.name}.out").open("a")
        self._process = subprocess.Popen(
            self._command, stdout=output, stderr=subprocess.STDOUT, text=True, cwd=self._cwd
        )
        output.close()
        path = self.data / "demo.json"
        until("demo.json\n" + self.output(), lambda: self._alive() and path.exists(), seconds)
        self.info = json.loads(path.read_text())

    def _alive(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the demo ended early\n{self.output()}"
        return True

    def output(self) -> str:
        path = self.data.parent / f"{self.data.name}.out"
        return path.read_text() if path.exists() else ""

    def log(self, name: str) -> str:
        path = self.data / "log" / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> int:
        """Press Ctrl-C and return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(60)
        self._process = None
        return code

    def kill_supervisor(self) -> None:
        """`kill -9` the demo itself, not its processes."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def kill_everything(self) -> None:
        """For a teardown after a failure: nothing of this demo goes on running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for name in PROCESSES:
            for pid in self.pids(name):
                os.kill(pid, signal.SIGKILL)

    def pids(self, name: str) -> list[int]:
        """The process ids of one of the demo's processes, helpers of it not included."""
        marker = f"ARHIVAR_CONFIG={self.data.resolve() / 'arhivar.toml'}"
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                arguments = (entry / "cmdline").read_text().split("\0")
                if arguments[1:4] == ["-m", "appliance", name] and self._is_ours(entry, marker):
                    found.append(int(entry.name))
            except (OSError, UnicodeDecodeError):
                continue
        return found

    def _is_ours(self, proc: Path, marker: str) -> bool:
        try:
            return marker in (proc / "environ").read_text().split("\0")
        except PermissionError:
            # The vault shows its environment to root alone, not to its own user.
            parent = int((proc / "stat").read_text().rpartition(")")[2].split()[1])
            return self._process is not None and parent == self._process.pid

    def kill(self, name: str) -> None:
        """`kill -9` one process and wait until the demo has started it again."""
        self.risen(name, self.strike(name))

    def strike(self, name: str) -> list[int]:
        """`kill -9` one process; return what ran."""
        before = self.pids(name)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        return before

    def risen(self, name: str, before: list[int]) -> None:
        """Return when another process has taken the place of those, and answers."""
        until(f"{name} again", lambda: set(self.pids(name)) - set(before), 30)
        ports = {"web": "portal", "dav": "drive", "simulator": "spv"}
        if name in ports:
            address = ("127.0.0.1", self._ports[ports[name]])
            until(f"{name} answers again", lambda: _answers(socket.AF_INET, address), 30)
        elif name == "vault":
            path = str(config.load(self.data / "arhivar.toml").enrol_socket)
            until("the vault answers again", lambda: _answers(socket.AF_UNIX, path), 30)

    def arhivar(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the command on this demo's configuration."""
        return subprocess.run(
            [*self._arhivar, *arguments],
            env={**os.environ, "ARHIVAR_CONFIG": str(self.data.resolve() / "arhivar.toml")},
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=self._cwd,
            check=False,
        )

    def person(self, email_start: str) -> dict[str, Any]:
        return next(
            login for login in self.info["logins"] if login["email"].startswith(email_start)
        )

    def drive(self, email_start: str) -> httpx.Client:
        person = self.person(email_start)
        return httpx.Client(
            base_url=self.info["drive"],
            auth=(person["email"], person["drive_password"]),
            timeout=30,
        )

    def rclone(self, email_start: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        person = self.person(email_start)
        obscured = subprocess.run(
            ["rclone", "obscure", person["drive_password"]],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        return subprocess.run(
            ["rclone", "--config", "/dev/null", "--webdav-url", self.info["drive"],
             "--webdav-user", person["email"], "--webdav-pass", obscured, *arguments],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def folders(self, email_start: str, path: str) -> list[str]:
        """What rclone lists as folders at a path of the drive; empty when it is not there."""
        listed = self.rclone(email_start, "lsf", "--dirs-only", f":webdav:{path}")
        return [line.rstrip("/") for line in listed.stdout.splitlines()]

    def settled(self, seconds: float = 120) -> None:
        """Wait until nothing is queued, as `arhivar fetch` says, and every PDF is made.

        `arhivar fetch` waits for the PDFs of what it fetched, not for earlier ones.
        """
        done = self.arhivar("fetch", seconds=seconds)
        assert done.returncode == 0, done.stdout + done.stderr
        until("every PDF is made", lambda: not self._renders(), seconds)

    def _renders(self) -> int:
        with contextlib.closing(sqlite3.connect(self.data / "arhivar.db")) as connection:
            (count,) = connection.execute(
                "SELECT COUNT(*) FROM job WHERE kind = 'render' AND state IN ('queued', 'leased')"
            ).fetchone()
        return int(count)

"""sync as a process of its own, with a real vault and a simulated SPV behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance import config
from appliance.config import Settings
from appliance.demo import _enrol
from appliance.simulator.companies import CLIENTS, Company, client_company
from appliance.store import clients, verify
from appliance.store.check_problems import Problem
from appliance.store.engine import open_store
from appliance.vault import keys
from tests.support.demo import until
from tests.support.simulator import Running, SimulatorProcess


class Installation:
    """A data directory with firm and clients; `vault` and `sync` may come and go.

    The clients are the first ones of the simulator, as many as said.
    """

    def __init__(
        self,
        directory: Path,
        simulator: Running | SimulatorProcess,
        *,
        clients: int = len(CLIENTS),
        **options: Any,
    ) -> None:
        companies = [client_company(position) for position in range(clients)]
        certificates = directory / "certificates"
        certificates.mkdir()
        (certificates / "simulator.pem").write_bytes(simulator.pem)
        self.settings = replace(
            Settings(),
            data_dir=directory / "data",
            vault_dir=directory / "vault",
            vault_key_file=directory / "vault" / "kek",
            run_dir=directory / "run",
            spv_oauth_url=f"{simulator.url}/anaf-oauth2/v1",
            spv_api_url=simulator.url,
            spv_extra_certificates=certificates,
            **options,
        )
        self.settings.data_dir.mkdir()
        self.settings.run_dir.mkdir()
        self.settings.vault_dir.mkdir(mode=0o700)
        keys.create(self.settings.vault_key_file)
        self._config = directory / "arhivar.toml"
        self.configure(self.settings)
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        asyncio.run(self._populate(companies))
        self.start("vault")
        until("the vault's sockets", self.settings.enrol_socket.exists)
        _enrol(self.settings, simulator.about, [company.cif for company in companies])

    def configure(self, settings: Settings) -> None:
        """Give these settings to whatever starts from now on."""
        self.settings = settings
        self._config.write_text(config.dump(settings), encoding="utf-8")

    async def _populate(self, companies: Sequence[Company]) -> None:
        at = datetime.now(UTC)
        async with open_store(self.settings, migrate=True):
            await clients.create_firm("Contabilitate Tismana SRL", at)
            for company in companies:
                await clients.create_client(company.name, [company.cif], at)

    def start(self, name: str, under: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the service, by the command `under` when there is one (strace, faketime)."""
        with self.log_file(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*under, sys.executable, "-X", "faulthandler", "-m", "appliance", name],
                env={**os.environ, "ARHIVAR_CONFIG": str(self._config)},
                stdout=log,
                stderr=log,
            )
        return self._running[name]

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        process = self._running.pop(name)
        process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # it tells where its threads are
            process.wait(30)
            raise AssertionError(f"{name} does not end\n{self.log()[-8000:]}") from None

    def arhivar(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command on this installation."""
        return subprocess.run(
            [sys.executable, "-m", "appliance", *arguments],
            env={**os.environ, "ARHIVAR_CONFIG": str(self._config)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin the command on this installation; its output goes to the log `command`."""
        with self.log_file("command").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "appliance", *arguments],
                env={**os.environ, "ARHIVAR_CONFIG": str(self._config)},
                stdout=log,
                stderr=log,
            )

    def close(self) -> None:
        for name in list(self._running):
            self.end(name, signal.SIGKILL)

    def log_file(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def log(self, name: str = "sync") -> str:
        return self.log_file(name).read_text()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        url = f"{self.settings.database_path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(url, uri=True, timeout=10)) as connection:
            return connection.execute(statement).fetchall()

    def count(self, statement: str) -> int:
        return sum(number for (number,) in self.rows(f"SELECT COUNT(*) FROM {statement}"))

    def wait(self, what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
        try:
            return until(what, condition, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-4000:]}") from None

    def settled(self) -> None:
        """Wait until every list is read, every message filed and every PDF made."""
        self.wait("every client listed", lambda: self.count("job WHERE kind = 'list'") == 3)
        self.wait("no open job", lambda: not self.count("job WHERE state IN ('queued', 'leased')"))

    def free_leases(self) -> None:
        """As if they had run out: a test does not wait for the leases of the dead.

        What the living hold is freed as well and so may run twice, as any job may.
        """
        self._change_jobs("state = 'leased'")

    def try_again_now(self) -> None:
        """Make due what failed and is tried again later."""
        self._change_jobs("state = 'queued' AND deferred = 1")

    def _change_jobs(self, which: str) -> None:
        with closing(sqlite3.connect(self.settings.database_path, timeout=20)) as connection:
            connection.execute(
                "UPDATE job SET state = 'queued', deferred = 0, turn = 0, lease_until = NULL, "
                f"next_attempt_at = created_at WHERE {which}"
            )
            connection.commit()

    def problems(self) -> list[Problem]:
        return verify.check(self.settings, deep=True, at=datetime.now(UTC))

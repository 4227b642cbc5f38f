"""The vault in this process with a clock of ours, and as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from appliance.vault import keys
from appliance.vault.database import Database
from appliance.vault.gateway import Gateway
from appliance.vault.limits import Limits
from appliance.vault.oauth import AuthorisationServer
from appliance.vault.parts import Parts
from appliance.vault.refusals import Refusals
from appliance.vault.secret import Secret
from appliance.vault.wire import Answer, Request
from tests.support.anaf import CLIENT_ID, CLIENT_SECRET, Anaf

RUNNER = "from appliance import config, vault; vault.serve(config.load())"
LOGGING = "import logging; logging.basicConfig(level=logging.DEBUG); "
CALLBACK = "https://arhivar.example/spv/callback"
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
CIF = "12345674"


class World:
    """One vault in this process; `now` is the clock and `restart()` a new process."""

    def __init__(self, directory: Path, anaf: Anaf) -> None:
        self.now = START
        self.anaf = anaf
        self.directory = directory / "vault"
        keys.create(self.directory / "kek")
        self.http = httpx.AsyncClient(trust_env=False)
        self.restart()

    def restart(self) -> None:
        self.database = Database(self.directory, keys.load(self.directory / "kek", {}), at=self.now)
        server = AuthorisationServer(f"{self.anaf.url}/anaf-oauth2/v1", self.http)
        self.parts = Parts.of(self.database, server, self.directory, lambda: self.now)
        self.registration = self.parts.registration
        self.authorising = self.parts.authorising
        self.mapping = self.parts.mapping
        self.renewal = self.parts.renewal
        self.grants = self.parts.grants
        self.gateway = Gateway(
            api_url=self.anaf.url,
            environment="prod",
            parts=self.parts,
            limits=Limits(self.database, 1000),
            refusals=Refusals(self.database, "spv.sock"),
            http=self.http,
            now=lambda: self.now,
        )

    async def authorise(self, grant: str | None = None) -> str:
        self.registration.set(CLIENT_ID, Secret(CLIENT_SECRET), CALLBACK, by="ana", at=self.now)
        _, state = self.authorising.begin("session", requested_by="ana", grant=grant, at=self.now)
        done = await self.authorising.finish(
            "session", state, code=Secret("the-code"), error=None, at=self.now
        )
        self.mapping.map(CIF, done.grant, confirmed_by="ana", at=self.now)
        return done.grant

    async def list(self) -> Answer:
        return await self.call("listaMesajeFactura", f"zile=60&cif={CIF}")

    async def call(self, resource: str, query: str) -> Answer:
        path = f"/prod/FCTEL/rest/{resource}"
        request = Request("GET", path, query, {"arhivar-cif": CIF}, b"", 0)
        answer = await self.gateway(request)
        if not isinstance(answer.body, bytes):
            async for _ in answer.body:
                pass
        return answer

    def audit(self) -> list[dict[str, Any]]:
        """Return the bodies of the audit chain, which holds."""
        assert self.database.audit_breaks() == []
        rows = self.database.durable.execute("SELECT body FROM audit ORDER BY seq")
        return [json.loads(body) for (body,) in rows]

    def used_token(self) -> str:
        return str(self.anaf.calls[-1]["headers"]["authorization"]).removeprefix("Bearer ")

    def state(self) -> str:
        (grant,) = self.grants.status()["grants"]  # type: ignore[attr-defined]
        return str(grant["state"])


class VaultProcess:
    """One installation below `directory`; it may be started, killed and started again."""

    def __init__(self, directory: Path, anaf_url: str) -> None:
        self.directory = directory
        self.log = directory / "vault.log"
        self.environ = {
            "PATH": os.environ["PATH"],
            "ARHIVAR_CONFIG": os.fspath(directory / "arhivar.toml"),
            "ARHIVAR_VAULT_DIR": os.fspath(directory / "vault"),
            "ARHIVAR_VAULT_KEY_FILE": os.fspath(directory / "vault" / "kek"),
            "ARHIVAR_RUN_DIR": os.fspath(directory / "run"),
            "ARHIVAR_SPV_OAUTH_URL": f"{anaf_url}/anaf-oauth2/v1",
            "ARHIVAR_SPV_API_URL": anaf_url,
        }
        directory.mkdir(exist_ok=True)
        (directory / "arhivar.toml").touch()
        keys.create(directory / "vault" / "kek")
        self.process: asyncio.subprocess.Process | None = None
        self.enrol = _client(directory / "run" / "enrol.sock")
        self.spv = _client(directory / "run" / "spv.sock")

    async def start(self, extra: Mapping[str, str] | None = None) -> None:
        """Return when both sockets answer; raises with the log when the process ends before."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                LOGGING + RUNNER,
                env={**self.environ, **(extra or {})},
                stdout=log,
                stderr=log,
            )
        while True:
            if self.process.returncode is not None:
                raise AssertionError(f"the vault ended: {self.log.read_text()}")
            try:
                await self.enrol.get("/status")
                await self.spv.get("/")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.02)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        await self.enrol.aclose()
        await self.spv.aclose()
        self.enrol = _client(self.directory / "run" / "enrol.sock")
        self.spv = _client(self.directory / "run" / "spv.sock")
        return await self.process.wait()

    async def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.end(signal.SIGKILL)
        await self.enrol.aclose()
        await self.spv.aclose()

    async def register(self) -> None:
        answer = await self.enrol.put(
            "/application",
            json={
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "redirect_uri": CALLBACK,
            },
        )
        assert answer.status_code == 204, answer.text

    async def authorise(self, code: str = "canary-code-5512") -> str:
        begun = await self.enrol.post(
            "/authorisations", json={"session": "canary-session-1", "requested_by": "ana"}
        )
        answer = await self.enrol.post(
            "/authorisations/code",
            json={"session": "canary-session-1", "state": begun.json()["state"], "code": code},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["grant"])

    async def enrolled(self, *cifs: str) -> str:
        """Register, authorise and map; return the grant."""
        await self.register()
        grant = await self.authorise()
        for cif in cifs:
            await self.map(cif, grant)
        return grant

    async def map(self, cif: str, grant: str) -> None:
        answer = await self.enrol.put(f"/cifs/{cif}", json={"grant": grant, "confirmed_by": "ana"})
        assert answer.status_code == 204, answer.text

    async def list(self, cif: str, asked: str | None = None) -> httpx.Response:
        return await self.spv.get(
            "/prod/FCTEL/rest/listaMesajePaginatieFactura",
            params={"startTime": "1", "endTime": "2", "cif": asked or cif, "pagina": "1"},
            headers={"Arhivar-Cif": cif},
        )

    def audit(self) -> list[dict[str, Any]]:
        """Return the bodies of the vault's audit chain; `end()` first."""
        with closing(sqlite3.connect(self.directory / "vault" / "vault.db")) as connection:
            rows = connection.execute("SELECT body FROM audit ORDER BY seq").fetchall()
        return [json.loads(body) for (body,) in rows]

    async def grant(self) -> dict[str, Any]:
        """Return the only grant of the status."""
        (grant,) = (await self.enrol.get("/status")).json()["grants"]
        return dict(grant)


def _client(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=os.fspath(path)),
        base_url="http://vault",
        timeout=30,
    )

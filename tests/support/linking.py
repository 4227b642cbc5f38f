"""A real vault process beside a portal, with an ANAF that says yes, for the pages about linking."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.anaf import CLIENT_ID, CLIENT_SECRET, Anaf, running_anaf
from tests.support.vault import VaultProcess

ALFA, BETA = "12345674", "98765438"  # the CIFs of `tests.support.store`


@dataclass
class Linked:
    """The vault at the sockets that the portal's settings name."""

    vault: VaultProcess
    anaf: Anaf

    async def register(self, callback: str = "http://localhost:8080/spv/callback") -> None:
        answer = await self.vault.enrol.put(
            "/application",
            json={
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "redirect_uri": callback,
            },
        )
        assert answer.status_code == 204, answer.text

    async def grant(self, serial: str, *cifs: str, by: str, holder: str = "Ana Pop") -> str:
        """Authorise with the certificate of that serial for the account; return the grant."""
        self.anaf.serial = serial
        session = {"session": f"session-{serial}"}
        begun = await self.vault.enrol.post(
            "/authorisations",
            json={**session, "requested_by": by, "holder": holder, "about": ""},
        )
        assert begun.status_code == 200, begun.text
        done = await self.vault.enrol.post(
            "/authorisations/code",
            json={**session, "state": begun.json()["state"], "code": "the-code"},
        )
        assert done.status_code == 200, done.text
        uid = str(done.json()["grant"])
        for cif in cifs:
            await self.vault.map(cif, uid)
        return uid

    async def offers(self, cif: str, *seen: str, serial: str = "") -> None:
        """What sync says after a list of the CIF named those."""
        answer = await self.vault.spv.post(
            "/arhivar/seen-cifs",
            json={"cif": cif, "cifs": list(seen), "serial": serial},
            headers={"Arhivar-Cif": cif},
        )
        assert answer.status_code in (200, 204), answer.text

    async def of(self, uid: str) -> dict[str, Any]:
        """Return the grant as the vault tells it, empty when there is none."""
        status = (await self.vault.enrol.get("/status")).json()
        return next((dict(one) for one in status["grants"] if one["grant"] == uid), {})


@asynccontextmanager
async def linked(directory: Path) -> AsyncIterator[Linked]:
    """Run a vault whose sockets are in `directory/run`."""
    async with running_anaf() as anaf:
        vault = VaultProcess(directory, anaf.url)
        await vault.start()
        try:
            yield Linked(vault, anaf)
        finally:
            await vault.close()

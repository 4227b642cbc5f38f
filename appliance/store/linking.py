"""What people decided about authorisations in SPV, in the audit log of the appliance.

The authorisations themselves are the vault's, which keeps a log of its own. A
decision about one is written here *before* the vault is told, so no CIF is ever read for a
client without a record of who wanted it; a record whose step the vault then did not
take is what a person asked for, and asking again adds another one.
"""

from __future__ import annotations

from datetime import datetime

from appliance.core import cif as cifs
from appliance.core.errors import NotFound
from appliance.core.roles import Viewer
from appliance.core.sentence import Sentence
from appliance.store import audit
from appliance.store.clients import ClientRow
from appliance.store.engine import fetch, joined


async def confirmed(client: ClientRow, cif: str, grant: str, at: datetime, *, by: Viewer) -> None:
    """Record that the client's CIF is to be read with this grant.

    Raises `NotFound` when the CIF is not the client's now.
    """
    await _decided("spv:confirm", client, cif, grant, at, by)


async def taken_back(client: ClientRow, cif: str, grant: str, at: datetime, *, by: Viewer) -> None:
    """Record that the client's CIF is to be read with this grant no more."""
    await _decided("spv:unmap", client, cif, grant, at, by)


async def revoked(grant: str, at: datetime, *, by: Viewer) -> None:
    """Record that the grant is to be erased."""
    async with joined():
        await audit.append("spv:revoke", by.user_uid, "", grant, {}, at=at)


async def application_set(client_id: str, at: datetime, *, by: Viewer) -> None:
    """Record that the firm's application at ANAF was entered; its secret is the vault's alone.

    Once the vault took it: what it refuses may be a secret in the wrong field.
    """
    async with joined():
        await audit.append("spv:application", by.user_uid, "", client_id, {}, at=at)


async def _decided(
    action: str, client: ClientRow, cif: str, grant: str, at: datetime, by: Viewer
) -> None:
    async with joined():
        rows = await fetch(
            "SELECT id FROM client_identifier WHERE client = ? AND value = ?", [client.id, cif]
        )
        if not rows:
            raise NotFound(
                Sentence(
                    "CIF-ul nu mai este al acestui client. Reîncarcă pagina.",
                    "the CIF is not this client's any more; reload the page",
                )
            )
        # The CIF may be a CNP, which the log must not keep.
        data = {"cif": cifs.mask_cnp(cif), "grant": grant}
        await audit.append(action, by.user_uid, client.uid, client.uid, data, at=at)

"""The portal's only way to the vault: enrol.sock (`vault/enrol.py` has the contract).

A call opens its own connection, so nothing is held while nobody asks. A vault
that is away, slow or refuses becomes an error with its own sentence; neither
the code that ANAF gave nor the application's secret is ever in one, nor in a log.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import httpx

from appliance.core.errors import BadInput, Busy, NotFound
from appliance.core.sentence import Sentence
from appliance.core.times import from_text

log = logging.getLogger("arhivar.web.vault")

# A page waits no longer for what the vault knows by itself …
_QUICK = httpx.Timeout(5, connect=2)
# … than for what it has to ask ANAF: its own call to the token endpoint ends after 20 s.
_ANAF = httpx.Timeout(30, connect=2)


class VaultAway(Busy):
    """The vault does not answer, or says that it cannot now: nothing is known, try again (503)."""


@dataclass(frozen=True)
class Application:
    """What ANAF gave the firm, but the secret."""

    client_id: str
    redirect_uri: str
    changed_at: datetime


@dataclass(frozen=True)
class Grant:
    """An authorisation in SPV: whose certificate, how it stands, which CIFs.

    `cifs` are read with it because a person confirmed them; `offered` are those
    that ANAF named beside them and nobody confirmed.
    """

    uid: str
    serial: str
    holder: str
    state: str  # active, needs_authorisation or revoked
    requested_by: str  # uid of an account
    created_at: datetime
    renew_at: datetime | None
    refresh_expires_at: datetime | None
    refused_at: datetime | None
    last_used_at: datetime | None
    cifs: tuple[str, ...]
    offered: tuple[str, ...]

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """Return what one entry of `/status` says."""
        return cls(
            uid=value["grant"],
            serial=value["serial"],
            holder=value["holder"],
            state=value["state"],
            requested_by=value["requested_by"],
            created_at=from_text(value["created_at"]),
            renew_at=_moment(value["renew_at"]),
            refresh_expires_at=_moment(value["refresh_expires_at"]),
            refused_at=_moment(value["refused_at"]),
            last_used_at=_moment(value["last_used_at"]),
            cifs=tuple(value["cifs"]),
            offered=tuple(value["offered"]),
        )


@dataclass(frozen=True)
class Status:
    """What the vault has; revoked grants are left out, for nothing is left of them."""

    application: Application | None
    grants: tuple[Grant, ...]


@dataclass(frozen=True)
class Authorised:
    """What came of a code: the grant, whether it was there before, what `about` was begun with."""

    grant: str
    renewed: bool
    about: str
    instead_of: str = ""  # the grant that was to be renewed, when the certificate is not its own


def session_of(key: bytes, session_hash: str) -> str:
    """Return what stands for the session in the vault: from it nobody finds the session."""
    return hmac.new(key, b"vault\0" + session_hash.encode(), hashlib.sha256).hexdigest()


class Vault:
    """Calls of enrol.sock; raises `VaultAway`, `NotFound` or `BadInput` with a sentence."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def status(self) -> Status:
        """Return the application and every grant that is not revoked."""
        value = await self._call("GET", "/status")
        application = value["application"]
        return Status(
            application
            and Application(
                application["client_id"],
                application["redirect_uri"],
                from_text(application["changed_at"]),
            ),
            tuple(Grant.read(one) for one in value["grants"] if one["state"] != "revoked"),
        )

    async def set_application(
        self, client_id: str, client_secret: str, redirect_uri: str, *, by: str
    ) -> None:
        """Keep ANAF's credentials; an empty secret leaves the one that is there."""
        given = {"client_id": client_id, "redirect_uri": redirect_uri, "by": by}
        if client_secret:
            given["client_secret"] = client_secret
        await self._call("PUT", "/application", given)

    async def begin(
        self, session: str, *, requested_by: str, holder: str, about: str, grant: str = ""
    ) -> str:
        """Begin an authorisation and return the address at ANAF where the browser has to go."""
        given = {
            "session": session,
            "requested_by": requested_by,
            "holder": holder,
            "about": about,
        }
        if grant:
            given["grant"] = grant
        return str((await self._call("POST", "/authorisations", given))["authorise_url"])

    async def finish(
        self, session: str, state: str, *, code: str = "", error: str = ""
    ) -> Authorised:
        """Hand over what ANAF sent back; the state serves once, whatever comes of it."""
        given = {"session": session, "state": state}
        given |= {"code": code} if code else {}
        given |= {"error": error} if error else {}
        value = await self._call("POST", "/authorisations/code", given, patience=_ANAF)
        return Authorised(
            value["grant"], bool(value["renewed"]), value["about"], value["instead_of"]
        )

    async def confirm(self, cif: str, grant: str, *, by: str) -> None:
        """Read this CIF with this grant from now on; again does nothing more."""
        await self._call("PUT", f"/cifs/{cif}", {"grant": grant, "confirmed_by": by})

    async def unmap(self, cif: str, grant: str, *, by: str) -> None:
        """Read this CIF with this grant no more; again does nothing."""
        await self._call("DELETE", f"/cifs/{cif}", {"grant": grant, "by": by})

    async def test(self, grant: str) -> tuple[bool, Sentence]:
        """Ask ANAF whether it takes the grant's token; return that and what to say of it."""
        value = await self._call("POST", f"/grants/{grant}/test", patience=_ANAF)
        return bool(value["ok"]), Sentence(value["sentence"]["ro"], value["sentence"]["en"])

    async def revoke(self, grant: str, *, by: str) -> Sentence:
        """Erase the grant here for good; return what is true of it at ANAF."""
        sentence = (await self._call("POST", f"/grants/{grant}/revoke", {"by": by}))["sentence"]
        return Sentence(sentence["ro"], sentence["en"])

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, str] | None = None,
        *,
        patience: httpx.Timeout = _QUICK,
    ) -> dict[str, Any]:
        # No TLS on this socket: without `verify` no certificates are read for each call.
        transport = httpx.AsyncHTTPTransport(uds=str(self._socket), verify=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://vault", timeout=patience, trust_env=False
        ) as http:
            try:
                response = await http.request(method, path, json=body)
                value = response.json() if response.content else {}
            except (httpx.HTTPError, ValueError) as error:
                log.warning("the vault does not answer (%s)", type(error).__name__)
                raise _away() from None
        if response.is_success and isinstance(value, dict):
            return value
        raise _refusal(response.status_code, value)


def _refusal(status: int, value: Any) -> VaultAway | NotFound | BadInput:
    try:
        sentence = Sentence(str(value["error"]["ro"]), str(value["error"]["en"]))
    except (KeyError, TypeError):
        return _away()
    if status == 404:
        return NotFound(sentence)
    return VaultAway(sentence) if status >= 500 or status == 429 else BadInput(sentence)


def _away() -> VaultAway:
    return VaultAway(
        Sentence(
            "Seiful cu autorizările SPV nu răspunde acum. Încearcă din nou peste un minut; dacă se "
            "repetă, anunță administratorul instalării.",
            "the vault with the SPV authorisations does not answer now; try again in a minute, "
            "and if it repeats tell whoever runs this installation",
        )
    )


def _moment(text: str | None) -> datetime | None:
    return from_text(text) if text else None

"""The vault's parts over one database, made once for a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.vault.application import Registration
from appliance.vault.authorising import Authorising
from appliance.vault.database import Database
from appliance.vault.grants import Grants
from appliance.vault.mapping import Mapping
from appliance.vault.oauth import AuthorisationServer
from appliance.vault.renewal import Renewal
from appliance.vault.tokens import Tokens


@dataclass(frozen=True)
class Parts:
    """`database` is the caller's, who closes it after `renewal.settle()`."""

    database: Database
    registration: Registration
    tokens: Tokens
    grants: Grants
    mapping: Mapping
    renewal: Renewal
    authorising: Authorising

    @classmethod
    def of(
        cls,
        database: Database,
        server: AuthorisationServer,
        directory: Path,
        now: Callable[[], datetime],
    ) -> Parts:
        """Make them, and finish what a crash interrupted."""
        registration = Registration(database)
        tokens = Tokens(database, directory)
        grants = Grants(database, registration, tokens)
        tokens.recover(at=now())
        grants.recover()
        return cls(
            database,
            registration,
            tokens,
            grants,
            Mapping(database, grants),
            Renewal(database, server, registration, grants, tokens, directory, now),
            Authorising(database, server, registration, grants, tokens),
        )

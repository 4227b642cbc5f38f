"""The application that the firm registered at ANAF: its credentials and callback address."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from urllib.parse import urlsplit

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.vault.database import Database
from appliance.vault.envelope import Purpose
from appliance.vault.errors import SealBroken
from appliance.vault.oauth import Application
from appliance.vault.secret import Secret

log = logging.getLogger(__name__)

PRINTABLE = re.compile(r"[\x21-\x7e]{1,4096}")
_CLIENT_ID = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Registration:
    """ANAF's client_id, client_secret and our redirect_uri, entered by an administrator."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def set(
        self, client_id: str, secret: Secret | None, redirect_uri: str, *, by: str, at: datetime
    ) -> None:
        """Keep ANAF's credentials; without a secret the one that is there stays."""
        known = self.get()
        if not _CLIENT_ID.fullmatch(client_id):
            raise _bad(
                "Câmpul client_id nu are forma pe care o dă ANAF; copiază-l din portalul ANAF.",
                "client_id does not look like ANAF's; copy it from ANAF's portal",
            )
        if secret is None and (known is None or known.client_id != client_id):
            raise _bad(
                "Lipsește client_secret; copiază-l din portalul ANAF.",
                "client_secret is missing; copy it from ANAF's portal",
            )
        if secret is not None and not PRINTABLE.fullmatch(secret.reveal()):
            raise _bad(
                "Câmpul client_secret conține caractere nepermise; copiază-l din nou din "
                "portalul ANAF.",
                "client_secret has characters that cannot be; copy it again from ANAF's portal",
            )
        if not _is_callback(redirect_uri):
            raise _bad(
                "Adresa de întoarcere trebuie să înceapă cu https:// și să fie exact cea "
                "înregistrată la ANAF.",
                "the callback address must begin with https:// and be exactly the one "
                "registered at ANAF",
            )
        with self._db.transaction() as connection:
            connection.execute(
                "REPLACE INTO application (id, client_id, redirect_uri, changed_at) "
                "VALUES (1, ?, ?, ?)",
                (client_id, redirect_uri, to_text(at)),
            )
            if secret is not None:
                self._db.put(
                    self._db.installation, Purpose.CLIENT_SECRET, secret.reveal().encode(), at=at
                )
            self._db.append("application:set", by, client_id, {}, at=at)

    def get(self) -> Application | None:
        """Return it, None when there is none or its secret does not open: to be entered (again)."""
        row = self._db.durable.execute("SELECT client_id, redirect_uri FROM application").fetchone()
        try:
            record = self._db.get(self._db.installation, Purpose.CLIENT_SECRET)
        except SealBroken:
            log.error("the application's client_secret does not open; it has to be entered again")
            record = None
        if row is None or record is None:
            return None
        return Application(row[0], Secret(record[0].decode()), row[1])

    def registered(self) -> Application:
        """Return it, or raise `BadInput` with the next step."""
        application = self.get()
        if application is None:
            raise _bad(
                "Aplicația nu este înregistrată; completează întâi client_id și client_secret "
                "de la ANAF.",
                "the application is not registered; enter ANAF's client_id and client_secret first",
            )
        return application


def _is_callback(uri: str) -> bool:
    if not PRINTABLE.fullmatch(uri) or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOCAL))


def _bad(ro: str, en: str) -> BadInput:
    return BadInput(Sentence(ro, en))

"""What the whole portal shares while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from litestar.connection import ASGIConnection

from appliance.config import Settings
from appliance.store import health
from appliance.store.engine import Store
from appliance.store.files import Archive
from appliance.web.auth.cookies import Cookies
from appliance.web.auth.host import Place
from appliance.web.auth.passwords import Passwords
from appliance.web.vault import Vault
from appliance.web.watching import Watches


@dataclass
class Portal:
    """One portal of one process; `store` is there between start and stop."""

    settings: Settings
    clock: Callable[[], datetime]
    passwords: Passwords
    place: Place = field(init=False)
    cookies: Cookies = field(init=False)
    archive: Archive = field(init=False)
    vault: Vault = field(init=False)
    watches: Watches[health.Health] = field(init=False)
    store: Store | None = None

    def __post_init__(self) -> None:
        self.place = Place(self.settings)
        self.cookies = Cookies(secure=self.place.secure)
        self.archive = Archive(self.settings.archive_dir)
        self.vault = Vault(self.settings.enrol_socket)
        self.watches = Watches(health.of_client, self.clock)

    @property
    def key(self) -> bytes:
        """The key of CSRF tokens and device cookies."""
        if self.store is None:
            raise RuntimeError("the portal has not been started")
        return self.store.portal_key()


def portal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Portal:
    """Return the portal that serves this request."""
    portal: Portal = connection.app.state.portal
    return portal

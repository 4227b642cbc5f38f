"""Refusals in the audit chain: what a neighbour asked for and did not get."""

from __future__ import annotations

import logging
from datetime import datetime

from appliance.core.errors import Busy
from appliance.vault.database import Database

log = logging.getLogger(__name__)

_A_MINUTE = 50


class Refusals:
    """Those of one socket, named `socket` in the chain.

    One record a minute for each kind of call, fifty in all: a neighbour that
    was taken over must not be able to fill the disk.
    """

    def __init__(self, database: Database, socket: str) -> None:
        self._db = database
        self._socket = socket
        self._minute = ""
        self._noted: set[str] = set()

    def note(self, reason: str, uid: int, call: str, *, cif: str = "", at: datetime) -> None:
        """Write it down, under `call:{reason}`; a full disk is no reason not to refuse."""
        minute = at.strftime("%H:%M")
        if self._minute != minute:
            self._minute, self._noted = minute, set()
        call = call[:120]
        key = f"{reason} {uid} {call}"
        if key in self._noted or len(self._noted) >= _A_MINUTE:
            return
        self._noted.add(key)
        log.warning("%s: refused (%s) for uid %d", self._socket, reason, uid)
        data = {"socket": self._socket, "call": call, "cif": cif}
        try:
            with self._db.transaction():
                self._db.append(f"call:{reason}", f"uid:{uid}", "", data, at=at)
        except Busy:
            log.error("%s: a refusal could not be written into the audit chain", self._socket)

"""Putting every record under the newest key: a record at a time, wherever it was cut off.

Each record is one transaction that changes it only as it was read, so a renewal
that comes in between wins, a kill loses nothing, and a second run has nothing
left to do. The bodies stay; 64 bytes of each record change (envelope.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from appliance.vault.database import Database
from appliance.vault.errors import SealBroken

BATCH = 200


@dataclass(frozen=True)
class Rewrapped:
    """`left` are the records that an older key still seals, those that do not open among them."""

    rewrapped: int
    left: int


async def rewrap(
    database: Database, now: Callable[[], datetime], *, at_most: int = BATCH
) -> Rewrapped:
    """Rewrap so many records; other work of the process gets its turn after each of them.

    A record that does not open stays as it is and is counted in `left`: when
    nothing was rewrapped, what is left will not be either.
    """
    outdated = database.outdated()
    rewrapped = 0
    for subject, purpose in outdated:
        if rewrapped == at_most:
            break
        try:
            rewrapped += database.rewrap(subject, purpose, at=now())
        except SealBroken:
            continue
        await asyncio.sleep(0)
    return Rewrapped(rewrapped, len(database.outdated()))

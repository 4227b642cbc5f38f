"""The day on which a device last came, noted behind the back of its requests.

The day is a courtesy to the person, who sees which password nobody uses. No
request waits for it, and none fails because the database is busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta

from appliance.core.errors import Busy
from appliance.core.times import BUCHAREST
from appliance.store import drive_passwords
from appliance.store.drive_passwords import DrivePassword

log = logging.getLogger(__name__)

AGAIN_AFTER = timedelta(minutes=5)


class LastUsed:
    """Writes a device's day once, and after a failure not again for five minutes."""

    def __init__(self) -> None:
        self._tried: dict[int, datetime] = {}
        self.waiting: list[asyncio.Task[None]] = []

    def note(self, device: DrivePassword, at: datetime) -> None:
        """See to it that today stands beside the device; returns at once."""
        today = at.astimezone(BUCHAREST).date().isoformat()
        if device.last_used_on == today:
            return
        tried = self._tried.get(device.id)
        # A clock that went back does not count as waiting.
        if tried is not None and timedelta(0) <= at - tried < AGAIN_AFTER:
            return
        self._tried[device.id] = at
        task = asyncio.create_task(self._write(device.id, today))
        self.waiting.append(task)
        task.add_done_callback(self.waiting.remove)

    async def close(self) -> None:
        """Give up what is not written yet; call it before the store closes."""
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)

    async def _write(self, device_id: int, day: str) -> None:
        try:
            with contextlib.suppress(Busy):
                await drive_passwords.note_use(device_id, day)
        except Exception:
            log.exception("drive: the day of a device could not be noted")

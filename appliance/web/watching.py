"""Many who look at the same fetching, and one who reads the database for them.

One task a process looks, at most once a second, at each client that somebody
watches, whoever and however many they are; it ends when nobody does. What it saw
is handed to all of them. What happened is in rows, so watchers of another process or
after a restart see the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from appliance.store import sessions
from appliance.store.engine import data_version
from appliance.web.auth.sessions import alive

logger = logging.getLogger(__name__)

T = TypeVar("T")

EVERY = 1.0  # seconds between two looks
# Nobody has written anything: what the clock alone changes may wait so many looks.
UNCHANGED = 10
HEARTBEAT = 15.0  # seconds of silence after which a watcher gets None
# Then the watcher comes again and is asked anew who it is and what it may see. Shorter
# than Hypercorn's read timeout, after which the connection would be cut off.
LIFE = 50.0


@dataclass
class _Watched(Generic[T]):
    """What is known of one client, and whose sessions look at it."""

    seen: T | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: Counter[str] = field(default_factory=Counter)

    def publish(self, seen: T) -> None:
        if seen != self.seen:
            self.seen = seen
            self.wake()

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class Watches(Generic[T]):
    """`look` says how it stands at a client; `clock` gives the time that it is asked with."""

    def __init__(
        self, look: Callable[[int, datetime], Awaitable[T]], clock: Callable[[], datetime]
    ) -> None:
        self._look, self._clock = look, clock
        self._clients: dict[int, _Watched[T]] = {}
        self._ended: set[str] = set()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._version, self._unchanged = -1, 0

    async def follow(self, client_id: int, session_hash: str) -> AsyncGenerator[T | None, None]:
        """Yield how it stands, again whenever that has changed, and None for each silence.

        Ends with the session (within a look), with the process, and after LIFE seconds.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + LIFE
        watched = self._clients.setdefault(client_id, _Watched())
        watched.watchers[session_hash] += 1
        self._version = -1  # somebody new: the next look is a whole one
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._watch(), name="watching")
        told: T | None = None
        try:
            while not self._closing and session_hash not in self._ended and loop.time() < ends:
                changed = watched.changed
                if watched.seen is not None and watched.seen is not told:
                    told = watched.seen
                    yield told
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(HEARTBEAT, max(ends - loop.time(), 0))):
                        await changed.wait()
                if not changed.is_set() and loop.time() < ends:
                    yield None
        finally:
            watched.watchers[session_hash] -= 1
            watched.watchers += Counter()  # drops what is zero
            if not watched.watchers and self._clients.get(client_id) is watched:
                del self._clients[client_id]

    def ended(self, session_hash: str) -> bool:
        """Tell whether a watcher was sent away because the session is over."""
        return session_hash in self._ended

    def close(self) -> None:
        """Send everybody away, for ever: the process stops."""
        self._closing = True
        for watched in self._clients.values():
            watched.wake()

    async def closed(self) -> None:
        """Close, and wait until nobody looks at the database any more."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while self._clients and not self._closing:
            try:
                await self._look_around()
            except Exception:
                # The database was busy, or is gone: those who look see the last and are told
                # the next time.
                logger.exception("looking at the fetching failed; it is tried again")
            await asyncio.sleep(EVERY)

    async def _look_around(self) -> None:
        at = self._clock()
        await self._end_sessions(at)
        version = data_version()
        self._unchanged += 1
        if version == self._version and self._unchanged < UNCHANGED:
            return
        self._version, self._unchanged = version, 0
        for client_id, watched in list(self._clients.items()):
            watched.publish(await self._look(client_id, at))

    async def _end_sessions(self, at: datetime) -> None:
        """Wake those whose session is over; they find themselves among the ended."""
        hashes = {one for watched in self._clients.values() for one in watched.watchers}
        found = await sessions.load_sessions(hashes)
        self._ended = {
            one
            for one in hashes
            if one not in found
            or not alive(
                found[one],
                auth_epoch=found[one].account_epoch,
                disabled=found[one].account_disabled,
                at=at,
            )
        }
        for watched in self._clients.values():
            if self._ended & watched.watchers.keys():
                watched.wake()

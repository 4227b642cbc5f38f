"""Sync without its processes: workers that fetch in an order and at a time that a test chooses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from appliance.config import Settings
from appliance.core.times import from_text
from appliance.store import clients, engine, ids, jobs, outages, runs
from appliance.store.files import Archive
from appliance.store.outages import Outage
from appliance.store.spool import Spool
from appliance.sync import filing, ingest, listing, schedule, spv, tasks
from appliance.sync.context import Context
from appliance.sync.rendering import Renderers
from appliance.sync.schedule import Housekeeping
from appliance.sync.service import KEEP_SECONDS, LEASE_SECONDS
from appliance.sync.spv import SpvClient, discard_partials
from tests.full.scripted import CIFS, PARTIES, Clock, Killed, Scripted, Socket
from tests.support.spv import signer

# Nobody sleeps for longer than this: the schedule is looked at again.
LONGEST_SLEEP = timedelta(hours=3)


def settings_of(place: Path) -> Settings:
    return Settings(
        data_dir=place,
        vault_dir=place / "vault",
        vault_key_file=place / "vault" / "kek",
        run_dir=place / "run",
    )


async def make_template(place: Path, at: datetime) -> dict[str, tuple[int, str]]:
    """Make a store with a firm and its three clients; return their ids and uids by CIF."""
    made = {}
    async with engine.open_store(settings_of(place), migrate=True):
        await clients.create_firm("Contabilitate Tismana SRL", at)
        for cif in CIFS:
            client_id = await clients.create_client(PARTIES[cif].name, [cif], at)
            made[cif] = (client_id, (await clients.by_id(client_id)).uid)
    return made


@contextmanager
def in_test_time(clock: Clock, seed: int = 7) -> Iterator[None]:
    """Let sync have this clock, sleep without waiting, and draw the same random numbers."""

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.ours().astimezone(tz)

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    async def in_this_thread(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return work(*arguments, **named)

    inline = SimpleNamespace(**{**vars(asyncio), "sleep": sleep, "to_thread": in_this_thread})
    drawn = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        for module in (tasks, listing, filing):
            patch.setattr(module, "datetime", Now)
        for module in (spv, filing, ingest, schedule):
            patch.setattr(module, "asyncio", inline)
        patch.setattr(ids, "secrets", SimpleNamespace(randbits=drawn.getrandbits))
        patch.setattr(tasks, "random", drawn)
        patch.setattr(schedule.logger, "exception", _fail)
        # Threads and TLS would only cost time: 2,000 runs are many.
        patch.setattr(engine.StoreEngine, "run", _run_here)
        patch.setattr(engine.StoreEngine, "_on_writer", _write_here)
        patch.setattr(httpx, "AsyncHTTPTransport", _nowhere)
        yield


_run = engine.StoreEngine.run


async def _run_here(
    self: engine.StoreEngine, statement: str, values: Sequence[Any] = ()
) -> list[engine.Row]:
    if self.in_own_transaction():
        return await _run(self, statement, values)
    return self.run_now(statement, values)


def _write_here(self: engine.StoreEngine, work: Callable[[], Any]) -> asyncio.Future[Any]:
    done = asyncio.get_running_loop().create_future()
    try:
        done.set_result(work())
    except Exception as error:
        done.set_exception(error)
    return done


def _fail(message: str, *arguments: object) -> None:
    """Housekeeping goes on whatever fails in it; here nothing may."""
    raise


def _nowhere(uds: str) -> httpx.AsyncBaseTransport:
    return httpx.AsyncBaseTransport()


class _Client(SpvClient):
    """The client of spv.sock, without a socket, in a process that may end after a download."""

    def __init__(self, scripted: Scripted, place: int) -> None:
        super().__init__(Path("none.sock"), "prod", place)
        self._scripted = scripted
        self._http = httpx.AsyncClient(transport=Socket(scripted), base_url="http://vault")

    async def download(self, cif: str, message_id: str, target: Path) -> None:
        await super().download(cif, message_id, target)
        _end_at("spooled", self._scripted)


class _Archive(Archive):
    """The archive, in a process that may end between the folder and its rows."""

    def __init__(self, root: Path, scripted: Scripted) -> None:
        super().__init__(root)
        self._scripted = scripted

    def write_document(self, *arguments: Any) -> dict[str, Any]:
        written = super().write_document(*arguments)
        _end_at("folder", self._scripted)
        return written

    def quarantine(self, *arguments: Any) -> None:
        super().quarantine(*arguments)
        _end_at("folder", self._scripted)


def _end_at(step: str, scripted: Scripted) -> None:
    if step in scripted.kill_at:
        scripted.kill_at.discard(step)
        raise Killed


class Sync:
    """Two workers, each as if in a process of its own, and the housekeeping."""

    def __init__(
        self, settings: Settings, scripted: Scripted, known: Mapping[str, tuple[int, str]]
    ) -> None:
        self.settings, self.anaf, self.clock, self.known = settings, scripted, scripted.clock, known
        self._frozen: list[asyncio.Task[None]] = []
        self._everyone: list[Context] = []
        settings.spool_dir.mkdir(exist_ok=True)
        self.restart()

    def _start(self, place: int) -> Context:
        """Start a process, as sync/service.py does."""
        discard_partials(self.settings.spool_dir, (place,))
        Spool(self.settings.spool_dir).make()
        context = Context(
            settings=self.settings,
            archive=_Archive(self.settings.archive_dir, self.anaf),
            spv=_Client(self.anaf, place),
            renderers=Renderers(0),
            pinned={signer().pinned.fingerprint: signer().pinned},
        )
        self._everyone.append(context)
        return context

    async def close(self) -> None:
        await self.thaw()
        for context in self._everyone:
            await context.spv.close()

    def restart(self) -> None:
        """Start both anew; what they had leased stays leased until its time."""
        self._workers = [self._start(place) for place in (1, 2)]
        self._kept_at = datetime.min.replace(tzinfo=UTC)
        self._house = Housekeeping(self.settings, self._workers[0].archive, self._workers[0].pinned)

    async def set_clock(self, skew: timedelta) -> None:
        """Set our clock; `service` notices when it was set back."""
        back = skew < self.clock.skew - timedelta(minutes=1)
        self.clock.skew = skew
        if back:
            await jobs.after_clock_change(self.clock.ours(), set_back=True)

    async def ask(self, cif: str) -> None:
        """Somebody presses the button."""
        await runs.begin(self.known[cif][0], None, self.clock.ours())

    async def thaw(self) -> None:
        """Let the workers that were frozen in a call go on to the end of their job."""
        self.anaf.thaw.set()
        await asyncio.gather(*self._frozen, return_exceptions=True)
        self._frozen.clear()
        self.anaf.thaw.clear()

    async def go_on(self, time: timedelta) -> None:
        """Work for so long, by the true clock."""
        end = self.clock.anaf + time
        # A turn and a sleep in less than 3 s, on average, would be a loop without a pause.
        for _ in range(int(100 + time.total_seconds() / 3)):
            await self._keep_house()
            worked = False
            for place in range(len(self._workers)):
                worked |= await self.turn(place)
            if self.clock.anaf >= end:
                return
            if not worked:
                await self._sleep(end)
        raise AssertionError(f"sync does not come to rest within {time}")

    async def _keep_house(self) -> None:
        """Do, no more than every 15 seconds, what sync/service.py does every 15 seconds."""
        at = self.clock.ours()
        if abs(at - self._kept_at) >= timedelta(seconds=KEEP_SECONDS):
            self._kept_at = at
            await jobs.sweep(at)
            await self._house.do(at)

    async def turn(self, place: int) -> bool:
        """Let a worker take a few jobs, as many as service.Lane would, and do them."""
        context, at = self._workers[place], self.clock.ours()
        if context.pause(at):
            return False
        lasting = await self._lasting()
        room = int(all(outages.due(outage, at) for outage in lasting)) if lasting else 3
        leased = await jobs.lease(room, at, LEASE_SECONDS, tasks.CALLING)
        for job in leased:
            if not await self._work(job.id, context):
                # What else was leased is lost with the process until the leases end.
                self._workers[place] = self._start(place + 1)
                break
        return bool(leased)

    async def _work(self, job_id: int, context: Context) -> bool:
        """Do the job; False when the worker froze or died over it."""
        self.anaf.stalled.clear()
        working = asyncio.create_task(tasks.run(job_id, context))
        stalled = asyncio.create_task(self.anaf.stalled.wait())
        await asyncio.wait([working, stalled], return_when=asyncio.FIRST_COMPLETED)
        stalled.cancel()
        if not working.done():
            self._frozen.append(working)
            return False
        try:
            working.result()
        except Killed:
            return False
        return True

    async def _lasting(self) -> list[Outage]:
        return [outage for host in outages.HOSTS if (outage := await outages.current(host))]

    async def _sleep(self, end: datetime) -> None:
        """Go to the next moment at which something may be due."""
        at = self.clock.ours()
        rows = await engine.fetch(
            "SELECT MIN(CASE state WHEN 'leased' THEN lease_until ELSE next_attempt_at END) "
            "AS next FROM job WHERE state IN ('queued', 'leased') AND kind IN ('list', 'message')"
        )
        wait = LONGEST_SLEEP
        if rows[0]["next"]:
            wait = min(wait, from_text(rows[0]["next"]) - at)
        # What is due may still have to wait: for ANAF's minute, or until it is asked again.
        for outage in await self._lasting():
            if not outages.due(outage, at):
                wait = max(wait, min(outage.next_try_at - at, LONGEST_SLEEP))
        wait = max(wait, min(context.pause(at) for context in self._workers))
        wait = min(
            max(wait, timedelta(seconds=1)), max(end - self.clock.anaf, timedelta(seconds=1))
        )
        self.clock.anaf += wait

"""The sync process: job rows in, Huey between, one event loop that does the work.

The main thread runs the event loop with the store, the SPV client and the
feeder; Huey's worker threads submit to it and wait, so as many jobs run at once
as there are workers. PDFs have a queue and workers of their own, so that a
rendering never delays a download.

On SIGTERM nothing new is taken; what runs may finish for a few seconds and is
given back after that; the day's decisions are written, and the process ends.
After `kill -9` the leases of what was running end within `LEASE_SECONDS` and
the sweeper queues it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huey.consumer import Consumer

from appliance.config import Settings
from appliance.core.errors import Busy
from appliance.store import decisions, jobs, mails, outages
from appliance.store.engine import open_store, transaction
from appliance.store.files import Archive
from appliance.store.jobs import Job
from appliance.store.pinned import pinned_certificates
from appliance.store.spool import Spool
from appliance.sync import queue, tasks
from appliance.sync.context import Context
from appliance.sync.rendering import Renderers
from appliance.sync.schedule import Housekeeping
from appliance.sync.spv import SpvClient, discard_partials
from appliance.sync.standing import Standing

logger = logging.getLogger(__name__)

FEED_SECONDS = 0.5
# What a killed process held is free a lease and a turn of keeping later: within a minute.
LEASE_SECONDS = 30
KEEP_SECONDS = 10  # a third of a lease: what runs is extended in time
_FED_SECONDS = LEASE_SECONDS / 2  # what waits longer behind others is given back in time
HOUSEKEEPING_SECONDS = 15
_CLOCK_SECONDS = 60  # what NTP corrects step by step is less
FINISH_SECONDS = 5  # what runs at SIGTERM has so long before it is given back
_JOIN_SECONDS = 10
# A few more than there are workers, so that none waits for the next turn.
_FED_PER_WORKER = 4


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    # Two lines for every job, and every PDF is a job.
    logging.getLogger("huey").setLevel(logging.WARNING)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_store(settings):
        place = queue.take_place(settings.queue_path)
        context = await _context(settings, place)
        lanes = [
            Lane("messages", ("list", "message"), settings.sync_workers, context, place.file),
            Lane("pdf", ("render", "proof"), settings.sync_pdf_workers, context, place.file),
            Lane("imports", ("import",), 1, context, place.file),
            Lane("evidence", ("reverify",), 1, context, place.file),
        ]
        if settings.mail_host:
            # Without one the mails wait, and are not tried in vain.
            lanes.append(Lane("mail", (mails.JOB,), 1, context, place.file))
        try:
            for lane in lanes:
                lane.start()
            logger.info("ready")
            await _until(stop, lanes, context)
        finally:
            await _end(lanes, context)
    logger.info("stopped")


async def _until(stop: asyncio.Event, lanes: Sequence[Lane], context: Context) -> None:
    """Keep everything going until asked to stop; whatever cannot go on takes the process along."""

    clock = _Clock()

    async def keep(at: datetime) -> None:
        await _keep(lanes, clock, at)

    house = Housekeeping(context.settings, context.archive, context.pinned)
    standing = Standing(context)
    running = [
        asyncio.create_task(stop.wait()),
        asyncio.create_task(_every(KEEP_SECONDS, keep)),
        asyncio.create_task(_every(HOUSEKEEPING_SECONDS, house.do)),
        asyncio.create_task(_every(HOUSEKEEPING_SECONDS, house.check_by_night)),
        asyncio.create_task(_every(HOUSEKEEPING_SECONDS, standing.watch)),
        *(asyncio.create_task(lane.feed()) for lane in lanes),
    ]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _every(seconds: float, work: Callable[[datetime], Awaitable[None]]) -> None:
    while True:
        try:
            await work(datetime.now(UTC))
        except Busy as busy:
            logger.warning("%s", busy)
        await asyncio.sleep(seconds)


class _Clock:
    """Notices that the wall clock was set back: what waits for its old time would wait too long."""

    def __init__(self) -> None:
        self._before: tuple[datetime, float] | None = None

    def changed(self, at: datetime, monotonic: float) -> bool | None:
        """Return whether the clock was set back since the last call; None for the first one."""
        before, self._before = self._before, (at, monotonic)
        if before is None:
            return None
        return (at - before[0]).total_seconds() < monotonic - before[1] - _CLOCK_SECONDS


async def _keep(lanes: Sequence[Lane], clock: _Clock, at: datetime) -> None:
    """Extend the leases of what runs, and queue again what nobody holds any more."""
    set_back = clock.changed(at, time.monotonic())
    if set_back is not False:
        early = await jobs.after_clock_change(at, set_back=bool(set_back))
        if early or set_back:
            logger.warning("the clock was set back; %d jobs are due now", early)
    held = [job_id for lane in lanes for job_id in lane.running]
    if held:
        async with transaction():
            for job_id in held:
                await jobs.extend(job_id, at, LEASE_SECONDS)
    for lane in lanes:
        for job_id in lane.check():
            await jobs.give_back(job_id, at)
    lost = await jobs.sweep(at)
    if lost:
        logger.info("%d jobs were begun and not ended; they are queued again", lost)


async def _end(lanes: Sequence[Lane], context: Context) -> None:
    for lane in lanes:
        lane.close()
    context.renderers.close()
    running = [task for lane in lanes for task in lane.running.values()]
    if running:
        await asyncio.wait(running, timeout=FINISH_SECONDS)
        for task in running:
            task.cancel()  # `tasks.run` gives the job back
        await asyncio.wait(running, timeout=FINISH_SECONDS)
    for lane in lanes:
        await asyncio.to_thread(lane.join)
    try:
        at = datetime.now(UTC)
        for lane in lanes:
            await lane.leased()
            for job_id in lane.fed:
                await jobs.give_back(job_id, at)
        await asyncio.to_thread(decisions.write_due, context.settings, at)
    except (Busy, OSError) as error:
        # The next start finds the leases run out, and writes the day's decisions.
        logger.warning("%s", error)
    await context.spv.close()


async def _context(settings: Settings, place: queue.Place) -> Context:
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    discard_partials(settings.spool_dir, (place.number, *place.left))
    Spool(settings.spool_dir).make()
    return Context(
        settings=settings,
        archive=Archive(settings.archive_dir),
        spv=SpvClient(settings.spv_socket, settings.spv_environment, place.number),
        renderers=Renderers(settings.sync_pdf_workers),
        pinned=pinned_certificates(settings.spv_extra_certificates),
    )


class _Consumer(Consumer):  # type: ignore[misc]  # Huey has no types
    """Workers without Huey's signal handlers: one process, two consumers, one who decides."""

    def _set_signal_handlers(self) -> None:
        pass


class Lane:
    """One Huey queue with its workers: which kinds of job it takes, and how many at once.

    Everything but `_run` and `_work` belongs to the event loop's thread.
    """

    def __init__(
        self, name: str, kinds: tuple[str, ...], workers: int, context: Context, queue_file: Path
    ) -> None:
        self.name = name
        self.kinds = kinds
        self.running: dict[int, asyncio.Task[Any]] = {}
        # Handed to Huey and not begun: since when.
        self.fed: dict[int, float] = {}
        self._workers = workers
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._leasing: asyncio.Task[list[Job]] | None = None
        self._room = asyncio.Event()
        self._closing = False
        huey = queue.open_queue(queue_file, name)

        @huey.task(name=queue.TASK_NAME)  # type: ignore[untyped-decorator]  # Huey has no types
        def run_job(job_id: int) -> None:
            asyncio.run_coroutine_threadsafe(self._run(job_id), self._loop).result()

        self._enqueue = run_job
        self._consumer = _Consumer(
            huey, workers=workers, periodic=False, initial_delay=0.02, max_delay=0.25
        )

    def start(self) -> None:
        self._consumer.start()

    async def feed(self) -> None:
        """Twice a second, and when there is room: lease what is due, hand its number to Huey."""
        while True:
            self._room.clear()
            try:
                wait = await self._feed_once(datetime.now(UTC))
            except Busy as busy:
                logger.warning("%s", busy)
                wait = FEED_SECONDS
            with contextlib.suppress(TimeoutError):
                # Not wait_for(): in Python 3.11 it swallows a cancellation that comes with its end.
                async with asyncio.timeout(wait):
                    await self._room.wait()

    async def _feed_once(self, at: datetime) -> float:
        """Feed and return how many seconds later there may be more."""
        room = self._workers * _FED_PER_WORKER - len(self.running) - len(self.fed)
        # Cut off between the commit and our noting it, nobody would give the jobs back.
        self._leasing = asyncio.create_task(self._lease(room, at))
        leased = await asyncio.shield(self._leasing)
        if leased:
            await asyncio.to_thread(self._hand_over, leased)
        paused = self._context.pause(at).total_seconds()
        return min(paused, FEED_SECONDS) if paused else FEED_SECONDS

    async def _lease(self, room: int, at: datetime) -> list[Job]:
        calling = [kind for kind in self.kinds if kind in tasks.CALLING]
        others = [kind for kind in self.kinds if kind not in tasks.CALLING]
        calls = await self._calls(at) if calling else None
        if calls is None:
            leased = await jobs.lease(room, at, LEASE_SECONDS, self.kinds)
        else:
            leased = await jobs.lease(min(room, calls), at, LEASE_SECONDS, calling)
            leased += await jobs.lease(room - len(leased), at, LEASE_SECONDS, others)
        since = time.monotonic()
        self.fed.update((job.id, since) for job in leased)
        return leased

    async def _calls(self, at: datetime) -> int | None:
        """Return how many jobs that call may be begun: None for any number, one in an outage."""
        if self._context.pause(at):
            return 0
        lasting = [outage for host in outages.HOSTS if (outage := await outages.current(host))]
        if not lasting:
            return None
        return int(all(outages.due(outage, at) for outage in lasting))

    async def leased(self) -> None:
        """Wait until everything that was leased is noted."""
        if self._leasing is not None:
            await asyncio.wait([self._leasing])

    def _hand_over(self, leased: Sequence[Job]) -> None:
        for job in leased:
            self._enqueue(job.id, priority=job.priority)

    async def _run(self, job_id: int) -> None:
        if self._closing:
            return
        self.fed.pop(job_id, None)
        if job_id in self.running:
            return  # its lease ran out and was ours again: what runs goes on
        task = asyncio.current_task()
        assert task is not None
        self.running[job_id] = task
        try:
            await tasks.run(job_id, self._context)
        finally:
            del self.running[job_id]
            if len(self.fed) <= self._workers:
                self._room.set()

    def check(self) -> list[int]:
        """Start workers again that died, and return what is to be given back.

        Behind jobs that take long, and of what Huey lost, a lease would run out and count
        as an attempt that nobody made. One that has run out may be another process's.
        """
        self._consumer.check_worker_health()
        now = time.monotonic()
        waited = {job_id: now - since for job_id, since in self.fed.items()}
        self.fed = {j: since for j, since in self.fed.items() if waited[j] < _FED_SECONDS}
        return [j for j, seconds in waited.items() if _FED_SECONDS <= seconds < LEASE_SECONDS]

    def close(self) -> None:
        """Take nothing more; what runs goes on."""
        self._closing = True
        self._consumer.stop(graceful=False)

    def join(self) -> None:
        """Wait until the workers have ended. Not in the event loop's thread: they need it."""
        self._consumer.shutdown_timeout = _JOIN_SECONDS
        self._consumer.stop(graceful=True)

"""The sync process: job rows in, Huey between, one event loop that does the work.

The main thread waits for a signal. One thread runs the event loop with the
store, the SPV client and the feeder; Huey's worker threads submit to it and
wait, so as many jobs run at once as there are workers. PDFs have a queue and
workers of their own, so that a rendering never delays a download.

On SIGTERM nothing new is taken, what runs is finished, the day's decisions are
written, and the process ends. After `kill -9` the leases of what was running
end within `LEASE_SECONDS` and the sweeper queues it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from huey import SqliteHuey

from appliance.config import Settings
from appliance.store import decisions, jobs
from appliance.store.engine import open_store
from appliance.store.files import Archive
from appliance.sync import queue, schedule, tasks
from appliance.sync.rendering import Renderers
from appliance.sync.spv import SpvClient

logger = logging.getLogger(__name__)

FEED_SECONDS = 0.5
LEASE_SECONDS = 45
HOUSEKEEPING_SECONDS = 15  # a third of a lease: what runs is extended in time


@dataclass
class _Lane:
    """One Huey queue: which kinds of job it takes and how many at once."""

    name: str
    kinds: tuple[str, ...]
    workers: int
    huey: SqliteHuey = field(init=False)
    in_flight: set[int] = field(default_factory=set)


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="event-loop", daemon=True)
    thread.start()
    try:
        _run(settings, loop, stop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def _run(settings: Settings, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
    def on_loop(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    exit_stack = contextlib.AsyncExitStack()
    on_loop(exit_stack.enter_async_context(open_store(settings)))
    context = on_loop(_context(settings))
    lanes = [
        _Lane("messages", ("list", "message"), settings.sync_workers),
        _Lane("pdf", ("render",), settings.sync_pdf_workers),
    ]
    consumers = [_consumer(lane, context, settings, on_loop) for lane in lanes]
    for consumer in consumers:
        consumer.start()
    # Huey's consumers set handlers of their own; ours decide when this process ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    feeder = asyncio.run_coroutine_threadsafe(_feed(lanes, context), loop)
    logger.info("ready")
    try:
        while not stop.wait(1):
            if feeder.done():
                feeder.result()  # a feeder that died takes the process along; it is started again
    finally:
        feeder.cancel()
        for consumer in consumers:
            consumer.stop(graceful=False)
        context.renderers.close()
        for consumer in consumers:
            consumer.stop(graceful=True)
        on_loop(_give_back(lanes))
        decisions.write_due(settings, datetime.now(UTC))
        on_loop(context.spv.close())
        on_loop(exit_stack.aclose())
    logger.info("stopped")


async def _context(settings: Settings) -> tasks.Context:
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    return tasks.Context(
        settings=settings,
        archive=Archive(settings.archive_dir),
        spv=SpvClient(settings.spv_socket, settings.spv_environment),
        renderers=Renderers(settings.sync_pdf_workers),
    )


def _consumer(lane: _Lane, context: tasks.Context, settings: Settings, on_loop: Any) -> Any:
    lane.huey = queue.open_queue(settings.queue_path, lane.name)
    # What an earlier process left here is leased and will be fed again.
    lane.huey.flush()

    @lane.huey.task(name=queue.TASK_NAME)  # type: ignore[untyped-decorator]  # Huey has no types
    def run_job(job_id: int) -> None:
        try:
            on_loop(tasks.run(job_id, context))
        finally:
            lane.in_flight.discard(job_id)

    lane.huey.run_job = run_job
    return lane.huey.create_consumer(
        workers=lane.workers,
        periodic=False,
        initial_delay=0.05,
        max_delay=0.3,
        check_worker_health=True,
        graceful_signal="TERM",
    )


async def _feed(lanes: list[_Lane], context: tasks.Context) -> None:
    """Twice a second: lease what is due and hand its number to Huey; keep what runs leased."""
    next_housekeeping = datetime.min.replace(tzinfo=UTC)
    while True:
        at = datetime.now(UTC)
        if at >= next_housekeeping:
            next_housekeeping = at + timedelta(seconds=HOUSEKEEPING_SECONDS)
            for job_id in [job_id for lane in lanes for job_id in lane.in_flight]:
                await jobs.extend(job_id, at, LEASE_SECONDS)
            await jobs.sweep(at)
            await schedule.queue_due_lists(context.settings, at)
            await schedule.write_decisions(context.settings, at)
            await asyncio.to_thread(context.archive.sweep, at)
        for lane in lanes:
            # A few more than there are workers, so that none waits for the next turn.
            room = lane.workers * 4 - len(lane.in_flight)
            if room <= 0:
                continue
            for job in await jobs.lease(room, at, LEASE_SECONDS, lane.kinds):
                lane.in_flight.add(job.id)
                lane.huey.run_job(job.id, priority=job.priority)
        await asyncio.sleep(FEED_SECONDS)


async def _give_back(lanes: list[_Lane]) -> None:
    """Queue again what was leased and not begun, so that the next start finds it at once."""
    at = datetime.now(UTC)
    for lane in lanes:
        for job_id in list(lane.in_flight):
            await jobs.give_back(job_id, at)

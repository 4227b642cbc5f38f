"""What sync does unasked: list every client daily, write decisions, tidy and check the archive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime, timedelta
from functools import partial

from appliance.config import Settings
from appliance.core.certificates import PINNED, PinnedCertificate
from appliance.core.slots import last_slot
from appliance.core.times import BUCHAREST
from appliance.store import (
    certificates,
    decisions,
    fetching,
    imports,
    jobs,
    mails,
    radar,
    runs,
    sessions,
    throttle,
    verify,
)
from appliance.store.check_problems import Problem
from appliance.store.files import Archive
from appliance.sync import filing

logger = logging.getLogger(__name__)

SESSIONS_KEPT = timedelta(days=30)  # all are over after 12 hours; the list of them stays a while
CHECK_FROM, CHECK_UNTIL = 3, 6  # hours in Romania, when nobody works


class Housekeeping:
    """What is due by the clock; remembers the days of the last tidying and the last check."""

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        pinned: Mapping[str, PinnedCertificate] = PINNED,
    ) -> None:
        self._settings = settings
        self._archive = archive
        self._pinned = pinned
        self._tidied: date | None = None
        # Not at every start: a restart by day should not read the whole archive.
        self._checked: date | None = None

    async def do(self, at: datetime) -> None:
        """Do what is due; called every few seconds, and it never raises.

        Whatever fails here is tried again the next time and does not stop the fetching.
        """
        for work in (
            queue_due_lists(self._settings, at),
            runs.finish_due(at),
            _watch_radar(at),
            self._tidy(at),
        ):
            try:
                await work
            except Exception:
                logger.exception("housekeeping failed; it is tried again")

    async def _tidy(self, at: datetime) -> None:
        """After every start and every midnight: decisions written, what is over forgotten."""
        today = at.astimezone(BUCHAREST).date()
        if self._tidied == today:
            return
        await asyncio.to_thread(decisions.write_due, self._settings, at)
        # An upgrade may have brought certificates that documents were filed before.
        await certificates.queue_reverify(self._pinned, at)
        await throttle.sweep(at)
        await sessions.delete_seen_before(at - SESSIONS_KEPT)
        await mails.sweep(at)
        if abandoned := await imports.end_abandoned(at):
            logger.info("%d imports ended, whose hand-in was cut off a day ago", abandoned)
        # It looks at every folder's name, which takes a while in a large archive.
        for path in await asyncio.to_thread(self._archive.sweep, at):
            logger.info("removed %s, left by an interrupted write", path.name)
        for path in await filing.sweep_spool(self._settings.spool_dir):
            logger.info("removed %s, whose message is settled", path.name)
        self._tidied = today

    async def check_by_night(self, at: datetime) -> None:
        """By night compare rows and files, and hash the part of the bytes whose night it is.

        Every file is hashed once in 28 nights. Each problem is an error in the
        log; nothing is changed. Cancelled, it stops at once.
        """
        local = at.astimezone(BUCHAREST)
        if self._checked == local.date() or not CHECK_FROM <= local.hour < CHECK_UNTIL:
            return
        part = local.date().toordinal() % 28
        self._checked = local.date()
        try:
            check = partial(verify.check, self._settings, at=at, part=part)
            problems = await _in_own_process(check)
        except Exception:
            # The fetching does not stop for it, and the next night looks again.
            logger.exception("the check of part %d of 28 failed", part)
            return
        for problem in problems:
            logger.error("check: %s: %s", problem.kind, problem.sentence)
        logger.info("check of part %d of 28: %d problems", part, len(problems))


async def _watch_radar(at: datetime) -> None:
    if raised := await radar.watch(at):
        logger.error(
            "not in the archive and near the end of their 60 days at ANAF: %d; "
            "the portal's page /spv names clients, days and reasons",
            raised,
        )


async def _in_own_process(work: Callable[[], list[Problem]]) -> list[Problem]:
    """Run what takes long in a process that ends with the wait for it; a thread could not."""
    loop = asyncio.get_running_loop()
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    pid = 0
    try:
        pid = await loop.run_in_executor(pool, os.getpid)
        return await loop.run_in_executor(pool, work)
    finally:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pool.shutdown(wait=False, cancel_futures=True)


async def queue_due_lists(settings: Settings, at: datetime) -> None:
    """Queue a list job for every client that was not listed since its last moment.

    A client that was never listed is due at once. A second call finds the job
    and adds none; one that waits goes on waiting.
    """
    for client in await fetching.candidates(at):
        every_hours = client.every_hours or settings.sync_fetch_every_hours
        if client.asked_at is None or client.asked_at < last_slot(client.uid, every_hours, at):
            await jobs.insert("list", client.uid, at, client_id=client.client_id)

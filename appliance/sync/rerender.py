"""`arhivar rerender`: ask for PDFs again, and watch until they are made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from appliance.config import Settings
from appliance.store import clients, jobs, pdfs
from appliance.store.engine import open_store
from appliance.sync.fetch import say_parked

POLL_SECONDS = 2.0
_LOOKING = 0.05  # of the time goes into counting, at the most: of a million it takes 0.15 s
# One PDF takes three minutes at most (sync.rendering); then sync is not running.
PATIENCE_SECONDS = 200


async def rerender(
    settings: Settings, cif: str | None, *, everything: bool, wait: bool = True
) -> int:
    """Ask for all PDFs again, for those of one client, or for those that are missing.

    The asking is done in short transactions and goes on where it was broken
    off. 0: all were made, or are asked for when nobody waits. 1: some were set
    aside, with the reason printed, or nothing moves. Interrupting stops the
    watching, not the work.
    """
    console = Console()
    async with open_store(settings):
        at = datetime.now(UTC)
        client = await clients.named(cif) if cif is not None else None
        if client is not None:
            steps = pdfs.everything(client.id, at)
        else:
            steps = pdfs.everything(None, at) if everything else pdfs.missing(at)
        with _progress(console) as progress:
            asked = await _ask(progress, steps)
            stalled = await _watch(progress) if wait else False
        console.print(f"{asked} PDFs asked for")
        parked = wait and await say_parked(console, {client.id} if client else None)
        if stalled:
            console.print("sync does not take the work; is `arhivar sync` running?")
        return int(stalled or parked)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    return Progress(*columns, console=console)


async def _ask(progress: Progress, steps: AsyncIterator[pdfs.Progress]) -> int:
    bar, asked, first = progress.add_task("looked at", total=None), 0, None
    async for step in steps:
        if first is None:
            first = step.seen
            if first:
                progress.console.print("going on where it was broken off")
        asked = step.asked
        progress.update(bar, completed=step.seen, total=step.last)
    return asked


async def _watch(progress: Progress) -> bool:
    """Show how many PDFs are left; True when it stopped moving."""
    most = left = await jobs.waiting("render")
    bar, still, pause = progress.add_task("PDF", total=most or None), 0.0, POLL_SECONDS
    while left:
        progress.update(bar, completed=most - left, total=most)
        await asyncio.sleep(pause)
        began, before, left = time.monotonic(), left, await jobs.waiting("render")
        most = max(most, left)
        still = still + pause if left == before else 0.0
        pause = max(POLL_SECONDS, (time.monotonic() - began) / _LOOKING)
        if still >= PATIENCE_SECONDS and not await jobs.at_work(["render"], datetime.now(UTC)):
            return True
    progress.update(bar, completed=most, total=most or None)
    return False

"""`arhivar fetch`: ask sync for the newest from SPV, and watch until it is settled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from appliance.config import Settings
from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.store import clients, jobs, messages
from appliance.store.clients import ClientRow
from appliance.store.engine import open_store
from appliance.store.messages import MessageState

POLL_SECONDS = 0.5
# Somebody asked and looks on: before what runs by night.
PRIORITY = 10
# sync takes a job within a second; a killed one leaves leases that end within a minute. When
# nothing moves for longer than both it is not running.
PATIENCE_SECONDS = 75
# What waits no longer than that (ANAF's minute, a first retry) is waited for.
SHORT_WAIT_SECONDS = 65


async def fetch_and_watch(settings: Settings, cif: str | None) -> int:
    """Queue a listing of the client (or of all) and return when nothing of it is on its way.

    0: everything listed is archived or filed. 1: something waits or was
    refused; the reasons were printed. Interrupting stops the watching, not
    the fetching.
    """
    console = Console()
    async with open_store(settings):
        chosen = await _chosen(cif)
        at = datetime.now(UTC)
        for client in chosen:
            await jobs.insert("list", client.uid, at, priority=PRIORITY)
        stalled = await _watch(console, chosen)
        return await _report(console, chosen, stalled)


async def _chosen(cif: str | None) -> list[ClientRow]:
    if cif is None:
        return await clients.all_clients()
    client = await clients.by_identifier(cif)
    if client is None:
        raise NotFound(
            Sentence(
                f"Niciun client nu are CIF-ul {cif}. Verifică-l în portal.",
                f"no client has the CIF {cif}; check it in the portal",
            )
        )
    return [client]


async def _watch(console: Console, chosen: list[ClientRow]) -> bool:
    """Show the progress; True when it stopped moving although jobs are due."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar_of = {client.id: progress.add_task(client.name, total=None) for client in chosen}
        pdf_bar = progress.add_task("PDF", total=None, visible=False)
        most_pdfs = 0
        settled_before, before, unmoved, still = None, None, 0.0, 0.0
        while True:
            now = []
            for client in chosen:
                states = await messages.progress(client.id)
                total = sum(states.values())
                settled = total - states[MessageState.QUEUED]
                progress.update(bar_of[client.id], completed=settled, total=total or None)
                now.append((settled, total))
            pdfs = await jobs.waiting("render")
            most_pdfs = max(most_pdfs, pdfs)
            progress.update(
                pdf_bar,
                completed=most_pdfs - pdfs,
                total=most_pdfs or None,
                visible=most_pdfs > 0,
            )
            at = datetime.now(UTC)
            due = await jobs.due(at)
            soon = await jobs.due(at + timedelta(seconds=SHORT_WAIT_SECONDS))
            progress_made, state = (now, pdfs), (now, pdfs, due, soon)
            unmoved = 0.0 if progress_made != settled_before else unmoved + POLL_SECONDS
            still = 0.0 if state != before else still + POLL_SECONDS
            if soon == 0 or (due == 0 and unmoved >= SHORT_WAIT_SECONDS):
                return False
            if due and still >= PATIENCE_SECONDS:
                return True
            settled_before, before = progress_made, state
            await asyncio.sleep(POLL_SECONDS)


async def _report(console: Console, chosen: list[ClientRow], stalled: bool) -> int:
    states_of = {client.id: await messages.progress(client.id) for client in chosen}
    columns = [
        state
        for state in _COLUMNS
        if state is MessageState.ARCHIVED or any(states[state] for states in states_of.values())
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("client")
    for state in columns:
        table.add_column(state.replace("_", " "), justify="right", no_wrap=True)
    for client in chosen:
        table.add_row(client.name, *(str(states_of[client.id][state]) for state in columns))
    trouble = stalled or any(states[state] for states in states_of.values() for state in _TROUBLE)
    console.print(table)
    for client in chosen:
        listing = await jobs.latest("list", client.uid)
        if listing is not None and listing.problem is not None:
            trouble = True
            console.print(f"{client.name}: {listing.problem}")
        for state in _TROUBLE:
            for message in await messages.in_state(state, client.id):
                console.print(f"{client.name}, message {message.message_id}: "
                              f"{message.problem or state}")  # fmt: skip
    for job in await jobs.parked():
        if job.kind == "render":
            trouble = True
            console.print(f"PDF of {job.object_uid}: {job.problem}")
    if stalled:
        console.print("sync does not take the work; is `arhivar sync` running?")
    return int(trouble)


_COLUMNS = (
    MessageState.ARCHIVED,
    MessageState.NOTICE,
    MessageState.QUEUED,
    MessageState.EXPIRED,
    MessageState.NOT_ALLOWED,
    MessageState.QUARANTINED,
)
_TROUBLE = _COLUMNS[2:]

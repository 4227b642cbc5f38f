"""`arhivar fetch`: ask sync for the newest from SPV, watch, and say how every message ended."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from appliance.config import Settings
from appliance.core import cif as cifs
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST
from appliance.store import clients, jobs, messages, outages, pdfs, runs
from appliance.store.clients import ClientRow
from appliance.store.engine import open_store
from appliance.store.messages import MessageState
from appliance.store.runs import Progress

POLL_SECONDS = 0.5
_LOOKING = 0.2  # of the time, at the most: a look at 500 clients takes half a second
# sync takes a job within a second; a killed one leaves leases that end within a minute. When
# nothing moves for longer than both it is not running.
PATIENCE_SECONDS = 75
# What waits no longer than that (ANAF's minute, a first retry) is waited for.
SHORT_WAIT_SECONDS = 65
# What ended badly is told as long as ANAF may still be asked about it.
TOLD = timedelta(days=60)
_KINDS = ("list", "message", "render")
_SHOWN = 20  # messages of a client and state, on a terminal; elsewhere all
_MANY_CLIENTS = 30  # from here on those without news are only counted


@dataclass
class Watched:
    """A client, and how far its run was when it was last looked at."""

    client: ClientRow
    progress: Progress


async def fetch_and_watch(settings: Settings, cif: str | None) -> int:
    """Fetch the client (or all) and return when nothing of it is on its way.

    0: everything listed is archived or filed. 1: something waits or was
    refused; every such message was printed with its reason and next attempt.
    A fetching that is under way is joined. Interrupting stops the watching,
    not the fetching.
    """
    console = Console()
    async with open_store(settings):
        watched = []
        for client in await _chosen(cif, console):
            at = datetime.now(UTC)
            await runs.begin(client.id, None, at)
            progress = await runs.progress(client.id, at)
            assert progress is not None
            watched.append(Watched(client, progress))
        stalled = await _watch(console, watched)
        return await _report(console, watched, stalled)


async def _chosen(cif: str | None, console: Console) -> list[ClientRow]:
    if cif is None:
        everyone = await clients.all_clients()
        owners = await clients.all_identifiers()
        with_cui = {owner for value, owner in owners.items() if cifs.scheme(value) == "cui"}
        for client in everyone:
            if client.id not in with_cui:
                _say(console, f"{client.name}: has no CUI, so SPV cannot be asked for it")
        return [client for client in everyone if client.id in with_cui]
    return [await clients.named(cif)]


async def _watch(console: Console, watched: Sequence[Watched]) -> bool:
    """Show the progress; True when it stopped moving although jobs are due."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    name = watched[0].client.name if len(watched) == 1 else f"{len(watched)} clients"
    since = min((each.progress.run.started_at for each in watched), default=datetime.now(UTC))
    ids = [each.client.id for each in watched]
    with Bars(*columns, console=console) as bars:
        lists = bars.add_task(f"{name}: lists", total=len(watched))
        filed = bars.add_task("messages", total=None)
        drawn = bars.add_task("PDF", total=None, visible=False)
        before, moved, most_pdfs, told = None, time.monotonic(), 0, ""
        while True:
            at, began = datetime.now(UTC), time.monotonic()
            for each in watched:
                if not each.progress.ended:
                    each.progress = await runs.progress(each.client.id, at) or each.progress
            pdfs = await runs.renders_waiting(ids, since)
            most_pdfs = max(most_pdfs, pdfs)
            read = sum(p.run.listed_at is not None or p.ended for p in _progress(watched))
            settled = sum(progress.settled for progress in _progress(watched))
            total = sum(progress.total for progress in _progress(watched))
            bars.update(lists, completed=read)
            bars.update(filed, completed=settled, total=total or None)
            bars.update(
                drawn,
                completed=most_pdfs - pdfs,
                total=most_pdfs or None,
                visible=most_pdfs > 0,
            )
            down = await _outage(at)
            if down and down != told:
                _say(bars.console, down)
                told = down
            if (now := (read, settled, total, pdfs)) != before:
                before, moved = now, time.monotonic()
            if not pdfs and all(progress.ended for progress in _progress(watched)):
                return False
            unmoved = time.monotonic() - moved
            if unmoved >= SHORT_WAIT_SECONDS and (down or not await jobs.moving(_KINDS, at)):
                return False
            if unmoved >= PATIENCE_SECONDS and not await jobs.at_work(_KINDS, at):
                return True
            await asyncio.sleep(max(POLL_SECONDS, (time.monotonic() - began) / _LOOKING))


def _progress(watched: Sequence[Watched]) -> Iterator[Progress]:
    return (each.progress for each in watched)


async def _held(at: datetime) -> datetime:
    """Return before when nothing is tried: a host that is silent is asked one call at a time."""
    found = [await outages.current(host) for host in outages.HOSTS]
    return max((outage.next_try_at for outage in found if outage), default=at)


async def _outage(at: datetime) -> str:
    for host in outages.HOSTS:
        outage = await outages.current(host)
        if outage is not None:
            return str(outages.sentence(outage, at))
    return ""


# What is said at the end


async def _report(console: Console, watched: Sequence[Watched], stalled: bool) -> int:
    at = datetime.now(UTC)
    states_of = {each.client.id: await messages.progress(each.client.id) for each in watched}
    _table(console, watched, states_of)
    trouble, held = stalled, await _held(at)
    for each in watched:
        trouble |= await _said_of(console, each, states_of[each.client.id], at, held)
    trouble |= await say_parked(console, {each.client.id for each in watched})
    since = min((p.run.started_at for p in _progress(watched)), default=at)
    if missing := await runs.renders_waiting([each.client.id for each in watched], since):
        _say(console, f"{missing} documents have no PDF yet; sync makes them in their turn")
    if stalled:
        _say(console, "sync does not take the work; is `arhivar sync` running?")
    return int(trouble)


async def say_parked(console: Console, client_ids: Collection[int] | None) -> bool:
    """Say of which documents (of these clients, None: of all) no PDF can be made; True if any."""
    why: dict[tuple[str, str], list[str]] = defaultdict(list)
    for uid, problem in await pdfs.parked(client_ids):
        why["", str(problem or "")].append(uid)
    for line in _told(console, "no PDF", why, noun="document"):
        _say(console, line)
    return bool(why)


def _table(
    console: Console,
    watched: Sequence[Watched],
    states_of: Mapping[int, Mapping[MessageState, int]],
) -> None:
    """Print a line for each client: what the list held, and where all messages ever listed are."""
    columns = [
        state
        for state in _COLUMNS
        if state is MessageState.ARCHIVED or any(states[state] for states in states_of.values())
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("client")
    for heading in ("listed", "new", *(state.replace("_", " ") for state in columns)):
        table.add_column(heading, justify="right", no_wrap=True)
    quiet = 0
    for each in watched:
        run, states = each.progress.run, states_of[each.client.id]
        silent = not (run.new or run.problem or states[MessageState.QUEUED])
        if silent and len(watched) > _MANY_CLIENTS:
            quiet += 1
            continue
        listed = [str(run.listed), str(run.new)] if run.listed_at else ["–", "–"]
        table.add_row(
            # Not markup: a name may hold brackets.
            each.client.name.replace("[", r"\["),
            *listed,
            *(str(states[state]) for state in columns),
        )
    console.print(table)
    if quiet:
        _say(console, f"{quiet} clients more, with nothing new")


async def _said_of(
    console: Console,
    each: Watched,
    states: Mapping[MessageState, int],
    at: datetime,
    held: datetime,
) -> bool:
    """Say what waits or ended badly at the client, each message with its reason; True if any."""
    client, progress = each.client, each.progress
    told: list[str] = []
    problem, again = progress.run.problem, None
    if progress.run.listed_at is None:
        not_read = Sentence("Lista nu a fost citită încă.", "it has not been read yet")
        problem, again = progress.problem or problem or not_read, progress.next_attempt_at
    if problem is not None:
        told.append(f"  list{_next(again, at, held)}: {problem}")
    if states[MessageState.QUEUED]:
        why: dict[tuple[str, str], list[str]] = defaultdict(list)
        for waiting in await messages.waiting(client.id, limit=100_000):
            reason = str(waiting.problem) if waiting.problem else "its turn has not come yet"
            why[_next(waiting.next_attempt_at, at, held), reason].append(waiting.message.message_id)
        told += _told(console, "queued", why)
    for state in _ENDED_BADLY:
        if states[state]:
            why = defaultdict(list)
            for message in await messages.in_state(state, client.id, settled_since=at - TOLD):
                why["", str(message.problem or "")].append(message.message_id)
            told += _told(console, state.replace("_", " "), why)
    for line in (client.name, *told) if told else ():
        _say(console, line)
    return bool(told)


def _told(
    console: Console, what: str, why: Mapping[tuple[str, str], Sequence[str]], noun: str = "message"
) -> Iterator[str]:
    """Say each reason once, and of which messages: on a terminal the first ones, elsewhere all."""
    most = _SHOWN if console.is_terminal else sum(map(len, why.values()))
    for number, ((again, reason), ids) in enumerate(why.items()):
        if number == most:
            left = sum(map(len, list(why.values())[number:]))
            yield f"  {what}: {left} more, each for a reason of its own"
            return
        of = f"{noun} {ids[0]}" if len(ids) == 1 else f"{len(ids)} {noun}s"
        yield f"  {what}, {of}{again}: {reason}"
        if len(ids) > 1:
            more = f" and {len(ids) - most} more" if len(ids) > most else ""
            yield f"    {', '.join(ids[:most])}{more}"


def _next(moment: datetime | None, at: datetime, held: datetime) -> str:
    if moment is None:
        return ""
    moment = max(moment, held)
    if moment <= at:
        return ", next attempt now"
    local, today = moment.astimezone(BUCHAREST), at.astimezone(BUCHAREST).date()
    day = "" if local.date() == today else f"{local:%d.%m.%Y} "
    return f", next attempt {day}{local:%H:%M}"


def _say(console: Console, text: str) -> None:
    # Names and ANAF's texts may hold what Rich would take for markup.
    console.print(text, markup=False, highlight=False, soft_wrap=True)


_COLUMNS = (
    MessageState.ARCHIVED,
    MessageState.NOTICE,
    MessageState.QUEUED,
    MessageState.EXPIRED,
    MessageState.NOT_ALLOWED,
    MessageState.QUARANTINED,
)
_ENDED_BADLY = _COLUMNS[3:]

"""`arhivar import`: hand in a folder or zip of an earlier tool, and watch what becomes of it.

The command copies what is worth importing into the spool and says so in rows;
sync files it. Interrupted, what was handed in is filed all the same; handing
the folder in again is safe and ends in duplicates.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from appliance.config import Settings
from appliance.core import anaf_zip
from appliance.core.earlier import ABOUT_LIMIT, About, Part, group, read_about
from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import Status
from appliance.core.sentence import Sentence
from appliance.store import clients, imports, jobs
from appliance.store.engine import open_store
from appliance.store.ids import new_uid
from appliance.store.imports import ItemState, NewItem, Run
from appliance.store.spool import UPLOAD_LIMIT, Spool

POLL_SECONDS = 0.5
# sync takes a job within a second; nothing settled for so long means that it is not running.
PATIENCE_SECONDS = 75
_AT_ONCE = 50
_LINES_SHOWN = 50


async def import_and_watch(
    settings: Settings, path: Path, cif: str | None, status: Status, language: str
) -> int:
    """Hand in everything below `path` and return when all of it is settled.

    0: every file is archived, a notice or was there already. 1: some were
    refused, and the reasons were printed, or sync does not run. Raises `NotFound`
    when no client has the CIF or there is no such path.
    """
    console = Console()
    async with open_store(settings):
        client_id = await _client(cif)
        places = await asyncio.to_thread(_places, path)
        at = datetime.now(UTC)
        run = await imports.begin(path.resolve().name or str(path), status, at, client_id=client_id)
        await hand_in(run, places, Spool(settings.spool_dir))
        stalled = await _watch(console, run)
        return await _report(console, run, stalled, language)


class Places:
    """What lies below a path: the parts to import, each with where its files are."""

    def __init__(self, root: Path, parts: tuple[Part, ...], ignored: int) -> None:
        self.root = root
        self.parts = parts
        self.ignored = ignored


def _places(path: Path) -> Places:
    if path.is_dir():
        found = group(_files(path))
        return Places(path, found.parts, found.ignored)
    if not path.is_file():
        raise NotFound(
            Sentence(
                f"{path} nu există sau nu poate fi citit. Verifică numele și drepturile.",
                f"{path} does not exist or cannot be read; check its name and permissions",
            )
        )
    # A document alone still has its signature beside it.
    beside = group(name for name in _files(path.parent, deep=False))
    chosen = tuple(part for part in beside.parts if part.name == path.name)
    return Places(path.parent, chosen or (Part(path.name),), 0)


def _files(folder: Path, *, deep: bool = True) -> Iterator[str]:
    """Yield the regular files below the folder, `/` between names; no link is followed."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        if not deep:
            folders.clear()
        for name in sorted(files):
            path = Path(place) / name
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix()


async def hand_in(run: Run, places: Places, spool: Spool) -> None:
    """Copy the parts into the spool and add them to the run; what cannot be read is refused."""
    remaining = iter(places.parts)
    while some := list(islice(remaining, _AT_ONCE)):
        items = await asyncio.to_thread(_spooled, places.root, some, spool)
        await imports.add(run, items, datetime.now(UTC))
    await imports.handed_in(run, datetime.now(UTC), ignored=places.ignored)


def _spooled(root: Path, parts: Iterable[Part], spool: Spool) -> list[NewItem]:
    items = []
    for part in parts:
        uid = new_uid(datetime.now(UTC))
        limit = UPLOAD_LIMIT if part.name.lower().endswith(".zip") else anaf_zip.MEMBER_LIMIT
        try:
            signature = _read(root / part.signature) if part.signature else None
            with (root / part.name).open("rb") as source:
                digest = spool.put(uid, source, limit, signature)
        except BadInput as refused:
            items.append(NewItem(uid, part.name, problem=refused.sentence))
        except OSError as error:
            items.append(NewItem(uid, part.name, problem=_unreadable(error)))
        else:
            items.append(NewItem(uid, part.name, digest, _about(root, part)))
    return items


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(anaf_zip.MEMBER_LIMIT)


def _about(root: Path, part: Part) -> About:
    if part.about is not None:
        with suppress(OSError), (root / part.about).open("rb") as file:
            return read_about(file.read(ABOUT_LIMIT))
    return About()


def _unreadable(error: OSError) -> Sentence:
    reason = error.strerror or type(error).__name__
    return Sentence(
        f"Fișierul nu poate fi citit ({reason}). Verifică drepturile și repetă importul.",
        f"the file cannot be read ({reason}); check its permissions and repeat the import",
    )


async def _client(cif: str | None) -> int | None:
    return (await clients.named(cif)).id if cif is not None else None


async def _watch(console: Console, run: Run) -> bool:
    """Show the progress; True when nothing moves although something waits."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("import", total=None)
        before, still = None, 0.0
        while True:
            now = await imports.by_id(run.id)
            total = now.settled + now.waiting
            progress.update(bar, completed=now.settled, total=total)
            if now.finished_at is not None:
                return False
            still = 0.0 if now.counts != before else still + POLL_SECONDS
            if still >= PATIENCE_SECONDS and not await jobs.at_work(["import"], datetime.now(UTC)):
                return True
            before = now.counts
            await asyncio.sleep(POLL_SECONDS)


async def _report(console: Console, run: Run, stalled: bool, language: str) -> int:
    now = await imports.by_id(run.id)
    counts = {state: now.counts.get(state, 0) for state in ItemState}
    parts = [
        f"{counts[state]} {state.value}"
        for state in ItemState
        if state is not ItemState.OPENED and (counts[state] or state is ItemState.ARCHIVED)
    ]
    if now.ignored:
        parts.append(f"{now.ignored} other files left alone")
    console.print(", ".join(parts))
    told = [
        line for line in await imports.results(now, None, _LINES_SHOWN) if line.problem is not None
    ]
    for line in told:
        assert line.problem is not None
        # File names are not ours: shown as they are, without markup.
        console.print(Text(f"{line.name}: {line.problem.in_language(language)}"), soft_wrap=True)
    if counts[ItemState.REFUSED] > _LINES_SHOWN:
        console.print(f"… and {counts[ItemState.REFUSED] - _LINES_SHOWN} more")
    if stalled:
        console.print("sync does not take the work; is `arhivar sync` running?")
    return int(stalled or counts[ItemState.REFUSED] > 0)

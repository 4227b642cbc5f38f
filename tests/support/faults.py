"""A small world that can be put back to its beginning, and faults in the calls of its processes.

strace counts the calls of each thread by itself: `when=N` strikes in the first
thread whose N-th call it is. So N counts up until a run ends that nothing struck.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from appliance.core.roles import Status
from appliance.simulator.companies import CLIENTS
from appliance.store import imports
from appliance.store.engine import open_store
from appliance.store.spool import Spool
from appliance.sync import hand_in
from tests.support.simulator import Running
from tests.support.sync import Installation

CLEAN_SECONDS = 60  # I-13
_STALLED_SECONDS = 3
_STRUCK_ANEW = 8
_MISSES = 2  # so many runs that nothing struck: there is no such call any more


@dataclass(frozen=True)
class Fault:
    """What happens to the calls, and at which of each thread's."""

    call: str
    effect: str  # signal=SIGKILL, error=ENOSPC, error=EIO
    number: int
    lasting: bool = False  # at every later one too

    @property
    def kills(self) -> bool:
        return self.effect.startswith("signal")

    def __str__(self) -> str:
        return f"{self.effect} at {self.call} {self.number}{'+' if self.lasting else ''}"

    def strace(self, log: Path) -> list[str]:
        """Return the command that runs another with this fault; strace keeps in the background."""
        when = f"{self.number}+" if self.lasting else str(self.number)
        # Faster; but strace 6.1 delivers no signal then.
        faster = [] if self.kills else ["--seccomp-bpf"]
        return [
            "strace", "-D", "-f", *faster, "-qq", "-y", "-s", "0", "-o", str(log),
            "-e", f"trace=rename,{self.call}",
            "-e", f"inject={self.call}:{self.effect}:when={when}", "--",
        ]  # fmt: skip


def trace(log: Path, calls: Iterable[str]) -> list[str]:
    return [
        "strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", str(log),
        "-e", f"trace={','.join(calls)}", "--",
    ]  # fmt: skip


def most_by_one_thread(log: Path) -> dict[str, int]:
    """Return how often each call was made by the thread that made it most often."""
    counted: Counter[tuple[str, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if found := re.match(r"(\d+) +(\w+)\(", line):
            counted[found[2], found[1]] += 1
    most: dict[str, int] = {}
    for (call, _), number in counted.items():
        most[call] = max(most.get(call, 0), number)
    return most


def sample(most: int, wanted: int) -> list[int]:
    """Return up to so many numbers from 1 to `most`, the first and the last with them."""
    return sorted({1 + round(n * (most - 1) / (wanted - 1)) for n in range(wanted)})


def struck(log: Path) -> bool:
    return bool(struck_files(log))


def struck_files(log: Path) -> list[str]:
    """Return what the calls that failed were about, as far as it is an open file."""
    begun: dict[str, str] = {}
    found = []
    for line in log.read_text(errors="replace").splitlines():
        thread, _, what = line.partition(" ")
        if match := re.match(r" *\w+\((?:\d+<([^>]*)>)?", what):
            begun[thread] = match[1] or "/"
        if "(INJECTED)" in what:
            found.append(begun.get(thread, "/"))
    return found


def no_disk(log: Path) -> bool:
    """Tell whether a pipe or socket was struck: those are never full in this way."""
    return any(not file.startswith("/") for file in struck_files(log))


def renamed_though_not_synced(log: Path) -> list[str]:
    """Return the paths whose fsync failed and that got their final name all the same."""
    begun: dict[str, str] = {}
    failed: set[str] = set()
    wrong = []
    for line in log.read_text(errors="replace").splitlines():
        thread, _, what = line.partition(" ")
        if found := re.match(r" *fsync\(\d+<([^>]*)>", what):
            begun[thread] = found[1]
        if "(INJECTED)" in what and "fsync" in what and thread in begun:
            failed.add(begun[thread])
        if (found := re.match(r' *rename\("([^"]*)"', what)) and found[1] in failed:
            wrong.append(found[1])
    return wrong


class World:
    """Three clients with a dozen messages and an import, of which nothing is fetched yet."""

    def __init__(self, directory: Path, simulator: Running) -> None:
        directory.mkdir()
        self.directory = directory
        self.state = simulator.simulator.state
        self.expected = _populate(simulator)
        self.installation = Installation(
            directory,
            simulator,
            spv_calls_per_minute=0,
            sync_workers=2,
            sync_pdf_workers=1,
        )
        self.settings = self.installation.settings
        asyncio.run(self._hand_in())
        self._beginning = directory / "beginning"
        shutil.copytree(self.settings.data_dir, self._beginning)
        self.strace_log = directory / "strace"

    async def _hand_in(self) -> None:
        folder = self.directory / "earlier"
        folder.mkdir()
        [same] = [m for m in self.state.messages.values() if m.id == self.expected.imported_too]
        zipped_at = datetime(2026, 1, 1)  # noqa: DTZ001 - a zip has no zone
        own = self.state.signer.pack("6001", self.expected.imported, zipped_at)
        (folder / "6001.zip").write_bytes(own)
        (folder / f"{same.upload_id}.zip").write_bytes(self.state.zip_of(same))
        async with open_store(self.settings):
            places = await asyncio.to_thread(hand_in._places, folder)
            run = await imports.begin("earlier", Status.PENDING, datetime.now(UTC))
            await hand_in.hand_in(run, places, Spool(self.settings.spool_dir))

    # Between one fault and the next

    def begin_again(self) -> None:
        """Put everything back to where nothing is fetched; the vault goes on."""
        shutil.rmtree(self.settings.data_dir)
        shutil.copytree(self._beginning, self.settings.data_dir)
        with closing(sqlite3.connect(self.settings.vault_dir / "vault.db", timeout=10)) as vault:
            vault.execute("DELETE FROM quota")
            vault.commit()
        self.state.forget_counters()
        self.installation.log_file("sync").write_bytes(b"")
        self.strace_log.write_bytes(b"")

    def close(self) -> None:
        self.installation.close()

    # Time

    def time_passes(self, *, leases: bool = True) -> None:
        """As if so much time had passed that what waits is due, and what the dead held is free."""
        with closing(sqlite3.connect(self.settings.database_path, timeout=30)) as rows, rows:
            if leases:
                rows.execute("UPDATE job SET lease_until = created_at WHERE state = 'leased'")
            rows.execute(
                "UPDATE job SET next_attempt_at = created_at WHERE state = 'queued' AND deferred"
            )
            rows.execute("UPDATE outage SET next_try_at = since WHERE ended_at IS NULL")
        for path in self.temporaries():
            two_days_ago = time.time() - 2 * 24 * 3600
            # sync lives: what it writes at this moment may have its name by now
            with suppress(FileNotFoundError):
                os.utime(path, (two_days_ago, two_days_ago))

    def temporaries(self) -> list[Path]:
        """Return what a write that was cut off has left."""
        # walk, unlike rglob, goes on when sync removes a directory meanwhile
        return [
            Path(directory, name)
            for place in (self.settings.archive_dir, self.settings.spool_dir)
            for directory, directories, files in os.walk(place)
            for name in (*directories, *files)
            if name[0] == "."
        ]

    def is_settled(self) -> bool:
        """Tell whether nothing is due, nothing waits and nobody works."""
        found = self.installation.rows(
            "SELECT (SELECT COUNT(*) FROM job WHERE kind = 'list' AND state = 'done'), "
            "(SELECT COUNT(*) FROM job WHERE state IN ('queued', 'leased')), "
            "(SELECT COUNT(*) FROM message WHERE state = 'queued'), "
            "(SELECT COUNT(*) FROM import_item WHERE state = 'queued')"
        )
        return found[0][0] >= len(CLIENTS) and not any(found[0][1:])

    def run_until(self, done: Callable[[], bool], *, hurry: bool) -> bool:
        """Wait until it is so, False when sync has ended before; no person does anything.

        With `hurry`, what only waits for its time does not wait: first for its next
        attempt, then, when nothing moves, for the end of a lease.
        """
        process = self.installation._running["sync"]
        deadline = time.monotonic() + CLEAN_SECONDS
        before: Any = None
        since = time.monotonic()
        while process.poll() is None:
            if done():
                return True
            now = self.installation.rows("SELECT id, state, attempts FROM job ORDER BY id")
            if now != before:
                before, since = now, time.monotonic()
            open_states = {state for _, state, _ in now} & {"queued", "leased"}
            if hurry and open_states == {"queued"}:
                self.time_passes(leases=False)
            elif hurry and time.monotonic() - since > _STALLED_SECONDS:
                since = time.monotonic()
                self.time_passes()
            if time.monotonic() > deadline:
                waiting = self.installation.rows(
                    "SELECT kind, state, attempts, problem FROM job "
                    "WHERE state IN ('queued', 'leased')"
                )
                raise AssertionError(f"not clean within {CLEAN_SECONDS} s: {waiting}")
            time.sleep(0.1)
        return False

    # A fault, and what is true after it

    def strike(self, fault: Fault) -> bool | None:
        """Fetch everything with this fault, then as always; return whether it happened.

        None for one that no disk has. Raises `AssertionError` for whatever is
        not as it must be afterwards.
        """
        self.begin_again()
        self.installation.start("sync", under=fault.strace(self.strace_log))
        if fault.lasting:
            self.run_until(lambda: struck(self.strace_log) or self.is_settled(), hurry=False)
        else:
            # strace counts anew in each renderer that is started in place of a struck one.
            self.run_until(
                lambda: (
                    self.is_settled()
                    or no_disk(self.strace_log)
                    or len(struck_files(self.strace_log)) > _STRUCK_ANEW
                ),
                hurry=True,
            )
        if no_disk(self.strace_log):
            self.installation.end("sync", signal.SIGKILL)
            return None
        code = self.installation.end("sync")
        if fault.kills:
            happened = code == -signal.SIGKILL
            assert happened or code == 0
        else:
            happened = struck(self.strace_log)
            assert renamed_though_not_synced(self.strace_log) == []
        if happened and (fault.kills or code or not self.is_settled() or self.temporaries()):
            self.time_passes()
            self.recover(hurry=True)
        self.check()
        return happened

    def recover(self, *, hurry: bool) -> None:
        """Start sync as always and end it when everything is done and tidied up."""
        before = len(self.installation.log())
        self.installation.start("sync")
        done = self.run_until(
            lambda: (
                "ready" in self.installation.log()[before:]
                and self.is_settled()
                and not self.temporaries()
            ),
            hurry=hurry,
        )
        assert done, "it ended by itself"
        assert self.installation.end("sync") == 0

    def check(self) -> None:
        """Every invariant: nothing lost, nothing twice, nothing left over."""
        rows = self.installation.rows
        # I-2, and I-1 and I-11 as far as one command can tell
        assert self.installation.problems() == []
        # I-5 against what ANAF lists, I-4: each once, in its right state
        found = Counter(rows("SELECT message_id, client.name, state FROM message "
                             "JOIN client ON client.id = message.client"))  # fmt: skip
        assert found == Counter(self.expected.messages)
        documents = rows(
            "SELECT client, sha256, COUNT(*) FROM document_file JOIN document "
            "ON document.id = document AND role = 'invoice' GROUP BY 1, 2"
        )
        assert {number for *_, number in documents} == {1}
        states = sorted(state for (state,) in rows("SELECT state FROM import_item"))
        assert states in (["archived", "archived"], ["archived", "duplicate"])
        assert rows("SELECT COUNT(*) FROM import_run WHERE finished_at IS NULL") == [(0,)]
        # An import that came first has the document of the message that came after it.
        archived = [m for m in self.expected.messages if m[2] == "archived"]
        assert self.installation.count("document") == len(archived) + 1
        assert self.installation.count("notice") == len(
            [m for m in self.expected.messages if m[2] == "notice"]
        )
        without = rows(
            "SELECT uid FROM document WHERE type <> 'unreadable' AND NOT EXISTS "
            "(SELECT 1 FROM document_file WHERE document = document.id AND role = 'pdf')"
        )
        assert without == []
        # I-10
        assert rows("SELECT kind, problem FROM job WHERE state <> 'done'") == []
        assert [p for p in self.settings.spool_dir.rglob("*") if p.is_file()] == []
        assert self.temporaries() == []
        # The radar looks every 15 seconds; nothing else is to remain.
        alerts = rows("SELECT kind FROM alert WHERE ended_at IS NULL AND kind <> 'expiring'")
        assert alerts == []


@dataclass
class Campaign:
    """Faults of one sort, shared among worlds that work side by side."""

    worlds: Sequence[World]
    happened: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self, faults: Iterable[Fault]) -> Campaign:
        """Strike with each fault until there is no such call any more."""
        remaining = iter(faults)
        lock = threading.Lock()
        misses = 0

        def work(world: World) -> None:
            nonlocal misses
            while True:
                with lock:
                    fault = None if misses >= _MISSES else next(remaining, None)
                if fault is None:
                    return
                happened, why = _struck_by(world, fault)
                with lock:
                    self.wrong += why
                    self.happened += bool(happened)
                    misses = misses + 1 if happened is False else 0

        threads = [threading.Thread(target=work, args=[world]) for world in self.worlds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self


def _struck_by(world: World, fault: Fault) -> tuple[bool | None, list[str]]:
    try:
        return world.strike(fault), []
    except Exception:
        for name in list(world.installation._running):
            if name != "vault":
                world.installation.end(name, signal.SIGKILL)
        where = traceback.format_exc(limit=-2)
        return True, [f"{fault}: {where}\n{world.installation.log()[-4000:]}"]


@dataclass(frozen=True)
class Expected:
    messages: list[tuple[str, str, str]]  # id, client, state
    imported: bytes  # an invoice that ANAF does not list
    imported_too: str  # the id of a message that an import brings as well


def _populate(simulator: Running) -> Expected:
    """Add what is out of the ordinary to the simulated SPV, and tell what must become of all."""
    state = simulator.simulator.state
    first, second = CLIENTS[0].company, CLIENTS[1].company
    before = list(state.messages.values())
    plain = [m for m in before if m.cif == first.cif and m.tip == "FACTURA PRIMITA"]
    others = next(m for m in before if m.cif == second.cif and m.tip == "FACTURA PRIMITA")
    [error] = [m for m in before if m.tip == "ERORI FACTURA"]
    broken = state.add_document(first.cif, "FACTURA PRIMITA", plain[0].write())[0]
    broken.raw_zip = state.zip_of(plain[0])[:-100]
    foreign = state.add_document(first.cif, "FACTURA PRIMITA", others.write())[0]
    for message in (broken, foreign):
        # Listed at once: what is younger than a minute is left to the next listing.
        message.created -= timedelta(hours=1)
    names = {client.company.cif: client.company.name for client in CLIENTS}
    outcome = {foreign.id: "quarantined", error.id: "notice"}
    for message in before:
        if message.tip.startswith("MESAJ"):
            outcome[message.id] = "notice"
    everything = [
        (m.id, names[m.cif], outcome.get(m.id, "archived")) for m in state.messages.values()
    ]
    # A blank more is another invoice to the archive, byte for byte.
    return Expected(everything, plain[0].write() + b"\n", plain[1].id)

"""Whatever ANAF, the vault, the clock and the machine do in whatever order: nothing is lost.

A run draws up to three clients with up to eight messages each, and a sequence of faults,
outages, lost rights, frozen and killed workers, restarts, wrong clocks and time.
Then the faults stop and time passes. An independent model, which knows only what
ANAF has and what it said, tells the one right state of every message.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.store import alerts, documents, engine, messages, outages, verify
from appliance.store.messages import MessageState
from tests.full.fetching import Sync, in_test_time, make_template, settings_of
from tests.full.scripted import (
    ANYWHERE,
    CIFS,
    ON_DOWNLOADS,
    ON_LISTS,
    OUTAGES,
    Clock,
    Kind,
    Message,
    Scripted,
    zip_of,
)

# Around both changes of the clock in Romania, and where nothing changes.
STARTS = [
    datetime(2026, 3, 26, 9, 0, tzinfo=UTC),
    datetime(2026, 10, 23, 20, 30, tzinfo=UTC),
    datetime(2026, 11, 24, 10, 0, tzinfo=UTC),
]
# After the faults everything is as it must be within so long: rights are tried once a day,
# and what a clock three days ahead has put off comes in its time.
PATIENCE = timedelta(days=8)


# What may happen


@dataclass(frozen=True)
class Faults:
    """The next answers of this kind of call."""

    where: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Outage:
    """Nothing answers for so long."""

    how: str
    minutes: int


@dataclass(frozen=True)
class Right:
    """The client's right in SPV, or our grant for it, goes or comes back ("")."""

    client: int
    state: str


@dataclass(frozen=True)
class Ask:
    client: int


@dataclass(frozen=True)
class Skew:
    seconds: int


@dataclass(frozen=True)
class Thaw:
    pass


@dataclass(frozen=True)
class Restart:
    pass


Event = Faults | Outage | Right | Ask | Skew | Thaw | Restart


@dataclass(frozen=True)
class Plan:
    """One run."""

    start: int
    per_minute: int
    messages: tuple[Message, ...]
    events: tuple[tuple[Event, int], ...]  # each with the minutes that sync works after it


_MINUTES = (0, 1, 5, 30, 120, 720, 1440, 2880)
# Seconds; three days once in a while, for then nothing can be listed and a run takes long.
_SKEWS = (0, 0, 0, 30, -30, 30, -30, 600, -600, 600, -600, 7500, -7500, 259_200, -259_200)
_message = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    owner=st.just(0),
    # Hours; the last ones come while we look on, and 59 days are nearly too old.
    age=st.sampled_from((2, 30, 200, 480, 0, -3, -30, 59 * 24 + 12, 60 * 24 - 2)),
    delay=st.sampled_from((0, 0, 7, 15)),
)
_event: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Faults,
        st.just("list"),
        st.lists(st.sampled_from(ANYWHERE + ON_LISTS), min_size=1, max_size=5).map(tuple),
    ),
    st.builds(
        Faults,
        st.just("download"),
        st.lists(st.sampled_from(ANYWHERE + ON_DOWNLOADS), min_size=1, max_size=8).map(tuple),
    ),
    st.builds(
        lambda where, name, times: Faults(where, (name,) * times),
        st.sampled_from(("list", "download")),
        st.sampled_from(ANYWHERE),
        st.integers(2, 9),
    ),
    st.builds(Outage, st.sampled_from((*OUTAGES, "vault")), st.sampled_from((3, 40, 300))),
    st.builds(
        Right,
        st.integers(0, 2),
        st.sampled_from(("revoked", "unmapped", "needs", "unreachable", "", "")),
    ),
    st.builds(Ask, st.integers(0, 2)),
    st.builds(Skew, st.sampled_from(_SKEWS)),
    st.just(Thaw()),
    st.just(Restart()),
)


@st.composite
def _plans(draw: st.DrawFn) -> Plan:
    numbers = itertools.count()
    of_each = draw(st.lists(st.lists(_message, min_size=1, max_size=8), min_size=1, max_size=3))
    return Plan(
        start=draw(st.integers(0, len(STARTS) - 1)),
        per_minute=draw(st.sampled_from((1000, 1000, 12))),
        messages=tuple(
            replace(message, owner=owner, number=next(numbers))
            for owner, some in enumerate(of_each)
            for message in some
        ),
        events=tuple(
            draw(st.lists(st.tuples(_event, st.sampled_from(_MINUTES)), min_size=2, max_size=12))
        ),
    )


# A run


@dataclass
class Room:
    """Where runs take place: a store that is copied for each one, and a loop."""

    place: Path
    template: Path
    known: dict[str, tuple[int, str]]
    runner: asyncio.Runner

    def run(self, plan: Plan) -> None:
        """Let the faults of the plan happen, then look whether all is as it must be."""

        async def whole(run: Run) -> None:
            for event, minutes in plan.events:
                await run.happens(event)
                await run.sync.go_on(timedelta(minutes=minutes))
            await run.settles()

        self.go(plan, whole)

    def go(self, plan: Plan, what: Callable[[Run], Awaitable[None]]) -> None:
        place = Path(tempfile.mkdtemp(dir=self.place))
        try:
            shutil.copytree(self.template, place, dirs_exist_ok=True)
            self.runner.run(self._go(plan, place, what))
        finally:
            shutil.rmtree(place)

    async def _go(self, plan: Plan, place: Path, what: Callable[[Run], Awaitable[None]]) -> None:
        clock = Clock(STARTS[plan.start])
        anaf = Scripted(clock, list(plan.messages), plan.per_minute)
        with in_test_time(clock):
            async with engine.open_store(settings_of(place)):
                sync = Sync(settings_of(place), anaf, self.known)
                try:
                    await what(Run(plan, sync))
                finally:
                    await sync.close()
                    anaf.counters.close()


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    # What is durable is tried elsewhere (with processes that are killed); here memory will do.
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name,
        asyncio.Runner() as runner,
    ):
        template = Path(name) / "template"
        clock = Clock(STARTS[0] - timedelta(days=90))
        with in_test_time(clock):
            known = runner.run(make_template(template, clock.anaf))
        yield Room(Path(name), template, known, runner)


class Run:
    """A plan on its way, and the model that says what must become of its messages."""

    def __init__(self, plan: Plan, sync: Sync) -> None:
        self.plan, self.sync, self.anaf, self.clock = plan, sync, sync.anaf, sync.clock
        self.skewed = False

    async def happens(self, event: Event) -> None:
        match event:
            case Faults(where, names):
                self.anaf.script[where] = list(names)
            case Outage(how, minutes):
                calls = await self.outage(how, timedelta(minutes=minutes))
                if not self.skewed:
                    most = _most_calls(timedelta(minutes=minutes))
                    assert calls <= most, f"{calls} calls in {minutes} min without an answer"
            case Right(client, state):
                cif = CIFS[client]
                self.anaf.revoked.discard(cif)
                self.anaf.grants.pop(cif, None)
                if state == "revoked":
                    self.anaf.revoked.add(cif)
                elif state:
                    self.anaf.grants[cif] = state
            case Ask(client):
                await self.sync.ask(CIFS[client])
            case Skew(seconds):
                self.skewed |= bool(seconds)
                await self.sync.set_clock(timedelta(seconds=seconds))
            case Thaw():
                await self.sync.thaw()
            case Restart():
                self.sync.restart()

    async def outage(self, how: str, time: timedelta) -> int:
        """Let nothing answer for so long, and return how many calls that cost."""
        before = len(self.anaf.calls)
        if how == "vault":
            self.anaf.vault_away = True
        else:
            self.anaf.down = how
        await self.sync.go_on(time)
        self.anaf.vault_away, self.anaf.down = False, ""
        return len(self.anaf.calls) - before

    async def settles(self) -> None:
        """The faults stop; then everything is where it must be, by itself."""
        self.anaf.script = {"list": [], "download": []}
        self.anaf.kill_at.clear()
        self.anaf.revoked.clear()
        self.anaf.grants.clear()
        await self.sync.set_clock(timedelta(0))
        await self.sync.thaw()
        self.sync.restart()
        until, wrong = self.clock.anaf + PATIENCE, ["not looked at yet"]
        while wrong and self.clock.anaf < until:
            await self.sync.go_on(timedelta(days=1))
            wrong = await self.wrong()
        assert not wrong, "\n".join(wrong)
        assert await outages.current("api") is await outages.current("vault") is None
        told = [
            (alert.kind, alert.object, alert.raised_at)
            for alert in await alerts.open_for(None)
            if alert.kind in {"outage", "token", "listing"}
        ]
        assert told == []
        self.within_limits()

    def within_limits(self) -> None:
        most = self.anaf.spent.most_common(1)
        assert not most or most[0][1] <= 10, f"{most} downloads in a day"
        if not self.skewed:
            calls = self.anaf.calls
            for first, last in zip(calls, calls[self.plan.per_minute :], strict=False):
                assert last - first >= timedelta(minutes=1)

    # The model

    async def wrong(self) -> list[str]:
        """Return everything that is not as it must be by now."""
        rows = await engine.fetch(
            "SELECT message.*, client.uid AS client_uid, d.uid AS document, d.client AS filed_at, "
            "n.uid AS notice, n.client AS noticed_at FROM message "
            "JOIN client ON client.id = message.client "
            "LEFT JOIN document d ON d.message = message.id "
            "LEFT JOIN notice n ON n.message = message.id"
        )
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            found.setdefault(row["upload_id"], []).append(row)
        wrong = []
        for message in self.plan.messages:
            wrong += self._wrong_of(message, found.pop(message.upload_id, []))
        wrong += [f"nobody listed {rows}" for rows in found.values()]
        (count,) = await engine.fetch(
            "SELECT (SELECT COUNT(*) FROM document) + (SELECT COUNT(*) FROM notice) AS n"
        )
        kept = sum(bool(row["document"] or row["notice"]) for row in rows)
        if count["n"] != kept:
            wrong.append(f"{count['n']} documents and notices of {kept} messages")
        wrong += [
            f"check: {p.kind} {p.sentence.en}"
            for p in verify.check(self.sync.settings, deep=True, at=self.clock.ours())
        ]
        spool = self.sync.settings.spool_dir
        wrong += [f"left in the spool: {path.name}" for path in spool.rglob("*") if path.is_file()]
        return wrong

    def _wrong_of(self, message: Message, rows: list[dict[str, Any]]) -> list[str]:
        if message.kind is Kind.STRANGER:
            return [f"{message}: of no client, and stored"] if rows else []
        in_window = self.anaf.in_window(message)
        # Near the end of the 60 days it depends on when the list was last read.
        edge = not in_window or self.anaf.in_window(replace(message, age=message.age + 25)) is False
        if not rows:
            return [] if edge else [f"{message}: forgotten"]
        if len(rows) > 1:
            return [f"{message}: stored {len(rows)} times"]
        (row,) = rows
        right = self._right_states(message)
        if message.id in self.anaf.told_expired:
            right = right | {"expired"}
        if edge and message.id in self.anaf.told_no_right:
            # Refused, and no longer listed when it would have been tried again.
            right = right | {"not_allowed"}
        owner_id, owner_uid = self.sync.known[CIFS[message.owner]]
        if row["state"] not in right:
            return [f"{message}: is {row['state']}, should be {right}: {row['problem']}"]
        if (row["client"], row["cif"]) != (owner_id, message.cif):
            return [f"{message}: stored at the client {row['client']}"]
        if row["state"] == "archived" and (row["filed_at"], row["notice"]) != (owner_id, None):
            return [f"{message}: its document is {row['document']} of {row['filed_at']}"]
        if row["state"] == "notice" and (row["noticed_at"], row["document"]) != (owner_id, None):
            return [f"{message}: its notice is {row['notice']} of {row['noticed_at']}"]
        if row["state"] in ("expired", "not_allowed", "quarantined") and (
            row["document"] or row["notice"]
        ):
            return [f"{message}: is {row['state']} and has a document"]
        return self._wrong_bytes(message, row, owner_uid)

    def _right_states(self, message: Message) -> set[str]:
        match message.kind:
            case Kind.ERROR | Kind.BUYER:
                return {"notice"}
            case Kind.NAMELESS | Kind.NO_RIGHT:
                return {"not_allowed"}
            case Kind.NAMED_LATER if not self.anaf.in_window(message):
                return {"not_allowed", "archived"}
            case Kind.FOREIGN:
                return {"quarantined"}
            case Kind.EXPIRED | Kind.GONE:
                return {"expired"}
        return {"archived"}

    def _wrong_bytes(self, message: Message, row: dict[str, Any], owner_uid: str) -> list[str]:
        archive = self.sync.settings.archive_dir
        if row["state"] == "quarantined":
            kept = archive / "quarantine" / row["uid"]
        elif row["state"] in ("archived", "notice"):
            month = documents.archive_month(datetime.fromisoformat(row["listed_at"]))
            kept = archive / owner_uid / month / row["uid"]
        else:
            return []
        data = (kept / "message.zip").read_bytes()
        whole = zip_of(message.kind, message.owner, message.number)
        if message.kind is Kind.BROKEN_ANEW:
            return [] if data in self.anaf.given[message.id] else [f"{message}: other bytes"]
        return [] if data == whole else [f"{message}: not the bytes that ANAF gave"]


def _most_calls(time: timedelta) -> int:
    """Return how many calls an outage may cost, however many messages wait.

    Three different objects open the breaker; then one call after 1, 2, 4 and 8
    minutes and every 15. With only two objects there is no outage, and each
    waits from 5 seconds doubling to 15 minutes, less a quarter.
    """
    minutes = time.total_seconds() / 60
    return int(2 * (9 + minutes / 11.25)) + 4


@pytest.mark.parametrize("how", OUTAGES)
def test_an_outage_costs_a_few_calls_however_many_messages_wait(room: Room, how: str) -> None:
    waiting = tuple(Message(Kind.RECEIVED, n % 3, age=30 + n, number=n) for n in range(60))

    async def outage(run: Run) -> None:
        for cif in CIFS:
            await run.sync.ask(cif)
        await run.sync.turn(0)  # all three lists
        assert (await messages.progress())[MessageState.QUEUED] == len(waiting)
        # Three, then after 1, 2, 4 and 8 minutes and every 15.
        assert await run.outage(how, timedelta(hours=5)) <= 3 + 4 + 20
        await run.settles()

    room.go(Plan(2, 1000, waiting, ()), outage)


def test_one_client_alone_learns_that_the_vault_is_away(room: Room) -> None:
    """Its one list asks every half minute at last, not every five seconds for hours."""

    async def away(run: Run) -> None:
        await run.sync.ask(CIFS[0])
        run.anaf.vault_away = True
        await run.sync.go_on(timedelta(hours=5))
        assert await outages.current("vault") is not None
        run.anaf.vault_away = False
        await run.settles()

    room.go(Plan(2, 1000, (Message(Kind.RECEIVED, 0, age=30),), ()), away)


# The properties

_usual = settings(
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[*HealthCheck],
)


@settings(_usual, max_examples=60)
@given(_plans())
def test_after_any_faults_every_message_is_in_its_one_right_state(room: Room, plan: Plan) -> None:
    room.run(plan)


@pytest.mark.full
@pytest.mark.timeout(1800)
@settings(_usual, max_examples=2000)
@given(_plans())
def test_after_2000_runs_of_faults_every_message_is_in_its_one_right_state(
    room: Room, plan: Plan
) -> None:
    room.run(plan)

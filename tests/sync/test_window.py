"""The window of 60 days, the clock and the late index, with the real vault and a simulated SPV."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from appliance.core import spv as answers
from appliance.core.spv import FaultKind, SpvFault
from appliance.simulator.companies import CLIENTS
from appliance.simulator.state import Message
from appliance.store import clients, jobs, listings, messages
from appliance.store.engine import open_store
from appliance.store.files import Archive
from appliance.store.messages import MessageState
from appliance.sync import spv, tasks
from appliance.sync.context import Context
from appliance.sync.listing import _clock
from appliance.sync.rendering import Renderers
from appliance.sync.spv import Listing, SpvClient
from tests.support.simulator import Running, running_simulator
from tests.support.sync import Installation

CIF = CLIENTS[0].company.cif
DAYS = timedelta(days=60)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    with running_simulator(invoices=9) as running:
        yield running


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, simulator: Running
) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("window"), simulator)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def real_time(simulator: Running) -> Iterator[None]:
    yield
    simulator.simulator.state.offset = timedelta(0)


def arrives(simulator: Running, at: datetime, *, indexed: datetime | None = None) -> Message:
    """Let a message of the first client be made at that moment, and listed from another one on."""
    state = simulator.simulator.state
    before = state.offset
    state.set_clock(at)
    (message,) = state.add_generated(CIF, received=True)
    message.visible = indexed
    state.offset = before
    return message


async def listed(installation: Installation, at: datetime) -> Listing:
    client = SpvClient(installation.settings.spv_socket, "prod")
    try:
        return await client.list_window(CIF, at)
    finally:
        await client.close()


def ids(listing: Listing) -> set[str | None]:
    return {entry.message_id for entry in listing.entries}


def all_within(simulator: Running, start: datetime, end: datetime) -> set[str]:
    found = simulator.simulator.state.listed(CIF, start, end, "")
    return {message.id for message in found}


@asynccontextmanager
async def working(installation: Installation) -> AsyncIterator[Context]:
    """What the jobs of sync work with, in this process."""
    settings = installation.settings
    settings.spool_dir.mkdir(exist_ok=True)
    async with open_store(settings):
        context = Context(
            settings=settings,
            archive=Archive(settings.archive_dir),
            spv=SpvClient(settings.spv_socket, settings.spv_environment),
            renderers=Renderers(1),
            pinned={},
        )
        yield context
        context.renderers.close()
        await context.spv.close()


async def do(context: Context, kind: str, *, later: timedelta = timedelta(0)) -> None:
    """Do all jobs of the kind that are due, or will be later."""
    while due := await jobs.lease(10, datetime.now(UTC) + later, 45, [kind]):
        for job in due:
            await tasks.run(job.id, context)


async def test_a_message_that_is_indexed_late_is_fetched_from_the_window_read_before(
    installation: Installation, simulator: Running
) -> None:
    state = simulator.simulator.state
    made = state.now() - timedelta(hours=1)
    late = arrives(simulator, made, indexed=made + timedelta(minutes=15))
    async with working(installation) as context:
        client = await clients.by_identifier(CIF)
        assert client is not None

        async def fetch(simulated: datetime) -> frozenset[str]:
            state.set_clock(simulated)
            await jobs.insert("list", client.uid, datetime.now(UTC), client_id=client.id)
            await do(context, "list")
            await do(context, "message")
            return await messages.known_ids(client.id)

        # A window up to a minute after it was made is read, and another one, without it.
        for minutes in (2, 14):
            assert late.id not in await fetch(made + minutes * MINUTE)
        assert late.id in await fetch(made + 17 * MINUTE)

        (listing,) = await listings.of_client(client.id)
        states = await messages.progress(client.id)
        assert listing.counts.missing == 0
        assert listing.done_at is not None
        # For this test ANAF's clock was set back, which is told and stops nothing.
        assert listing.problem is not None
        assert "43 de minute înaintea ceasului ANAF" in listing.problem.ro
        assert states[MessageState.QUEUED] == 0
        assert states[MessageState.ARCHIVED] + states[MessageState.NOTICE] == sum(states.values())


@pytest.mark.parametrize(
    "kind",
    [
        "waf", "maintenance", "bad_gateway", "not_found_page", "error", "empty", "unauthorized",
        "technical", "extra_brace", "cut", "truncated", "numbers", "no_id", "foreign",
    ],
)  # fmt: skip
async def test_whatever_came_instead_of_a_list_the_next_one_loses_nothing(
    installation: Installation, simulator: Running, kind: str
) -> None:
    new = arrives(simulator, simulator.simulator.state.now() - 2 * MINUTE)
    fault = {"kind": kind, "path": "listaMesajePaginatie"}
    async with working(installation) as context:
        client = await clients.by_identifier(CIF)
        assert client is not None
        for armed in (True, False):
            if armed:
                url = f"{simulator.url}/simulator/faults"
                assert (await asyncio.to_thread(httpx.post, url, json=fault)).is_success
            await jobs.insert("list", client.uid, datetime.now(UTC), client_id=client.id)
            await do(context, "list", later=timedelta(days=2))

        (listing,) = await listings.of_client(client.id)
        everything = all_within(simulator, listing.tried_at - DAYS, listing.tried_at - MINUTE)
        assert new.id in everything
        # Each under its own id and once, and nothing that stands for one without an id.
        assert await messages.known_ids(client.id) == everything
        assert (listing.problem, listing.counts.missing) == (None, 0)


@pytest.mark.parametrize("seconds", [0, 50, -200])
async def test_a_clock_that_is_a_little_off_is_nobodys_concern(
    installation: Installation, simulator: Running, seconds: int
) -> None:
    at = simulator.simulator.state.now() + timedelta(seconds=seconds)

    listing = await listed(installation, at)

    assert listing.skew is listing.refused is None
    assert ids(listing) == all_within(simulator, listing.start, listing.end)


@pytest.mark.parametrize("minutes", [5, 90, 60 * 24 * 400])
async def test_a_clock_that_is_ahead_is_set_right_by_what_anaf_says(
    installation: Installation, simulator: Running, minutes: int
) -> None:
    now = simulator.simulator.state.now()
    newest = arrives(simulator, now - 2 * MINUTE)

    listing = await listed(installation, now + minutes * MINUTE)

    assert listing.skew is not None
    assert listing.refused is None
    assert abs(listing.skew - minutes * MINUTE) < timedelta(seconds=30)
    assert newest.id in ids(listing)
    assert ids(listing) == all_within(simulator, listing.start, listing.end)


@pytest.mark.parametrize(
    ("minutes", "told"),
    [(10, "peste 5 minute în urma"), (60, "peste 5 minute"), (23 * 60, "peste 65 de minute")],
)
async def test_a_clock_that_is_behind_reads_all_but_the_oldest_day_and_says_so(
    installation: Installation, simulator: Running, minutes: int, told: str
) -> None:
    now = simulator.simulator.state.now()

    listing = await listed(installation, now - minutes * MINUTE)

    assert listing.start <= now - DAYS + timedelta(days=1)
    assert ids(listing) == all_within(simulator, listing.start, listing.end)
    problem = _clock(listing)
    assert problem is not None
    assert told in problem.ro


async def test_a_clock_that_is_days_behind_is_told(installation: Installation) -> None:
    with pytest.raises(SpvFault) as raised:
        await listed(installation, datetime.now(UTC) - timedelta(days=9))

    assert raised.value.kind is FaultKind.CLOCK
    assert "sincronizarea orei" in raised.value.sentence.ro


async def test_at_the_edge_of_sixty_days_what_anaf_still_lists_is_read(
    installation: Installation, simulator: Running
) -> None:
    now = simulator.simulator.state.now()
    # An hour more where the clock was set back in between.
    inside = arrives(simulator, now - DAYS + timedelta(hours=1, minutes=7))
    outside = arrives(simulator, now - DAYS - MINUTE)

    listing = await listed(installation, now)

    assert inside.id in ids(listing)
    assert outside.id not in ids(listing)


async def test_the_pages_of_a_long_list_that_shifts_lose_nothing(
    installation: Installation, simulator: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = simulator.simulator.state
    cif = CLIENTS[1].company.cif
    now = state.now()
    for number in range(1, 1100):
        made = now - timedelta(minutes=5 * number)
        state._add(cif, "FACTURA PRIMITA", str(number), "", made, bytes)
    late = state._add(cif, "FACTURA PRIMITA", "0", "", now - 4 * MINUTE, bytes)
    late.visible = now + timedelta(days=1)
    read = answers.read_list

    def one_appears(status: int, body: bytes) -> answers.MessageList:
        answer = read(status, body)
        if answer.page == 1:
            late.visible = None
        return answer

    client = SpvClient(installation.settings.spv_socket, "prod")
    monkeypatch.setattr(answers, "read_list", one_appears)
    listing = await client.list_window(cif, now)
    await client.close()

    found = state.listed(cif, listing.start, listing.end, "")
    assert ids(listing) == {message.id for message in found}
    assert late.id in ids(listing)
    assert (listing.whole, listing.announced) == (True, len(found))


@pytest.mark.parametrize(
    ("now", "oldest"),
    [
        # The clock was set back on 25 October: by the calendar the window is an hour longer.
        ("2026-11-24T10:00:00+00:00", "2026-09-25T10:00:00+00:00"),
        # It was set forward on 28 March: by the calendar the window is an hour shorter.
        ("2027-04-20T07:00:00+00:00", "2027-02-19T08:00:00+00:00"),
        ("2027-08-01T07:00:00+00:00", "2027-06-02T07:00:00+00:00"),
    ],
)
def test_the_window_begins_where_neither_clock_nor_calendar_refuses_it(
    now: str, oldest: str
) -> None:
    assert spv._oldest(datetime.fromisoformat(now)) == datetime.fromisoformat(oldest)

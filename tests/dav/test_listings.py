"""Kept listings: what they answer is what an answer without them would be, for everybody."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.core import tree
from appliance.core.errors import ArhivarError
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Scope, Status, Viewer
from appliance.core.tree import Folder
from appliance.dav.exchange import Answer, Message, Request
from appliance.dav.listings import Listings
from appliance.dav.multistatus import Asked, Item, Renderer
from appliance.dav.propfind import propfind
from appliance.dav.resources import Resources
from appliance.store import accounts, clients, documents, drive, periods
from appliance.store.engine import open_store
from appliance.store.files import Archive
from tests.support.dav import CLIENTS, PEOPLE, World, make_world

AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
FINDER = (
    b'<D:propfind xmlns:D="DAV:"><D:prop><D:getlastmodified/><D:getcontentlength/>'
    b"<D:creationdate/><D:resourcetype/></D:prop></D:propfind>"
)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world that the examples begin with a copy of."""
    return make_world(tmp_path_factory.mktemp("laid"))


@contextmanager
def copy_of(laid: World) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        shutil.copytree(laid.settings.data_dir, data)
        yield replace(laid, settings=replace(laid.settings, data_dir=data), documents=[])


class Desk:
    """Everybody asks for listings, with and without kept ones, at a time of ours."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.at = AT
        self.listings = Listings()
        self.archive = Archive(world.settings.archive_dir)
        self.documents = [
            world.add(status=status, kind=kind, uploader=uploader, pdf=b"%PDF")
            for status in (Status.PENDING, Status.APPROVED, Status.ARCHIVED)
            for kind, uploader in ((Kind.RECEIVED, None), (Kind.OTHER, "colaborator"))
        ]

    def viewer(self, who: str) -> Viewer:
        found = accounts.viewer_now(self.account(who))
        assert found is not None
        return found

    def account(self, who: str) -> int:
        return list(PEOPLE).index(who) + 1

    async def ask(self, listings: Listings, who: str, path: str, body: bytes = b"") -> Answer:
        sent = False

        async def receive() -> Message:
            nonlocal sent
            assert not sent
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            raise AssertionError("a listing is returned, not sent")

        headers = [(b"depth", b"1")]
        request = Request("PROPFIND", path.encode(), "", "http", headers, receive, send)
        return await propfind(request, Resources(self.viewer(who), self.archive, self.at), listings)

    def folders(self) -> list[str]:
        places = [[CLIENTS["alfa"], str(folder)] for folder in Folder]
        places += [[CLIENTS["alfa"], str(folder), "2026-11"] for folder in tree.KIND_OF]
        places += [[], [CLIENTS["alfa"]], [CLIENTS["beta"], "De aprobat"]]
        return [tree.join(place, collection=False) or "/" for place in places]

    def places(self) -> list[str]:
        """Return every folder that could be listed, those under an alias included."""
        found = self.folders()
        for row in self.documents:
            standing = self.world.status_of(row)
            now = replace(row, status=Status(str(standing[0])))
            found.append(now.path())
            alias = [CLIENTS["alfa"], str(tree.KIND_FOLDERS[row.kind]), row.name]
            found.append(tree.join(alias, collection=False))
        return found

    async def everybody_sees_what_is_so(self, paths: list[str]) -> None:
        for path in paths:
            for who in PEOPLE:
                for body in (b"", FINDER):
                    kept = await self.ask(self.listings, who, path, body)
                    assert kept == await self.ask(Listings(), who, path, body), (who, path)


Step = Callable[[Desk, int], Awaitable[None]]


async def act(desk: Desk, number: int, action: Action, who: str, **more: Any) -> None:
    row = desk.documents[number % len(desk.documents)]
    found = drive.resolve(desk.viewer(who), desk.world.client_ids[row.client], row.name)
    if found is None:
        return
    try:
        await documents.act(
            row.uid,
            action,
            desk.viewer(who),
            seen_status=found.status,
            seen_revision=found.revision,
            at=desk.at,
            channel="drive",
            **more,
        )
    except ArhivarError:
        return  # not from there


async def approve(desk: Desk, number: int) -> None:
    await act(desk, number, Action.APPROVE, "ana")


async def reject(desk: Desk, number: int) -> None:
    await act(desk, number, Action.REJECT, "ana", reason="x")


async def give_back(desk: Desk, number: int) -> None:
    await act(desk, number, Action.RETURN, "contabil", reason="x")


async def record_under_an_alias(desk: Desk, number: int) -> None:
    row = desk.documents[number % len(desk.documents)]
    alias = f"{tree.KIND_FOLDERS[row.kind]}/{row.name}"
    await act(desk, number, Action.RECORD, "contabil", alias_path=alias)


async def new_document(desk: Desk, number: int) -> None:
    kind = list(Kind)[number % 3]
    desk.documents.append(desk.world.add(kind=kind, uploader="colaborator", pdf=b"%PDF"))


async def another_pdf(desk: Desk, number: int) -> None:
    row = desk.documents[number % len(desk.documents)]
    desk.world.sql(
        "UPDATE document_file SET created_at = ?, size = size + 1 WHERE role = 'pdf'"
        " AND document = (SELECT id FROM document WHERE uid = ?)",
        f"2026-11-24T10:{number % 60:02d}:00.000000Z",
        row.uid,
    )


async def notice(desk: Desk, number: int) -> None:
    desk.world.add_notice()


async def message_about_a_document(desk: Desk, number: int) -> None:
    """The firm sees it from the moment on at which the document is approved."""
    row = desk.documents[number % len(desk.documents)]
    name = desk.world.add_notice()
    desk.world.sql(
        "INSERT INTO message (uid, client, message_id, cif, type, details, created_raw, entry,"
        " state, listed_at, upload_id) SELECT 'a' || uid, client, 'a' || message_id, cif, type,"
        " details, created_raw, entry, 'archived', listed_at, ?1 FROM message WHERE id ="
        " (SELECT message FROM notice WHERE folder_name = ?1)",
        name,
    )
    desk.world.sql(
        "UPDATE document SET message = (SELECT id FROM message WHERE upload_id = ?)"
        " WHERE uid = ? AND message IS NULL",
        name,
        row.uid,
    )
    desk.world.sql(
        "UPDATE notice SET type = 'buyer_message', upload_id = ?1 WHERE folder_name = ?1", name
    )


async def narrow(desk: Desk, number: int) -> None:
    who = ("ana", "aprobator", "privitor", "colaborator")[number % 4]
    scope = (
        Scope(),
        Scope(kinds=frozenset({Kind.OTHER})),
        Scope(suppliers=frozenset({"13267221"})),
        Scope(suppliers=frozenset({"1"})),
    )[number // 4 % 4]
    role = PEOPLE[who][2]["alfa"]
    await clients.add_member(
        desk.account(who), desk.world.client_ids["alfa"], role, desk.at, scope=scope
    )


async def time_passes(desk: Desk, number: int) -> None:
    desk.at += timedelta(minutes=(1, 9, 11, 60 * 24 * 40)[number % 4])


async def month_closed(desk: Desk, number: int) -> None:
    period = ("2026-01", "2026-10", "2026-11")[number % 3]
    await periods.close_period(
        desk.world.client_ids["alfa"], period, desk.viewer("contabil"), desk.at
    )


STEPS: tuple[Step, ...] = (
    approve, approve, reject, give_back, record_under_an_alias, new_document, another_pdf,
    notice, message_about_a_document, narrow, time_passes, month_closed,
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 60)), min_size=1, max_size=12))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_kept_listing_is_for_everybody_what_a_new_one_would_be(
    laid: World, steps: list[tuple[Step, int]]
) -> None:
    async def run(world: World) -> None:
        async with open_store(world.settings):
            desk = Desk(world)
            await desk.everybody_sees_what_is_so(desk.folders())
            for step, number in steps:
                await step(desk, number)
                await desk.everybody_sees_what_is_so(desk.folders())
            await desk.everybody_sees_what_is_so(desk.places())

    with copy_of(laid) as world:
        asyncio.run(run(world))


@pytest.fixture
async def desk(laid: World) -> AsyncIterator[Desk]:
    with copy_of(laid) as world:
        async with open_store(world.settings):
            yield Desk(world)


class Counting(Renderer):
    """A renderer that remembers what it was asked to render."""

    def __init__(self) -> None:
        super().__init__(Asked())
        self.names: list[str] = []

    def __call__(self, item: Item) -> str:
        self.names.append(item.name)
        return super().__call__(item)


async def test_after_a_change_only_what_changed_is_rendered_again(desk: Desk) -> None:
    renderer = Counting()
    sight = drive.sight_of(desk.viewer("ana"), desk.world.client_ids["alfa"], Status.PENDING)

    async def asked() -> list[str]:
        renderer.names.clear()
        body = await desk.listings.members("/x/", sight, renderer)
        fresh = await Listings().members("/x/", sight, Renderer(Asked()))
        assert body == fresh
        return list(renderer.names)

    assert sorted(await asked()) == sorted(row.name for row in desk.documents[:2])
    assert await asked() == []
    added = desk.world.add()
    assert await asked() == [added.name]
    await approve(desk, 0)
    assert await asked() == []
    desk.world.add(client="beta")
    assert await asked() == []


async def test_a_message_about_a_document_appears_to_the_firm_with_its_approval(
    desk: Desk,
) -> None:
    """Nothing in the folder of the message has changed then."""
    path = tree.join([CLIENTS["alfa"], "Altele", "2026-11"], collection=False)
    await message_about_a_document(desk, 0)
    before = await desk.ask(desk.listings, "contabil", path)
    await approve(desk, 0)
    after = await desk.ask(desk.listings, "contabil", path)
    assert after.body.count(b"Eroare-ANAF") == before.body.count(b"Eroare-ANAF") + 1


async def test_no_more_is_kept_than_the_bytes_that_are_given(desk: Desk) -> None:
    names = [f"/{number}/" for number in range(40)]
    sight = drive.sight_of(desk.viewer("ana"), desk.world.client_ids["alfa"], Status.PENDING)
    one = Listings()
    await one.members(names[0], sight, Renderer(Asked()))
    few = Listings(one.size * 3 + one.size // 2)
    renderer = Counting()
    for name in names:
        await few.members(name, sight, renderer)
        await few.members(names[0], sight, renderer)  # in use, so it stays
    assert few.size <= one.size * 3 + one.size // 2
    assert len(renderer.names) == 2 * len(names)
    none = Listings(one.size - 1)
    await none.members(names[0], sight, Renderer(Asked()))
    assert none.size == 0


async def test_a_listing_under_way_while_the_folder_changes_is_not_kept_as_the_new_one(
    desk: Desk,
) -> None:
    desk.world.sql(
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 600)"
        " INSERT INTO document (uid, client, kind, status, source, type, received_at,"
        " folder_name, folder_key, archive_month, signature_result, signature_reason, changed_at)"
        " SELECT 'u' || n, client, kind, status, source, type, received_at, 'n' || n, 'n' || n,"
        " archive_month, 'absent', 'absent', changed_at FROM document, number WHERE uid = ?",
        desk.documents[0].uid,
    )
    sight = drive.sight_of(desk.viewer("ana"), desk.world.client_ids["alfa"], Status.PENDING)
    renderer = Renderer(Asked())
    under_way = asyncio.create_task(desk.listings.members("/x/", sight, renderer))
    await asyncio.sleep(0)
    assert not under_way.done()
    added = desk.world.add()
    now = await desk.listings.members("/x/", sight, renderer)
    await under_way
    for body in (now, await desk.listings.members("/x/", sight, renderer)):
        assert f"/x/{added.name}/".encode() in body

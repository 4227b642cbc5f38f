"""Month completeness: listed ↔ archived ↔ decided ↔ recorded, the gaps, and who sees what."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from appliance.core.errors import BadInput, NotAllowed
from appliance.core.roles import Kind, Role, Scope, Status
from appliance.core.sentence import Sentence
from appliance.core.spv import read_created
from appliance.store import engine, messages, months, notices
from appliance.store.messages import MessageState
from tests.support.store import NOW, World, entry

_IDS = itertools.count(3_000_000_001)
LATER = datetime(2026, 12, 5, 9, 0, tzinfo=UTC)


async def listed(world: World, created_raw: str = "202611230915", **fields: Any) -> Any:
    """Let ANAF list one message of Alfa, made at that Romanian time."""
    (message,) = await messages.remember(
        fields.pop("client_id", world.alfa),
        [
            entry(
                str(next(_IDS)),
                created_raw=created_raw,
                created_at=read_created(created_raw),
                **fields,
            )
        ],
        NOW,
    )
    return message


async def fetched(
    world: World, status: Status = Status.PENDING, created_raw: str = "202611230915", **fields: Any
) -> str:
    """Bring a message all the way to a document of that status; return its uid."""
    message = await listed(world, created_raw, client_id=fields.get("client_id", world.alfa))
    uid = await world.document(uid=message.uid, message_uid=message.uid, **fields)
    await messages.settle(message.uid, MessageState.ARCHIVED, None, NOW)
    await world.bring(uid, status)
    return uid


async def whole_list(client_id: int, at: datetime) -> None:
    """Note that the client's only CIF was listed whole."""
    async with engine.transaction():
        await engine.execute(
            "INSERT INTO listing (client, cif, tried_at, done_at) VALUES (?, '12345674', ?, ?) "
            "ON CONFLICT DO UPDATE SET done_at = excluded.done_at",
            [client_id, months.to_text(at), months.to_text(at)],
        )


async def test_the_month_is_the_romanian_one_of_the_day_anaf_made_the_message(
    world: World,
) -> None:
    await listed(world, "202611010030")  # still October in UTC
    await listed(world, "202610312359")
    await listed(world, "not a date")  # of the month of its first listing

    assert {one.month: one.listed for one in await months.of_client(world.alfa)} == {
        "2026-11": 2,
        "2026-10": 1,
    }


async def test_a_month_counts_what_was_listed_archived_decided_and_recorded(world: World) -> None:
    for status in (Status.PENDING, Status.APPROVED, Status.REJECTED, Status.ARCHIVED):
        await fetched(world, status)
    await listed(world)
    lost = await listed(world)
    await messages.settle(lost.uid, MessageState.EXPIRED, Sentence("expirat", "expired"), NOW)
    await world.document(source="upload", issue_date=date(2026, 11, 8))

    found = await months.report(world.alfa, "2026-11", NOW, everything=True)

    totals = found.totals
    assert (totals.listed, totals.archived) == (6, 4)
    assert (totals.decidable, totals.decided, totals.recordable, totals.recorded) == (5, 3, 2, 1)
    assert [(gap.kind, gap.number) for gap in found.gaps] == [
        ("running", 0),
        ("queued", 1),
        ("expired", 1),
        ("pending", 2),
        ("approved", 1),
    ]
    assert not found.fetched
    (named,) = (found.gap("expired") or pytest.fail("no gap")).named
    assert (named.message_id, named.problem) == (lost.message_id, Sentence("expirat", "expired"))
    (queued,) = (found.gap("queued") or pytest.fail("no gap")).named
    assert queued.days_left == 58


async def test_the_counters_say_what_the_rows_say_after_every_change(world: World) -> None:
    async def agree() -> None:
        for client_id in (world.alfa, world.beta):
            for totals in await months.of_client(client_id):
                report = await months.report(client_id, totals.month, NOW, everything=True)
                assert report.totals == totals

    uid = await fetched(world)
    await agree()
    for status in Status:
        await fetched(world, status, "202610150800", client_id=world.beta)
        await world.document(status, source="upload", issue_date=date(2026, 9, 8))
    await agree()
    message = await listed(world)
    await messages.settle(message.uid, MessageState.NOT_ALLOWED, None, NOW)
    await agree()
    async with engine.transaction():
        await engine.execute("UPDATE document SET issue_date = '2026-08-01'")
        await engine.execute("UPDATE document SET message = NULL WHERE uid = ?", [uid])
    await agree()
    async with engine.transaction():
        await engine.execute("DELETE FROM event")
        await engine.execute("DELETE FROM document_line")
        await engine.execute("DELETE FROM document_file")
        await engine.execute("DELETE FROM document")
        await engine.execute("DELETE FROM message")
    assert await months.of_client(world.alfa) == []


async def test_a_month_is_complete_when_it_is_over_listed_archived_decided_and_recorded(
    world: World,
) -> None:
    await fetched(world, Status.ARCHIVED)
    await fetched(world, Status.REJECTED)

    running = await months.report(world.alfa, "2026-11", NOW, everything=True)
    unlisted = await months.report(world.alfa, "2026-11", LATER, everything=True)
    await whole_list(world.alfa, datetime(2026, 11, 30, 22, 10, tzinfo=UTC))
    too_early = await months.report(world.alfa, "2026-11", LATER, everything=True)
    await whole_list(world.alfa, datetime(2026, 11, 30, 22, 15, tzinfo=UTC))
    complete = await months.report(world.alfa, "2026-11", LATER, everything=True)

    assert [gap.kind for gap in running.gaps] == ["running"]
    assert [gap.kind for gap in unlisted.gaps] == ["unlisted"]
    assert [gap.kind for gap in too_early.gaps] == ["unlisted"]
    assert complete.gaps == ()
    assert complete.complete
    assert not too_early.complete


async def test_a_month_that_anaf_had_begun_to_forget_at_the_first_listing_says_so(
    world: World,
) -> None:
    await fetched(world, Status.ARCHIVED, "202609280800")
    await whole_list(world.alfa, NOW)

    september = await months.report(world.alfa, "2026-09", NOW, everything=True)
    october = await months.report(world.alfa, "2026-10", NOW, everything=True)

    assert [gap.kind for gap in september.gaps] == ["unseen"]
    assert not september.fetched
    assert october.gaps == ()


async def test_recorded_counts_in_whatever_period_and_the_periods_are_told(world: World) -> None:
    await fetched(world, Status.ARCHIVED, "202611010800", issue_date=date(2026, 10, 31))
    await fetched(world, Status.ARCHIVED, "202611020800", issue_date=date(2026, 11, 2))
    await fetched(world, Status.ARCHIVED, "202612010800", issue_date=date(2026, 11, 30))

    november = await months.report(world.alfa, "2026-11", NOW, everything=True)

    assert november.totals.recorded == 2
    assert november.periods == {"2026-10": 1, "2026-11": 1}
    assert november.in_period == 2


async def test_an_archived_message_without_a_row_and_a_damaged_document_are_gaps(
    world: World,
) -> None:
    without = await listed(world)
    await messages.settle(without.uid, MessageState.ARCHIVED, None, NOW)
    await fetched(world, type="unreadable", problem=Sentence("stricat", "damaged"))
    await fetched(world, signature_result="invalid")
    filed = await listed(world)
    await notices.add(
        notices.NewNotice(
            uid=filed.uid, client_id=world.alfa, message_uid=filed.uid, type="anaf_error",
            text="x", received_at=NOW, folder_name="2026-11-24_Eroare", upload_id="5",
        ),
        NOW,
    )  # fmt: skip

    found = await months.report(world.alfa, "2026-11", LATER, everything=True)

    kinds = {gap.kind: gap.number for gap in found.gaps}
    assert kinds == {
        "unlisted": 0, "no_document": 1, "unreadable": 1, "signature": 1, "pending": 2,
    }  # fmt: skip
    assert found.totals.messages[MessageState.NOTICE] == 1


async def test_the_firm_learns_of_what_is_not_approved_only_how_much_and_how_old(
    world: World,
) -> None:
    for status in Status:
        await fetched(world, status, problem=Sentence("stricat", "damaged"), partner_name="KANAR")
    await listed(world)

    for_firm = await months.report(world.alfa, "2026-11", NOW, everything=False)
    for_client = await months.report(world.alfa, "2026-11", NOW, everything=True)

    def names(report: months.Report) -> dict[str, tuple[int, int]]:
        return {gap.kind: (gap.number, len(gap.named)) for gap in report.gaps}

    assert names(for_client) == {
        "running": (0, 0), "queued": (1, 1), "unreadable": (4, 4), "pending": (1, 1),
        "approved": (1, 1),
    }  # fmt: skip
    assert names(for_firm) == {
        "running": (0, 0), "queued": (1, 0), "unreadable": (2, 2), "pending": (1, 0),
        "approved": (1, 1),
    }  # fmt: skip
    assert (for_firm.gap("pending") or pytest.fail("no gap")).oldest == NOW - timedelta(hours=1)


async def test_who_sees_everything_and_who_sees_nothing(world: World) -> None:
    await world.person("ema", at_alfa=Role.APPROVER, scope=Scope(kinds=frozenset({Kind.ISSUED})))
    await world.person("both", firm_role=Role.ADMIN, at_alfa=Role.OWNER)

    for name, everything in {
        "ana": True, "bogdan": True, "dan": True, "elena": False, "gina": False, "both": True,
    }.items():  # fmt: skip
        assert months.sees_all(await world.viewer(name), world.alfa) is everything, name
    for name in ("corina", "ema", "florin", "bianca"):
        with pytest.raises(NotAllowed):
            months.sees_all(await world.viewer(name), world.alfa)


async def test_the_board_has_a_row_for_each_client_of_the_firms_person(world: World) -> None:
    await fetched(world, Status.PENDING, "202610300800")
    await fetched(world, Status.PENDING, received_at=NOW - timedelta(days=9))
    await fetched(world, Status.PENDING)
    await world.document(source="upload", received_at=NOW - timedelta(days=11))
    await listed(world, "202610300800")
    both = [world.alfa, world.beta]

    (alfa,) = await months.board(await world.viewer("elena"), both, "2026-11", NOW)
    rows = await months.board(await world.viewer("gina"), both, "2026-11", NOW)

    assert (alfa.totals.listed, alfa.totals.archived, alfa.totals.undecided) == (2, 2, 3)
    assert alfa.oldest_undecided == NOW - timedelta(days=11)
    assert alfa.fetching is not None
    assert alfa.fetching.days_left == 34
    assert [row.totals.client_id for row in rows] == both
    assert rows[1].totals.listed == 0
    assert rows[1].oldest_undecided is None
    assert not alfa.unlisted
    await whole_list(world.alfa, NOW)
    october = await months.board(await world.viewer("gina"), both, "2026-10", NOW)
    assert [row.unlisted for row in october] == [False, True]
    assert await months.board(await world.viewer("ana"), both, "2026-11", NOW) == []


async def test_the_folders_of_a_month_are_those_of_its_documents_notices_and_uploads(
    world: World,
) -> None:
    inside = {await fetched(world), await world.document(source="upload")}
    await fetched(world, Status.PENDING, "202610300800")
    await world.document(source="import", issue_date=date(2026, 10, 31))
    await listed(world)

    assert {place.uid for place in await months.places(world.alfa, "2026-11")} == inside


@pytest.mark.parametrize("text", ["2026-13", "1999-01", "2026-1", "2026-11-01", "' OR 1", ""])
async def test_what_is_no_month_is_refused(world: World, text: str) -> None:
    with pytest.raises(BadInput):
        await months.report(world.alfa, text, NOW, everything=True)

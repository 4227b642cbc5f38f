"""Every entry that ANAF listed is accounted for, whatever its pages say about themselves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.core.times import BUCHAREST
from appliance.store import alerts, clients, jobs, listings, messages, runs
from appliance.store.jobs import Job
from appliance.store.listings import Listing
from appliance.store.messages import MessageState
from appliance.sync import spv
from tests.support.desk import Desk
from tests.support.spv import ALFA, BETA, STRANGER, Answer, eroare, listed, package, refusal
from tests.support.store import entry

OTHER = "14399840"
QUEUED, ARCHIVED, NOT_ALLOWED = (
    MessageState.QUEUED,
    MessageState.ARCHIVED,
    MessageState.NOT_ALLOWED,
)
EMPTY = eroare("Nu exista mesaje in intervalul selectat")


def page(
    *ids: str | int | None, total: Any = None, pages: Any = 1, number: int = 1, **fields: Any
) -> Answer:
    """A page of the list with these entries; without a total it says nothing of any."""
    said: dict[str, Any] = {"mesaje": [listed(each, **fields) for each in ids], "cui": ALFA}  # type: ignore[arg-type]
    if total is not None:
        said |= {
            "numar_total_inregistrari": total,
            "numar_total_pagini": pages,
            "index_pagina_curenta": number,
        }
    return 200, json.dumps(said).encode(), {"content-type": "text/html"}


async def ids(desk: Desk) -> list[str]:
    return sorted(await messages.known_ids(desk.world.alfa))


async def noted(desk: Desk) -> Listing:
    (found,) = await listings.of_client(desk.world.alfa)
    return found


async def again(desk: Desk) -> Job:
    """Run the listing that waits for its time, and return it."""
    await desk.run("list", at=datetime.now(UTC) + timedelta(minutes=5))
    job = await jobs.latest("list", desk.world.alfa_uid)
    assert job is not None
    return job


async def until_told(desk: Desk) -> Job:
    """List until sync asks no more."""
    job = await desk.listing()
    for _ in range(5):
        if job.state != "queued":
            break
        job = await again(desk)
    assert job.state == "done"
    return job


# Pages


async def test_pages_that_grow_while_they_are_read_are_all_read(desk: Desk) -> None:
    desk.vault.answers[ALFA] = [
        page("1", "2", total=3, pages=2),
        page("3", "4", total=5, pages=3, number=2),
        page("5", total=5, pages=3, number=3),
    ]

    assert (await desk.listing()).state == "done"

    assert await ids(desk) == ["1", "2", "3", "4", "5"]
    assert len(desk.vault.lists) == 3
    assert (await noted(desk)).counts.listed == 5


async def test_an_entry_that_a_shift_hid_is_found_by_reading_again(desk: Desk) -> None:
    # A message came in at the front: "2" is on both pages and "4" on none that was read.
    desk.vault.answers[ALFA] = [
        page("1", "2", total=4, pages=2),
        page("2", "3", total=4, pages=2, number=2),
        page("0", "1", total=4, pages=2),
        page("3", "4", total=4, pages=2, number=2),
    ]

    await desk.listing()

    assert await ids(desk) == ["0", "1", "2", "3", "4"]


async def test_a_list_that_repeats_an_entry_each_time_is_whole(desk: Desk) -> None:
    twice = [
        page("1", "2", total=4, pages=2),
        page("2", "3", total=4, pages=2, number=2),
    ]
    desk.vault.answers[ALFA] = twice * 2

    assert (await desk.listing()).state == "done"

    assert await ids(desk) == ["1", "2", "3"]
    assert len(desk.vault.lists) == 4
    found = await noted(desk)
    assert (found.problem, found.counts.listed) == (None, 3)


async def test_a_page_fewer_than_announced_is_the_end_and_is_told(desk: Desk) -> None:
    short = [
        page("1", "2", total=3, pages=2),
        eroare("Pagina solicitata 2 este mai mare decat numarul toatal de pagini 1"),
    ]
    desk.vault.answers[ALFA] = short * 30

    job = await desk.listing()

    assert await ids(desk) == ["1", "2"]
    assert job.state == "queued"
    assert (job.next_attempt_at - datetime.now(UTC)).total_seconds() < 10
    problem = (await noted(desk)).problem
    assert problem is not None
    assert "a anunțat 3 mesaje" in problem.ro
    assert "a listat 2 mesaje" in problem.ro


async def test_what_stays_short_is_reported_and_does_not_hold_the_run_open(desk: Desk) -> None:
    desk.vault.answers[ALFA] = [page("1", total=3)] * 60
    await runs.begin(desk.world.alfa, None, datetime.now(UTC))

    await until_told(desk)

    found = await noted(desk)
    assert (found.done_at, found.counts.listed) == (None, 1)
    run = await runs.of_client(desk.world.alfa)
    assert run is not None
    assert (run.listed_at is not None, run.problem) == (True, found.problem)


@pytest.mark.parametrize("pages", [10**15, 3])
async def test_however_many_pages_are_claimed_no_more_are_read_than_there_may_be(
    desk: Desk, pages: int
) -> None:
    desk.vault.answers[ALFA] = [page("1", "2", "3", total=3, pages=pages)] * 20

    assert (await desk.listing()).state == "done"

    assert len(desk.vault.lists) == 3
    assert await ids(desk) == ["1", "2", "3"]


async def test_more_pages_than_anybody_has_are_not_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spv, "MAX_PAGES", 4)
    desk.vault.answers[ALFA] = [page("1", total=10**15, pages=10**15)] * 50

    assert (await desk.listing()).state == "queued"

    assert len(desk.vault.lists) == 4 * 3


async def test_a_full_page_that_counts_nothing_may_have_another_behind_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spv, "PAGE", 2)
    desk.vault.answers[ALFA] = [page("1", "2"), page("3")]

    assert (await desk.listing()).state == "done"

    assert await ids(desk) == ["1", "2", "3"]


# Entries


async def test_ids_as_numbers_are_the_same_ids(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    desk.vault.entries[ALFA][0] |= {"id": 7001, "cif": int(ALFA), "id_solicitare": 57001}

    assert (await desk.listing()).state == "done"

    assert await ids(desk) == ["7001"]
    assert (await noted(desk)).counts.missing == 0


async def test_a_type_that_nobody_knows_is_kept(desk: Desk) -> None:
    desk.vault.offer("7001", package(), tip="CEVA NOU")

    await desk.fetch()

    message = await desk.only_message()
    assert (message.type, message.state) == ("CEVA NOU", ARCHIVED)


async def test_an_entry_that_gets_its_id_later_is_the_same_message(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers[ALFA] = [page(None, id_solicitare="57001", total=1)]
    await desk.listing()
    kept = await desk.only_message()
    assert kept.state is NOT_ALLOWED

    await desk.fetch()

    message = await desk.only_message()
    assert (message.uid, message.message_id, message.state) == (kept.uid, "7001", ARCHIVED)
    assert message.problem is None


async def test_an_entry_that_loses_its_id_later_is_still_the_same_message(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.fetch()
    desk.vault.answers[ALFA] = [page(None, id_solicitare="57001", total=1)]

    assert (await desk.listing()).state == "done"

    assert (await desk.only_message()).state is ARCHIVED
    assert (await noted(desk)).counts.missing == 0


async def test_an_invoice_to_oneself_listed_without_ids_is_two_messages(desk: Desk) -> None:
    desk.vault.entries[ALFA] = [
        listed(None, id_solicitare="5", tip=tip) for tip in ("FACTURA TRIMISA", "FACTURA PRIMITA")
    ]

    await desk.listing()
    await desk.listing()

    assert (await messages.progress(desk.world.alfa))[NOT_ALLOWED] == 2


async def test_strangers_are_counted_and_not_stored(desk: Desk) -> None:
    desk.vault.answers[ALFA] = [page("1", "2", total=2, cif=STRANGER)]

    assert (await desk.listing()).state == "done"

    assert (await noted(desk)).counts == listings.Counts(listed=0, new=0, missing=0, strangers=2)
    assert await ids(desk) == []


async def test_the_oldest_message_is_fetched_first(desk: Desk) -> None:
    for number, made in (("7003", "202611231200"), ("7001", "202610010800"), ("7002", "?")):
        desk.vault.offer(number, package(), data_creare=made)

    await desk.fetch()

    assert desk.vault.downloads == ["7002", "7001", "7003"]


async def test_a_zip_is_a_zip_whatever_the_answer_calls_it(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [(200, package(), {"content-type": "text/html"})]

    await desk.fetch()

    assert (await desk.only_message()).state is ARCHIVED


# Answers that are not to be believed


async def test_a_list_that_suddenly_is_empty_changes_nothing_and_is_reported(desk: Desk) -> None:
    for number in range(7001, 7004):
        desk.vault.offer(str(number), package())
    await desk.fetch()
    before = await noted(desk)
    desk.vault.answers[ALFA] = [EMPTY] * 9

    await until_told(desk)

    assert len(desk.vault.lists) == 1 + 4
    assert (await messages.progress())[ARCHIVED] == 3
    found = await noted(desk)
    assert (found.counts.missing, found.done_at) == (3, before.done_at)
    assert found.problem is not None
    assert "niciunul din cele 3" in found.problem.ro
    (alert,) = await alerts.open_for(desk.world.alfa)
    assert (alert.kind, alert.object) == ("listing", f"{desk.world.alfa_uid}/{ALFA}")

    desk.vault.answers[ALFA].clear()
    await desk.listing()

    assert await alerts.open_for(desk.world.alfa) == []
    assert (await noted(desk)).problem is None


async def test_one_empty_answer_among_others_is_only_asked_for_again(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.fetch()
    desk.vault.answers[ALFA] = [EMPTY]

    assert (await desk.listing()).state == "queued"
    assert (await again(desk)).state == "done"

    found = await noted(desk)
    assert (found.problem, found.counts.missing) == (None, 0)


async def test_what_is_new_in_an_answer_that_is_not_believed_is_fetched_all_the_same(
    desk: Desk,
) -> None:
    for number in range(7001, 7006):
        desk.vault.offer(str(number), package())
    await desk.fetch()
    desk.vault.entries[ALFA] = []
    desk.vault.offer("7009", package())

    await desk.fetch()

    assert (await messages.progress())[ARCHIVED] == 6


async def test_what_is_old_enough_to_leave_the_list_is_not_missing(desk: Desk) -> None:
    edge = (datetime.now(UTC) - timedelta(days=59, hours=12)).astimezone(BUCHAREST)
    desk.vault.offer("7001", package(), data_creare=f"{edge:%Y%m%d%H%M}")
    await desk.fetch()
    desk.vault.entries[ALFA].clear()

    assert (await desk.listing()).state == "done"

    assert (await noted(desk)).counts.missing == 0


# Rights, runs and times


async def test_a_right_that_comes_back_brings_the_messages(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [eroare("Nu aveti dreptul sa descarcati acesta factura")]
    await desk.fetch()
    assert (await desk.only_message()).state is NOT_ALLOWED

    await desk.listing(priority=0)
    assert (await desk.only_message()).state is NOT_ALLOWED
    await desk.fetch()

    assert (await desk.only_message()).state is ARCHIVED


async def test_what_is_lost_for_good_is_not_asked_for_again(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [eroare("A trecut perioada de 60 de zile")]

    await desk.fetch()
    await desk.fetch()

    assert desk.vault.downloads == ["7001"]


async def test_the_nights_listing_lets_what_waits_wait(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [refusal(429, "message-quota", 9000)]
    await desk.fetch()

    await desk.listing(priority=0)
    await desk.run("message")

    assert desk.vault.downloads == ["7001"]


async def test_what_somebody_waits_for_comes_before_the_nights(desk: Desk) -> None:
    desk.vault.offer("1", package())
    desk.vault.answers["1"] = [refusal(429, "message-quota", 9000)]
    await desk.listing(priority=0)
    await desk.run("message")
    desk.vault.offer("2", package())
    await desk.listing(priority=0)  # by night, and not begun yet
    night = await messages.remember(desk.world.beta, [entry("9")], datetime.now(UTC))
    desk.vault.offer("3", package())

    await desk.listing()
    taken = await jobs.lease(10, datetime.now(UTC), 45, ["message"])

    alfa = {m.message_id: m.uid for m in await messages.in_state(QUEUED, desk.world.alfa)}
    assert [job.object_uid for job in taken[-1:]] == [night[0].uid]
    assert {job.object_uid for job in taken[:-1]} == set(alfa.values())
    assert {job.priority for job in taken[:-1]} == {runs.PRIORITY}
    assert len(alfa) == 3


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (refusal(403, "unmapped"), True),
        (refusal(503, "needs-authorisation"), True),
        (refusal(503, "second-try", 600), True),
        (refusal(503, "application", 600), True),
        (refusal(429, "list-quota", 9000), True),
        (eroare("Nu aveti drept in SPV pentru CIF=1"), True),
        (eroare("S-au facut deja 1500 interogari de tip lista mesaje"), True),
        ((401, b"", {}), True),
        (refusal(502, "unreachable", 60), False),
        (refusal(429, "rate", 5), False),
        ((200, b"", {}), False),
    ],
)
async def test_whoever_watches_is_let_go_when_only_a_person_or_tomorrow_helps(
    desk: Desk, answer: Answer, ends: bool
) -> None:
    desk.vault.answers[ALFA] = [answer]
    at = datetime.now(UTC)
    await runs.begin(desk.world.alfa, None, at)

    await desk.run("list")

    progress = await runs.progress(desk.world.alfa, datetime.now(UTC))
    assert progress is not None
    assert progress.ended is ends
    if answer[2].get("arhivar-reason") != "rate":
        assert progress.problem is not None
        assert (await noted(desk)).problem is not None


async def test_of_two_numbers_the_one_that_fails_does_not_hide_the_other(desk: Desk) -> None:
    await clients.add_identifier(desk.world.alfa, OTHER, datetime.now(UTC))
    desk.vault.offer("7001", package(), cif=OTHER)
    desk.vault.answers[ALFA] = [refusal(403, "unmapped")]
    await runs.begin(desk.world.alfa, None, datetime.now(UTC))

    await desk.run("list")

    of_cif = {found.cif: found for found in await listings.of_client(desk.world.alfa)}
    assert of_cif[ALFA].done_at is None
    assert of_cif[OTHER].counts.new == 1
    run = await runs.of_client(desk.world.alfa)
    assert run is not None
    assert (run.new, run.problem) == (1, of_cif[ALFA].problem)


async def test_a_listing_that_nobody_asked_for_is_a_run_too(desk: Desk) -> None:
    desk.vault.offer("7001", package())

    await desk.listing(priority=0)

    run = await runs.of_client(desk.world.alfa)
    assert run is not None
    assert (run.asked_by, run.listed, run.new) == (None, 1, 1)


async def test_an_entry_of_another_client_is_counted_with_nobody_twice(desk: Desk) -> None:
    desk.vault.answers[ALFA] = [page("1", "2", total=2, cif=BETA)]

    await desk.listing()

    assert sorted(await messages.known_ids(desk.world.beta)) == ["1", "2"]
    assert (await noted(desk)).counts == listings.Counts()


# Several authorisations


async def test_an_authorisation_that_is_not_allowed_is_reported_and_the_next_one_asked(
    desk: Desk,
) -> None:
    refused = eroare(f"Nu aveti drept in SPV pentru CIF={ALFA}")
    desk.vault.answers[ALFA] = [(*refused[:2], {"arhivar-grant": "first"}), page("1", "2")]

    assert (await desk.listing()).state == "done"

    assert await ids(desk) == ["1", "2"]
    assert desk.vault.not_allowed == ["first"]
    assert await alerts.open_for(desk.world.alfa) == []


async def test_a_vault_that_has_only_the_refused_one_is_not_asked_for_ever(desk: Desk) -> None:
    refused = eroare(f"Nu aveti drept in SPV pentru CIF={ALFA}")
    desk.vault.answers[ALFA] = [(*refused[:2], {"arhivar-grant": "first"})] * 5

    await desk.listing()

    assert len(desk.vault.lists) == 2
    assert desk.vault.not_allowed == ["first"]

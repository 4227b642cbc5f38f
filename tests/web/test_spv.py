"""The page SPV: who sees how much of it, one fetch for everybody, and a stream that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from appliance.core.roles import Kind, Role, Scope
from appliance.core.sentence import Sentence
from appliance.store import (
    accounts,
    alerts,
    clients,
    health,
    jobs,
    listings,
    messages,
    outages,
    runs,
)
from appliance.store.engine import fetch, transaction
from appliance.store.health import Health
from appliance.store.listings import Counts
from appliance.store.messages import MessageState
from appliance.web import watching
from appliance.web.auth.cookies import CookieName
from appliance.web.auth.sessions import hash_of
from appliance.web.pages.spv import Sight, listable, sight_of
from appliance.web.watching import Watches
from tests.support.store import NOW, entry
from tests.support.web import Browser, Site


def said(what: str) -> Sentence:
    return Sentence(f"{what}.", f"{what} (en)")


async def settled(
    site: Site, message_id: str, state: MessageState, problem: Sentence | None = None
) -> str:
    """List one message of Alfa and let it end so."""
    (message,) = await messages.remember(site.world.alfa, [entry(message_id)], NOW)
    async with transaction():
        await messages.settle(message.uid, state, problem, NOW)
        for job in await jobs.lease(100, NOW, 60, ["message"]):
            if job.object_uid == message.uid:
                await jobs.finish(job.id, NOW)
            else:
                await jobs.give_back(job.id, NOW)
    return message.uid


async def waiting(site: Site, message_id: str, why: Sentence) -> str:
    """List one message of Alfa that waits for 27 minutes."""
    (message,) = await messages.remember(site.world.alfa, [entry(message_id)], NOW)
    for job in await jobs.lease(100, NOW, 60, ["message"]):
        if job.object_uid == message.uid:
            await jobs.retry(job.id, NOW, 27 * 60, why)
        else:
            await jobs.give_back(job.id, NOW)
    return message.uid


async def place(site: Site, part: str = "") -> str:
    return f"/clients/{site.world.alfa_uid}/spv{part}"


@pytest.fixture
async def ends(site: Site) -> Site:
    """Alfa with one message of each end; the ids tell which."""
    await settled(site, "7000001", MessageState.ARCHIVED)
    await settled(site, "7000002", MessageState.NOTICE)
    await settled(site, "7000003", MessageState.EXPIRED, said("au trecut 60 de zile"))
    await settled(site, "7000004", MessageState.NOT_ALLOWED, said("nu aveți dreptul"))
    await settled(site, "7000005", MessageState.QUARANTINED, said("este a altui client 55555551"))
    why = Sentence(
        "ANAF nu a dat mesajul. Răspunsul ANAF: „id 7000006, 98765438”.",
        "no message (ANAF said: 'id 7000006, 98765438')",
    )
    await waiting(site, "7000006", why)
    return site


async def test_the_clients_people_see_every_message_and_the_firm_only_what_never_becomes_a_document(
    ends: Site,
) -> None:
    ids = {f"700000{number}" for number in range(1, 7)}
    seen: dict[str, set[str]] = {}
    for name in ("ana", "elena", "gina", "corina"):
        browser = await ends.browser(name)
        text = (await browser.get(await place(ends))).text
        for state in MessageState:
            text += (await browser.get(f"{await place(ends)}?state={state}")).text
        seen[name] = {each for each in ids if each in text}
        if name in ("elena", "gina"):
            assert "ANAF nu a dat mesajul." in text
            assert "12:27" in text
    assert seen["ana"] == ids - {"7000005"}
    assert seen["elena"] == {"7000003", "7000004"}
    assert seen["gina"] == {"7000003", "7000004", "7000005"}
    assert seen["corina"] == set()


async def test_of_a_message_that_is_set_aside_an_administrator_sees_ids_and_cifs_only(
    ends: Site,
) -> None:
    details = entry("7000005").details
    assert details
    gina = await ends.browser("gina")
    text = (await gina.get(f"{await place(ends)}?state=quarantined")).text
    assert "7000005" in text
    assert "este a altui client 55555551" in text
    assert details not in text
    for name in ("ana", "elena"):
        text = (await (await ends.browser(name)).get(await place(ends))).text
        assert "Puse deoparte" in text
        assert "55555551" not in text


async def test_who_is_narrowed_sees_whether_something_is_fetched_and_no_number(ends: Site) -> None:
    scope = Scope(kinds=frozenset({Kind.ISSUED}))
    await ends.world.person("ema", at_alfa=Role.APPROVER, scope=scope)
    ema = await ends.world.viewer("ema")
    assert sight_of(ema, ends.world.alfa) is Sight.STATE
    assert listable(ema, ends.world.alfa) == ()
    corina = await ends.browser("corina")
    text = (await corina.get(await place(ends))).text
    assert "În așteptare" not in text
    assert "În arhivă" not in text
    assert (await corina.get(await place(ends, "/progress"))).text.count("7000") == 0


async def test_every_sentence_of_a_list_that_was_strange_is_said(ends: Site) -> None:
    await listings.note(ends.world.alfa, "12345674", NOW, Counts(9, 2, 3, 4), said("Ceasul greșit"))
    for name, strangers in (("ana", False), ("elena", True)):
        text = (await (await ends.browser(name)).get(await place(ends))).text
        assert "Ceasul greșit." in text
        assert "3 mesaje listate mai demult nu mai apar în lista ANAF" in text
        assert ("4 mesaje ale unor firme care nu sunt clienți" in text) is strangers
        assert "Lista din SPV a fost citită întreagă: azi, 12:00" in text


@pytest.mark.parametrize(
    ("age", "said"),
    [(44, ""), (46, "mai sunt 13 zile"), (58, "mai este o zi")],
)
async def test_the_message_that_anaf_deletes_first_is_told_from_fourteen_days_on(
    site: Site, age: int, said: str
) -> None:
    created = NOW - timedelta(days=age, hours=1)
    await messages.remember(site.world.alfa, [entry("7000001", created_at=created)], NOW)

    for name, told in (("ana", said), ("elena", said), ("corina", "")):
        text = (await (await site.browser(name)).get(await place(site))).text
        assert ("până când ANAF îl șterge" in text) == bool(told)
        assert told in text


async def test_what_is_due_during_an_outage_waits_for_the_next_question(site: Site) -> None:
    await messages.remember(site.world.alfa, [entry("7000007")], NOW)
    elena = await site.browser("elena")
    assert "Acum." in (await elena.get(await place(site))).text
    for number in range(3):
        await outages.failed("api", NOW, said("tace"), f"obiect {number}")
    text = (await elena.get(await place(site))).text
    assert "Acum." not in text
    assert "Încercăm din nou la 12:01." in text


async def test_two_who_press_the_button_run_one_fetch(site: Site) -> None:
    ana, elena = await site.browser("ana"), await site.browser("elena")
    for browser in (ana, elena):
        await browser.get(await place(site))
    to = await place(site, "/fetch")
    answers = await asyncio.gather(*(browser.post(to) for browser in (ana, elena, ana, elena)))
    assert {answer.status_code for answer in answers} == {303}
    assert len(await fetch("SELECT id FROM fetch_run")) == 1
    assert len(await fetch("SELECT id FROM job WHERE kind = 'list'")) == 1
    for browser in (ana, elena):
        assert "Citim lista de la ANAF" in (await browser.get(await place(site))).text


RESULTS = {
    (12, 0): "12 facturi noi, 0 erori",
    (1, 1): "1 factură nouă, 1 eroare",
    (20, 2): "20 de facturi noi, 2 erori",
}


async def test_the_result_is_said_with_the_right_plurals(site: Site) -> None:
    ana = await site.browser("ana")
    for numbers, words in RESULTS.items():
        site.clock.forward(minutes=1)
        at = site.clock()
        await runs.begin(site.world.alfa, None, at)
        (job,) = await jobs.lease(1, at, 60, ["list"])
        await runs.listing(site.world.alfa, at)
        entries = [entry(f"8{at.minute:02}{number:04}") for number in range(sum(numbers))]
        found = await messages.remember(site.world.alfa, entries, at)
        await runs.listed(site.world.alfa, at, listed=len(found), new=len(found))
        await jobs.finish(job.id, at)
        for number, message in enumerate(found):
            state = MessageState.ARCHIVED if number < numbers[0] else MessageState.EXPIRED
            await messages.settle(message.uid, state, None, at)
        for job in await jobs.lease(100, at, 60, ["message"]):
            await jobs.finish(job.id, at)
        assert words in (await ana.get(await place(site))).text


async def test_a_client_without_a_cif_has_no_button_and_its_post_is_refused(site: Site) -> None:
    client_id = await clients.create_client("Nou SRL", [], NOW)
    await clients.add_member(site.world.ids["ana"], client_id, Role.OWNER, NOW)
    uid = (await clients.by_id(client_id)).uid
    ana = await site.browser("ana")
    assert "Adu facturile din SPV acum" not in (await ana.get(f"/clients/{uid}/spv")).text
    await ana.get(await place(site))
    refused = await ana.post(f"/clients/{uid}/spv/fetch")
    assert refused.status_code == 400
    assert "nu are încă un CIF" in refused.text
    assert await runs.of_client(client_id) is None


async def test_an_outage_is_told_to_everybody_where_it_matters_and_ends(site: Site) -> None:
    since = NOW - timedelta(minutes=168)
    for number in range(3):
        await outages.failed("api", since, said("tace"), f"obiect {number}")
    told = "ANAF nu răspunde de la 09:12. Încercăm singuri"
    pages = {
        "ana": [await place(site), f"/clients/{site.world.alfa_uid}/pending"],
        "corina": [await place(site), f"/clients/{site.world.alfa_uid}/pending"],
        "elena": ["/clients", "/spv", await place(site)],
        "florin": ["/clients", "/spv"],
    }
    for name, places in pages.items():
        browser = await site.browser(name)
        for path in places:
            assert (await browser.get(path)).text.count(told) == 1, (name, path)
    await outages.answered("api", NOW)
    assert told not in (await (await site.browser("ana")).get(await place(site))).text


@pytest.mark.parametrize(
    ("kind", "words"),
    [("token", "Nicio autorizare SPV valabilă nu ajunge la Alfa Construct SRL"),
     ("listing", "ANAF nu mai dă dreptul la SPV pentru Alfa Construct SRL")],
)  # fmt: skip
async def test_a_lost_authorisation_is_told_once_to_whose_client_it_is(
    site: Site, kind: str, words: str
) -> None:
    await alerts.raise_once(kind, site.world.alfa_uid, 0, site.world.alfa, NOW)
    # Not a stop: the list is there, only not whole.
    await alerts.raise_once("listing", f"{site.world.beta_uid}/98765438", 0, site.world.beta, NOW)
    for name, path, times in (
        ("ana", await place(site), 1),
        ("ana", f"/clients/{site.world.alfa_uid}/pending", 1),
        ("elena", "/clients", 1),
        ("gina", "/spv", 1),
        ("florin", "/clients", 0),
        ("florin", "/spv", 0),
        ("bianca", f"/clients/{site.world.beta_uid}/pending", 0),
    ):
        text = (await (await site.browser(name)).get(path)).text
        assert text.count(words) == times, (name, path)
        assert "Beta Comerț SRL nu mai" not in text
        assert "pentru Beta" not in text


async def test_the_board_tells_what_is_not_in_the_archive_and_of_own_clients_only(
    ends: Site,
) -> None:
    await listings.note(ends.world.alfa, "12345674", NOW, Counts(6, 6), None)
    await listings.note(ends.world.beta, "98765438", NOW, Counts(5, 5), None)
    gina = (await (await ends.browser("gina")).get("/spv")).text
    assert "Tot ce a listat ANAF este în arhivă la 1 din 2 clienți." in gina
    for words in ("1 mesaj expirat", "1 mesaj fără drept", "1 mesaj pus deoparte"):
        assert words in gina
    # What needs somebody comes first.
    assert gina.index('/spv">Alfa') < gina.index('/spv">Beta')
    florin = (await (await ends.browser("florin")).get("/spv")).text
    assert "Tot ce a listat ANAF este în arhivă (1 client)." in florin
    assert "Alfa" not in florin


async def test_a_loss_that_everybody_has_heard_of_is_told_and_holds_up_no_verdict(
    site: Site,
) -> None:
    old = entry("1", created_at=NOW - timedelta(days=95))
    (message,) = await messages.remember(site.world.alfa, [old], NOW - timedelta(days=40))
    lost_at = NOW - timedelta(days=29)
    await messages.settle(message.uid, MessageState.EXPIRED, said("au trecut 60 de zile"), lost_at)
    for client, cif in ((site.world.alfa, "12345674"), (site.world.beta, "98765438")):
        await listings.note(client, cif, NOW, Counts(), None)
    gina = await site.browser("gina")
    fresh = (await gina.get("/spv")).text
    assert "Tot ce a listat ANAF este în arhivă la 1 din 2 clienți." in fresh
    assert "Nu tot" in fresh

    site.clock.moment = at = NOW + timedelta(days=2)
    for client, cif in ((site.world.alfa, "12345674"), (site.world.beta, "98765438")):
        await listings.note(client, cif, at, Counts(), None)
    gina = await site.browser("gina")
    later = (await gina.get("/spv")).text

    assert "Tot ce se mai poate aduce din SPV este în arhivă (2 clienți)." in later
    assert "Tot ce mai era în SPV" in later
    assert "1 mesaj expirat" in later
    assert "Nu tot" not in later
    # With one that waits it is "not all" again, loss or no loss.
    await messages.remember(site.world.alfa, [entry("2", created_at=at)], at)
    waits = (await gina.get("/spv")).text
    assert "Tot ce a listat ANAF este în arhivă la 1 din 2 clienți." in waits


async def test_a_list_that_is_two_nights_old_or_a_message_soon_forgotten_is_to_be_solved(
    site: Site,
) -> None:
    gina = await site.browser("gina")
    await listings.note(site.world.alfa, "12345674", NOW, Counts(), None)
    await listings.note(site.world.beta, "98765438", NOW - timedelta(days=2), Counts(), None)
    assert (await gina.get("/spv")).text.count("De rezolvat") == 1
    old = entry("1", created_at=NOW - timedelta(days=54))
    await messages.remember(site.world.alfa, [old], NOW)
    text = (await gina.get("/spv")).text
    assert text.count("De rezolvat") == 2
    assert "mai sunt 6 zile" in text


async def test_fetching_all_is_of_own_clients_and_again_changes_nothing(site: Site) -> None:
    florin, gina = await site.browser("florin"), await site.browser("gina")
    await florin.get("/spv")
    assert (await florin.post("/spv/fetch")).status_code == 303
    assert await runs.of_client(site.world.alfa) is None
    first = await runs.of_client(site.world.beta)
    await gina.get("/spv")
    await gina.post("/spv/fetch")
    assert await runs.of_client(site.world.beta) == first
    assert await runs.of_client(site.world.alfa) is not None


async def test_how_often_is_chosen_on_either_page_and_only_what_is_offered(site: Site) -> None:
    elena = await site.browser("elena")
    for path in ("/spv", await place(site)):
        for hours in ("1", "24", ""):
            await elena.get(path)
            referer = {"referer": f"{elena.origin}{path}"}
            answer = await elena.post(
                await place(site, "/interval"), {"hours": hours}, headers=referer
            )
            assert answer.headers["location"] == path
            chosen = await health.every_hours(site.world.alfa)
            assert chosen == (int(hours) if hours else None)
    refused = await elena.post(await place(site, "/interval"), {"hours": "999"})
    assert refused.status_code == 400


# The stream


@dataclass
class Looks:
    """How it stands at a client, and how often that was asked."""

    asked: list[int] = field(default_factory=list)
    state: str = "first"

    async def __call__(self, client_id: int, at: datetime) -> str:
        self.asked.append(client_id)
        return self.state


def session_of(browser: Browser) -> str:
    return hash_of(browser.cookies[CookieName.SESSION])


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "EVERY", 0.01)


async def next_of(stream: AsyncIterator[Any]) -> Any:
    return await asyncio.wait_for(anext(stream), 10)


@pytest.mark.usefixtures("hurried")
async def test_hundreds_who_look_are_one_reader_and_all_are_told(site: Site) -> None:
    session = session_of(await site.browser("ana"))
    looks = Looks()
    watches = Watches(looks, site.clock)
    streams = [watches.follow(site.world.alfa, session) for _ in range(300)]
    first = await asyncio.gather(*(next_of(stream) for stream in streams))
    assert set(first) == {"first"}
    asked = len(looks.asked)
    assert asked < 10
    looks.state = "second"
    # A row that anybody writes is what makes it look again.
    await alerts.raise_once("outage", "api", 0, None, NOW)
    second = await asyncio.gather(*(next_of(stream) for stream in streams))
    assert set(second) == {"second"}
    assert len(looks.asked) - asked < 10
    await watches.closed()
    for stream in streams:
        await stream.aclose()


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("how", ["log-out", "idle", "disabled"])
async def test_the_stream_ends_with_the_session_and_others_go_on(site: Site, how: str) -> None:
    ana, elena = await site.browser("ana"), await site.browser("elena")
    watches = site.app.portal.watches
    of = {"ana": session_of(ana), "elena": session_of(elena)}
    streams = {name: watches.follow(site.world.alfa, session) for name, session in of.items()}
    for stream in streams.values():
        assert isinstance(await next_of(stream), Health)
    if how == "log-out":
        await ana.post("/logout")
    elif how == "idle":
        site.clock.forward(minutes=20)
        await elena.get("/clients")
        site.clock.forward(minutes=15)
    else:
        await accounts.disable(site.world.ids["ana"], NOW)
    async with asyncio.timeout(10):
        async for _ in streams["ana"]:
            pass  # what was changed before; then it is over
    assert watches.ended(of["ana"])
    # Elena's own is still told what is new.
    await runs.begin(site.world.alfa, None, site.clock())
    told = await next_of(streams["elena"])
    assert told is not None
    assert told.progress is not None
    await streams["elena"].aclose()
    await watches.closed()


@pytest.mark.usefixtures("hurried")
async def test_a_silence_is_a_heartbeat_and_a_stream_ends_before_it_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "HEARTBEAT", 0.05)
    monkeypatch.setattr(watching, "LIFE", 0.4)
    session = session_of(await site.browser("ana"))
    watches = Watches(Looks(), site.clock)
    async with aclosing(watches.follow(site.world.alfa, session)) as stream:
        told = [each async for each in stream]
    assert told[0] == "first"
    assert told[1] is None
    assert not watches.ended(session)
    await watches.closed()


@pytest.mark.usefixtures("hurried")
async def test_nobody_reads_the_database_when_nobody_looks(site: Site) -> None:
    session = session_of(await site.browser("ana"))
    looks = Looks()
    watches = Watches(looks, site.clock)
    stream = watches.follow(site.world.alfa, session)
    await next_of(stream)
    task = watches._task
    assert task is not None
    await stream.aclose()
    await asyncio.wait_for(task, 10)
    # And whoever comes after that is told again.
    again = watches.follow(site.world.alfa, session)
    assert await next_of(again) == "first"
    await again.aclose()
    await watches.closed()


async def test_what_a_page_asks_for_by_itself_keeps_no_session_alive(site: Site) -> None:
    gina = await site.browser("gina")
    for _ in range(4):
        site.clock.forward(minutes=9)
        answer = await gina.request("GET", "/spv", headers={"x-unattended": "1"})
    assert answer.headers["location"] == "/login?next=/spv"


async def test_the_stream_keeps_no_session_alive(site: Site) -> None:
    ana = await site.browser("ana")
    for _ in range(4):
        site.clock.forward(minutes=9)
        answer = await ana.get(await place(site, "/progress"))
    assert answer.headers["location"].startswith("/login")


async def test_one_event_has_the_live_parts_and_is_never_cached_or_buffered(ends: Site) -> None:
    ana = await ends.browser("ana")
    answer = await ana.get(await place(ends, "/progress"))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert all(line.startswith("data: ") for line in answer.text.strip().splitlines())
    for part in ("standing", "outcome", "bar", "listed", "notes", "queues", "counts"):
        assert f'id="{part}"' in answer.text

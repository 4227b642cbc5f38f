"""The pages of a month, as people of each side read them, and the firm's board."""

from __future__ import annotations

import itertools
import json
import re
from datetime import timedelta
from typing import Any

import pytest

from appliance.core.roles import Role, Status
from appliance.core.sentence import Sentence
from appliance.store import jobs, messages
from appliance.store.files import Archive
from appliance.store.messages import MessageState
from tests.support.store import NOW, entry
from tests.support.web import Site

_IDS = itertools.count(7_700_000_001)


async def month_of_alfa(site: Site) -> None:
    """November: one document of each status, one message to fetch, one lost."""
    world = site.world
    for status in Status:
        (message,) = await messages.remember(world.alfa, [entry(str(next(_IDS)))], NOW)
        await world.document(
            status, uid=message.uid, message_uid=message.uid, partner_name=f"KANAR-{status}",
            received_at=NOW - timedelta(days=3),
        )  # fmt: skip
        await messages.settle(message.uid, MessageState.ARCHIVED, None, NOW)
    for state in (MessageState.QUEUED, MessageState.EXPIRED):
        (message,) = await messages.remember(
            world.alfa,
            [entry(f"88{state.value}", created_at=NOW - timedelta(days=50))],
            NOW,
        )
        await messages.settle(message.uid, state, Sentence("pentru că așa", "because"), NOW)


def place(site: Site) -> str:
    return f"/clients/{site.world.alfa_uid}/months/2026-11"


def proof_files(site: Site, at: str = "2026-11-24T09:00:00.000000Z") -> None:
    """Put a proof into the archive, as sync does."""
    archive = Archive(site.world.settings.archive_dir)
    claims = {
        "at": at,
        "messages": {"listed": 6, "archived": 4},
        "manifests": {"number": 4, "sha256": "a" * 64},
        "audit": {"seq": 17, "head": "b" * 64},
    }
    archive.write_proof(site.world.alfa_uid, "2026-11.pdf", b"%PDF-1.7 proof")
    archive.write_proof(site.world.alfa_uid, "2026-11.json", json.dumps(claims).encode())


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


async def test_the_client_reads_every_number_and_opens_what_is_missing(site: Site) -> None:
    await month_of_alfa(site)
    ana = await site.browser("ana")

    response = await ana.get(place(site))

    text = plain(response.text)
    assert "Noiembrie 2026" in text
    assert "Luna este în curs" in text
    for sentence in (
        "Un mesaj așteaptă să fie adus din SPV.",
        "Un mesaj nu mai poate fi adus, au trecut 60 de zile: cere-l la ANAF.",
        "Un document așteaptă decizia clientului.",
        "Un document aprobat nu este încă înregistrat.",
        "mai sunt 10 zile",
        "Mesajul 88queued",
    ):
        assert sentence in text, sentence
    pending = re.search(r'href="(/documents/[0-9a-z]+)">KANAR-pending', response.text)
    assert pending
    assert (await ana.get(pending.group(1))).status_code == 200


async def test_the_firm_reads_of_what_is_not_approved_only_how_many_and_how_old(
    site: Site,
) -> None:
    await month_of_alfa(site)

    for name in ("elena", "gina"):
        browser = await site.browser(name)
        page = await browser.get(place(site))
        data = await browser.get(f"{place(site)}/json")
        for text in (page.text, data.text):
            assert "KANAR-pending" not in text
            assert "KANAR-rejected" not in text
            assert "88queued" not in text
            assert "88expired" in text
        assert "Un document așteaptă decizia clientului." in page.text
        assert "Cel mai vechi: 21.11.2026." in page.text
        gaps = {gap["kind"]: gap for gap in data.json()["gaps"]}
        assert gaps["pending"]["number"] == 1
        assert gaps["pending"]["named"] == []
        assert len(gaps["approved"]["named"]) == 1
        assert data.json()["documents"]["rejected"] == 1


async def test_the_data_says_what_the_page_says(site: Site) -> None:
    await month_of_alfa(site)
    proof_files(site)
    ana = await site.browser("ana")

    data = (await ana.get(f"{place(site)}/json")).json()

    assert (data["listed"], data["archived"]) == (6, 4)
    assert (data["decidable"], data["decided"], data["recordable"], data["recorded"]) == (
        4,
        3,
        2,
        1,
    )
    assert data["radar"] == {"created_at": "2026-10-05T10:00:00.000000Z", "days_left": 10}
    assert data["proof"]["manifests"]["sha256"] == "a" * 64
    assert [gap["kind"] for gap in data["gaps"]] == [
        "running", "queued", "expired", "pending", "approved",
    ]  # fmt: skip


async def test_a_month_of_a_client_in_english(site: Site) -> None:
    await month_of_alfa(site)
    proof_files(site)
    ana = await site.browser("ana")
    await ana.post("/language", {"language": "en", "back": "/"})

    text = plain((await ana.get(place(site))).text)

    assert "The month is under way" in text
    assert "One document waits for the client's decision." in text.replace("&#39;", "'")
    assert "Made on 24 Nov 2026, 11:00: 4 of 6 messages in the archive." in text
    assert "months." not in text


async def test_a_proof_is_asked_for_shown_while_it_is_made_and_then_opened(site: Site) -> None:
    ana, elena = await site.browser("ana"), await site.browser("elena")
    assert (await ana.get(f"{place(site)}/proof")).status_code == 404
    before = await ana.get(place(site))
    assert "hx-trigger" not in before.text

    asked = await ana.post(f"{place(site)}/proof")
    await elena.get(place(site))
    await elena.post(f"{place(site)}/proof")

    assert asked.headers["location"] == f"{place(site)}#proof"
    waiting = await ana.get(place(site))
    assert 'hx-trigger="every 2s"' in waiting.text
    assert "Dovada se face acum." in waiting.text
    job = await jobs.latest("proof", f"{site.world.alfa_uid}/2026-11")
    assert job is not None
    assert await jobs.waiting("proof") == 1
    proof_files(site)
    await jobs.finish(job.id, NOW)
    ready = await ana.get(place(site))
    assert "hx-trigger" not in ready.text
    assert "Făcută la 24.11.2026, 11:00: 4 din 6 mesaje în arhivă." in ready.text
    assert "a" * 64 in ready.text
    for browser in (ana, elena):
        pdf = await browser.get(f"{place(site)}/proof")
        assert pdf.content == b"%PDF-1.7 proof"
        assert pdf.headers["content-type"] == "application/pdf"


async def test_why_a_proof_waits_is_said(site: Site) -> None:
    ana = await site.browser("ana")
    await ana.get(place(site))
    await ana.post(f"{place(site)}/proof")
    job = await jobs.latest("proof", f"{site.world.alfa_uid}/2026-11")
    assert job is not None
    await jobs.park(job.id, NOW, Sentence("Discul este plin.", "the disk is full"))

    page = await ana.get(place(site))

    assert "Discul este plin." in page.text
    assert "Fă dovada" in page.text


@pytest.mark.parametrize("month", ["2026-12", "2026-13", "2026", "x", "1999-01"])
async def test_a_proof_of_a_month_that_is_none_or_has_not_begun_is_refused(
    site: Site, month: str
) -> None:
    ana = await site.browser("ana")
    await ana.get(place(site))

    asked = await ana.post(f"/clients/{site.world.alfa_uid}/months/{month}/proof")

    assert asked.status_code == 400
    assert await jobs.waiting("proof") == 0


async def test_a_proof_that_is_damaged_is_as_none(site: Site) -> None:
    proof_files(site)
    Archive(site.world.settings.archive_dir).write_proof(
        site.world.alfa_uid, "2026-11.json", b"{half"
    )
    ana = await site.browser("ana")

    assert "Făcută la" not in (await ana.get(place(site))).text
    assert (await ana.get(f"{place(site)}/proof")).status_code == 404


async def test_the_list_of_months_has_the_latest_first(site: Site) -> None:
    await month_of_alfa(site)
    await messages.remember(site.world.alfa, [entry("1", created_raw="202609100800")], NOW)
    ana = await site.browser("ana")

    text = plain((await ana.get(f"/clients/{site.world.alfa_uid}/months")).text)

    assert text.index("noiembrie 2026") < text.index("septembrie 2026")
    assert "4 / 6" in text
    assert "expirate: 1" in text


async def test_the_board_shows_the_clients_of_the_firms_person_in_the_last_whole_month(
    site: Site,
) -> None:
    await month_of_alfa(site)
    elena, gina = await site.browser("elena"), await site.browser("gina")

    october = plain((await elena.get("/months")).text)
    november = plain((await elena.get("/months?month=2026-11")).text)
    everybody = plain((await gina.get("/months?month=2026-11")).text)
    data = (await gina.get("/months/json?month=2026-11")).json()

    assert "Octombrie 2026" in october
    assert "din 1 client fără lipsuri." in october
    assert "1 din 2 clienți fără lipsuri." in everybody
    assert "Beta Comerț" not in november
    for text in (november, everybody):
        assert "4 / 6" in text
        assert "de 3 zile" in text
        assert "KANAR" not in text
    assert "Beta Comerț" in everybody
    assert [row["listed"] for row in data["clients"]] == [6, 0]
    assert data["clients"][0]["radar"]["days_left"] == 10
    assert (await gina.get("/months?month=x")).status_code == 400


async def test_the_menu_leads_there_whom_it_is_for(site: Site) -> None:
    link = f'href="/clients/{site.world.alfa_uid}/months"'
    await site.world.person("both", firm_role=Role.ADMIN, at_alfa=Role.OWNER)

    async def menu(name: str) -> Any:
        browser = await site.browser(name)
        return (await browser.get(f"/clients/{site.world.alfa_uid}/approved")).text

    assert link in await menu("ana")
    assert link in await menu("elena")
    assert link not in await menu("corina")
    assert 'href="/months"' in await menu("elena")
    assert 'href="/months"' not in await menu("ana")

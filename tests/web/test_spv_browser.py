"""The page SPV in Chromium: two people, one fetch, and progress that nobody has to reload for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from appliance.core.sentence import Sentence
from appliance.store import alerts, jobs, listings, messages, outages, runs
from appliance.store.engine import fetch
from appliance.store.listings import Counts
from appliance.store.messages import MessageState
from appliance.web.auth.cookies import CookieName
from tests.support.store import NOW, entry
from tests.support.web import Site
from tests.support.web_server import Served, served
from tests.web.test_browser import AXE, DESK, PHONE, Visitor, chromium

__all__ = ["chromium"]

BUTTON = "Adu facturile din SPV acum"


async def seed(site: Site) -> None:
    await listings.note(site.world.alfa, "12345674", NOW, Counts(3, 3, 2, 0), None)
    for number, state in enumerate((MessageState.EXPIRED, MessageState.NOT_ALLOWED)):
        (message,) = await messages.remember(site.world.alfa, [entry(f"900{number}")], NOW)
        why = Sentence("ANAF nu îl mai dă.", "ANAF no longer gives it")
        await messages.settle(message.uid, state, why, NOW - timedelta(days=1))
    for job in await jobs.lease(10, NOW, 60, ["message"]):
        await jobs.finish(job.id, NOW)


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, seed) as running:
        yield running


class Sync:
    """What sync writes while it fetches, step by step."""

    def __init__(self, portal: Served) -> None:
        self._portal, self._alfa = portal, portal.site.world.alfa
        self._found: list[str] = []

    def lists(self, number: int) -> None:
        async def work() -> None:
            (job,) = await jobs.lease(1, NOW, 60, ["list"])
            await runs.listing(self._alfa, NOW)
            entries = [entry(f"1000{each}") for each in range(number)]
            found = await messages.remember(self._alfa, entries, NOW)
            self._found = [message.uid for message in found]
            await runs.listed(self._alfa, NOW, listed=number, new=number)
            await jobs.finish(job.id, NOW)

        self._portal.run(work())

    def files(self, number: int) -> None:
        async def work() -> None:
            for job in await jobs.lease(number, NOW, 60, ["message"]):
                await messages.settle(job.object_uid, MessageState.ARCHIVED, None, NOW)
                await jobs.finish(job.id, NOW)

        self._portal.run(work())


def page_of(portal: Served, visitor: Visitor, name: str) -> Page:
    visitor.log_in(name)
    visitor.page.goto(f"{portal.url}/clients/{portal.site.world.alfa_uid}/spv")
    return visitor.page


def test_two_people_press_the_button_and_both_see_one_fetch_to_its_end(
    chromium: Browser, portal: Served
) -> None:
    visitors = Visitor(chromium, portal, PHONE), Visitor(chromium, portal, DESK)
    ana, elena = page_of(portal, visitors[0], "ana"), page_of(portal, visitors[1], "elena")
    ana.get_by_role("button", name=BUTTON).click()
    # Elena did nothing: the stream tells her.
    expect(elena.locator("#outcome")).to_contain_text("Citim lista de la ANAF")
    elena.get_by_role("button", name=BUTTON).click()
    assert len(portal.run(fetch("SELECT id FROM fetch_run"))) == 1
    assert len(portal.run(fetch("SELECT id FROM job WHERE kind = 'list'"))) == 1

    sync = Sync(portal)
    sync.lists(12)
    for page in (ana, elena):
        expect(page.locator("#outcome")).to_contain_text("Aducem facturile din SPV")
        expect(page.locator("#bar")).to_contain_text("0 din 12 mesaje")
    sync.files(5)
    for page in (ana, elena):
        expect(page.locator("#bar")).to_contain_text("5 din 12 mesaje")
    ana.reload()
    expect(ana.locator("#bar")).to_contain_text("5 din 12 mesaje")
    sync.files(7)
    for page in (ana, elena):
        expect(page.locator("#outcome")).to_contain_text("12 facturi noi, 0 erori")
        expect(page.locator("#bar progress")).to_have_count(0)
        expect(page.locator("#counts")).to_contain_text("În arhivă")
    for visitor in visitors:
        visitor.check()
        visitor.close()


def test_the_board_follows_what_is_fetched_and_keeps_what_somebody_is_choosing(
    chromium: Browser, portal: Served
) -> None:
    portal.run(runs.begin(portal.site.world.alfa, None, NOW))
    visitor = Visitor(chromium, portal, DESK)
    visitor.log_in("elena")
    page = visitor.page
    page.goto(f"{portal.url}/spv")
    board = page.locator("#board")
    expect(board).to_contain_text("Se aduce pentru 1 client.")
    often = board.get_by_label("Cât de des: Alfa")
    often.select_option("1")
    sync = Sync(portal)
    sync.lists(3)
    sync.files(3)
    # The board's turn to ask again has come, and it did not.
    page.evaluate(
        "new Promise((done) => document.body.addEventListener("
        "'htmx:beforeRequest', (event) => event.defaultPrevented && done()))"
    )
    expect(often).to_have_value("1")
    often.select_option("")
    often.blur()
    page.route("**/spv", lambda route: route.fulfill(status=502, body="Bad Gateway"))
    with page.expect_response(lambda response: response.status == 502) as asked:
        pass
    assert asked.value.request.headers["x-unattended"] == "1"
    expect(board).to_contain_text("Se aduce pentru 1 client.")
    portal.run(runs.finish_due(NOW + timedelta(minutes=1)))
    page.unroute("**/spv")
    expect(board).not_to_contain_text("Se aduce", timeout=15_000)
    expect(board).not_to_have_attribute("data-again", "")
    visitor.close()


def test_without_scripts_the_page_comes_again_by_itself_while_something_moves(
    chromium: Browser, portal: Served
) -> None:
    visitor = Visitor(chromium, portal, PHONE, java_script_enabled=False)
    page = page_of(portal, visitor, "ana")
    refresh = page.locator('meta[http-equiv="refresh"]')
    expect(refresh).to_have_count(0)
    page.get_by_role("button", name=BUTTON).click()
    expect(page.locator("#outcome")).to_contain_text("Citim lista de la ANAF")
    expect(refresh).to_have_count(1)
    sync = Sync(portal)
    sync.lists(1)
    sync.files(1)
    expect(page.locator("#outcome")).to_contain_text("1 factură nouă, 0 erori", timeout=15_000)
    expect(refresh).to_have_count(0)
    visitor.close()


def test_who_logs_out_elsewhere_is_led_to_the_log_in(chromium: Browser, portal: Served) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    page = page_of(portal, visitor, "ana")
    expect(page.locator("#listed")).to_contain_text("citită întreagă")
    with page.expect_response(lambda response: response.url.endswith("/spv/progress")):
        page.reload()
    other = visitor.context.new_page()
    other.goto(f"{portal.url}/clients/{portal.site.world.alfa_uid}/spv")
    other.locator(".bar summary").last.click()
    other.get_by_role("button", name="Ieși din cont").click()
    page.bring_to_front()
    expect(page).to_have_url(re.compile("/login"))
    visitor.close()


def test_told_to_stop_the_portal_ends_its_streams_itself(tmp_path: Path) -> None:
    with served(tmp_path, seed) as portal:
        with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as client:
            client.get(f"{portal.url}/healthz")  # until it listens
        browser = portal.run(portal.site.browser("ana", origin=portal.url))
        cookie = f"{CookieName.SESSION}={browser.cookies[CookieName.SESSION]}"
        headers = {"accept": "text/event-stream", "cookie": cookie}
        address = f"{portal.url}/clients/{portal.site.world.alfa_uid}/spv/progress"
        with httpx.stream("GET", address, headers=headers, timeout=30) as answer:
            lines = answer.iter_lines()
            # It comes line by line while it goes on, so nothing on the way keeps it back.
            assert next(lines).startswith("retry: ")
            assert any(line.startswith("data: ") for line in lines if line)
            portal.loop.call_soon_threadsafe(portal.stop.set)
            # An answer that was cut off would raise here.
            assert "event: over" not in list(lines)


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_pages_fit_the_screen_and_axe_finds_nothing_serious(
    chromium: Browser, portal: Served, size: tuple[int, int]
) -> None:
    alfa, uid = portal.site.world.alfa, portal.site.world.alfa_uid

    async def trouble() -> None:
        for number in range(3):
            why = Sentence("ANAF tace.", "ANAF is silent")
            await outages.failed("api", NOW, why, f"obiect {number}")
        await alerts.raise_once("token", uid, 0, alfa, NOW)
        await runs.begin(alfa, None, NOW)

    portal.run(trouble())
    wrong: list[str] = []
    for name, path in (
        ("ana", f"/clients/{uid}/spv"),
        ("ana", f"/clients/{uid}/spv?state=expired"),
        ("ana", f"/clients/{uid}/pending"),
        ("gina", "/spv"),
        ("gina", "/clients"),
    ):
        visitor = Visitor(chromium, portal, size)
        visitor.log_in(name)
        visitor.page.goto(portal.url + path)
        expect(visitor.page.locator("#standing")).to_contain_text("ANAF nu răspunde de la 12:00")
        visitor.check()
        if AXE.exists():
            visitor.page.evaluate(AXE.read_text(encoding="utf-8"))
            found = visitor.page.evaluate("axe.run({resultTypes: ['violations']})")
            wrong += [
                f"{path}: {each['id']} " + "; ".join(n["html"][:120] for n in each["nodes"][:3])
                for each in found["violations"]
                if each["impact"] in ("serious", "critical")
            ]
        visitor.close()
    assert not wrong, "\n".join(wrong)


def test_a_portal_that_starts_again_behind_a_proxy_is_found_again(
    chromium: Browser, portal: Served
) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    page = visitor.page
    page.route("**/spv/progress", lambda route: route.fulfill(status=502, body="Bad Gateway"))
    page_of(portal, visitor, "ana")
    with page.expect_response(lambda response: response.status == 502):
        pass
    portal.run(runs.begin(portal.site.world.alfa, None, NOW))
    page.unroute("**/spv/progress")
    expect(page.locator("#outcome")).to_contain_text("Citim lista de la ANAF", timeout=20_000)
    visitor.close()

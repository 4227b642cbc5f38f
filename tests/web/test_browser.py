"""The portal in Chromium: phone and desk, with scripts and without, and nothing the policy blocks.

Everything is served by Hypercorn as in production, lifespan included.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from appliance.core.roles import Role, Status
from appliance.store import clients, documents
from tests.conftest import ROOT
from tests.support.store import NOW
from tests.support.web import PASSWORD, Site
from tests.support.web_server import Served, served

CHROMIUM = Path(shutil.which("chromium") or "chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PHONE, DESK = (360, 740), (1440, 900)
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"

# Counts what the policy blocked, from before the page's own first line.
WATCH = """
window.__blocked = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.__blocked.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


async def seed(site: Site) -> None:
    for position in range(5):
        await site.invoice(position=position)
    await site.invoice(position=5, warnings=("cif_not_ours",), signature_result="invalid")
    await site.invoice(Status.APPROVED, position=6)
    await site.invoice(Status.REJECTED, position=7)
    await site.invoice(Status.ARCHIVED, position=8)
    await site.notice(text="E: BR-CO-14 suma TVA")
    await clients.add_member(site.world.ids["dan"], site.world.beta, Role.OWNER, NOW)


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, seed) as running:
        yield running


class Visitor:
    """One browser window that notes everything the policy blocked and every console error."""

    def __init__(self, browser: Browser, portal: Served, size: tuple[int, int], **options: Any):
        self.portal = portal
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, locale="ro-RO", **options
        )
        self.context.add_init_script(WATCH)
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind == "error" or "Content Security Policy" in text:
            self.errors.append(text)

    def log_in(self, name: str) -> None:
        self.page.goto(f"{self.portal.url}/login")
        self.page.get_by_label("E-mail").fill(f"{name}@example.ro")
        self.page.get_by_label("Parolă").fill(PASSWORD)
        self.page.get_by_role("button", name="Intră în cont").click()
        expect(self.page.locator("main h1").first).to_be_visible()

    def check(self) -> None:
        """Nothing blocked, nothing wrong in the console, nothing wider than the screen."""
        assert not self.errors
        assert self.page.evaluate("window.__blocked ?? []") == []
        assert self.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )

    def close(self) -> None:
        self.context.close()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_an_owner_approves_rejects_and_takes_back(
    chromium: Browser, portal: Served, size: tuple[int, int], scripts: bool
) -> None:
    visitor = Visitor(chromium, portal, size, java_script_enabled=scripts)
    page = visitor.page
    visitor.log_in("ana")
    expect(page.locator("main h1")).to_have_text("De aprobat")
    cards = page.locator("li.card")
    expect(cards).to_have_count(6)

    # Approve the first card, then undo.
    name = cards.first.locator("h2").inner_text()
    cards.first.get_by_role("button", name="Aprobă").click()
    expect(page.get_by_role("status")).to_contain_text(f"Aprobat: {name}")
    expect(cards).to_have_count(5)
    expect(page.locator("nav:visible a", has_text="De aprobat").locator(".count")).to_contain_text(
        "5"
    )
    page.get_by_role("status").get_by_role("button", name="Anulează").click()
    expect(page.get_by_role("status")).to_contain_text("Aprobarea a fost retrasă")
    expect(cards).to_have_count(6)

    # Reject it: a reason is needed; the sheet asks for it.
    cards.first.get_by_role("link", name="Respinge").click()
    sheet = page.locator("dialog" if scripts else "main")
    expect(sheet.get_by_role("heading", name="Respinge documentul")).to_be_visible()
    sheet.get_by_text("Marfă sau serviciu neprimit").click()
    sheet.get_by_label("Detalii").fill("Lipsesc trei cutii, țeavă și ștuț")
    sheet.get_by_role("button", name="Respinge").click()
    expect(page.get_by_role("status")).to_contain_text(f"Respins: {name}")
    expect(cards).to_have_count(5)

    # Read one, approve it on its page: the next one comes.
    cards.first.locator("a.body").click()
    expect(page.locator(".invoice h1")).to_be_visible()
    before = page.url
    page.locator(".decide").get_by_role("button", name="Aprobă").click()
    expect(page.get_by_role("status")).to_contain_text("Aprobat: ")
    expect(page.locator(".invoice h1")).to_be_visible()
    assert page.url != before
    if scripts:
        visitor.check()
    assert not visitor.errors
    visitor.close()

    done = portal.run(
        documents.page(portal.run(portal.site.world.viewer("ana")), portal.site.world.alfa_uid)
    )
    events = [
        portal.run(documents.by_uid(row.uid)).events[-1].reason
        for row in done.rows
        if row.status is Status.REJECTED
    ]
    assert "Marfă sau serviciu neprimit: Lipsesc trei cutii, țeavă și ștuț" in events


def test_a_decision_about_what_has_moved_is_refused_on_the_page(
    chromium: Browser, portal: Served
) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    visitor.log_in("ana")
    page = visitor.page
    page.locator("li.card a.body").first.click()
    uid = page.url.rpartition("/")[2]
    bogdan = portal.run(portal.site.browser("bogdan", origin=portal.url))
    fields = {"seen_status": "pending", "seen_revision": "1", "reason": "personal"}
    assert portal.run(bogdan.post(f"/documents/{uid}/reject", fields)).status_code == 303
    page.locator(".decide").get_by_role("button", name="Aprobă").click()
    expect(page.get_by_role("alert")).to_contain_text("Bogdan l-a respins")
    expect(page.locator(".badge.rejected")).to_be_visible()
    assert page.url == f"{portal.url}/documents/{uid}"
    visitor.close()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_rejection_of_what_has_moved_says_who_was_faster_at_an_address_that_opens_again(
    chromium: Browser, portal: Served, scripts: bool
) -> None:
    visitor = Visitor(chromium, portal, PHONE, java_script_enabled=scripts)
    visitor.log_in("ana")
    page = visitor.page
    card = page.locator("li.card").first
    uid = str(card.get_attribute("id")).removeprefix("d-")
    bogdan = portal.run(portal.site.browser("bogdan", origin=portal.url))
    fields = {"seen_status": "pending", "seen_revision": "1", "reason": "personal"}
    assert portal.run(bogdan.post(f"/documents/{uid}/reject", fields)).status_code == 303
    card.get_by_role("link", name="Respinge").click()
    expect(page.get_by_role("alert")).to_contain_text("Bogdan l-a respins")
    page.goto(page.url)
    expect(page.get_by_role("alert")).to_contain_text("Bogdan l-a respins")
    page.goto(f"{portal.url}/documents/{uid}/approve")
    assert page.url == f"{portal.url}/documents/{uid}"
    visitor.close()


def test_deciding_in_the_middle_of_a_list_brings_the_next_card_to_the_same_place(
    chromium: Browser, portal: Served
) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    visitor.log_in("ana")
    page = visitor.page
    address = page.url
    card, neighbour = page.locator("li.card").nth(2), page.locator("li.card").nth(3)
    uid, following = card.get_attribute("id"), str(neighbour.get_attribute("id"))
    page.evaluate(
        "(id) => scrollTo(0, scrollY + document.getElementById(id).getBoundingClientRect().top "
        "- 240)",
        uid,
    )
    before = card.bounding_box()
    assert before is not None
    card.get_by_role("button", name="Aprobă").click()
    expect(page.get_by_role("status")).to_contain_text("Aprobat: ")
    expect(page.locator(f"#{following} a.body")).to_be_focused()
    after = page.locator(f"#{following}").bounding_box()
    assert after is not None
    assert abs(after["y"] - before["y"]) < 2
    undo = page.get_by_role("status").get_by_role("button", name="Anulează")
    expect(undo).to_be_in_viewport()
    assert page.url == address
    visitor.check()
    visitor.close()


def test_another_reason_without_words_is_kept_and_asked_for(
    chromium: Browser, portal: Served
) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    visitor.log_in("ana")
    page = visitor.page
    page.locator("li.card").first.get_by_role("link", name="Respinge").click()
    page.locator("dialog").get_by_text("Alt motiv", exact=True).click()
    page.locator("dialog").get_by_role("button", name="Respinge").click()
    expect(page.get_by_role("alert")).to_contain_text("Scrie motivul în câteva cuvinte")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    expect(page.get_by_role("radio", name="Alt motiv")).to_be_checked()
    expect(page.get_by_label("Detalii")).to_be_focused()
    page.get_by_label("Detalii").fill("Am plătit deja")
    page.get_by_role("button", name="Respinge").click()
    expect(page.get_by_role("status")).to_contain_text("Respins: ")
    assert re.fullmatch(r".*/clients/\w+/pending", page.url)
    visitor.close()


def test_the_bar_of_decisions_leaves_most_of_a_phone_to_the_document(
    chromium: Browser, portal: Served
) -> None:
    for name, status in (("ana", Status.PENDING), ("elena", Status.APPROVED)):
        visitor = Visitor(chromium, portal, PHONE)
        visitor.log_in(name)
        viewer = portal.run(portal.site.world.viewer(name))
        row = portal.run(documents.page(viewer, portal.site.world.alfa_uid, status)).rows[0]
        visitor.page.goto(f"{portal.url}/documents/{row.uid}")
        bar = visitor.page.locator(".decide").bounding_box()
        assert bar is not None
        assert bar["height"] <= 140, name
        file = visitor.page.get_by_role("link", name="XML original")
        expect(file).to_be_in_viewport()
        # At the end of the page nothing lies below the bar but the tabs.
        visitor.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        last = visitor.page.locator(".aside .panel").last.bounding_box()
        bar = visitor.page.locator(".decide").bounding_box()
        assert last is not None
        assert bar is not None
        assert last["y"] + last["height"] <= bar["y"], name
        visitor.check()
        visitor.close()


def test_a_list_on_a_phone_gives_each_name_and_sum_the_whole_width(
    chromium: Browser, portal: Served
) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    visitor.log_in("ana")
    page = visitor.page
    page.goto(f"{portal.url}/clients/{portal.site.world.alfa_uid}/archived")
    row = page.locator("a.row").first
    name, total, dates = (row.locator(part).bounding_box() for part in (".who", ".sum", ".end"))
    assert name is not None
    assert total is not None
    assert dates is not None
    assert name["width"] == total["width"] == dates["width"] > 280
    assert name["y"] < total["y"] < dates["y"]
    visitor.close()


def test_nothing_on_a_phone_is_smaller_than_a_thumb(chromium: Browser, portal: Served) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    visitor.log_in("ana")
    small = visitor.page.evaluate(
        """[...document.querySelectorAll("main button, main a.button, nav a, summary")]
        .filter((element) => element.checkVisibility())
        .map((element) => [element.innerText, element.getBoundingClientRect()])
        .filter(([, box]) => box.height < 44 || box.width < 44).map(([text]) => text)"""
    )
    assert small == []
    visitor.close()


def pages_of(portal: Served) -> list[tuple[str | None, str]]:
    """Return every page with somebody who may see it."""
    alfa = portal.site.world.alfa_uid
    ana = portal.run(portal.site.world.viewer("ana"))

    def first(status: Status) -> str:
        return portal.run(documents.page(ana, alfa, status)).rows[-1].uid

    pending, approved = first(Status.PENDING), first(Status.APPROVED)
    lists = ("pending", "approved", "rejected", "archived", "notices")
    return [
        (None, "/login"),
        (None, "/nimic"),
        *(("ana", f"/clients/{alfa}/{section}") for section in lists),
        ("ana", f"/documents/{pending}"),
        ("ana", f"/documents/{pending}/reject"),
        ("ana", f"/documents/{first(Status.REJECTED)}"),
        ("ana", f"/clients/{alfa}/months"),
        ("ana", f"/clients/{alfa}/months/2026-11"),
        ("ana", f"/clients/{alfa}/import"),
        ("gina", "/months?month=2026-11"),
        ("gina", "/certificates"),
        ("elena", "/clients"),
        ("elena", f"/clients/{alfa}/approved"),
        ("elena", f"/documents/{approved}"),
        ("elena", f"/documents/{approved}/record"),
        ("elena", f"/documents/{approved}/return"),
        ("dan", f"/clients/{portal.site.world.beta_uid}/pending"),
    ]


# The narrowest and a tablet's, beside the two that people use, with the long campaigns.
@pytest.mark.parametrize(
    "width",
    [
        pytest.param(320, marks=pytest.mark.full),
        360,
        pytest.param(768, marks=pytest.mark.full),
        1440,
    ],
)
def test_every_page_fits_the_screen_and_axe_finds_nothing_serious(
    chromium: Browser, portal: Served, width: int
) -> None:
    wrong: list[str] = []
    visitors: dict[str | None, Visitor] = {}
    for name, path in pages_of(portal):
        if name not in visitors:
            visitors[name] = Visitor(chromium, portal, (width, 800))
            if name:
                visitors[name].log_in(name)
        visitor = visitors[name]
        page = visitor.page
        for scheme in ("light", "dark") if width in (360, 1440) else ("light",):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(portal.url + path)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                wrong.append(f"{path} at {width}: {wide} wide")
            blocked = page.evaluate("window.__blocked")
            wrong += [f"{path}: the policy blocked {what}" for what in blocked]
            if AXE.exists():
                page.evaluate(AXE.read_text(encoding="utf-8"))
                found = page.evaluate("axe.run({resultTypes: ['violations']})")
                wrong += [
                    f"{path} {scheme} {width}: {each['impact']} {each['id']} "
                    + "; ".join(node["html"][:120] for node in each["nodes"][:3])
                    for each in found["violations"]
                    if each["impact"] in ("serious", "critical")
                ]
    for visitor in visitors.values():
        visitor.close()
    assert not wrong, "\n".join(wrong)


def test_a_page_weighs_little_and_asks_nobody_else(chromium: Browser, portal: Served) -> None:
    visitor = Visitor(chromium, portal, PHONE)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.log_in("ana")
    weight = visitor.page.evaluate(
        """performance.getEntriesByType("resource")
        .concat(performance.getEntriesByType("navigation"))
        .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
    )
    assert {re.sub(r"(https?://[^/]+).*", r"\1", url) for url in asked} == {portal.url}
    assert weight < 150_000, weight
    # htmx notes the path that is shown, for the back button; it keeps no page.
    kept = visitor.page.evaluate("Object.keys({...localStorage, ...sessionStorage})")
    assert set(kept) <= {"htmx-current-path-for-history"}
    visitor.close()

"""Where a decision leads, what is said of it, and what of it stays among the client's people."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import unquote, urlsplit

import pytest

from appliance.core.lifecycle import Action
from appliance.core.roles import Status
from appliance.store import documents
from appliance.store.files import Archive
from appliance.web.pages.places import safe_list
from tests.support.web import Browser, Site

SEEN = {"seen_status": "pending", "seen_revision": "1"}
APPROVED = {"seen_status": "approved", "seen_revision": "1"}


async def follow(browser: Browser, place: str) -> str:
    """Return the page that a redirect leads to."""
    response = await browser.get(place.partition("#")[0])
    assert response.status_code == 200, place
    return response.text


async def act(site: Site, name: str, uid: str, action: Action, **fields: str) -> None:
    """Let somebody take a step elsewhere, meanwhile."""
    seen = await documents.by_uid(uid)
    await documents.act(
        uid,
        action,
        await site.world.viewer(name),
        seen_status=seen.status,
        seen_revision=seen.revision,
        at=site.clock(),
        channel="portal",
        **fields,  # type: ignore[arg-type]
    )


def field(page: str, uid: str, action: str, name: str) -> str:
    """Return a hidden field of the form that does this to the document."""
    form = re.search(rf'action="/documents/{uid}/{action}".*?</form>', page, re.DOTALL)
    assert form is not None, (uid, action)
    found = re.search(rf'name="{name}" value="([^"]*)"', form.group(0))
    return unescape(found.group(1)) if found else ""


async def second_stretch(site: Site, ana: Browser) -> tuple[str, str]:
    """Return the address and the page of the second stretch of a list of 45."""
    for _ in range(45):
        await site.world.document()
    page = await follow(ana, f"/clients/{site.world.alfa_uid}/pending")
    following = re.search(r'href="([^"]+)" rel="next"', page)
    assert following is not None
    place = unescape(following.group(1))
    return place, await follow(ana, place)


async def test_a_decision_from_a_list_and_its_undo_stay_at_that_stretch_and_card(
    site: Site,
) -> None:
    ana = await site.browser("ana")
    place, page = await second_stretch(site, ana)
    cards = re.findall(r'<li class="card" id="d-(\w+)"', page)
    uid, neighbour = cards[3:5]
    back = field(page, uid, "approve", "back")
    assert back == f"{place}#d-{neighbour}"
    response = await ana.post(f"/documents/{uid}/approve", {**SEEN, "back": back})
    led = response.headers["location"]
    assert led == f"{place}&done=approve&document={uid}#d-{neighbour}"
    page = await follow(ana, led)
    assert re.findall(r'<li class="card" id="d-(\w+)"', page)[3] == neighbour
    back = field(page, uid, "withdraw", "back")
    response = await ana.post(f"/documents/{uid}/withdraw", {**APPROVED, "back": back})
    assert response.headers["location"] == f"{place}&done=withdraw&document={uid}#d-{uid}"
    assert f'id="d-{uid}"' in await follow(ana, response.headers["location"])


async def test_a_rejection_asked_from_a_list_comes_back_to_it_and_so_does_a_change_of_mind(
    site: Site,
) -> None:
    ana = await site.browser("ana")
    place, page = await second_stretch(site, ana)
    asked = re.search(r'href="(/documents/(\w+)/reject\?back=[^"]+)"', page)
    assert asked is not None
    sheet = await follow(ana, unescape(asked.group(1)))
    back = field(sheet, asked.group(2), "reject", "back")
    assert back.startswith(f"{place}#d-")
    assert f'href="{back}" data-back' in unescape(sheet)


async def test_the_last_card_of_a_stretch_leads_to_the_beginning_and_is_still_confirmed(
    site: Site,
) -> None:
    ana = await site.browser("ana")
    uids = [await site.world.document() for _ in range(21)]
    here = f"/clients/{site.world.alfa_uid}/pending"
    following = re.search(r'href="([^"]+)" rel="next"', await follow(ana, here))
    assert following is not None
    place = unescape(following.group(1))
    (last,) = set(uids) & set(re.findall(r"d-(\w+)", await follow(ana, place)))
    response = await ana.post(f"/documents/{last}/approve", {**SEEN, "back": place})
    response = await ana.get(response.headers["location"])
    assert response.status_code == 303
    assert response.headers["location"] == f"{here}?done=approve&document={last}"
    assert "Aprobat: " in await follow(ana, response.headers["location"])


ALFA = "/clients/" + "0" * 26


@pytest.mark.parametrize(
    "back",
    [
        "https://rau.example/",
        "//rau.example/clients",
        "/\\rau.example",
        f"{ALFA}/pending/../../logout",
        f"{ALFA}/pending?next=//rau.example",
        f"{ALFA}/pending?after=x&done=approve",
        f"{ALFA}/pending?after=x%0d%0aset-cookie:a=b",
        f"{ALFA}/pending\r\nset-cookie: a=b",
        f"{ALFA}/pending\n",
        f"{ALFA}/pending#<script>",
        f"{ALFA}/pending?kind=nimic",
        "/documents/" + "0" * 26,
        "list",
        "javascript:alert(1)",
        " " + ALFA + "/pending",
    ],
)
async def test_only_a_list_of_ours_is_a_place_to_come_back_to(site: Site, back: str) -> None:
    assert safe_list(back) == ""
    uid = await site.invoice()
    ana = await site.browser("ana")
    sheet = await ana.request("GET", f"/documents/{uid}/reject?back={quoted(back)}")
    assert f'href="/documents/{uid}" data-back' in sheet.text
    response = await ana.post(f"/documents/{uid}/approve", {**SEEN, "back": back})
    if response.status_code == 303:
        led = urlsplit(response.headers["location"])
        assert (led.scheme, led.netloc) == ("", "")
        assert led.path == f"/clients/{site.world.alfa_uid}/pending"
    else:
        assert response.status_code == 400  # control characters are no form of ours


def quoted(text: str) -> str:
    """Return the text as a browser writes it into a query."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def test_every_stretch_of_every_list_is_a_place_to_come_back_to() -> None:
    cursor = "2026-11-03_" + "a" * 26
    for place in (
        f"{ALFA}/pending",
        f"{ALFA}/archived?kind=issued",
        f"{ALFA}/pending?after={cursor}#d-{'b' * 26}",
        f"{ALFA}/approved?kind=other&after={cursor}",
    ):
        assert safe_list(place) == place


@pytest.mark.parametrize("step", [*(action.value for action in Action), "take"])
async def test_an_address_that_takes_a_form_can_be_opened_again(site: Site, step: str) -> None:
    uid = await site.invoice(Status.ARCHIVED if step == "reconsider" else Status.REJECTED)
    firm = step in ("return", "record", "reopen", "take")
    if firm:
        uid = await site.invoice(
            Status.APPROVED if step in ("reopen", "take") else Status.ARCHIVED, position=1
        )
    browser = await site.browser("elena" if firm else "ana")
    response = await browser.get(f"/documents/{uid}/{step}")
    assert response.status_code == 303
    assert urlsplit(response.headers["location"]).path == f"/documents/{uid}"


async def test_who_comes_late_is_shown_the_document_at_its_own_address(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    await act(site, "bogdan", uid, Action.REJECT, reason="Nu e a noastră")
    site.clock.forward(minutes=2)
    response = await ana.post(f"/documents/{uid}/approve", SEEN, headers={"hx-request": "true"})
    assert response.status_code == 409
    assert response.headers["hx-push-url"] == f"/documents/{uid}"
    assert "Bogdan l-a respins acum 2 minute. Mai jos îl vezi" in response.text


async def test_who_opens_a_rejection_too_late_is_told_who_was_faster(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    await act(site, "bogdan", uid, Action.APPROVE)
    site.clock.forward(minutes=2)
    response = await ana.get(f"/documents/{uid}/reject")
    page = await follow(ana, response.headers["location"])
    assert "Bogdan l-a aprobat acum 2 minute." in page
    assert 'role="alert"' in page


async def test_a_document_that_nobody_moved_is_not_said_to_have_moved(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    assert 'role="alert"' not in await follow(ana, f"/documents/{uid}?moved=1")


async def test_an_answer_with_an_error_does_not_take_the_place_of_the_address(site: Site) -> None:
    uid = await site.invoice(Status.APPROVED)
    elena = await site.browser("elena")
    await act(site, "ana", uid, Action.WITHDRAW)
    response = await elena.post(
        f"/documents/{uid}/record", APPROVED, headers={"hx-request": "true"}
    )
    assert response.status_code == 404
    assert response.headers["hx-push-url"] == "false"


async def test_another_reason_without_words_keeps_the_choice_and_says_what_is_missing(
    site: Site,
) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    here = f"/clients/{site.world.alfa_uid}/pending"
    response = await ana.post(
        f"/documents/{uid}/reject",
        {**SEEN, "reason": "other", "note": " ", "back": here},
        headers={"hx-request": "true"},
    )
    assert response.status_code == 400
    assert "Ai ales „Alt motiv”. Scrie motivul în câteva cuvinte." in response.text
    assert re.findall(r'value="(\w+)" required checked', response.text) == ["other"]
    place = response.headers["hx-push-url"]
    assert unquote(place) == f"/documents/{uid}/reject?back={here}"
    assert (await ana.get(place)).status_code == 200


async def test_a_reason_that_is_too_long_is_kept_up_to_its_limit(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    fields = {**SEEN, "reason": "duplicate", "note": "țeavă " * 100}
    response = await ana.post(f"/documents/{uid}/reject", fields)
    assert response.status_code == 400
    assert 'value="duplicate" required checked' in response.text
    assert "țeavă țeavă" in response.text


async def test_what_the_accountant_gave_back_says_why_on_its_card_and_on_its_page(
    site: Site,
) -> None:
    uid = await site.invoice(Status.APPROVED, mark="Curent")
    await act(site, "elena", uid, Action.RETURN, reason="Lipsește anexa <1>")
    ana = await site.browser("ana")
    told = "Returnat de contabil (Elena): Lipsește anexa &lt;1&gt;"
    assert told in ana.page
    assert told in await follow(ana, f"/documents/{uid}")
    await act(site, "ana", uid, Action.APPROVE)
    assert "Lipsește anexa" not in await follow(ana, f"/clients/{site.world.alfa_uid}/approved")


async def test_a_rejected_row_says_why(site: Site) -> None:
    uid = await site.invoice()
    await act(site, "bogdan", uid, Action.REJECT, reason="Cheltuială personală")
    ana = await site.browser("ana")
    page = await follow(ana, f"/clients/{site.world.alfa_uid}/rejected")
    assert "Respins de Bogdan: Cheltuială personală" in page


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("ana", "Ești la zi."),
        ("bogdan", "Ești la zi."),
        ("corina", "Niciun document de-al tău nu așteaptă aprobarea."),
        ("dan", "Nimic nu așteaptă aprobarea."),
    ],
)
async def test_the_list_of_what_waits_speaks_to_each_by_what_they_may_do(
    site: Site, name: str, empty: str
) -> None:
    browser = await site.browser(name)
    assert empty in browser.page
    await site.invoice(uploader_id=site.world.ids["corina"])
    page = await follow(browser, f"/clients/{site.world.alfa_uid}/pending")
    decides = name in ("ana", "bogdan")
    assert ("1 document te așteaptă" in page) is decides
    assert ("1 document așteaptă aprobarea" in page) is not decides
    assert ('class="count end due"' in page) is decides


@pytest.mark.parametrize(("name", "told"), [("ana", True), ("dan", False)])
async def test_who_only_looks_is_not_told_what_they_can_approve(
    site: Site, name: str, told: bool
) -> None:
    browser = await site.browser(name)
    page = await follow(browser, f"/clients/{site.world.alfa_uid}/approved")
    assert ("Poți retrage aprobarea" in page) is told
    page = await follow(browser, f"/clients/{site.world.alfa_uid}/rejected")
    assert ("Ce respingi rămâne aici" in page) is told


async def test_a_confirmation_is_news_for_ten_minutes(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    response = await ana.post(f"/documents/{uid}/approve", SEEN)
    place = response.headers["location"]
    site.clock.forward(minutes=9)
    assert "Aprobat: " in await follow(ana, place)
    site.clock.forward(minutes=2)
    assert 'class="note good"' not in await follow(ana, place)


async def test_only_who_gave_it_back_just_now_is_told_so_and_not_what_became_of_it(
    site: Site,
) -> None:
    uid = await site.invoice(Status.APPROVED, mark="Curent")
    hidden = await site.invoice(mark="Ascuns", position=1)
    elena, gina = await site.browser("elena"), await site.browser("gina")
    florin = await site.browser("florin")
    claim = f"/clients/{site.world.alfa_uid}/approved?done=return&document="
    for other in (hidden, uid, "0" * 26, "documentul"):
        assert 'class="note good"' not in await follow(elena, claim + other)
    await act(site, "elena", uid, Action.RETURN, reason="Neclar")
    before = await follow(elena, claim + uid)
    assert "Returnat clientului: Curent SRL, " in before
    assert 'class="note good"' not in await follow(gina, claim + uid)
    elsewhere = claim.replace(site.world.alfa_uid, site.world.beta_uid)
    assert "Curent" not in await follow(florin, elsewhere + uid)
    await act(site, "ana", uid, Action.REJECT, reason="Secret")
    after = await follow(elena, claim + uid)
    assert "Returnat clientului: Curent SRL, " in after
    assert "Secret" not in after
    site.clock.forward(minutes=11)
    assert "Curent" not in await follow(elena, claim + uid)


async def test_a_list_goes_on_after_the_public_id_of_a_document(site: Site) -> None:
    ana = await site.browser("ana")
    place, _ = await second_stretch(site, ana)
    first = await follow(ana, f"/clients/{site.world.alfa_uid}/pending")
    last = re.findall(r'id="d-(\w+)"', first)[-1]
    assert place.endswith(f"_{last}")
    row = await documents.by_uid(last)
    assert not place.endswith(f"_{row.id}")
    await act(site, "ana", last, Action.APPROVE)
    assert (await ana.get(place)).status_code == 200, "also when that one has gone on"
    for wrong in (f"{row.list_date}_{row.id}", f"{row.list_date}_{'0' * 26}", f"x_{last}"):
        response = await ana.get(f"/clients/{site.world.alfa_uid}/pending?after={wrong}")
        assert response.status_code == 400


async def test_the_place_of_a_document_is_right_however_long_the_list_is(site: Site) -> None:
    uids = [await site.world.document() for _ in range(61)]
    ana = await site.browser("ana")
    assert "61 din 61" in await follow(ana, f"/documents/{uids[0]}")
    assert "1 din 61" in await follow(ana, f"/documents/{uids[-1]}")
    assert "10 din 61" in await follow(ana, f"/documents/{uids[-10]}")


async def test_the_files_that_people_open_come_before_the_invoice(site: Site) -> None:
    uid = await site.invoice()
    page = await follow(await site.browser("ana"), f"/documents/{uid}")
    invoice = page.index('<article class="invoice"')
    for name in ("invoice.pdf", "invoice.xml", "anexa.bin"):
        assert page.index(f"/files/{name}") < invoice
    for name in ("signature.xml", "message.zip"):
        assert page.index(f"/files/{name}") > invoice


async def test_a_file_is_announced_as_long_as_the_one_that_is_sent(site: Site) -> None:
    uid = await site.invoice()
    document = await documents.by_uid(uid)
    again = b"%PDF-1.7 " + b"y" * 100_000
    Archive(site.world.settings.archive_dir).write_derived(
        document.client_uid, document.archive_month, uid, "invoice.pdf", again
    )
    ana = await site.browser("ana")
    response = await ana.get(f"/documents/{uid}/files/invoice.pdf")
    assert int(response.headers["content-length"]) == len(again)
    assert response.content == again


async def test_the_firm_reads_the_history_since_the_approval_and_the_client_all_of_it(
    site: Site,
) -> None:
    uid = await site.invoice()
    await act(site, "bogdan", uid, Action.REJECT, reason="Ne certăm cu furnizorul")
    await act(site, "ana", uid, Action.RECONSIDER)
    await act(site, "ana", uid, Action.APPROVE)
    for name, seen in (("ana", True), ("dan", True), ("elena", False), ("gina", False)):
        page = await follow(await site.browser(name), f"/documents/{uid}")
        assert ("Ne certăm cu furnizorul" in page) is seen, name
        assert ("Reanalizat" in page) is seen, name
        assert "Adus în arhivă" in page
        assert "<strong>Aprobat</strong>" in page
    await act(site, "elena", uid, Action.RECORD)
    await act(site, "elena", uid, Action.REOPEN, reason="Lună greșită")
    history = (await documents.get(uid, await site.world.viewer("elena"))).events
    assert [event.action for event in history] == ["ingest", "approve", "record", "reopen"]


async def test_what_was_given_back_and_approved_again_begins_anew_for_the_firm(site: Site) -> None:
    uid = await site.invoice(Status.APPROVED)
    await act(site, "elena", uid, Action.RETURN, reason="Neclar")
    await act(site, "bogdan", uid, Action.REJECT, reason="Între noi")
    await act(site, "bogdan", uid, Action.RECONSIDER)
    await act(site, "bogdan", uid, Action.APPROVE)
    elena = (await documents.get(uid, await site.world.viewer("elena"))).events
    assert [event.action for event in elena] == ["ingest", "approve"]
    ana = (await documents.get(uid, await site.world.viewer("ana"))).events
    assert len(ana) == 6


@pytest.mark.parametrize(("language", "text"), [("en", "Log in"), ("ro", "Autentificare")])
async def test_an_ended_session_is_told_so_in_the_language_of_its_person(
    site: Site, language: str, text: str
) -> None:
    ana = await site.browser("ana", accept_language="en" if language == "ro" else "ro")
    await ana.post("/language", {"language": language})
    here = f"/clients/{site.world.alfa_uid}/pending"
    site.clock.forward(minutes=31)
    response = await ana.get(here)
    page = await follow(ana, response.headers["location"])
    assert f'<html lang="{language}">' in page
    assert f"<h1>{text}</h1>" in page
    wrong = await ana.post(
        "/login", {"email": "ana@example.ro", "password": "x", "next": here, "lang": language}
    )
    assert f'<html lang="{language}">' in wrong.text

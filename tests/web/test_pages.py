"""What people find on the pages, and what their buttons do."""

from __future__ import annotations

import asyncio
import re

import pytest

from appliance.core.roles import Kind, Role, Status
from appliance.core.sentence import Sentence
from appliance.store import accounts, clients, documents, periods
from appliance.store.engine import transaction
from tests.support.store import NOW
from tests.support.web import Browser, Site

SEEN = {"seen_status": "pending", "seen_revision": "1"}
APPROVED = {"seen_status": "approved", "seen_revision": "1"}


async def follow(browser: Browser, place: str) -> str:
    """Return the page that a redirect leads to."""
    response = await browser.get(place)
    assert response.status_code == 200
    return response.text


async def status(uid: str) -> Status:
    return (await documents.by_uid(uid)).status


async def test_an_owner_finds_what_waits_and_opens_it(site: Site) -> None:
    uid = await site.invoice(mark="Curent")
    ana = await site.browser("ana")
    assert "Curent SRL" in ana.page
    assert "1 document te așteaptă" in ana.page
    page = await follow(ana, f"/documents/{uid}")
    assert "Curent SRL" in page
    assert "1 din 1" in page
    assert "Semnătura Ministerului Finanțelor este valabilă" in page
    assert "Adus în arhivă" in page


async def test_an_accountant_sees_how_many_wait_and_nothing_of_them(site: Site) -> None:
    await site.invoice(mark="Ascuns")
    await site.invoice(Status.APPROVED, mark="Deschis", position=1)
    elena = await site.browser("elena")
    assert "1 document, din 24.11.2026" in elena.page
    listed = await follow(elena, f"/clients/{site.world.alfa_uid}/approved")
    assert "Deschis SRL" in listed
    assert "1 document așteaptă aprobarea clientului, din 24.11.2026." in listed
    assert "Ascuns" not in listed + elena.page


async def test_approving_a_card_leads_back_to_the_list_and_can_be_undone(site: Site) -> None:
    uid = await site.invoice(mark="Curent")
    ana = await site.browser("ana")
    here = f"/clients/{site.world.alfa_uid}/pending"
    response = await ana.post(f"/documents/{uid}/approve", {**SEEN, "back": here})
    assert response.status_code == 303
    page = await follow(ana, response.headers["location"])
    assert "Aprobat: Curent SRL, " in page
    assert "Ești la zi." in page
    assert f'action="/documents/{uid}/withdraw"' in page
    response = await ana.post(f"/documents/{uid}/withdraw", {**APPROVED, "back": here})
    assert response.headers["location"].startswith(f"{here}?")
    assert "Aprobarea a fost retrasă" in await follow(ana, response.headers["location"])
    assert await status(uid) is Status.PENDING


async def test_after_a_decision_on_its_page_the_next_document_comes(site: Site) -> None:
    first, second = [await site.invoice(position=position) for position in (0, 1)]
    ana = await site.browser("ana")
    response = await ana.post(f"/documents/{first}/approve", SEEN)
    assert response.headers["location"].startswith(f"/documents/{second}?done=approve")
    page = await follow(ana, response.headers["location"])
    assert "Aprobat: " in page
    response = await ana.post(f"/documents/{second}/approve", SEEN)
    assert response.headers["location"].startswith(f"/clients/{site.world.alfa_uid}/pending?")


async def test_a_confirmation_is_shown_only_when_it_is_true(site: Site) -> None:
    uid = await site.invoice(mark="Curent")
    ana, bogdan = await site.browser("ana"), await site.browser("bogdan")
    here = f"/clients/{site.world.alfa_uid}/pending"
    claim = f"{here}?done=approve&document={uid}"
    assert "Aprobat: " not in await follow(ana, claim)
    await ana.post(f"/documents/{uid}/approve", SEEN)
    assert "Aprobat: " in await follow(ana, claim)
    assert "Aprobat: " not in await follow(bogdan, claim), "somebody else did it"
    for query in ("done=x&document=" + uid, "done=approve&document=x", "done=&document="):
        assert 'class="note good"' not in await follow(ana, f"{here}?{query}")


async def test_a_rejection_needs_a_reason_and_keeps_it(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    sheet = await follow(ana, f"/documents/{uid}/reject")
    assert "Marfă sau serviciu neprimit" in sheet
    for fields in ({}, {"reason": ""}, {"reason": "  "}, {"reason": "other", "note": " "}):
        response = await ana.post(f"/documents/{uid}/reject", {**SEEN, **fields})
        assert response.status_code == 400
        assert 'role="alert"' in response.text
        assert await status(uid) is Status.PENDING
    long = await ana.post(f"/documents/{uid}/reject", {**SEEN, "reason": "x" * 501})
    assert long.status_code == 400
    fields = {**SEEN, "reason": "not_delivered", "note": "Lipsesc 3 cutii"}
    await ana.post(f"/documents/{uid}/reject", fields)
    page = await follow(ana, f"/documents/{uid}")
    assert "Ana: Marfă sau serviciu neprimit: Lipsesc 3 cutii" in page
    response = await ana.post(
        f"/documents/{uid}/reconsider", {"seen_status": "rejected", "seen_revision": "1"}
    )
    assert response.status_code == 303
    assert await status(uid) is Status.PENDING


async def test_of_two_who_decide_at_once_one_sees_who_was_faster(site: Site) -> None:
    uid = await site.invoice()
    ana, bogdan = await site.browser("ana"), await site.browser("bogdan")
    both = await asyncio.gather(
        ana.post(f"/documents/{uid}/reject", {**SEEN, "reason": "personal"}),
        bogdan.post(f"/documents/{uid}/reject", {**SEEN, "reason": "duplicate"}),
    )
    assert sorted(response.status_code for response in both) == [303, 409]
    slower = next(response for response in both if response.status_code == 409)
    assert re.search(r"(Ana|Bogdan) l-a respins chiar acum\. Mai jos îl vezi", slower.text)
    assert "Respins" in slower.text
    assert len((await documents.by_uid(uid)).events) == 2


async def test_twenty_taps_approve_once(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    taps = await asyncio.gather(*(ana.post(f"/documents/{uid}/approve", SEEN) for _ in range(20)))
    assert sorted(response.status_code for response in taps) == [303] + [409] * 19
    assert [event.action for event in (await documents.by_uid(uid)).events] == ["ingest", "approve"]


async def test_what_is_approved_is_the_revision_that_was_seen(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")
    async with transaction():
        await documents.execute("UPDATE document SET revision = 2 WHERE uid = ?", [uid])
    response = await ana.post(f"/documents/{uid}/approve", SEEN)
    assert response.status_code == 409
    assert 'name="seen_revision" value="2"' in response.text
    assert await status(uid) is Status.PENDING


async def test_an_approver_finds_no_button_over_the_limit(site: Site) -> None:
    uid = await site.invoice(ron_minor=500_001)
    bogdan = await site.browser("bogdan")
    page = await follow(bogdan, f"/documents/{uid}")
    assert f"/documents/{uid}/approve" not in page
    assert f"/documents/{uid}/reject" in page
    assert "depășește limita ta" in page
    assert (await bogdan.post(f"/documents/{uid}/approve", SEEN)).status_code == 403


async def test_who_only_looks_finds_no_buttons(site: Site) -> None:
    uid = await site.invoice()
    dan = await site.browser("dan")
    page = await follow(dan, f"/documents/{uid}")
    assert f"/{uid}/approve" not in page + dan.page
    assert f"/{uid}/reject" not in page + dan.page


async def test_a_contributor_finds_own_uploads_alone(site: Site) -> None:
    await site.invoice(mark="Strain")
    await site.invoice(mark="Propriu", uploader_id=site.world.ids["corina"])
    corina = await site.browser("corina")
    assert "Propriu SRL" in corina.page
    assert "Strain" not in corina.page


async def test_an_accountant_takes_records_and_reopens(site: Site) -> None:
    uid = await site.invoice(Status.APPROVED)
    ana, elena = await site.browser("ana"), await site.browser("elena")
    response = await elena.post(f"/documents/{uid}/take")
    page = await follow(elena, response.headers["location"])
    assert "Preluat: " in page
    assert "Preluat de contabil" in await follow(ana, f"/documents/{uid}")
    late = await ana.post(f"/documents/{uid}/withdraw", APPROVED)
    assert late.status_code == 403
    assert "Contabilul a preluat deja documentul" in late.text
    sheet = await follow(elena, f"/documents/{uid}/record")
    issued = (await documents.by_uid(uid)).issue_date
    assert issued is not None
    assert f'<option value="{issued:%Y-%m}" selected>' in sheet
    response = await elena.post(f"/documents/{uid}/record", {**APPROVED, "period": "2026-11"})
    assert response.status_code == 303
    assert (await documents.by_uid(uid)).period == "2026-11"
    assert "Înregistrat în luna noiembrie 2026" in await follow(ana, f"/documents/{uid}")
    response = await elena.post(
        f"/documents/{uid}/reopen",
        {"seen_status": "archived", "seen_revision": "1", "reason": "wrong_period"},
    )
    assert response.status_code == 303
    assert await status(uid) is Status.APPROVED


async def test_a_closed_month_is_refused_with_a_sentence_and_the_others_to_choose(
    site: Site,
) -> None:
    uid = await site.invoice(Status.APPROVED)
    await periods.close_period(site.world.alfa, "2026-10", await site.world.viewer("elena"), NOW)
    elena = await site.browser("elena")
    response = await elena.post(f"/documents/{uid}/record", {**APPROVED, "period": "2026-10"})
    assert response.status_code == 409
    assert "Luna 2026-10 este închisă" in response.text
    assert '<option value="2026-11" selected>' in response.text
    bad = await elena.post(f"/documents/{uid}/record", {**APPROVED, "period": "azi"})
    assert bad.status_code == 400


async def test_what_an_accountant_returns_is_gone_for_them_and_back_for_the_client(
    site: Site,
) -> None:
    uid = await site.invoice(Status.APPROVED, mark="Curent")
    ana, elena = await site.browser("ana"), await site.browser("elena")
    fields = {**APPROVED, "reason": "missing", "note": "Lipsește anexa"}
    response = await elena.post(f"/documents/{uid}/return", fields)
    page = await follow(elena, response.headers["location"])
    assert "Returnat clientului: Curent SRL, " in page
    assert "Curent" not in await follow(elena, f"/clients/{site.world.alfa_uid}/approved")
    assert (await elena.get(f"/documents/{uid}")).status_code == 404
    assert "Lipsește un document: Lipsește anexa" in await follow(ana, f"/documents/{uid}")


async def test_who_is_accountant_here_and_owner_there_has_both_desks(site: Site) -> None:
    await clients.add_member(site.world.ids["elena"], site.world.beta, Role.OWNER, NOW)
    await site.invoice(client_id=site.world.beta, mark="Privat")
    elena = await site.browser("elena")
    assert "Clienți" in elena.page
    assert "Beta Comerț SRL" in elena.page, "in the switcher"
    page = await follow(elena, f"/clients/{site.world.beta_uid}/pending")
    assert "Privat SRL" in page
    response = await elena.get(f"/clients/{site.world.alfa_uid}/pending")
    assert response.status_code == 403


async def test_long_lists_come_in_stretches_that_meet(site: Site) -> None:
    uids = [await site.world.document() for _ in range(45)]
    ana = await site.browser("ana")
    found: list[str] = []
    place = f"/clients/{site.world.alfa_uid}/pending"
    for _ in range(3):
        page = await follow(ana, place)
        found += re.findall(r'class="body" href="/documents/(\w+)"', page)
        following = re.search(r'href="([^"]+)" rel="next"', page)
        place = following.group(1).replace("&amp;", "&") if following else ""
    assert sorted(found) == sorted(uids)
    assert place == ""


async def test_the_archive_is_filtered_by_kind(site: Site) -> None:
    await site.invoice(Status.ARCHIVED, mark="Primita")
    await site.invoice(Status.ARCHIVED, mark="Emisa", kind=Kind.ISSUED, position=1)
    ana = await site.browser("ana")
    page = await follow(ana, f"/clients/{site.world.alfa_uid}/archived?kind=issued")
    assert "Emisa SRL" in page
    assert "Primita" not in page
    both = await follow(ana, f"/clients/{site.world.alfa_uid}/archived?kind=nimic")
    assert "Primita SRL" in both


@pytest.mark.parametrize(
    ("name", "section", "text"),
    [
        ("ana", "pending", "Ești la zi."),
        ("ana", "approved", "Nimic aprobat încă."),
        ("ana", "rejected", "Nimic respins. Bine."),
        ("ana", "archived", "Arhiva este goală."),
        ("ana", "notices", "Niciun mesaj de la ANAF."),
        ("elena", "approved", "Nimic de înregistrat."),
    ],
)
async def test_an_empty_page_says_what_will_be_here(
    site: Site, name: str, section: str, text: str
) -> None:
    browser = await site.browser(name)
    assert text in await follow(browser, f"/clients/{site.world.alfa_uid}/{section}")


async def test_a_person_without_a_company_is_told_whom_to_ask(site: Site) -> None:
    await site.world.person("nou")
    await give_password(site, "nou")
    nou = await site.browser("nou")
    assert "Încă nu ai acces la nicio firmă." in nou.page


async def give_password(site: Site, name: str) -> None:
    ana = await accounts.by_email("ana@example.ro")
    assert ana is not None
    assert ana.password_hash is not None
    await accounts.set_password_hash(site.world.ids[name], ana.password_hash, NOW, rehash=True)


async def test_a_notice_is_an_alert_until_each_side_has_seen_it(site: Site) -> None:
    uid = await site.notice(text="E: BR-CO-14 <b>suma</b>")
    place = f"/clients/{site.world.alfa_uid}/notices"
    ana, elena = await site.browser("ana"), await site.browser("elena")
    page = await follow(ana, place)
    assert "Eroare ANAF" in page
    assert "E: BR-CO-14 &lt;b&gt;suma&lt;/b&gt;" in page
    response = await ana.post(f"/notices/{uid}/acknowledge")
    assert response.headers["location"] == place
    assert "Am înțeles" not in await follow(ana, place)
    assert "Am înțeles" in await follow(elena, place)


async def test_a_document_that_could_not_be_read_says_why_and_offers_its_files(site: Site) -> None:
    why = Sentence("Fișierul XML este stricat.", "the XML is broken")
    uid = await site.invoice(type="unreadable", problem=why, signature_result="absent")
    ana = await site.browser("ana")
    assert "De verificat manual" in ana.page
    page = await follow(ana, f"/documents/{uid}")
    assert "Fișierul XML este stricat." in page
    assert f"/documents/{uid}/files/message.zip" in page


async def test_a_warning_is_said_in_words_and_an_unknown_one_is_not_dropped(site: Site) -> None:
    uid = await site.invoice(warnings=("cif_not_ours", "ceva_nou"))
    page = await follow(await site.browser("ana"), f"/documents/{uid}")
    assert "CIF-ul din factură nu este al firmei" in page
    assert "Factura are date neclare sau lipsă" in page
    assert "ceva_nou" not in page


async def test_the_page_is_whole_in_english(site: Site) -> None:
    uid = await site.invoice(Status.APPROVED, mark="Power")
    ana = await site.browser("ana")
    await ana.post("/language", {"language": "en"})
    page = await follow(ana, f"/documents/{uid}")
    for text in ("Withdraw approval", "Original XML", "History", "Amount due", "RON"):
        assert text in page
    visible = re.sub(r"<[^>]+>", " ", page)
    assert not re.search(r"\b(Aprobă|Furnizor|Fișiere|Istoric|Scadență)\b", visible)
    assert not re.search(r"\b(nav|action|status|file|fact|event)\.[a-z]", visible)

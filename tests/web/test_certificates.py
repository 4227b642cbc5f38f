"""The administrator's certificates, and what a document's page says of a PDF that is not there."""

from __future__ import annotations

from appliance.core.certificates import PINNED
from appliance.core.sentence import Sentence
from appliance.store import certificates, clients, documents, engine, jobs, pdfs
from appliance.store.files import Archive
from appliance.web.pages.certificates import shown
from tests.support.spv import invoice, signer
from tests.support.store import NOW, new_document
from tests.support.web import Site

MINE = signer().pinned


async def signed(site: Site) -> str:
    """File a pending invoice of Alfa that a certificate signed which nobody trusts."""
    new = new_document(
        site.world.alfa,
        signature_result="valid_unknown_certificate",
        signature_reason="unknown_certificate",
        signature_fingerprint=MINE.fingerprint,
        partner_name="KANAR SA",
    )
    xml = invoice()
    files = {"invoice.xml": xml, "signature.xml": signer().sign(xml)}
    client = await clients.by_id(site.world.alfa)
    Archive(site.world.settings.archive_dir).write_document(
        client.uid, documents.archive_month(new.received_at), new.uid, files, {"uid": new.uid}
    )
    await documents.add(new, at=NOW)
    return new.uid


async def test_an_administrator_sees_what_is_trusted_and_what_is_not(site: Site) -> None:
    await signed(site)
    gina = await site.browser("gina")

    page = (await gina.get("/certificates")).text

    assert all(shown(fingerprint) in page for fingerprint in PINNED)
    assert shown(MINE.fingerprint) in page
    assert '<h2 class="break">FAKE MF - simulator, fara valoare fiscala</h2>' in page
    assert "1 document" in page
    assert f'href="/certificates/{MINE.fingerprint}"' in page
    assert "KANAR" not in page


async def test_a_certificate_is_added_after_its_fingerprint_was_shown(site: Site) -> None:
    await signed(site)
    gina = await site.browser("gina")
    page = (await gina.get(f"/certificates/{MINE.fingerprint}")).text
    assert shown(MINE.fingerprint) in page
    assert "FAKE MF" in page
    assert "KANAR" not in page

    for _ in range(2):
        answer = await gina.post(f"/certificates/{MINE.fingerprint}")
        assert answer.status_code == 303

    page = (await gina.get(answer.headers["location"])).text
    assert "este de încredere de acum" in page
    assert "adăugat, Gina, 24.11.2026" in page
    assert "1 document se verifică din nou" in page
    (one,) = await certificates.added()
    assert (one.certificate, one.by) == (MINE, "Gina")
    assert await jobs.latest("reverify", MINE.fingerprint) is not None
    told = await engine.fetch("SELECT body FROM audit ORDER BY seq DESC LIMIT 1")
    viewer = await site.world.viewer("gina")
    assert viewer.user_uid.encode() in told[0]["body"]
    assert (await gina.get(f"/certificates/{MINE.fingerprint}")).status_code == 404


async def test_what_an_administrator_added_can_be_taken_back_and_nothing_else_can(
    site: Site,
) -> None:
    await signed(site)
    gina = await site.browser("gina")
    await gina.get(f"/certificates/{MINE.fingerprint}")
    page = (
        await gina.get((await gina.post(f"/certificates/{MINE.fingerprint}")).headers["location"])
    ).text
    assert page.count("/remove") == 1

    answer = await gina.post(f"/certificates/{MINE.fingerprint}/remove")
    assert answer.status_code == 303

    page = (await gina.get(answer.headers["location"])).text
    assert "nu mai este de încredere" in page
    assert "/remove" not in page
    assert await certificates.added() == []
    told = await engine.fetch("SELECT body FROM audit ORDER BY seq DESC LIMIT 1")
    assert b"certificate:remove" in told[0]["body"]
    viewer = await site.world.viewer("gina")
    assert viewer.user_uid.encode() in told[0]["body"]
    again = await gina.post(f"/certificates/{MINE.fingerprint}/remove")
    assert again.status_code == 404
    assert "vezi lista" in again.text
    shipped = next(iter(PINNED))
    await gina.get("/certificates")
    assert (await gina.post(f"/certificates/{shipped}/remove")).status_code == 404


async def test_a_certificate_that_no_document_has_cannot_be_added(site: Site) -> None:
    gina = await site.browser("gina")
    await gina.get("/certificates")

    assert (await gina.post(f"/certificates/{MINE.fingerprint}")).status_code == 404
    assert await certificates.added() == []


async def test_what_the_archive_has_lost_is_shown_and_cannot_be_added(site: Site) -> None:
    await site.world.document(
        signature_reason="unknown_certificate", signature_fingerprint=MINE.fingerprint
    )
    gina = await site.browser("gina")

    page = (await gina.get("/certificates")).text

    assert "Semnătura nu mai este în arhivă" in page
    assert (await gina.post(f"/certificates/{MINE.fingerprint}")).status_code == 404


async def test_who_opens_a_document_gets_its_pdf_before_all_others(site: Site) -> None:
    uid = await signed(site)
    ana = await site.browser("ana")

    page = (await ana.get(f"/documents/{uid}")).text

    assert "PDF-ul se pregătește" in page
    job = await jobs.latest("render", uid)
    assert job is not None
    assert job.priority == pdfs.OPENED
    answer = await ana.get(f"/documents/{uid}/files/invoice.pdf")
    assert answer.status_code == 404
    assert "PDF-ul se pregătește" in answer.text
    assert await jobs.waiting("render") == 1


async def test_a_pdf_that_cannot_be_made_says_why_beside_the_invoice(site: Site) -> None:
    uid = await signed(site)
    job = await jobs.insert("render", uid, NOW)
    await jobs.park(job.id, NOW, Sentence("Documentul cere prea multă memorie.", "too much memory"))
    ana = await site.browser("ana")

    page = (await ana.get(f"/documents/{uid}")).text

    assert "PDF-ul nu poate fi făcut: documentul cere prea multă memorie." in page
    assert f"/documents/{uid}/files/invoice.xml" in page
    assert "Energie electrică" in page
    assert await jobs.waiting("render") == 0


async def test_a_pdf_that_is_there_is_not_asked_for(site: Site) -> None:
    uid = await site.invoice()
    ana = await site.browser("ana")

    assert (await ana.get(f"/documents/{uid}/files/invoice.pdf")).status_code == 200
    await ana.get(f"/documents/{uid}")

    assert await jobs.waiting("render") == 0

"""Authorisations in SPV as each person sees them: tenants do not meet on a shared certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from appliance.core.roles import Role
from appliance.core.sentence import Sentence
from appliance.store import clients, listings, runs
from appliance.store.listings import Counts
from appliance.web.linked import seen_by
from appliance.web.vault import Vault
from tests.support.linking import ALFA, BETA, Linked, linked
from tests.support.store import NOW
from tests.support.web import Site
from tests.web.test_linking import decisions, link, place_of

CNP = "1960101410019"
STRANGER = "11111110"


@pytest.fixture
async def vault(site: Site) -> AsyncIterator[Linked]:
    """The vault, with the application registered."""
    async with linked(site.world.settings.run_dir.parent) as made:
        await made.register()
        yield made


async def of(site: Site, vault: Linked, name: str, serial: str, *cifs: str) -> str:
    """Authorise in the name of the person; return the grant."""
    by = (await site.world.viewer(name)).user_uid
    return await vault.grant(serial, *cifs, by=by, holder=f"Certificat {name}")


async def pages(site: Site, name: str, uid: str) -> str:
    """Return everything that the person is shown of the grant."""
    browser = await site.browser(name)
    shown = [await browser.get(f"/spv/grants/{uid}"), await browser.get("/spv/grants")]
    shown.append(await browser.get(f"/spv/grants/{uid}?about={site.world.beta_uid}"))
    await browser.get(f"/spv/grants/{uid}")
    shown.append(await browser.post(f"/spv/grants/{uid}/test"))
    shown.append(await browser.get(f"/spv/grants/{uid}/revoke"))
    return "".join(one.text for one in shown)


async def test_of_a_shared_certificate_each_sees_only_their_own_clients(
    site: Site, vault: Linked
) -> None:
    uid = await of(site, vault, "elena", "AA01", ALFA, BETA)
    ana, bianca = await pages(site, "ana", uid), await pages(site, "bianca", uid)
    for text, own, other in ((ana, "Alfa Construct", "Beta"), (bianca, "Beta Comerț", "Alfa")):
        assert own in text
        assert other not in text
        assert "și încă" not in text
        assert "altor clienți" not in text
    assert BETA not in ana
    assert ALFA not in bianca

    elena, florin = await pages(site, "elena", uid), await pages(site, "florin", uid)
    for text, own, other in ((elena, ALFA, BETA), (florin, BETA, ALFA)):
        assert own in text
        assert other not in text
        assert "și încă 1" in text
    gina = await pages(site, "gina", uid)
    assert ALFA in gina
    assert BETA in gina
    assert "și încă" not in gina


async def test_a_certificate_that_serves_nobody_of_theirs_is_absent(
    site: Site, vault: Linked
) -> None:
    uid = await of(site, vault, "florin", "BB02", BETA)
    for name in ("ana", "elena"):
        browser = await site.browser(name)
        foreign, absent = [await browser.get(f"/spv/grants/{one}") for one in (uid, "0" * 32)]
        assert foreign.status_code == absent.status_code == 404
        assert foreign.text == absent.text
        assert "Certificat florin" not in (await browser.get("/spv/grants")).text
    # Whoever authorised it sees it, with or without a client.
    own = await of(site, vault, "ana", "CC03")
    assert (
        "Nicio firmă confirmată încă"
        in (await (await site.browser("ana")).get(f"/spv/grants/{own}")).text
    )


async def test_what_is_no_client_is_shown_to_the_firm_and_to_the_one_who_authorised(
    site: Site, vault: Linked
) -> None:
    uid = await of(site, vault, "elena", "AA01", ALFA, BETA)
    await vault.offers(ALFA, ALFA, STRANGER, CNP, serial="AA01")
    for name in ("elena", "florin", "gina"):
        text = await pages(site, name, uid)
        assert STRANGER in text, name
        assert "1••••••••••19" in text, name
        assert CNP not in text, name
    for name in ("ana", "bianca"):
        text = await pages(site, name, uid)
        assert STRANGER not in text, name
        assert "1••••••••••19" not in text, name
    mine = await of(site, vault, "ana", "CC03", ALFA)
    await vault.offers(ALFA, STRANGER, BETA, serial="CC03")
    text = await pages(site, "ana", mine)
    assert STRANGER in text
    assert BETA not in text


async def test_an_accountant_confirms_all_that_anaf_offers_of_her_clients_at_once(
    site: Site, vault: Linked
) -> None:
    await clients.assign(site.world.ids["elena"], site.world.beta, NOW)
    second = await clients.create_client("Gama SRL", [STRANGER], NOW)
    uid = await of(site, vault, "elena", "AA01", ALFA)
    await vault.offers(ALFA, ALFA, BETA, STRANGER, serial="AA01")
    elena = await site.browser("elena")
    page = (await elena.get(f"/spv/grants/{uid}")).text
    # Gama is not hers, and not read yet: not even counted.
    assert f"({BETA}) cu acest certificat" in page
    assert STRANGER not in page
    assert "și încă" not in page
    await clients.assign(site.world.ids["elena"], second, NOW)
    page = (await elena.get(f"/spv/grants/{uid}")).text
    assert "Citește SPV pentru toate cele 2 firme" in page
    done = await elena.post(f"/spv/grants/{uid}/confirm", {"cif": f"{BETA} {STRANGER} "})
    assert (
        "Citim acum SPV pentru firmele confirmate."
        in (await elena.get(done.headers["location"])).text
    )
    assert (await vault.of(uid))["cifs"] == sorted([ALFA, BETA, STRANGER])
    assert len(await decisions("spv:confirm")) == 2
    for client in (site.world.beta, second):
        assert await runs.of_client(client) is not None


async def test_one_cif_that_is_not_hers_confirms_none_of_them(site: Site, vault: Linked) -> None:
    uid = await of(site, vault, "elena", "AA01")
    elena = await site.browser("elena")
    await elena.get(f"/spv/grants/{uid}?about={site.world.alfa_uid}")
    assert (
        await elena.post(f"/spv/grants/{uid}/confirm", {"cif": f"{ALFA} {BETA}"})
    ).status_code == 404
    assert (await vault.of(uid))["cifs"] == []
    assert await decisions("spv:confirm") == []


async def test_an_owner_confirms_on_anothers_certificate_only_what_anaf_offers(
    site: Site, vault: Linked
) -> None:
    ana, alfa = await site.browser("ana"), site.world.alfa_uid
    await clients.add_identifier(site.world.alfa, CNP, NOW)
    uid = await of(site, vault, "elena", "AA01", ALFA)
    page = (await ana.get(f"/spv/grants/{uid}?about={alfa}")).text
    assert f"/spv/grants/{uid}/confirm" not in page
    token = ana.token()
    assert (
        await ana.post(f"/spv/grants/{uid}/confirm", {"cif": CNP}, token=token)
    ).status_code == 404
    await vault.offers(ALFA, CNP, serial="AA01")
    page = (await ana.get(f"/clients/{alfa}/spv")).text
    assert "are la ANAF dreptul de a citi această firmă" in page
    page = (await ana.get(f"/spv/grants/{uid}")).text
    assert "acest certificat are drept în SPV-ul firmei tale" in page
    assert "Sunt clienți ai firmei" not in page
    assert "Alfa Construct SRL (1••••••••••19) cu acest certificat" in page
    assert (await ana.post(f"/spv/grants/{uid}/confirm", {"cif": CNP})).status_code == 303
    assert (await vault.of(uid))["cifs"] == sorted([ALFA, CNP])
    (record,) = await decisions("spv:confirm")
    assert CNP not in str(record)


async def test_nobody_but_owner_and_firm_decides(site: Site, vault: Linked) -> None:
    uid = await of(site, vault, "bogdan", "AA01")  # as if he had been the owner once
    for name in ("bogdan", "corina", "dan"):
        browser = await site.browser(name)
        await browser.get("/")
        answer = await browser.post(f"/spv/grants/{uid}/confirm", {"cif": ALFA})
        assert answer.status_code == 403
    assert (await vault.of(uid))["cifs"] == []


async def test_who_shows_anothers_certificate_links_her_own_client_with_it_and_no_more(
    site: Site, vault: Linked
) -> None:
    uid = await of(site, vault, "florin", "BB02", BETA)
    await vault.offers(BETA, STRANGER, serial="BB02")
    ana, elsewhere = await site.browser("ana"), await site.browser("ana")
    # The accountant came with his token to Ana's computer.
    place = await link(ana, place_of(site))
    assert place == f"/spv/grants/{uid}?done=renewed&about={site.world.alfa_uid}"
    page = (await ana.get(place)).text
    assert f"({ALFA}) cu acest certificat" in page
    assert "Beta" not in page
    assert BETA not in page
    assert STRANGER not in page
    assert "Șterge legătura" not in page
    assert (await elsewhere.get(f"/spv/grants/{uid}")).status_code == 404
    for action in ("revoke", "link"):
        assert (await ana.post(f"/spv/grants/{uid}/{action}", {"holder": "x"})).status_code == 403
        await ana.get(place)
    await ana.post(f"/spv/grants/{uid}/confirm", {"cif": ALFA})
    assert (await vault.of(uid))["cifs"] == sorted([ALFA, BETA])
    assert (await vault.of(uid))["requested_by"] == (await site.world.viewer("florin")).user_uid
    assert (await elsewhere.get(f"/spv/grants/{uid}")).status_code == 200


async def test_an_owner_stops_reading_with_one_certificate_and_another_goes_on(
    site: Site, vault: Linked
) -> None:
    first = await of(site, vault, "elena", "AA01", ALFA, BETA)
    second = await of(site, vault, "ana", "CC03", ALFA)
    ana = await site.browser("ana")
    await ana.get(f"/spv/grants/{first}")
    token = ana.token()
    foreign = await ana.post(f"/spv/grants/{first}/unmap", {"cif": BETA}, token=token)
    assert foreign.status_code == 404
    done = await ana.post(f"/spv/grants/{first}/unmap", {"cif": ALFA}, token=token)
    assert done.headers["location"] == "/spv/grants"  # it is none of hers any more
    assert (await vault.of(first))["cifs"] == [BETA]
    assert (await vault.of(second))["cifs"] == [ALFA]
    assert len(await decisions("spv:unmap")) == 1


async def test_erasing_says_what_only_the_holder_can_do_at_anaf(site: Site, vault: Linked) -> None:
    uid = await of(site, vault, "ana", "AA01", ALFA)
    ana, elena = await site.browser("ana"), await site.browser("elena")
    assert (await elena.get(f"/spv/grants/{uid}/revoke")).status_code == 403
    page = (await ana.get(f"/spv/grants/{uid}/revoke")).text
    assert "„Renunțare Oauth”" in page
    assert (await vault.of(uid))["state"] == "active"
    done = await ana.post(f"/spv/grants/{uid}/revoke")
    page = (await ana.get(done.headers["location"])).text
    assert "Legătura a fost ștearsă din Arhivar" in page
    assert "Certificat ana" not in page
    assert (await vault.of(uid))["state"] == "revoked"
    assert (await ana.get(f"/spv/grants/{uid}")).status_code == 404
    (record,) = await decisions("spv:revoke")
    assert record["object"] == uid
    assert "ștearsă" not in (await ana.get("/spv/grants?revoked=")).text


async def test_the_test_tells_in_words_whether_anaf_answers_and_how_each_list_went(
    site: Site, vault: Linked
) -> None:
    uid = await of(site, vault, "elena", "AA01", ALFA)
    ana = await site.browser("ana")
    await ana.get(f"/spv/grants/{uid}")
    page = (await ana.post(f"/spv/grants/{uid}/test")).text
    assert "Legătura cu ANAF funcționează." in page
    assert "Lista din SPV nu a fost citită încă." in page
    problem = Sentence("ANAF nu dă acces la CIF.", "ANAF gives no access to the CIF")
    await listings.note(site.world.alfa, ALFA, NOW, Counts(3, 3, 0, 0), problem)
    vault.anaf.api_status = 403
    page = (await ana.post(f"/spv/grants/{uid}/test")).text
    assert "ANAF nu acceptă autorizarea pentru aplicația firmei" in page
    assert "Lista din SPV a fost citită întreagă: azi, 12:00." in page
    assert "ANAF nu dă acces la CIF." in page
    # The address in the bar is only posted to: what leads back leads to the page.
    assert f'name="back" value="/spv/grants/{uid}"' in page


async def test_the_one_who_authorised_authorises_again_with_everything_as_it_was(
    site: Site, vault: Linked
) -> None:
    uid = await of(site, vault, "ana", "AA01", ALFA)
    ana = await site.browser("ana")
    page = (await ana.get(f"/spv/grants/{uid}/link")).text
    assert "Autorizează din nou" in page
    assert 'name="holder" value="Certificat ana"' in page
    place = await link(ana, f"/spv/grants/{uid}/link")
    assert place == f"/spv/grants/{uid}?done=renewed"
    assert "autorizarea lui este reînnoită" in (await ana.get(place)).text
    assert (await vault.of(uid))["cifs"] == [ALFA]
    # Her next certificate is another grant, and its companies are to be confirmed.
    vault.anaf.serial = "AA02"
    place = await link(ana, f"/spv/grants/{uid}/link")
    assert uid not in place
    page = (await ana.get(place)).text
    assert "nu este cel al autorizării alese, care a rămas cum era" in page
    assert f"({ALFA}) cu acest certificat" in page


async def test_who_is_accountant_at_one_client_and_owner_of_another_sees_both(
    site: Site, vault: Linked
) -> None:
    await site.world.person("horia", firm_role=Role.ACCOUNTANT, at_alfa=Role.OWNER)
    uid = await of(site, vault, "horia", "AA01", ALFA, BETA)
    viewer = await site.world.viewer("horia")
    assert viewer.assigned_clients == frozenset()
    status = await Vault(site.world.settings.enrol_socket).status()
    (sight,) = await seen_by(viewer, status.grants)
    assert [one.cif for one in sight.served] == [ALFA]
    assert sight.others == 1
    assert sight.manages
    assert sight.grant.uid == uid


async def test_a_certificate_of_the_firm_begins_with_a_company_that_a_person_chooses(
    site: Site, vault: Linked
) -> None:
    elena = await site.browser("elena")
    place = await link(elena, "/spv/link")
    page = (await elena.get(place)).text
    assert f'<option value="{ALFA}">Alfa Construct SRL ({ALFA})</option>' in page
    assert "Beta" not in page
    uid = place.partition("?")[0]
    await elena.post(f"{uid}/confirm", {"cif": ALFA})
    assert '<option value="' not in (await elena.get(uid)).text
    # On a certificate of somebody else an owner is given no such choice.
    ana = await site.browser("ana")
    await clients.add_identifier(site.world.alfa, STRANGER, NOW)
    assert STRANGER not in (await ana.get(uid)).text
    assert STRANGER in (await elena.get(uid)).text

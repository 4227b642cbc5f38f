"""Linking SPV: the steps, ANAF's answer, the confirmation, with a real vault beside the portal."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import appliance.web
from appliance.core.roles import Role
from appliance.store import clients, jobs, runs
from appliance.store.engine import fetch
from appliance.web.auth.cookies import CookieName
from appliance.web.auth.sessions import hash_of
from appliance.web.vault import Vault, VaultAway
from tests.support.linking import ALFA, BETA, Linked, linked
from tests.support.store import NOW
from tests.support.web import Browser, Site

CODE = "canary-code-31337"


@pytest.fixture
async def vault(site: Site) -> AsyncIterator[Linked]:
    """The vault, with the application registered."""
    async with linked(site.world.settings.run_dir.parent) as made:
        await made.register()
        yield made


@pytest.fixture
async def bare(site: Site) -> AsyncIterator[Linked]:
    """The vault before anybody registered the application."""
    async with linked(site.world.settings.run_dir.parent) as made:
        yield made


async def begin(browser: Browser, place: str, holder: str = "Ana Pop") -> str:
    """Go through the steps; return the state that ANAF is told."""
    opened = await browser.get(place)
    assert opened.status_code == 200, opened.text
    begun = await browser.post(place, {"holder": holder})
    assert begun.headers["location"] == "/spv/link/go", begun.text
    await browser.get("/spv/link/go")
    return str(parse_qs(urlsplit(address(browser)).query)["state"][0])


def address(browser: Browser) -> str:
    """Return where the page's link leads: ANAF."""
    found = re.search(r'href="(http[^"]+/authorize[^"]+)"', browser.page)
    assert found, browser.page
    return unescape(found[1])


async def come_back(browser: Browser, **query: str) -> str:
    """Return where the callback leads, after looking at what it says beside that."""
    sent = "&".join(f"{name}={value}" for name, value in query.items())
    answer = await browser.get(f"/spv/callback?{sent}")
    assert answer.status_code == 303
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == ""
    assert "code" not in answer.headers["location"]
    return str(answer.headers["location"])


async def link(browser: Browser, place: str) -> str:
    """Link to the end; return the address of the grant's page."""
    return await come_back(browser, state=await begin(browser, place), code=CODE)


def place_of(site: Site, client: str = "alfa") -> str:
    return f"/clients/{getattr(site.world, f'{client}_uid')}/spv/link"


async def decisions(what: str) -> list[dict[str, object]]:
    """Return the audit records of the action, oldest first."""
    bodies = [json.loads(row["body"]) for row in await fetch("SELECT body FROM audit ORDER BY seq")]
    return [body for body in bodies if body["action"] == what]


async def test_an_owner_links_and_nothing_is_read_until_she_confirms(
    site: Site, vault: Linked
) -> None:
    ana = await site.browser("ana")
    place = await link(ana, place_of(site))
    uid = urlsplit(place).path.rpartition("/")[2]
    assert (await vault.of(uid))["cifs"] == []
    assert (await vault.of(uid))["holder"] == "Ana Pop"

    page = (await ana.get(place)).text
    asked = "Citește SPV pentru Alfa Construct SRL (12345674) cu acest certificat"
    assert asked in page
    assert page.index(asked) < page.index("Testează legătura")
    done = await ana.post(f"/spv/grants/{uid}/confirm", {"cif": ALFA})

    assert (await vault.of(uid))["cifs"] == [ALFA]
    assert (
        "Citim acum SPV pentru Alfa Construct SRL."
        in (await ana.get(done.headers["location"])).text
    )
    run = await runs.of_client(site.world.alfa)
    assert run is not None
    assert run.asked_by == site.world.ids["ana"]
    assert [job.kind for job in await jobs.lease(5, NOW, 60, ["list"])] == ["list"]
    (record,) = await decisions("spv:confirm")
    assert record["actor"] == (await site.world.viewer("ana")).user_uid
    assert record["tenant"] == site.world.alfa_uid
    assert record["data"] == {"cif": ALFA, "grant": uid}


async def test_the_vault_is_told_of_the_session_what_does_not_lead_to_it(
    site: Site, vault: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    begin_there = Vault.begin

    async def listen(self: Vault, session: str, **given: str) -> str:
        told.append(session)
        return await begin_there(self, session, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(Vault, "begin", listen)
    ana = await site.browser("ana")
    await begin(ana, place_of(site))
    cookie = site.app.portal.cookies.read(
        [(b"cookie", f"s={ana.cookies['s']}".encode())], CookieName.SESSION
    )
    assert cookie is not None
    assert told[0] not in (cookie, hash_of(cookie))
    assert len(told[0]) == 64


async def test_neither_the_code_nor_the_state_is_in_a_log_or_on_a_page(
    site: Site, vault: Linked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="arhivar")
    ana = await site.browser("ana")
    state = await begin(ana, place_of(site))
    seen = [await come_back(ana, state=state, code=CODE)]
    seen.append((await ana.get(seen[0])).text)
    await vault.vault.close()
    seen.append(await come_back(ana, state="x" * 43, code=CODE))
    seen.append((await ana.get("/spv/link/failed")).text)
    assert "Seiful cu autorizările SPV nu răspunde acum" in seen[-1]
    for text in (*seen, caplog.text):
        assert CODE not in text
        assert state not in text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "access_denied"}, "Autorizarea a fost refuzată în browser"),
        (
            {"error": "access_denied", "error_description": "KANAR%3Cb%3E"},
            "alege certificatul înregistrat în SPV",
        ),
        ({}, "ANAF nu a trimis codul de autorizare"),
        ({"error": "KANAR%3Cscript%3E"}, "ANAF a refuzat cererea de autorizare"),
        ({"code": "KANAR%0Aalt"}, "ANAF nu a trimis codul de autorizare"),
    ],
)
async def test_what_anaf_refuses_is_explained_in_our_words(
    site: Site, vault: Linked, answer: dict[str, str], said: str
) -> None:
    ana = await site.browser("ana")
    state = await begin(ana, place_of(site))
    place = await come_back(ana, state=state, **answer)
    assert place == "/spv/link/failed"
    page = (await ana.get(place)).text
    assert said in page
    assert "KANAR" not in page
    assert f'href="{place_of(site)}"' in page
    await ana.post("/language", {"language": "en", "back": place})
    assert "try again" in (await ana.get(place)).text


async def test_a_code_that_anaf_does_not_take_any_more_is_explained(
    site: Site, vault: Linked
) -> None:
    vault.anaf.code_answer = (400, b'{"error":"invalid_grant","error_description":"KANAR"}')
    ana = await site.browser("ana")
    page = (await ana.get(await link(ana, place_of(site)))).text
    assert "codul a expirat (are 60 de secunde)" in page
    assert "KANAR" not in page


async def test_a_state_serves_once_and_in_its_own_session(site: Site, vault: Linked) -> None:
    ana, elena = await site.browser("ana"), await site.browser("elena")
    state = await begin(ana, place_of(site))
    assert await come_back(elena, state=state, code=CODE) == "/spv/link/failed"
    assert (
        "a expirat (are 10 minute) sau a fost deja folosită"
        in (await elena.get("/spv/link/failed")).text
    )
    assert (await come_back(ana, state=state, code=CODE)).startswith("/spv/grants/")
    ana.cookies.pop("v")
    assert await come_back(ana, state=state, code=CODE) == "/spv/link/failed"
    assert "deja folosită" in (await ana.get("/spv/link/failed")).text


async def test_who_goes_back_in_the_browser_after_linking_is_not_told_that_it_failed(
    site: Site, vault: Linked
) -> None:
    ana = await site.browser("ana")
    state = await begin(ana, place_of(site))
    done = await come_back(ana, state=state, code=CODE)
    for _ in range(2):
        assert await come_back(ana, state=state, code=CODE) == done
    for place in ("/spv/link/go", "/spv/link/failed"):
        assert (await ana.get(place)).headers["location"] == done
    # What is begun anew may fail.
    again = await begin(ana, place_of(site))
    assert await come_back(ana, state=again, error="access_denied") == "/spv/link/failed"
    assert "refuzată în browser" in (await ana.get("/spv/link/failed")).text
    assert await come_back(ana, state=state, code=CODE) == "/spv/link/failed"


async def test_who_is_not_logged_in_any_more_logs_in_and_is_told_to_start_again(
    site: Site, vault: Linked
) -> None:
    ana = await site.browser("ana")
    state = await begin(ana, place_of(site))
    site.clock.forward(minutes=40)
    place = await come_back(ana, state=state, code=CODE)
    assert place == "/login?next=/spv/link/failed"
    await ana.get(place)
    done = await ana.post(
        "/login",
        {"email": "ana@example.ro", "password": "corect cal baterie capsator",
         "next": "/spv/link/failed"},
    )  # fmt: skip
    page = (await ana.get(done.headers["location"])).text
    assert "Pornește din nou; nimic nu s-a pierdut." in page
    assert f'href="{place_of(site)}"' in page


async def test_the_address_for_the_computer_is_short_and_leads_everybody_to_their_steps(
    site: Site, vault: Linked
) -> None:
    ana, gina = await site.browser("ana"), await site.browser("gina")
    short = '<strong class="break">http://localhost:8080/spv/link</strong>'
    assert (await ana.get("/spv/link")).headers["location"] == place_of(site)
    for browser, place in ((ana, place_of(site)), (gina, "/spv/link")):
        assert short in (await browser.get(place)).text
    page = (await gina.get(place_of(site))).text  # for her the short one is the firm's
    assert f"http://localhost:8080{place_of(site)}</strong>" in page


async def test_the_owner_of_two_companies_chooses_which_to_link(site: Site, vault: Linked) -> None:
    await clients.add_member(site.world.ids["ana"], site.world.beta, Role.OWNER, NOW)
    ana = await site.browser("ana")
    page = (await ana.get((await ana.get("/spv/link")).headers["location"])).text
    for client in ("alfa", "beta"):
        assert f'href="{place_of(site, client)}"' in page
        assert f"http://localhost:8080{place_of(site, client)}</strong>" in (
            (await ana.get(place_of(site, client))).text
        )


async def test_a_cookie_that_is_not_ours_leads_nowhere(site: Site, vault: Linked) -> None:
    ana = await site.browser("ana")
    await begin(ana, place_of(site))
    body, _, seal = ana.cookies["v"].partition(".")
    other = "1" if seal.endswith("0") else "0"
    for forged in (f"{body}x.{seal}", f"{body}.{seal[:-1]}{other}", "", "."):
        ana.cookies["v"] = forged
        answer = await ana.get("/spv/link/go")
        assert answer.status_code == 303, (forged, answer.text)
        assert answer.headers["location"] == "/spv/link/failed"


async def test_the_holder_needs_a_name_of_a_person(site: Site, vault: Linked) -> None:
    ana = await site.browser("ana")
    page = (await ana.get(place_of(site))).text
    assert 'name="holder" value="Ana"' in page
    for wrong in ("", "  ", "x" * 121):
        refused = await ana.post(place_of(site), {"holder": wrong})
        assert refused.status_code == 400
        assert "Scrie numele titularului certificatului" in refused.text


async def test_before_the_application_is_registered_it_is_said_who_does_it(
    site: Site, bare: Linked
) -> None:
    ana, gina = await site.browser("ana"), await site.browser("gina")
    page = (await ana.get(place_of(site))).text
    assert "Administratorul firmei trebuie să înregistreze întâi aplicația" in page
    assert 'name="holder"' not in page
    assert "/settings/spv" not in page
    assert 'href="/settings/spv"' in (await gina.get(place_of(site))).text
    # A form that was open all along.
    refused = await ana.post(place_of(site), {"holder": "Ana Pop"})
    assert refused.status_code == 400
    assert "Administratorul firmei" in refused.text


async def test_a_provisional_client_has_no_spv_to_link(site: Site, vault: Linked) -> None:
    await clients.create_client("Gama SRL", [], NOW)
    gina = await site.browser("gina")
    uid = next(row.uid for row in await clients.all_clients() if row.name == "Gama SRL")
    page = await gina.get(f"/clients/{uid}/spv/link")
    assert page.status_code == 400
    assert "nu are încă un CIF" in page.text


async def test_the_administrator_registers_the_application_and_the_secret_is_never_seen_again(
    site: Site, bare: Linked
) -> None:
    gina = await site.browser("gina")
    page = (await gina.get("/settings/spv")).text
    assert 'value="http://localhost:8080/spv/callback"' in page
    secret = "canary-secret-90210"
    wrong = await gina.post("/settings/spv", {"client_id": "a b", "client_secret": secret})
    assert wrong.status_code == 400
    assert "Câmpul client_id nu are forma pe care o dă ANAF" in wrong.text
    fields = {"client_id": " f0e1d2c3 ", "client_secret": f" {secret} "}
    done = await gina.post("/settings/spv", fields)
    saved = (await gina.get(done.headers["location"])).text
    assert "Aplicația este înregistrată. Ultima schimbare:" in saved
    assert "f0e1d2c3" in saved
    application = (await bare.vault.enrol.get("/status")).json()["application"]
    assert application["redirect_uri"] == "http://localhost:8080/spv/callback"
    # Another id needs its own secret; the same keeps the one that is there.
    assert (await gina.post("/settings/spv", {"client_id": "f0e1d2c3"})).status_code == 303
    assert (await gina.post("/settings/spv", {"client_id": "another"})).status_code == 400
    assert len(await decisions("spv:application")) == 2
    for text in (wrong.text, saved):
        assert secret not in text
    for path in site.world.settings.data_dir.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()


async def test_a_vault_that_is_away_is_told_and_the_clients_page_opens_all_the_same(
    site: Site,
) -> None:
    ana = await site.browser("ana")
    for place in ("/spv/grants", place_of(site), f"/spv/grants/{'0' * 32}"):
        page = await ana.get(place)
        assert page.status_code == 503
        assert "Seiful cu autorizările SPV nu răspunde acum" in page.text
    page = await ana.get(f"/clients/{site.world.alfa_uid}/spv")
    assert page.status_code == 200
    assert "Seiful cu autorizările SPV nu răspunde acum" in page.text


async def test_a_confirmation_is_recorded_before_the_vault_is_told(
    site: Site, vault: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: Vault, cif: str, grant: str, *, by: str) -> None:
        raise VaultAway("away")

    ana = await site.browser("ana")
    by = (await site.world.viewer("ana")).user_uid
    uid = await vault.grant("AA01", by=by)
    with monkeypatch.context() as fault:
        fault.setattr(Vault, "confirm", away)
        await ana.get(f"/spv/grants/{uid}?about={site.world.alfa_uid}")
        assert (await ana.post(f"/spv/grants/{uid}/confirm", {"cif": ALFA})).status_code == 503
    assert len(await decisions("spv:confirm")) == 1
    assert (await vault.of(uid))["cifs"] == []
    assert await runs.of_client(site.world.alfa) is None
    await ana.get(f"/spv/grants/{uid}?about={site.world.alfa_uid}")
    assert (await ana.post(f"/spv/grants/{uid}/confirm", {"cif": ALFA})).status_code == 303
    assert (await vault.of(uid))["cifs"] == [ALFA]


async def test_the_clients_page_tells_who_linked_it_and_until_when(
    site: Site, vault: Linked
) -> None:
    ana = await site.browser("ana")
    place = f"/clients/{site.world.alfa_uid}/spv"
    assert "Firma nu este legată de SPV" in (await ana.get(place)).text
    by = (await site.world.viewer("elena")).user_uid
    uid = await vault.grant("AA01", ALFA, by=by, holder="Elena Dobre")
    page = (await ana.get(place)).text
    assert f'href="/spv/grants/{uid}">Elena Dobre</a>' in page
    assert "Autorizată de Elena" in page
    assert "se reînnoiește: " in page
    for other in ("bogdan", "dan"):
        assert "Legătura cu SPV" not in (await (await site.browser(other)).get(place)).text


def test_no_other_module_of_the_portal_names_the_vaults_socket() -> None:
    room = Path(appliance.web.__file__).parent
    named = {
        path.relative_to(room).as_posix()
        for path in room.rglob("*.py")
        if re.search(r"enrol\.sock|enrol_socket|httpx", path.read_text(encoding="utf-8"))
    }
    assert named == {"vault.py", "portal.py"}  # portal.py hands it the path


async def test_another_clients_cif_is_named_nowhere(site: Site, vault: Linked) -> None:
    by = (await site.world.viewer("ana")).user_uid
    uid = await vault.grant("AA01", ALFA, by=by)
    ana = await site.browser("ana")
    await ana.get(f"/spv/grants/{uid}")
    place, token = f"/spv/grants/{uid}/confirm", ana.token()
    foreign = await ana.post(place, {"cif": BETA}, token=token)
    absent = await ana.post(place, {"cif": "11111110"}, token=token)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.text == absent.text
    assert (await vault.of(uid))["cifs"] == [ALFA]
    assert await decisions("spv:confirm") == []

"""Linking SPV in Chromium: from the administrator's application to ANAF's page and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Error, Page, expect

from appliance.store import runs
from tests.support.linking import ALFA, BETA
from tests.support.simulator import Running, running_simulator
from tests.support.vault import VaultProcess
from tests.support.web import Site
from tests.support.web_server import Served, served
from tests.web.test_browser import AXE, DESK, PHONE, Visitor, chromium

__all__ = ["chromium"]


@dataclass
class Installation:
    """The portal on its port, the vault beside it, and an ANAF on another host."""

    portal: Served
    vault: VaultProcess
    anaf: Running

    def register(self) -> None:
        body = {
            "client_id": self.anaf.about["client_id"],
            "client_secret": self.anaf.about["client_secret"],
            "redirect_uri": f"{self.portal.url}/spv/callback",
        }
        answer = self.portal.run(self.vault.enrol.put("/application", json=body))
        assert answer.status_code == 204, answer.text


async def nothing(site: Site) -> None: ...


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    with running_simulator() as anaf, served(folder, nothing) as portal:
        vault = VaultProcess(folder, anaf.url)
        portal.run(vault.start())
        try:
            yield Installation(portal, vault, anaf)
        finally:
            portal.run(vault.close())


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("size", "scripts"), [(PHONE, True), (DESK, False)], ids=["phone", "desk-no-scripts"]
)
def test_from_the_application_at_anaf_to_an_owner_whose_invoices_are_being_fetched(
    chromium: Browser, installation: Installation, size: tuple[int, int], scripts: bool
) -> None:
    portal, about = installation.portal, installation.anaf.about
    ana = Visitor(chromium, portal, size, java_script_enabled=scripts)
    gina = Visitor(chromium, portal, size, java_script_enabled=scripts)
    ana.log_in("ana")
    ana.page.goto(f"{portal.url}/clients/{portal.site.world.alfa_uid}/spv")
    ana.page.get_by_role("link", name="Leagă SPV").click()
    expect(ana.page.locator("main")).to_contain_text("Administratorul firmei trebuie să")

    gina.log_in("gina")
    gina.page.goto(f"{portal.url}/spv")
    gina.page.get_by_role("link", name="Legături SPV").click()
    gina.page.get_by_role("link", name="Aplicația ANAF").click()
    expect(gina.page.get_by_label("Adresa de întoarcere")).to_have_value(
        f"{portal.url}/spv/callback"
    )
    gina.page.get_by_label("client_id").fill(about["client_id"])
    gina.page.get_by_label("client_secret").fill(about["client_secret"])
    gina.page.get_by_role("button", name="Salvează").click()
    expect(gina.page.get_by_role("status").first).to_contain_text("abia la prima legare SPV")
    expect(gina.page.get_by_label("client_secret")).to_have_value("")

    ana.page.reload()
    ana.page.get_by_label("Titularul certificatului").fill("Ana Maria Pop")
    ana.page.get_by_role("button", name="Mai departe, la ANAF").click()
    expect(ana.page.locator("main")).to_contain_text("alege-l pe cel pe numele Ana Maria Pop")
    ana.page.get_by_role("link", name="Deschide pagina ANAF").click()
    # ANAF is another site; back from it the session is still there and the address is clean.
    expect(ana.page.locator("h1")).to_have_text("Ana Maria Pop")
    assert "code=" not in ana.page.url
    assert "state=" not in ana.page.url
    ana.page.get_by_role(
        "button", name=f"Citește SPV pentru Alfa Construct SRL ({ALFA}) cu acest certificat"
    ).click()
    expect(ana.page.locator("main")).to_contain_text("Citim acum SPV pentru Alfa Construct SRL.")
    run = portal.run(runs.of_client(portal.site.world.alfa))
    assert run is not None
    assert run.asked_by == portal.site.world.ids["ana"]
    ana.page.get_by_role("link", name="Vezi aducerea").click()
    expect(ana.page.locator("#outcome")).to_contain_text("Citim lista de la ANAF")
    expect(ana.page.locator("#link")).to_contain_text("Ana Maria Pop")
    for visitor in (ana, gina):
        if scripts:
            visitor.check()
        assert not visitor.errors
        visitor.close()


def test_back_from_a_browsers_error_the_way_to_anaf_is_still_there(
    chromium: Browser, installation: Installation
) -> None:
    installation.register()
    portal = installation.portal
    visitor = Visitor(chromium, portal, DESK)
    visitor.log_in("ana")
    page = visitor.page
    page.goto(f"{portal.url}/clients/{portal.site.world.alfa_uid}/spv/link")
    page.get_by_role("button", name="Mai departe, la ANAF").click()
    page.route("**/authorize?*", lambda route: route.abort("failed"))
    with pytest.raises(Error, match="ERR_FAILED"), page.expect_navigation():
        page.get_by_role("link", name="Deschide pagina ANAF").click()
    page.unroute("**/authorize?*")
    page.go_back()
    page.get_by_text("Browserul arată o eroare?").click()
    expect(page.get_by_text("Ai ales alt certificat")).to_be_visible()
    page.get_by_role("link", name="Deschide pagina ANAF").click()
    expect(page.locator("main")).to_contain_text("Mai e un pas: confirmă firma")
    visitor.close()


def test_who_refuses_at_anaf_reads_why_and_begins_again(
    chromium: Browser, installation: Installation
) -> None:
    installation.register()
    portal = installation.portal
    visitor = Visitor(chromium, portal, PHONE)
    visitor.log_in("ana")
    page = visitor.page
    for outcome, said in (
        ("access_denied", "Autorizarea a fost refuzată în browser"),
        ("no_code", "ANAF nu a trimis codul de autorizare"),
    ):
        page.goto(f"{portal.url}/clients/{portal.site.world.alfa_uid}/spv/link")
        page.get_by_role("button", name="Mai departe, la ANAF").click()
        link = page.get_by_role("link", name="Deschide pagina ANAF").get_attribute("href")
        page.goto(f"{link}&simulate={outcome}")
        expect(page.get_by_role("alert")).to_contain_text(said)
        assert page.url == f"{portal.url}/spv/link/failed"
        page.get_by_role("link", name="Încearcă din nou").click()
        expect(page.get_by_label("Titularul certificatului")).to_have_value("Ana")
    visitor.check()
    visitor.close()


def _pages(installation: Installation) -> list[tuple[str, str]]:
    """Make grants of every look; return who opens what."""
    portal, vault = installation.portal, installation.vault
    installation.register()
    uid = portal.site.world.alfa_uid

    async def make() -> str:
        session = {"session": "one"}
        gina = (await portal.site.world.viewer("gina")).user_uid
        begun = await vault.enrol.post(
            "/authorisations",
            json={**session, "requested_by": gina, "holder": "Gina " + "Munteanu-" * 9},
        )
        async with httpx.AsyncClient(trust_env=False) as browser:
            sent = await browser.get(begun.json()["authorise_url"])
        back = {
            name: values[0]
            for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()
        }
        done = await vault.enrol.post("/authorisations/code", json={**session, **back})
        assert done.status_code == 200, done.text
        grant = str(done.json()["grant"])
        await vault.map(ALFA, grant)
        seen = {"cif": ALFA, "cifs": [ALFA, BETA, "11111110", "1960101410019"], "serial": ""}
        await vault.spv.post("/arhivar/seen-cifs", json=seen, headers={"Arhivar-Cif": ALFA})
        return grant

    other = portal.run(make())
    return [
        ("ana", f"/clients/{uid}/spv"),
        ("ana", f"/clients/{uid}/spv/link"),
        ("ana", "/spv/link/failed"),
        ("ana", "/spv/grants"),
        ("ana", f"/spv/grants/{other}"),
        ("gina", "/spv"),
        ("gina", "/spv/link"),
        ("gina", "/spv/grants"),
        ("gina", f"/spv/grants/{other}"),
        ("gina", f"/spv/grants/{other}/link"),
        ("gina", f"/spv/grants/{other}/revoke"),
        ("gina", "/settings/spv"),
    ]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_pages_fit_the_screen_and_axe_finds_nothing_serious(
    chromium: Browser, installation: Installation, size: tuple[int, int]
) -> None:
    wrong: list[str] = []
    visitors: dict[str, Visitor] = {}
    for name, path in _pages(installation):
        if name not in visitors:
            visitors[name] = Visitor(chromium, installation.portal, size)
            visitors[name].log_in(name)
        page: Page = visitors[name].page
        page.goto(installation.portal.url + path)
        page.evaluate("document.querySelectorAll('main details').forEach((one) => one.open = true)")
        visitors[name].check()
        if AXE.exists():
            page.evaluate(AXE.read_text(encoding="utf-8"))
            found = page.evaluate("axe.run({resultTypes: ['violations']})")
            wrong += [
                f"{path}: {each['id']} " + "; ".join(n["html"][:120] for n in each["nodes"][:3])
                for each in found["violations"]
                if each["impact"] in ("serious", "critical")
            ]
    for visitor in visitors.values():
        visitor.close()
    assert not wrong, "\n".join(wrong)

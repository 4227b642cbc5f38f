"""A client is linked to SPV by a person in a browser, with every process as it is in service."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.browser import DESK, chromium, log_in
from tests.support.demo import Demo, until

# ANAF's newest minute is left to the next list, so this one waits for it.
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

NEW = 3


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("linking") / "data", invoices=12)
    try:
        demo.start()
        demo.settled()
        yield demo
    finally:
        demo.kill_everything()


def test_an_erased_link_is_made_again_by_the_owner_and_new_invoices_come(demo: Demo) -> None:
    portal, ana, gina = demo.info["portal"], demo.person("ana"), demo.person("gina")
    with chromium(DESK) as page:
        log_in(page, portal, gina["email"], gina["password"])
        page.goto(f"{portal}/spv/grants")
        page.locator("#grants a").click()
        page.get_by_role("button", name="Testează legătura").click()
        expect(page.locator("main")).to_contain_text("Legătura cu ANAF funcționează.")
        page.get_by_role("link", name="Șterge legătura").click()
        page.get_by_role("button", name="Șterge legătura").click()
        expect(page.get_by_text("Nicio legătură încă")).to_be_visible()

    with chromium(DESK) as page:
        log_in(page, portal, ana["email"], ana["password"])
        found = re.search(r"/clients/[0-9a-z]{26}", page.url)
        assert found
        page.goto(f"{portal}{found[0]}/spv")
        link = page.locator("#link")
        expect(link).to_contain_text("Firma nu este legată de SPV")
        link.get_by_role("link", name="Leagă SPV").click()
        page.get_by_role("button", name="Mai departe, la ANAF").click()
        page.get_by_role("link", name="Deschide pagina ANAF").click()
        confirmation = page.get_by_role("button", name="Citește SPV pentru Alfa Construct SRL")
        expect(confirmation).to_be_visible()
        cif = re.search(r"\((\d+)\)", confirmation.inner_text())
        assert cif
        more = {"cif": cif[1], "count": NEW}
        httpx.post(f"{demo.info['spv']}/simulator/messages", json=more).raise_for_status()
        confirmation.click()
        page.get_by_role("link", name="Vezi aducerea").click()
        expect(page.locator("#outcome")).to_contain_text("0 erori", timeout=60_000)

        def fetched() -> bool:
            # What ANAF has had for less than a minute is left to the next list.
            page.get_by_role("button", name="Adu facturile din SPV acum").click()
            expect(page.locator("#outcome")).to_contain_text("0 erori", timeout=60_000)
            return f"{NEW} facturi noi" in page.locator("#outcome").inner_text()

        until("the new invoices are fetched", fetched, 120)
        expect(link).to_contain_text("Ana Pop")
        assert demo.arhivar("audit", "verify").returncode == 0

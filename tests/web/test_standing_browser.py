"""The notes about authorisations and mails in Chromium, on a phone and on a desk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from appliance.core.sentence import Sentence
from appliance.store import alerts, grants, mails
from appliance.store.engine import fetch
from appliance.store.mails import MailState
from tests.support.store import NOW
from tests.support.web import Site
from tests.support.web_server import Served, served
from tests.web.test_browser import AXE, DESK, PHONE, Visitor, chromium
from tests.web.test_standing import BETA, grant

__all__ = ["chromium"]


async def seed(site: Site) -> None:
    await alerts.raise_once("token", site.world.alfa_uid, 0, site.world.alfa, NOW)
    await grants.learn(
        [
            grant(state="needs_authorisation", holder="Ana-Maria Popescu-Constantinescu"),
            grant("b" * 32, days=14, cifs=(BETA,), holder="Contabilitate Tismana SRL"),
            grant("c" * 32, days=300, cifs=()),
        ],
        NOW,
    )
    for number in range(2):
        await mails.put(f"test:{number}", f"ana{number}@alfa.example", "ro", "Un", "Text", NOW)
    rows = await fetch("SELECT uid FROM mail ORDER BY id")
    why = Sentence("Serverul de e-mail a răspuns: „550 5.1.1 no such user here”.", "550")
    await mails.settle(rows[0]["uid"], MailState.REFUSED, NOW, why)


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, seed) as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_what_is_told_fits_the_screen_and_is_accessible(
    chromium: Browser, portal: Served, size: tuple[int, int], scheme: str
) -> None:
    alfa = portal.site.world.alfa_uid
    wrong: list[str] = []
    for name, path, words in (
        ("ana", f"/clients/{alfa}/pending", "autorizarea SPV pe numele Ana-Maria"),
        ("ana", f"/clients/{alfa}/spv", "Vezi autorizarea"),
        ("gina", "/spv", "pe numele Contabilitate Tismana SRL expiră pe 08.12.2026 (în 14 zile)"),
        ("gina", "/clients", "Vezi autorizarea"),
    ):
        visitor = Visitor(chromium, portal, size, color_scheme=scheme)
        visitor.log_in(name)
        visitor.page.goto(portal.url + path)
        expect(visitor.page.locator("#standing")).to_contain_text(words)
        if path == "/spv":
            expect(visitor.page.locator("#board")).to_contain_text("1 e-mail așteaptă")
            expect(visitor.page.locator("#board")).to_contain_text("ana0@alfa.example: Serverul")
        visitor.check()
        if shots := os.environ.get("ARHIVAR_SHOTS"):
            file = f"{path.strip('/').replace('/', '-')}-{name}-{size[0]}-{scheme}.png"
            visitor.page.screenshot(path=Path(shots) / file, full_page=True)
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

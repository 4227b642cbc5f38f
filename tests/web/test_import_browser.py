"""A file handed in as a person does it, in Chromium, by Hypercorn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.core.sentence import Sentence
from appliance.store import imports
from appliance.store.engine import fetch
from appliance.store.imports import ItemState
from tests.support.browser import DESK, chromium, log_in
from tests.support.store import NOW
from tests.support.web import PASSWORD, Site
from tests.support.web_server import served

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser")


async def nothing(site: Site) -> None:
    """An empty portal."""


async def refused() -> None:
    """End the only item, as sync does."""
    (row,) = await fetch("SELECT uid FROM import_item")
    item, _ = await imports.get(row["uid"])
    why = Sentence("Nu este un zip.", "it is no zip")
    await imports.settle(item, ItemState.REFUSED, NOW, problem=why)


def test_an_owner_hands_in_a_zip_and_finds_it_on_its_way(tmp_path: Path) -> None:
    (tmp_path / "Facturi 2024.zip").write_bytes(b"PK" + bytes(5_000_000))
    with served(tmp_path, nothing) as running, chromium(DESK) as page:
        log_in(page, running.url, "ana@example.ro", PASSWORD)
        page.get_by_role("navigation").get_by_role("link", name="Import").first.click()
        page.get_by_label("Fișier").set_input_files(str(tmp_path / "Facturi 2024.zip"))
        page.locator("#import .chips").get_by_text("De aprobat").click()
        page.get_by_role("button", name="Importă").click()

        page.get_by_role("heading", name="Facturi 2024.zip").wait_for()
        page.get_by_text("1 în lucru").wait_for()
        # Nobody reloads: the page asks again while something is on its way.
        running.run(refused())
        page.get_by_text("1 refuzat").wait_for()
        page.get_by_text("Nu este un zip.").wait_for()
        assert page.get_by_text("în lucru").count() == 0
        assert page.get_by_text("Deja înregistrate").count() == 0
    (spooled,) = (tmp_path / "data" / "spool" / "import").iterdir()
    assert spooled.stat().st_size == 5_000_002

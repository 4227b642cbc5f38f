"""Old invoices handed in on a page, and possible duplicates on cards and documents."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from appliance.core.roles import Status
from appliance.core.sentence import Sentence
from appliance.store import engine, imports, jobs
from appliance.store.imports import ItemState
from appliance.store.spool import Spool
from appliance.web.pages import imports as page
from tests.support.store import NOW
from tests.support.web import FORM, Browser, Site


def place(site: Site) -> str:
    return f"/clients/{site.world.alfa_uid}/import"


async def send(
    site: Site, browser: Browser, data: Any, status: str = "pending", **headers: str
) -> httpx.Response:
    await browser.get(place(site))
    return await browser.request(
        "POST",
        f"{place(site)}?name=vechi.zip&status={status}",
        headers={
            **FORM,
            "content-type": "application/octet-stream",
            "x-csrf": browser.token(),
            **headers,
        },
        content=data,
    )


def spooled(site: Site) -> list[str]:
    root = Spool(site.world.settings.spool_dir).root
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


async def test_a_file_is_taken_as_it_is_and_left_to_sync(site: Site) -> None:
    ana = await site.browser("ana")
    data = b"PK" + bytes(3_000_000)

    response = await send(site, ana, data, "approved")

    assert (response.status_code, response.headers["location"]) == (201, place(site))
    (name,) = spooled(site)
    assert Spool(site.world.settings.spool_dir).path(name).read_bytes() == data
    item, run = await imports.get(name)
    assert (item.state, run.status, run.client_id) == (
        ItemState.QUEUED,
        Status.APPROVED,
        site.world.alfa,
    )
    assert run.account_id == site.world.ids["ana"]
    assert run.handed_in_at is not None
    job = await jobs.latest("import", name)
    assert job is not None
    listed = await ana.get(place(site))
    assert "vechi.zip" in listed.text
    assert "1 în lucru" in listed.text


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("ana", "archived", 403),
        ("elena", "approved", 403),
        ("gina", "approved", 403),
        ("corina", "pending", 403),
        ("florin", "archived", 404),
        ("ana", "rejected", 403),
        ("ana", "nothing", 400),
        ("elena", "archived", 201),
        ("bogdan", "approved", 201),
    ],
)
async def test_who_may_not_choose_the_status_sends_nothing(
    site: Site, name: str, status: str, code: int
) -> None:
    browser = await site.browser(name)

    response = await send(site, browser, b"PK", status, **{"x-csrf": browser.token()})

    assert response.status_code == code
    assert len(spooled(site)) == int(code == 201)
    runs = await engine.fetch("SELECT COUNT(*) AS n FROM import_run")
    assert runs == [{"n": int(code == 201)}]


async def test_a_file_from_another_site_is_refused(site: Site) -> None:
    ana = await site.browser("ana")
    assert (await send(site, ana, b"PK", **{"x-csrf": "0" * 64})).status_code == 403
    assert (await send(site, ana, b"PK", **{"sec-fetch-site": "cross-site"})).status_code == 403
    assert spooled(site) == []


async def test_a_file_that_is_too_large_is_refused_and_nothing_of_it_is_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.store.spool.UPLOAD_LIMIT", 1000)
    ana = await site.browser("ana")

    response = await send(site, ana, bytes(2_000_000))

    assert response.status_code == 400
    assert "peste 0 MB" in response.text
    assert spooled(site) == []


async def test_an_upload_that_stands_still_is_cut_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "CHUNK_SECONDS", 0.05)
    ana = await site.browser("ana")

    async def trickling() -> Any:
        yield b"PK"
        await asyncio.Event().wait()

    response = await send(site, ana, trickling())

    assert response.status_code == 400
    assert spooled(site) == []


async def test_results_are_for_those_who_may_see_the_documents(site: Site) -> None:
    world = site.world
    waiting = await site.invoice(mark="Ascuns")
    elena, ana = await world.viewer("elena"), await site.browser("ana")
    run = await imports.begin("x.zip", Status.ARCHIVED, NOW, client_id=world.alfa, by=elena)
    await imports.add(
        run,
        [
            imports.NewItem("01a", "Ascuns-copie.xml"),
            imports.NewItem("01b", "rupt.zip", problem=Sentence("Zip rupt.", "torn zip")),
        ],
        NOW,
    )
    await imports.handed_in(run, NOW)
    item, _ = await imports.get("01a")
    await imports.settle(item, ItemState.DUPLICATE, NOW, same_as=waiting)

    theirs = (await (await site.browser("elena")).get(place(site))).text
    owners = (await ana.get(place(site))).text

    for text in (theirs, owners):
        assert "1 exista deja" in text
        assert "Zip rupt." in text
    assert "Ascuns" not in theirs
    assert f'href="/documents/{waiting}"' in owners


async def test_a_possible_duplicate_is_a_badge_on_the_card_and_a_link_on_the_page(
    site: Site,
) -> None:
    same: dict[str, Any] = {"number": "F-1", "signed_minor": 11900, "currency": "RON"}
    same |= {"supplier_cif": "22000460"}
    one = await site.invoice(mark="Unu", **same)
    other = await site.invoice(Status.APPROVED, mark="Doi", **{**same, "source": "import"})
    ana, elena = await site.browser("ana"), await site.browser("elena")

    pending = (await ana.get(f"/clients/{site.world.alfa_uid}/pending")).text
    document = (await ana.get(f"/documents/{one}")).text
    seen_by_firm = (await elena.get(f"/documents/{other}")).text

    assert "Posibil duplicat" in pending
    assert f'href="/documents/{other}"' in document
    assert (
        "Posibil duplicat" not in (await elena.get(f"/clients/{site.world.alfa_uid}/approved")).text
    )
    assert one not in seen_by_firm
    assert 'id="duplicates"' not in seen_by_firm

"""What people find on the pages."""

from __future__ import annotations

from appliance.core.roles import Status
from tests.support.web import Site


async def test_an_owner_finds_what_waits_and_opens_it(site: Site) -> None:
    uid = await site.invoice(mark="Curent")
    ana = await site.browser("ana")
    assert "Curent SRL" in ana.page
    assert f"/documents/{uid}" in ana.page
    page = await ana.get(f"/documents/{uid}")
    assert page.status_code == 200
    assert "Curent SRL" in page.text


async def test_an_accountant_sees_how_many_wait_and_nothing_of_them(site: Site) -> None:
    await site.invoice(mark="Ascuns")
    await site.invoice(Status.APPROVED, mark="Deschis", position=1)
    elena = await site.browser("elena")
    assert "1 document, din 24.11.2026" in elena.page
    listed = await elena.get(f"/clients/{site.world.alfa_uid}/approved")
    assert "Deschis SRL" in listed.text
    assert "Ascuns" not in listed.text + elena.page

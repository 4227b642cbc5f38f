"""The months that the portal offers are those that it takes, and no other."""

from __future__ import annotations

import re

from appliance.core.roles import Status
from appliance.store import documents, periods
from tests.support.store import NOW
from tests.support.web import Site

APPROVED = {"seen_status": "approved", "seen_revision": "1"}


async def test_a_document_is_recorded_into_every_offered_month_and_into_no_other(
    site: Site,
) -> None:
    await periods.close_period(site.world.alfa, "2026-01", await site.world.viewer("elena"), NOW)
    elena = await site.browser("elena")
    uid = await site.invoice(Status.APPROVED)
    sheet = (await elena.get(f"/documents/{uid}/record")).text
    offered = sorted(re.findall(r'<option value="(\d{4}-\d{2})"', sheet))
    assert offered

    last = offered[-1]
    for month in (periods.shifted(last, 1), periods.shifted(last, 40), "2025-12", "2026-13"):
        refused = await elena.post(f"/documents/{uid}/record", {**APPROVED, "period": month})
        assert refused.status_code == 409, month
        assert f"Luna {month} " in refused.text
        assert f"Alege o lună deschisă: {', '.join(offered)}." in refused.text
        assert (await documents.by_uid(uid)).status is Status.APPROVED

    for position, month in enumerate(offered, start=1):
        uid = await site.invoice(Status.APPROVED, mark=f"M{position}", position=position)
        done = await elena.post(f"/documents/{uid}/record", {**APPROVED, "period": month})
        assert done.status_code == 303, month
        assert (await documents.by_uid(uid)).period == month

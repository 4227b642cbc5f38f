"""How an authorisation in SPV is told, on the pages of the grants and on a client's own."""

from __future__ import annotations

from typing import Any

from appliance.core.roles import Viewer
from appliance.store import accounts
from appliance.store.clients import ClientRow
from appliance.web import i18n
from appliance.web.linked import Sight, may_confirm, seen_by
from appliance.web.portal import Portal
from appliance.web.render import said, translate
from appliance.web.vault import Grant, VaultAway
from appliance.web.visit import Visit


async def link_of(
    visit: Visit, viewer: Viewer, portal: Portal, client: ClientRow
) -> dict[str, Any]:
    """Return which grants serve the client, and which could; or that the vault is away."""
    try:
        status = await portal.vault.status()
    except VaultAway as error:
        return {"away": said(error.sentence, visit.language)}
    sights = await seen_by(viewer, status.grants)
    serving = [sight for sight in sights if client.id in {one.client.id for one in sight.served}]
    offering = [
        sight
        for sight in sights
        if any(
            one.client.id == client.id and may_confirm(viewer, sight, client, one.cif)
            for one in sight.offered
        )
    ]
    return {
        "away": "",
        "grants": [await grant_row(sight, visit) for sight in serving],
        "offers": [await grant_row(sight, visit) for sight in offering],
    }


async def grant_row(sight: Sight, visit: Visit) -> dict[str, Any]:
    """Return what a page says of the grant."""
    grant, language = sight.grant, visit.language
    style, icon = "good", "check-circle"
    state = "active"
    if grant.state != "active":
        state, style, icon = "needs_authorisation", "bad", "exclamation-circle"
    elif grant.refused_at is not None:
        state, style, icon = "refused", "warn", "exclamation-triangle"
    by = await accounts.by_uid(grant.requested_by)
    return {
        "uid": grant.uid,
        "holder": grant.holder or translate(language, "grants.no_holder"),
        "state": translate(language, f"grants.state.{state}"),
        "more": "" if state == "active" else translate(language, f"grants.state.{state}.more"),
        "style": style,
        "icon": icon,
        # Enough to tell two certificates of one holder apart; whole on its own page.
        "serial_end": grant.serial[-8:],
        "served": sight.served,
        "others": sight.others,
        "offered": len(sight.offered),
        "by": by.name if by else "",
        "created": i18n.day(grant.created_at.date(), language),
        "used": i18n.lately(grant.last_used_at, visit.at, language)
        if grant.last_used_at
        else translate(language, "grants.unused"),
        "renews": _renews(grant, visit),
        "last_day": i18n.day(grant.refresh_expires_at.date(), language)
        if grant.refresh_expires_at
        else "",
    }


def _renews(grant: Grant, visit: Visit) -> str:
    """When its token is renewed next, by itself; empty when it cannot be."""
    if grant.state != "active" or grant.renew_at is None:
        return ""
    if grant.renew_at <= visit.at:
        return translate(visit.language, "grants.renews.due")
    return i18n.day(grant.renew_at.date(), visit.language)

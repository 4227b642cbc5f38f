"""The first run of an appliance: database, firm, first administrator."""

from __future__ import annotations

from datetime import datetime, timedelta

from appliance.config import Settings
from appliance.core.roles import Role
from appliance.store import accounts, clients, links
from appliance.store.engine import open_store, transaction
from appliance.store.migrate import migrate

ACTIVATION_LASTS = timedelta(hours=24)


async def first_run(settings: Settings, firm: str, email: str, name: str, at: datetime) -> str:
    """Make the database when there is none, the firm and its administrator; return the link token.

    Firm and administrator are made together or not at all, so a first run that
    was cut short is simply run again. Raises `BadInput` when there is a firm
    already, or for what is no e-mail address.
    """
    migrate(settings, at=at)
    async with open_store(settings), transaction():
        await clients.create_firm(firm, at)
        account = await accounts.create_account(email, name, at, firm_role=Role.ADMIN)
        return await links.issue(account, "activation", at, at + ACTIVATION_LASTS)

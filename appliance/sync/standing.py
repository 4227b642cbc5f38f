"""How the SPV authorisations stand: learned from the vault, told to people once, acted upon.

The vault is asked every hour, every minute while something is wrong, and as
soon as a job was refused; ANAF is never asked for it. What is learned, who is
told of it and what goes on again is one transaction, so a crash loses no mail
and sends none twice.

    needed        ANAF refused the renewal twice, or its last day is over
    30, 14, 3     so many days to the last one; a grant that renews itself never comes near

One mail for each of them goes to the person who authorised; when their account
is disabled, or may no longer link any client it is about, to the firm's
administrators. A grant that was given again is told of anew when it fails again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from appliance.core import grant_words
from appliance.core.errors import ArhivarError
from appliance.core.roles import LINKERS, Viewer
from appliance.core.times import to_text
from appliance.store import accounts, alerts, clients, grants, health, jobs, mails
from appliance.store.engine import transaction
from appliance.store.grants import NEEDED, Failing, Grant
from appliance.sync.context import Context

logger = logging.getLogger(__name__)

ALERT = "grant"
_SELDOM = timedelta(hours=1)
_OFTEN = timedelta(minutes=1)


class Standing:
    """Asks the vault when it is time to."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asked_at: datetime | None = None
        self._every = _OFTEN

    async def watch(self, at: datetime) -> None:
        """Ask and act when it is due; called every few seconds, and it never raises."""
        if not self._due(at):
            return
        self._asked_at, self._every = at, _OFTEN
        self._context.standing_asked = False
        try:
            found = await self._context.spv.standing()
            wrong = await take_in(found, self._context.settings.web_url, at)
            self._every = _OFTEN if wrong else _SELDOM
        except ArhivarError as error:
            # The vault or the database is away; others say so to people.
            logger.info("how the authorisations stand is asked again: %s", error)
        except Exception:
            logger.exception("how the authorisations stand could not be learned")

    def _due(self, at: datetime) -> bool:
        if self._asked_at is None or self._context.standing_asked:
            return True
        # A clock that was set back must not silence it.
        return not self._asked_at <= at < self._asked_at + self._every


async def take_in(found: Sequence[Grant], portal: str, at: datetime) -> bool:
    """Keep what the vault told, tell people, let go on what can; True while something is wrong.

    Again, it does nothing more.
    """
    async with transaction():
        before = {grant.uid: grant for grant in await grants.known()}
        if _worth_keeping(before, found, at):
            await grants.learn(found, at)
        await _end_what_is_over(before, found, at)
        failing = await grants.failing(at)
        for each in failing:
            if each.grant.cifs:
                await _tell(each, portal, at)
        stopped = [
            alert
            for alert in await alerts.open_for(None)
            if alert.kind in health.STOPPING and alert.client_id is not None
        ]
        if stopped:
            reached = await _reached_anew(before, found, at)
            for client_id in sorted({alert.client_id or 0 for alert in stopped} & reached):
                client = await clients.by_id(client_id)
                await jobs.insert("list", client.uid, at, client_id=client_id)
                logger.info("client %s: an authorisation was given, it is listed now", client.uid)
    return bool(failing or stopped)


def _worth_keeping(before: dict[str, Grant], found: Sequence[Grant], at: datetime) -> bool:
    """Tell whether something is new, or was last seen so long ago that this should be noted."""
    if list(before.values()) != sorted(found, key=lambda grant: (grant.issued_at, grant.uid)):
        return True
    return any(
        grant.seen_at is None or not grant.seen_at <= at < grant.seen_at + _SELDOM
        for grant in before.values()
    )


async def _end_what_is_over(before: dict[str, Grant], found: Sequence[Grant], at: datetime) -> None:
    """What was told of a grant that is given again, sound or gone is over."""
    now = {grant.uid: grant for grant in found}
    for uid in {alert.object for alert in await alerts.open_for(None) if alert.kind == ALERT}:
        grant, old = now.get(uid), before.get(uid)
        given_again = grant and old and (_issue(grant) != _issue(old))
        if grant is None or given_again or grant.stage(at) is None:
            await alerts.end(ALERT, uid, at)
            await mails.withdraw(f"{ALERT}:{uid}:", at)


def _issue(grant: Grant) -> tuple[datetime, datetime]:
    return grant.issued_at, grant.refresh_expires_at


async def _tell(each: Failing, portal: str, at: datetime) -> None:
    grant, stage = each.grant, each.stage
    if not await alerts.raise_once(ALERT, grant.uid, stage, None, at):
        return
    logger.warning("grant %s: %s", grant.uid, f"{stage} days" if stage else "needed again")
    issue = grant.issued_at if stage == NEEDED else grant.refresh_expires_at
    firm = await clients.firm()
    # Of two that wait only the later one is true.
    await mails.withdraw(f"{ALERT}:{grant.uid}:", at)
    for reader in await _readers(each):
        rows = await clients.list_for(reader)
        letter = grant_words.letter(
            grant.cause(at),
            reader.language,
            firm=firm.name if firm else "",
            name=reader.name,
            holder=grant.holder,
            clients=[row.name for row in rows if row.id in each.clients],
            last=grant.refresh_expires_at,
            until=grant.read_until(at),
            address=f"{portal.rstrip('/')}/spv/grants/{grant.uid}",
        )
        told = f"{ALERT}:{grant.uid}:{stage}:{to_text(issue)}:{reader.user_uid}"
        await mails.put(told, reader.email, reader.language, letter.subject, letter.text, at)


async def _readers(each: Failing) -> list[Viewer]:
    author = await accounts.by_uid(each.grant.requested_by)
    if author is not None and not author.disabled:
        viewer = await accounts.viewer(author.id)
        if not each.clients or any(viewer.roles_at(client) & LINKERS for client in each.clients):
            return [viewer]
    readers = [await accounts.viewer(admin.id) for admin in await accounts.administrators()]
    if not readers:
        logger.error("grant %s: there is nobody to tell", each.grant.uid)
    return readers


async def _reached_anew(
    before: dict[str, Grant], found: Sequence[Grant], at: datetime
) -> frozenset[int]:
    """Return the clients that a grant reaches since now: it was given (again), or for this CIF."""
    owners = await clients.all_identifiers()
    reached = set()
    for grant in found:
        old = before.get(grant.uid)
        if grant.stage(at) == NEEDED:
            continue
        given = old is None or _issue(old) != _issue(grant) or old.stage(at) == NEEDED
        reached |= {
            owners[cif]
            for cif in grant.cifs
            if cif in owners and (given or (old is not None and cif not in old.cifs))
        }
    return frozenset(reached)

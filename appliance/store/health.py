"""How the fetching from SPV stands, of one client and of all, for the people who look.

Everything is read from rows that sync writes, so it is the same for everybody
and after a restart of any process. What of it a person may see is the page's to decide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from appliance.core.roles import FIRM_ROLES, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text
from appliance.store import alerts, clients, grants, listings, messages, outages, radar, runs
from appliance.store.clients import ClientRow
from appliance.store.engine import fetch
from appliance.store.grants import Failing
from appliance.store.listings import Listing
from appliance.store.messages import MessageState
from appliance.store.outages import Outage
from appliance.store.radar import Lost, Oldest
from appliance.store.runs import Progress

# What stops the fetching of a client until a person does something.
STOPPING = ("token", "listing")


@dataclass(frozen=True)
class Queue:
    """Messages that wait for the same reason. `next_attempt_at` None: they have no job."""

    number: int
    next_attempt_at: datetime | None
    problem: Sentence | None


@dataclass(frozen=True)
class Health:
    """How it stands at one client. Two that are equal look the same."""

    progress: Progress | None  # of the last run, None before the first
    listings: Sequence[Listing]  # one for each CIF
    counts: Mapping[MessageState, int]  # of all messages ever listed
    queues: Sequence[Queue]
    stopped: Sequence[str]  # of STOPPING, what is the case
    outages: Sequence[Outage]
    failing: Sequence[Failing]  # authorisations that it needs
    oldest: Oldest | None  # of those that are not in the archive and can still be fetched


@dataclass(frozen=True)
class Line:
    """A client's line on the board of all."""

    client: ClientRow
    listings: Sequence[Listing]
    counts: Mapping[MessageState, int]  # queued, expired, not allowed, quarantined
    oldest: Oldest | None  # of those that can still be fetched
    lost: Lost  # of those that cannot
    every_hours: int | None  # None: as the configuration says
    running: bool
    stopped: Sequence[str]

    @property
    def listed_at(self) -> datetime | None:
        """When its list was whole: with several CIFs the one that is longest ago; None: not all."""
        whole = [listing.done_at for listing in self.listings if listing.done_at is not None]
        return min(whole) if whole and len(whole) == len(self.listings) else None

    @property
    def new(self) -> int:
        return sum(listing.counts.new for listing in self.listings)

    @property
    def missing(self) -> int:
        return sum(listing.counts.missing for listing in self.listings)

    @property
    def unfinished(self) -> int:
        """How many are not in the archive and not known to be lost for good."""
        return sum(self.counts.values()) - self.lost.number + self.lost.lately

    @property
    def problem(self) -> Sentence | None:
        return next((listing.problem for listing in self.listings if listing.problem), None)


async def of_client(client_id: int, at: datetime) -> Health:
    """Return how the fetching of the client stands now."""
    uid = (await clients.by_id(client_id)).uid
    return Health(
        progress=await runs.progress(client_id, at),
        listings=tuple(await listings.of_client(client_id)),
        counts=await messages.progress(client_id),
        queues=tuple(await _queues(client_id)),
        stopped=tuple((await _stopped(client_id)).get(uid, ())),
        outages=tuple(await outages_now()),
        failing=tuple(each for each in await grants.failing(at) if client_id in each.clients),
        oldest=(await radar.oldest([client_id], at)).get(client_id),
    )


async def outages_now() -> list[Outage]:
    """Return who does not answer: ANAF, our own vault, both or nobody."""
    found = [await outages.current(host) for host in outages.HOSTS]
    return [outage for outage in found if outage is not None]


async def stopped(viewer: Viewer) -> dict[str, list[ClientRow]]:
    """Return by each of STOPPING the viewer's clients of which nothing is fetched for it."""
    by_client = await _stopped(None)
    if not by_client:
        return {}
    rows = await clients.list_for(viewer)
    return {why: [row for row in rows if why in by_client.get(row.uid, ())] for why in STOPPING}


async def board(viewer: Viewer, at: datetime) -> list[Line]:
    """Return a line for each client where the viewer works for the firm, by name."""
    rows = [row for row in await clients.list_for(viewer) if viewer.roles_at(row.id) & FIRM_ROLES]
    ids = [row.id for row in rows]
    listed: dict[int, list[Listing]] = {}
    for listing in await listings.all_of(viewer):
        listed.setdefault(listing.client_id, []).append(listing)
    counts, by_client = await messages.unsettled_by_client(), await _stopped(None)
    oldest, lost = await radar.oldest(ids, at), await radar.lost(at)
    facts = {
        row["id"]: row
        for row in await fetch(
            "SELECT client.id, client.fetch_every_hours, EXISTS (SELECT 1 FROM fetch_run "
            "WHERE fetch_run.client = client.id AND finished_at IS NULL) AS running FROM client "
            "WHERE client.id IN (SELECT value FROM json_each(?))",
            [json.dumps(ids)],
        )
    }
    return [
        Line(
            client=row,
            listings=listed.get(row.id, []),
            counts=dict.fromkeys(MessageState, 0) | counts.get(row.id, {}),
            oldest=oldest.get(row.id),
            lost=lost.get(row.id, Lost()),
            every_hours=facts[row.id]["fetch_every_hours"],
            running=bool(facts[row.id]["running"]),
            stopped=by_client.get(row.uid, ()),
        )
        for row in rows
    ]


async def every_hours(client_id: int) -> int | None:
    """Return how often it is fetched (`store.fetching`); None: as the configuration says."""
    rows = await fetch("SELECT fetch_every_hours FROM client WHERE id = ?", [client_id])
    hours: int | None = rows[0]["fetch_every_hours"]
    return hours


async def documents_among(uids: Sequence[str]) -> frozenset[str]:
    """Return those uids of messages that are documents' too; an import's has another."""
    rows = await fetch(
        "SELECT uid FROM document WHERE uid IN (SELECT value FROM json_each(?))",
        [json.dumps(list(uids))],
    )
    return frozenset(row["uid"] for row in rows)


async def _queues(client_id: int) -> list[Queue]:
    """Return the client's queued messages by reason, those that are tried next first."""
    rows = await fetch(
        "SELECT COALESCE(job.problem, message.problem) AS problem, COUNT(*) AS number, "
        "MIN(job.next_attempt_at) AS next FROM message "
        "LEFT JOIN job ON job.kind = 'message' AND job.object_uid = message.uid "
        "AND job.state IN ('queued', 'leased') WHERE message.client = ? "
        "AND message.state = 'queued' GROUP BY 1, job.id IS NULL ORDER BY next IS NULL, next",
        [client_id],
    )
    return [
        Queue(
            row["number"],
            from_text(row["next"]) if row["next"] else None,
            Sentence.from_json(row["problem"]) if row["problem"] else None,
        )
        for row in rows
    ]


async def _stopped(client_id: int | None) -> dict[str, list[str]]:
    """Return by client uid what stops it. A list that is not whole is an alert, yet no stop."""
    found: dict[str, list[str]] = {}
    for alert in await alerts.open_for(client_id):
        if alert.kind in STOPPING and "/" not in alert.object:
            found.setdefault(alert.object, []).append(alert.kind)
    return found

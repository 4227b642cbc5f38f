"""The SPV authorisations, as sync last learned from the vault, and which clients need each.

No secret is among it. A grant that renews itself never comes near its last
day: who does is one that fails. `failing()` is what people are warned of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from appliance.core.grant_words import Cause
from appliance.core.times import BUCHAREST, from_text, to_text
from appliance.store import clients
from appliance.store.engine import Row, execute, fetch, joined

ACTIVE = "active"
NEEDED = 0  # the stage of a grant that a person has to give again now
WARNING_DAYS = (30, 14, 3)
_SOUND = WARNING_DAYS[0] + 1


@dataclass(frozen=True)
class Grant:
    """One authorisation at ANAF. `holder` is empty when nobody typed the name."""

    uid: str
    holder: str
    state: str  # active, needs_authorisation
    requested_by: str  # uid of the account
    issued_at: datetime
    access_expires_at: datetime  # until then SPV is read, whatever the state
    refresh_expires_at: datetime
    cifs: tuple[str, ...]
    seen_at: datetime | None = field(default=None, compare=False)

    def stage(self, at: datetime) -> int | None:
        """Return `NEEDED`, or 3, 14 or 30 when its last day is so near; else None."""
        if self.state != ACTIVE or self.refresh_expires_at <= at:
            return NEEDED
        left = self.days_left(at)
        return min((days for days in WARNING_DAYS if left <= days), default=None)

    def cause(self, at: datetime) -> Cause:
        """Return why people are told of it, at a stage that they are told of."""
        if self.state != ACTIVE:
            return Cause.REFUSED
        return Cause.EXPIRED if self.refresh_expires_at <= at else Cause.ENDING

    def days_left(self, at: datetime) -> int:
        """Return how many midnights in Romania there are before its last moment."""
        last = self.refresh_expires_at.astimezone(BUCHAREST).date()
        return (last - at.astimezone(BUCHAREST).date()).days

    def read_until(self, at: datetime) -> datetime | None:
        """Return when the reading of SPV ends, None when it has ended."""
        end = self.access_expires_at
        if self.stage(at) != NEEDED:
            end = max(end, self.refresh_expires_at)
        return end if end > at else None


@dataclass(frozen=True)
class Failing:
    """A grant that people are warned of, and the clients that no better one reaches."""

    grant: Grant
    stage: int
    clients: frozenset[int]


async def learn(found: Sequence[Grant], at: datetime) -> None:
    """Keep what the vault told; what it does not tell of any more is forgotten."""
    async with joined():
        await execute(
            "DELETE FROM spv_grant WHERE grant_uid NOT IN (SELECT value FROM json_each(?))",
            [json.dumps([grant.uid for grant in found])],
        )
        for grant in found:
            await execute(
                "REPLACE INTO spv_grant (grant_uid, holder, state, requested_by, issued_at, "
                "access_expires_at, refresh_expires_at, cifs, seen_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    grant.uid,
                    grant.holder,
                    grant.state,
                    grant.requested_by,
                    to_text(grant.issued_at),
                    to_text(grant.access_expires_at),
                    to_text(grant.refresh_expires_at),
                    json.dumps(grant.cifs),
                    to_text(at),
                ],
            )


async def known() -> list[Grant]:
    """Return all of them, the one given first before the others."""
    rows = await fetch("SELECT * FROM spv_grant ORDER BY issued_at, grant_uid")
    return [_grant(row) for row in rows]


async def failing(at: datetime) -> list[Failing]:
    """Return those that people are warned of, the most urgent first."""
    # Every page asks, and nearly always there is none.
    soon = to_text(at + timedelta(days=_SOUND + 1))
    if not await fetch(
        "SELECT 1 FROM spv_grant WHERE state <> ? OR refresh_expires_at < ? LIMIT 1", [ACTIVE, soon]
    ):
        return []
    grants = await known()
    found = [(stage, grant) for grant in grants if (stage := grant.stage(at)) is not None]
    owners = await clients.all_identifiers()
    best: dict[str, int] = {}
    for grant in grants:
        for cif in grant.cifs:
            best[cif] = max(best.get(cif, NEEDED), _rank(grant, at))
    return [
        Failing(
            grant,
            stage,
            frozenset(
                owners[cif] for cif in grant.cifs if cif in owners and best[cif] == _rank(grant, at)
            ),
        )
        for stage, grant in sorted(found, key=lambda each: (each[0], each[1].refresh_expires_at))
    ]


def _rank(grant: Grant, at: datetime) -> int:
    stage = grant.stage(at)
    return _SOUND if stage is None else stage


def _grant(row: Row) -> Grant:
    return Grant(
        uid=row["grant_uid"],
        holder=row["holder"],
        state=row["state"],
        requested_by=row["requested_by"],
        issued_at=from_text(row["issued_at"]),
        access_expires_at=from_text(row["access_expires_at"]),
        refresh_expires_at=from_text(row["refresh_expires_at"]),
        cifs=tuple(json.loads(row["cifs"])),
        seen_at=from_text(row["seen_at"]),
    )

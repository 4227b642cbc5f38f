"""The job `proof`: what one month of one client holds, counted, hashed, and put on a page.

Three files below the client's folder of the archive (`store.files`), each
replaced by rename, in this order:

    proofs/<yyyy-mm>.sha256   one line a document and notice of the month, in the form of
                              sha256sum: the hash of its manifest, which has those of its files
    proofs/<yyyy-mm>.pdf      „Dovada lunii”, one page
    proofs/<yyyy-mm>.json     the claims: whoever reads it may take the other two as theirs

    {"v": 1, "client": {uid, name, cif}, "firm", "month", "at", "fetched", "complete",
     "messages": {listed, archived, and each state}, "documents": {each status} of those messages,
     "others": {each status} of what came otherwise, "periods": {period: recorded}, "in_period",
     "gaps": [{kind, number, oldest}], "lost": [{message_id, upload_id, created_at, state}],
     "manifests": {number, sha256 of the list}, "audit": {seq, head}}

The audit record `month:proof` names the list's hash, and the head that the page
prints is that record's own: so the chain vouches for the list, and the list for
the files. Client and firm read the same proof, so of what is not approved it
tells how many and how old, nothing else. A second run makes a newer one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from appliance.core.chain import canonical
from appliance.core.cif import mask_cnp
from appliance.core.errors import NotFound
from appliance.core.roles import Status
from appliance.core.times import to_text
from appliance.store import audit, clients, months
from appliance.store.clients import ClientRow
from appliance.store.engine import fetch, transaction
from appliance.store.files import MANIFEST, Archive
from appliance.store.jobs import Job
from appliance.store.messages import MessageState
from appliance.store.months import Place, Report
from appliance.sync.context import Context

VERSION = 1


async def make(job: Job, context: Context, at: datetime) -> None:
    client_uid, _, month = job.object_uid.partition("/")
    client = await clients.by_uid(client_uid)
    places = await months.places(client.id, months.checked(month))
    listed, absent = await asyncio.to_thread(_list, context.archive, client_uid, places)
    claims = await _claim(client, month, listed, absent, at)
    pdf = await context.renderers.proof(claims)

    def write() -> None:
        for suffix, data in (("sha256", listed), ("pdf", pdf), ("json", canonical(claims))):
            context.archive.write_proof(client_uid, f"{month}.{suffix}", data)

    await asyncio.to_thread(write)


def _list(archive: Archive, client_uid: str, places: Sequence[Place]) -> tuple[bytes, int]:
    """Return the list of manifests, and how many are not where their rows promise them."""
    lines, absent = [], 0
    for place in places:
        try:
            with archive.open_file(client_uid, place.archive_month, place.uid, MANIFEST) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except NotFound:
            absent += 1
            continue
        lines.append(f"{digest}  {place.archive_month}/{place.uid}/{MANIFEST}\n")
    return "".join(lines).encode(), absent


async def _claim(
    client: ClientRow, month: str, listed: bytes, absent: int, at: datetime
) -> dict[str, Any]:
    """Count the month, record the proof in the audit log, and return the claims with its head."""
    number, digest = listed.count(b"\n"), hashlib.sha256(listed).hexdigest()
    firm = await clients.firm()
    async with transaction():
        report = await months.report(client.id, month, at, everything=False)
        seq = await audit.append(
            "month:proof",
            "sync",
            client.uid,
            client.uid,
            {
                "month": month,
                "manifests": number,
                "sha256": digest,
                "listed": report.totals.listed,
                "archived": report.totals.archived,
                "decided": report.totals.decided,
                "recorded": report.totals.recorded,
            },
            at=at,
        )
        (row,) = await fetch("SELECT head FROM audit WHERE seq = ?", [seq])
    return {
        "v": VERSION,
        "client": {"uid": client.uid, "name": client.name, "cif": mask_cnp(client.cif)},
        "firm": firm.name if firm else "",
        "month": month,
        "at": to_text(at),
        "fetched": report.fetched and not absent,
        "complete": report.complete and not absent,
        **_numbers(report),
        "gaps": _gaps(report, absent),
        "lost": _lost(report),
        "manifests": {"number": number, "sha256": digest},
        "audit": {"seq": seq, "head": bytes(row["head"]).hex()},
    }


def _numbers(report: Report) -> dict[str, Any]:
    totals = report.totals
    states: dict[str, int] = {str(state): totals.messages.get(state, 0) for state in MessageState}
    return {
        "messages": {**states, "listed": totals.listed, "archived": totals.archived},
        "documents": _by_status(totals.documents),
        "others": _by_status(totals.others),
        "periods": dict(report.periods),
        "in_period": report.in_period,
    }


def _by_status(counted: Mapping[Status, int]) -> dict[str, int]:
    return {str(status): counted.get(status, 0) for status in Status}


def _gaps(report: Report, absent: int) -> list[dict[str, Any]]:
    gaps: list[dict[str, Any]] = [
        {
            "kind": gap.kind,
            "number": gap.number,
            "oldest": to_text(gap.oldest) if gap.oldest else None,
        }
        for gap in report.gaps
    ]
    if absent:
        gaps.append({"kind": "no_file", "number": absent, "oldest": None})
    return gaps


def _lost(report: Report) -> list[dict[str, Any]]:
    """The messages that will not come by themselves: they never became documents of anybody."""
    states = (MessageState.EXPIRED, MessageState.NOT_ALLOWED)
    return [
        {
            "message_id": each.message_id,
            "upload_id": each.upload_id,
            "created_at": to_text(each.when),
            "state": gap.kind,
        }
        for gap in report.gaps
        if gap.kind in states
        for each in gap.named
    ]

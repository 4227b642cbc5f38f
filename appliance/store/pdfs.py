"""Which PDFs are asked for, in which order; the work is the job `render` (object: document).

First what somebody has just opened, then new documents, then what is made
again; among equals the newest received one first, whosever it is. A document
that broke the renderer twice is parked with its reason until `missing()` or
`everything()` asks again; it holds up nobody.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from appliance import __version__
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.store import jobs
from appliance.store.engine import execute, fetch, joined
from appliance.store.jobs import Job

PDF_NAME = "invoice.pdf"

OPENED, NEW, AGAIN = 20, 0, -20
# Read and asked for in one transaction, during which other writers wait.
_ROWS_AT_ONCE = 2_000
_SETTING = "rerender"

# Lower turns come first, so this is the newest first (jobs.lease).
_TURN = "-CAST(strftime('%s', document.received_at) AS INTEGER)"


async def ask(
    document_uid: str, received_at: datetime, at: datetime, *, priority: int = NEW
) -> None:
    """Ask for the PDF of a document that has just been filed."""
    await jobs.insert(
        "render", document_uid, at, priority=priority, turn=-int(received_at.timestamp())
    )


async def opened(document_uid: str, at: datetime) -> Sentence | None:
    """Put a PDF that somebody waits for before all others; what was opened last comes first.

    Returns why there will be none, when it is parked: then nothing is asked for.
    """
    job = await jobs.latest("render", document_uid)
    if job is not None and job.state == "parked":
        return job.problem
    if not _hurries(job):
        await jobs.insert("render", document_uid, at, priority=OPENED, turn=-int(at.timestamp()))
    return None


def _hurries(job: Job | None) -> bool:
    if job is None or job.state == "done":
        return False
    return job.state == "leased" or job.priority >= OPENED


async def again(document_uids: Sequence[str], at: datetime) -> None:
    """Ask for PDFs that show something else now, after all that is new."""
    async with joined():
        await _insert(
            f"document.uid IN (SELECT value FROM json_each(?)) AND {_DRAWN}",
            [json.dumps(list(document_uids))],
            AGAIN,
            at,
        )


@dataclass(frozen=True)
class Progress:
    """How far the asking has come."""

    seen: int  # id of the last document that was looked at
    last: int  # id of the last document that is meant
    asked: int  # so many PDFs were asked for by this call


async def everything(client_id: int | None, at: datetime) -> AsyncIterator[Progress]:
    """Ask to make the PDFs of all documents again, or of one client's, some at a time.

    Broken off, the next call with the same client goes on from there, unless
    the program is another by then. Documents filed afterwards are not meant.
    """
    mine = {"client": client_id, "version": __version__}
    rows = await fetch("SELECT value FROM setting WHERE name = ?", [_SETTING])
    state = json.loads(rows[0]["value"]) if rows else {}
    seen = state["seen"] if {name: state.get(name) for name in mine} == mine else 0
    last = state["last"] if seen else await _last_id()
    condition = _DRAWN
    values: list[object] = []
    if client_id is not None:
        condition, values = f"{_DRAWN} AND document.client = ?", [client_id]
    asked = 0
    yield Progress(seen, last, asked)
    while seen < last:
        end = min(seen + _ROWS_AT_ONCE, last)
        async with joined():
            asked += await _insert_range(condition, values, seen, end, AGAIN, at)
            await execute(
                "INSERT INTO setting (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [_SETTING, json.dumps({**mine, "seen": end, "last": last})],
            )
        seen = end
        yield Progress(seen, last, asked)
    async with joined():
        await execute("DELETE FROM setting WHERE name = ?", [_SETTING])


async def missing(at: datetime) -> AsyncIterator[Progress]:
    """Ask for the PDFs that are not there and nobody has asked for, also those that are parked."""
    seen, last, asked = 0, await _last_id(), 0
    condition = (
        f"{_DRAWN} AND NOT EXISTS (SELECT 1 FROM document_file "
        "WHERE document_file.document = document.id AND role = 'pdf')"
    )
    yield Progress(seen, last, asked)
    while seen < last:
        end = min(seen + _ROWS_AT_ONCE, last)
        async with joined():
            asked += await _insert_range(condition, [], seen, end, NEW, at)
        seen = end
        yield Progress(seen, last, asked)


_DRAWN = "document.type IN ('invoice', 'credit_note')"


async def parked(client_ids: Collection[int] | None) -> list[tuple[str, Sentence | None]]:
    """Return the documents (of these clients, None: of all) that have no PDF, and why.

    Only those that are set aside: what is asked for and not made yet is not among them.
    """
    rows = await fetch(
        "SELECT job.object_uid, job.problem, document.client FROM job "
        "JOIN document ON document.uid = job.object_uid "
        "WHERE job.state = 'parked' AND job.kind = 'render' ORDER BY job.id"
    )
    return [
        (row["object_uid"], Sentence.from_json(row["problem"]) if row["problem"] else None)
        for row in rows
        if client_ids is None or row["client"] in client_ids
    ]


async def _last_id() -> int:
    return int((await fetch("SELECT COALESCE(MAX(id), 0) AS last FROM document"))[0]["last"])


async def _insert_range(
    condition: str, values: Sequence[object], after: int, end: int, priority: int, at: datetime
) -> int:
    return await _insert(
        f"document.id > ? AND document.id <= ? AND {condition}", [after, end, *values], priority, at
    )


async def _insert(condition: str, values: Sequence[object], priority: int, at: datetime) -> int:
    """Ask for the PDFs of the documents that the condition names; return how many were asked for.

    What is asked for already keeps its place.
    """
    # Asked for again, it is set aside no longer. Few are.
    await execute(
        "DELETE FROM job WHERE state = 'parked' AND kind = 'render' AND object_uid IN "
        f"(SELECT uid FROM document WHERE {condition} AND uid IN "
        "(SELECT object_uid FROM job WHERE state = 'parked' AND kind = 'render'))",
        values,
    )
    made = await execute(
        "INSERT INTO job (kind, object_uid, state, priority, turn, next_attempt_at, created_at) "
        f"SELECT 'render', document.uid, 'queued', ?, {_TURN}, ?, ? FROM document "
        f"WHERE {condition} ON CONFLICT DO NOTHING RETURNING id",
        [priority, to_text(at), to_text(at), *values],
    )
    return len(made)

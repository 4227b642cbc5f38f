"""The history of a document: one row a step, and the words for who was faster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.counts import english, romanian
from appliance.core.errors import StaleDocument
from appliance.core.roles import Status
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import tables
from appliance.store.engine import fetch


async def add_event(
    document_id: int,
    at: datetime,
    *,
    action: str,
    old: Status | None,
    new: Status,
    revision: int,
    account_id: int | None,
    channel: str,
    device: str | None = None,
    reason: str | None = None,
    period: str | None = None,
) -> int:
    """Write one step into the running transaction and return the event's id."""
    made = await tables.Event.insert(
        tables.Event(
            document=document_id,
            at=to_text(at),
            action=action,
            old_status=old.value if old else None,
            new_status=new.value,
            revision=revision,
            account=account_id,
            channel=channel,
            device=device,
            reason=reason,
            period=period,
        )
    )
    return int(made[0]["id"])


@dataclass(frozen=True)
class Why:
    """The reason that somebody gave for the step which brought a document where it is."""

    action: str
    reason: str
    actor_name: str | None


async def reasons(document_ids: Sequence[int]) -> dict[int, Why]:
    """Return, by document, the reason of its last change of status; nothing where none was given.

    Only for documents that the reader may see: that step is the one which showed them.
    """
    rows = await fetch(
        "SELECT event.document, event.action, event.reason, account.name FROM event "
        "LEFT JOIN account ON account.id = event.account WHERE event.id IN "
        "(SELECT MAX(id) FROM event WHERE document IN (SELECT value FROM json_each(?)) "
        "AND (old_status IS NULL OR old_status <> new_status) GROUP BY document)",
        [json.dumps(list(document_ids))],
    )
    return {
        row["document"]: Why(row["action"], row["reason"], row["name"])
        for row in rows
        if row["reason"]
    }


async def stale(document_id: int, at: datetime) -> StaleDocument:
    """Return the error for who comes late: it says who moved the document, and when."""
    happened = await last_step(document_id, at)
    return StaleDocument(
        Sentence(f"{happened.ro}. Reîncarcă pagina.", f"{happened.en}; reload the page")
    )


async def last_step(document_id: int, at: datetime) -> Sentence:
    """Return who moved the document last, how and when; without the full stop."""
    rows = await fetch(
        "SELECT event.action, event.at, account.name FROM event "
        "LEFT JOIN account ON account.id = event.account WHERE event.document = ? "
        "ORDER BY event.id DESC LIMIT 1",
        [document_id],
    )
    if not rows or rows[0]["name"] is None or rows[0]["action"] not in _DID:
        return Sentence("Documentul s-a schimbat între timp", "the document has changed meanwhile")
    name, did = rows[0]["name"], _DID[rows[0]["action"]]
    ago = _ago(at - from_text(rows[0]["at"]))
    return Sentence(f"{name} {did.ro} {ago.ro}", f"{name} {did.en} {ago.en}")


def _ago(passed: timedelta) -> Sentence:
    minutes = int(passed.total_seconds() // 60)
    if minutes < 1:
        return Sentence("chiar acum", "just now")
    if minutes < 60:
        return Sentence(
            f"acum {romanian(minutes, 'un minut', 'minute')}", f"{english(minutes, 'minute')} ago"
        )
    hours = minutes // 60
    if hours < 24:
        return Sentence(f"acum {romanian(hours, 'o oră', 'ore')}", f"{english(hours, 'hour')} ago")
    days = hours // 24
    return Sentence(f"acum {romanian(days, 'o zi', 'zile')}", f"{english(days, 'day')} ago")


_DID = {
    "approve": Sentence("l-a aprobat", "approved it"),
    "reject": Sentence("l-a respins", "rejected it"),
    "reconsider": Sentence("l-a readus la aprobare", "reconsidered it"),
    "withdraw": Sentence("i-a retras aprobarea", "withdrew its approval"),
    "return": Sentence("l-a returnat", "returned it"),
    "record": Sentence("l-a înregistrat", "recorded it"),
    "reopen": Sentence("l-a redeschis", "reopened it"),
    "take": Sentence("l-a preluat", "took it"),
    "correct": Sentence("l-a corectat", "corrected it"),
}

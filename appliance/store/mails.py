"""The outbox: every mail is a row, written in the transaction of what causes it, sent by sync.

So nothing is lost while the mail server is away, and for one cause each person
gets one mail, by whatever process and however often it is noticed. The work of
sending is a job (`mail`, the mail's uid). No mail holds a secret: its text lies
here as it is, and in copies of the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import jobs
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.ids import new_uid

JOB = "mail"
# The text of a mail that was settled is forgotten; that there was one, and why, is not.
TEXT_KEPT = timedelta(days=90)
REFUSED_SHOWN = timedelta(days=30)
_SHOWN = 5


class MailState(StrEnum):
    QUEUED = "queued"
    SENT = "sent"  # the mail server took it
    REFUSED = "refused"  # for good: it is not tried again
    WITHDRAWN = "withdrawn"  # what it tells was over before it was sent


@dataclass(frozen=True)
class Mail:
    """A mail to one address, in one language."""

    uid: str
    cause: str
    recipient: str
    language: str
    subject: str
    text: str
    state: MailState
    problem: Sentence | None
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class Outbox:
    """How the outbox stands."""

    waiting: int
    problem: Sentence | None  # of the one that waits longest
    refused: int  # lately
    refused_last: Sequence[Mail]


async def put(
    cause: str, recipient: str, language: str, subject: str, text: str, at: datetime
) -> bool:
    """Have the mail sent; False when there has been one for this cause, which stays the one.

    `cause` tells also whom: it begins with what `withdraw()` will be asked about.
    """
    uid = new_uid(at)
    async with joined():
        put = await execute(
            "INSERT INTO mail (uid, cause, recipient, language, subject, text, state, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, 'queued', ?) ON CONFLICT (cause) DO NOTHING RETURNING uid",
            [uid, cause, recipient, language, " ".join(subject.split()), text, to_text(at)],
        )
        if put:
            await jobs.insert(JOB, uid, at)
    return bool(put)


async def get(uid: str) -> Mail | None:
    """Return the mail, or None when there is none."""
    rows = await fetch("SELECT * FROM mail WHERE uid = ?", [uid])
    return _mail(rows[0]) if rows else None


async def settle(uid: str, state: MailState, at: datetime, problem: Sentence | None = None) -> None:
    """Note how a queued mail ended; again does nothing."""
    async with joined():
        await execute(
            "UPDATE mail SET state = ?, problem = ?, settled_at = ? "
            "WHERE uid = ? AND state = 'queued'",
            [state.value, problem.to_json() if problem else None, to_text(at), uid],
        )


async def explain(uid: str, problem: Sentence) -> None:
    """Note why a queued mail waits."""
    async with joined():
        await execute(
            "UPDATE mail SET problem = ? WHERE uid = ? AND state = 'queued'",
            [problem.to_json(), uid],
        )


async def withdraw(about: str, at: datetime) -> None:
    """Do not send what waits and whose cause begins like this: it is over."""
    which = "state = 'queued' AND substr(cause, 1, length(?1)) = ?1"
    if await fetch(f"SELECT 1 FROM mail WHERE {which} LIMIT 1", [about]):
        async with joined():
            await execute(
                f"UPDATE mail SET state = 'withdrawn', settled_at = ?2 WHERE {which}",
                [about, to_text(at)],
            )


async def outbox(at: datetime) -> Outbox:
    """Return how many mails wait, and what was refused in the last 30 days."""
    waiting = await fetch(
        "SELECT COUNT(*) AS number, (SELECT problem FROM mail WHERE state = 'queued' "
        "AND problem IS NOT NULL ORDER BY id LIMIT 1) AS problem FROM mail WHERE state = 'queued'"
    )
    since = to_text(at - REFUSED_SHOWN)
    refused: Mapping[str, int] = (
        await fetch(
            "SELECT COUNT(*) AS number FROM mail WHERE state = 'refused' AND settled_at > ?",
            [since],
        )
    )[0]
    last = await fetch(
        "SELECT * FROM mail WHERE state = 'refused' AND settled_at > ? "
        "ORDER BY settled_at DESC, id DESC LIMIT ?",
        [since, _SHOWN],
    )
    problem = waiting[0]["problem"]
    return Outbox(
        waiting=waiting[0]["number"],
        problem=Sentence.from_json(problem) if problem else None,
        refused=refused["number"],
        refused_last=[_mail(row) for row in last],
    )


async def sweep(at: datetime) -> int:
    """Empty the texts of what was settled more than 90 days ago, and return how many."""
    which = "state <> 'queued' AND settled_at < ? AND text <> ''"
    old = [to_text(at - TEXT_KEPT)]
    if not await fetch(f"SELECT 1 FROM mail WHERE {which} LIMIT 1", old):
        return 0
    async with joined():
        return len(await execute(f"UPDATE mail SET text = '' WHERE {which} RETURNING id", old))


def _mail(row: Row) -> Mail:
    return Mail(
        uid=row["uid"],
        cause=row["cause"],
        recipient=row["recipient"],
        language=row["language"],
        subject=row["subject"],
        text=row["text"],
        state=MailState(row["state"]),
        problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
        created_at=from_text(row["created_at"]),
        settled_at=from_text(row["settled_at"]) if row["settled_at"] else None,
    )

"""Is a month complete? What ANAF listed ↔ what the archive has ↔ what was decided ↔ recorded.

Two months are told apart, and every page and proof says which one it means:

    SPV month  of a message: the day that ANAF made it (data_creare) in Romania. ANAF lists and
               forgets by this day, so "has everything arrived" can be asked of it alone. A
               message without a readable day belongs to the month in which it was first listed.
    period     of a record: the accounting month that the accountant chose.

A month's page counts the messages of that SPV month, and of their documents the decided and
the recorded ones *in whatever period*: an invoice of 31 October that ANAF made on 1 November
and that was recorded into October is one of November's, and recorded. Beside it stand the
periods into which they went, and how many documents the period of the same name holds in all:
that is the number which the accountant compares with the ledger. A document that came
otherwise (uploaded, imported) is of the month of its issue date; it is counted apart, because
nobody listed it.

Who sees everything at the client sees all of it. The firm sees of what is not approved only
how many and how old, and of what never became a document everything. Anybody else sees
nothing: `NotAllowed`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from appliance.core.errors import BadInput, NotAllowed
from appliance.core.roles import FIRM_ROLES, VISIBLE_TO_FIRM, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST, from_text, to_text
from appliance.store import radar
from appliance.store.engine import Row, fetch
from appliance.store.messages import MessageState
from appliance.store.periods import shifted
from appliance.store.radar import KEPT_BY_ANAF

NAMED = 50  # of one gap's things so many are named, the others counted

# ANAF puts a message into the list up to a quarter of an hour after its data_creare.
_LATE = timedelta(minutes=15)
_FORM = re.compile(r"2[0-9]{3}-(0[1-9]|1[0-2])", re.ASCII)
_OPEN_TO_FIRM = ", ".join(f"'{status.value}'" for status in sorted(VISIBLE_TO_FIRM))

# The order in which gaps are told. `running`, `unlisted` and `unseen` are about the month
# itself and count nothing.
GAPS = (
    "running",  # the month has not ended
    "unlisted",  # no whole list was read since it ended
    "unseen",  # the first list ever was read when ANAF had begun to forget this month
    "queued",  # still to be fetched
    "not_allowed",
    "expired",
    "quarantined",
    "no_document",  # archived, and neither document nor notice has a row
    "unreadable",  # "de verificat manual"
    "signature",  # from SPV, and ANAF's signature is missing or does not hold
    "pending",
    "approved",  # to be recorded
)


@dataclass(frozen=True)
class Totals:
    """The numbers of one month of one client."""

    client_id: int
    month: str
    messages: Mapping[MessageState, int] = field(default_factory=dict)
    documents: Mapping[Status, int] = field(default_factory=dict)  # of those messages
    others: Mapping[Status, int] = field(default_factory=dict)  # uploaded or imported

    @property
    def listed(self) -> int:
        """How many messages ANAF listed."""
        return sum(self.messages.values())

    @property
    def archived(self) -> int:
        """How many of them lie in the archive, as a document or a notice."""
        return self.messages.get(MessageState.ARCHIVED, 0) + self.messages.get(
            MessageState.NOTICE, 0
        )

    @property
    def decidable(self) -> int:
        """How many documents the client decides on, those that came otherwise included."""
        return sum(self.documents.values()) + sum(self.others.values())

    @property
    def undecided(self) -> int:
        """How many of them wait for the client."""
        return self.with_status(Status.PENDING)

    @property
    def decided(self) -> int:
        """How many were approved or rejected."""
        return self.decidable - self.undecided

    @property
    def recordable(self) -> int:
        """How many were approved: what is rejected is never recorded."""
        return self.with_status(Status.APPROVED) + self.recorded

    @property
    def recorded(self) -> int:
        """How many are recorded, in whatever period."""
        return self.with_status(Status.ARCHIVED)

    @property
    def absent(self) -> dict[MessageState, int]:
        """The messages that are not in the archive, by the reason."""
        kept = (MessageState.ARCHIVED, MessageState.NOTICE)
        return {s: self.messages[s] for s in MessageState if self.messages.get(s) and s not in kept}

    def with_status(self, status: Status) -> int:
        """Return how many documents have it, of whatever origin."""
        return self.documents.get(status, 0) + self.others.get(status, 0)


@dataclass(frozen=True)
class Named:
    """One thing that is missing: a message, or a document that may be opened."""

    when: datetime
    uid: str | None = None  # of a document that the asking person may open
    upload_id: str | None = None
    message_id: str | None = None
    partner: str | None = None
    number: str | None = None
    days_left: int | None = None
    problem: Sentence | None = None


@dataclass(frozen=True)
class Gap:
    """What the month lacks; `named` are as many as one can read and the asking person may see."""

    kind: str
    number: int = 0
    oldest: datetime | None = None
    named: tuple[Named, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything about one month of one client at one moment."""

    totals: Totals
    at: datetime
    gaps: tuple[Gap, ...]
    periods: Mapping[str, int]  # where the month's recorded documents went
    in_period: int  # documents that the period of the same name holds
    listed_at: datetime | None  # since when every CUI of the client was listed whole
    fetching: radar.Oldest | None  # of any month

    @property
    def fetched(self) -> bool:
        """Whether everything of the month is known to be in the archive."""
        whole = not any(gap.kind in _NOT_FETCHED for gap in self.gaps)
        return whole and self.totals.archived == self.totals.listed

    @property
    def complete(self) -> bool:
        """Whether everything has also been decided and recorded."""
        return self.fetched and not any(gap.kind in ("pending", "approved") for gap in self.gaps)

    def gap(self, kind: str) -> Gap | None:
        """Return the gap of this kind, if the month has it."""
        return next((gap for gap in self.gaps if gap.kind == kind), None)


_NOT_FETCHED = frozenset(GAPS) - {"unreadable", "signature", "pending", "approved"}


@dataclass(frozen=True)
class BoardRow:
    """One client on the firm's board."""

    totals: Totals
    oldest_undecided: datetime | None
    fetching: radar.Oldest | None  # of any month
    unlisted: bool  # the month is over, and no whole list was read since


def checked(month: str) -> str:
    """Return the month; `BadInput` for text that is none."""
    if not _FORM.fullmatch(month):
        raise BadInput(
            Sentence(
                f"„{month[:20]}” nu este o lună. Scrie-o ca 2026-11.",
                f"{month[:20]!r} is no month; write it like 2026-11",
            )
        )
    return month


def bounds(month: str) -> tuple[datetime, datetime]:
    """Return the first moment of the month in Romania and the first after it."""
    return _first_moment(month), _first_moment(shifted(month, 1))


def _first_moment(month: str) -> datetime:
    year, number = map(int, month.split("-"))
    return datetime(year, number, 1, tzinfo=BUCHAREST)


def may_see(viewer: Viewer, client_id: int) -> bool:
    """Tell whether the months of this client are for this person, all of them or in numbers."""
    membership = viewer.memberships.get(client_id)
    whole = membership is not None and membership.sees_everything
    return whole or bool(viewer.roles_at(client_id) & FIRM_ROLES)


def sees_all(viewer: Viewer, client_id: int) -> bool:
    """Tell whether the person sees what is not approved as well; `NotAllowed` for neither."""
    membership = viewer.memberships.get(client_id)
    if may_see(viewer, client_id):
        return membership is not None and membership.sees_everything
    raise NotAllowed(
        Sentence(
            "Lunile cuprind toate documentele firmei, iar tu vezi doar o parte. Cere-i "
            "titularului.",
            "the months are about all documents of the company and you see a part of them; "
            "ask the owner",
        )
    )


async def of_client(client_id: int) -> list[Totals]:
    """Return the client's months, the latest first. Whether one may see them is `sees_all`."""
    rows = await fetch(
        "SELECT client, month, what, state, number FROM month_total "
        "WHERE client = ? AND number > 0 ORDER BY month DESC",
        [client_id],
    )
    months: dict[str, list[Row]] = {}
    for row in rows:
        months.setdefault(row["month"], []).append(row)
    return [_totals(client_id, month, found) for month, found in months.items()]


async def board(
    viewer: Viewer, client_ids: Iterable[int], month: str, at: datetime
) -> list[BoardRow]:
    """Return one row for each of these clients where the person is of the firm, in that order."""
    ids = [one for one in client_ids if viewer.roles_at(one) & FIRM_ROLES]
    rows = await fetch(
        "SELECT client, what, state, number FROM month_total "
        "WHERE client IN (SELECT value FROM json_each(?)) AND month = ? AND number > 0",
        [json.dumps(ids), checked(month)],
    )
    found: dict[int, list[Row]] = {one: [] for one in ids}
    for row in rows:
        found[row["client"]].append(row)
    totals = [_totals(one, month, found[one]) for one in ids]
    waiting = await _oldest_pending([one.client_id for one in totals if one.undecided], month)
    fetching = await radar.oldest(ids, at)
    listed_at = await _listed_at(ids)
    return [
        BoardRow(
            one,
            waiting.get(one.client_id),
            fetching.get(one.client_id),
            _unlisted(month, listed_at.get(one.client_id), at),
        )
        for one in totals
    ]


async def report(client_id: int, month: str, at: datetime, *, everything: bool) -> Report:
    """Return the month counted from the rows themselves, with every gap named.

    `everything` is what `sees_all` said of whoever reads it: without it nothing
    but numbers and ages tells of what is not approved.
    """
    _, after = bounds(checked(month))
    totals = await _counted(client_id, month)
    listed_at = (await _listed_at([client_id])).get(client_id)
    gaps = []
    if at < after:
        gaps.append(Gap("running"))
    if _unlisted(month, listed_at, at):
        gaps.append(Gap("unlisted", oldest=listed_at))
    seen_from = await _seen_late(client_id, month)
    if seen_from is not None:
        gaps.append(Gap("unseen", oldest=seen_from))
    gaps += [
        await _absent(client_id, month, state, at, everything=everything) for state in totals.absent
    ]
    gaps += [
        gap
        for kind in ("no_document", "unreadable", "signature", "pending", "approved")
        if (gap := await _documents(client_id, month, kind, everything=everything)).number
    ]
    return Report(
        totals=totals,
        at=at,
        gaps=tuple(sorted(gaps, key=lambda gap: GAPS.index(gap.kind))),
        periods=await _periods(client_id, month),
        in_period=await _in_period(client_id, month),
        listed_at=listed_at,
        fetching=(await radar.oldest([client_id], at)).get(client_id),
    )


@dataclass(frozen=True)
class Place:
    """Where the folder of a document or notice lies below the client's."""

    archive_month: str
    uid: str


async def places(client_id: int, month: str) -> list[Place]:
    """Return the folders of everything of the month that is in the archive, by their uid."""
    first, last = _days(month)
    rows = await fetch(
        "SELECT document.archive_month, document.uid FROM message INDEXED BY message_month "
        "JOIN document ON document.message = message.id "
        "WHERE message.client = ?1 AND message.month = ?2 "
        "UNION SELECT notice.archive_month, notice.uid FROM message INDEXED BY message_month "
        "JOIN notice ON notice.uid = message.uid "
        "WHERE message.client = ?1 AND message.month = ?2 "
        "UNION SELECT archive_month, uid FROM document INDEXED BY document_other "
        "WHERE client = ?1 AND list_date BETWEEN ?3 AND ?4 AND message IS NULL",
        [client_id, month, first, last],
    )
    return sorted(
        (Place(row["archive_month"], row["uid"]) for row in rows), key=lambda place: place.uid
    )


def _totals(client_id: int, month: str, rows: Iterable[Row]) -> Totals:
    found: dict[str, dict[str, int]] = {"message": {}, "document": {}, "other": {}}
    for row in rows:
        found[row["what"]][row["state"]] = row["number"]
    return Totals(
        client_id,
        month,
        messages={MessageState(state): number for state, number in found["message"].items()},
        documents={Status(status): number for status, number in found["document"].items()},
        others={Status(status): number for status, number in found["other"].items()},
    )


# Documents of a month: those of its messages, and those of nobody's message dated in it.
_OF_MESSAGES = (
    "FROM message INDEXED BY message_month JOIN document ON document.message = message.id "
    "WHERE message.client = ?1 AND message.month = ?2"
)
_OF_NONE = (
    "FROM document INDEXED BY document_other LEFT JOIN message ON 0 "
    "WHERE document.client = ?1 AND document.list_date BETWEEN ?3 AND ?4 "
    "AND document.message IS NULL"
)


async def _counted(client_id: int, month: str) -> Totals:
    rows = await fetch(
        "SELECT 'message' AS what, state, COUNT(*) AS number FROM message INDEXED BY message_month "
        "WHERE client = ?1 AND month = ?2 GROUP BY state "
        f"UNION ALL SELECT 'document', status, COUNT(*) {_OF_MESSAGES} GROUP BY status "
        f"UNION ALL SELECT 'other', status, COUNT(*) {_OF_NONE} GROUP BY status",
        [client_id, month, *_days(month)],
    )
    return _totals(client_id, month, rows)


async def _absent(
    client_id: int, month: str, state: MessageState, at: datetime, *, everything: bool
) -> Gap:
    """Return the messages that are not in the archive for one reason.

    Those still to be fetched may become anything, and those in quarantine may
    be another client's: the firm learns how many, and the administrator has a
    page of the latter.
    """
    rows = await fetch(
        "SELECT message_id, upload_id, dated_at, problem FROM message INDEXED BY message_month "
        "WHERE client = ? AND month = ? AND state = ? ORDER BY dated_at, id",
        [client_id, month, state.value],
    )
    told = state in (MessageState.EXPIRED, MessageState.NOT_ALLOWED) or (
        everything and state is MessageState.QUEUED
    )
    perishes = state in radar.UNFETCHED
    named = tuple(
        Named(
            when=from_text(row["dated_at"]),
            upload_id=row["upload_id"],
            message_id=row["message_id"],
            days_left=radar.days_left(from_text(row["dated_at"]), at) if perishes else None,
            problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
        )
        for row in (rows[:NAMED] if told else [])
    )
    return Gap(state.value, len(rows), from_text(rows[0]["dated_at"]) if rows else None, named)


_CONDITIONS = {
    "unreadable": "(document.type = 'unreadable' OR document.problem IS NOT NULL)",
    "signature": "document.message IS NOT NULL AND document.type <> 'unreadable' "
    "AND document.signature_result IN ('invalid', 'absent')",
    "pending": "document.status = 'pending'",
    "approved": "document.status = 'approved'",
}


async def _documents(client_id: int, month: str, kind: str, *, everything: bool) -> Gap:
    if kind == "no_document":
        return await _without_row(client_id, month)
    condition = _CONDITIONS[kind]
    if kind in ("unreadable", "signature") and not everything:
        # That one of the pending ones is damaged is more than how many they are.
        condition += f" AND document.status IN ({_OPEN_TO_FIRM})"
    columns = (
        "SELECT document.uid, document.received_at, document.partner_name, document.number, "
        "message.upload_id, document.status, document.problem"
    )
    rows = await fetch(
        f"SELECT *, COUNT(*) OVER () AS number_of FROM ({columns} {_OF_MESSAGES} AND {condition} "
        f"UNION ALL {columns} {_OF_NONE} AND {condition}) ORDER BY received_at, uid LIMIT {NAMED}",
        [client_id, month, *_days(month)],
    )
    if not rows:
        return Gap(kind)
    named = tuple(
        Named(
            when=from_text(row["received_at"]),
            uid=row["uid"],
            upload_id=row["upload_id"],
            partner=row["partner_name"],
            number=row["number"],
            problem=Sentence.from_json(row["problem"]) if row["problem"] else None,
        )
        for row in rows
        if everything or Status(row["status"]) in VISIBLE_TO_FIRM
    )
    return Gap(kind, rows[0]["number_of"], from_text(rows[0]["received_at"]), named)


async def _without_row(client_id: int, month: str) -> Gap:
    rows = await fetch(
        "SELECT message_id, upload_id, dated_at FROM message INDEXED BY message_month "
        "WHERE client = ?1 AND month = ?2 AND ("
        "(state = 'archived' AND NOT EXISTS "
        "(SELECT 1 FROM document WHERE document.message = message.id)) OR "
        "(state = 'notice' AND NOT EXISTS (SELECT 1 FROM notice WHERE notice.uid = message.uid)))"
        " ORDER BY dated_at, id",
        [client_id, month],
    )
    named = tuple(
        Named(
            when=from_text(row["dated_at"]),
            upload_id=row["upload_id"],
            message_id=row["message_id"],
        )
        for row in rows[:NAMED]
    )
    return Gap("no_document", len(rows), named[0].when if named else None, named)


async def _periods(client_id: int, month: str) -> dict[str, int]:
    recorded = "AND document.status = 'archived' GROUP BY document.period"
    rows = await fetch(
        "SELECT period, SUM(number) AS number FROM ("
        f"SELECT document.period, COUNT(*) AS number {_OF_MESSAGES} {recorded} "
        f"UNION ALL SELECT document.period, COUNT(*) AS number {_OF_NONE} {recorded}) "
        "GROUP BY period ORDER BY period",
        [client_id, month, *_days(month)],
    )
    return {row["period"]: row["number"] for row in rows if row["period"]}


async def _in_period(client_id: int, period: str) -> int:
    rows = await fetch(
        "SELECT COALESCE(SUM(documents), 0) AS number FROM folder "
        "WHERE client = ? AND status = 'archived' AND period = ?",
        [client_id, period],
    )
    return int(rows[0]["number"])


async def _listed_at(client_ids: Iterable[int]) -> dict[int, datetime]:
    """Return since when every CUI of a client has been listed whole; absent: not yet, or none."""
    rows = await fetch(
        "SELECT client_identifier.client AS id, MIN(COALESCE(listing.done_at, '')) AS done_at "
        "FROM client_identifier LEFT JOIN listing ON listing.client = client_identifier.client "
        "AND listing.cif = client_identifier.value WHERE client_identifier.scheme = 'cui' "
        "AND client_identifier.client IN (SELECT value FROM json_each(?)) GROUP BY 1",
        [json.dumps(list(client_ids))],
    )
    return {row["id"]: from_text(row["done_at"]) for row in rows if row["done_at"]}


def _unlisted(month: str, listed_at: datetime | None, at: datetime) -> bool:
    """Tell whether the month is over and no whole list was read since."""
    _, after = bounds(month)
    return at >= after and (listed_at is None or listed_at < after + _LATE)


async def _seen_late(client_id: int, month: str) -> datetime | None:
    """Return when the client was first listed, if ANAF had by then begun to forget the month."""
    first, _ = bounds(month)
    in_time = to_text(first + KEPT_BY_ANAF)
    # Nearly always true of the first row that is looked at; all of them take a while.
    if await fetch(
        "SELECT 1 FROM message INDEXED BY message_month "
        "WHERE client = ? AND month <= ? AND listed_at <= ? LIMIT 1",
        [client_id, month, in_time],
    ):
        return None
    rows = await fetch("SELECT MIN(listed_at) AS first FROM message WHERE client = ?", [client_id])
    seen: str | None = rows[0]["first"]
    return from_text(seen) if seen is not None and seen > in_time else None


async def _oldest_pending(client_ids: list[int], month: str) -> dict[int, datetime]:
    """Return since when the month's oldest pending document of each client waits.

    Nothing is received before ANAF made it, so the walk along the client's
    pending documents begins with the month and ends with the first one of it.
    """
    first, _ = bounds(month)
    rows = await fetch(
        "SELECT client.value AS id, (SELECT received_at "
        "FROM document INDEXED BY document_oldest JOIN message ON message.id = document.message "
        "WHERE document.client = client.value AND document.status = 'pending' "
        "AND document.received_at >= ?2 AND message.month = ?3 "
        "ORDER BY document.received_at LIMIT 1) AS fetched, (SELECT MIN(received_at) "
        "FROM document INDEXED BY document_other WHERE document.client = client.value "
        "AND document.status = 'pending' AND document.list_date BETWEEN ?4 AND ?5 "
        "AND document.message IS NULL) AS other FROM json_each(?1) AS client",
        [json.dumps(client_ids), to_text(first - timedelta(days=1)), month, *_days(month)],
    )
    found = {row["id"]: [t for t in (row["fetched"], row["other"]) if t] for row in rows}
    return {client_id: from_text(min(times)) for client_id, times in found.items() if times}


def _days(month: str) -> list[Any]:
    """Return the first and the last day of the month, as `list_date` has them."""
    last = date.fromisoformat(f"{shifted(month, 1)}-01") - timedelta(days=1)
    return [f"{month}-01", last.isoformat()]

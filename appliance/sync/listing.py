"""The job `list`: re-list a client's window at ANAF and remember what is new.

An answer is compared with what ANAF itself announced and with what it listed
before. What it holds is remembered in any case; when it is not whole, or
suddenly lists next to nothing, it is asked for again, then reported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from appliance.core import cif as cifs
from appliance.core import spv
from appliance.core.counts import english, romanian
from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.store import alerts, clients, jobs, listings, messages, runs
from appliance.store.jobs import Job
from appliance.store.listings import Counts
from appliance.sync.context import Context
from appliance.sync.spv import Deferred, Listing, NotLinked

logger = logging.getLogger(__name__)

# An answer that is not to be believed is asked for again so many seconds later, then reported.
_DOUBT_SECONDS = (5, 10, 20)
_DOUBT = "doubt"
# A message so young must be listed: by the hour of October, and by ANAF's own two counts of
# 60 days, the oldest day of the window is not certain.
_CERTAIN = timedelta(days=1)
# A right may have come back: what was not allowed is tried once a day, and when somebody asks.
_NOT_ALLOWED_RETRY = timedelta(hours=20)
_SKEW_TOLD = timedelta(minutes=1)


async def list_client(job: Job, context: Context, at: datetime) -> None:
    client = await clients.by_uid(job.object_uid)
    await runs.listing(client.id, at)
    identifiers = await clients.identifiers(client.id)
    errors: list[ArhivarError] = []
    strange: list[Sentence] = []
    listed = new = 0
    for cif in sorted(value for value in identifiers if cifs.scheme(value) == "cui"):
        try:
            counts, problem = await _list_cif(cif, client.id, client.uid, job, context, at)
            listed, new = listed + counts.listed, new + counts.new
            strange += [problem] if problem else []
        except (Deferred, NotLinked, spv.SpvFault) as error:
            # The client's other numbers may be linked to another certificate.
            errors.append(error)
            if not (isinstance(error, Deferred) and error.reason in ("rate", _DOUBT)):
                await listings.failed(client.id, cif, at, error.sentence)
    await messages.give_jobs(client.id, at)
    if job.priority > 0:
        # Whoever asks to fetch also wants what was set aside to be tried again, and all of it
        # before what nobody waits for.
        await jobs.hurry(client.id, ["message"], at, priority=job.priority)
    soon_again = [error for error in errors if not _needs_more_than_minutes(error)]
    if not soon_again:
        why = next(iter([*(error.sentence for error in errors), *strange]), None)
        await runs.listed(client.id, datetime.now(UTC), listed=listed, new=new, problem=why)
    if errors:
        raise (soon_again or errors)[0]


def _needs_more_than_minutes(error: ArhivarError) -> bool:
    """Tell whether a person or the next day is needed: whoever looks on need not go on looking."""
    if isinstance(error, Deferred):
        return error.reason in ("list-quota", "second-try", "application")
    kind = spv.FaultKind
    return isinstance(error, NotLinked) or (
        isinstance(error, spv.SpvFault)
        and error.kind in (kind.TOKEN, kind.PERMISSION, kind.QUOTA_LIST, kind.OUR_BUG)
    )


async def _list_cif(
    cif: str, client_id: int, client_uid: str, job: Job, context: Context, at: datetime
) -> tuple[Counts, Sentence | None]:
    """Return what the answer held, which is remembered, and what was strange about it.

    Raises `Deferred` when it cannot be all that ANAF has and is worth asking for again.
    """
    listing = await context.spv.list_window(cif, at)
    of_owner, strangers = await _by_owner(cif, client_id, listing)
    own = of_owner[client_id]
    expected = await messages.created_between(client_id, cif, listing.start + _CERTAIN, listing.end)
    new = 0
    for owner, entries in of_owner.items():
        urgency = job.priority if owner == client_id else 0
        added = await messages.remember(owner, entries, at, priority=urgency)
        nameless = await messages.keep_nameless(owner, entries, at)
        if owner == client_id:
            new = len(added) + nameless
        elif added:
            logger.warning("%s: %d entries of another client", client_uid, len(added))
    patience = timedelta(0) if job.priority > 0 else _NOT_ALLOWED_RETRY
    ids = [entry.message_id for entry in own if entry.message_id]
    await messages.queue_again(client_id, ids, at, settled_before=at - patience)
    counts = Counts(len(own), new, messages.not_among(expected, own), strangers)
    logger.info("%s: %d listed, %d new", client_uid, counts.listed, counts.new)
    if strangers:
        logger.warning("%s: %d entries of companies that are no clients", client_uid, strangers)
    await context.spv.report_cifs(cif, listing)
    doubt = _doubt(cif, listing, counts, len(expected))
    problem = doubt or _clock(listing)
    await listings.note(client_id, cif, at, counts, problem, whole=doubt is None)
    if problem is not None:
        logger.warning("%s: %s", client_uid, problem)
    if doubt is not None and job.attempts <= len(_DOUBT_SECONDS):
        raise Deferred(doubt, after_seconds=_DOUBT_SECONDS[job.attempts - 1], reason=_DOUBT)
    alerted = f"{client_uid}/{cif}"
    if doubt is None:
        await alerts.end("listing", alerted, at)
    elif await alerts.raise_once("listing", alerted, 0, client_id, at):
        logger.error("%s: reported: %s", client_uid, doubt)
    return counts, problem


async def _by_owner(
    cif: str, client_id: int, listing: Listing
) -> tuple[dict[int, list[spv.ListEntry]], int]:
    """Return each client's entries, the oldest first, and how many are of no client.

    The certificate may reach companies that are no clients; their messages are not ours.
    """
    everyone = await clients.all_identifiers()
    of_owner: dict[int, list[spv.ListEntry]] = {client_id: []}
    strangers = 0
    for entry in _oldest_first(listing.entries):
        named = cifs.normalise(entry.cif) or cif
        owner = everyone.get(named)
        if owner is None:
            strangers += 1
        else:
            of_owner.setdefault(owner, []).append(replace(entry, cif=named))
    return of_owner, strangers


def _oldest_first(entries: Iterable[spv.ListEntry]) -> list[spv.ListEntry]:
    """Sort by what is lost first; of unknown age may be the oldest."""
    earliest = datetime.min.replace(tzinfo=UTC)
    return sorted(
        entries,
        key=lambda e: (e.created_at or earliest, len(e.message_id or ""), e.message_id or ""),
    )


def _doubt(cif: str, listing: Listing, counts: Counts, expected: int) -> Sentence | None:
    """Return why the answer cannot be all that ANAF has, None when it may be."""
    found = len(listing.entries)
    if not listing.whole:
        return Sentence(
            f"ANAF a anunțat {_ro(listing.announced)} pentru CIF {cif} și a listat {_ro(found)}. "
            "Ce a listat s-a păstrat; lista se recitește singură.",
            f"ANAF announced {_en(listing.announced)} for CIF {cif} and listed {_en(found)}; what "
            "it listed is kept, and the list is read again by itself",
        )
    # One or two that are missing are kept and counted; most of them cannot have gone.
    if counts.missing * 2 <= expected:
        return None
    still = expected - counts.missing
    ro = f"decât {_ro(still)} din cele" if still else "niciunul din cele"
    before = f"{expected:,}".replace(",", ".")
    return Sentence(
        f"ANAF nu mai listează pentru CIF {cif} {ro} {before} știute din aceeași perioadă. Nu s-a "
        "pierdut nimic; lista se recitește singură. Dacă se repetă, verifică în SPV dreptul "
        "certificatului.",
        f"of {_en(expected)} known from this period ANAF suddenly lists {still or 'none'} for CIF "
        f"{cif}; nothing is lost, and the list is read again by itself; if this goes on, check "
        "the certificate's right in SPV",
    )


def _clock(listing: Listing) -> Sentence | None:
    if listing.refused is not None:
        least = round(listing.refused.total_seconds() / 60)
        return Sentence(
            f"Ceasul serverului pare cu peste {romanian(least, 'un minut', 'minute')} în urma "
            "ceasului ANAF, așa că mesajele noi ajung mai târziu; verifică sincronizarea orei.",
            f"the clock of this server seems more than {english(least, 'minute')} behind ANAF's, "
            "so new messages come later; check the time synchronisation",
        )
    if listing.skew is None or abs(listing.skew) < _SKEW_TOLD:
        return None
    minutes = max(1, round(abs(listing.skew).total_seconds() / 60))
    ahead = listing.skew > timedelta(0)
    return Sentence(
        f"Ceasul serverului este cu {romanian(minutes, 'un minut', 'minute')} "
        f"{'înaintea' if ahead else 'în urma'} ceasului ANAF. Lista s-a citit după ora ANAF; "
        "verifică sincronizarea orei.",
        f"the clock of this server is {english(minutes, 'minute')} "
        f"{'ahead of' if ahead else 'behind'} ANAF's; the list was read by ANAF's time, check the "
        "time synchronisation",
    )


def _ro(number: int) -> str:
    return romanian(number, "un mesaj", "mesaje")


def _en(number: int) -> str:
    return english(number, "message")

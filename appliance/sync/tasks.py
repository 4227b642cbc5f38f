"""What each kind of job does, and what its failure means.

    list     re-list a client's window and remember what is new
    message  download one message and file it
    render   make the PDF of one document

Every job may run twice, and be cut off anywhere. A job that fails is given
back with a sentence and a time, or parked when trying again cannot help.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from appliance.config import Settings
from appliance.core import certificates, spv
from appliance.core import cif as cifs
from appliance.core.certificates import PinnedCertificate
from appliance.core.errors import ArchiveConflict, ArhivarError, Busy, ZipRefused
from appliance.core.sentence import Sentence
from appliance.core.signature import SignatureResult, Verdict
from appliance.core.times import BUCHAREST
from appliance.store import clients, documents, jobs, messages
from appliance.store.documents import NewFile
from appliance.store.files import Archive
from appliance.store.jobs import Job
from appliance.store.messages import Message, MessageState
from appliance.sync import ingest
from appliance.sync.rendering import Closing, RendererDied, Renderers
from appliance.sync.spv import Deferred, NotLinked, SpvClient

logger = logging.getLogger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 5, 15 * 60  # seconds
_DISK_RETRY = 60
_NOT_LINKED_RETRY = 60 * 60
# ANAF allows ten downloads of a message a day; a zip that stays broken is kept as it is.
_BROKEN_ZIP_ATTEMPTS = 3
PDF_NAME = "invoice.pdf"


@dataclass
class Context:
    """What the jobs work with."""

    settings: Settings
    archive: Archive
    spv: SpvClient
    renderers: Renderers


async def run(job_id: int, context: Context) -> None:
    """Do one leased job and record how it ended; never raises for a failure of the job."""
    at = datetime.now(UTC)
    job = await jobs.get(job_id)
    if job is None or job.state != "leased":
        return  # done by another worker whose lease had run out
    try:
        await _HANDLERS[job.kind](job, context, at)
        await jobs.finish(job.id, datetime.now(UTC))
    except Closing:
        await jobs.give_back(job.id, at)
    except Deferred as deferred:
        await _later(job, deferred.after_seconds, deferred.sentence)
    except NotLinked as not_linked:
        await _later(job, _NOT_LINKED_RETRY, not_linked.sentence)
    except spv.SpvFault as fault:
        await _after_fault(job, fault)
    except Busy as busy:
        await _later(job, _DISK_RETRY, busy.sentence)
    except (ArchiveConflict, RendererDied) as error:
        await jobs.park(job.id, datetime.now(UTC), error.sentence)
        logger.error("%s %s parked: %s", job.kind, job.object_uid, error)
    except Exception as error:
        # Ours, and perhaps gone after an upgrade: keep the work, say so, go on with the others.
        logger.exception("%s %s failed", job.kind, job.object_uid)
        sentence = error.sentence if isinstance(error, ArhivarError) else _OUR_BUG
        await _later(job, _LONGEST_RETRY, sentence)


_OUR_BUG = Sentence(
    "O eroare a programului a întrerupt lucrul la acest document; nimic nu s-a pierdut, încercăm "
    "din nou. Administratorul găsește detalii în jurnalul sync.",
    "an error of the program interrupted the work on this document; nothing is lost, it is tried "
    "again, and the administrator finds details in the log of sync",
)


async def _after_fault(job: Job, fault: spv.SpvFault) -> None:
    kind = spv.FaultKind
    at = datetime.now(UTC)
    if job.kind == "message" and fault.kind in (kind.EXPIRED, kind.GONE, kind.PERMISSION):
        state = MessageState.NOT_ALLOWED if fault.kind is kind.PERMISSION else MessageState.EXPIRED
        await messages.settle(job.object_uid, state, fault.sentence, at)
        await jobs.finish(job.id, at)
    elif fault.kind in (kind.QUOTA_LIST, kind.QUOTA_MESSAGE):
        await _later(job, _seconds_to_tomorrow(at), fault.sentence)
    elif fault.kind is kind.PERMISSION:
        await jobs.park(job.id, at, fault.sentence)
    elif fault.kind is kind.TOKEN:
        await _later(job, _NOT_LINKED_RETRY, fault.sentence)
    elif fault.kind is kind.OUR_BUG:
        logger.error("%s %s: %s", job.kind, job.object_uid, fault.answer)
        await _later(job, _LONGEST_RETRY, fault.sentence)
    else:
        await _later(job, _backoff(job.attempts), fault.sentence)


async def _later(job: Job, after_seconds: float, sentence: Sentence) -> None:
    await jobs.retry(job.id, datetime.now(UTC), after_seconds, sentence)
    if job.kind == "message":
        await messages.explain(job.object_uid, sentence)


def _backoff(attempts: int) -> float:
    """Return 5 s doubling to 15 minutes, spread by a quarter so that many do not come at once."""
    wait: float = min(_FIRST_RETRY * 2.0 ** min(attempts - 1, 12), _LONGEST_RETRY)
    return wait * (0.75 + random.random() / 2)  # noqa: S311  not a secret


def _seconds_to_tomorrow(at: datetime) -> float:
    """Return the seconds to a minute past midnight in Romania, when ANAF counts anew."""
    local = at.astimezone(BUCHAREST)
    midnight = (local + timedelta(days=1)).replace(hour=0, minute=1, second=0, microsecond=0)
    return (midnight.astimezone(UTC) - at).total_seconds()


# list


async def _list(job: Job, context: Context, at: datetime) -> None:
    client = await clients.by_uid(job.object_uid)
    everyone = await clients.all_identifiers()
    identifiers = await clients.identifiers(client.id)
    for cif in sorted(value for value in identifiers if cifs.scheme(value) == "cui"):
        listing = await context.spv.list_window(cif, at)
        await context.spv.report_cifs(cif, listing)
        mine: list[spv.ListEntry] = []
        for entry in listing.entries:
            owner = everyone.get(cifs.normalise(entry.cif) or cif)
            if owner is None:
                # The certificate reaches companies that are no clients; they are not ours.
                continue
            if owner == client.id:
                mine.append(entry)
            else:
                await messages.remember(owner, [entry], at)
        added = await messages.remember(client.id, mine, at)
        # Whoever asks to fetch also wants what was set aside to be tried again.
        unsettled = await messages.in_state(MessageState.QUEUED, client.id)
        await jobs.insert_many("message", [message.uid for message in unsettled], at)
        nameless = spv.without_id(mine)
        if nameless:
            logger.warning("%s: %d entries without an id", client.uid, len(nameless))
        logger.info("%s: %d listed, %d new", client.uid, len(listing.entries), len(added))


# message


async def _message(job: Job, context: Context, at: datetime) -> None:
    message = await messages.get(job.object_uid)
    spooled = context.settings.spool_dir / f"{message.uid}.zip"
    if message.state is MessageState.QUEUED:
        await context.spv.download(message.cif, message.message_id, spooled)
        data = await asyncio.to_thread(spooled.read_bytes)
        await _require_whole(job, spooled, data)
        await _file(message, data, context, at)
    # Only now: everything that the zip was good for is in the archive.
    spooled.unlink(missing_ok=True)


async def _require_whole(job: Job, spooled: Path, data: bytes) -> None:
    """Have a zip that does not open downloaded again, a few times, before it is kept as it is."""
    try:
        await asyncio.to_thread(spv.read_zip, data)
    except ZipRefused as refused:
        if job.attempts < _BROKEN_ZIP_ATTEMPTS:
            spooled.unlink()
            raise Deferred(
                refused.sentence, after_seconds=_FIRST_RETRY, reason="broken-zip"
            ) from refused


async def _file(message: Message, data: bytes, context: Context, at: datetime) -> None:
    everyone = await clients.all_identifiers()
    own = await clients.identifiers(message.client_id)
    planned = await asyncio.to_thread(
        ingest.plan,
        message,
        data,
        own=own,
        others=frozenset(everyone) - own,
        pinned=pinned_certificates(context.settings),
    )
    if isinstance(planned, ingest.Quarantine):
        await ingest.quarantine(planned, message, data, context.archive, at)
        return
    await ingest.file(planned, message, context.archive, at)


def pinned_certificates(settings: Settings) -> Mapping[str, PinnedCertificate]:
    """Return the certificates that are shipped and those that the administrator added."""
    pinned = dict(certificates.PINNED)
    if settings.spv_extra_certificates is not None:
        for path in sorted(settings.spv_extra_certificates.glob("*.pem")):
            certificate = certificates.from_pem(path.read_bytes())
            pinned[certificate.fingerprint] = certificate
    return pinned


# render


async def _render(job: Job, context: Context, at: datetime) -> None:
    document = await documents.by_uid(job.object_uid)
    if document.type not in ("invoice", "credit_note"):
        return
    place = (document.client_uid, document.archive_month, document.uid)
    xml = await asyncio.to_thread(context.archive.path_of(*place, "invoice.xml").read_bytes)
    verdict = Verdict(
        SignatureResult(document.signature_result),
        document.signature_reason,
        document.signature_fingerprint,
    )
    pdf = await context.renderers.render(
        xml, upload_id=document.upload_id, message_id=document.message_id, verdict=verdict
    )
    size, sha256 = await asyncio.to_thread(context.archive.write_derived, *place, PDF_NAME, pdf)
    row = NewFile(
        role="pdf", stored_name=PDF_NAME, mime="application/pdf", size=size, sha256=sha256,
        shown_suffix=".pdf",
    )  # fmt: skip
    await documents.add_file(document.uid, row, at=datetime.now(UTC))


_HANDLERS = {"list": _list, "message": _message, "render": _render}

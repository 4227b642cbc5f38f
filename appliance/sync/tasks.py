"""What each kind of job does, and what its failure means.

    list     re-list a client's window and remember what is new
    message  download one message and file it
    render   make the PDF of one document

Every job may run twice, and be cut off anywhere. A job that fails is given
back with a sentence and a time, or parked when trying again cannot help:

    the vault says "rate"              given back; no call before its Retry-After
    another refusal, transient, clock  again later: Retry-After, or 5 s doubling to 15 min
    not linked, token                  in an hour, or when somebody asks to fetch
    ANAF's daily quota                 past midnight in Romania
    expired, gone, no right            message: settled with the sentence; list: parked
    a zip that does not open           downloaded again; kept as it is when that does not help
    disk or database full or busy      in a minute
    other bytes in the archive         parked: a person has to look
    a renderer that breaks             once more in a minute, then parked
    anything else                      our defect: logged, in 15 minutes doubling to a day
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from appliance.config import Settings
from appliance.core import anaf_zip, certificates, spv
from appliance.core import cif as cifs
from appliance.core.certificates import PinnedCertificate
from appliance.core.errors import ArchiveConflict, ArhivarError, Busy, ZipRefused
from appliance.core.sentence import Sentence
from appliance.core.signature import SignatureResult, Verdict
from appliance.core.times import BUCHAREST
from appliance.store import clients, documents, jobs, messages
from appliance.store.documents import NewFile
from appliance.store.engine import transaction
from appliance.store.files import Archive
from appliance.store.jobs import Job
from appliance.store.messages import Message, MessageState
from appliance.sync import ingest
from appliance.sync.rendering import Closing, RendererDied, Renderers
from appliance.sync.spv import Deferred, NotLinked, SpvClient

logger = logging.getLogger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 5, 15 * 60  # seconds
_BUSY_RETRY = 60
_NOT_LINKED_RETRY = 60 * 60
_DAY = 24 * 60 * 60
# ANAF allows ten downloads of a message a day; a zip that stays broken is kept as it is.
_BROKEN_ZIP_DOWNLOADS = 3
_RENDERER_ATTEMPTS = 2
PDF_NAME = "invoice.pdf"


@dataclass
class Context:
    """What the jobs work with; one per process."""

    settings: Settings
    archive: Archive
    spv: SpvClient
    renderers: Renderers
    pinned: Mapping[str, PinnedCertificate]
    # ANAF's ceiling is reached: no list or download begins before this moment.
    paused_until: datetime = field(default_factory=lambda: datetime.min.replace(tzinfo=UTC))


async def run(job_id: int, context: Context) -> None:
    """Do one leased job and record how it ended; never raises for a failure of the job.

    A job that is not leased (another worker has done it) is left alone. When
    cancelled it gives the job back and returns.
    """
    job = await jobs.get(job_id)
    if job is None or job.state != "leased":
        return
    try:
        await _run(job, context)
    except asyncio.CancelledError:
        await jobs.give_back(job.id, datetime.now(UTC))
    except Busy as busy:
        # Not even the note could be written: the lease ends, then it is queued again.
        logger.warning("%s %s: %s", job.kind, job.object_uid, busy)


async def _run(job: Job, context: Context) -> None:
    at = datetime.now(UTC)
    try:
        if job.kind != "render" and at < context.paused_until:
            await jobs.give_back(job.id, context.paused_until)
            return
        await _HANDLERS[job.kind](job, context, at)
        await jobs.finish(job.id, datetime.now(UTC))
    except Closing:
        await jobs.give_back(job.id, at)
    except Deferred as deferred:
        await _defer(job, context, deferred)
    except NotLinked as not_linked:
        await _later(job, _NOT_LINKED_RETRY, not_linked.sentence)
    except spv.SpvFault as fault:
        await _after_fault(job, fault)
    except Busy as busy:
        await _later(job, _BUSY_RETRY, busy.sentence)
    except RendererDied as died:
        if job.attempts < _RENDERER_ATTEMPTS:
            # It may have been the memory of the whole machine, not this document.
            await _later(job, _BUSY_RETRY, died.sentence)
        else:
            await _park(job, died)
    except ArchiveConflict as conflict:
        await _park(job, conflict)
    except Exception as error:
        # Ours, and perhaps gone after an upgrade: keep the work, say so, go on with the others.
        logger.exception("%s %s failed", job.kind, job.object_uid)
        sentence = error.sentence if isinstance(error, ArhivarError) else _OUR_BUG
        await _later(job, min(_LONGEST_RETRY * 2 ** min(job.attempts - 1, 7), _DAY), sentence)


_OUR_BUG = Sentence(
    "O eroare a programului a întrerupt lucrul la acest document; nimic nu s-a pierdut, încercăm "
    "din nou. Administratorul găsește detalii în jurnalul sync.",
    "an error of the program interrupted the work on this document; nothing is lost, it is tried "
    "again, and the administrator finds details in the log of sync",
)


async def _defer(job: Job, context: Context, deferred: Deferred) -> None:
    if deferred.reason == "rate":
        # Nobody's fault and no attempt: the job is as new, and the others wait as well.
        until = datetime.now(UTC) + timedelta(seconds=deferred.after_seconds)
        context.paused_until = max(context.paused_until, until)
        await jobs.give_back(job.id, until)
        return
    wait: float = deferred.after_seconds
    if deferred.reason in ("unreachable", "broken"):
        wait = max(wait, _backoff(job.attempts))
    await _later(job, wait, deferred.sentence)


async def _after_fault(job: Job, fault: spv.SpvFault) -> None:
    kind = spv.FaultKind
    at = datetime.now(UTC)
    if job.kind == "message" and fault.kind in (kind.EXPIRED, kind.GONE, kind.PERMISSION):
        state = MessageState.NOT_ALLOWED if fault.kind is kind.PERMISSION else MessageState.EXPIRED
        async with transaction():
            await messages.settle(job.object_uid, state, fault.sentence, at)
            await jobs.finish(job.id, at)
    elif fault.kind in (kind.QUOTA_LIST, kind.QUOTA_MESSAGE):
        await _later(job, _seconds_to_tomorrow(at), fault.sentence)
    elif fault.kind in (kind.EXPIRED, kind.GONE, kind.PERMISSION):
        await _park(job, fault)
    elif fault.kind is kind.TOKEN:
        await _later(job, _NOT_LINKED_RETRY, fault.sentence)
    elif fault.kind is kind.OUR_BUG:
        logger.error("%s %s: %s", job.kind, job.object_uid, fault.answer)
        await _later(job, _LONGEST_RETRY, fault.sentence)
    else:
        await _later(job, _backoff(job.attempts), fault.sentence)


async def _later(job: Job, after_seconds: float, sentence: Sentence) -> None:
    async with transaction():
        await jobs.retry(job.id, datetime.now(UTC), after_seconds, sentence)
        if job.kind == "message":
            await messages.explain(job.object_uid, sentence)


async def _park(job: Job, error: ArhivarError) -> None:
    async with transaction():
        await jobs.park(job.id, datetime.now(UTC), error.sentence)
        if job.kind == "message":
            await messages.explain(job.object_uid, error.sentence)
    logger.error("%s %s parked: %s", job.kind, job.object_uid, error)


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
    identifiers = await clients.identifiers(client.id)
    problem: ArhivarError | None = None
    for cif in sorted(value for value in identifiers if cifs.scheme(value) == "cui"):
        try:
            await _list_cif(cif, client.id, client.uid, context, at)
        except (Deferred, NotLinked, spv.SpvFault) as error:
            # The client's other numbers may be linked to another certificate.
            problem = problem or error
    # Whoever asks to fetch also wants what was set aside to be tried again.
    await messages.try_again(client.id, at)
    if problem is not None:
        raise problem


async def _list_cif(
    cif: str, client_id: int, client_uid: str, context: Context, at: datetime
) -> None:
    listing = await context.spv.list_window(cif, at)
    everyone = await clients.all_identifiers()
    of_owner: dict[int, list[spv.ListEntry]] = {client_id: []}
    strangers = 0
    for entry in listing.entries:
        named = cifs.normalise(entry.cif) or cif
        owner = everyone.get(named)
        if owner is None:
            # The certificate reaches companies that are no clients; they are not ours.
            strangers += 1
        else:
            of_owner.setdefault(owner, []).append(replace(entry, cif=named))
    for owner, entries in of_owner.items():
        added = await messages.remember(owner, entries, at)
        if owner != client_id and added:
            logger.warning("%s: %d entries of another client", client_uid, len(added))
        elif owner == client_id:
            logger.info("%s: %d listed, %d new", client_uid, len(entries), len(added))
    for entry in spv.without_id(of_owner[client_id]):
        await _keep_nameless(client_id, entry, at)
    if strangers:
        logger.warning("%s: %d entries of companies that are no clients", client_uid, strangers)
    await context.spv.report_cifs(cif, listing)


async def _keep_nameless(client_id: int, entry: spv.ListEntry, at: datetime) -> None:
    """Remember an entry that cannot be downloaded, with its reason, so that a person sees it.

    It gets an id made of what ANAF said, so that the same entry is kept once.
    """
    said = json.dumps(dict(entry.raw), sort_keys=True, default=str)
    made = f"fara-id-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    problem = Sentence(
        f"ANAF a listat mesajul cu indexul de încărcare {entry.upload_id or '?'} fără id de "
        "descărcare, deci nu poate fi adus. Verifică-l în SPV.",
        f"ANAF listed the message with upload index {entry.upload_id or '?'} without a download "
        "id, so it cannot be fetched; check it in SPV",
    )
    async with transaction():
        for message in await messages.remember(client_id, [replace(entry, message_id=made)], at):
            await messages.settle(message.uid, MessageState.NOT_ALLOWED, problem, at)


# message


async def _message(job: Job, context: Context, at: datetime) -> None:
    message = await messages.get(job.object_uid)
    spool = context.settings.spool_dir
    if message.state is MessageState.QUEUED:
        data = await _zip_of(message, context)
        await _file(message, data, context, at)
    # Only now: everything that the zip was good for is in the archive.
    for path in (spool / f"{message.uid}.zip", *_broken(spool, message)):
        path.unlink(missing_ok=True)


async def _zip_of(message: Message, context: Context) -> bytes:
    """Return the zip: the one that is archived, or spooled, or a new download.

    One that does not open is downloaded again, twice at most, in case it broke
    on its way; the same bytes again mean that ANAF has no better ones.
    """
    month = documents.archive_month(message.listed_at)
    archived = context.archive.path_of(message.client_uid, month, message.uid, "message.zip")
    if archived.exists():
        # An earlier attempt came that far; the archive keeps the first copy.
        return await asyncio.to_thread(archived.read_bytes)
    spool = context.settings.spool_dir
    spooled = spool / f"{message.uid}.zip"
    await context.spv.download(message.cif, message.message_id, spooled)
    data = await asyncio.to_thread(spooled.read_bytes)
    try:
        await asyncio.to_thread(anaf_zip.read_zip, data)
    except ZipRefused as refused:
        before = _broken(spool, message)
        if len(before) + 1 < _BROKEN_ZIP_DOWNLOADS and not any(
            path.read_bytes() == data for path in before
        ):
            spooled.rename(spool / f"{message.uid}.broken-{len(before) + 1}")
            raise Deferred(
                refused.sentence, after_seconds=_FIRST_RETRY, reason="broken-zip"
            ) from refused
    return data


def _broken(spool: Path, message: Message) -> list[Path]:
    return sorted(spool.glob(f"{message.uid}.broken-*"))


async def _file(message: Message, data: bytes, context: Context, at: datetime) -> None:
    everyone = await clients.all_identifiers()
    own = frozenset(value for value, owner in everyone.items() if owner == message.client_id)
    planned = await asyncio.to_thread(
        ingest.plan, message, data, own=own, others=frozenset(everyone) - own, pinned=context.pinned
    )
    if isinstance(planned, ingest.Quarantine):
        await ingest.quarantine(planned, message, data, context.archive, at)
        logger.warning("message %s quarantined: it names another client", message.uid)
        return
    await ingest.file(planned, message, context.archive, at)
    logger.info("message %s filed", message.uid)


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

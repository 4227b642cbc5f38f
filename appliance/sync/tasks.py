"""What each kind of job does, and what its failure means.

    list     re-list a client's window and remember what is new
    message  download one message and file it
    render   make the PDF of one document
    proof    count one month of a client and make its proof
    import   file one thing that a person handed in
    mail     send one mail of the outbox

Every job may run twice, and be cut off anywhere. A job that fails is given
back with a sentence and a time, or parked when trying again cannot help:

    the vault says "rate"              given back; no call before its Retry-After
    another refusal, transient, clock  again later: Retry-After, or 5 s doubling to 15 min
    no token just now                  in ten minutes, with the client's other messages
    not linked, token                  in an hour, or when somebody asks to fetch; told once
    ANAF's daily quota                 past midnight in Romania
    expired, gone                      message: settled with the sentence; list: parked
    no right                           message: settled, and the client is listed before the
                                       others are tried; list: parked, told once
    a zip that does not open           downloaded again; kept as it is when that does not help
    disk or database full or busy      again later: 10 s doubling to 15 min
    other bytes in the archive         parked: a person has to look
    a renderer that breaks             once more in a minute, then parked
    a mail server that is away         again later: a minute doubling to an hour
    anything else                      our defect: logged, in 15 minutes doubling to a day

When ANAF or the vault does not answer at all (store/outages.py), no job that
needs them is begun but one, every now and then.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta

from appliance.core import cif as cifs
from appliance.core import spv
from appliance.core.errors import ArchiveConflict, ArhivarError, Busy
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST
from appliance.store import alerts, clients, jobs, mails, messages, outages
from appliance.store.engine import joined, transaction
from appliance.store.jobs import Job
from appliance.store.messages import MessageState
from appliance.sync import drawing, filing, importing, listing, mail, proof, reverify
from appliance.sync.context import Context
from appliance.sync.mail import MailWaits
from appliance.sync.rendering import Closing, RendererDied
from appliance.sync.spv import Deferred, NotLinked

logger = logging.getLogger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 5, 15 * 60  # seconds
_FIRST_BUSY_RETRY = 10
_RENDERER_RETRY = 60
_FIRST_MAIL_RETRY, _LONGEST_MAIL_RETRY = 60, 60 * 60
_NOT_LINKED_RETRY = 60 * 60
_DAY = 24 * 60 * 60
_RENDERER_ATTEMPTS = 2
# The kinds that call ANAF, through the vault.
CALLING = ("list", "message")


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
    calls = job.kind in CALLING
    if calls and not await _may_call(job, context, at):
        return
    before = (context.spv.answers, context.spv.reached)
    try:
        await _do(job, context, at)
    finally:
        if calls:
            await _note_answers(context, before)


async def _may_call(job: Job, context: Context, at: datetime) -> bool:
    """Tell whether the job may begin; when not it is given back."""
    until = at + pause if (pause := context.pause(at)) else None
    held = jobs.held(job)
    if held is not None and at < held[0]:
        # It was leased a moment before all the others were held.
        async with transaction():
            await jobs.give_back(job.id, at)
            seconds = (held[0] - at).total_seconds()
            await jobs.hold(job.client_id or 0, [job.kind], at, seconds, held[1] or _HELD)
        return False
    for host in outages.HOSTS:
        if until is None and not await outages.claim(host, at):
            outage = await outages.current(host)
            until = outage.next_try_at if outage else at
    if until is not None:
        await jobs.give_back(job.id, at, until=until)
    return until is None


async def _note_answers(context: Context, before: tuple[int, int]) -> None:
    """End an outage when ANAF or the vault has answered meanwhile, whoever it answered."""
    at = datetime.now(UTC)
    for host, now, then in zip(
        ("api", "vault"), (context.spv.answers, context.spv.reached), before, strict=True
    ):
        if now > then and await outages.answered(host, at):
            await alerts.end("outage", host, at)
            logger.info("%s answers again", _NAMES[host])


async def _do(job: Job, context: Context, at: datetime) -> None:
    try:
        await _HANDLERS[job.kind](job, context, at)
        if job.kind == "list":
            await _is_reached(job, datetime.now(UTC))
        await jobs.finish(job.id, datetime.now(UTC))
    except Closing:
        await jobs.give_back(job.id, at)
    except Deferred as deferred:
        await _defer(job, context, deferred)
    except NotLinked as not_linked:
        context.standing_asked = True
        await _stop_client(job, "token", not_linked.sentence)
    except spv.SpvFault as fault:
        await _after_fault(job, context, fault)
    except Busy as busy:
        await _later(job, _backoff(job.attempts, _FIRST_BUSY_RETRY), busy.sentence)
    except MailWaits as waits:
        wait = _backoff(job.attempts, _FIRST_MAIL_RETRY, _LONGEST_MAIL_RETRY)
        await _later(job, wait, waits.sentence)
    except RendererDied as died:
        if job.attempts < _RENDERER_ATTEMPTS:
            # It may have been the memory of the whole machine, not this document.
            await _later(job, _RENDERER_RETRY, died.sentence)
        else:
            await _park(job, died)
    except ArchiveConflict as conflict:
        await _park(job, conflict)
    except Exception as error:
        # Ours, and perhaps gone after an upgrade: keep the work, say so, go on with the others.
        logger.exception("%s %s failed", job.kind, job.object_uid)
        sentence = error.sentence if isinstance(error, ArhivarError) else _OUR_BUG
        await _later(job, min(_LONGEST_RETRY * 2 ** min(job.attempts - 1, 7), _DAY), sentence)


_HELD = Sentence(
    "Mesajele firmei așteaptă până când SPV poate fi citit din nou.",
    "the client's messages wait until its SPV can be read again",
)
_OUR_BUG = Sentence(
    "O eroare a programului a întrerupt lucrul la acest document; nimic nu s-a pierdut, încercăm "
    "din nou. Administratorul găsește detalii în jurnalul sync.",
    "an error of the program interrupted the work on this document; nothing is lost, it is tried "
    "again, and the administrator finds details in the log of sync",
)


async def _defer(job: Job, context: Context, deferred: Deferred) -> None:
    at = datetime.now(UTC)
    if deferred.reason == "rate":
        # Nobody's fault and no attempt: the job is as new, and the others wait as well.
        until = at + timedelta(seconds=deferred.after_seconds)
        context.paused_until = max(context.paused_until, until)
        await jobs.give_back(job.id, at, until=until)
        return
    if deferred.reason == "vault":
        # Asking costs nothing; nothing has been attempted at ANAF.
        await _no_answer("vault", job, deferred.sentence)
        until = at + timedelta(seconds=deferred.after_seconds)
        async with transaction():
            await jobs.give_back(job.id, at, until=until, problem=deferred.sentence)
            if job.kind == "message":
                await messages.explain(job.object_uid, deferred.sentence)
        return
    wait: float = deferred.after_seconds
    if deferred.reason in ("second-try", "application"):
        # One refusal speaks for all messages of the client.
        client_id, _ = await _client_of(job)
        async with transaction():
            await _later(job, 0 if job.kind == "message" else wait, deferred.sentence)
            await jobs.hold(client_id, ["message"], at, wait, deferred.sentence)
        return
    if deferred.reason in ("unreachable", "broken"):
        await _no_answer("api", job, deferred.sentence)
        wait = max(wait, _backoff(job.attempts))
    await _later(job, wait, deferred.sentence)


async def _no_answer(host: str, job: Job, sentence: Sentence) -> None:
    at = datetime.now(UTC)
    outage = await outages.failed(host, at, sentence, job.object_uid)
    if outage is not None and await alerts.raise_once("outage", host, 0, None, at):
        logger.error("%s does not answer: %s", _NAMES[host], sentence)


_NAMES = {"api": "ANAF", "vault": "the vault"}


async def _after_fault(job: Job, context: Context, fault: spv.SpvFault) -> None:
    kind = spv.FaultKind
    at = datetime.now(UTC)
    context.standing_asked |= fault.kind in (kind.TOKEN, kind.PERMISSION)
    if fault.kind is kind.TRANSIENT:
        await _no_answer("api", job, fault.sentence)
    else:
        context.spv.answers += 1
    if job.kind == "message" and fault.kind in (kind.EXPIRED, kind.GONE, kind.PERMISSION):
        allowed = fault.kind is not kind.PERMISSION
        state = MessageState.EXPIRED if allowed else MessageState.NOT_ALLOWED
        async with transaction():
            await messages.settle(job.object_uid, state, fault.sentence, at)
            await jobs.finish(job.id, at)
            if not allowed:
                await _ask_before_more(job, fault.sentence, at)
    elif fault.kind in (kind.QUOTA_LIST, kind.QUOTA_MESSAGE):
        await _later(job, _seconds_to_tomorrow(at), fault.sentence)
    elif fault.kind is kind.PERMISSION:
        await _stop_client(job, "listing", fault.sentence)
    elif fault.kind in (kind.EXPIRED, kind.GONE):
        await _park(job, fault)
    elif fault.kind is kind.TOKEN:
        await _stop_client(job, "token", fault.sentence)
    elif fault.kind is kind.OUR_BUG:
        logger.error("%s %s: %s", job.kind, job.object_uid, fault.answer)
        await _later(job, _LONGEST_RETRY, fault.sentence)
    else:
        await _later(job, _backoff(job.attempts), fault.sentence)


async def _ask_before_more(job: Job, sentence: Sentence, at: datetime) -> None:
    """Hold the client's other messages until its list shows whether the right is still there.

    A right that is gone would else settle thousands of messages, one call each.
    """
    message = await messages.get(job.object_uid)
    if await jobs.hold(message.client_id, ["message"], at, _NOT_LINKED_RETRY, sentence):
        await jobs.insert("list", message.client_uid, at, client_id=message.client_id)


async def _stop_client(job: Job, alert: str, sentence: Sentence) -> None:
    """Let the client wait: one refusal speaks for all its messages. People are told once.

    A client with several numbers may reach the others; only the job itself waits then.
    """
    at = datetime.now(UTC)
    client_id, client_uid = await _client_of(job)
    identifiers = await clients.identifiers(client_id)
    only_number = sum(cifs.scheme(value) == "cui" for value in identifiers) == 1
    async with transaction():
        if alert == "listing":
            # Asked anew by the next night's listing, or when somebody asks to fetch.
            await jobs.park(job.id, at, sentence)
        else:
            own = job.kind == "message" and only_number  # then it is held with the others
            await _later(job, 0 if own else _NOT_LINKED_RETRY, sentence)
        if only_number:
            wait = _DAY if alert == "listing" else _NOT_LINKED_RETRY
            await jobs.hold(client_id, ["message"], at, wait, sentence)
        first = await alerts.raise_once(alert, client_uid, 0, client_id, at)
    if first:
        logger.error("client %s: %s", client_uid, sentence)


async def _is_reached(job: Job, at: datetime) -> None:
    """After a listing: what a missing right held up goes on."""
    client_id, _ = await _client_of(job)
    await jobs.release(client_id, at)
    if any([await alerts.end(kind, job.object_uid, at) for kind in ("token", "listing")]):
        logger.info("client %s: its SPV is reached again", job.object_uid)


async def _client_of(job: Job) -> tuple[int, str]:
    if job.kind == "list":
        return (await clients.by_uid(job.object_uid)).id, job.object_uid
    message = await messages.get(job.object_uid)
    return message.client_id, message.client_uid


async def _later(job: Job, after_seconds: float, sentence: Sentence) -> None:
    async with joined():
        await jobs.retry(job.id, datetime.now(UTC), after_seconds, sentence)
        if job.kind == "message":
            await messages.explain(job.object_uid, sentence)
        elif job.kind == mails.JOB:
            await mails.explain(job.object_uid, sentence)


async def _park(job: Job, error: ArhivarError) -> None:
    async with joined():
        await jobs.park(job.id, datetime.now(UTC), error.sentence)
        if job.kind == "message":
            await messages.explain(job.object_uid, error.sentence)
    logger.error("%s %s parked: %s", job.kind, job.object_uid, error)


def _backoff(attempts: int, first: float = _FIRST_RETRY, longest: float = _LONGEST_RETRY) -> float:
    """Return a wait that doubles, spread by a quarter so that many come not at once."""
    wait: float = min(first * 2.0 ** min(attempts - 1, 12), longest)
    return wait * (0.75 + random.random() / 2)  # noqa: S311  not a secret


def _seconds_to_tomorrow(at: datetime) -> float:
    """Return the seconds to a minute past midnight in Romania, when ANAF counts anew."""
    local = at.astimezone(BUCHAREST)
    midnight = (local + timedelta(days=1)).replace(hour=0, minute=1, second=0, microsecond=0)
    return (midnight.astimezone(UTC) - at).total_seconds()


_HANDLERS = {
    "list": listing.list_client,
    "message": filing.file_message,
    "render": drawing.draw,
    "proof": proof.make,
    "import": importing.file_import,
    mails.JOB: mail.send_mail,
    "reverify": reverify.reverify,
}

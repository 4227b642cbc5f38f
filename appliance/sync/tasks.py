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
import logging
import random
from datetime import UTC, datetime, timedelta

from appliance.core import spv
from appliance.core.errors import ArchiveConflict, ArhivarError, Busy
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST
from appliance.store import jobs, messages
from appliance.store.engine import transaction
from appliance.store.jobs import Job
from appliance.store.messages import MessageState
from appliance.sync import drawing, filing, listing
from appliance.sync.context import Context
from appliance.sync.rendering import Closing, RendererDied
from appliance.sync.spv import Deferred, NotLinked

logger = logging.getLogger(__name__)

_FIRST_RETRY, _LONGEST_RETRY = 5, 15 * 60  # seconds
_BUSY_RETRY = 60
_NOT_LINKED_RETRY = 60 * 60
_DAY = 24 * 60 * 60
_RENDERER_ATTEMPTS = 2


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


_HANDLERS = {
    "list": listing.list_client,
    "message": filing.file_message,
    "render": drawing.draw,
}

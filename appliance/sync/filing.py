"""The job `message`: download one message and file what it is."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

from appliance.core import anaf_zip
from appliance.core.errors import ZipRefused
from appliance.store import certificates, clients, documents, messages
from appliance.store.jobs import Job
from appliance.store.messages import Message, MessageState
from appliance.sync import ingest
from appliance.sync.context import Context
from appliance.sync.spv import Deferred

logger = logging.getLogger(__name__)

# ANAF allows ten downloads of a message a day; a zip that stays broken is kept as it is.
_BROKEN_ZIP_DOWNLOADS = 3
_BROKEN_ZIP_RETRY = 5  # seconds


async def file_message(job: Job, context: Context, at: datetime) -> None:
    message = await messages.get(job.object_uid)
    spool = context.settings.spool_dir
    if message.state is MessageState.QUEUED:
        data = await _zip_of(message, context)
        # The download may have waited a minute for ANAF; what is filed is dated when it is.
        await _file(message, data, context, datetime.now(UTC))
    if await documents.kept_elsewhere(message.uid):
        # An import brought the same while this one's folder was on its way.
        month = documents.archive_month(message.listed_at)
        await asyncio.to_thread(context.archive.withdraw, message.client_uid, month, message.uid)
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
                refused.sentence, after_seconds=_BROKEN_ZIP_RETRY, reason="broken-zip"
            ) from refused
    return data


def _broken(spool: Path, message: Message) -> list[Path]:
    # By name: this is asked for every message, and a glob would read the whole spool.
    names = (f"{message.uid}.broken-{number}" for number in range(1, _BROKEN_ZIP_DOWNLOADS))
    return [path for name in names if (path := spool / name).exists()]


async def sweep_spool(spool: Path) -> list[Path]:
    """Remove the downloads of messages that are settled, and return them.

    Left by a worker that went on, or was killed, after another one had done its
    job, and of broken zips that could not be downloaded again.
    """
    uid_of = {
        path: path.name.split(".")[0]
        for pattern in ("[!.]*.zip", "[!.]*.broken-*")
        for path in spool.glob(pattern)
    }
    queued = await messages.queued_among(uid_of.values())
    swept = [path for path, uid in uid_of.items() if uid not in queued]
    for path in swept:
        path.unlink(missing_ok=True)
    return swept


async def _file(message: Message, data: bytes, context: Context, at: datetime) -> None:
    everyone = await clients.all_identifiers()
    own = frozenset(value for value, owner in everyone.items() if owner == message.client_id)
    pinned = await certificates.trusted(context.pinned)
    planned = await asyncio.to_thread(
        ingest.plan, message, data, own=own, others=frozenset(everyone) - own, pinned=pinned
    )
    if isinstance(planned, ingest.Quarantine):
        await ingest.quarantine(planned, message, data, context.archive, at)
        logger.warning("message %s quarantined: it names another client", message.uid)
        return
    if await ingest.imported_before(planned.new, message, at):
        logger.info("message %s is an import's", message.uid)
        return
    await ingest.file(planned, message, context.archive, at)
    logger.info("message %s filed", message.uid)

"""The job `reverify`: judge again the signatures of a certificate that is trusted now, or no more.

Its object is the certificate's fingerprint. Each batch is recorded before the
next is read, and what is recorded is not found again: cut off anywhere, the
work goes on where it was. Files that are not there leave their document as it
is; `arhivar check` names them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from appliance.core.certificates import PinnedCertificate
from appliance.core.errors import NotFound
from appliance.core.signature import Verdict, verify
from appliance.store import certificates
from appliance.store.certificates import Signed
from appliance.store.files import Archive
from appliance.store.jobs import Job
from appliance.sync.context import Context

logger = logging.getLogger(__name__)

BATCH = 100


async def reverify(job: Job, context: Context, at: datetime) -> None:
    fingerprint, changed = job.object_uid, 0
    pinned = await certificates.trusted(context.pinned)
    while True:
        known, after = fingerprint in pinned, 0
        while batch := await certificates.waiting(fingerprint, after, BATCH, known=known):
            found = await asyncio.to_thread(_judge, context.archive, batch, pinned)
            changed += await certificates.judged(found, datetime.now(UTC))
            after = batch[-1].id
        # Who added or removed it in the meantime was given this job, for there was one.
        pinned = await certificates.trusted(context.pinned)
        if (fingerprint in pinned) == known:
            break
    logger.info("certificate %s: %d documents judged again", fingerprint[:16], changed)


def _judge(
    archive: Archive, batch: Sequence[Signed], pinned: Mapping[str, PinnedCertificate]
) -> list[tuple[Signed, Verdict]]:
    found = []
    for signed in batch:
        place = (signed.client_uid, signed.archive_month, signed.uid)
        try:
            document = _read(archive, place, "invoice.xml")
            signature = _read(archive, place, "signature.xml")
        except NotFound:
            continue
        found.append((signed, verify(document, signature, pinned=pinned, at=signed.at)))
    return found


def _read(archive: Archive, place: tuple[str, str, str], name: str) -> bytes:
    with archive.open_file(*place, name) as file:
        return file.read()

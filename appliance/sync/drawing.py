"""The job `render`: make the PDF of one document and put it beside its XML."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from appliance.core.errors import ArhivarError, DocumentRefused
from appliance.core.sentence import Sentence
from appliance.core.signature import SignatureResult, Verdict
from appliance.store import documents, jobs
from appliance.store.documents import DocumentView, NewFile
from appliance.store.engine import transaction
from appliance.store.jobs import Job
from appliance.store.pdfs import PDF_NAME
from appliance.sync.context import Context
from appliance.sync.rendering import Closing, RendererDied

logger = logging.getLogger(__name__)


async def draw(job: Job, context: Context, at: datetime) -> None:
    """Write the PDF and its row; the job ends in the same transaction.

    A signature that was judged anew while it was drawn is drawn once more: a
    PDF never stays behind its row. Raises `RendererDied` for a document of
    which no PDF can be made, whatever the cause.
    """
    while True:
        document = await documents.by_uid(job.object_uid)
        if document.type not in ("invoice", "credit_note"):
            return
        row = await _write(document, context)
        async with transaction():
            await documents.add_file(document.uid, row, at=datetime.now(UTC))
            now = await documents.by_uid(document.uid)
            if _verdict(now) == _verdict(document):
                await jobs.finish(job.id, datetime.now(UTC))
                return


async def _write(document: DocumentView, context: Context) -> NewFile:
    place = (document.client_uid, document.archive_month, document.uid)
    xml = await asyncio.to_thread(context.archive.path_of(*place, "invoice.xml").read_bytes)
    try:
        pdf = await context.renderers.render(
            xml,
            upload_id=document.upload_id,
            message_id=document.message_id,
            verdict=_verdict(document),
        )
    except DocumentRefused as refused:
        raise RendererDied(refused.sentence) from refused
    except (ArhivarError, Closing):
        raise
    except Exception as error:
        # A defect of ours or of a library, in the other process: of this document only.
        logger.exception("no PDF of %s", document.uid)
        raise RendererDied(_DEFECT) from error
    size, sha256 = await asyncio.to_thread(context.archive.write_derived, *place, PDF_NAME, pdf)
    return NewFile(
        role="pdf", stored_name=PDF_NAME, mime="application/pdf", size=size, sha256=sha256,
        shown_suffix=".pdf",
    )  # fmt: skip


def _verdict(document: DocumentView) -> Verdict:
    return Verdict(
        SignatureResult(document.signature_result),
        document.signature_reason,
        document.signature_fingerprint,
    )


_DEFECT = Sentence(
    "Programul se oprește cu o eroare la acest document. Administratorul o găsește în jurnalul "
    "sync; după o actualizare, PDF-ul se cere din nou cu arhivar rerender.",
    "the program ends with an error over this document; the administrator finds it in the log "
    "of sync, and asks for the PDF again with arhivar rerender after an upgrade",
)

"""The job `render`: make the PDF of one document and put it beside its XML."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from appliance.core.signature import SignatureResult, Verdict
from appliance.store import documents
from appliance.store.documents import NewFile
from appliance.store.jobs import Job
from appliance.sync.context import Context

PDF_NAME = "invoice.pdf"


async def draw(job: Job, context: Context, at: datetime) -> None:
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

"""The job `import`: one file that a person handed in becomes what it is.

It is checked like a message from SPV (`sync/ingest.py`): ANAF's zip or the
document with the signature beside it, the signature over the very bytes, whose
invoice it is. What differs: there is no message, so

    nothing that cannot be read is kept      the person has the file; it is refused in words
    an invoice of none of our clients        refused; also one of another client than was
                                             named, in the same words: who else is a client
                                             of the firm is nobody's business
    an invoice between two of our clients    one document for each, when no client was named
    the same invoice, byte for byte          duplicate of the one that is there
    the same upload number, other bytes      duplicate, and says so; unless the new copy is
                                             signed and the old one is not: then both are kept

Nothing is quarantined. Every item ends archived, a notice, a duplicate or refused,
also when the process is killed anywhere: the claim comes before the folder, the
folder before the rows, and the spool is emptied last. Whoever finds, when its rows
are written, that a download was faster takes its own folder back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from appliance.core import anaf_zip, spv, ubl
from appliance.core.anaf_zip import Package
from appliance.core.certificates import PinnedCertificate
from appliance.core.cif import normalise
from appliance.core.earlier import upload_id_of
from appliance.core.errors import ArchiveConflict, DocumentRefused, NotFound, ZipRefused
from appliance.core.lifecycle import imported_as
from appliance.core.roles import DocumentFacts, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.core.signature import verify
from appliance.core.ubl_model import Invoice
from appliance.store import (
    accounts,
    certificates,
    clients,
    documents,
    duplicates,
    imports,
    manifest,
    notices,
    pdfs,
    periods,
)
from appliance.store.documents import NewDocument
from appliance.store.duplicates import Same
from appliance.store.engine import transaction
from appliance.store.imports import Item, ItemState, NewItem, Run
from appliance.store.jobs import Job
from appliance.store.messages import Message, MessageState
from appliance.store.notices import NewNotice
from appliance.store.spool import Spool
from appliance.sync import ingest, unpacking
from appliance.sync.context import Context
from appliance.sync.ingest import Filing

logger = logging.getLogger(__name__)

_EARLIEST = "2000-01"  # a period before it is a wrong date


@dataclass(frozen=True)
class Refused:
    """Nothing of it is kept."""

    sentence: Sentence


@dataclass(frozen=True)
class Opened:
    """A zip of several things."""


@dataclass(frozen=True)
class Several:
    """An invoice between clients of the firm: one item for each."""

    client_ids: tuple[int, ...]


@dataclass(frozen=True)
class Ready:
    """What it becomes, whose it is, and what tells it from others."""

    filing: Filing
    client_id: int
    original: str  # SHA-256 of the document
    upload_id: str
    signature: str  # the result, `duplicates.GOOD` or not


async def file_import(job: Job, context: Context, at: datetime) -> None:
    """Settle one item and empty the spool of it; again only empties the spool."""
    item, run = await imports.get(job.object_uid)
    spool = Spool(context.settings.spool_dir)
    if item.state is ItemState.QUEUED:
        await _settle(item, run, spool, context, at)
    await _withdraw(item, run, context)
    spool.discard(item.uid)
    after = await imports.by_id(run.id)
    if after.finished_at is not None:
        left = spool.left_behind(at)
        spool.sweep(at, await imports.queued_among(left))


async def _withdraw(item: Item, run: Run, context: Context) -> None:
    """Take back the folder of an item that became a duplicate after it was written."""
    settled, _ = await imports.get(item.uid)
    if settled.state is not ItemState.DUPLICATE or settled.client_id is None:
        return
    client = await clients.by_id(settled.client_id)
    month = documents.archive_month(run.created_at)
    await asyncio.to_thread(context.archive.withdraw, client.uid, month, item.uid)


async def _settle(item: Item, run: Run, spool: Spool, context: Context, at: datetime) -> None:
    everyone = await clients.all_identifiers()
    pinned = await certificates.trusted(context.pinned)
    found = await asyncio.to_thread(decide, item, run, spool, everyone, pinned)
    try:
        match found:
            case Refused():
                await imports.settle(item, ItemState.REFUSED, at, problem=found.sentence)
            case Opened():
                await _open(item, run, spool, at)
            case Several():
                await _divide(item, run, found.client_ids, spool, at)
            case Ready():
                await _file(item, run, found, context, at)
    except ZipRefused as refused:
        await imports.settle(item, ItemState.REFUSED, at, problem=refused.sentence)
    except ArchiveConflict as conflict:
        logger.error("import %s: %s", item.uid, conflict)
        await imports.settle(item, ItemState.REFUSED, at, problem=conflict.sentence)


def decide(
    item: Item,
    run: Run,
    spool: Spool,
    everyone: Mapping[str, int],
    pinned: Mapping[str, PinnedCertificate],
) -> Refused | Opened | Several | Ready:
    """Decide what the file of an item is, from its bytes and the firm's clients alone."""
    path = spool.path(item.uid)
    try:
        if _is_zip(path):
            if unpacking.is_container(path):
                return Opened()
            data = path.read_bytes()
            return _decide(item, run, data, anaf_zip.read_zip(data), everyone, pinned)
        signature = spool.signature_path(item.uid)
        package = Package(
            item.name, path.read_bytes(),
            "signature.xml", signature.read_bytes() if signature.exists() else None,
        )  # fmt: skip
        return _decide(item, run, None, package, everyone, pinned)
    except FileNotFoundError:
        return Refused(_GONE)
    except (ZipRefused, DocumentRefused) as refused:
        return Refused(refused.sentence)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _decide(
    item: Item,
    run: Run,
    data: bytes | None,
    package: Package,
    everyone: Mapping[str, int],
    pinned: Mapping[str, PinnedCertificate],
) -> Refused | Several | Ready:
    upload_id = (
        upload_id_of(package.document_name) if data is not None else upload_id_of(item.name)
    ) or item.about.upload_id
    digest = hashlib.sha256(package.document).hexdigest()
    if spv.document_root(package.document)[1] == "header":
        return _notice(item, run, data, package, everyone, upload_id, digest)
    invoice = ubl.read(package.document)
    owners = _owners(invoice, everyone)
    if item.client_id is not None:
        if item.client_id not in owners:
            return Refused(_NOT_THIS_CLIENT)
        client_id = item.client_id
    elif not owners:
        return Refused(_NO_CLIENT)
    elif everyone.get(normalise(item.about.cif)) in owners:
        # The tool noted for which of the two it had downloaded it.
        client_id = everyone[normalise(item.about.cif)]
    elif len(owners) > 1:
        return Several(tuple(sorted(owners)))
    else:
        (client_id,) = owners
    own = frozenset(value for value, owner in everyone.items() if owner == client_id)
    # Without the message no moment is known at which the certificate had to be valid.
    verdict = verify(package.document, package.signature, pinned=pinned, at=item.about.created_at)
    message = _carrier(item, run, client_id, upload_id)
    kind = spv.kind_of(invoice, own, spv.message_type(item.about.type))
    filing = ingest.document_of(message, invoice, kind, [], data, package, verdict)
    return Ready(filing, client_id, digest, upload_id, verdict.result.value)


def _owners(invoice: Invoice, everyone: Mapping[str, int]) -> frozenset[int]:
    named = invoice.supplier.all_identifiers() | invoice.customer.all_identifiers()
    return frozenset(everyone[value] for value in named if value in everyone)


def _notice(
    item: Item,
    run: Run,
    data: bytes | None,
    package: Package,
    everyone: Mapping[str, int],
    upload_id: str,
    digest: str,
) -> Refused | Ready:
    """An error of ANAF's names who had sent the invoice; a buyer's message names nobody."""
    stated = ""
    with suppress(DocumentRefused):
        stated = normalise(spv.read_error_document(package.document).cif)
    owner = everyone.get(stated or normalise(item.about.cif))
    if item.client_id is not None and (not stated or owner == item.client_id):
        owner = item.client_id
    elif item.client_id is not None:
        return Refused(_NOT_THIS_CLIENT)
    if owner is None:
        return Refused(_WHOSE_NOTICE)
    message = replace(_carrier(item, run, owner, upload_id), created_at=item.about.created_at)
    filing = ingest.notice_of(message, data, package)
    if filing is None:
        return Refused(_NO_DOCUMENT)
    return Ready(filing, owner, digest, upload_id, "")


def _carrier(item: Item, run: Run, client_id: int, upload_id: str) -> Message:
    """Return what is known of the file in the form that `ingest` reads: a message that never was.

    The moment is that of the import, the same on every attempt, for it names the folder.
    """
    return Message(
        id=0,
        uid=item.uid,
        client_id=client_id,
        client_uid="",
        message_id=item.about.message_id,
        upload_id=upload_id or None,
        cif="",
        type=item.about.type,
        details=item.about.details,
        created_raw=item.about.created_raw,
        created_at=None,
        entry={},
        state=MessageState.QUEUED,
        problem=None,
        listed_at=run.created_at,
        settled_at=None,
    )


# What becomes of it


async def _open(item: Item, run: Run, spool: Spool, at: datetime) -> None:
    last, ignored = await unpacking.unpack(item, run, spool)
    async with transaction():
        await imports.add(run, last, at)
        await imports.ignore(run.id, ignored)
        await imports.settle(item, ItemState.OPENED, at)


async def _divide(
    item: Item, run: Run, client_ids: tuple[int, ...], spool: Spool, at: datetime
) -> None:
    each = {imports.inner_uid(item.uid, str(client_id)): client_id for client_id in client_ids}
    known = await imports.known_uids(list(each))
    for uid in each.keys() - known:
        await asyncio.to_thread(_copy, spool, item.uid, uid)
    async with transaction():
        new = [
            NewItem(uid, item.name, about=item.about, client_id=client_id, depth=item.depth)
            for uid, client_id in each.items()
        ]
        await imports.add(run, new, at)
        await imports.settle(item, ItemState.OPENED, at)


def _copy(spool: Spool, uid: str, to: str) -> None:
    signature = spool.signature_path(uid)
    beside = signature.read_bytes() if signature.exists() else None
    with spool.path(uid).open("rb") as source:
        spool.put(to, source, spool.path(uid).stat().st_size, beside)


async def _file(item: Item, run: Run, found: Ready, context: Context, at: datetime) -> None:
    if (there := await _claimed(item, found)) is not None:
        await _duplicate(item, found, there, at)
        return
    client = await clients.by_id(found.client_id)
    identifiers = await clients.identifiers(found.client_id)
    new = found.filing.new
    imported = {"source": run.source, "name": item.name, "upload_id": found.upload_id}
    month = documents.archive_month(run.created_at)
    if isinstance(new, NewDocument):
        by, by_uid = await _person(run)
        new = _as_chosen(new, run, by, at)
        facts = manifest.of_document(
            new, client=client, identifiers=identifiers, received_by=by_uid, imported=imported
        )
    else:
        new = _notice_as_chosen(new, run)
        facts = manifest.of_notice(
            new, client=client, identifiers=identifiers, message=None, imported=imported
        )
    await asyncio.to_thread(
        context.archive.write_document, client.uid, month, new.uid, found.filing.files, facts
    )
    async with transaction():
        # Since the claim a download may have brought the same.
        if (there := await _there(found, item)) is not None:
            await _duplicate(item, found, there, at)
        elif isinstance(new, NewDocument):
            await documents.add(new, at=at)
            await pdfs.ask(new.uid, new.received_at, at, priority=imports.PRIORITY)
            await imports.settle(item, ItemState.ARCHIVED, at, client_id=found.client_id)
        else:
            await notices.add(new, at)
            await imports.settle(item, ItemState.NOTICE, at, client_id=found.client_id)
    logger.info("import %s filed", item.uid)


async def _claimed(item: Item, found: Ready) -> Same | None:
    """Return what the client has already, or claim the invoice for this item: one of the two."""
    async with transaction():
        if (there := await _there(found, item)) is not None:
            return there
        kind = "notice" if isinstance(found.filing.new, NewNotice) else "invoice"
        signed = " signed" if found.signature in duplicates.GOOD else ""
        key = f"{kind} {found.original}{signed}"
        holder = await imports.claim(item, found.client_id, key, found.upload_id)
        return Same(holder, bytes_too=True) if holder is not None else None


async def _there(found: Ready, item: Item) -> Same | None:
    if isinstance(found.filing.new, NewNotice):
        return await duplicates.same_notice(found.client_id, found.original, item.uid)
    return await duplicates.same(
        found.client_id,
        found.original,
        found.upload_id,
        signature=found.signature,
        besides=item.uid,
    )


async def _duplicate(item: Item, found: Ready, there: Same, at: datetime) -> None:
    await imports.settle(
        item,
        ItemState.DUPLICATE,
        at,
        client_id=found.client_id,
        same_as=there.uid,
        problem=None if there.bytes_too else _OTHER_BYTES,
    )


async def _person(run: Run) -> tuple[Viewer | None, str | None]:
    """Return who imports, as they are now, and their uid; nobody for the command line."""
    if run.account_id is None:
        return None, None
    try:
        viewer = await accounts.viewer(run.account_id)
    except NotFound:  # disabled since
        viewer = Viewer(user_id=run.account_id, user_uid="", name="", email="")
    return viewer, viewer.user_uid or None


def _as_chosen(new: NewDocument, run: Run, by: Viewer | None, at: datetime) -> NewDocument:
    status = imported_as(
        run.status,
        DocumentFacts(
            client_id=new.client_id,
            status=Status.PENDING,
            kind=new.kind,
            partner_cif=new.partner_cif,
            uploader_id=run.account_id,
            ron_minor=new.ron_minor,
            taken=False,
        ),
        by,
    )
    period = None
    if status is Status.ARCHIVED:
        # They are in somebody's books already: also a month that is closed here.
        current = periods.current_period(run.created_at)
        period = periods.period_of(new.issue_date) if new.issue_date else current
        period = period if _EARLIEST <= period <= current else current
    return replace(
        new,
        source="import",
        message_uid=None,
        uploader_id=run.account_id,
        status=status,
        period=period,
        archive_month=documents.archive_month(run.created_at),
    )


def _notice_as_chosen(new: NewNotice, run: Run) -> NewNotice:
    return replace(
        new,
        message_uid=None,
        acknowledged=run.status is Status.ARCHIVED,
        archive_month=documents.archive_month(run.created_at),
    )


# Sentences

_NOT_THIS_CLIENT = Sentence(
    "CIF-ul clientului nu apare în factură, nici la vânzător, nici la cumpărător. "
    "Verifică dacă fișierul este al acestui client.",
    "the client's CIF is in the invoice neither as seller nor as buyer; "
    "check that the file is this client's",
)
_NO_CLIENT = Sentence(
    "Niciun client nu are CIF-urile din factură. Verifică dacă factura este a unui client al "
    "firmei.",
    "no client has the CIFs of the invoice; check that it is an invoice of one of the firm's "
    "clients",
)
_WHOSE_NOTICE = Sentence(
    "Mesajul ANAF nu spune al cui este. Repetă importul pentru un client anume (--client).",
    "the message of ANAF does not say whose it is; repeat the import for one client (--client)",
)
_NO_DOCUMENT = Sentence(
    "Fișierul nu este nici factură, nici mesaj al ANAF. Verifică-l.",
    "the file is neither an invoice nor a message of ANAF's; check it",
)
_OTHER_BYTES = Sentence(
    "Factura cu același număr de încărcare există deja, cu alt conținut. Nu a fost păstrată a "
    "doua oară; compară fișierele.",
    "the invoice with this upload number is there already, with other content; it was not kept a "
    "second time, compare the files",
)
_GONE = Sentence(
    "Fișierul nu mai este în zona de primire. Repetă importul.",
    "the file is not in the spool any more; repeat the import",
)

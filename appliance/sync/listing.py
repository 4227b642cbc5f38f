"""The job `list`: re-list a client's window at ANAF and remember what is new."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from datetime import datetime

from appliance.core import cif as cifs
from appliance.core import spv
from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.store import clients, messages
from appliance.store.engine import transaction
from appliance.store.jobs import Job
from appliance.store.messages import MessageState
from appliance.sync.context import Context
from appliance.sync.spv import Deferred, NotLinked

logger = logging.getLogger(__name__)


async def list_client(job: Job, context: Context, at: datetime) -> None:
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

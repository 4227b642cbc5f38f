"""Handing in what an earlier tool kept, and doing what sync does with it."""

from __future__ import annotations

import asyncio
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from appliance.core.roles import Status
from appliance.store import imports, jobs
from appliance.store.imports import Run
from appliance.store.spool import Spool
from appliance.sync import importing
from appliance.sync.hand_in import _places, hand_in
from tests.support.desk import Desk
from tests.support.spv import package

NOW = datetime.now(UTC)
ANAF_ERROR = (
    b'<?xml version="1.0"?><header xmlns="mfp:anaf:dgti:efactura:mesajEroriFactuta:v1" '
    b'Index_incarcare="6001" Cif_emitent="12345674"><Error errorMessage="E: lipsa"/></header>'
)


async def handed(
    desk: Desk,
    path: Path,
    status: Status = Status.PENDING,
    *,
    client: int | None = None,
    by: str | None = None,
) -> Run:
    """Hand in a folder or file, let sync file it, and return the run as it ended."""
    viewer = await desk.world.viewer(by) if by else None
    run = await imports.begin(path.name, status, NOW, client_id=client, by=viewer)
    await hand_in(run, _places(path), Spool(desk.world.settings.spool_dir))
    await work(desk)
    return await imports.by_id(run.id)


async def work(desk: Desk, killed: type[BaseException] = asyncio.CancelledError) -> None:
    """Do what is due; a job whose worker was killed is taken up again by another."""
    while due := await jobs.lease(10, datetime.now(UTC), 45, ["import"]):
        for job in due:
            try:
                await importing.file_import(job, desk.context, datetime.now(UTC))
            except killed:
                await jobs.give_back(job.id, datetime.now(UTC))
            else:
                await jobs.finish(job.id, datetime.now(UTC))


def left(desk: Desk) -> list[str]:
    root = Spool(desk.world.settings.spool_dir).root
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


def signature_of(document: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(package(document))) as archive:
        return archive.read("semnatura_6001.xml")


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()

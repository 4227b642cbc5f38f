"""The commands `certificate` and `rerender`, on a desk whose jobs are run beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from appliance.config import Settings
from appliance.core.certificates import PINNED
from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.store import certificates, jobs, pdfs
from appliance.sync import rerender, trust
from tests.support.desk import Desk
from tests.support.spv import ALFA, package, signer


@pytest.fixture(autouse=True)
def _one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk has its store open already, and a command's would be the same."""

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(rerender, "open_store", opened)
    monkeypatch.setattr(trust, "open_store", opened)
    monkeypatch.setattr(rerender, "POLL_SECONDS", 0.01)


async def test_the_list_names_what_is_trusted_and_what_is_only_seen(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.context.pinned = {}
    desk.vault.offer("7001", package())
    await desk.fetch()

    await trust.print_list(desk.world.settings)

    said = capsys.readouterr().out
    assert all(fingerprint in said for fingerprint in PINNED)
    trusted, seen = said.split("not trusted:")
    assert signer().pinned.fingerprint not in trusted
    assert signer().pinned.fingerprint in seen
    assert signer().pinned.subject in seen
    assert "1 document," in seen


async def test_an_added_certificate_is_listed_and_says_what_is_judged_again(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.context.pinned = {}
    desk.vault.offer("7001", package())
    await desk.fetch()

    await trust.add(desk.world.settings, signer().pem)
    said = capsys.readouterr().out
    assert "trusted from now on" in said
    assert "judged again: 1" in said
    await trust.print_list(desk.world.settings)

    said = capsys.readouterr().out
    assert "added by command" in said
    assert "not trusted" not in said


async def test_everything_is_made_again_while_somebody_watches(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.offer("7002", package(upload_id="6002"))
    await desk.fetch()
    await desk.run("render")

    watching = asyncio.create_task(rerender.rerender(desk.world.settings, None, everything=True))
    while await jobs.waiting("render") < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    ended = await desk.run("render")

    assert await watching == 0
    assert [job.priority for job in ended] == [pdfs.AGAIN] * 2


async def test_what_cannot_be_made_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.vault.offer("7001", package())
    await desk.fetch()
    await desk.run("render")
    (document,) = await desk.documents()
    watching = asyncio.create_task(rerender.rerender(desk.world.settings, ALFA, everything=False))
    while not await jobs.waiting("render"):  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    job = await jobs.latest("render", document["uid"])
    assert job is not None
    problem = Sentence("Cere prea multă memorie.", "it needs too much memory")
    await jobs.park(job.id, datetime.now(UTC), problem)

    assert await watching == 1
    assert "it needs too much memory" in capsys.readouterr().out


async def test_a_client_that_nobody_has_is_named(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await rerender.rerender(desk.world.settings, "4221306", everything=False)


async def test_a_certificate_that_is_trusted_is_not_taken_out_of_a_document(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.fetch()

    archive = desk.context.archive
    assert await certificates.of_documents(signer().pinned.fingerprint, archive) is None

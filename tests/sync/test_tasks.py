"""From a job to a filed document, with the real store and archive, and a vault on a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from appliance.store import jobs, messages, verify
from appliance.store.files import Archive
from appliance.store.jobs import Job
from appliance.store.messages import Message, MessageState
from appliance.sync import tasks
from appliance.sync.rendering import Renderers
from appliance.sync.spv import SpvClient
from tests.support.spv import ALFA, FakeVault, package, running_vault, signer
from tests.support.store import World


@dataclass
class Desk:
    """Everything that sync has, without its queue: jobs are run one by one."""

    world: World
    vault: FakeVault
    context: tasks.Context

    async def run(self, kind: str | None = None, *, at: datetime | None = None) -> list[Job]:
        """Run what is due, also what that makes due, and return the jobs as they ended."""
        ended = []
        kinds = [kind] if kind else ["list", "message", "render"]
        while due := await jobs.lease(10, at or datetime.now(UTC), 45, kinds):
            for job in due:
                await tasks.run(job.id, self.context)
                after = await jobs.get(job.id)
                assert after is not None
                ended.append(after)
        return ended

    async def list(self) -> Job:
        job = await jobs.insert("list", self.world.alfa_uid, datetime.now(UTC))
        await self.run("list")
        after = await jobs.get(job.id)
        assert after is not None
        return after

    async def only_message(self) -> Message:
        (message,) = [found for state in MessageState for found in await messages.in_state(state)]
        return message

    def problems(self) -> list[verify.Problem]:
        return verify.check(self.world.settings, deep=True, at=datetime.now(UTC))


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    settings = world.settings
    settings.spool_dir.mkdir()
    async with running_vault(settings.spv_socket) as vault:
        context = tasks.Context(
            settings=settings,
            archive=Archive(settings.archive_dir),
            spv=SpvClient(settings.spv_socket, settings.spv_environment),
            renderers=Renderers(1),
            pinned={signer().pinned.fingerprint: signer().pinned},
        )
        yield Desk(world, vault, context)
        context.renderers.close()
        await context.spv.close()


async def test_a_listed_invoice_is_filed_with_its_pdf(desk: Desk) -> None:
    desk.vault.offer("7001", package())

    assert (await desk.list()).state == "done"
    ended = await desk.run()

    assert [(job.kind, job.state) for job in ended] == [("message", "done"), ("render", "done")]
    message = await desk.only_message()
    assert message.state is MessageState.ARCHIVED
    assert desk.problems() == []

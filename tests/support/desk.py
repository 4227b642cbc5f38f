"""Everything that sync has, without its queue: jobs are run one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from appliance.store import engine, jobs, messages, runs, verify
from appliance.store.check_problems import Problem
from appliance.store.files import Archive
from appliance.store.jobs import Job
from appliance.store.messages import Message, MessageState
from appliance.sync import tasks
from appliance.sync.context import Context
from appliance.sync.rendering import Renderers
from appliance.sync.spv import SpvClient
from tests.support.spv import FakeVault, names, running_vault, signer
from tests.support.store import World

__all__ = ["Desk", "desk"]


@dataclass
class Desk:
    """The store, the archive, a vault that does as told, and renderers."""

    world: World
    vault: FakeVault
    context: Context

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

    async def fetch(self) -> list[Job]:
        """List, and run everything that follows but PDFs."""
        return [await self.listing(), *await self.run("message")]

    async def documents(self) -> list[dict[str, Any]]:
        return await engine.fetch(
            "SELECT d.*, c.uid AS client_uid FROM document d JOIN client c ON c.id = d.client"
        )

    def spooled(self) -> list[str]:
        return names(self.world.settings.spool_dir.iterdir())

    async def listing(self, *, priority: int = runs.PRIORITY) -> Job:
        """List as if somebody had asked for it."""
        at = datetime.now(UTC)
        job = await jobs.insert("list", self.world.alfa_uid, at, priority=priority)
        await self.run("list")
        after = await jobs.get(job.id)
        assert after is not None
        return after

    async def only_message(self) -> Message:
        (message,) = [found for state in MessageState for found in await messages.in_state(state)]
        return message

    def problems(self) -> list[Problem]:
        return verify.check(self.world.settings, deep=True, at=datetime.now(UTC))


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    settings = world.settings
    settings.spool_dir.mkdir()
    async with running_vault(settings.spv_socket) as vault:
        context = Context(
            settings=settings,
            archive=Archive(settings.archive_dir),
            spv=SpvClient(settings.spv_socket, settings.spv_environment),
            renderers=Renderers(1),
            pinned={signer().pinned.fingerprint: signer().pinned},
        )
        yield Desk(world, vault, context)
        context.renderers.close()
        await context.spv.close()

"""Renderers that are killed, closed, cancelled or out of memory, and what becomes of the PDFs."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from appliance.core.errors import Busy, DocumentRefused
from appliance.core.signature import SignatureResult, Verdict
from appliance.simulator.invoice import LineDraft
from appliance.store import jobs
from appliance.sync import rendering, tasks
from appliance.sync.rendering import Closing, RendererDied, Renderers
from tests.support.desk import Desk
from tests.support.spv import invoice, package

ABSENT = Verdict(SignatureResult.ABSENT, "no_signature")


@pytest.fixture
async def renderers() -> AsyncIterator[Renderers]:
    made = Renderers(1)
    yield made
    made.close()


async def render(renderers: Renderers, xml: bytes | None = None) -> bytes:
    return await renderers.render(
        invoice() if xml is None else xml, upload_id="57001", message_id="7001", verdict=ABSENT
    )


def on_a_full_disk() -> bytes:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_disk_that_is_full_is_not_the_fault_of_the_document(renderers: Renderers) -> None:
    with pytest.raises(Busy):
        await renderers._in_a_process(on_a_full_disk)

    assert renderers.pids() == []
    assert (await render(renderers)).startswith(b"%PDF")


def without_memory_in_c() -> bytes:
    raise SystemError("error return without exception set")


def by_a_defect() -> bytes:
    raise ZeroDivisionError


async def test_c_code_that_got_no_memory_is_told_as_such_and_its_process_replaced(
    renderers: Renderers,
) -> None:
    await render(renderers)
    (pid,) = renderers.pids()

    with pytest.raises(RendererDied, match="too much memory"):
        await renderers._in_a_process(without_memory_in_c)

    await eventually(lambda: gone(pid))
    assert (await render(renderers)).startswith(b"%PDF")


async def test_a_document_that_failed_leaves_no_process_behind_that_holds_too_much_memory(
    renderers: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await render(renderers)
    (pid,) = renderers.pids()
    monkeypatch.setattr(rendering, "MEMORY_KEPT", 1024 * 1024)

    with pytest.raises(ZeroDivisionError):
        await renderers._in_a_process(by_a_defect)

    await eventually(lambda: gone(pid))


async def stopped_in_the_middle(renderers: Renderers) -> tuple[asyncio.Task[bytes], int]:
    """Begin a rendering in a process that stands still, and return both."""
    await render(renderers)
    (pid,) = renderers.pids()
    os.kill(pid, signal.SIGSTOP)
    task = asyncio.create_task(render(renderers))
    await eventually(renderers._free.empty)  # taken by the task
    return task, pid


async def eventually(condition: Callable[[], object]) -> None:
    """Let others work until the condition holds; the test's own time limit ends a vain wait."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_one_process_renders_many(renderers: Renderers) -> None:
    assert (await render(renderers)).startswith(b"%PDF-1.7")
    (pid,) = renderers.pids()
    await render(renderers)

    assert renderers.pids() == [pid]


async def test_a_renderer_gives_way_to_what_fetches_and_answers(renderers: Renderers) -> None:
    await render(renderers)

    (pid,) = renderers.pids()
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)


async def test_a_killed_renderer_is_replaced(renderers: Renderers) -> None:
    task, pid = await stopped_in_the_middle(renderers)

    os.kill(pid, signal.SIGKILL)

    with pytest.raises(RendererDied, match="ends over this document"):
        await task
    assert (await render(renderers)).startswith(b"%PDF")
    assert renderers.pids() != [pid]


async def test_what_cannot_be_read_is_refused_in_both_languages(renderers: Renderers) -> None:
    with pytest.raises(DocumentRefused) as refused:
        await render(renderers, b"<Factura/>")

    # The sentence comes through the pipe whole.
    assert refused.value.sentence.ro != refused.value.sentence.en


async def test_a_document_that_takes_too_long_is_given_up(
    renderers: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await render(renderers)
    monkeypatch.setattr(rendering, "SECONDS", 0.05)
    line = LineDraft("Șurub M8 × 40", Decimal(3), "H87", Decimal("0.37"))
    (pid,) = renderers.pids()

    with pytest.raises(RendererDied, match="too long"):
        await render(renderers, invoice(lines=(line,) * 500))

    assert renderers.pids() == []
    await eventually(lambda: gone(pid))


async def test_a_renderer_that_holds_too_much_memory_is_replaced_between_two_documents(
    renderers: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await render(renderers)
    (pid,) = renderers.pids()
    assert renderers._all[0].resident() > 1024 * 1024
    monkeypatch.setattr(rendering, "MEMORY_KEPT", 1024 * 1024)

    assert (await render(renderers)).startswith(b"%PDF")

    assert renderers.pids() == []
    await eventually(lambda: gone(pid))
    assert (await render(renderers)).startswith(b"%PDF")


async def test_memory_is_limited_and_only_that_document_pays(renderers: Renderers) -> None:
    await render(renderers)
    (pid,) = renderers.pids()
    limit = rendering.MEMORY_LIMIT
    assert resource.prlimit(pid, resource.RLIMIT_AS) == (limit, limit)
    pages = int((Path("/proc") / str(pid) / "statm").read_text().split()[0])
    almost = (pages + 256) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (almost, almost))
    line = LineDraft("Șurub M8 × 40", Decimal(3), "H87", Decimal("0.37"))

    with pytest.raises(RendererDied):
        await render(renderers, invoice(lines=(line,) * 2000))

    assert (await render(renderers)).startswith(b"%PDF")


async def test_when_no_process_can_be_started_no_document_is_to_blame(
    renderers: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "MEMORY_LIMIT", 50 * 1024 * 1024)

    with pytest.raises(Busy, match="memory"):
        await render(renderers)

    monkeypatch.undo()
    assert (await render(renderers)).startswith(b"%PDF")


async def test_closing_gives_up_what_is_rendered(renderers: Renderers) -> None:
    task, pid = await stopped_in_the_middle(renderers)

    renderers.close()

    with pytest.raises(Closing):
        await task
    with pytest.raises(Closing):
        await render(renderers)
    await eventually(lambda: gone(pid))
    assert renderers.pids() == []


async def test_closing_while_a_process_starts_leaves_none_behind(renderers: Renderers) -> None:
    task = asyncio.create_task(render(renderers))
    await eventually(lambda: renderers._all[0]._pool is not None)

    renderers.close()

    with pytest.raises(Closing):
        await task
    assert renderers.pids() == []


async def test_a_cancelled_rendering_ends_its_process(renderers: Renderers) -> None:
    task, pid = await stopped_in_the_middle(renderers)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: gone(pid))
    assert (await render(renderers)).startswith(b"%PDF")


# The job


async def filed(desk: Desk, *message_ids: str) -> None:
    for message_id in message_ids:
        desk.vault.offer(message_id, package(invoice(number=f"EFI-{message_id}")))
    await desk.fetch()


async def pdfs(desk: Desk) -> int:
    return len(list(desk.world.settings.archive_dir.rglob("invoice.pdf")))


async def test_a_document_that_kills_its_renderer_twice_is_parked_and_others_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filed(desk, "7001", "7002")
    deadly = (await desk.documents())[0]["uid"]
    original = Renderers.render
    deaths: list[int] = []

    async def deadly_render(self: Renderers, xml: bytes, **more: str) -> bytes:
        if more["message_id"] != "7001":
            return await original(self, xml, **more)  # type: ignore[arg-type]
        rendering_it = asyncio.create_task(original(self, xml, **more))  # type: ignore[arg-type]
        await eventually(self.pids)
        deaths.append(self.pids()[0])
        os.kill(deaths[-1], signal.SIGKILL)
        return await rendering_it

    monkeypatch.setattr(Renderers, "render", deadly_render)

    first = await desk.run("render")
    assert sorted(job.state for job in first) == ["done", "queued"]
    await desk.run("render", at=datetime.now(UTC) + timedelta(minutes=2))

    job = await jobs.latest("render", deadly)
    assert job is not None
    assert (job.state, len(deaths)) == ("parked", 2)
    assert job.problem is not None
    assert await pdfs(desk) == 1
    assert desk.problems() == []
    # Whoever asks again gets one.
    monkeypatch.undo()
    await jobs.insert("render", deadly, datetime.now(UTC))
    await desk.run("render")
    assert await pdfs(desk) == 2


async def test_a_rendering_given_up_at_the_end_is_done_at_the_next_start(desk: Desk) -> None:
    await filed(desk, "7001")
    desk.context.renderers.close()
    (job,) = await jobs.lease(1, datetime.now(UTC), 45, ["render"])

    await tasks.run(job.id, desk.context)

    after = await jobs.get(job.id)
    assert after is not None
    assert (after.state, after.attempts) == ("queued", 0)
    desk.context.renderers = Renderers(1)
    await desk.run("render")
    assert await pdfs(desk) == 1


async def test_a_pdf_rendered_again_takes_the_place_of_the_first(desk: Desk) -> None:
    await filed(desk, "7001")
    await desk.run("render")
    (document,) = await desk.documents()
    await jobs.insert("render", document["uid"], datetime.now(UTC))

    await desk.run("render")

    assert await pdfs(desk) == 1
    assert desk.problems() == []

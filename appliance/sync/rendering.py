"""The processes that render PDFs: long-lived, apart from the rest, replaced when they break.

A document that brings a renderer down (memory, time, a crash in a C library)
takes that one process with it and nothing else; the caller gets `RendererDied`
and parks the document.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.core.signature import Verdict

MEMORY_LIMIT = 1536 * 1024 * 1024  # address space of one renderer, bytes
SECONDS = 180  # for one document
_DOCUMENTS_PER_PROCESS = 500


class RendererDied(ArhivarError):
    """The renderer broke or took too long over this document: park it with the reason."""


class Closing(Exception):
    """The process is ending; the document was not at fault and is rendered after the restart."""


class Renderers:
    """As many processes as `workers`; each renders one document at a time."""

    def __init__(self, workers: int) -> None:
        self._free: asyncio.Queue[_Renderer] = asyncio.Queue()
        self._all = [_Renderer() for _ in range(workers)]
        for renderer in self._all:
            self._free.put_nowait(renderer)
        self._closing = False

    async def render(
        self, xml: bytes, *, upload_id: str | None, message_id: str | None, verdict: Verdict
    ) -> bytes:
        """Return the PDF of an invoice.

        Raises `DocumentRefused` for what cannot be read, `RendererDied` for
        what breaks the renderer, `Closing` after `close()`.
        """
        renderer = await self._free.get()
        try:
            return await renderer.render(xml, upload_id, message_id, verdict)
        except (BrokenProcessPool, TimeoutError, MemoryError) as error:
            renderer.end()
            if self._closing:
                raise Closing from error
            raise RendererDied(
                Sentence(
                    "PDF-ul documentului nu a putut fi făcut; XML-ul este întreg, la locul lui.",
                    "no PDF could be made of this document; its XML is whole and in its place",
                )
            ) from error
        finally:
            self._free.put_nowait(renderer)

    def close(self) -> None:
        """End the processes; a rendering under way is given up and done again later."""
        self._closing = True
        for renderer in self._all:
            renderer.end()


class _Renderer:
    """One process, started when it is first needed."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._pid = 0
        self._rendered = 0

    async def render(
        self, xml: bytes, upload_id: str | None, message_id: str | None, verdict: Verdict
    ) -> bytes:
        if self._rendered >= _DOCUMENTS_PER_PROCESS:
            self.end()
        if self._pool is None:
            # A forked child would inherit our event loop and sockets.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_prepare)
            self._rendered = 0
            self._pid = await asyncio.wrap_future(self._pool.submit(os.getpid))
        self._rendered += 1
        future = self._pool.submit(_render, xml, upload_id, message_id, verdict)
        return await asyncio.wait_for(asyncio.wrap_future(future), SECONDS)

    def end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare() -> None:
    # Ctrl-C in a terminal reaches every process of the group; our parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _render(xml: bytes, upload_id: str | None, message_id: str | None, verdict: Verdict) -> bytes:
    # Imported here: WeasyPrint is for the renderers, not for the process that has the sockets.
    from appliance.core import ubl
    from appliance.sync.pdf.render import render_invoice

    return render_invoice(
        ubl.read(xml), xml=xml, upload_id=upload_id, message_id=message_id, verdict=verdict
    )

"""The processes that render PDFs: long-lived, apart from the rest, replaced when they break.

A document that brings a renderer down (memory, a crash in a C library) takes
that process with it and nothing else; the caller gets `RendererDied` and parks
the document.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence

MEMORY_LIMIT = 1536 * 1024 * 1024  # address space of one renderer, bytes
SECONDS = 120  # for one document; 5,000 lines take about a minute
_DOCUMENTS_PER_PROCESS = 500


class RendererDied(ArhivarError):
    """The renderer broke or took too long over this document: park it with the reason."""


class Renderers:
    """A pool of `workers` processes; each renders one document at a time."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers,
            # A forked child would inherit the event loop's thread state and our sockets.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_renderer,
            max_tasks_per_child=_DOCUMENTS_PER_PROCESS,
        )

    async def render(
        self, xml: bytes, *, upload_id: str | None, message_id: str | None, verdict: object
    ) -> bytes:
        """Return the PDF; raises `RendererDied`, or `DocumentRefused` for what cannot be read."""
        pool = self._pool
        try:
            future = asyncio.wrap_future(pool.submit(_render, xml, upload_id, message_id, verdict))
            return await asyncio.wait_for(future, SECONDS)
        except (BrokenProcessPool, TimeoutError) as error:
            self._replace(pool)
            raise RendererDied(
                Sentence(
                    "PDF-ul nu a putut fi făcut pentru acest document; XML-ul este întreg și la locul lui.",
                    "no PDF could be made of this document; its XML is whole and in its place",
                )
            ) from error

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is broken:
                self._pool = self._new_pool()
        for process in list((broken._processes or {}).values()):
            process.kill()
        broken.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the processes; a rendering under way is given up and done again later."""
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _start_renderer() -> None:
    # Ctrl-C in a terminal reaches every process of the group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _render(
    xml: bytes, upload_id: str | None, message_id: str | None, verdict: object
) -> bytes:
    from appliance.core import ubl
    from appliance.core.signature import Verdict
    from appliance.sync.pdf.render import render_invoice

    assert verdict is None or isinstance(verdict, Verdict)
    return render_invoice(
        ubl.read(xml), xml=xml, upload_id=upload_id, message_id=message_id, verdict=verdict
    )

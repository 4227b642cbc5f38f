"""The processes that render PDFs: long-lived, apart from the rest, replaced when they break.

A document that brings a renderer down (memory, time, a crash in a C library)
takes that one process with it and nothing else; the caller gets `RendererDied`.
When sync is killed the kernel ends the renderers with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import logging
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from appliance.core.errors import ArhivarError, Busy
from appliance.core.sentence import Sentence
from appliance.core.signature import Verdict

logger = logging.getLogger(__name__)

MEMORY_LIMIT = 1536 * 1024 * 1024  # address space of one renderer, bytes
MEMORY_KEPT = 400 * 1024 * 1024  # one that holds more after a document is replaced
SECONDS = 180  # for one document
_DOCUMENTS_PER_PROCESS = 500


class RendererDied(ArhivarError):
    """The renderer broke or took too long over this document."""


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
        what breaks the renderer, `Busy` when none can be started or the disk is full, and
        `Closing` after `close()`. Cancelled, it ends the process that renders.
        """
        return await self._in_a_process(_render, xml, upload_id, message_id, verdict)

    async def proof(self, claims: Mapping[str, Any]) -> bytes:
        """Return the PDF of a month's proof; raises like `render`."""
        return await self._in_a_process(_proof, claims)

    async def _in_a_process(self, work: Callable[..., bytes], *arguments: object) -> bytes:
        renderer = await self._free.get()
        try:
            if self._closing:
                raise Closing
            await renderer.start()
            return await renderer.do(work, *arguments)
        except (BrokenProcessPool, TimeoutError, MemoryError, SystemError) as error:
            renderer.end()
            if self._closing:
                raise Closing from error
            why = next(text for kind, text in _WHY_IT_DIED.items() if isinstance(error, kind))
            raise RendererDied(why) from error
        except OSError as error:
            # What it was writing then (fonts in /tmp) is not whole.
            renderer.end()
            if self._closing:
                raise Closing from error
            if error.errno not in _NO_ROOM:
                raise
            raise Busy(_NO_ROOM_SENTENCE) from error
        except (Busy, asyncio.CancelledError):
            renderer.end()
            if self._closing:
                raise Closing from None
            raise
        finally:
            # A document that failed may leave as much behind as one that was made.
            if renderer.resident() > MEMORY_KEPT:
                renderer.end()
            self._free.put_nowait(renderer)

    def close(self) -> None:
        """End the processes; a rendering under way is given up and done again later."""
        self._closing = True
        for renderer in self._all:
            renderer.end()

    def pids(self) -> list[int]:
        """Return the ids of the processes that there are now."""
        return [renderer.pid for renderer in self._all if renderer.pid]


class _Renderer:
    """One process, started when it is first needed."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._rendered = 0
        self.pid = 0

    async def start(self) -> None:
        """Have a process; raises `Busy` when the machine gives none."""
        if self._rendered >= _DOCUMENTS_PER_PROCESS:
            self.end()
        if self._pool is not None:
            return
        # A forked child would inherit our event loop and sockets.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=_prepare, initargs=(os.getpid(), MEMORY_LIMIT)
        )
        self._rendered = 0
        try:
            # It imports what it needs here, so that this time is nobody's document's.
            self.pid = await asyncio.wait_for(
                asyncio.wrap_future(self._pool.submit(_warm_up)), SECONDS
            )
        except (BrokenProcessPool, TimeoutError, OSError, MemoryError, ImportError) as error:
            logger.warning("no renderer could be started: %r", error)
            raise Busy(
                Sentence(
                    "Nu poate porni niciun proces pentru PDF-uri. Verifică memoria serverului; "
                    "se reîncearcă automat.",
                    "no process for PDFs can be started; check the memory of the server, "
                    "it is tried again by itself",
                )
            ) from error

    async def do(self, work: Callable[..., bytes], *arguments: object) -> bytes:
        if self._pool is None:
            raise BrokenProcessPool("ended in the meantime")
        self._rendered += 1
        future = self._pool.submit(work, *arguments)
        return await asyncio.wait_for(asyncio.wrap_future(future), SECONDS)

    def resident(self) -> int:
        """Return the bytes of memory that the process holds now."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * resource.getpagesize()

    def end(self) -> None:
        pool, self._pool = self._pool, None
        pid, self.pid = self.pid, 0
        if pool is None:
            return
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pool.shutdown(wait=False, cancel_futures=True)


# The machine's trouble, not this document's.
_NO_ROOM = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
})  # fmt: skip
_NO_ROOM_SENTENCE = Sentence(
    "Nu este loc pe disc pentru a face PDF-uri sau discul nu poate fi scris (și /tmp). Eliberează "
    "spațiu; se reîncearcă automat.",
    "there is no room on the disk to make PDFs, or it cannot be written (/tmp too); free some "
    "space, it is tried again by itself",
)


# What the document's page says after "no PDF can be made".
_NO_MEMORY = Sentence(
    "Documentul cere prea multă memorie. XML-ul este întreg, la locul lui.",
    "it needs too much memory; the XML is whole and in its place",
)
_WHY_IT_DIED = {
    TimeoutError: Sentence(
        "Așezarea în pagină durează prea mult. XML-ul este întreg, la locul lui.",
        "its pages take too long to lay out; the XML is whole and in its place",
    ),
    MemoryError: _NO_MEMORY,
    # "error return without exception set": C code that got no memory and does not say so.
    SystemError: _NO_MEMORY,
    BrokenProcessPool: Sentence(
        "Procesul care face PDF-uri se oprește la acest document. XML-ul este întreg, la locul "
        "lui.",
        "the process that makes PDFs ends over this document; the XML is whole and in its place",
    ),
}


_PR_SET_PDEATHSIG = 1  # prctl(2)
# Messages first, their PDFs after: what lists, downloads, files and answers people goes before.
_NICE = 10


def _prepare(parent: int, memory: int) -> None:
    # Nobody would read what we render when our parent was killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    # Ctrl-C in a terminal reaches every process of the group; our parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _warm_up() -> int:
    # Imported here: WeasyPrint is for the renderers, not for the process that has the sockets.
    from appliance.sync.pdf import render

    assert render
    return os.getpid()


def _render(xml: bytes, upload_id: str | None, message_id: str | None, verdict: Verdict) -> bytes:
    from appliance.core import ubl
    from appliance.sync.pdf.render import render_invoice

    return render_invoice(
        ubl.read(xml), xml=xml, upload_id=upload_id, message_id=message_id, verdict=verdict
    )


def _proof(claims: Mapping[str, Any]) -> bytes:
    from appliance.sync.pdf.proof import render_proof

    return render_proof(claims)

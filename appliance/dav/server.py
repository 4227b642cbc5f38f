"""The process behind `arhivar dav`: one event loop, one listener, HTTP/1.1."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, cast

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from appliance.config import Settings
from appliance.core.errors import ConfigError
from appliance.core.sentence import Sentence
from appliance.dav.app import Drive
from appliance.store.engine import open_store

_GRACE = 3.0  # seconds for requests under way when we are told to stop


def create_app(settings: Settings) -> Drive:
    """Return the ASGI application; lifespan opens and closes the store."""
    return Drive(settings)


def configuration(settings: Settings) -> Config:
    """Return how the listener behaves."""
    config = Config()
    host = settings.dav_host
    config.bind = [f"{f'[{host}]' if ':' in host else host}:{settings.dav_port}"]
    config.alpn_protocols = ["http/1.1"]  # HTTP/2 is 2.5 times slower for large files
    config.include_server_header = False
    # Explorer and Finder keep connections for minutes and ask in bursts.
    config.keep_alive_timeout = 75
    config.keep_alive_max_requests = 100_000
    config.h11_max_incomplete_size = 16 * 1024  # all headers of a request together
    config.backlog = 256
    config.graceful_timeout = _GRACE
    return config


def serve(settings: Settings) -> None:
    """Serve the drive until SIGTERM or SIGINT; requests under way get three seconds to end.

    Raises `SchemaUnknown` or `ConfigError` when it cannot begin.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Opened here as well as by lifespan, which shares it: an error is the caller's to
    # show as a sentence, and lifespan would make a traceback of it.
    async with open_store(settings):
        # Hypercorn's type for ASGI applications is narrower than ASGI's.
        app = cast(Any, create_app(settings))
        server = asyncio.create_task(
            hypercorn_serve(app, configuration(settings), shutdown_trigger=stop.wait)
        )
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({server, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not stop.is_set():
            await _unless_it_cannot_listen(server, settings)
            return
        # A download that stands still holds up Hypercorn's shutdown, for ever with
        # Python 3.12 and later; what its tasks say when cut off is of no use.
        loop.set_exception_handler(lambda *_: None)
        await asyncio.wait({server}, timeout=_GRACE + 2)
        if not server.done():
            server.cancel()
            await asyncio.wait({server}, timeout=2)


async def _unless_it_cannot_listen(server: asyncio.Task[None], settings: Settings) -> None:
    try:
        await server
    except OSError as error:
        where = f"{settings.dav_host}:{settings.dav_port}"
        raise ConfigError(
            Sentence(
                f"Discul nu poate asculta la {where} ({error.strerror}). "
                "Oprește programul care folosește portul sau schimbă dav.port.",
                f"the drive cannot listen at {where} ({error.strerror}); "
                "stop what uses the port, or change dav.port",
            )
        ) from error

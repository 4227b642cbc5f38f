"""The process behind `arhivar dav`: one event loop, one listener, HTTP/1.1."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from appliance.config import Settings
from appliance.dav.app import Drive
from appliance.store.engine import open_store


def create_app(settings: Settings) -> Drive:
    """Return the ASGI application; lifespan opens and closes the store."""
    return Drive(settings)


def configuration(settings: Settings) -> Config:
    """Return how the listener behaves."""
    config = Config()
    config.bind = [f"{settings.dav_host}:{settings.dav_port}"]
    config.alpn_protocols = ["http/1.1"]  # HTTP/2 is 2.5 times slower for large files
    config.include_server_header = False
    # Explorer and Finder keep connections for minutes and ask in bursts.
    config.keep_alive_timeout = 75
    config.keep_alive_max_requests = 100_000
    config.h11_max_incomplete_size = 16 * 1024  # all headers of a request together
    config.backlog = 256
    config.graceful_timeout = 5
    return config


def serve(settings: Settings) -> None:
    """Serve the drive until SIGTERM or SIGINT; requests under way get five seconds to end.

    Raises `SchemaUnknown` or `ConfigError` before it listens.
    """
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    # Opened here as well as by lifespan, which shares it: an error is the caller's to
    # show as a sentence, and lifespan would make a traceback of it.
    async with open_store(settings):
        # Hypercorn's type for ASGI applications is narrower than ASGI's.
        app = cast(Any, create_app(settings))
        await hypercorn_serve(app, configuration(settings))

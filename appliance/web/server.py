"""The portal as a process: Hypercorn on one address, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from appliance.config import Settings
from appliance.web.app import PortalApp, create_app

log = logging.getLogger("arhivar.web")


def configuration(settings: Settings) -> Config:
    """Return how Hypercorn listens: HTTP/1.1 only (nginx speaks HTTP/2), small headers."""
    config = Config()
    config.bind = [f"{settings.web_host}:{settings.web_port}"]
    config.alpn_protocols = ["http/1.1"]
    config.h11_max_incomplete_size = 16 * 1024
    config.keep_alive_timeout = 30
    config.read_timeout = 60
    config.graceful_timeout = 5
    config.shutdown_timeout = 10
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("arhivar.web.server")
    return config


def serve(settings: Settings) -> None:
    """Serve the portal until SIGTERM or SIGINT; requests under way are finished first.

    Raises `SchemaUnknown` when the database is absent or of another version.
    """
    asyncio.run(_serve(create_app(settings), configuration(settings)))


async def _serve(app: PortalApp, config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await hypercorn_serve(app, config, shutdown_trigger=partial(app.stopping, stop))  # type: ignore[arg-type]

"""The portal on a real port for a real browser, seeded and served by a thread of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hypercorn.asyncio import serve

from appliance.config import Settings
from appliance.store import accounts
from appliance.store.engine import open_store
from appliance.web.app import create_app
from appliance.web.server import configuration
from tests.support.demo import free_port
from tests.support.store import NOW, World, make_world
from tests.support.web import PASSWORD, Clock, Site, cheap_passwords

T = TypeVar("T")


@dataclasses.dataclass
class Served:
    """A portal that answers at `url`; `run()` does something in its event loop."""

    url: str
    site: Site
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@contextmanager
def served(folder: Path, seed: Callable[[Site], Awaitable[None]]) -> Iterator[Served]:
    """Start the portal with what `seed` puts there; stop it at the end."""
    port = free_port()
    settings = Settings(
        data_dir=folder / "data",
        run_dir=folder / "run",
        web_port=port,
        web_url=f"http://localhost:{port}",
    )
    ready: list[Served] = []
    started, stop = threading.Event(), asyncio.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        async with open_store(settings, migrate=True):
            world: World = await make_world(settings)
            passwords = cheap_passwords()
            app = create_app(settings, passwords=passwords, clock=Clock())
            stored = await passwords.hash(PASSWORD)
            for account_id in world.ids.values():
                await accounts.set_password_hash(account_id, stored, NOW, rehash=True)
            site = Site(world, app, app.portal.clock)  # type: ignore[arg-type]
            await seed(site)
            ready.append(Served(settings.web_url, site, asyncio.get_running_loop(), stop))
            started.set()
            stopping = partial(app.stopping, stop)
            await serve(app, configuration(settings), shutdown_trigger=stopping)  # type: ignore[arg-type]

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
        started.set()

    thread = threading.Thread(target=run, name="portal")
    thread.start()
    try:
        started.wait(60)
        if failed:
            raise failed[0]
        yield ready[0]
    finally:
        if ready:
            ready[0].loop.call_soon_threadsafe(stop.set)
        thread.join(30)

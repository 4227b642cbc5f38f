"""Runs the simulator on a free loopback port for a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve

from appliance.simulator import Limits, Signer, Simulator, configured, listen

NOON = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)  # 12:00 in Bucharest


@cache
def _signer() -> Signer:
    """One key for all simulators of a test run; making one takes a tenth of a second."""
    return Signer.load(None)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)


class Running:
    """A simulator that answers at `url`; `about` is what its JSON file would say."""

    def __init__(self, simulator: Simulator, url: str) -> None:
        self.simulator = simulator
        self.url = url
        self.about: dict[str, Any] = dict(simulator.describe(url))

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.about['access_token']}"}


@contextmanager
def running_simulator(
    *,
    seed: int = 1,
    invoices: int = 40,
    documents: Path | None = None,
    clock: Clock | None = None,
    directory: Path | None = None,
    limits: Limits | None = None,
    port: int = 0,
    clients: int = 0,
    latency: int = 0,
    lateness: timedelta = timedelta(0),
) -> Iterator[Running]:
    """Serve one over real HTTP in a thread until the block ends.

    Without a `clock` its time is real.
    """
    more: dict[str, Any] = {"clients": clients, "latency": latency, "lateness": lateness}
    if clock is not None:
        more["clock"] = clock
    if directory is None:
        more["signer"] = _signer()
    simulator = Simulator(seed, invoices, documents, directory=directory, limits=limits, **more)
    listening = listen("127.0.0.1", port)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(
            serve(simulator.app, configured(listening), shutdown_trigger=stop.wait)  # type: ignore[arg-type]
        )

    thread = threading.Thread(target=run, name="simulator", daemon=True)
    thread.start()
    try:
        yield Running(simulator, url)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()

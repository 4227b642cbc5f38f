"""Runs the simulator on a free loopback port for a test, or as a process for a benchmark."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from hypercorn.asyncio import serve

from appliance.simulator import Limits, Signer, Simulator, configured, listen
from tests.support.demo import free_port

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
    def pem(self) -> bytes:
        return self.simulator.state.signer.pem

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


class SimulatorProcess:
    """A simulator of its own process in load mode, which refuses nothing until it is told to."""

    def __init__(self, process: subprocess.Popen[bytes], about: dict[str, Any], pem: bytes) -> None:
        self.pid = process.pid
        self.url: str = about["url"]
        self.about = about
        self.pem = pem

    def change(self, what: str, **wanted: Any) -> None:
        """`POST /simulator/<what>`, see appliance/simulator/control.py."""
        httpx.post(f"{self.url}/simulator/{what}", json=wanted).raise_for_status()


@contextmanager
def simulator_process(
    directory: Path, *, clients: int, invoices: int, latency: int = 0
) -> Iterator[SimulatorProcess]:
    """Serve that many messages, `latency` milliseconds late each, until the block ends."""
    described, certificate = directory / "spv.json", directory / "spv.pem"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "appliance", "simulator", "--port", str(free_port()),
            "--clients", str(clients), "--invoices", str(invoices), "--latency", str(latency),
            "--no-limits", "--json", str(described), "--certificate", str(certificate),
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not certificate.exists():
            assert process.poll() is None, "the simulator ended"
            time.sleep(0.01)
        about = json.loads(described.read_text(encoding="utf-8"))
        yield SimulatorProcess(process, about, certificate.read_bytes())
    finally:
        process.terminate()
        process.wait()

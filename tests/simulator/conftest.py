"""A simulated SPV over real HTTP, for the tests of its resources."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.simulator import Clock, Running, running_simulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spv_server(clock: Clock) -> Iterator[Running]:
    with running_simulator(clock=clock) as running:
        yield running


@pytest.fixture
def client(spv_server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=spv_server.url, headers=spv_server.headers) as made:
        yield made

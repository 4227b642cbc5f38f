"""Answers held back on request: what a test needs to be in the middle of a call."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.support.demo import until
from tests.support.simulator import Running, running_simulator

DOWNLOAD = "/prod/FCTEL/rest/descarcare"


@pytest.fixture
def spv_server() -> Iterator[Running]:
    with running_simulator(invoices=5) as running:
        yield running


def change(server: Running, **wanted: object) -> dict[str, object]:
    answer = httpx.post(f"{server.url}/simulator/latency", json=wanted)
    assert answer.status_code == 200, answer.text
    changed: dict[str, object] = answer.json()
    return changed


def held(server: Running) -> dict[str, int]:
    found: dict[str, int] = httpx.get(f"{server.url}/simulator").json()["held"]
    return found


class Call(threading.Thread):
    """One download in the background."""

    def __init__(self, server: Running) -> None:
        super().__init__()
        message_id = next(iter(server.simulator.state.messages))
        self._client = httpx.Client(base_url=server.url, headers=server.headers, timeout=60)
        self._request = self._client.build_request("GET", DOWNLOAD, params={"id": message_id})
        self.answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        self.answer = self._client.send(self._request)


def test_a_held_call_is_counted_and_answered_in_full_when_it_is_let_go(spv_server: Running) -> None:
    assert change(spv_server, path="descarcare", seconds=600) == {"latency": {"descarcare": 600}}
    calls = [Call(spv_server), Call(spv_server)]
    until("both are held", lambda: held(spv_server) == {DOWNLOAD: 2})
    assert all(call.is_alive() for call in calls)

    assert change(spv_server) == {"latency": {}}

    for call in calls:
        call.join(30)
        assert call.answer is not None
        assert call.answer.content.startswith(b"PK")
    assert held(spv_server) == {}


def test_other_calls_and_the_control_are_not_held(spv_server: Running) -> None:
    change(spv_server, path="descarcare", seconds=600)
    query = {"zile": 60, "cif": spv_server.about["cifs"][0]}

    listed = httpx.get(
        f"{spv_server.url}/prod/FCTEL/rest/listaMesajeFactura",
        params=query, headers=spv_server.headers,
    )  # fmt: skip

    assert listed.json()["mesaje"]
    change(spv_server, seconds=600)
    assert held(spv_server) == {}  # with a latency for everything, this still answers


def test_a_caller_that_hangs_up_is_held_no_longer(spv_server: Running) -> None:
    change(spv_server, path="descarcare", seconds=600)
    message_id = next(iter(spv_server.simulator.state.messages))

    with pytest.raises(httpx.ReadTimeout):
        httpx.get(
            f"{spv_server.url}{DOWNLOAD}",
            params={"id": message_id},
            headers=spv_server.headers,
            timeout=httpx.Timeout(10, read=0.2),
        )

    until("nobody is held", lambda: held(spv_server) == {})


def test_a_latency_passes_by_itself(spv_server: Running) -> None:
    change(spv_server, seconds=0.05)
    call = Call(spv_server)
    call.join(30)

    assert call.answer is not None
    assert call.answer.status_code == 200


def test_a_latency_without_seconds_is_refused_in_words(spv_server: Running) -> None:
    answer = httpx.post(f"{spv_server.url}/simulator/latency", json={"path": "descarcare"})

    assert answer.status_code == 400
    assert "seconds" in answer.json()["error"]

"""`arhivar fetch` joins who else fetches, and says how every message ended."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from appliance.simulator.companies import CLIENTS
from appliance.sync import fetch
from tests.support.simulator import Running, running_simulator
from tests.support.sync import Installation


@pytest.fixture
def simulator() -> Iterator[Running]:
    with running_simulator(invoices=9) as running:
        yield running


@pytest.fixture
def installation(tmp_path: Path, simulator: Running) -> Iterator[Installation]:
    made = Installation(tmp_path, simulator, sync_workers=1)
    yield made
    made.close()


def goes_wrong(simulator: Running, kind: str, path: str = "descarcare") -> None:
    answer = httpx.post(f"{simulator.url}/simulator/faults", json={"kind": kind, "path": path})
    assert answer.status_code == 200


def test_two_who_fetch_at_once_make_one_run_of_each_client(
    installation: Installation, simulator: Running
) -> None:
    installation.start("sync")

    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(lambda _: installation.arhivar("fetch"), range(2)))

    assert [each.returncode for each in ended] == [0, 0], ended
    listed = len(simulator.simulator.state.messages)
    assert installation.count("message WHERE state IN ('archived', 'notice')") == listed
    # A second one begins where the first has ended already, and never beside it.
    runs = installation.rows("SELECT client, started_at, finished_at FROM fetch_run ORDER BY id")
    for client in {row[0] for row in runs}:
        of_client = [row for row in runs if row[0] == client]
        for before, after in itertools.pairwise(of_client):
            assert before[2] is not None
            assert before[2] <= after[1]


def test_what_ended_badly_or_waits_is_told_with_reason_and_next_attempt(
    installation: Installation, simulator: Running
) -> None:
    for kind in ("expired_text", "extra_brace"):
        goes_wrong(simulator, kind)
    installation.start("sync")

    fetched = installation.arhivar("fetch")

    assert fetched.returncode == 1
    (expired,) = installation.rows("SELECT message_id FROM message WHERE state = 'expired'")
    (queued,) = installation.rows("SELECT message_id FROM message WHERE state = 'queued'")
    assert f"expired, message {expired[0]}: the message cannot be downloaded" in fetched.stdout
    assert re.search(
        rf"queued, message {queued[0]}, next attempt \d\d\.\d\d\.\d{{4}} 00:01: "
        "this message was downloaded too often today",
        fetched.stdout,
    )


def test_a_list_that_is_refused_is_told_and_the_rest_goes_on(
    installation: Installation, simulator: Running
) -> None:
    first, *others = (client.company for client in CLIENTS)
    state = simulator.simulator.state
    for serial in state.rights:
        state.rights[serial] = tuple(company.cif for company in others)
    installation.start("sync")

    fetched = installation.arhivar("fetch")

    assert fetched.returncode == 1
    assert re.search(rf"{first.name}\n  list: the certificate in use lacks", fetched.stdout)
    assert not installation.count("message WHERE state = 'queued'")
    assert installation.count("message") > 0


def test_a_run_goes_on_where_it_was_when_sync_comes_back(
    installation: Installation, simulator: Running
) -> None:
    latency = f"{simulator.url}/simulator/latency"
    assert httpx.post(latency, json={"path": "descarcare", "seconds": 60}).is_success
    installation.start("sync")
    watching = installation.popen("fetch")

    def held() -> bool:
        return bool(httpx.get(f"{simulator.url}/simulator").json()["held"])

    installation.wait("a download that is held", held)
    installation.end("sync")
    before = installation.rows("SELECT uid FROM fetch_run ORDER BY id")
    assert installation.count("fetch_run WHERE finished_at IS NULL") > 0
    httpx.post(latency, json={})
    installation.start("sync")

    assert watching.wait(100) == 0
    assert installation.rows("SELECT uid FROM fetch_run ORDER BY id") == before
    assert not installation.count("message WHERE state = 'queued'")


def test_what_is_due_while_anaf_is_silent_is_said_to_wait_for_its_next_call() -> None:
    at = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    asked_again = at + timedelta(minutes=15)

    assert fetch._next(at - timedelta(minutes=1), at, held=at) == ", next attempt now"
    assert fetch._next(at - timedelta(minutes=1), at, held=asked_again) == ", next attempt 14:15"
    assert fetch._next(at + timedelta(hours=1), at, held=asked_again) == ", next attempt 15:00"


def test_many_documents_without_a_pdf_for_one_reason_are_told_in_two_lines(
    installation: Installation,
) -> None:
    installation.start("sync")
    assert installation.arhivar("fetch").returncode == 0
    uids = installation.rows("SELECT object_uid FROM job WHERE kind = 'render' ORDER BY id")
    why = json.dumps({"ro": "Nu se poate.", "en": "it cannot be made"})
    with closing(sqlite3.connect(installation.settings.database_path)) as database, database:
        database.execute(
            "UPDATE job SET state = 'parked', problem = ? WHERE kind = 'render'", [why]
        )

    fetched = installation.arhivar("fetch")

    assert fetched.returncode == 1
    assert f"no PDF, {len(uids)} documents: it cannot be made\n" in fetched.stdout
    assert fetched.stdout.count("it cannot be made") == 1
    assert all(uid in fetched.stdout for (uid,) in uids)

"""`arhivar import` against the process `arhivar sync`, which is killed on the way."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulator import Running, running_simulator
from tests.support.sync import Installation

MANY = 40


@pytest.fixture
def simulator() -> Iterator[Running]:
    with running_simulator(invoices=MANY) as running:
        yield running


@pytest.fixture
def installation(tmp_path: Path, simulator: Running) -> Iterator[Installation]:
    made = Installation(tmp_path, simulator)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path, simulator: Running) -> Path:
    """What an earlier tool has downloaded: every zip that the simulated SPV lists."""
    made = tmp_path / "Facturi"
    made.mkdir()
    state = simulator.simulator.state
    for number, message in enumerate(state.messages.values()):
        (made / f"{number}.zip").write_bytes(state.zip_of(message))
    return made


def test_a_folder_is_filed_while_sync_is_killed_and_again_doubles_nothing(
    installation: Installation, folder: Path
) -> None:
    command: list[subprocess.CompletedProcess[str]] = []

    def run() -> None:
        command.append(installation.arhivar("import", str(folder), "--status", "archived"))

    running = threading.Thread(target=run)
    running.start()
    for filed in (3, 12):
        installation.start("sync")
        installation.wait(
            "some to be filed", lambda filed=filed: installation.count("document") >= filed
        )
        installation.end("sync", signal.SIGKILL)
        installation.free_leases()
    installation.start("sync")
    running.join(100)

    (done,) = command
    assert "queued" not in done.stdout, done.stdout + done.stderr
    imported = installation.count("document WHERE source = 'import'")
    assert (
        imported > 0
    )  # sync fetches the same messages meanwhile; how many come which way is a race
    assert installation.count("document WHERE source = 'import' AND status <> 'archived'") == 0
    assert installation.count("import_item WHERE state = 'queued'") == 0
    # Meanwhile sync fetches the same messages by itself: each is one document and no more.
    installation.settled()
    assert installation.count("document d JOIN document_file f ON f.document = d.id "
                              "AND f.role = 'invoice' GROUP BY d.client, f.sha256 "
                              "HAVING COUNT(*) > 1") == 0  # fmt: skip

    before = installation.count("document")
    again = installation.arhivar("import", str(folder), "--status", "archived")
    assert installation.count("document") == before
    assert "duplicate" in again.stdout
    assert installation.problems() == []


def test_what_is_wrong_is_said_in_a_sentence(installation: Installation, tmp_path: Path) -> None:
    installation.start("sync")
    (tmp_path / "bad.xml").write_bytes(b"<declaratie/>")

    missing = installation.arhivar("import", str(tmp_path / "bad.xml"), "--client", "123")
    assert missing.returncode == 2
    assert "123" in missing.stderr
    refused = installation.arhivar("import", str(tmp_path / "bad.xml"))
    assert refused.returncode == 1
    assert "1 refused" in refused.stdout
    assert "bad.xml: " in refused.stdout

"""Real processes: a certificate is added, sync is killed over it, every PDF is made again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulator import running_simulator
from tests.support.sync import Installation

UNKNOWN = "document WHERE signature_result = 'valid_unknown_certificate'"
OPEN = "job WHERE state IN ('queued', 'leased')"


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with running_simulator(invoices=30) as simulator:
        made = Installation(tmp_path, simulator)
        # Nobody trusts its certificate yet.
        (tmp_path / "certificates" / "simulator.pem").rename(tmp_path / "simulator.pem")
        yield made
        made.close()


def test_a_certificate_is_added_while_sync_runs_and_is_killed(
    installation: Installation, tmp_path: Path
) -> None:
    installation.start("sync")
    installation.settled()
    unknown = installation.count(UNKNOWN)
    assert unknown > 20

    done = installation.arhivar("certificate", "add", str(tmp_path / "simulator.pem"))
    assert done.returncode == 0, done.stderr
    assert f"judged again: {unknown}" in done.stdout
    installation.end("sync", signal.SIGKILL)
    installation.free_leases()
    installation.start("sync")
    installation.wait("every signature judged again", lambda: not installation.count(UNKNOWN), 100)
    installation.wait("every PDF made again", lambda: not installation.count(OPEN), 100)

    assert installation.count("document WHERE signature_reason = 'ok'") == unknown
    assert installation.problems() == []
    assert "added by command" in installation.arhivar("certificate", "list").stdout
    assert installation.arhivar("audit", "verify").returncode == 0


def test_every_pdf_is_made_again_with_one_command(installation: Installation) -> None:
    installation.start("sync")
    installation.settled()
    before = dict(installation.rows("SELECT document, created_at FROM document_file "
                                    "WHERE role = 'pdf'"))  # fmt: skip

    done = installation.arhivar("rerender", "--all")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(before)} PDFs asked for" in done.stdout
    after = dict(installation.rows("SELECT document, created_at FROM document_file "
                                   "WHERE role = 'pdf'"))  # fmt: skip
    assert after.keys() == before.keys()
    assert all(after[document] > before[document] for document in before)
    assert installation.problems() == []

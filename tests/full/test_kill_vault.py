"""The vault is killed, or its disk fails, at every durable step of a renewal and of its counting.

The access token is over when the vault starts, and ANAF takes each refresh
token once: a pair that it gave out and that is lost needs a person.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import pytest

from appliance.simulator import oauth
from appliance.simulator.companies import CLIENTS
from appliance.vault import keys
from appliance.vault.database import Database
from tests.support.demo import until
from tests.support.faults import Fault, most_by_one_thread, sample, struck, trace
from tests.support.simulator import Running, running_simulator
from tests.support.sync import Installation

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]

ALL = bool(os.environ.get("ARHIVAR_ALL_FAULTS"))
CALLS = ("fsync", "fdatasync", "rename", "unlink", "ftruncate", "pwrite64", "write")


class Renewal:
    """A vault whose access token is over, and the calls that are made through it."""

    def __init__(self, directory: Path, simulator: Running) -> None:
        self.state = simulator.simulator.state
        self.authority = simulator.simulator.authority
        self.installation = Installation(directory, simulator, spv_calls_per_minute=0)
        self.settings = self.installation.settings
        assert self.installation.end("vault") == 0
        self._beginning = directory / "beginning"
        shutil.copytree(self.settings.vault_dir, self._beginning)
        self.strace_log = directory / "strace"
        self.sent: list[str] = []
        refresh = self.authority._refresh

        def watched(token: str) -> str:
            self.sent.append(token)
            return refresh(token)

        self.authority._refresh = watched  # type: ignore[method-assign]
        self.made: Counter[str] = Counter()
        over_quota = self.state.over_quota

        def counted(kind: str, key: str, limit: int) -> bool:
            self.made[key] += 1
            return over_quota(kind, key, limit)

        self.state.over_quota = counted  # type: ignore[method-assign]
        self._calls = [self._list(client.company.cif) for client in CLIENTS]
        self._calls += [
            (f"descarcare?id={message.id}", message.cif)
            for message in list(self.state.messages.values())[:4]
        ]

    @staticmethod
    def _list(cif: str) -> tuple[str, str]:
        now = datetime.now(UTC)
        start, end = now - timedelta(days=59), now - timedelta(minutes=5)
        times = (int(moment.timestamp() * 1000) for moment in (start, end))
        query = "startTime={}&endTime={}&cif={}&pagina=1".format(*times, cif)
        return f"listaMesajePaginatieFactura?{query}", cif

    def begin_again(self) -> None:
        shutil.rmtree(self.settings.vault_dir)
        shutil.copytree(self._beginning, self.settings.vault_dir)
        self.authority._used.clear()
        self.sent.clear()
        self.made.clear()
        self.state.forget_counters()
        self.installation.log_file("vault").write_bytes(b"")
        self.strace_log.write_bytes(b"")

    def strike(self, fault: Fault) -> bool:
        """Make the calls with this fault, then as always; return whether it happened."""
        self.begin_again()
        process = self.installation.start("vault", under=fault.strace(self.strace_log))
        self.call_all(patience=5)
        code = self.installation.end("vault")
        happened = code == -signal.SIGKILL if fault.kills else struck(self.strace_log)
        assert happened or process.returncode == 0
        # As if the minute had passed that the vault leaves ANAF alone after trouble.
        with closing(sqlite3.connect(self.settings.vault_dir / "vault.db")) as rows, rows:
            rows.execute("UPDATE spv_grant SET retry_after = NULL")
        self.installation.start("vault")
        assert self.call_all(patience=30), self.installation.log("vault")
        assert self.installation.end("vault") == 0
        self.check()
        return happened

    def call_all(self, *, patience: float) -> bool:
        """Make every call until each is answered; False when the vault is gone or refuses."""
        process = self.installation._running["vault"]
        deadline = time.monotonic() + patience
        transport = httpx.HTTPTransport(uds=str(self.settings.spv_socket))
        with httpx.Client(transport=transport, base_url="http://vault", timeout=10) as vault:
            remaining = list(self._calls)
            while remaining:
                url, cif = remaining[0]
                try:
                    answer = vault.get(f"/prod/FCTEL/rest/{url}", headers={"Arhivar-Cif": cif})
                except httpx.TransportError:
                    if process.poll() is not None:
                        return False
                else:
                    if answer.status_code == 200:
                        remaining.pop(0)
                        continue
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
        return True

    def check(self) -> None:
        """I-7, the chain, and no more calls made than were counted."""
        directory = self.settings.vault_dir
        sent = [token for token in self.sent if self.sent.count(token) > 1]
        assert sent == [], "a refresh token was used twice"
        with closing(
            Database(directory, keys.load(self.settings.vault_key_file), at=datetime.now(UTC))
        ) as database:
            assert database.audit_breaks() == []
            rows = database.durable.execute("SELECT state, refused_at FROM spv_grant").fetchall()
            assert rows == [("active", None)]
            assert database.durable.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            counted = dict(
                database.durable.execute("SELECT object, SUM(used) FROM quota GROUP BY 1")
            )
        for about, made in self.made.items():
            assert counted.get(about, 0) >= made, f"{about}: ANAF has counted more than we"
        left = [path.name for path in directory.iterdir() if path.suffix in (".tmp", ".journal")]
        assert left == []


@pytest.fixture(scope="module")
def renewal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renewal]:
    with running_simulator(invoices=5) as simulator, pytest.MonkeyPatch.context() as patch:
        patch.setattr(oauth, "ACCESS", timedelta(seconds=2))
        made = Renewal(tmp_path_factory.mktemp("vault"), simulator)
        patch.undo()
        end = time.time() + 2
        until("the token is over", lambda: time.time() > end)
        yield made
        made.installation.close()


@pytest.fixture(scope="module")
def calls(renewal: Renewal) -> dict[str, int]:
    """How often a thread makes each call when nothing disturbs it."""
    renewal.begin_again()
    renewal.installation.start("vault", under=trace(renewal.strace_log, CALLS))
    assert renewal.call_all(patience=30)
    assert renewal.installation.end("vault") == 0
    assert len(renewal.sent) == 1
    renewal.check()
    return most_by_one_thread(renewal.strace_log)


@pytest.mark.parametrize("effect", ["signal=SIGKILL", "error=ENOSPC", "error=EIO"])
@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("fsync", None),
        ("fdatasync", None),
        ("rename", None),
        ("unlink", None),
        ("pwrite64", 24),
    ],
)
def test_no_renewed_token_is_lost_and_no_call_goes_uncounted(
    renewal: Renewal,
    calls: dict[str, int],
    effect: str,
    call: str,
    wanted: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exhaustive = wanted is None or ALL
    happened = 0
    wrong = []
    for number in count(1) if exhaustive else sample(calls[call], wanted or 1):
        try:
            if not renewal.strike(Fault(call, effect, number)):
                break
            happened += 1
        except AssertionError as error:
            happened += 1
            wrong.append(f"{effect} at {call} {number}: {error}")
            if "vault" in renewal.installation._running:
                renewal.installation.end("vault", signal.SIGKILL)
    recovered = happened - len(wrong)
    with capsys.disabled():
        print(f"\nvault, {effect} at {call}: {happened} faults, {recovered} recovered", flush=True)
    assert not wrong, "\n".join(wrong)
    assert happened > 0

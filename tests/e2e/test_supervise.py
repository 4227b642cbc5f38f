"""The supervisor killed: its children end, and nothing is left behind that a next start meets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.demo import PROCESSES, Demo, until


def everything(demo: Demo) -> set[int]:
    """Each process that has this demo's configuration, helpers of helpers included."""
    marker = f"ARHIVAR_CONFIG={demo.data.resolve() / 'arhivar.toml'}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def test_when_the_supervisor_is_killed_its_children_end_and_the_demo_starts_again(
    tmp_path: Path,
) -> None:
    demo = Demo(tmp_path / "data", invoices=4)
    try:
        demo.start()
        assert all(len(demo.pids(name)) == 1 for name in PROCESSES)

        demo.kill_supervisor()

        until("no process of the demo is left", lambda: not everything(demo), 60)
        for name in ("web", "dav", "sync", "vault"):
            assert "Traceback" not in demo.log(name), demo.log(name)
        demo.start()
        demo.settled()
        assert demo.arhivar("check", "--deep").stdout == "rows and files agree\n"
        assert demo.stop() == 0
    finally:
        for pid in everything(demo):
            os.kill(pid, signal.SIGKILL)
        demo.kill_everything()


@pytest.mark.parametrize("process", [("web",), ("simulator", "--port", "1")])
def test_a_child_whose_supervisor_ended_before_it_could_ask_does_not_begin(
    process: tuple[str, ...], tmp_path: Path
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    done = subprocess.run(
        [sys.executable, "-m", "appliance", *process],
        cwd=ROOT,
        env={
            **os.environ,
            "ARHIVAR_SUPERVISOR": str(gone.pid),
            "ARHIVAR_DATA_DIR": str(tmp_path),
            "ARHIVAR_SINGLE_USER": "true",
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "the supervisor has ended\n"

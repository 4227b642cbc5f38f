"""docs/simulator.md is true: each of its commands is run, each of its answers compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from appliance.simulator.faults import FAULTS
from appliance.simulator.rules import KEYS
from tests.conftest import ROOT
from tests.support.demo import free_port

PAGE = ROOT / "docs" / "simulator.md"
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(port: int) -> list[tuple[str, str]]:
    """The page's commands in order, each with the answer that the page promises, `''` for none."""
    found = _BLOCK.findall(PAGE.read_text(encoding="utf-8").replace("8082", str(port)))
    return [
        (text, answer if kind == "text" else "")
        for (this, text), (kind, answer) in pairwise([*found, ("", "")])
        if this == "sh"
    ]


def promised(answer: str) -> re.Pattern[str]:
    """`…` may be anything, the end of a line included."""
    return re.compile(re.escape(answer).replace("…", ".*?"), re.DOTALL)


def test_every_command_of_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    pairs = blocks(free_port())
    assert len(pairs) > 10
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "arhivar"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m appliance "$@"\n')
    command.chmod(0o755)
    script = "set -eu -o pipefail -o monitor\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
    for number, (commands, _) in enumerate(pairs):
        script += f"{{\n{commands}}} > answer.{number}\n"

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    for number, (commands, answer) in enumerate(pairs):
        said = (tmp_path / f"answer.{number}").read_text().replace("\r", "")
        if not promised(answer).fullmatch(said):
            pytest.fail(f"{commands}\nthe page says\n{answer}\nit was\n{said}")


def test_the_page_names_every_path_that_the_simulator_has() -> None:
    page = PAGE.read_text(encoding="utf-8")
    sources = ROOT / "appliance" / "simulator"
    own = re.findall(
        r"^    (?:GET |POST) /simulator(/\w+)?", (sources / "control.py").read_text(), re.MULTILINE
    )
    anafs = re.findall(r'\((?:True|False), "(\w+)"\)', (sources / "app.py").read_text())

    assert len(anafs) == 6
    assert len(own) == 10
    for path in anafs:
        assert f"$API/{path}?" in page, path
    for path in filter(None, own):
        assert f"control {path[1:]} " in page, path


def test_the_page_says_what_each_fault_and_each_condition_is() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, about in [*KEYS.items(), *((kind, fault.about) for kind, fault in FAULTS.items())]:
        assert f"| `{name}` | {about} |" in page, name

"""What is asked of the disk is written once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.disk import fsync_directory
from tests.conftest import ROOT


def test_one_helper_fsyncs_directories_for_every_room() -> None:
    own = re.compile(r"def \w*fsync|O_DIRECTORY[^\n]*\n(?:[^\n]*\n){0,2}[^\n]*os\.fsync")
    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "appliance").rglob("*.py"))
        if own.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["appliance/disk.py"]


def test_the_directory_is_fsynced_and_nothing_is_left_open(tmp_path: Path) -> None:
    log = tmp_path / "calls"
    program = (
        "import sys, pathlib, appliance.disk as d; d.fsync_directory(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run(
        ["strace", "-qq", "-y", "-o", str(log), "-e", "trace=fsync", sys.executable, "-c", program,
         str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    assert re.findall(r"fsync\(\d+<(.*)>\)", log.read_text()) == [str(tmp_path.resolve())]

    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        fsync_directory(tmp_path / "absent")
    fsync_directory(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before

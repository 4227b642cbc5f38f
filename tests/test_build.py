"""What a build makes of a checkout: the whole package, or a sentence."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

BUILT = ("appliance/fonts", "appliance/web/static/vendor")


@pytest.fixture
def clean_clone(tmp_path: Path) -> Path:
    """As much of a fresh checkout as a build reads: nothing in it that git does not have."""
    clone = tmp_path / "clone"
    (clone / "appliance").mkdir(parents=True)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "appliance/__init__.py"):
        shutil.copy(ROOT / name, clone / name)
    return clone


def build(clone: Path, what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "build", f"--{what}", "--no-isolation", "--outdir", "out", "."],
        cwd=clone, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("what", ["wheel", "sdist"])
def test_a_clean_clone_makes_no_package_without_fonts_but_says_what_to_run(
    clean_clone: Path, what: str
) -> None:
    done = build(clean_clone, what)

    assert done.returncode != 0
    assert "must be built first: run `make wheel`" in done.stderr
    assert all(name in done.stderr for name in BUILT)
    assert "Traceback" not in done.stderr
    assert not list(clean_clone.glob("out/arhivar-*"))


def test_one_of_the_two_folders_is_not_enough(clean_clone: Path) -> None:
    (clean_clone / BUILT[0]).mkdir()
    (clean_clone / BUILT[0] / "a.woff2").touch()

    done = build(clean_clone, "wheel")

    assert done.returncode != 0
    assert f"{BUILT[1]} must be built first" in done.stderr
    assert BUILT[0] not in done.stderr


def test_with_both_folders_they_are_in_the_wheel(clean_clone: Path) -> None:
    for name in BUILT:
        (clean_clone / name).mkdir(parents=True)
        (clean_clone / name / "a.woff2").touch()

    assert build(clean_clone, "wheel").returncode == 0

    (wheel,) = clean_clone.glob("out/*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {f"{name}/a.woff2" for name in BUILT} <= set(archive.namelist())

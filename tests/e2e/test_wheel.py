"""The wheel, installed where there is no checkout: everything it needs travels inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.demo import Demo


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `arhivar` command of a fresh environment that knows only the wheel."""
    place = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place),
         str(ROOT), cwd=place)  # fmt: skip
    (wheel,) = place.glob("*.whl")
    _run(sys.executable, "-m", "venv", str(place / "env"), cwd=place)
    pip = [str(place / "env" / "bin" / "python"), "-m", "pip", "install", "--quiet",
           "--disable-pip-version-check"]  # fmt: skip
    _run(*pip, "--require-hashes", "--no-deps", "-r", str(ROOT / "requirements.lock"), cwd=place)
    _run(*pip, "--no-deps", str(wheel), cwd=place)
    return place / "env" / "bin" / "arhivar"


def _run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


def test_the_wheel_runs_the_whole_demo_outside_the_checkout(
    installed: Path, tmp_path: Path
) -> None:
    """Migrations, templates, styles, fonts and translations: the demo uses each of them."""
    demo = Demo(
        tmp_path / "data",
        invoices=8,
        command=[str(installed.parent / "python"), "-m", "appliance"],
        cwd=tmp_path,
    )
    try:
        demo.start()
        demo.settled()
        with demo.drive("elena") as drive:
            assert drive.request("PROPFIND", "/", headers={"Depth": "1"}).status_code == 207
        listed = demo.rclone("ana", "lsf", "-R", ":webdav:").stdout.splitlines()
        assert any(line.endswith(".pdf") for line in listed), listed
        assert demo.stop() == 0
    finally:
        demo.kill_everything()
    for name in ("web", "dav", "sync", "vault"):
        assert "Traceback" not in demo.log(name), demo.log(name)


def test_the_wheel_reads_and_renders_without_a_server(installed: Path, tmp_path: Path) -> None:
    vector = next((ROOT / "tests" / "vectors" / "ubl").glob("*invoice*.xml"))

    inspected = _run(str(installed), "inspect", "--json", str(vector), cwd=tmp_path)
    _run(str(installed), "render", str(vector), "-o", str(tmp_path / "out.pdf"), cwd=tmp_path)

    assert json.loads(inspected.stdout)["type"] == "invoice"
    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")

"""`inspect` and `render` trust the signing certificates that this appliance trusts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from appliance import config
from appliance.config import Settings
from appliance.core import certificates
from appliance.core.errors import BadInput
from appliance.simulator import Simulator
from appliance.store.migrate import migrate
from appliance.store.pinned import pinned_certificates
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def spv() -> Simulator:
    return Simulator(seed=1, invoices=3)


@pytest.fixture
def message(spv: Simulator, tmp_path: Path) -> Path:
    """The zip of one message, as it would be downloaded."""
    path = tmp_path / "6471400001.zip"
    path.write_bytes(spv.state.zip_of(next(iter(spv.state.messages.values()))))
    return path


@pytest.fixture
def certificate(spv: Simulator, tmp_path: Path) -> Path:
    path = tmp_path / "certificates" / "simulator.pem"
    path.parent.mkdir()
    spv.write_certificate(path)
    return path


@pytest.fixture
def configured(certificate: Path, tmp_path: Path) -> Path:
    path = tmp_path / "arhivar.toml"
    settings = replace(Settings(), spv_extra_certificates=certificate.parent)
    path.write_text(config.dump(settings), encoding="utf-8")
    return path


def arhivar(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("ARHIVAR_")}
    return subprocess.run(
        [sys.executable, "-m", "appliance", *map(str, arguments)],
        cwd=ROOT, env={**environment, "LC_ALL": "en_GB.UTF-8"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def inspected(*arguments: str | Path) -> str:
    done = arhivar(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(json.loads(done.stdout)["signature"]["result"])


def printed(*arguments: str | Path, output: Path) -> str:
    done = arhivar(*arguments, "-o", output)
    assert done.returncode == 0, done.stderr
    return subprocess.run(
        ["pdftotext", "-layout", str(output), "-"], capture_output=True, text=True, check=True
    ).stdout


def test_inspect_knows_the_configured_and_the_named_certificate(
    message: Path, certificate: Path, configured: Path
) -> None:
    assert inspected("inspect", "--json", message) == "valid_unknown_certificate"
    assert inspected("--config", configured, "inspect", "--json", message) == "valid"
    assert inspected("inspect", "--certificate", certificate, "--json", message) == "valid"


def test_inspect_knows_what_an_administrator_added_where_the_rows_are_its_own_to_read(
    message: Path, certificate: Path, tmp_path: Path
) -> None:
    here = tmp_path / "arhivar.toml"
    settings = replace(Settings(), data_dir=tmp_path / "data")
    here.write_text(config.dump(settings), encoding="utf-8")
    assert inspected("--config", here, "inspect", "--json", message) == "valid_unknown_certificate"
    migrate(settings)
    assert arhivar("--config", here, "certificate", "add", certificate).returncode == 0

    assert inspected("--config", here, "inspect", "--json", message) == "valid"

    settings.database_path.write_bytes(b"no database")
    assert inspected("--config", here, "inspect", "--json", message) == "valid_unknown_certificate"


def test_render_knows_the_configured_and_the_named_certificate(
    message: Path, certificate: Path, configured: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.pdf"

    assert "certificat necunoscut" in printed("render", message, output=out)
    for known in (
        printed("--config", configured, "render", message, output=out),
        printed("render", "--certificate", certificate, message, output=out),
    ):
        assert "certificat necunoscut" not in known
        assert "Semnătura MF: valabilă" in known


@pytest.mark.parametrize("command", [("inspect",), ("render", "-o", "out.pdf")])
def test_what_is_no_certificate_is_named_in_one_sentence(
    command: tuple[str, ...], message: Path
) -> None:
    done = arhivar(*command, "--certificate", message, message)

    assert done.returncode == 2
    assert f"{message} holds no X.509 certificate" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.pem cannot be read"):
        pinned_certificates(None, [tmp_path / "absent.pem"])


def test_without_configuration_the_shipped_ones_are_trusted(tmp_path: Path) -> None:
    assert pinned_certificates(None) == certificates.PINNED
    assert pinned_certificates(tmp_path / "absent") == certificates.PINNED

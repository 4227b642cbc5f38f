"""The commands of the vault's keys, as a person runs them, and what stands on the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from appliance.vault import paper
from tests.conftest import ROOT


def environ(directory: Path) -> dict[str, str]:
    """Return the environment of one installation below `directory`, as `VaultProcess` has it."""
    return {
        "PATH": os.environ["PATH"],
        "ARHIVAR_CONFIG": os.fspath(directory / "arhivar.toml"),
        "ARHIVAR_DATA_DIR": os.fspath(directory / "data"),
        "ARHIVAR_VAULT_DIR": os.fspath(directory / "vault"),
        "ARHIVAR_VAULT_KEY_FILE": os.fspath(directory / "vault" / "kek"),
        "ARHIVAR_RUN_DIR": os.fspath(directory / "run"),
        "ARHIVAR_WEB_URL": "https://arhivar.example.ro",
        "ARHIVAR_SINGLE_USER": "true",
        "COLUMNS": "100",
    }


def start(
    directory: Path, *arguments: str, extra: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start `arhivar vault …` with pipes for everything."""
    directory.mkdir(exist_ok=True)
    (directory / "arhivar.toml").touch()
    return subprocess.Popen(
        [sys.executable, "-m", "appliance", *arguments],
        cwd=ROOT,
        env={**environ(directory), **(extra or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def arhivar(
    directory: Path, *arguments: str, typed: str = "", language: str = "en_GB.UTF-8"
) -> subprocess.CompletedProcess[str]:
    """Run `arhivar …` to its end; no traceback may reach a person."""
    process = start(directory, *arguments, extra={"LC_ALL": language})
    out, err = process.communicate(typed, timeout=60)
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def groups_of(page: str) -> list[str]:
    """Return the 18 groups that stand on a page."""
    rows = re.findall(r"^ +\d+–\d+ +((?:[0-9A-Z]{4} *){6})$", page, re.MULTILINE)
    groups = " ".join(rows).split()
    assert len(groups) == paper.GROUPS, page
    return groups


def make_page(directory: Path, *options: str) -> list[str]:
    """Run `arhivar vault init --yes` and return the groups of the page."""
    done = arhivar(directory, "vault", "init", "--yes", *options)
    assert done.returncode == 0, done.stderr
    return groups_of(done.stdout)

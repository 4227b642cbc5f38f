"""Fixtures of the vault's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.anaf import Anaf, running_anaf
from tests.support.vault import VaultProcess, World


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="arh-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def anaf() -> AsyncIterator[Anaf]:
    async with running_anaf() as server:
        yield server


@pytest.fixture
async def vault(short: Path, anaf: Anaf) -> AsyncIterator[VaultProcess]:
    process = VaultProcess(short, anaf.url)
    await process.start()
    yield process
    await process.close()


@pytest.fixture
async def world(tmp_path: Path, anaf: Anaf) -> AsyncIterator[World]:
    world = World(tmp_path, anaf)
    yield world
    await world.http.aclose()


@pytest.fixture
def credstore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory like /etc/credstore.encrypted, with a host key of its own (systemd-creds(1))."""
    if shutil.which("systemd-creds") is None or os.geteuid() != 0:
        pytest.skip("needs systemd-creds and root")
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", os.fspath(tmp_path / "credential.secret"))
    done = subprocess.run(["systemd-creds", "setup"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("systemd-creds does not work here")
    directory = tmp_path / "credstore.encrypted"
    directory.mkdir(mode=0o700)
    return directory

"""The store's fixtures, a desk, and a folder of an earlier tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.desk import *  # noqa: F403
from tests.support.store import *  # noqa: F403


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "Facturi vechi"
    made.mkdir()
    return made

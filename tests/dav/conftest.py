"""One drive for a whole module of tests: a store with people of every role, served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.dav import World, make_world, served


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with served(make_world(tmp_path_factory.mktemp("drive"))) as running:
        yield running

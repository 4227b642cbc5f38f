"""The store's own fixtures."""

from __future__ import annotations

from tests.support.store import *  # noqa: F403

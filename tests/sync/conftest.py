"""The store's fixtures, and a desk."""

from __future__ import annotations

from tests.support.desk import *  # noqa: F403
from tests.support.store import *  # noqa: F403

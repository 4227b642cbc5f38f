"""The portal's tests share its store, its people and its browsers."""

from tests.support.store import settings, store, world
from tests.support.web import site

__all__ = ["settings", "site", "store", "world"]

"""The three calls of ASGI as plain dictionaries, for the layers outside the router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Litestar's own types of the same three calls are narrower, in both directions.
App = Callable[[Any, Any, Any], Awaitable[None]]

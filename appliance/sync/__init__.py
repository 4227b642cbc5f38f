"""Fetching, filing and rendering: the only writer of the archive."""

from __future__ import annotations

from appliance.config import Settings

__all__ = ["serve"]


def serve(settings: Settings) -> None:
    """Run the service until it is told to stop."""
    # `arhivar inspect` and `render` need neither database nor queue.
    from appliance.sync.service import serve as run

    run(settings)

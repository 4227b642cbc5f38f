"""Fetching, filing and rendering: the only writer of the archive."""

from appliance.sync.service import serve

__all__ = ["serve"]

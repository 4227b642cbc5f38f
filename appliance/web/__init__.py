"""The portal: what clients and accountants see in a browser."""

from __future__ import annotations

from appliance.web.app import create_app
from appliance.web.server import serve

__all__ = ["create_app", "serve"]

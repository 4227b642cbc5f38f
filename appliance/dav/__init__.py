"""The drive: the archive as a tree of folders over WebDAV, where moving a folder is an action."""

from appliance.dav.server import create_app, serve

__all__ = ["create_app", "serve"]

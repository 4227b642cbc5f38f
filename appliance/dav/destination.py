"""What the `Destination` header names (RFC 4918 §10.3), read by us alone.

The path is cut off the raw header and each of its names decoded once, so that
a `;`, `?` or `#` in a name, encoded or not, never shortens it into the name of
something else.
"""

from __future__ import annotations

import re

from appliance.core import tree

_ABSOLUTE = re.compile(rb"https?://([^/]*)(/.*)?\Z", re.IGNORECASE | re.DOTALL)


def parse(value: bytes, hosts: frozenset[str]) -> tuple[str, ...] | None:
    """Return the names of the path, or None when it can be no place of ours.

    Accepted are an absolute path and an absolute URL of any scheme and port
    whose host is one of `hosts` (lower case, without port): a proxy in front
    may well speak another scheme than we do.
    """
    path = value
    if not value.startswith(b"/"):
        match = _ABSOLUTE.match(value)
        if match is None or host_of(match[1]) not in hosts:
            return None
        path = match[2] or b"/"
    elif value.startswith(b"//"):
        return None  # a host in disguise (RFC 3986 §4.2)
    return tree.split(path)


def host_of(authority: bytes) -> str:
    """Return the host of `user@host:port`, in lower case, brackets of IPv6 kept."""
    host = authority.rpartition(b"@")[2]
    host = host.partition(b"]")[0] + b"]" if host.startswith(b"[") else host.partition(b":")[0]
    return host.decode("latin-1").lower()

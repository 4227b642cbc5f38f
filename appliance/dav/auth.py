"""Who is at the other end: HTTP Basic with a device's own password, and nothing else.

A session cookie is never looked at, the account's password is never accepted.
Credentials travel only where nobody can listen: over TLS (the drive's address
begins with https, so a proxy in front ends TLS) or on the machine itself.
They are checked at every request, before a byte of its body is read.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress


def credentials(header: bytes | None) -> tuple[str, str] | None:
    """Return user name and password of an `Authorization` header, or None for anything else.

    Windows sends a name with diacritics in its own code page; such bytes are
    read as Latin-1, which finds no account but breaks nothing either.
    """
    if header is None:
        return None
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        pair = base64.b64decode(token.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        text = pair.decode("utf-8")
    except UnicodeDecodeError:
        text = pair.decode("latin-1")
    user, colon, password = text.partition(":")
    if not colon or not user or not password or "\0" in text:
        return None
    return user, password


def is_private(address: str, scheme: str, *, public_scheme: str) -> bool:
    """Tell whether a password may travel on this connection.

    `address` and `scheme` are those of the socket; `public_scheme` is the one
    that people type, as configured.
    """
    if "https" in (scheme, public_scheme):
        return True
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return address == ""  # a unix socket

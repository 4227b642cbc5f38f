"""The identifiers that appear in paths, addresses and manifests."""

from __future__ import annotations

import secrets
from datetime import datetime

# Crockford's alphabet in lower case: no i, l, o, u, and text order is value order.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
UID_LENGTH = 26


def new_uid(at: datetime) -> str:
    """Return 128 bits as 26 characters: 48 of milliseconds since 1970, then 80 random ones.

    Later moments sort after earlier ones; within one millisecond the order is
    random. Nobody can guess one from another.
    """
    if at.tzinfo is None:
        raise ValueError("a moment needs its zone")
    milliseconds = int(at.timestamp() * 1000) & (2**48 - 1)
    value = milliseconds << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))

"""Who is at the other end: HTTP Basic with a device's own password, and nothing else.

A session cookie is never looked at, the account's password is never accepted.
Credentials travel only where nobody can listen: over TLS (the drive's address
begins with https, so a proxy in front ends TLS) or on the machine itself.
They are checked at every request, before a byte of its body is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import logging
from dataclasses import dataclass
from datetime import datetime

from appliance.core.roles import Viewer
from appliance.core.sentence import Sentence
from appliance.dav.exchange import Answer, error
from appliance.store import drive_passwords, throttle
from appliance.store.drive_passwords import DrivePassword
from appliance.store.engine import data_version

log = logging.getLogger(__name__)

_REMEMBERED = 1000  # visitors


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
    return "https" in (scheme, public_scheme) or is_loopback(address)


def is_loopback(address: str) -> bool:
    """Tell whether the other end is this machine."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return address == ""  # a unix socket


@dataclass(frozen=True)
class Visitor:
    """Who is at the other end, and on which of their devices."""

    viewer: Viewer
    device: DrivePassword


class Visitors:
    """Whom a right password let in, for as long as nobody commits anything to the database.

    Until then asking again could only give the same answer, but for a password
    that expires. Kept by a digest: no password stays in memory for this.
    """

    def __init__(self) -> None:
        self._version = -1
        self._found: dict[bytes, Visitor] = {}

    def clear(self) -> None:
        """Forget everybody; to be called when the store was opened anew."""
        self._found.clear()

    def find(self, header: bytes, at: datetime) -> Visitor | None:
        """Return who is asking, as the database has it now, or None."""
        version = data_version()
        if version != self._version or len(self._found) >= _REMEMBERED:
            self._version = version
            self._found.clear()
        digest = hashlib.sha256(header).digest()
        visitor = self._found.get(digest)
        if visitor is not None and at < visitor.device.expires_at:
            return visitor
        pair = credentials(header)
        found = drive_passwords.viewer_for(*pair, at) if pair is not None else None
        if found is None:
            return None
        self._found[digest] = Visitor(*found)
        return self._found[digest]


async def identify(
    visitors: Visitors, header: bytes | None, address: str, language: str, at: datetime
) -> Visitor | Answer:
    """Return the person, or the answer that turns the request away (401, 429).

    The right password always opens, also from an address that wrong ones came
    from: its 160 bits cannot be guessed, and one forgotten device must not
    shut out the office that it stands in. A request without credentials, which
    is how every client begins, counts for nothing.
    """
    if header is None:
        return _challenge(language)
    visitor = visitors.find(header, at)
    if visitor is not None:
        return visitor
    log.warning("drive: credentials refused, from %s", address)
    subject = neighbourhood(address)
    # Asked first: a client that is blocked already costs no write.
    if throttle.allowed("drive-address", subject, at) and await throttle.count_failure(
        "drive-address", subject, at
    ):
        return _challenge(language)
    refused = error(429, _TOO_OFTEN, language)
    return Answer(429, (*refused.headers, (b"retry-after", b"900")), refused.body)


def neighbourhood(address: str) -> str:
    """Return what failures are counted by: an IPv6 client owns a whole /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "?"
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def _challenge(language: str) -> Answer:
    refused = error(401, _WHO, language)
    return Answer(401, (*refused.headers, CHALLENGE), refused.body)


CHALLENGE = (b"www-authenticate", b'Basic realm="Arhivar", charset="UTF-8"')
_WHO = Sentence(
    "Conectează-te cu adresa ta de e-mail și cu parola de disc primită de la administrator.",
    "connect with your e-mail address and the drive password that the administrator gave you",
)
_TOO_OFTEN = Sentence(
    "Prea multe încercări greșite. Așteaptă 15 minute, apoi verifică parola de disc sau cere alta "
    "administratorului.",
    "too many wrong attempts; wait 15 minutes, then check the drive password or ask the "
    "administrator for another",
)

"""Guessing a password takes longer than a life.

An attempt is counted before it is checked, on every key it belongs to: the
network it comes from, everybody together, and the account, or this browser
when it has logged in to the account before (so that a stranger's guesses do
not lock the person out). The first that refuses ends it, and nothing is written.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime

from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.store import accounts, throttle
from appliance.store.engine import transaction


class TooManyTries(ArhivarError):
    """Too many failures: wait before the next one (429)."""


class Attempt:
    """One try to log in, from its count to its forgiveness."""

    def __init__(self, key: bytes, email: str, address: str, device: str | None) -> None:
        self._shared = [("login-address", address)]
        if device is None:
            # When the whole appliance is under attack, only browsers that were
            # here before get to the slow part.
            self._shared.append(("login-all", ""))
            self._own = ("login", subject_of(key, email))
        else:
            self._own = ("login-device", device)

    async def begin(self, at: datetime) -> None:
        """Count it; raise `TooManyTries`, with nothing written, when it may not be looked at."""
        asked = [*self._shared, self._own]
        # Read first: a flood of refused attempts must not take the writer's turn.
        may = all(throttle.allowed(kind, subject, at) for kind, subject in asked)
        if not may or not await throttle.count_failures(asked, at):
            raise TooManyTries(WRONG)

    async def succeed(self) -> None:
        """Take the count back."""
        async with transaction():
            await throttle.clear(*self._own)
            for kind, subject in self._shared:
                await throttle.forgive(kind, subject)


def subject_of(key: bytes, email: str) -> str:
    """Return what failures at this e-mail address are counted by: one of 65,536 numbers.

    Addresses with and without an account are treated alike, and made-up ones
    can fill no more rows than there are numbers. Which addresses share a number
    depends on the portal's key, so nobody outside can look for one.
    """
    text = b"login\0" + accounts.email_key(email).encode("utf-8", "surrogatepass")
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:4]


# One text for every way to fail: it must not tell which.
WRONG = Sentence(
    "E-mailul sau parola nu se potrivesc, ori au fost prea multe încercări. "
    "Verifică-le sau încearcă peste cinci minute.",
    "the e-mail or the password is wrong, or there were too many tries; "
    "check them or try again in five minutes",
)


def new_device(key: bytes, account_uid: str) -> str:
    """Return the cookie that says: this browser has logged in to this account."""
    nonce = secrets.token_hex(16)
    return f"{account_uid}.{nonce}.{_mac(key, account_uid, nonce)}"


def known_device(key: bytes, cookie: str | None, account_uid: str) -> str | None:
    """Return the device's own name when the cookie is ours and of this account."""
    uid, _, rest = (cookie or "").partition(".")
    nonce, _, mac = rest.partition(".")
    expected = _mac(key, uid, nonce)
    if not hmac.compare_digest(mac.encode("latin-1", "replace"), expected.encode()):
        return None
    return nonce if uid == account_uid else None


def _mac(key: bytes, account_uid: str, nonce: str) -> str:
    text = f"device\0{account_uid}\0{nonce}".encode("utf-8", "surrogateescape")
    return hmac.new(key, text, hashlib.sha256).hexdigest()

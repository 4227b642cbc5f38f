"""Guessing a password takes longer than a life.

An attempt is counted before it is checked, on every key it belongs to: the
account, or this browser when it has logged in to the account before (so that
a stranger's guesses do not lock the person out), the network it comes from,
and everybody together.
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

    def __init__(self, email: str, address: str, device: str | None) -> None:
        key = accounts.email_key(email)
        self._own = ("login-device", device) if device else ("login", key)
        self._address = ("login-address", address)
        self._known = device is not None

    async def begin(self, at: datetime) -> None:
        """Count it; raise `TooManyTries` when it may not even be looked at."""
        async with transaction():
            own = await throttle.count_failure(*self._own, at)
            near = await throttle.count_failure(*self._address, at)
            everybody = await throttle.count_failure("login-all", "", at)
        # When the whole appliance is under attack, only browsers that were here
        # before get to the slow part.
        if not own or not near or not (everybody or self._known):
            raise TooManyTries(WRONG)

    async def succeed(self) -> None:
        """Take the count back."""
        async with transaction():
            await throttle.clear(*self._own)
            await throttle.forgive(*self._address)
            await throttle.forgive("login-all", "")


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

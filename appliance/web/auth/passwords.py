"""Passwords: argon2id, never more than two at once.

Every attempt costs one hash, whether the account exists or not, so neither the
answer nor its time tells which addresses have accounts. Two hashes run at
once, twenty may wait, the rest are asked to come back: fifty parallel log-ins
must not take three gigabytes.
"""

from __future__ import annotations

import asyncio
import itertools
import unicodedata
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from appliance.core.errors import BadInput, Busy
from appliance.core.sentence import Sentence

MIN_LENGTH, MAX_LENGTH = 12, 256
_AT_ONCE, _WAITING = 2, 20


class Passwords:
    """Hashes and checks passwords, sharing one queue per process."""

    def __init__(
        self, *, memory_kib: int = 64 * 1024, time_cost: int = 2, parallelism: int = 1
    ) -> None:
        self._hasher = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism
        )
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._inside = 0
        # What an unknown account is compared with: same cost, nobody's password.
        self._nobody = self._hasher.hash("no account has this password")

    async def hash(self, password: str) -> str:
        """Return the PHC text to store. Raises `Busy` when the queue is full."""
        async with self._slot():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether `password` is the one behind `stored`; `None` never is.

        Does the work of one hash in every case. Raises `Busy` when the queue is full.
        """
        if len(password) > MAX_LENGTH:
            password = ""  # still one hash of work, and never a match
        async with self._slot():
            right = await asyncio.to_thread(self._check, stored or self._nobody, password)
        return right and stored is not None

    def needs_rehash(self, stored: str) -> bool:
        """Tell whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _check(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._inside >= _AT_ONCE + _WAITING:
            raise Busy(
                Sentence(
                    "Prea multe autentificări în același timp. Încearcă din nou peste "
                    "câteva secunde.",
                    "too many people are logging in at once; try again in a few seconds",
                )
            )
        self._inside += 1
        try:
            async with self._slots:
                yield
        finally:
            self._inside -= 1


def check_new_password(password: str, *, about: Iterable[str]) -> None:
    """Refuse a password that guessing would find first; raises `BadInput` with the reason.

    Length counts, composition does not. `about` are the words that anybody
    knows of the person: name, e-mail, firm.
    """
    if len(password) < MIN_LENGTH:
        raise BadInput(
            Sentence(
                f"Parola este prea scurtă: alege cel puțin {MIN_LENGTH} caractere.",
                f"the password is too short: choose at least {MIN_LENGTH} characters",
            )
        )
    if len(password) > MAX_LENGTH:
        raise BadInput(
            Sentence(
                f"Parola este prea lungă: cel mult {MAX_LENGTH} de caractere.",
                f"the password is too long: at most {MAX_LENGTH} characters",
            )
        )
    plain = _plain(password)
    rest = plain
    for word in sorted(_words(about), key=len, reverse=True):
        rest = rest.replace(word, "")
    if len(set(plain)) < 5 or len(set(rest)) < 5 or _is_a_run(plain):
        raise BadInput(
            Sentence(
                "Parola se ghicește ușor. Alege, de exemplu, patru cuvinte fără "
                "legătură între ele.",
                "the password is easy to guess; four unrelated words make a good one",
            )
        )


_WORDS = ("arhivar", "parola", "password", "qwertyuiop", "asdfghjkl", "zxcvbnm", "contabil")


def _words(about: Iterable[str]) -> set[str]:
    words = set(_WORDS)
    for text in about:
        split = "".join(c if c.isalnum() else " " for c in _plain(text)).split()
        words |= {word for word in split if len(word) > 2}
    return words


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _is_a_run(text: str) -> bool:
    steps = {ord(b) - ord(a) for a, b in itertools.pairwise(text)}
    return len(steps - {-9, 9}) <= 1

"""The recovery key as people keep it: 18 groups of four signs on a page in the safe.

    signs     Crockford's base 32: 0123456789ABCDEFGHJKMNPQRSTVWXYZ, no I L O U;
              read without regard to case, O as 0, I and L as 1
    bits      the key (256) || the first 14 bits of SHA-256("vault/v1/paper" || key)
    group n   three signs of five bits, and a check sign: (((n·x + a)·x + b)·x + c)·x
              in GF(32) with x⁵ + x² + 1, n from 1

The check sign of a group shows every wrong sign and every two that changed
places; the number in it shows groups that changed places. What three checks in
a row would miss is caught by the 14 bits at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence

GROUPS = 18
KEY_BYTES = 32

_SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {sign: value for value, sign in enumerate(_SIGNS)} | {"O": 0, "I": 1, "L": 1}
_CHECK_BITS = GROUPS * 15 - KEY_BYTES * 8
_ROW = 6


class MisTyped(BadInput):
    """What was typed is no recovery key; `groups` are the numbers of those that are wrong."""

    def __init__(self, groups: tuple[int, ...], sentence: Sentence) -> None:
        super().__init__(sentence)
        self.groups = groups


def write(key: bytes) -> list[str]:
    """Return the 18 groups of a key of 32 bytes."""
    bits = int.from_bytes(key, "big") << _CHECK_BITS | _check(key)
    groups = []
    for number in range(1, GROUPS + 1):
        part = bits >> (GROUPS - number) * 15 & 0x7FFF
        values = [part >> 10, part >> 5 & 31, part & 31]
        groups.append("".join(_SIGNS[value] for value in (*values, _sign(number, values))))
    return groups


def read(typed: str) -> bytes:
    """Return the key of the groups that a person typed, in whatever rows and with any dashes.

    Raises `MisTyped`, which names the first wrong group, before anything is tried with the key.
    """
    groups = split(typed)
    wrong = tuple(wrong_groups(groups))
    if wrong:
        first = wrong[0]
        raise MisTyped(wrong, wrong_group(first, groups[first - 1]))
    if len(groups) != GROUPS:
        raise MisTyped(
            (),
            Sentence(
                f"Cheia de pe foaie are {GROUPS} grupuri, aici sunt {len(groups)}; scrie-le pe "
                "toate, în ordine.",
                f"the key on the page has {GROUPS} groups, here are {len(groups)}; "
                "type all of them, in order",
            ),
        )
    bits = 0
    for group in groups:
        for sign in group[:3]:
            bits = bits << 5 | _VALUES[sign]
    key = (bits >> _CHECK_BITS).to_bytes(KEY_BYTES, "big")
    if bits & (1 << _CHECK_BITS) - 1 != _check(key):
        raise MisTyped(
            (),
            Sentence(
                "Cheia scrisă nu este cea de pe foaie, deși fiecare grup arată bine; "
                "compară-le pe toate încă o dată.",
                "what was typed is not the key of the page although each group looks right; "
                "compare all of them once more",
            ),
        )
    return key


def split(typed: str) -> list[str]:
    """Return what was typed in groups of four signs, whatever stood between them."""
    signs = [sign for sign in typed.upper() if not sign.isspace() and sign not in "-–—.:·"]
    return ["".join(signs[start : start + 4]) for start in range(0, len(signs), 4)]


def same(group: str, typed: str) -> bool:
    """Tell whether what was typed is the group."""
    values = [_VALUES.get(sign) for sign in "".join(split(typed))]
    return values == [_VALUES[sign] for sign in group]


def wrong_groups(groups: Iterable[str], first: int = 1) -> list[int]:
    """Return the numbers of the groups that are not right by themselves; `first` starts them."""
    return [
        number
        for number, group in enumerate(groups, first)
        if number > GROUPS
        or len(group) != 4
        or any(sign not in _VALUES for sign in group)
        or _sign(number, [_VALUES[sign] for sign in group[:3]]) != _VALUES[group[3]]
    ]


def wrong_group(number: int, typed: str) -> Sentence:
    if number > GROUPS:
        return Sentence(
            f"Pe foaie sunt {GROUPS} grupuri, „{typed}” este în plus; scrie din nou, fără el.",
            f"the page has {GROUPS} groups, “{typed}” is one too many; type again, without it",
        )
    return Sentence(
        f"Grupul {number} („{typed}”) nu este cel de pe foaie; compară-l semn cu semn și scrie "
        "din nou, de la el încolo.",
        f"group {number} (“{typed}”) is not the one on the page; compare it sign by sign and "
        "type again from there on",
    )


@dataclass(frozen=True)
class Page:
    """The page for the safe: at most 60 lines of 80 columns."""

    key: bytes
    fingerprint: str
    installation: str  # 32 hex digits
    address: str
    made_at: datetime

    @property
    def last_group(self) -> str:
        return write(self.key)[-1]

    def text(self, language: str) -> str:
        groups = write(self.key)
        rows = [
            f"    {start + 1:>2}–{start + _ROW:<2}    " + "   ".join(groups[start : start + _ROW])
            for start in range(0, GROUPS, _ROW)
        ]
        words = _RO if language == "ro" else _EN
        return words.format(
            rows="\n\n".join(rows),
            address=self.address[:60],
            installation=self.installation,
            date=self.made_at.strftime("%d.%m.%Y" if language == "ro" else "%Y-%m-%d"),
            fingerprint=self.fingerprint,
            rule="=" * 76,
        )


_RO = """\
{rule}
ARHIVAR – CHEIA DE RECUPERARE A SEIFULUI                    pentru seiful firmei
{rule}

    Instalarea    {address}
                  {installation}
    Făcută la     {date}
    Amprenta      {fingerprint}

{rows}

    Semnele sunt cifre și litere mari; literele I, L, O și U nu apar.

CE DESCHIDE
    Împreună cu o copie de siguranță a seifului (vault.db, shred.db și
    recovery.json), cheia redeschide toate legăturile cu SPV pe o mașină nouă,
    fără ca vreun titular de certificat să le autorizeze din nou.
    Fără copia de siguranță nu deschide nimic.

CUM SE FOLOSEȘTE
    1. Instalează Arhivar pe mașina nouă; seiful rămâne oprit.
    2. Pune la loc directorul seifului din copia de siguranță.
    3. Rulează:  arhivar vault recover
    4. Scrie grupurile de mai sus; o greșeală este arătată pe loc.

CUM SE PĂSTREAZĂ
    Tipărește foaia sau copiaz-o de mână și pune-o în seiful firmei.
    Nu o păstra pe server, nu o fotografia, nu o trimite prin e-mail.
    Cine are foaia și o copie de siguranță intră în căsuțele SPV ale clienților.
    Dacă s-a pierdut:  arhivar vault init --replace, apoi  arhivar vault rotate
{rule}
"""

_EN = """\
{rule}
ARHIVAR – RECOVERY KEY OF THE VAULT                     for the firm's safe
{rule}

    Installation  {address}
                  {installation}
    Made on       {date}
    Fingerprint   {fingerprint}

{rows}

    The signs are digits and capital letters; I, L, O and U do not occur.

WHAT IT OPENS
    Together with a backup of the vault (vault.db, shred.db and recovery.json)
    the key opens all connections to SPV again on a new machine, and no holder
    of a certificate has to authorise anew.
    Without the backup it opens nothing.

HOW TO USE IT
    1. Install Arhivar on the new machine; leave the vault stopped.
    2. Put the vault's directory back from the backup.
    3. Run:  arhivar vault recover
    4. Type the groups above; a typing error is shown at once.

HOW TO KEEP IT
    Print this page or copy it by hand, and put it into the firm's safe.
    Do not keep it on the server, do not photograph it, do not mail it.
    Who holds it and a backup gets into the clients' SPV mailboxes.
    If it is lost:  arhivar vault init --replace, then  arhivar vault rotate
{rule}
"""


def _check(key: bytes) -> int:
    digest = hashlib.sha256(b"vault/v1/paper" + key).digest()
    return int.from_bytes(digest[:2], "big") >> 16 - _CHECK_BITS


def _sign(number: int, values: Iterable[int]) -> int:
    sign = _times_x(number)
    for value in values:
        sign = _times_x(sign ^ value)
    return sign


def _times_x(value: int) -> int:
    value <<= 1
    return value ^ 0b100101 if value & 32 else value

"""recovery.json: every key-encryption key, sealed to a key that lies on paper in a safe.

    {"format": 1, "installation": hex(16), "made_at": time,
     "public": base64(ML-KEM-768 public key (1184) || X25519 public key (32)),
     "keys": [{"generation": N, "key_id": hex(4), "sealed": base64, "mac": hex(32)}, …]}

    paper key     32 random bytes (paper.py)
    private key   X25519:     HKDF-SHA256(paper key, no salt, "vault/v1/recovery/x25519"), 32 bytes
                  ML-KEM-768: HKDF-SHA256(paper key, no salt, "vault/v1/recovery/ml-kem-768"),
                  64 bytes, the seed of FIPS 203
    sealed        HPKE (RFC 9180) single shot of the KEK: KEM MLKEM768_X25519, HKDF-SHA256,
                  AES-256-GCM; info = "vault/v1/recovery" || installation || generation(4) || key id
    mac           HMAC-SHA256(KEK, "vault/v1/recovery" || installation || generation(4) ||
                  SHA-256(public) || sealed)
    fingerprint   the first 8 bytes of SHA-256(public), in hex

Whoever writes into the file or beside it does not hold the KEKs, so he cannot
make the next one be sealed to himself: the public half counts only when each
key we hold has its entry and its mac is right, and when the vault's audit chain
names its fingerprint as the last one made, so that the page that was replaced
does not come back with an older file. The file needs no secrecy; without the
paper it opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.disk import fsync_directory
from appliance.vault.envelope import key_id
from appliance.vault.errors import RecoveryRefused

NAME = "recovery.json"
UNFINISHED = ".recovery-"

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_CONTEXT = b"vault/v1/recovery"
_ML_KEM = 1184
_PUBLIC = _ML_KEM + 32
_MAX_FILE = 1_000_000


@dataclass(frozen=True)
class SealedKey:
    """One KEK, for the paper's eyes; `mac` was made with the KEK itself."""

    generation: int
    key_id: bytes
    sealed: bytes
    mac: bytes


@dataclass(frozen=True)
class Recovery:
    """What recovery.json holds."""

    installation: bytes
    public: bytes
    made_at: datetime
    keys: tuple[SealedKey, ...] = ()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public)

    def vouched_for(self, generation: int, key: bytes) -> bool:
        """Tell whether the holder of this key sealed it to this public half, in this file."""
        return any(
            one.generation == generation
            and one.key_id == key_id(key)
            and hmac.compare_digest(one.mac, self._mac(generation, key, one.sealed))
            for one in self.keys
        )

    def check(self, installation: bytes, held: Mapping[int, bytes], last_page: str) -> None:
        """Return when every key we hold is sealed here, to the page that was made last.

        `last_page` is its fingerprint as the audit chain has it. Raises `RecoveryRefused`.
        """
        if self.installation != installation:
            raise another_installation()
        if self.fingerprint != last_page:
            raise RecoveryRefused(
                Sentence(
                    f"recovery.json este al foii {self.fingerprint}, dar ultima foaie făcută este "
                    f"{last_page or '–'}; pune la loc fișierul potrivit sau fă o foaie nouă cu "
                    "„arhivar vault init --replace”.",
                    f"recovery.json belongs to the page {self.fingerprint}, but the last one made "
                    f"is {last_page or '–'}; put the right file back or make a new page with "
                    "`arhivar vault init --replace`",
                )
            )
        if all(self.vouched_for(generation, key) for generation, key in held.items()):
            return
        raise RecoveryRefused(
            Sentence(
                "recovery.json nu este cel scris de acest seif: cheile de acum nu îl confirmă. "
                "Pune la loc fișierul din copia de siguranță sau fă o foaie nouă cu „arhivar vault "
                "init --replace”.",
                "recovery.json is not the one that this vault wrote: the keys of today do not "
                "confirm it; put the file back from a backup or make a new page with "
                "`arhivar vault init --replace`",
            )
        )

    def with_key(self, generation: int, key: bytes) -> Recovery:
        """Return the same with this key sealed as the generation's."""
        info = _info(self.installation, generation, key_id(key))
        sealed = _SUITE.encrypt(key, _public(self.public), info=info)
        entry = SealedKey(generation, key_id(key), sealed, self._mac(generation, key, sealed))
        others = [one for one in self.keys if one.generation != generation]
        entries = sorted([*others, entry], key=lambda one: one.generation)
        return replace(self, keys=tuple(entries))

    def open(self, paper_key: bytes) -> dict[int, bytes]:
        """Return every KEK by its generation; raises `RecoveryRefused` for another paper."""
        if public_half(paper_key) != self.public:
            raise RecoveryRefused(
                Sentence(
                    "Foaia este a altei chei de recuperare: amprenta ei este "
                    f"{fingerprint(public_half(paper_key))}, aici trebuie {self.fingerprint}.",
                    "the page belongs to another recovery key: its fingerprint is "
                    f"{fingerprint(public_half(paper_key))}, here it must be {self.fingerprint}",
                )
            )
        private = _private(paper_key)
        keys = {}
        for one in self.keys:
            info = _info(self.installation, one.generation, one.key_id)
            try:
                key = _SUITE.decrypt(one.sealed, private, info=info)
            except InvalidTag:
                key = b""
            # The paper alone does not tell who sealed; the mac tells that the key's holder did.
            if len(key) != 32 or not self.vouched_for(one.generation, key):
                raise _damaged()
            keys[one.generation] = key
        return keys

    def _mac(self, generation: int, key: bytes, sealed: bytes) -> bytes:
        told = self.installation + generation.to_bytes(4, "big")
        told += hashlib.sha256(self.public).digest() + sealed
        return hmac.digest(key, _CONTEXT + told, "sha256")


def public_half(paper_key: bytes) -> bytes:
    """Return the public half of the key on paper."""
    ml_kem, x25519 = _halves(paper_key)
    return ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def fingerprint(public: bytes) -> str:
    """Return what page, status and log call a recovery key, as `1a2b 3c4d 5e6f 7081`."""
    text = hashlib.sha256(public).hexdigest()[:16]
    return " ".join(text[start : start + 4] for start in range(0, 16, 4))


def load(directory: Path) -> Recovery | None:
    """Return what the file holds, None when there is none; raises `RecoveryRefused`."""
    try:
        with (directory / NAME).open("rb") as file:
            data = file.read(_MAX_FILE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecoveryRefused(
            Sentence(
                f"{directory / NAME} nu poate fi citit ({error.strerror}); rulează comanda ca root "
                "sau ca utilizatorul seifului.",
                f"{directory / NAME} cannot be read ({error.strerror}); "
                "run the command as root or as the vault's user",
            )
        ) from None
    try:
        value = json.loads(data)
        if value["format"] != 1:
            raise ValueError(value["format"])
        keys = [
            SealedKey(
                int(one["generation"]),
                bytes.fromhex(one["key_id"]),
                base64.b64decode(one["sealed"], validate=True),
                bytes.fromhex(one["mac"]),
            )
            for one in value["keys"]
        ]
        found = Recovery(
            bytes.fromhex(value["installation"]),
            base64.b64decode(value["public"], validate=True),
            from_text(value["made_at"]),
            tuple(keys),
        )
        generations = [one.generation for one in keys]
        if len(found.installation) != 16 or len(set(generations)) != len(keys):
            raise ValueError
        if not all(0 < generation < 10_000 for generation in generations):
            raise ValueError
        _public(found.public)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        raise _damaged() from None
    return found


def save(directory: Path, recovery: Recovery) -> None:
    """Write the file, whole or as it was; on return it has reached the disk."""
    value = {
        "format": 1,
        "installation": recovery.installation.hex(),
        "made_at": to_text(recovery.made_at),
        "public": base64.b64encode(recovery.public).decode(),
        "keys": [
            {
                "generation": one.generation,
                "key_id": one.key_id.hex(),
                "sealed": base64.b64encode(one.sealed).decode(),
                "mac": one.mac.hex(),
            }
            for one in recovery.keys
        ],
    }
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=UNFINISHED)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / NAME)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(directory)


def another_installation() -> RecoveryRefused:
    return RecoveryRefused(
        Sentence(
            "recovery.json și vault.db sunt ale unor instalări diferite; pune la loc amândouă "
            "fișierele din aceeași copie de siguranță.",
            "recovery.json and vault.db belong to different installations; "
            "put both files back from the same backup",
        )
    )


def _damaged() -> RecoveryRefused:
    return RecoveryRefused(
        Sentence(
            "recovery.json este deteriorat; pune la loc fișierul din altă copie de siguranță sau, "
            "dacă seiful mai are cheile, fă o foaie nouă cu „arhivar vault init --replace”.",
            "recovery.json is damaged; put the file back from another backup or, while the vault "
            "has its keys, make a new page with `arhivar vault init --replace`",
        )
    )


def _info(installation: bytes, generation: int, identifier: bytes) -> bytes:
    return _CONTEXT + installation + generation.to_bytes(4, "big") + identifier


def _halves(paper_key: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    def derive(length: int, name: bytes) -> bytes:
        return HKDF(SHA256(), length, None, _CONTEXT + b"/" + name).derive(paper_key)

    return (
        MLKEM768PrivateKey.from_seed_bytes(derive(64, b"ml-kem-768")),
        X25519PrivateKey.from_private_bytes(derive(32, b"x25519")),
    )


def _private(paper_key: bytes) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(*_halves(paper_key))


def _public(raw: bytes) -> MLKEM768X25519PublicKey:
    if len(raw) != _PUBLIC:
        raise ValueError("a public half has 1,216 bytes")
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_ML_KEM]),
        X25519PublicKey.from_public_bytes(raw[_ML_KEM:]),
    )

"""The sealed form of one secret, format VLT version 1.

    offset len  field
    0      4    magic "VLT" 0x01
    4      1    suite 0x01 = HKDF-SHA256 and AES-256-GCM-SIV, nonces of 12 bytes, tags of 16
    5      4    key id = HMAC-SHA256(KEK, "vault/v1/key-id")[:4]
    9      16   subject: the grant's UUID; the installation's for the application's secret
    25     1    purpose: 1 token set · 2 OAuth client secret · 3 pending authorisation ·
                4 TOTP seed · 5 mailbox password · 6 previous token set
    26     8    version, big endian = the version of the row
    34     12   nonce of the wrapped key
    46     48   wrapped key: the record's own data key (DEK, 32 bytes) and its tag
    94     12   nonce of the body
    106    n    body: the padded secret, n a multiple of 512 and at least 512
    106+n  16   tag of the body

    wrapping key  = HKDF-SHA256(ikm = KEK, salt = the subject's shred salt (32 bytes),
                    info = "vault/v1/wrap" || installation(16) || subject || purpose), 32 bytes
    AAD of wrap   = bytes[0:34] || installation
    AAD of body   = "vault/v1/body" || installation || subject || purpose || version
    padded secret = length(4, big endian) || secret || zeros

Every record has its own DEK, so a new KEK rewrites the 64 bytes of key id and
wrapped key and never touches a body. The shred salt lives in another file:
without it no copy of the record opens, an old backup's included.

A reader says what it wants (installation, subject, purpose, version). The
header is rebuilt from that and compared whole before anything is decrypted;
only the key id is taken from the record, because it chooses among the keys we
hold. Lengths are checked first. GCM-SIV, because a machine restored from a
snapshot may repeat its random numbers, and then only equality shows. Whatever
does not fit is `SealBroken`, without a reason. The vectors in
tests/vectors/envelope are the contract for a second implementation.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.vault.errors import SealBroken

MAX_SECRET = 65_536

_MAGIC = b"VLT\x01\x01"
_HEADER = 34
_WRAP_NONCE = slice(34, 46)
_WRAPPED = slice(46, 94)
_BODY_NONCE = slice(94, 106)
_BODY = 106
_TAG = 16
_BLOCK = 512


class Purpose(IntEnum):
    TOKENS = 1
    CLIENT_SECRET = 2
    AUTHORISATION = 3
    TOTP_SEED = 4
    MAILBOX_PASSWORD = 5
    PREVIOUS_TOKENS = 6


@dataclass(frozen=True)
class Label:
    """What a record is, known to whoever asks for it and never read from the record."""

    installation: bytes
    subject: bytes
    purpose: Purpose
    version: int

    def __post_init__(self) -> None:
        if len(self.installation) != 16 or len(self.subject) != 16 or not 0 < self.version < 2**63:
            raise ValueError("a label has two ids of 16 bytes and a version from 1")

    @property
    def identity(self) -> bytes:
        return self.subject + bytes([self.purpose]) + self.version.to_bytes(8, "big")


class Keyring:
    """The key-encryption keys we hold; the newest seals, all of them open."""

    __slots__ = ("__keys", "newest")

    def __init__(self, generations: Mapping[int, bytes]) -> None:
        if not generations or any(len(key) != 32 for key in generations.values()):
            raise ValueError("a keyring needs at least one key of 32 bytes")
        self.__keys = {key_id(key): key for _, key in sorted(generations.items())}
        if len(self.__keys) != len(generations):
            raise ValueError("two generations are the same key")
        self.newest = key_id(generations[max(generations)])

    def __repr__(self) -> str:
        return f"Keyring({', '.join(identifier.hex() for identifier in self.__keys)})"

    def __contains__(self, identifier: object) -> bool:
        return identifier in self.__keys

    @property
    def ids(self) -> tuple[bytes, ...]:
        """The key ids, oldest first."""
        return tuple(self.__keys)

    def wrapping_key(self, identifier: bytes, label: Label, salt: bytes) -> AESGCMSIV:
        """Return the cipher that wraps data keys for this label; `KeyError` for a strange id."""
        info = b"vault/v1/wrap" + label.installation + label.subject + bytes([label.purpose])
        derived = HKDF(SHA256(), 32, salt, info).derive(self.__keys[identifier])
        return AESGCMSIV(derived)


def key_id(kek: bytes) -> bytes:
    """Return the four bytes by which a record names its key."""
    return hmac.digest(kek, b"vault/v1/key-id", "sha256")[:4]


def seal(
    keyring: Keyring,
    label: Label,
    salt: bytes,
    secret: bytes,
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Return the record that only the same label, salt and a held key open.

    Its length tells the secret's length up to the next multiple of 512.
    """
    if len(salt) != 32 or len(secret) > MAX_SECRET:
        raise ValueError("a salt has 32 bytes, a secret at most 65,536")
    header = _MAGIC + keyring.newest + label.identity
    dek, wrap_nonce, body_nonce = random(32), random(12), random(12)
    wrapped = keyring.wrapping_key(keyring.newest, label, salt).encrypt(
        wrap_nonce, dek, header + label.installation
    )
    plain = len(secret).to_bytes(4, "big") + secret
    plain += bytes(-len(plain) % _BLOCK)
    body = AESGCMSIV(dek).encrypt(body_nonce, plain, _body_aad(label))
    return header + wrap_nonce + wrapped + body_nonce + body


def unseal(keyring: Keyring, label: Label, salt: bytes, record: bytes) -> bytes:
    """Return the secret, or raise `SealBroken` for everything that is not exactly this record."""
    dek = _unwrap(keyring, label, salt, record)
    try:
        plain = AESGCMSIV(dek).decrypt(record[_BODY_NONCE], record[_BODY:], _body_aad(label))
    except InvalidTag:
        raise SealBroken from None
    length = int.from_bytes(plain[:4], "big")
    if length + 4 + -(length + 4) % _BLOCK != len(plain) or any(plain[4 + length :]):
        raise SealBroken
    return plain[4 : 4 + length]


def rewrap(
    keyring: Keyring,
    label: Label,
    salt: bytes,
    record: bytes,
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Return the record with its data key under the newest KEK; the body stays as it is."""
    dek = _unwrap(keyring, label, salt, record)
    header = _MAGIC + keyring.newest + label.identity
    nonce = random(12)
    wrapped = keyring.wrapping_key(keyring.newest, label, salt).encrypt(
        nonce, dek, header + label.installation
    )
    return header + nonce + wrapped + record[_BODY_NONCE.start :]


def key_id_of(record: bytes) -> bytes:
    """Return which key a record names, for counting; nothing is verified."""
    return record[5:9]


def _unwrap(keyring: Keyring, label: Label, salt: bytes, record: bytes) -> bytes:
    body = len(record) - _BODY - _TAG
    if body < _BLOCK or body % _BLOCK or body > MAX_SECRET + _BLOCK or len(salt) != 32:
        raise SealBroken
    identifier = key_id_of(record)
    header = _MAGIC + identifier + label.identity
    if identifier not in keyring or not hmac.compare_digest(record[:_HEADER], header):
        raise SealBroken
    try:
        return keyring.wrapping_key(identifier, label, salt).decrypt(
            record[_WRAP_NONCE], record[_WRAPPED], header + label.installation
        )
    except InvalidTag:
        raise SealBroken from None


def _body_aad(label: Label) -> bytes:
    return b"vault/v1/body" + label.installation + label.identity

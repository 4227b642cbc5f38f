"""The record format: vectors, an independent reader, and everything that must not open."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.vault.envelope import Keyring, Label, Purpose, key_id, rewrap, seal, unseal
from appliance.vault.errors import SealBroken

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "envelope" / "vlt1.json").read_text()
)
KEK, OTHER_KEK = b"\x11" * 32, b"\x22" * 32
SALT = b"\x33" * 32
LABEL = Label(b"I" * 16, b"S" * 16, Purpose.TOKENS, 7)
RING = Keyring({1: KEK})


def read_independently(kek: bytes, label: Label, salt: bytes, record: bytes) -> bytes:
    """Open a record with nothing but the docstring of the format, hmac and the cipher."""
    assert record[:5] == b"VLT\x01\x01"
    assert record[5:9] == hmac.digest(kek, b"vault/v1/key-id", "sha256")[:4]
    identity = label.subject + bytes([label.purpose]) + label.version.to_bytes(8, "big")
    assert record[9:34] == identity
    info = b"vault/v1/wrap" + label.installation + label.subject + bytes([label.purpose])
    extracted = hmac.digest(salt, kek, "sha256")
    wrapping = hmac.digest(extracted, info + b"\x01", "sha256")
    dek = AESGCMSIV(wrapping).decrypt(
        record[34:46], record[46:94], record[:34] + label.installation
    )
    plain = AESGCMSIV(dek).decrypt(
        record[94:106], record[106:], b"vault/v1/body" + label.installation + identity
    )
    length = int.from_bytes(plain[:4], "big")
    assert len(plain) % 512 == 0
    return plain[4 : 4 + length]


def label_of(case: dict[str, Any]) -> Label:
    return Label(
        bytes.fromhex(case["installation"]),
        bytes.fromhex(case["subject"]),
        Purpose(case["purpose"]),
        case["version"],
    )


@pytest.mark.parametrize("case", VECTORS["positive"], ids=lambda case: case["name"])
def test_a_positive_vector_is_sealed_and_opened_byte_for_byte(case: dict[str, Any]) -> None:
    ring = Keyring({int(n): bytes.fromhex(k) for n, k in case["keks"].items()})
    label, salt, secret = label_of(case), bytes.fromhex(case["salt"]), bytes.fromhex(case["secret"])
    record = bytes.fromhex(case["record"])
    stream = bytes.fromhex(case["random"])
    position = 0

    def scripted(length: int) -> bytes:
        nonlocal position
        position += length
        return stream[position - length : position]

    assert seal(ring, label, salt, secret, random=scripted) == record
    assert unseal(ring, label, salt, record) == secret
    newest = bytes.fromhex(case["keks"][max(case["keks"], key=int)])
    assert read_independently(newest, label, salt, record) == secret


@pytest.mark.parametrize("case", VECTORS["negative"], ids=lambda case: case["name"])
def test_a_negative_vector_is_refused(case: dict[str, Any]) -> None:
    ring = Keyring({int(n): bytes.fromhex(k) for n, k in case["keks"].items()})
    with pytest.raises(SealBroken):
        unseal(ring, label_of(case), bytes.fromhex(case["salt"]), bytes.fromhex(case["record"]))


def test_every_flipped_bit_is_refused() -> None:
    record = seal(RING, LABEL, SALT, b"token")
    for position in range(len(record) * 8):
        broken = bytearray(record)
        broken[position // 8] ^= 1 << position % 8
        with pytest.raises(SealBroken):
            unseal(RING, LABEL, SALT, bytes(broken))


def test_every_other_length_is_refused() -> None:
    record = seal(RING, LABEL, SALT, b"token")
    for length in range(len(record)):
        with pytest.raises(SealBroken):
            unseal(RING, LABEL, SALT, record[:length])
    for extra in (b"\x00", bytes(16), bytes(512), record):
        with pytest.raises(SealBroken):
            unseal(RING, LABEL, SALT, record + extra)
        with pytest.raises(SealBroken):
            unseal(RING, LABEL, SALT, extra + record)


@pytest.mark.parametrize(
    "label",
    [
        replace(LABEL, installation=b"J" * 16),
        replace(LABEL, subject=b"T" * 16),
        replace(LABEL, purpose=Purpose.PREVIOUS_TOKENS),
        replace(LABEL, version=6),
        replace(LABEL, version=8),
    ],
)
def test_a_record_does_not_open_as_anything_else(label: Label) -> None:
    record = seal(RING, LABEL, SALT, b"token")
    with pytest.raises(SealBroken):
        unseal(RING, label, SALT, record)
    # Nor when the header is rewritten to say what the reader asks for.
    forged = record[:9] + label.identity + record[34:]
    with pytest.raises(SealBroken):
        unseal(RING, label, SALT, forged)


def test_parts_of_two_records_do_not_make_a_third() -> None:
    first, second = (seal(RING, LABEL, SALT, text) for text in (b"one", b"two"))
    for cut in (46, 94, 106):
        with pytest.raises(SealBroken):
            unseal(RING, LABEL, SALT, first[:cut] + second[cut:])


def test_another_key_or_another_salt_opens_nothing() -> None:
    record = seal(RING, LABEL, SALT, b"token")
    forged = record[:5] + key_id(OTHER_KEK) + record[9:]
    for ring, salt, data in (
        (Keyring({1: OTHER_KEK}), SALT, record),
        (Keyring({1: OTHER_KEK}), SALT, forged),
        (Keyring({1: KEK, 2: OTHER_KEK}), SALT, forged),
        (RING, b"\x34" * 32, record),
        (RING, b"", record),
    ):
        with pytest.raises(SealBroken):
            unseal(ring, LABEL, salt, data)


@given(secret=st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_whatever_is_sealed_opens_and_only_its_512_bytes_show(secret: bytes) -> None:
    record = seal(RING, LABEL, SALT, secret)
    assert unseal(RING, LABEL, SALT, record) == secret
    assert len(record) == 122 + -(-(len(secret) + 4) // 512) * 512


@given(data=st.binary(max_size=1400))
@settings(max_examples=300, deadline=None)
def test_noise_is_refused_with_the_one_error(data: bytes) -> None:
    for record in (data, b"VLT\x01\x01" + key_id(KEK) + LABEL.identity + data):
        with pytest.raises(SealBroken):
            unseal(RING, LABEL, SALT, record)


def test_a_rewrapped_record_opens_with_the_new_key_alone_and_keeps_its_body() -> None:
    record = seal(RING, LABEL, SALT, b"token")
    both = Keyring({1: KEK, 2: OTHER_KEK})
    rewrapped = rewrap(both, LABEL, SALT, record)
    assert rewrapped[94:] == record[94:]
    assert unseal(Keyring({2: OTHER_KEK}), LABEL, SALT, rewrapped) == b"token"
    with pytest.raises(SealBroken):
        unseal(RING, LABEL, SALT, rewrapped)
    with pytest.raises(SealBroken):
        rewrap(both, replace(LABEL, version=8), SALT, record)


def test_equal_secrets_look_different_each_time() -> None:
    assert seal(RING, LABEL, SALT, b"x") != seal(RING, LABEL, SALT, b"x")


def test_a_keyring_and_a_broken_seal_show_no_key() -> None:
    shown = repr(RING) + str(SealBroken()) + repr(SealBroken())
    for text in (KEK.hex(), repr(KEK), hashlib.sha256(KEK).hexdigest()):
        assert text not in shown

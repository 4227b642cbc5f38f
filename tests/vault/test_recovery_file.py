"""recovery.json: what the paper opens, and whom the keys are never sealed to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from appliance.vault import recovery
from appliance.vault.envelope import key_id
from appliance.vault.errors import RecoveryRefused
from appliance.vault.recovery import Recovery
from tests.conftest import ROOT

VECTOR = json.loads((ROOT / "tests/vectors/recovery/recovery1.json").read_text())
AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HERE, ELSEWHERE = b"I" * 16, b"J" * 16
PAPER, OTHER_PAPER = b"\x01" * 32, b"\x02" * 32
KEKS = {1: bytes(range(100, 132)), 2: bytes(range(60, 92))}


def made(keks: dict[int, bytes] = KEKS, paper: bytes = PAPER, at: bytes = HERE) -> Recovery:
    made = Recovery(at, recovery.public_half(paper), AT)
    for generation, key in keks.items():
        made = made.with_key(generation, key)
    return made


def hkdf(key: bytes, info: bytes, length: int) -> bytes:
    extracted, block, output = hmac.digest(bytes(32), key, "sha256"), b"", b""
    for counter in range(1, length // 32 + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), "sha256")
        output += block
    return output


def test_the_vector_is_opened_with_nothing_but_the_description() -> None:
    paper, file = bytes.fromhex(VECTOR["paper_key"]), VECTOR["file"]
    private = MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(hkdf(paper, b"vault/v1/recovery/ml-kem-768", 64)),
        X25519PrivateKey.from_private_bytes(hkdf(paper, b"vault/v1/recovery/x25519", 32)),
    )
    public = base64.b64decode(file["public"])
    digest = hashlib.sha256(public).hexdigest()
    assert VECTOR["fingerprint"].replace(" ", "") == digest[:16]
    for one in file["keys"]:
        kek = bytes.fromhex(VECTOR["keks"][str(one["generation"])])
        bound = bytes.fromhex(file["installation"]) + one["generation"].to_bytes(4, "big")
        sealed = base64.b64decode(one["sealed"])
        suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
        info = b"vault/v1/recovery" + bound + bytes.fromhex(one["key_id"])
        assert suite.decrypt(sealed, private, info=info) == kek
        told = b"vault/v1/recovery" + bound + hashlib.sha256(public).digest() + sealed
        assert hmac.digest(kek, told, "sha256").hex() == one["mac"]


def test_the_vector_opens(tmp_path: Path) -> None:
    (tmp_path / recovery.NAME).write_text(json.dumps(VECTOR["file"]))
    loaded = recovery.load(tmp_path)
    assert loaded is not None
    assert loaded.fingerprint == VECTOR["fingerprint"]
    opened = loaded.open(bytes.fromhex(VECTOR["paper_key"]))
    assert {str(number): key.hex() for number, key in opened.items()} == VECTOR["keks"]


def test_what_is_saved_is_loaded_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    assert recovery.load(tmp_path) is None
    recovery.save(tmp_path, made({1: KEKS[1]}))
    recovery.save(tmp_path, made())
    assert [path.name for path in tmp_path.iterdir()] == [recovery.NAME]
    assert stat.S_IMODE((tmp_path / recovery.NAME).stat().st_mode) == 0o600
    loaded = recovery.load(tmp_path)
    assert loaded is not None
    assert loaded.open(PAPER) == KEKS
    loaded.check(HERE, KEKS, loaded.fingerprint)


def test_neither_file_nor_page_holds_a_key_in_clear(tmp_path: Path) -> None:
    recovery.save(tmp_path, made())
    data = (tmp_path / recovery.NAME).read_bytes()
    for secret in (PAPER, *KEKS.values()):
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
            assert form not in data


def test_another_page_is_refused_with_both_fingerprints() -> None:
    with pytest.raises(RecoveryRefused) as caught:
        made().open(OTHER_PAPER)
    for paper in (PAPER, OTHER_PAPER):
        assert recovery.fingerprint(recovery.public_half(paper)) in caught.value.sentence.en


def test_a_sealed_key_opens_as_no_other_generation_and_nowhere_else() -> None:
    here = made()
    first, second = here.keys
    for forged in (
        replace(here, installation=ELSEWHERE),
        replace(here, keys=(replace(first, generation=3), second)),
        replace(here, keys=(replace(first, sealed=second.sealed), second)),
        replace(here, keys=(replace(first, key_id=second.key_id), second)),
        replace(here, keys=(replace(first, mac=second.mac), second)),
    ):
        with pytest.raises(RecoveryRefused):
            forged.open(PAPER)


def test_a_key_sealed_to_our_paper_by_a_stranger_is_not_given_back() -> None:
    # The public half is public: anybody seals to it. Only a KEK's holder makes its mac.
    stranger = made({1: KEKS[2]})
    forged = replace(stranger.keys[0], mac=made().keys[0].mac)
    with pytest.raises(RecoveryRefused):
        replace(stranger, keys=(forged,)).open(PAPER)


def test_a_public_half_that_was_exchanged_is_refused_before_anything_is_sealed_to_it() -> None:
    real = made()
    thief = Recovery(HERE, recovery.public_half(OTHER_PAPER), AT)
    invented = os.urandom(32)
    for forged in (
        replace(real, public=thief.public),
        thief,
        thief.with_key(1, invented),
        replace(thief, keys=real.keys),
        replace(
            thief, keys=(replace(thief.with_key(1, invented).keys[0], key_id=key_id(KEKS[1])),)
        ),
        made(at=ELSEWHERE),
    ):
        with pytest.raises(RecoveryRefused):
            forged.check(HERE, KEKS, real.fingerprint)
        with pytest.raises(RecoveryRefused):
            forged.check(HERE, KEKS, forged.fingerprint)


def test_an_older_file_does_not_take_the_key_after_the_next() -> None:
    # The page was stolen, a new one was made, the key was rotated; somebody puts the old file back.
    with pytest.raises(RecoveryRefused):
        made({1: KEKS[1]}).check(HERE, KEKS, made().fingerprint)


def test_the_page_that_was_replaced_does_not_come_back_with_its_file() -> None:
    with pytest.raises(RecoveryRefused, match="the last one made"):
        made().check(HERE, KEKS, made(paper=OTHER_PAPER).fingerprint)


def test_a_generation_that_was_removed_stays_sealed_and_asks_for_nothing() -> None:
    made().check(HERE, {2: KEKS[2]}, made().fingerprint)


def spoil(value: dict[str, Any], *path: str, by: object) -> bytes:
    copy = json.loads(json.dumps(value))
    place = copy
    for name in path[:-1]:
        place = place[name] if isinstance(place, dict) else place[int(name)]
    place[path[-1]] = by
    return json.dumps(copy).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        spoil(VECTOR["file"], "format", by=2),
        spoil(VECTOR["file"], "installation", by="00"),
        spoil(VECTOR["file"], "public", by="AAAA"),
        spoil(VECTOR["file"], "public", by="!"),
        spoil(VECTOR["file"], "made_at", by="yesterday"),
        spoil(VECTOR["file"], "keys", by=[{}]),
        spoil(VECTOR["file"], "keys", "0", "generation", by=2),
        spoil(VECTOR["file"], "keys", "0", "generation", by=0),
        spoil(VECTOR["file"], "keys", "0", "sealed", by=7),
        spoil(VECTOR["file"], "keys", by=None),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / recovery.NAME).write_bytes(content)
    with pytest.raises(RecoveryRefused, match="damaged"):
        recovery.load(tmp_path)

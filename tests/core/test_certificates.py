"""The pinned certificates are facts about real files."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from appliance.core.certificates import PINNED, from_pem
from appliance.core.errors import BadInput


def test_what_is_pinned_equals_the_six_certificates_of_the_ministry(corpus: Path) -> None:
    files = [
        *(corpus / "TecsiAron__ANAF-API-Client-PHP" / "AcceptedCerts").glob("*.pem"),
        *(corpus / "Optisol-SRL__fuct-sig-checker").rglob("*.cer"),
    ]
    found = {fact.fingerprint: fact for fact in map(from_pem, (f.read_bytes() for f in files))}

    assert len(files) == 9
    assert found == dict(PINNED)


def test_there_was_always_a_certificate_that_was_valid() -> None:
    by_start = sorted(PINNED.values(), key=lambda fact: fact.not_before)
    for earlier, later in pairwise(by_start):
        assert later.not_before < earlier.not_after
        assert later.valid_at(later.not_before)
        assert not later.valid_at(later.not_before - timedelta(seconds=1))
        assert later.valid_at(later.not_after)
        assert not later.valid_at(later.not_after + timedelta(seconds=1))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(BadInput, match="holds no X\\.509 certificate"):
        from_pem(data)


def test_the_list_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(TypeError):
        PINNED["x"] = next(iter(PINNED.values()))  # type: ignore[index]

"""The key on the page: what is typed wrong is told by its group, before anything is tried."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.vault import paper
from appliance.vault.paper import MisTyped, Page
from tests.conftest import ROOT

VECTOR = json.loads((ROOT / "tests/vectors/recovery/recovery1.json").read_text())
KEY = bytes.fromhex(VECTOR["paper_key"])
GROUPS: list[str] = VECTOR["groups"]
SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def times_x(value: int) -> int:
    return (value << 1) ^ (0b100101 if value & 16 else 0)


def test_the_vector_is_read_with_nothing_but_the_description() -> None:
    bits = ""
    for number, group in enumerate(GROUPS, 1):
        a, b, c, check = (SIGNS.index(sign) for sign in group)
        assert times_x(times_x(times_x(times_x(number) ^ a) ^ b) ^ c) == check
        bits += f"{a:05b}{b:05b}{c:05b}"
    assert int(bits[:256], 2).to_bytes(32, "big") == KEY
    assert paper.write(KEY) == GROUPS
    assert paper.read(" ".join(GROUPS)) == KEY


@given(key=st.binary(min_size=32, max_size=32))
@settings(max_examples=200, deadline=None)
def test_whatever_key_is_written_is_read_again(key: bytes) -> None:
    assert paper.read("\n".join(paper.write(key))) == key


def test_case_dashes_rows_and_the_letters_that_look_like_digits_do_not_matter() -> None:
    key = b"\x00" * 31 + b"\x01"
    typed = "-".join(paper.write(key)).lower().replace("0", "o").replace("1", "l")
    assert paper.read(f"  {typed}\n\n") == key


def test_every_wrong_sign_is_told_by_its_group() -> None:
    for position in range(72):
        number, place = position // 4 + 1, position % 4
        for sign in SIGNS:
            if sign == GROUPS[number - 1][place]:
                continue
            wrong = list(GROUPS)
            wrong[number - 1] = wrong[number - 1][:place] + sign + wrong[number - 1][place + 1 :]
            with pytest.raises(MisTyped) as caught:
                paper.read(" ".join(wrong))
            assert caught.value.groups == (number,)


def test_two_signs_that_changed_places_are_told_by_their_group() -> None:
    for number, group in enumerate(GROUPS, 1):
        for place in range(3):
            swapped = group[:place] + group[place + 1] + group[place] + group[place + 2 :]
            if swapped == group:
                continue
            with pytest.raises(MisTyped, match=f"group {number} "):
                paper.read(" ".join([*GROUPS[: number - 1], swapped, *GROUPS[number:]]))


def test_groups_that_changed_places_are_told() -> None:
    for first in range(18):
        for second in range(first):
            moved = list(GROUPS)
            moved[first], moved[second] = moved[second], moved[first]
            with pytest.raises(MisTyped) as caught:
                paper.read("".join(moved))
            assert caught.value.groups == (second + 1, first + 1)


@pytest.mark.parametrize("count", [0, 1, 17])
def test_a_group_that_is_missing_is_told(count: int) -> None:
    with pytest.raises(MisTyped, match=f"here are {count}"):
        paper.read(" ".join(GROUPS[:count]))


def test_a_group_too_many_and_a_strange_letter_are_told() -> None:
    with pytest.raises(MisTyped, match="one too many"):
        paper.read(" ".join([*GROUPS, GROUPS[0]]))
    with pytest.raises(MisTyped, match="group 1 "):
        paper.read("Ș" + " ".join(GROUPS)[1:])


def test_groups_of_another_page_among_ours_are_caught_by_the_last_bits() -> None:
    other = paper.write(os.urandom(32))
    with pytest.raises(MisTyped, match="each group looks right"):
        paper.read(" ".join([*GROUPS[:9], *other[9:17], *GROUPS[17:]]))


@pytest.mark.parametrize("language", ["ro", "en"])
def test_the_page_fits_on_a_page_and_says_what_it_is(language: str) -> None:
    address = "https://a-very-long-name-of-a-portal.example.ro/and-more-than-that/and-more"
    at = datetime(2026, 11, 24, tzinfo=UTC)
    lines = Page(KEY, VECTOR["fingerprint"], "ab" * 16, address, at).text(language).splitlines()

    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for needed in ("arhivar vault recover", VECTOR["fingerprint"], "ab" * 16, address[:40]):
        assert needed in text
    assert [word for word in text.split() if word in GROUPS] == GROUPS
    assert ("24.11.2026" if language == "ro" else "2026-11-24") in text

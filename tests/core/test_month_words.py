"""The words of a month: every gap, Romanian plurals."""

from __future__ import annotations

import pytest

from appliance.core.counts import grouped
from appliance.core.month_words import days_sentence, gap_sentence
from appliance.store.months import GAPS


@pytest.mark.parametrize("kind", [*GAPS, "no_file"])
def test_every_gap_has_a_sentence_for_every_number(kind: str) -> None:
    for number in (0, 1, 2, 19, 20, 21, 100, 101, 119, 120, 1000, 25_000):
        for text in gap_sentence(kind, number):
            assert text.endswith(".")
            assert "{" not in text
            assert "ş" not in text
            assert "ţ" not in text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "Un document așteaptă"),
        (2, "2 documente așteaptă"),
        (19, "19 documente"),
        (20, "20 de documente"),
        (101, "101 documente"),
        (119, "119 documente"),
        (120, "120 de documente"),
        (25_000, "25.000 de documente"),
    ],
)
def test_romanian_has_three_forms(number: int, text: str) -> None:
    assert gap_sentence("pending", number).ro.startswith(text)


def test_days_and_numbers_are_written_as_people_write_them() -> None:
    assert [days_sentence(days).ro for days in (0, 1, 3, 45)] == [
        "ultima zi", "mai este o zi", "mai sunt 3 zile", "mai sunt 45 de zile",
    ]  # fmt: skip
    assert grouped(1234567, "ro") == "1.234.567"

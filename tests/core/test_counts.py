"""Three forms in Romanian, two in English."""

from __future__ import annotations

import pytest

from appliance.core.counts import english, romanian


@pytest.mark.parametrize(
    ("number", "ro", "en"),
    [
        (0, "0 mesaje", "0 messages"),
        (1, "un mesaj", "1 message"),
        (2, "2 mesaje", "2 messages"),
        (19, "19 mesaje", "19 messages"),
        (20, "20 de mesaje", "20 messages"),
        (100, "100 de mesaje", "100 messages"),
        (101, "101 mesaje", "101 messages"),
        (119, "119 mesaje", "119 messages"),
        (120, "120 de mesaje", "120 messages"),
        (1_001, "1.001 mesaje", "1,001 messages"),
        (1_234, "1.234 de mesaje", "1,234 messages"),
    ],
)
def test_a_number_of_things_as_people_write_it(number: int, ro: str, en: str) -> None:
    assert (romanian(number, "un mesaj", "mesaje"), english(number, "message")) == (ro, en)

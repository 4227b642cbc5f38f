"""Preconditions and ranges of a GET (RFC 9110 §13, §14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.dav.conditions import Outcome, byte_range, precondition

ETAG = '"abc"'
MODIFIED = "2026-11-03T09:10:11.000000Z"
SAME = "Tue, 03 Nov 2026 09:10:11 GMT"
EARLIER = "Mon, 02 Nov 2026 09:10:11 GMT"


def check(**headers: str) -> Outcome:
    return precondition(etag=ETAG, modified=MODIFIED, **headers)


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({}, Outcome.GO_ON),
        ({"if_none_match": ETAG}, Outcome.NOT_MODIFIED),
        ({"if_none_match": 'W/"abc"'}, Outcome.NOT_MODIFIED),
        ({"if_none_match": '"x", "abc"'}, Outcome.NOT_MODIFIED),
        ({"if_none_match": "*"}, Outcome.NOT_MODIFIED),
        ({"if_none_match": '"x"'}, Outcome.GO_ON),
        ({"if_none_match": '"x"', "if_modified_since": SAME}, Outcome.GO_ON),
        ({"if_modified_since": SAME}, Outcome.NOT_MODIFIED),
        ({"if_modified_since": EARLIER}, Outcome.GO_ON),
        ({"if_modified_since": "last Tuesday"}, Outcome.GO_ON),
        ({"if_match": ETAG}, Outcome.GO_ON),
        ({"if_match": "abc"}, Outcome.GO_ON),  # davfs2 loses the quotes
        ({"if_match": '"x"'}, Outcome.FAILED),
        ({"if_match": 'W/"abc"'}, Outcome.FAILED),
        ({"if_unmodified_since": EARLIER}, Outcome.FAILED),
        ({"if_unmodified_since": SAME}, Outcome.GO_ON),
    ],
)
def test_conditions_are_weighed_in_the_order_of_the_standard(
    headers: dict[str, str], outcome: Outcome
) -> None:
    assert check(**headers) is outcome


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("bytes=0-0", (0, 0)),
        ("bytes=2-5", (2, 5)),
        ("bytes=5-", (5, 9)),
        ("bytes=0-999", (0, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-99", (0, 9)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=1-2", None),
        ("bytes=" + "9" * 40 + "-", None),
    ],
)
def test_one_range_is_served_and_anything_else_is_as_if_not_sent(
    value: str | None, wanted: tuple[int, int] | None
) -> None:
    assert byte_range(value, 10, if_range=None, etag=ETAG, modified=MODIFIED) == wanted


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_past_the_end_cannot_be_satisfied(value: str) -> None:
    with pytest.raises(ValueError, match=r"end|last"):
        byte_range(value, 10, if_range=None, etag=ETAG, modified=MODIFIED)


@pytest.mark.parametrize(
    ("if_range", "counts"),
    [
        (ETAG, True),
        (SAME, True),
        ('"x"', False),
        ('W/"abc"', False),
        (EARLIER, False),
        ("?", False),
    ],
)
def test_if_range_of_another_state_gives_the_whole_file(if_range: str, counts: bool) -> None:
    wanted = byte_range("bytes=1-2", 10, if_range=if_range, etag=ETAG, modified=MODIFIED)
    assert (wanted == (1, 2)) is counts


@given(st.text(max_size=30), st.integers(0, 100))
def test_a_range_never_leaves_the_file(value: str, size: int) -> None:
    try:
        wanted = byte_range(f"bytes={value}", size, if_range=None, etag=ETAG, modified=MODIFIED)
    except ValueError:
        return
    assert wanted is None or 0 <= wanted[0] <= wanted[1] < size

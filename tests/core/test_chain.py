"""The hash chain: what is changed is named, whatever it was changed into."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.chain import FIRST, canonical, find_breaks, next_head

Row = tuple[object, object, object]


def records(count: int) -> list[Row]:
    rows: list[Row] = []
    head = FIRST
    for seq in range(1, count + 1):
        body = canonical(
            {
                "v": 1,
                "seq": seq,
                "t": f"2026-11-24T10:00:{seq:02}.000000Z",
                "action": "document:approve",
                "actor": "ana",
                "tenant": "alfa",
                "object": f"doc-{seq}",
                "data": {"from": "pending", "to": "approved"},
            }
        )
        head = next_head(head, body)
        rows.append((seq, body, head))
    return rows


def kinds(rows: list[Row], **more: object) -> list[tuple[int | None, str]]:
    return [(found.seq, found.kind) for found in find_breaks(rows, **more)]  # type: ignore[arg-type]


def edited(row: Row) -> Row:
    seq, body, head = row
    assert isinstance(body, bytes)
    return seq, body.replace(b'"ana"', b'"dan"'), head


def test_a_chain_that_nobody_touched_has_no_break() -> None:
    assert kinds(records(12)) == []
    assert kinds([]) == []


def test_the_head_is_what_the_format_says() -> None:
    (_, body, head), (_, second, second_head) = records(2)
    assert isinstance(body, bytes)
    assert isinstance(second, bytes)
    first = hashlib.sha256(b"\x02" + bytes(32) + hashlib.sha256(b"\x00" + body).digest()).digest()
    assert head == first
    assert (
        second_head
        == hashlib.sha256(b"\x02" + first + hashlib.sha256(b"\x00" + second).digest()).digest()
    )


def test_an_edited_record_is_the_only_break() -> None:
    rows = records(9)
    rows[4] = edited(rows[4])
    assert kinds(rows) == [(5, "edited")]


def test_an_edit_whose_head_was_recomputed_shows_at_the_record_after_it() -> None:
    rows = records(9)
    seq, body, _ = edited(rows[4])
    previous = rows[3][2]
    assert isinstance(body, bytes)
    assert isinstance(previous, bytes)
    rows[4] = (seq, body, next_head(previous, body))
    assert kinds(rows) == [(6, "edited")]


def test_deleted_records_are_named_together() -> None:
    rows = records(9)
    del rows[3:6]
    (found,) = find_breaks(rows)
    assert (found.seq, found.kind) == (4, "gap")
    assert "4 to 6 are missing" in found.sentence.en


def test_the_first_record_cannot_be_removed_unseen() -> None:
    assert kinds(records(4)[1:]) == [(1, "gap")]


def test_a_deletion_hidden_by_renumbering_shows() -> None:
    rows = records(5)
    shifted = [*rows[:2], *((seq, *row[1:]) for seq, row in enumerate(rows[3:], start=3))]
    assert (3, "moved") in kinds(shifted)
    assert (3, "edited") in kinds(shifted)


def test_two_exchanged_records_are_both_named() -> None:
    rows = records(6)
    rows[1], rows[3] = (2, *rows[3][1:]), (4, *rows[1][1:])
    assert {(2, "moved"), (4, "moved")} <= set(kinds(rows))


def test_a_cut_tail_and_a_recomputed_chain_show_against_a_head_kept_elsewhere() -> None:
    rows = records(8)
    anchor = {8: rows[7][2]}
    assert kinds(rows, anchors=anchor) == []
    assert kinds(rows[:6]) == []
    assert kinds(rows[:6], anchors=anchor) == [(8, "anchor")]

    head = FIRST
    recomputed: list[Row] = []
    for row in rows:
        seq, body, _ = edited(row)
        assert isinstance(body, bytes)
        head = next_head(head, body)
        recomputed.append((seq, body, head))
    assert kinds(recomputed) == []
    assert kinds(recomputed, anchors=anchor) == [(8, "anchor")]


@pytest.mark.parametrize(
    ("value", "kind"), [(None, "type"), ("text", "type"), (7, "type"), (2.5, "type")]
)
def test_a_body_or_head_of_another_type_is_a_break_and_no_error(value: object, kind: str) -> None:
    rows = records(5)
    assert (3, kind) in kinds([*rows[:2], (3, value, rows[2][2]), *rows[3:]])
    assert (3, kind) in kinds([*rows[:2], (3, rows[2][1], value), *rows[3:]])
    assert (None, kind) in kinds([*rows[:2], ("three", *rows[2][1:]), *rows[3:]])


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"\xff\xfe", b"NaN", b"[" * 100_000, b'{"v":1.0}', b"1" * 5_000],
    ids=lambda body: body[:6].hex(),
)
def test_a_body_that_is_no_record_is_named(body: bytes) -> None:
    rows = records(3)
    previous = rows[0][2]
    assert isinstance(previous, bytes)
    assert (2, "body") in kinds([rows[0], (2, body, next_head(previous, body)), rows[2]])


_values = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.binary(min_size=32, max_size=32),
)


@given(st.lists(st.tuples(_values, _values, _values), max_size=6), st.integers(0, 6))
def test_no_row_makes_the_verifier_fail(strange: list[Row], place: int) -> None:
    rows = records(6)
    mixed = rows[:place] + strange + rows[place:]
    found = kinds(mixed, anchors={3: rows[2][2]})
    assert bool(found) == bool(strange)


@given(st.data())
def test_every_single_change_of_a_byte_is_found(data: st.DataObject) -> None:
    rows = records(6)
    at = data.draw(st.integers(0, 5))
    seq, body, head = rows[at]
    assert isinstance(body, bytes)
    assert isinstance(head, bytes)
    changed = bytearray(body + head)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    rows[at] = (seq, bytes(changed[: len(body)]), bytes(changed[len(body) :]))
    assert kinds(rows)


def test_the_canonical_form_is_one_text_and_has_no_floats() -> None:
    assert canonical({"b": 1, "a": ["ș", None, True]}) == '{"a":["ș",null,true],"b":1}'.encode()
    assert json.loads(canonical({"b": 1})) == {"b": 1}
    for unstable in (1.5, {1: "x"}, {"x": [2.0]}, {"x": b"bytes"}):
        with pytest.raises(TypeError):
            canonical(unstable)

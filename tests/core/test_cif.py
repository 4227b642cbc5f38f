from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import cif


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("RO12345678", "12345678"),
        ("ro 12.345.678", "12345678"),
        ("R 12345678", "12345678"),
        ("RO-0012345678", "12345678"),
        ("12345678", "12345678"),
        ("\u00a0RO\u200b123\u00a0", "123"),
        ("1900101123456", "1900101123456"),
        ("0190010112345", "0190010112345"),
        ("0000000000000", ""),
        ("RO", "RO"),
        ("DE 123 456 789", "DE123456789"),
        ("atu12345678", "ATU12345678"),
        ("ROM123", "ROM123"),
        ("", ""),
        (" - ", ""),
        ("0", ""),
    ],
)
def test_one_company_has_one_normal_form(written: str, normal: str) -> None:
    assert cif.normalise(written) == normal


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = cif.normalise(text)

    assert cif.normalise(once) == once


@given(st.integers(10, 9_999_999_999), st.sampled_from(["RO{}", "ro {}", "R{}", "000{}", " {} "]))
def test_every_way_to_write_a_cui_is_the_same_cui(number: int, form: str) -> None:
    written = form.format(number)
    if len(written.strip()) == 13 and written.strip().isdigit():
        return  # thirteen digits are a CNP

    assert cif.normalise(written) == str(number)
    assert cif.scheme(cif.normalise(written)) == "cui"


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("12", "cui"),
        ("1234567890", "cui"),
        ("1900101123456", "cnp"),
        ("1", "vat"),
        ("12345678901", "vat"),
        ("DE123456789", "vat"),
        ("", "vat"),
        ("²³", "vat"),
    ],
)
def test_the_scheme_follows_the_number_of_digits(value: str, scheme: str) -> None:
    assert cif.scheme(value) == scheme


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("14399840", True),
        ("14399841", False),
        ("1800101221144", True),
        ("1800101221145", False),
        ("1801332221144", False),  # the 32nd of the 13th month
        ("DE1", True),
        ("", True),
    ],
)
def test_the_check_digit_is_tested_where_there_is_one(value: str, fits: bool) -> None:
    assert cif.check_digit_ok(value) is fits


def test_a_cnp_is_masked_and_nothing_else_is() -> None:
    assert cif.mask_cnp("1800101221144") == "1••••••••••44"
    assert cif.mask_cnp("180 0101 221144") == "1••••••••••44"
    assert [cif.mask_cnp(value) for value in ("14399840", "RO14399840", "DE1", "")] == [
        "14399840",
        "RO14399840",
        "DE1",
        "",
    ]

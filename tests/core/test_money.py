from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import money

CURRENCIES = ["RON", "EUR", "JPY", "KWD", "CLF", "XYZ"]


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(CURRENCIES))
def test_minor_units_come_back_as_they_went(minor: int, currency: str) -> None:
    assert money.to_minor(money.from_minor(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("1.00", "RON", 100),
        ("1", "RON", 100),
        ("1.005", "RON", 101),
        ("-1.005", "RON", -101),
        ("1.0049999999999999999999999999999999999", "RON", 100),
        ("-0.00", "EUR", 0),
        ("12.5", "JPY", 13),
        ("1.2345", "KWD", 1235),
        ("1.2345", "CLF", 12345),
        ("99999999999999.99", "RON", 9999999999999999),
        ("2.50", "xyz", 250),
    ],
)
def test_what_is_finer_than_a_minor_unit_is_rounded_half_up(
    amount: str, currency: str, minor: int
) -> None:
    assert money.to_minor(Decimal(amount), currency) == minor


@pytest.mark.parametrize(
    ("minor", "currency", "romanian", "english"),
    [
        (123456, "RON", "1.234,56 lei", "RON 1,234.56"),
        (-123456, "EUR", "-1.234,56 EUR", "-EUR 1,234.56"),
        (5, "RON", "0,05 lei", "RON 0.05"),
        (1234, "JPY", "1.234 JPY", "JPY 1,234"),
        (1234567, "KWD", "1.234,567 KWD", "KWD 1,234.567"),
        (100, "", "1,00", "1.00"),
    ],
)
def test_amounts_are_written_as_people_of_each_language_write_them(
    minor: int, currency: str, romanian: str, english: str
) -> None:
    def written(language: str) -> str:
        return money.format_amount(minor, currency, language).replace("\u00a0", " ")

    assert (written("ro"), written("en")) == (romanian, english)


def test_a_number_keeps_every_digit_it_has() -> None:
    assert money.format_decimal(Decimal("1234567.8900"), "ro") == "1.234.567,8900"
    assert money.format_decimal(Decimal("0.00000001"), "en") == "0.00000001"
    assert money.format_decimal(Decimal("1E+3"), "ro") == "1.000"


def test_no_float_is_named_where_money_is_handled() -> None:
    core = Path(money.__file__).parent
    for module in ("money.py", "ubl.py", "ubl_model.py", "ubl_tree.py"):
        tree = ast.parse((core / module).read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]

        assert "float" not in names
        assert not [value for value in constants if isinstance(value, float)]

"""The one normaliser of tax identifiers, so that RO 001234 and 1234 are the same company.

A CUI has 2 to 10 digits, the last a check digit; a CNP 13; anything else is a
foreign VAT identifier. A wrong check digit is worth a warning and never a
refusal: ANAF itself lists such identifiers.
"""

from __future__ import annotations

import re

from stdnum.exceptions import ValidationError
from stdnum.ro import cnp as stdnum_cnp
from stdnum.ro import cui as stdnum_cui

_NOISE = re.compile(r"[\W_]+")
_COUNTRY_AND_DIGITS = re.compile(r"(?:RO|R)(\d+)")


def normalise(text: str) -> str:
    """Return the form that identifiers are stored and compared in.

    Blanks, dots, the RO prefix (also the old R) and a CUI's leading zeros go;
    letters become upper case; a foreign identifier keeps its country, a CNP its
    13 digits. `''` for nothing, which 13 zeros (a consumer who gave no CNP) are too.
    """
    value = _NOISE.sub("", text).upper()
    romanian = _COUNTRY_AND_DIGITS.fullmatch(value)
    if romanian:
        value = romanian[1]
    if _is_digits(value) and (len(value) != 13 or not value.strip("0")):
        value = value.lstrip("0")
    return value


def scheme(value: str) -> str:
    """Return `cui`, `cnp` or `vat` for a normalised identifier."""
    if _is_digits(value):
        if len(value) == 13:
            return "cnp"
        if 2 <= len(value) <= 10:
            return "cui"
    return "vat"


def check_digit_ok(value: str) -> bool:
    """Tell whether a CUI or CNP agrees with its check digit; true where there is none to test."""
    try:
        match scheme(value):
            case "cui":
                stdnum_cui.validate(value)
            case "cnp":
                stdnum_cnp.validate(value)
    except ValidationError:
        return False
    return True


def mask_cnp(value: str) -> str:
    """Return a CNP as `1••••••••••23`, anything else unchanged.

    The first digit and the last two tell two people of one family apart and
    keep the date of birth back.
    """
    if scheme(normalise(value)) != "cnp":
        return value
    digits = normalise(value)
    return f"{digits[0]}{'•' * 10}{digits[-2:]}"


def _is_digits(value: str) -> bool:
    # str.isdigit() alone would take ² and the digits of other scripts.
    return value.isascii() and value.isdigit()

"""Money: `Decimal` while reading, integer minor units for keeping, text for people. Never float."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

# ISO 4217, the currencies whose minor unit is not a hundredth.
_EXPONENTS = {
    currency: digits
    for digits, currencies in {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }.items()
    for currency in currencies.split()
}

# Wide enough that no amount of a document is ever rounded by the context.
_EXACT = Context(prec=200)

_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


def exponent(currency: str) -> int:
    """Return how many decimals the currency's minor unit has (ISO 4217); 2 for an unknown one."""
    return _EXPONENTS.get(currency.upper(), 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """Return the amount in minor units, half away from zero where it is finer than them."""
    scaled = amount.scaleb(exponent(currency), context=_EXACT)
    return int(scaled.to_integral_value(rounding=ROUND_HALF_UP, context=_EXACT))


def from_minor(minor: int, currency: str) -> Decimal:
    """Return the amount with exactly the currency's decimals."""
    return Decimal(minor).scaleb(-exponent(currency), context=_EXACT)


def format_amount(minor: int, currency: str, language: str) -> str:
    """Return `1.234,56 lei`, `1.234,56 EUR`; in English `RON 1,234.56`.

    A no-break space keeps the number and its currency on one line.
    """
    number = format_decimal(from_minor(minor, currency), language)
    if language == "ro":
        return f"{number}{_NO_BREAK_SPACE}{'lei' if currency == 'RON' else currency}".rstrip()
    sign, number = ("-", number[1:]) if number.startswith("-") else ("", number)
    return f"{sign}{currency}{_NO_BREAK_SPACE}{number}".strip()


def format_decimal(value: Decimal, language: str) -> str:
    """Return the number with every digit it has, thousands grouped: `1.234,5` or `1,234.5`."""
    text = f"{value:,f}"
    if language == "ro":
        return text.translate(_ROMANIAN_MARKS)
    return text


_ROMANIAN_MARKS = str.maketrans(",.", ".,")

"""Numbers of things as people write them: 1.234 de mesaje, 1,234 messages."""

from __future__ import annotations


def grouped(number: int, language: str) -> str:
    """Return 1.234 or 1,234."""
    text = f"{number:,}"
    return text.replace(",", ".") if language == "ro" else text


def romanian_form(number: int) -> int:
    """Return which of Romanian's three forms a number takes (CLDR: one, few, other).

    0: one. 1: none, 2 to 19 and what ends so, 101 to 119 among them. 2: the others, with "de".
    """
    if number == 1:
        return 0
    return 1 if number == 0 or 1 <= number % 100 <= 19 else 2


def romanian(number: int, one: str, several: str) -> str:
    """Return `one` as it is ("un mesaj"), or the number with `several` ("20 de mesaje")."""
    forms = (one, f"{grouped(number, 'ro')} {several}", f"{grouped(number, 'ro')} de {several}")
    return forms[romanian_form(number)]


def english(number: int, noun: str) -> str:
    """Return "1 message" or "1,234 messages"."""
    return f"{grouped(number, 'en')} {noun}{'s' * (number != 1)}"

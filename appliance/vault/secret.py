"""A value that does not show itself."""

from __future__ import annotations

import hmac
from typing import NoReturn

_HIDDEN = "Secret(***)"


class Secret:
    """A text that only `reveal()` gives back.

    It prints, formats and appears in a traceback as `Secret(***)`; json, pickle
    and copy refuse it. Comparison takes the same time wherever the texts differ.
    """

    __slots__ = ("__value",)
    # As Python itself does for a class with __eq__ alone; said, so that it stays so.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the text, for the one call that needs it."""
        return self.__value

    def __repr__(self) -> str:
        return _HIDDEN

    def __format__(self, specification: str) -> str:
        return _HIDDEN

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not written down")

"""The names and attributes of our cookies.

Over https every cookie has the `__Host-` prefix: Secure, Path=/ and no Domain,
so a neighbouring host cannot plant one. A browser refuses that prefix on plain
http, which is allowed on localhost alone: there the name stands without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from http.cookies import CookieError, SimpleCookie

RawHeaders = Iterable[tuple[bytes, bytes]]


class CookieName(StrEnum):
    """One letter each; the prefix comes from `Cookies`."""

    SESSION = "s"
    PRE_SESSION = "p"  # the nonce that a log-in or password form is bound to
    LINK = "l"  # an activation token on its way from the address bar to the form
    SPV = "v"  # how far linking to SPV has come: `web/way.py`
    DEVICE = "d"  # this browser has logged in before: a throttle bucket of its own


class Cookies:
    """Reads and writes cookies for one configured address of the portal."""

    def __init__(self, *, secure: bool) -> None:
        self._secure = secure
        self._prefix = "__Host-" if secure else ""

    def read(self, headers: RawHeaders, name: CookieName) -> str | None:
        """Return the value sent, `None` when it is absent or sent more than once."""
        wanted = self._prefix + name
        values = []
        for header, value in headers:
            if header == b"cookie":
                for pair in value.decode("latin-1").split(";"):
                    key, _, text = pair.strip().partition("=")
                    if key == wanted:
                        values.append(text.strip('"'))
        return values[0] if len(values) == 1 else None

    def write(self, name: CookieName, value: str, *, max_age: int | None = None) -> str:
        """Return the Set-Cookie header; without `max_age` it ends with the browser."""
        try:
            jar: SimpleCookie = SimpleCookie({self._prefix + name: value})
        except CookieError:
            raise ValueError(f"{name} cannot hold this value") from None
        morsel = jar[self._prefix + name]
        morsel["path"] = "/"
        morsel["httponly"] = True
        morsel["samesite"] = "Lax"
        if self._secure:
            morsel["secure"] = True
        if max_age is not None:
            morsel["max-age"] = max_age
        return morsel.OutputString()

    def clear(self, name: CookieName) -> str:
        """Return the Set-Cookie header that removes it."""
        return self.write(name, "", max_age=0)

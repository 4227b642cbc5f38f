"""No page of another site can make a browser act here.

Every unsafe request passes, before anything of its body is used:

1. `Sec-Fetch-Site`, when the browser sends it, must be `same-origin`;
2. else `Origin`, when sent, must be ours; 3. with neither it is refused;
4. the token in `X-CSRF` or in the form field `csrf` must be the HMAC of *this*
   session (before log-in: of this browser's nonce cookie).

A pair made by another visitor is therefore worth nothing here. The one exception
to 4 is the address where browsers report what the policy blocked: it changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qs

from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence

FIELD = "csrf"
HEADER = b"x-csrf"
MAX_FORM = 64 * 1024

RawHeaders = list[tuple[bytes, bytes]]


class ForgedRequest(ArhivarError):
    """The request does not come from a page of ours that this browser was shown (403)."""


class TooLarge(ArhivarError):
    """The body is larger than this route takes (413)."""


def session_token(key: bytes, session_hash: str) -> str:
    """Return the token of every form in this session."""
    return hmac.new(key, b"csrf\0" + session_hash.encode(), hashlib.sha256).hexdigest()


def nonce_token(key: bytes, nonce: str) -> str:
    """Return the token of a form shown before log-in, bound to the browser's nonce cookie."""
    digest = hashlib.sha256(nonce.encode("utf-8", "surrogateescape")).digest()
    return hmac.new(key, b"pre\0" + digest, hashlib.sha256).hexdigest()


def check_source(headers: RawHeaders, origin: str) -> None:
    """Raise `ForgedRequest` unless the browser says that a page of ours sent this."""
    site = _all(headers, b"sec-fetch-site")
    if site:
        if site != [b"same-origin"]:
            raise _forged()
        return
    if _all(headers, b"origin") != [origin.encode()]:
        raise _forged()


def check_token(headers: RawHeaders, body: bytes, expected: str | None) -> None:
    """Raise `ForgedRequest` unless the request carries the expected token exactly once."""
    given = _all(headers, HEADER)
    if not given and _all(headers, b"content-type")[:1] and is_form(headers):
        try:
            # Of text, not of bytes: bytes would refuse every other field that is not ASCII.
            fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=200)
        except ValueError:
            raise _forged() from None
        given = [value.encode("utf-8", "replace") for value in fields.get(FIELD, [])]
    if expected is None or len(given) != 1 or not hmac.compare_digest(given[0], expected.encode()):
        raise _forged()


def is_form(headers: RawHeaders) -> bool:
    """Tell whether the body is the plain form that a page without scripts sends."""
    types = _all(headers, b"content-type")
    return bool(types) and types[0].split(b";")[0].strip().lower() == (
        b"application/x-www-form-urlencoded"
    )


def _all(headers: RawHeaders, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _forged() -> ForgedRequest:
    return ForgedRequest(
        Sentence(
            "Formularul nu mai este valabil. Reîncarcă pagina și încearcă din nou.",
            "this form is not valid any more; reload the page and try again",
        )
    )

"""Reading a form: each field once, as text, of a bounded length."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from litestar import Request, Response

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence

MAX_FIELDS = 50


class Form(dict[str, str]):
    """The fields of a posted form; an absent one is an empty text."""

    def __missing__(self, name: str) -> str:
        return ""


async def read_form(request: Request[Any, Any, Any]) -> Form:
    """Return the fields of a plain form.

    Raises `BadInput` for a field that comes twice, that is not UTF-8 or that
    holds a control character other than a line break.
    """
    try:
        body = (await request.body()).decode("ascii")
        pairs = parse_qsl(body, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise _unreadable() from None
    form = Form(pairs)
    characters = set().union(*form.values())
    broken = any(c == "\x7f" or (c < " " and c not in "\r\n\t") for c in characters)
    if len(form) != len(pairs) or broken:
        raise _unreadable()
    return form


def see_other(place: str) -> Response[str]:
    """Return the redirect after a post: the next request is a GET."""
    return Response("", status_code=303, headers={"location": place})


def _unreadable() -> BadInput:
    return BadInput(
        Sentence(
            "Formularul nu poate fi citit. Reîncarcă pagina și încearcă din nou.",
            "the form cannot be read; reload the page and try again",
        )
    )

"""Templates to pages: one environment a language, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response

from appliance.core.counts import grouped
from appliance.core.sentence import Sentence
from appliance.web import i18n, static_files
from appliance.web.visit import Visit

HTML = "text/html"


@cache
def environment(language: str) -> Environment:
    """Return the templates speaking one language."""
    made = Environment(
        loader=PackageLoader("appliance.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        auto_reload=False,
    )
    catalogue = i18n.translations(language)
    made.install_gettext_translations(catalogue, newstyle=True)  # type: ignore[attr-defined]
    made.globals |= {
        "icon": static_files.icon,
        "static": static_files.address,
        "ngettext": lambda key, _, number: count(language, key, number),
    }
    made.filters["grouped"] = lambda number: grouped(number, language)
    return made


def translate(language: str, key: str, **values: object) -> str:
    """Return a message outside a template."""
    text = i18n.translations(language).gettext(key)
    return text % values if values else text


def count(language: str, key: str, number: int, **values: object) -> str:
    """Return the plural form of `key` for `number`, which it names as people write it: 1.234."""
    text = i18n.translations(language).ngettext(key, key, number)
    return text % ({"num": grouped(number, language)} | values)


def said(sentence: Sentence, language: str) -> str:
    """Return the sentence as one that stands by itself."""
    text = sentence.in_language(language)
    return text[:1].upper() + text[1:]


def html(visit: Visit, template: str, **context: Any) -> str:
    """Return the page for this visitor."""
    values: Mapping[str, Any] = {
        "problem": None,
        "done": None,
        "viewer": visit.viewer,
        "language": visit.language,
        "csrf": visit.csrf,
        "path": visit.path,
        **context,
    }
    return environment(visit.language).get_template(template).render(values)


def page(visit: Visit, template: str, *, status: int = 200, **context: Any) -> Response[str]:
    """Return the answer with the page."""
    return Response(html(visit, template, **context), status_code=status, media_type=HTML)

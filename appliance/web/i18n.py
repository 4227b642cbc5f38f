"""The portal in the reader's language: catalogues, plurals, dates and amounts.

The catalogues are the `.po` files of `locale/`, read at start; nothing has to
be compiled beforehand. Messages are keys, so both languages are translations
and a key that one of them lacks is found by a test, not by a reader.
"""

from __future__ import annotations

import gettext
import io
from datetime import date, datetime
from functools import cache
from importlib import resources

from babel.dates import format_date, format_datetime, format_time
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from appliance.core.times import BUCHAREST

LANGUAGES = ("ro", "en")


def read_catalogue(language: str) -> Catalog:
    """Return the messages of one language as their file has them."""
    source = resources.files("appliance.web").joinpath("locale", f"{language}.po")
    with source.open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@cache
def translations(language: str) -> gettext.GNUTranslations:
    """Return the catalogue of `ro`, or of `en` for anything else."""
    compiled = io.BytesIO()
    write_mo(compiled, read_catalogue(language if language in LANGUAGES else "en"))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def preferred(accept_language: str, default: str) -> str:
    """Return the language of a visitor who is not logged in.

    The installation's own, unless the browser asks for the other one and not for this.
    """
    asked = [
        part.split(";")[0].strip().split("-")[0].lower() for part in accept_language.split(",")
    ]
    known = [language for language in asked if language in LANGUAGES]
    return default if default in known or not known else known[0]


def day(value: date | str | None, language: str) -> str:
    """Return 24.11.2026 (or 24 Nov 2026); an empty text for none."""
    if not value:
        return ""
    moment = date.fromisoformat(value) if isinstance(value, str) else value
    return format_date(moment, "dd.MM.yyyy" if language == "ro" else "d MMM yyyy", locale=language)


def month(period: str, language: str) -> str:
    """Return „noiembrie 2026” for 2026-11."""
    moment = date.fromisoformat(f"{period}-01")
    return format_date(moment, "LLLL yyyy", locale=language)


def moment(value: datetime | None, language: str) -> str:
    """Return the date and the minute in Bucharest."""
    if value is None:
        return ""
    pattern = "dd.MM.yyyy, HH:mm" if language == "ro" else "d MMM yyyy, HH:mm"
    return format_datetime(value.astimezone(BUCHAREST), pattern, locale=language)


def lately(value: datetime, now: datetime, language: str) -> str:
    """Return the hour for today, the weekday within a week, the date after that."""
    then, today = value.astimezone(BUCHAREST), now.astimezone(BUCHAREST).date()
    days = (today - then.date()).days
    if days == 0:
        clock = format_time(then, "HH:mm", locale=language)
        return f"azi, {clock}" if language == "ro" else f"today, {clock}"
    if days == 1:
        return "ieri" if language == "ro" else "yesterday"
    if 1 < days < 7:
        return format_date(then.date(), "EEEE", locale=language)
    return day(then.date(), language)

"""Both languages are whole, and Romanian counts as Romanians do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import appliance.web
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Status
from appliance.core.signature import SignatureResult
from appliance.web import i18n
from appliance.web.pages.decisions import ASKS, REASONS
from appliance.web.render import count

ROOM = Path(appliance.web.__file__).parent

_PLURALS = {
    0: "0 documente", 1: "1 document", 2: "2 documente", 19: "19 documente",
    20: "20 de documente", 21: "21 de documente", 100: "100 de documente",
    101: "101 documente", 119: "119 documente", 120: "120 de documente",
    1234: "1.234 de documente", 1_000_101: "1.000.101 documente",
}  # fmt: skip


@pytest.mark.parametrize(("number", "text"), _PLURALS.items())
def test_romanian_has_three_plural_forms(number: int, text: str) -> None:
    assert count("ro", "count.documents", number) == text


@pytest.mark.parametrize("number", _PLURALS)
def test_english_has_two(number: int) -> None:
    expected = f"{number:,} document{'' if number == 1 else 's'}"
    assert count("en", "count.documents", number) == expected


def _keys(language: str) -> dict[str, tuple[str, ...]]:
    return {
        message.id if isinstance(message.id, str) else message.id[0]: (
            (message.string,) if isinstance(message.string, str) else tuple(message.string)
        )
        for message in i18n.read_catalogue(language)
        if message.id
    }


def test_both_languages_have_the_same_messages_and_none_is_empty() -> None:
    romanian, english = _keys("ro"), _keys("en")
    assert romanian.keys() == english.keys()
    for catalogue in (romanian, english):
        assert not [key for key, texts in catalogue.items() if not all(texts)]
    for key, texts in romanian.items():
        holes = [set(re.findall(r"%\(\w+\)s", text)) for text in (*texts, *english[key])]
        assert len(set(map(frozenset, holes))) == 1, key
    assert all(len(texts) in (1, 3) for texts in romanian.values())
    assert all(len(texts) in (1, 2) for texts in english.values())


def test_every_message_that_a_page_asks_for_exists() -> None:
    asked: set[str] = set()
    for path in [*ROOM.rglob("*.html"), *ROOM.rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        asked |= set(re.findall(r"""(?:_|ngettext)\(\s*"([a-z][a-z._0-9]*)"[,)]""", text))
        asked |= set(
            re.findall(r"""(?:translate|count)\(\s*[\w.]+,\s*"([a-z][a-z._0-9]*)"[,)]""", text)
        )
    asked |= {f"action.{action}" for action in Action} | {f"done.{action}" for action in Action}
    asked |= {f"event.{action}" for action in Action}
    asked |= {f"sheet.{action}{part}" for action in ASKS for part in ("", ".lead")}
    asked |= {f"reason.{reason}" for reasons in REASONS.values() for reason in reasons}
    asked |= {f"signature.{result}" for result in SignatureResult}
    asked |= {f"status.{status}" for status in Status} | {f"nav.{status}" for status in Status}
    asked |= {f"kind.{kind}.{what}" for kind in Kind for what in ("invoice", "credit_note")}
    known = _keys("ro").keys()
    assert not asked - known
    assert len(asked) > 100


def test_romanian_is_written_with_the_comma_below() -> None:
    for path in (ROOM / "locale" / "ro.po", *ROOM.rglob("*.html"), *ROOM.rglob("*.py")):
        assert not re.findall("[şţŞŢ]", path.read_text(encoding="utf-8")), path


def test_templates_have_no_inline_styles_or_scripts_and_mark_nothing_as_safe() -> None:
    for path in ROOM.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        found = re.findall(
            r"<\w[^>{]*\sstyle=|<style|\son\w+=|hx-on|js:|javascript:|\|\s*safe|<script>", text
        )
        assert not found, (path.name, found)


def test_dates_and_moments_are_said_as_people_say_them() -> None:
    now = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    assert i18n.day("2026-11-04", "ro") == "04.11.2026"
    assert i18n.day("2026-11-04", "en") == "4 Nov 2026"
    assert i18n.day(None, "ro") == ""
    assert i18n.month("2026-11", "ro") == "noiembrie 2026"
    assert i18n.moment(now, "ro") == "24.11.2026, 12:00"
    assert i18n.lately(now, now, "ro") == "azi, 12:00"
    assert i18n.lately(datetime(2026, 11, 22, 22, 30, tzinfo=UTC), now, "ro") == "ieri"
    assert i18n.lately(datetime(2026, 11, 20, 10, tzinfo=UTC), now, "ro") == "vineri"
    assert i18n.lately(datetime(2026, 11, 1, 10, tzinfo=UTC), now, "ro") == "01.11.2026"

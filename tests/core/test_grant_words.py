"""The words about an authorisation: every cause, both languages, numbers as Romanians count."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from appliance.core.grant_words import Cause, days_words, english_day, letter, note
from appliance.core.sentence import Sentence

LAST = datetime(2026, 12, 7, 22, 30, tzinfo=UTC)  # half past midnight in Romania, on the 8th


def mail(cause: Cause = Cause.REFUSED, language: str = "ro", clients: int = 1) -> str:
    names = [f"Firma {number} SRL" for number in range(clients)]
    made = letter(
        cause,
        language,
        firm="Contabilitate Tismana SRL",
        name="Ana",
        holder="Ana Pop",
        clients=names,
        last=LAST,
        until=None,
        address="https://a.example/spv/grants/1",
    )
    return f"{made.subject}\n{made.text}"


@pytest.mark.parametrize(
    ("clients", "words"),
    [
        (51, "și încă o firmă"), (52, "și încă 2 firme"), (69, "și încă 19 firme"),
        (70, "și încă 20 de firme"), (150, "și încă 100 de firme"), (151, "și încă 101 firme"),
    ],
)  # fmt: skip
def test_of_many_clients_fifty_are_named_and_the_others_counted(clients: int, words: str) -> None:
    text = mail(clients=clients)

    assert f"  {words}\n" in text
    assert text.count("  - Firma ") == 50
    assert "și încă" not in mail(clients=50)


@pytest.mark.parametrize(("cause", "language"), list(product(Cause, ("ro", "en"))))
def test_every_mail_names_holder_day_client_and_page(cause: Cause, language: str) -> None:
    text = mail(cause, language)

    assert "Ana Pop" in text
    assert "Firma 0 SRL" in text
    assert "\nhttps://a.example/spv/grants/1\n" in text
    if cause is not Cause.REFUSED:
        assert ("08.12.2026" if language == "ro" else "8 Dec 2026") in text
    assert not set("şţŞŢ") & set(text)  # the cedilla is not Romanian


def test_a_day_is_the_one_in_romania() -> None:
    assert english_day(LAST) == "8 Dec 2026"


def test_without_clients_there_is_no_list() -> None:
    assert "SPV nu se mai aduce" not in mail(clients=0)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("until", [None, LAST])
def test_every_note_names_whom_it_is_about(cause: Cause, until: datetime | None) -> None:
    who = Sentence("Alfa și Beta", "Alfa and Beta")

    said = note(cause, "", who, last=LAST, days=14, until=until)

    assert "Alfa și Beta" in said.ro
    assert "Alfa and Beta" in said.en
    assert said.ro[0].isupper()
    assert said.en[0].isupper()


@pytest.mark.parametrize(
    ("days", "en"),
    [(-1, "today"), (0, "today"), (1, "tomorrow"), (2, "in 2 days"), (30, "in 30 days")],
)
def test_days_in_english(days: int, en: str) -> None:
    assert days_words(days).en == en

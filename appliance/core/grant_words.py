"""What people are told of an SPV authorisation that failed or soon ends: on pages and by mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from appliance.core.counts import english, romanian
from appliance.core.month_words import romanian_day
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NAMED = 50  # clients in a mail


class Cause(StrEnum):
    """Why people are told."""

    REFUSED = "refused"  # ANAF refused twice to renew it
    EXPIRED = "expired"  # its last day is over
    ENDING = "ending"  # its last day is near


@dataclass(frozen=True)
class Letter:
    """A mail to one person, in their language."""

    subject: str
    text: str


def note(
    cause: Cause,
    holder: str,
    who: Sentence,
    *,
    last: datetime,
    days: int,
    until: datetime | None,
) -> Sentence:
    """Return what a page says of it today, and who has to do what.

    `who` are the clients that nothing else reaches, `last` the last day, so many `days` away;
    `until` is when the reading of their SPV ends (None: it has).
    """
    ro, en = _of(holder)
    when = days_words(days)
    if cause is Cause.ENDING:
        return Sentence(
            f"{_first(ro)} expiră pe {romanian_day(last)} ({when.ro}). Titularul certificatului "
            f"digital autorizează din nou până atunci; altfel nu se mai aduce nimic pentru "
            f"{who.ro}.",
            f"{_first(en)} expires on {english_day(last)} ({when.en}). The holder of the digital "
            f"certificate authorises again before that, or nothing more is fetched for {who.en}.",
        )
    why = Sentence(f"ANAF nu mai acceptă {ro}.", f"ANAF no longer accepts {en}.")
    if cause is Cause.EXPIRED:
        why = Sentence(
            f"{_first(ro)} a expirat pe {romanian_day(last)}.",
            f"{_first(en)} expired on {english_day(last)}.",
        )
    if until is None:
        return Sentence(
            f"{why.ro} Pentru {who.ro} nu se mai aduce nimic până când titularul certificatului "
            "digital autorizează din nou; durează un minut.",
            f"{why.en} For {who.en} nothing is fetched until the holder of the digital "
            "certificate authorises again; it takes a minute.",
        )
    return Sentence(
        f"{why.ro} Pentru {who.ro} se mai aduc facturi cel mult până pe {romanian_day(until)}. "
        "Titularul certificatului digital autorizează din nou; durează un minut.",
        f"{why.en} For {who.en} invoices are fetched until {english_day(until)} at the latest. "
        "The holder of the digital certificate authorises again; it takes a minute.",
    )


def days_words(days: int) -> Sentence:
    """Return when a day is that comes after so many midnights."""
    if days <= 0:
        return Sentence("astăzi", "today")
    if days == 1:
        return Sentence("mâine", "tomorrow")
    return Sentence(f"în {romanian(days, 'o zi', 'zile')}", f"in {english(days, 'day')}")


def letter(
    cause: Cause,
    language: str,
    *,
    firm: str,
    name: str,
    holder: str,
    clients: Sequence[str],
    last: datetime,
    until: datetime | None,
    address: str,
) -> Letter:
    """Return the mail about it to the person of this name.

    `clients` are those of the reader's that nothing else reaches; `last` and `until` as for
    a page. It names days and not how far they are: a mail may lie in the outbox for a while.
    """
    subject, first = _opening(cause, holder, last)
    said = [Sentence(f"Bună ziua, {name},", f"Hello {name},"), _EMPTY, first, _EMPTY]
    if clients:
        said += [_affected(until), *_listed(clients), _EMPTY]
    said += [_TO_DO, _EMPTY, Sentence(address, address), _EMPTY]
    said += [Sentence("-- ", "-- "), Sentence(f"Arhivar, {firm}", f"Arhivar, {firm}"), _NO_ANSWER]
    lines = [sentence.in_language(language) for sentence in said]
    return Letter(subject.in_language(language), "\n".join(lines) + "\n")


_EMPTY = Sentence("", "")
_TO_DO = Sentence(
    "Ce este de făcut: deschide pagina de mai jos pe calculatorul în care este certificatul "
    "digital și autorizează din nou. Durează un minut.",
    "What to do: open the page below on the computer that has the digital certificate, and "
    "authorise again. It takes a minute.",
)
_NO_ANSWER = Sentence(
    "Mesaj trimis automat; la el nu răspunde nimeni.",
    "This mail was sent automatically; nobody reads answers to it.",
)


def _opening(cause: Cause, holder: str, last: datetime) -> tuple[Sentence, Sentence]:
    """Return the subject and the first sentence."""
    ro, en = _of(holder)
    day_ro, day_en = romanian_day(last), english_day(last)
    if cause is Cause.ENDING:
        return (
            Sentence(f"{_first(ro)} expiră pe {day_ro}", f"{_first(en)} expires on {day_en}"),
            Sentence(
                f"{_first(ro)} expiră pe {day_ro}; până acum nu s-a putut reînnoi singură.",
                f"{_first(en)} expires on {day_en}; so far it could not be renewed by itself.",
            ),
        )
    subject = Sentence(f"{_first(ro)} trebuie dată din nou", f"{_first(en)} has to be given again")
    if cause is Cause.EXPIRED:
        return subject, Sentence(
            f"{_first(ro)} a expirat pe {day_ro}.", f"{_first(en)} expired on {day_en}."
        )
    return subject, Sentence(
        f"ANAF nu mai acceptă {ro}: a refuzat de două ori să o reînnoiască.",
        f"ANAF no longer accepts {en}: it refused twice to renew it.",
    )


def _affected(until: datetime | None) -> Sentence:
    if until is None:
        return Sentence(
            "Din SPV nu se mai aduce nimic pentru:", "Nothing more is fetched from SPV for:"
        )
    return Sentence(
        f"Din SPV se mai aduc facturi cel mult până pe {romanian_day(until)} pentru:",
        f"Invoices are fetched from SPV until {english_day(until)} at the latest for:",
    )


def _listed(clients: Sequence[str]) -> list[Sentence]:
    said = [Sentence(f"  - {client}", f"  - {client}") for client in clients[:_NAMED]]
    if (more := len(clients) - _NAMED) > 0:
        ro, en = romanian(more, "o firmă", "firme"), english(more, "client")
        said.append(Sentence(f"  și încă {ro}", f"  and {en} more"))
    return said


def english_day(moment: datetime) -> str:
    """Return 24 Nov 2026, the day that it was in Romania."""
    day = moment.astimezone(BUCHAREST)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _first(text: str) -> str:
    return text[0].upper() + text[1:]


def _of(holder: str) -> Sentence:
    if not holder:
        return Sentence("o autorizare SPV", "an SPV authorisation")
    return Sentence(f"autorizarea SPV pe numele {holder}", f"the SPV authorisation of {holder}")

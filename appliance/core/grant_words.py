"""What people are told of an SPV authorisation that failed or soon ends: on pages and by mail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appliance.core.counts import english, romanian
from appliance.core.month_words import romanian_day
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NAMED = 50  # clients in a mail


@dataclass(frozen=True)
class Letter:
    """A mail to one person, in their language."""

    subject: str
    text: str


def needed(holder: str, who: Sentence, until: datetime | None) -> Sentence:
    """Return that ANAF refuses the authorisation, and until when `who` is read all the same."""
    ro = f"ANAF nu mai acceptă {_of_ro(holder)}."
    en = f"ANAF no longer accepts {_of_en(holder)}."
    if until is not None:
        return Sentence(
            f"{ro} Pentru {who.ro} se mai aduc facturi cel mult până pe {romanian_day(until)}. "
            "Titularul certificatului digital autorizează din nou; durează un minut.",
            f"{en} For {who.en} invoices are fetched until {english_day(until)} at the latest. "
            "The holder of the digital certificate authorises again; it takes a minute.",
        )
    return Sentence(
        f"{ro} Pentru {who.ro} nu se mai aduce nimic până când titularul certificatului digital "
        "autorizează din nou; durează un minut.",
        f"{en} For {who.en} nothing is fetched until the holder of the digital certificate "
        "authorises again; it takes a minute.",
    )


def ending(holder: str, who: Sentence, last: datetime, days: int) -> Sentence:
    """Return when the authorisation ends and what then stops."""
    ro, en = _of_ro(holder), _of_en(holder)
    when = days_words(days)
    return Sentence(
        f"{_first(ro)} expiră pe {romanian_day(last)} ({when.ro}). Titularul certificatului digital "
        f"autorizează din nou până atunci; altfel nu se mai aduce nimic pentru {who.ro}.",
        f"{_first(en)} expires on {english_day(last)} ({when.en}). The holder of the digital "
        f"certificate authorises again before that, or nothing more is fetched for {who.en}.",
    )


def days_words(days: int) -> Sentence:
    """Return when a day is that comes after so many midnights."""
    if days <= 0:
        return Sentence("astăzi", "today")
    if days == 1:
        return Sentence("mâine", "tomorrow")
    return Sentence(f"în {romanian(days, 'o zi', 'zile')}", f"in {english(days, 'day')}")


def letter(
    language: str,
    *,
    firm: str,
    name: str,
    holder: str,
    clients: Sequence[str],
    ends: datetime | None,
    until: datetime | None,
    address: str,
) -> Letter:
    """Return the mail about a grant that ends on a day (`ends`), or that is needed again.

    `clients` are those of the reader's that nothing else reaches, `until` when the reading
    of their SPV ends (None: it has). It names days and not how far they are: a mail may lie
    in the outbox for a while.
    """
    ro = language == "ro"
    of = _of_ro(holder) if ro else _of_en(holder)
    if ends is not None:
        day = romanian_day(ends) if ro else english_day(ends)
        subject = f"{_first(of)} expiră pe {day}" if ro else f"{_first(of)} expires on {day}"
        first = (
            f"{_first(of)} expiră pe {day}; până acum nu s-a putut reînnoi singură."
            if ro
            else f"{_first(of)} expires on {day}; so far it could not be renewed by itself."
        )
    else:
        need = "trebuie dată din nou" if ro else "has to be given again"
        subject = f"{_first(of)} {need}"
        first = (
            f"ANAF nu mai acceptă {of}: a refuzat de două ori să o reînnoiască."
            if ro
            else f"ANAF no longer accepts {of}: it refused twice to renew it."
        )
    lines = [f"Bună ziua, {name}," if ro else f"Hello {name},", "", first, ""]
    lines += _affected(clients, ends, until, ro=ro)
    lines += [
        "Ce este de făcut: deschide pagina de mai jos pe calculatorul în care este certificatul "
        "digital și autorizează din nou. Durează un minut."
        if ro
        else "What to do: open the page below on the computer that has the digital certificate, "
        "and authorise again. It takes a minute.",
        "",
        address,
        "",
        "-- ",
        f"Arhivar, {firm}" if firm else "Arhivar",
        "Mesaj trimis automat; la el nu răspunde nimeni."
        if ro
        else "This mail was sent automatically; nobody reads answers to it.",
    ]
    return Letter(subject, "\n".join(lines) + "\n")


def _affected(
    clients: Sequence[str], ends: datetime | None, until: datetime | None, *, ro: bool
) -> list[str]:
    if not clients:
        return []
    if ends is None and until is None:
        head = "Din SPV nu se mai aduce nimic pentru:" if ro else "Nothing is fetched from SPV for:"
    else:
        moment = until or ends
        assert moment is not None
        day = romanian_day(moment) if ro else english_day(moment)
        head = (
            f"Din SPV se mai aduc facturi cel mult până pe {day} pentru:"
            if ro
            else f"Invoices are fetched from SPV until {day} at the latest for:"
        )
    more = len(clients) - _NAMED
    listed = [f"  - {client}" for client in clients[:_NAMED]]
    if more > 0:
        listed.append(
            f"  și încă {romanian(more, 'o firmă', 'firme')}"
            if ro
            else f"  and {english(more, 'client')} more"
        )
    return [head, *listed, ""]


def english_day(moment: datetime) -> str:
    """Return 24 Nov 2026, the day that it was in Romania."""
    day = moment.astimezone(BUCHAREST)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _first(text: str) -> str:
    return text[0].upper() + text[1:]


def _of_ro(holder: str) -> str:
    return f"autorizarea SPV a lui {holder}" if holder else "o autorizare SPV"


def _of_en(holder: str) -> str:
    return f"the SPV authorisation of {holder}" if holder else "an SPV authorisation"

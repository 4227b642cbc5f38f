"""„Dovada lunii”: one page that says what a month holds, and by what it can be checked.

The claims come from `sync.proof`, as they stand in its JSON; the page adds
nothing to them. It is written in Romanian, like every paper of a Romanian
ledger, and read by client and firm alike: of what is not approved it says how
many and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

from babel.dates import format_date
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from appliance.core import month_words
from appliance.core.counts import grouped, romanian
from appliance.core.times import from_text
from appliance.sync.pdf.render import render_sheet

# What fits one page: lines of gaps and of lost messages together, periods, letters of a name.
_ROOM, _PERIODS, _NAME = 9, 6, 100
_STATES = {"expired": "expirat la ANAF", "not_allowed": "fără drept în SPV"}
_FLAWS = frozenset({"unreadable", "signature", "no_file"})


def render_proof(claims: Mapping[str, Any]) -> bytes:
    """Return the PDF/A of the claims; the same claims give the same bytes."""
    markup = _template().render(_values(claims))
    css = files(__package__).joinpath("proof.css").read_text(encoding="utf-8")
    return render_sheet(markup, css)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("appliance.sync.pdf", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("proof.html.jinja")


def _values(claims: Mapping[str, Any]) -> dict[str, Any]:
    month, client, manifests = claims["month"], claims["client"], claims["manifests"]
    at = from_text(claims["at"])
    gaps, lost = claims["gaps"], claims["lost"]
    kinds = {gap["kind"] for gap in gaps}
    name = format_date(date.fromisoformat(f"{month}-01"), "LLLL yyyy", locale="ro")
    minute = month_words.romanian_minute(at)
    # The claims name the first ones, and count all of them.
    absent = max(sum(gap["number"] for gap in gaps if gap["kind"] in _STATES), len(lost))
    room = _ROOM - len(gaps)
    shown = lost if absent <= room else lost[: max(room - 1, 0)]
    more = absent - len(shown)
    return {
        "month": name,
        "client": _clipped(client["name"]),
        "cif": client["cif"],
        "firm": _clipped(claims["firm"]),
        "at": minute,
        "created": at.date().isoformat(),
        "listed": grouped(claims["messages"]["listed"], "ro"),
        "archived": grouped(claims["messages"]["archived"], "ro"),
        "verdict": month_words.verdict(
            fetched=claims["fetched"],
            complete=claims["complete"],
            running="running" in kinds,
            flawed=bool(kinds & _FLAWS),
        ).ro
        + ".",
        "tone": "whole" if claims["fetched"] else "lacking",
        "rows": _rows(claims),
        "recorded": _recorded(claims, name),
        "gaps": [_gap(gap) for gap in gaps],
        "lost": [
            {
                "message_id": each["message_id"],
                "upload_id": each["upload_id"] or "",
                "day": month_words.romanian_minute(from_text(each["created_at"])),
                "state": _STATES[each["state"]],
            }
            for each in shown
        ],
        "more": f"și încă {grouped(more, 'ro')}; toate sunt în portal, la SPV" if more > 0 else "",
        "manifests": _manifests(manifests["number"]),
        "list_hash": _grouped_hash(manifests["sha256"]),
        "seq": grouped(claims["audit"]["seq"], "ro"),
        "head": _grouped_hash(claims["audit"]["head"]),
        "folder": client["uid"],
        "list_name": f"proofs/{month}.sha256",
        "footer": f"Arhivar · Dovada lunii {month} · {client['name'][:80]} · {minute}",
    }


def _rows(claims: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The four numbers, of what ANAF listed and of what came otherwise."""
    messages, spv, others = claims["messages"], claims["documents"], claims["others"]
    every = sum(spv.values()) + sum(others.values())
    approved = sum(of[status] for of in (spv, others) for status in ("approved", "archived"))

    def number(value: int | None) -> str:
        return "–" if value is None else grouped(value, "ro")

    def row(label: str, meaning: str, ours: int, other: int | None) -> dict[str, Any]:
        total = ours + (other or 0)
        numbers = [number(each) for each in (ours, other, total)]
        return {"label": label, "meaning": meaning, "numbers": numbers}

    def decided(of: Mapping[str, int]) -> int:
        return of["approved"] + of["rejected"] + of["archived"]

    return [
        row("Listate", "mesaje pe care ANAF le-a făcut în această lună", messages["listed"], None),
        row(
            "În arhivă",
            f"din care erori ANAF și mesaje ale cumpărătorilor: {number(messages['notice'])}",
            messages["archived"],
            sum(others.values()),
        ),
        row(
            "Decise",
            f"aprobate sau respinse de client; documente în total: {number(every)}",
            decided(spv),
            decided(others),
        ),
        row(
            "Înregistrate",
            f"trecute de contabil într-o perioadă; aprobate în total: {number(approved)}",
            spv["archived"],
            others["archived"],
        ),
    ]


def _recorded(claims: Mapping[str, Any], name: str) -> str:
    counted = list(claims["periods"].items())
    told = [f"{period}: {grouped(number, 'ro')}" for period, number in counted[-_PERIODS:]]
    if len(counted) > _PERIODS:
        earlier = sum(number for _, number in counted[:-_PERIODS])
        told.insert(0, f"mai devreme: {grouped(earlier, 'ro')}")
    periods = ", ".join(told)
    return (
        "Luna este cea a datei din SPV (data_creare, ora României); ce a venit pe altă cale este "
        "în luna datei documentului. "
        + (f"Înregistrate pe perioade contabile: {periods}. " if periods else "")
        + f"Înregistrate în total în perioada {name}: {grouped(claims['in_period'], 'ro')}."
    )


def _gap(gap: Mapping[str, Any]) -> str:
    text = month_words.gap_sentence(gap["kind"], gap["number"]).ro
    if gap["oldest"] is None:
        return text
    day = month_words.romanian_day(from_text(gap["oldest"]))
    before = {"unlisted": "Ultima listă întreagă", "unseen": "Prima listă"}
    return f"{text} {before.get(gap['kind'], 'Cel mai vechi')}: {day}."


def _manifests(number: int) -> str:
    return romanian(number, "un manifest", "manifeste")


def _clipped(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _grouped_hash(text: str) -> str:
    return " ".join(text[start : start + 8] for start in range(0, len(text), 8))

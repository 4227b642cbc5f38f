"""One written form of a moment: UTC, fixed width, so that text order is time order."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

BUCHAREST = ZoneInfo("Europe/Bucharest")  # ANAF's wall clock, and where a day ends

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def to_text(moment: datetime) -> str:
    """Return `2026-11-24T01:02:03.000000Z`; a moment without a zone is refused."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs its zone")
    return moment.astimezone(UTC).strftime(_FORMAT)


def from_text(text: str) -> datetime:
    """Read what `to_text()` wrote."""
    # Not strptime(), which takes fifty times as long and is asked for every row of a list.
    moment = datetime.fromisoformat(text)
    if len(text) != 27 or not text.endswith("Z"):
        raise ValueError(f"{text!r} is no moment of ours")
    return moment

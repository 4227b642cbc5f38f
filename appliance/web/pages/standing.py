"""What stands in the way of fetching, said once, at the top of the pages where it matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.core.roles import Viewer
from appliance.store import health, outages
from appliance.store.clients import ClientRow
from appliance.store.outages import Outage
from appliance.web.render import count, translate
from appliance.web.visit import Visit

_NAMED = 3  # of the clients that it is about


@dataclass(frozen=True)
class Standing:
    """One such thing: the cause and what comes next."""

    text: str
    icon: str
    style: str
    place: str = ""  # where more is said


async def standing_for(
    visit: Visit, viewer: Viewer, client: ClientRow | None = None
) -> list[Standing]:
    """Return what stands in the way at the client, or with None at any of the person's clients."""
    stopped = {
        why: [row for row in rows if client is None or row.id == client.id]
        for why, rows in (await health.stopped(viewer)).items()
    }
    place = "/spv" if client is None else f"/clients/{client.uid}/spv"
    return standing(visit, await health.outages_now(), stopped, place)


def standing(
    visit: Visit,
    now: Iterable[Outage],
    stopped: Mapping[str, Sequence[ClientRow]],
    place: str = "",
) -> list[Standing]:
    """Return the same from what is known already."""
    language = visit.language
    said = [
        Standing(outages.sentence(outage, visit.at).in_language(language), "clock", "warn")
        for outage in now
    ]
    for why in health.STOPPING:
        rows = stopped.get(why, ())
        if rows:
            who = _names(rows, language)
            text = translate(language, f"standing.{why}", who=who)
            said.append(Standing(text, "exclamation-triangle", "bad", place))
    return said


def _names(rows: Sequence[ClientRow], language: str) -> str:
    names = ", ".join(row.name for row in rows[:_NAMED])
    more = len(rows) - _NAMED
    return names if more <= 0 else f"{names} {count(language, 'standing.more', more)}"

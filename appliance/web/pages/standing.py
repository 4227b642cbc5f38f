"""What stands in the way of fetching, or soon will, said once, at the top of the pages where
it matters.

Everybody at a client is told what stops its fetching; that an authorisation ends
soon is told to whoever can do something about it. Nobody reads another client's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from appliance.core import grant_words
from appliance.core.roles import LINKERS, Viewer
from appliance.core.sentence import Sentence
from appliance.store import clients, grants, health, outages
from appliance.store.clients import ClientRow
from appliance.store.grants import NEEDED, Failing
from appliance.store.outages import Outage
from appliance.web.render import count, translate
from appliance.web.visit import Visit

_NAMED = 3  # of the clients that it is about
_GRANTS = 3  # that are told one by one
_LAST_DAYS = 3


@dataclass(frozen=True)
class Standing:
    """One such thing: the cause and what comes next."""

    text: str
    icon: str
    style: str
    place: str = ""  # where more is said, or something can be done
    label: str = ""  # of the link there


async def standing_for(
    visit: Visit, viewer: Viewer, client: ClientRow | None = None
) -> list[Standing]:
    """Return what stands in the way at the client, or with None at any of the person's clients."""
    rows = await clients.list_for(viewer) if client is None else [client]
    ids = {row.id for row in rows}
    stopped = {
        why: [row for row in those if row.id in ids]
        for why, those in (await health.stopped(viewer)).items()
    }
    place = "/spv" if client is None else f"/clients/{client.uid}/spv"
    now, failing = await health.outages_now(), await grants.failing(visit.at)
    return standing(visit, viewer, rows, now, stopped, failing, place)


def standing(
    visit: Visit,
    viewer: Viewer,
    rows: Sequence[ClientRow],
    now: Iterable[Outage],
    stopped: Mapping[str, Sequence[ClientRow]],
    failing: Sequence[Failing],
    place: str = "",
) -> list[Standing]:
    """Return the same from what is known already; `rows` are the clients that the page is about.

    `place` is where the page's reader finds more, empty on that page itself.
    """
    language = visit.language
    said = [
        Standing(outages.sentence(outage, visit.at).in_language(language), "clock", "warn")
        for outage in now
    ]
    without = stopped.get("token", ())
    told: set[int] = set()
    of_grants = []
    for each in failing:
        those = [row for row in rows if row.id in each.clients]
        if those and (each.stage == NEEDED or _can_act(viewer, each, those)):
            of_grants.append(_of_grant(visit, viewer, each, those, without, place))
            told |= {row.id for row in those} if each.stage == NEEDED else set()
    said += of_grants[:_GRANTS]
    if len(of_grants) > _GRANTS:
        text = count(language, "standing.grants.more", len(of_grants) - _GRANTS)
        said.append(_linked(visit, text, "warn", "/spv/grants"))
    if unlinked := [row for row in without if row.id not in told]:
        text = translate(language, "standing.token", who=_names(unlinked, language))
        one = unlinked[0]
        if len(unlinked) == 1 and viewer.roles_at(one.id) & LINKERS:
            label = translate(language, "standing.link")
            link = f"/clients/{one.uid}/spv/link"
            said.append(Standing(text, "exclamation-triangle", "bad", link, label))
        else:
            said.append(_linked(visit, text, "bad", place))
    if refused := stopped.get("listing", ()):
        text = translate(language, "standing.listing", who=_names(refused, language))
        said.append(_linked(visit, text, "bad", place))
    return said


def _of_grant(
    visit: Visit,
    viewer: Viewer,
    each: Failing,
    those: Sequence[ClientRow],
    without: Sequence[ClientRow],
    place: str,
) -> Standing:
    grant = each.grant
    who = Sentence(_names(those, "ro"), _names(those, "en"))
    until = grant.read_until(visit.at)
    if each.stage == NEEDED and any(row in without for row in those):
        until = None
    said = grant_words.note(
        grant.cause(visit.at),
        grant.holder,
        who,
        last=grant.refresh_expires_at,
        days=grant.days_left(visit.at),
        until=until,
    )
    bad = until is None or NEEDED < each.stage <= _LAST_DAYS
    text, style = said.in_language(visit.language), "bad" if bad else "warn"
    if not _can_act(viewer, each, those):
        return _linked(visit, text, style, place)
    label = translate(visit.language, "standing.grant")
    return Standing(text, "exclamation-triangle", style, f"/spv/grants/{grant.uid}", label)


def _can_act(viewer: Viewer, each: Failing, those: Sequence[ClientRow]) -> bool:
    """Tell whether the page of the grant is there for this person (`web.linked`)."""
    # Who authorised it and works for no client any more has no page of their own there.
    return any(viewer.roles_at(row.id) & LINKERS for row in those)


def _linked(visit: Visit, text: str, style: str, place: str) -> Standing:
    label = translate(visit.language, "standing.more.link") if place else ""
    return Standing(text, "exclamation-triangle", style, place, label)


def _names(rows: Sequence[ClientRow], language: str) -> str:
    names = ", ".join(row.name for row in rows[:_NAMED])
    more = len(rows) - _NAMED
    return names if more <= 0 else f"{names} {count(language, 'standing.more', more)}"

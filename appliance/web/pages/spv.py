"""A client's SPV: when it was listed, what became of each message, and fetching now.

Who sees how much of it is `Sight`. Of messages that became documents people of the
firm see how many there are; details only of those that never will. What is under
way is told to everybody who looks by server-sent events (`web.watching`), and by
reloading where there are no scripts.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.response import Stream

from appliance.core import cif as cifs
from appliance.core import spv
from appliance.core.counts import grouped
from appliance.core.errors import BadInput, NotFound
from appliance.core.month_words import days_sentence
from appliance.core.roles import CLIENT_ROLES, FIRM_ROLES, LINKERS, Role, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST
from appliance.store import fetching, health, messages, runs
from appliance.store.clients import ClientRow
from appliance.store.health import Health, Queue
from appliance.store.listings import Listing
from appliance.store.messages import Message, MessageState
from appliance.store.radar import ALERT_DAYS, Oldest
from appliance.store.runs import Progress
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.forms import read_form, see_other
from appliance.web.pages.frame import frame_for
from appliance.web.pages.grant_rows import link_of
from appliance.web.pages.objects import load_client
from appliance.web.pages.standing import Standing, standing
from appliance.web.portal import Portal, portal_of
from appliance.web.render import count, html, page, translate
from appliance.web.visit import Visit, viewer_of, visit_of

MAY_FETCH = frozenset({Role.OWNER, Role.APPROVER, *FIRM_ROLES})
MAY_CHOOSE = frozenset({Role.OWNER, *FIRM_ROLES})  # how often
INTERVALS = (24, 1)  # hours
FIRST, ROWS = 10, 50
_CLIENT = {"client": Provide(load_client)}
_RECONNECT_MS = 1000

# Those that will not become a document by themselves.
LOST = (MessageState.EXPIRED, MessageState.NOT_ALLOWED, MessageState.QUARANTINED)
_LOOK = {
    MessageState.ARCHIVED: ("archive-box", "archived"),
    MessageState.NOTICE: ("bell", "plain"),
    MessageState.QUEUED: ("clock", "warn"),
    MessageState.EXPIRED: ("x-circle", "bad"),
    MessageState.NOT_ALLOWED: ("lock-closed", "bad"),
    MessageState.QUARANTINED: ("shield-exclamation", "warn"),
}


class Sight(StrEnum):
    """How much of a client's messages a person sees."""

    ALL = "all"  # the client's people who are not narrowed
    FIRM = "firm"  # numbers by state, and what never became a document
    STATE = "state"  # whether something is fetched: a part of the documents is kept from them


def sight_of(viewer: Viewer, client_id: int) -> Sight:
    """Return the person's sight at this client."""
    membership = viewer.memberships.get(client_id)
    if membership is not None and membership.sees_everything:
        return Sight.ALL
    return Sight.FIRM if viewer.roles_at(client_id) & FIRM_ROLES else Sight.STATE


def listable(viewer: Viewer, client_id: int) -> tuple[MessageState, ...]:
    """Return the states whose messages the person may read one by one, what is lost first."""
    sight = sight_of(viewer, client_id)
    if sight is Sight.STATE:
        return ()
    states = [MessageState.EXPIRED, MessageState.NOT_ALLOWED]
    if Role.ADMIN in viewer.roles_at(client_id):
        # They name another client: nobody else is told which.
        states.append(MessageState.QUARANTINED)
    if sight is Sight.ALL:
        states += [MessageState.QUEUED, MessageState.NOTICE, MessageState.ARCHIVED]
    return tuple(states)


@get(
    "/clients/{client_uid:str}/spv",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="client"),
    dependencies=_CLIENT,
)
async def spv_page(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """How the fetching stands, and the messages that this person may see."""
    visit, viewer = visit_of(request), viewer_of(request)
    seen = await health.of_client(client.id, visit.at)
    asked, after = request.query_params.get("state", ""), request.query_params.get("after")
    may_list = listable(viewer, client.id)
    chosen = MessageState(asked) if asked in may_list else None
    roles = viewer.roles_at(client.id)
    every = await health.every_hours(client.id)
    return page(
        visit,
        "spv.html",
        frame=await frame_for(viewer, "spv", client),
        client=client,
        live=_live(seen, visit, viewer, client),
        obstacles=_obstacles(seen, visit, viewer, client),
        lists=await _lists(visit, client, seen, may_list, chosen, after),
        chosen=chosen,
        link=await link_of(visit, viewer, portal_of(request), client)
        if roles & LINKERS and not client.provisional
        else None,
        may_fetch=bool(roles & MAY_FETCH) and not client.provisional,
        may_choose=bool(roles & MAY_CHOOSE) and not client.provisional,
        intervals=intervals(portal_of(request), every, visit.language),
    )


@get(
    "/clients/{client_uid:str}/spv/progress",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="client"),
    dependencies=_CLIENT,
)
async def progress(request: Request[Any, Any, Any], client: NamedDependency[ClientRow]) -> Stream:
    """The live parts of the page as server-sent events, each time that they have changed.

    Who does not ask for a stream gets one event.
    """
    visit, viewer, portal = visit_of(request), viewer_of(request), portal_of(request)
    if "text/event-stream" in request.headers.get("accept", ""):
        events = _events(portal, visit, viewer, client)
    else:
        events = _one_event(visit, viewer, client)
    return Stream(
        events,
        media_type="text/event-stream",
        # nginx would else collect it into buffers.
        headers={"x-accel-buffering": "no"},
    )


@post(
    "/clients/{client_uid:str}/spv/fetch",
    opt=allow(*MAY_FETCH, object="client"),
    dependencies=_CLIENT,
    status_code=303,
)
async def fetch_now(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """Fetch now; who asks while it is going on looks on."""
    if client.provisional:
        raise BadInput(
            Sentence(
                "Clientul nu are încă un CIF, deci nu are un SPV de citit. Facturile pe care le ai "
                "se aduc prin Import.",
                "the client has no CIF yet, so there is no SPV to read; bring the invoices that "
                "you have by Import",
            )
        )
    await runs.begin(client.id, viewer_of(request).user_id, visit_of(request).at)
    return see_other(f"/clients/{client.uid}/spv")


@post(
    "/clients/{client_uid:str}/spv/interval",
    opt=allow(*MAY_CHOOSE, object="client"),
    dependencies=_CLIENT,
    status_code=303,
)
async def choose_interval(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """Fetch this client daily, hourly, or as the installation says."""
    visit, hours = visit_of(request), (await read_form(request))["hours"]
    chosen = int(hours) if re.fullmatch(r"\d{1,3}", hours, re.ASCII) else None
    await fetching.set_every(client.id, chosen, visit.at, by=viewer_of(request))
    return see_other("/spv" if visit.referring_path == "/spv" else f"/clients/{client.uid}/spv")


def intervals(portal: Portal, chosen: int | None, language: str) -> list[dict[str, Any]]:
    """Return what can be chosen: the installation's own, daily, hourly."""
    usual = _every(portal.settings.sync_fetch_every_hours, language)
    return [
        {
            "value": "",
            "label": translate(language, "fetching.every.usual", every=usual),
            "chosen": chosen is None,
        },
        *(
            {"value": hours, "label": _every(hours, language), "chosen": chosen == hours}
            for hours in dict.fromkeys([*INTERVALS, *([chosen] if chosen else [])])
        ),
    ]


def _every(hours: int, language: str) -> str:
    if hours in INTERVALS:
        return translate(language, f"fetching.every.{hours}")
    return count(language, "fetching.every", hours)


# The live parts


async def _one_event(visit: Visit, viewer: Viewer, client: ClientRow) -> AsyncIterator[bytes]:
    yield _event(_live_html(await health.of_client(client.id, visit.at), visit, viewer, client))


async def _events(
    portal: Portal, visit: Visit, viewer: Viewer, client: ClientRow
) -> AsyncIterator[bytes]:
    yield f"retry: {_RECONNECT_MS}\n\n".encode()
    told, session = "", visit.session_hash or ""
    async with aclosing(portal.watches.follow(client.id, session)) as looks:
        async for seen in looks:
            if seen is None:
                yield b":\n\n"
                continue
            text = _live_html(seen, replace(visit, at=portal.clock()), viewer, client)
            if text != told:
                told = text
                yield _event(text)
    if portal.watches.ended(session):
        yield b"event: over\ndata:\n\n"


def _event(text: str) -> bytes:
    return ("".join(f"data: {line}\n" for line in text.splitlines()) + "\n").encode()


def _live_html(seen: Health, visit: Visit, viewer: Viewer, client: ClientRow) -> str:
    return html(
        visit,
        "spv_live.html",
        client=client,
        live=_live(seen, visit, viewer, client),
        obstacles=_obstacles(seen, visit, viewer, client),
    )


def _obstacles(seen: Health, visit: Visit, viewer: Viewer, client: ClientRow) -> list[Standing]:
    stopped = {why: [client] for why in seen.stopped}
    return standing(visit, viewer, [client], seen.outages, stopped, seen.failing)


def _live(seen: Health, visit: Visit, viewer: Viewer, client: ClientRow) -> dict[str, Any]:
    sight, language = sight_of(viewer, client.id), visit.language
    run = seen.progress
    running = run is not None and not run.ended
    waits = run is not None and run.run.listed_at is None and run.problem is not None
    may_list = listable(viewer, client.id)
    return {
        "running": running,
        # Worth a look every few seconds, for those without scripts.
        "moving": running and not waits and not seen.outages,
        "outcome": _outcome(run, sight, visit),
        "bar": _bar(run, sight, language),
        "listed": listed_lines(seen.listings, visit),
        "notes": []
        if sight is Sight.STATE
        else [*_expiring(seen.oldest, visit), *_notes(seen.listings, visit, sight)],
        "counts": [] if sight is Sight.STATE else _counts(seen, client, may_list, language),
        "queues": [] if sight is Sight.STATE else _queues(seen, visit, sight),
    }


def _outcome(run: Progress | None, sight: Sight, visit: Visit) -> dict[str, str]:
    """The state of the last fetching in a sentence, and why when it is not done."""
    language = visit.language
    if run is None:
        return {"text": translate(language, "fetching.never"), "style": "plain", "more": ""}
    why = ""
    if run.problem is not None and sight is not Sight.STATE:
        why = _reason(run.problem, sight, language)
    if not run.ended:
        key = "going" if run.run.listed_at else "waits" if run.problem else "listing"
        again = _when(run.next_attempt_at, visit) if key == "waits" else ""
        return {
            "text": translate(language, f"fetching.{key}"),
            "style": "warn" if key == "waits" else "going",
            "more": " ".join(filter(None, (why, again))),
        }
    errors = sum(run.states[state] for state in LOST)
    style = "good" if not errors and not run.waiting and run.problem is None else "warn"
    when = i18n.lately(run.run.finished_at or run.run.listed_at or visit.at, visit.at, language)
    more = " ".join(filter(None, (why, translate(language, "fetching.at", when=when))))
    if sight is Sight.STATE:
        return {"text": translate(language, "fetching.ended"), "style": style, "more": more}
    if run.problem is not None and not run.run.listed and not run.total:
        return {"text": translate(language, "fetching.failed"), "style": "warn", "more": more}
    parts = [
        count(language, "fetching.new", run.states[MessageState.ARCHIVED]),
        count(language, "fetching.errors", errors),
    ]
    if run.states[MessageState.NOTICE]:
        parts.append(count(language, "fetching.notices", run.states[MessageState.NOTICE]))
    if run.states[MessageState.QUEUED]:
        parts.append(count(language, "fetching.waiting", run.states[MessageState.QUEUED]))
    return {"text": ", ".join(parts), "style": style, "more": more}


def _bar(run: Progress | None, sight: Sight, language: str) -> dict[str, Any] | None:
    if run is None or run.ended or sight is Sight.STATE:
        return None
    if run.run.listed_at is None or not run.total:
        return {"value": None, "max": 1, "text": ""}
    numbers = grouped(run.settled, language), count(language, "fetching.messages", run.total)
    text = translate(language, "fetching.of", settled=numbers[0], total=numbers[1])
    return {"value": run.settled, "max": run.total, "text": text}


def listed_lines(found: Sequence[Listing], visit: Visit) -> list[str]:
    """When the list of each CIF was last whole."""
    language, lines = visit.language, []
    for listing in found:
        if listing.done_at is None:
            text = translate(language, "fetching.listed.never")
        else:
            when = i18n.lately(listing.done_at, visit.at, language)
            text = translate(language, "fetching.listed", when=when)
        if listing.done_at is None or listing.tried_at > listing.done_at:
            when = i18n.lately(listing.tried_at, visit.at, language)
            text = f"{text} {translate(language, 'fetching.tried', when=when)}"
        lines.append(text if len(found) == 1 else f"CIF {listing.cif}: {text}")
    return lines or [translate(language, "fetching.listed.never")]


def _expiring(oldest: Oldest | None, visit: Visit) -> list[dict[str, str]]:
    """The message that ANAF deletes first, from the first of the radar's alerts on."""
    few, _, fewest = ALERT_DAYS
    if oldest is None or oldest.days_left > few:
        return []
    text = translate(
        visit.language,
        "months.radar",
        since=i18n.day(oldest.created_at.astimezone(BUCHAREST).date(), visit.language),
        days=days_sentence(oldest.days_left).in_language(visit.language),
    )
    return [
        {"style": "bad" if oldest.days_left <= fewest else "warn", "icon": "clock", "text": text}
    ]


def _notes(found: Sequence[Listing], visit: Visit, sight: Sight) -> list[dict[str, str]]:
    """What was strange about the last lists."""
    notes, language = [], visit.language
    for listing in found:
        if listing.problem is not None:
            text = listing.problem.in_language(language)
            notes.append({"style": "warn", "icon": "exclamation-triangle", "text": text})
        if listing.counts.missing:
            text = count(language, "fetching.missing", listing.counts.missing)
            notes.append({"style": "warn", "icon": "question-mark-circle", "text": text})
        if listing.counts.strangers and sight is Sight.FIRM:
            text = count(language, "fetching.strangers", listing.counts.strangers)
            notes.append({"style": "", "icon": "information-circle", "text": text})
    return notes


def _counts(
    seen: Health, client: ClientRow, may_list: tuple[MessageState, ...], language: str
) -> list[dict[str, Any]]:
    """How many messages ended how, those that there are."""
    return [
        {
            "state": state.value,
            "label": translate(language, f"fetching.state.{state.value}"),
            "meaning": translate(language, f"fetching.state.{state.value}.more"),
            "number": grouped(seen.counts[state], language),
            "icon": icon,
            "style": style,
            "place": f"/clients/{client.uid}/spv?state={state.value}#messages"
            if state in may_list
            else "",
        }
        for state, (icon, style) in _LOOK.items()
        if seen.counts[state]
    ]


def _queues(seen: Health, visit: Visit, sight: Sight) -> list[dict[str, str]]:
    """What waits, by reason; reasons that read the same are one."""
    # Nothing that is due begins before the host that is silent is asked again.
    held = max((outage.next_try_at for outage in seen.outages), default=visit.at)
    merged: dict[str, list[Queue]] = {}
    for queue in seen.queues:
        why = _reason(queue.problem, sight, visit.language) if queue.problem else ""
        merged.setdefault(why, []).append(queue)
    shown = []
    for why, queues in merged.items():
        times = [queue.next_attempt_at for queue in queues if queue.next_attempt_at]
        shown.append(
            {
                "number": count(
                    visit.language, "fetching.messages", sum(queue.number for queue in queues)
                ),
                "why": why,
                "when": _when(max(min(times), held) if times else None, visit),
            }
        )
    return shown


def _when(moment: datetime | None, visit: Visit) -> str:
    """When it is tried again; with no time somebody has to ask for it."""
    if moment is None:
        return translate(visit.language, "fetching.again.asked")
    if moment <= visit.at:
        return translate(visit.language, "fetching.again.now")
    local = moment.astimezone(BUCHAREST)
    today = local.date() == visit.at.astimezone(BUCHAREST).date()
    when = f"{local:%H:%M}" if today else i18n.moment(moment, visit.language)
    return translate(visit.language, "fetching.again", when=when)


# What a reason may hold that tells of one message: ANAF's own words, ids.
_ANSWER = re.compile(r" Răspunsul ANAF: „.*”\.| \(ANAF said: .*\)", re.DOTALL)
_ID = re.compile(r"\d{6,}|\b[0-9a-z]{26}\b")


def _reason(problem: Sentence, sight: Sight, language: str) -> str:
    text = problem.in_language(language)
    return text if sight is Sight.ALL else _ID.sub("…", _ANSWER.sub("", text))


# The messages one by one


async def _lists(
    visit: Visit,
    client: ClientRow,
    seen: Health,
    may_list: tuple[MessageState, ...],
    chosen: MessageState | None,
    after: str | None,
) -> list[dict[str, Any]]:
    """The messages of the chosen state, or the first of each that has no document."""
    if after is not None and (await messages.get(after)).client_id != client.id:
        raise NotFound(Sentence("Mesajul nu există.", "there is no such message"))
    wanted = [chosen] if chosen else [state for state in LOST if state in may_list]
    limit = ROWS if chosen else FIRST
    lists = []
    for state in wanted:
        if not seen.counts[state] and not chosen:
            continue
        rows = await messages.page(
            client.id, state, after=after if chosen else None, limit=limit + 1
        )
        shown, more = rows[:limit], len(rows) > limit
        opened = await health.documents_among([row.uid for row in shown])
        place = f"/clients/{client.uid}/spv?state={state.value}"
        lists.append(
            {
                "heading": translate(visit.language, f"fetching.state.{state.value}"),
                "rows": [_row(row, visit, client, opened) for row in shown],
                "next": (f"{place}&after={shown[-1].uid}" if chosen else place) if more else "",
            }
        )
    return lists


def _row(
    message: Message, visit: Visit, client: ClientRow, opened: frozenset[str]
) -> dict[str, Any]:
    language, state = visit.language, message.state
    place = ""
    if state is MessageState.ARCHIVED and message.uid in opened:
        place = f"/documents/{message.uid}"
    elif state is MessageState.NOTICE:
        place = f"/clients/{client.uid}/notices#notice-{message.uid}"
    nameless = message.message_id.startswith(messages.NAMELESS)
    return {
        "uid": message.uid,
        "place": place,
        "type": translate(language, f"fetching.type.{spv.message_type(message.type).value}"),
        "when": i18n.moment(message.created_at, language) or message.created_raw,
        "id": "" if nameless else message.message_id,
        "upload_id": message.upload_id or "",
        "cif": cifs.mask_cnp(message.cif),
        # Of what is set aside nobody is told more than ids and CIFs.
        "details": ""
        if state is MessageState.QUARANTINED
        else re.sub(r"\b\d{13}\b", lambda found: cifs.mask_cnp(found[0]), message.details),
        "why": message.problem.in_language(language) if message.problem else "",
    }


HANDLERS: list[BaseRouteHandler] = [spv_page, progress, fetch_now, choose_interval]

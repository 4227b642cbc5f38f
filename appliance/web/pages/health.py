"""Is everything that ANAF listed in the archive? One line for each client of this person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import BaseRouteHandler

from appliance.core.counts import grouped
from appliance.core.month_words import days_sentence
from appliance.core.roles import FIRM_ROLES, Role, Viewer
from appliance.store import clients, grants, mails, runs
from appliance.store import health as healths
from appliance.store.health import Line
from appliance.store.messages import MessageState
from appliance.store.radar import ALERT_DAYS
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.forms import see_other
from appliance.web.pages.frame import frame_for
from appliance.web.pages.spv import LOST, intervals
from appliance.web.pages.standing import standing
from appliance.web.portal import Portal, portal_of
from appliance.web.render import count, page, translate
from appliance.web.visit import Visit, viewer_of, visit_of

# A list that is older has missed a night.
_LATE = timedelta(hours=36)
_GOOD, _LOST, _WARN, _BAD = range(4)
_STYLES = {
    _GOOD: ("good", "check-circle"),
    # All but what SPV gives no more: there is nothing left to do.
    _LOST: ("lost", "check-circle"),
    _WARN: ("warn", "clock"),
    _BAD: ("bad", "exclamation-circle"),
}


@get("/spv", opt=allow(*FIRM_ROLES))
async def health(request: Request[Any, Any, Any]) -> Response[str]:
    """Every client where this person works for the firm, what needs somebody first."""
    visit, viewer = visit_of(request), viewer_of(request)
    portal = portal_of(request)
    board = await healths.board(viewer, visit.at)
    board.sort(key=lambda line: -_level(line, visit.at))
    stopped = {
        why: [line.client for line in board if why in line.stopped] for why in healths.STOPPING
    }
    levels = [_level(line, visit.at) for line in board]
    return page(
        visit,
        "health.html",
        frame=await frame_for(viewer, "health"),
        rows=[_row(line, visit, portal) for line in board],
        obstacles=standing(
            visit,
            viewer,
            [line.client for line in board],
            await healths.outages_now(),
            stopped,
            await grants.failing(visit.at),
        ),
        authorised=await _authorised(board, visit, viewer),
        outbox=await _outbox(visit, viewer, portal),
        at_rest=all(level <= _LOST for level in levels),
        verdict=_verdict(levels, visit.language),
        running=sum(line.running for line in board),
    )


@post("/spv/fetch", opt=allow(*FIRM_ROLES), status_code=303)
async def fetch_all(request: Request[Any, Any, Any]) -> Response[str]:
    """Fetch all of them now; what is under way goes on."""
    visit, viewer = visit_of(request), viewer_of(request)
    for line in await healths.board(viewer, visit.at):
        if not line.client.provisional:
            await runs.begin(line.client.id, viewer.user_id, visit.at)
    return see_other("/spv")


async def _authorised(board: Sequence[Line], visit: Visit, viewer: Viewer) -> str:
    """How many authorisations are sound, end soon and are needed, of those at these clients."""
    owners = await clients.all_identifiers()
    here = {line.client.id for line in board}
    every = viewer.firm_role is Role.ADMIN
    numbers = {"sound": 0, "ending": 0, "needed": 0}
    for grant in await grants.known():
        if every or any(owners.get(cif) in here for cif in grant.cifs):
            stage = grant.stage(visit.at)
            name = "sound" if stage is None else "needed" if stage == grants.NEEDED else "ending"
            numbers[name] += 1
    said = [
        count(visit.language, f"standing.grants.{name}", number)
        for name, number in numbers.items()
        if number
    ]
    return ", ".join(said)


async def _outbox(visit: Visit, viewer: Viewer, portal: Portal) -> list[dict[str, Any]]:
    """Mails that wait for something, or that were refused; addresses are the administrator's."""
    language, box = visit.language, await mails.outbox(visit.at)
    notes: list[dict[str, Any]] = []
    if box.waiting and not portal.settings.mail_host:
        text = count(language, "standing.mail.no_host", box.waiting)
        notes.append({"style": "warn", "text": text, "more": []})
    elif box.waiting and box.problem is not None:
        text = count(language, "standing.mail.waiting", box.waiting)
        why = box.problem.in_language(language)
        notes.append({"style": "warn", "text": f"{text} {why}", "more": []})
    if box.refused:
        more = [
            f"{mail.recipient}: {mail.problem.in_language(language) if mail.problem else ''}"
            for mail in box.refused_last
            if viewer.firm_role is Role.ADMIN
        ]
        text = count(language, "standing.mail.refused", box.refused)
        notes.append({"style": "bad", "text": text, "more": more})
    return notes


def _level(line: Line, at: datetime) -> int:
    """Tell whether all is in the archive, all that can be, not yet all, or somebody has to act."""
    if line.client.provisional:
        return _GOOD
    # Its first list was not whole yet; before the first night that is nobody's fault.
    late = line.listed_at is None or at - line.listed_at > _LATE
    soon = line.oldest is not None and line.oldest.days_left <= ALERT_DAYS[1]
    if line.stopped or late or soon:
        return _BAD
    if line.unfinished or line.missing or line.problem:
        return _WARN
    return _LOST if line.lost.number else _GOOD


def _verdict(levels: Sequence[int], language: str) -> str:
    every = count(language, "clients.count", len(levels))
    left = "_left" if _LOST in levels else ""
    done = sum(level <= _LOST for level in levels)
    if done == len(levels):
        return translate(language, f"health.all{left}", clients=every)
    whole = grouped(done, language)
    return translate(language, f"health.some{left}", whole=whole, clients=every)


def _row(line: Line, visit: Visit, portal: Portal) -> dict[str, Any]:
    language, level = visit.language, _level(line, visit.at)
    style, icon = _STYLES[level]
    label = translate(language, f"health.level.{style}")
    if line.client.provisional:
        style, icon, label = "plain", "", translate(language, "health.no_cif")
    elif line.running:
        style, icon, label = "archived", "arrow-path", translate(language, "health.running")
    queued = line.counts[MessageState.QUEUED]
    days = days_sentence(line.oldest.days_left).in_language(language) if line.oldest else ""
    return {
        "uid": line.client.uid,
        "name": line.client.name,
        "provisional": line.client.provisional,
        "style": style,
        "icon": icon,
        "label": label,
        "listed": i18n.lately(line.listed_at, visit.at, language) if line.listed_at else "",
        "new": grouped(line.new, language) if line.new else "",
        "queued": grouped(queued, language) if queued else "",
        "days": days,
        "problems": _problems(line, visit),
        "intervals": intervals(portal, line.every_hours, language),
    }


def _problems(line: Line, visit: Visit) -> list[str]:
    """What is wrong, the worst first, in a few words each."""
    language = visit.language
    said = [translate(language, f"health.stopped.{why}") for why in line.stopped]
    if line.problem is not None and not line.stopped:
        said.append(line.problem.in_language(language))
    said += [
        count(language, f"health.{state.value}", line.counts[state])
        for state in LOST
        if line.counts[state]
    ]
    if line.missing:
        said.append(count(language, "health.missing", line.missing))
    return said


HANDLERS: list[BaseRouteHandler] = [health, fetch_all]

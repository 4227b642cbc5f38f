"""Is the month complete? One month of a client, its proof, and the firm's board of all clients.

What "month" means and who sees how much of it is said in `store.months`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Stream

from appliance.core import month_words
from appliance.core.counts import grouped
from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import FIRM_ROLES, Role, Status
from appliance.core.times import BUCHAREST, from_text, to_text
from appliance.store import clients, jobs, months, radar
from appliance.store.clients import ClientRow
from appliance.store.files import Archive
from appliance.store.messages import MessageState
from appliance.store.months import BoardRow, Gap, Named, Report, Totals
from appliance.store.periods import current_period, shifted
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.forms import see_other
from appliance.web.pages.files import file_answer
from appliance.web.pages.frame import frame_for
from appliance.web.pages.objects import load_client
from appliance.web.portal import portal_of
from appliance.web.render import count, page, translate
from appliance.web.visit import Visit, viewer_of, visit_of

# A contributor sees own uploads and has no business here; who is narrowed is told by the store.
_WHO = allow(Role.OWNER, Role.APPROVER, Role.VIEWER, *FIRM_ROLES, object="client")
_CLIENT = {"client": Provide(load_client)}
_MOST_MONTHS = 36
# A person waits for it.
_PRIORITY = 10
_FLAWS = frozenset({"unreadable", "signature"})


@get("/months", opt=allow(*FIRM_ROLES))
async def board(request: Request[Any, Any, Any]) -> Response[str]:
    """All clients of this person of the firm in one month, the last whole one unless told."""
    visit, viewer = visit_of(request), viewer_of(request)
    month, rows, names = await _board(request)
    shown = [_board_row(row, names[row.totals.client_id], visit) for row in rows]
    return page(
        visit,
        "month_board.html",
        frame=await frame_for(viewer, "months"),
        rows=shown,
        heading=i18n.month(month, visit.language),
        whole=sum(not row["gaps"] for row in shown),
        every=count(visit.language, "clients.count", len(shown)),
        **_neighbours("/months?month=", month, visit),
    )


@get("/months/json", opt=allow(*FIRM_ROLES))
async def board_json(request: Request[Any, Any, Any]) -> Response[str]:
    """The same as data."""
    visit = visit_of(request)
    month, rows, names = await _board(request)
    return _json(
        {
            "month": month,
            "at": to_text(visit.at),
            "clients": [
                {
                    "client": names[row.totals.client_id].uid,
                    "name": names[row.totals.client_id].name,
                    **_numbers(row.totals),
                    "unlisted": row.unlisted,
                    "oldest_undecided": _text(row.oldest_undecided),
                    "radar": _radar_json(row.fetching),
                }
                for row in rows
            ],
        }
    )


@get("/clients/{client_uid:str}/months", opt=_WHO, dependencies=_CLIENT)
async def month_list(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """The client's months, the latest first."""
    visit, viewer = visit_of(request), viewer_of(request)
    months.sees_all(viewer, client.id)
    found = await months.of_client(client.id)
    fetching = (await radar.oldest([client.id], visit.at)).get(client.id)
    return page(
        visit,
        "months.html",
        frame=await frame_for(viewer, "months", client),
        rows=[
            {
                "place": f"/clients/{client.uid}/months/{totals.month}",
                "name": i18n.month(totals.month, visit.language),
                **_shown(totals, visit.language),
                "gaps": _short_gaps(totals, visit.language),
            }
            for totals in found[:_MOST_MONTHS]
        ],
        radar=_radar(fetching, visit),
    )


@get("/clients/{client_uid:str}/months/{month:str}", opt=_WHO, dependencies=_CLIENT)
async def month_page(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow], month: FromPath[str]
) -> Response[str]:
    """One month: the four numbers, everything that is missing, and its proof."""
    visit, viewer = visit_of(request), viewer_of(request)
    report = await months.report(
        client.id, month, visit.at, everything=months.sees_all(viewer, client.id)
    )
    language = visit.language
    kinds = {gap.kind for gap in report.gaps}
    verdict = month_words.verdict(
        fetched=report.fetched,
        complete=report.complete,
        running="running" in kinds,
        flawed=bool(kinds & _FLAWS),
    ).in_language(language)
    return page(
        visit,
        "month.html",
        frame=await frame_for(viewer, "months", client),
        here=f"/clients/{client.uid}/months/{month}",
        heading=i18n.month(month, language),
        verdict=verdict,
        tone="good" if report.complete else "warn",
        numbers=_table(report.totals, language),
        gaps=[_gap(gap, visit) for gap in report.gaps],
        radar=_radar(report.fetching, visit),
        listed_at=i18n.moment(report.listed_at, language),
        periods=[
            (i18n.month(period, language), grouped(number, language))
            for period, number in report.periods.items()
        ],
        in_period=grouped(report.in_period, language),
        proof=await _proof(portal_of(request).archive, client, month, visit),
        **_neighbours(f"/clients/{client.uid}/months/", month, visit),
    )


@get("/clients/{client_uid:str}/months/{month:str}/json", opt=_WHO, dependencies=_CLIENT)
async def month_json(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow], month: FromPath[str]
) -> Response[str]:
    """The same as data; no more than the page shows this person."""
    visit, viewer = visit_of(request), viewer_of(request)
    report = await months.report(
        client.id, month, visit.at, everything=months.sees_all(viewer, client.id)
    )
    return _json(
        _report_json(client, report, visit, _claims(portal_of(request).archive, client, month))
    )


@get("/clients/{client_uid:str}/months/{month:str}/proof", opt=_WHO, dependencies=_CLIENT)
async def proof_file(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow], month: FromPath[str]
) -> Stream:
    """„Dovada lunii” as it was made last; 404 before the first."""
    months.sees_all(viewer_of(request), client.id)
    archive = portal_of(request).archive
    if _claims(archive, client, months.checked(month)) is None:
        raise NotFound(month_words.NO_PROOF)
    file = archive.open_proof(client.uid, f"{month}.pdf")
    name = f"Dovada_{month}_{client.folder_name}.pdf"
    return file_answer(file, name, inline=True)


@post(
    "/clients/{client_uid:str}/months/{month:str}/proof",
    opt=_WHO,
    dependencies=_CLIENT,
    status_code=303,
)
async def ask_for_proof(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow], month: FromPath[str]
) -> Response[str]:
    """Let sync make the proof; who asks while it is being made gets the same one."""
    visit, viewer = visit_of(request), viewer_of(request)
    months.sees_all(viewer, client.id)
    if months.checked(month) > current_period(visit.at):
        raise BadInput(month_words.NOT_YET)
    await jobs.insert(
        "proof", f"{client.uid}/{month}", visit.at, client_id=client.id, priority=_PRIORITY
    )
    return see_other(f"/clients/{client.uid}/months/{month}#proof")


async def _board(
    request: Request[Any, Any, Any],
) -> tuple[str, list[BoardRow], Mapping[int, ClientRow]]:
    visit, viewer = visit_of(request), viewer_of(request)
    month = request.query_params.get("month") or shifted(current_period(visit.at), -1)
    rows = {client.id: client for client in await clients.list_for(viewer)}
    return month, await months.board(viewer, rows, month, visit.at), rows


def _board_row(row: BoardRow, client: ClientRow, visit: Visit) -> dict[str, Any]:
    totals, language = row.totals, visit.language
    oldest = row.oldest_undecided
    gaps = _short_gaps(totals, language)
    if row.unlisted:
        gaps.insert(0, {"text": translate(language, "months.short.unlisted"), "style": "warn"})
    return {
        "name": client.name,
        "place": f"/clients/{client.uid}/months/{totals.month}",
        **_shown(totals, language),
        "gaps": gaps,
        "oldest": _age(oldest, visit) if oldest else "",
        "radar": _radar(row.fetching, visit),
    }


def _shown(totals: Totals, language: str) -> dict[str, str]:
    """The four numbers of a row: of what there is, how much is done."""

    def of(done: int, every: int) -> str:
        if not every:
            return ""
        both = grouped(done, language), grouped(every, language)
        return both[0] if done == every else f"{both[0]} / {both[1]}"

    return {
        "listed": grouped(totals.listed, language) if totals.listed else "",
        "archived": of(totals.archived, totals.listed),
        "decided": of(totals.decided, totals.decidable),
        "recorded": of(totals.recorded, totals.recordable),
    }


def _short_gaps(totals: Totals, language: str) -> list[dict[str, str]]:
    """What is missing, in two words each."""
    found = [(state.value, number) for state, number in totals.absent.items()]
    found += [
        (status.value, totals.with_status(status))
        for status in (Status.PENDING, Status.APPROVED)
        if totals.with_status(status)
    ]
    lost = (MessageState.EXPIRED, MessageState.NOT_ALLOWED, MessageState.QUARANTINED)
    return [
        {
            "text": f"{translate(language, f'months.short.{kind}')}: {grouped(number, language)}",
            "style": "bad" if kind in lost else "warn" if kind == "queued" else kind,
        }
        for kind, number in found
    ]


def _table(totals: Totals, language: str) -> list[dict[str, str]]:
    """The numbers beside one another: from SPV, otherwise, together, and out of how many."""

    def row(key: str, fetched: int, other: int | None, every: int | None) -> dict[str, str]:
        together = fetched + (other or 0)
        out_of = "" if every is None or every == together else grouped(every, language)
        return {
            "label": translate(language, f"months.{key}"),
            "meaning": translate(language, f"months.{key}.more"),
            "fetched": grouped(fetched, language),
            "other": "–" if other is None else grouped(other, language),
            "total": grouped(together, language),
            "out_of": translate(language, "months.out_of", number=out_of) if out_of else "",
        }

    def decided(of: Mapping[Status, int]) -> int:
        return sum(number for status, number in of.items() if status is not Status.PENDING)

    recorded = Status.ARCHIVED
    others = sum(totals.others.values())
    return [
        row("listed", totals.listed, None, None),
        row("archived", totals.archived, others, totals.listed + others),
        row("decided", decided(totals.documents), decided(totals.others), totals.decidable),
        row(
            "recorded",
            totals.documents.get(recorded, 0),
            totals.others.get(recorded, 0),
            totals.recordable,
        ),
    ]


def _gap(gap: Gap, visit: Visit) -> dict[str, Any]:
    sentence = month_words.gap_sentence(gap.kind, gap.number).in_language(visit.language)
    oldest = ""
    if gap.oldest is not None:
        key = {"unlisted": "months.last_list", "unseen": "months.first_list"}.get(
            gap.kind, "months.oldest"
        )
        oldest = translate(visit.language, key, date=_day(gap.oldest, visit))
    bad = gap.kind in ("expired", "not_allowed", "quarantined", "no_document", "unseen")
    return {
        "sentence": sentence,
        "oldest": oldest,
        "icon": "exclamation-circle" if bad else "clock",
        "style": "bad" if bad else "warn",
        "named": [_named(each, visit) for each in gap.named],
        "more": gap.number - len(gap.named) if gap.named else 0,
    }


def _named(each: Named, visit: Visit) -> dict[str, Any]:
    language = visit.language
    if each.uid is not None:
        title = " · ".join(part for part in (each.partner, each.number) if part)
    else:
        title = translate(language, "months.message", id=each.message_id or "")
    facts = [_day(each.when, visit)]
    if each.upload_id:
        facts.append(f"{translate(language, 'spv.upload_id')} {each.upload_id}")
    if each.days_left is not None:
        facts.append(month_words.days_sentence(each.days_left).in_language(language))
    return {
        "uid": each.uid,
        "title": title or translate(language, "document.without_partner"),
        "facts": " · ".join(facts),
        "problem": each.problem.in_language(language) if each.problem else "",
    }


def _radar(oldest: radar.Oldest | None, visit: Visit) -> dict[str, str] | None:
    if oldest is None:
        return None
    left = oldest.days_left
    few, _, fewest = radar.ALERT_DAYS
    return {
        "days": month_words.days_sentence(left).in_language(visit.language),
        "number": str(left),
        "since": _day(oldest.created_at, visit),
        "style": "bad" if left <= fewest else "warn" if left <= few else "plain",
    }


async def _proof(archive: Archive, client: ClientRow, month: str, visit: Visit) -> dict[str, Any]:
    """What is known of the month's proof: whether it is being made, and what the last one says."""
    language = visit.language
    job = await jobs.latest("proof", f"{client.uid}/{month}")
    claims = _claims(archive, client, month)
    waits = job is not None and job.state in ("queued", "leased")
    shown: dict[str, Any] = {
        "waits": waits,
        "problem": job.problem.in_language(language)
        if job is not None and job.problem is not None and job.state != "done"
        else "",
        "possible": month <= current_period(visit.at),
        "made": None,
    }
    if claims is not None:
        messages = claims["messages"]
        shown["made"] = {
            "at": i18n.moment(from_text(claims["at"]), language),
            "archived": grouped(messages["archived"], language),
            "listed": count(language, "fetching.messages", messages["listed"]),
            "manifests": grouped(claims["manifests"]["number"], language),
            "sha256": claims["manifests"]["sha256"],
            "seq": grouped(claims["audit"]["seq"], language),
            "head": claims["audit"]["head"],
        }
    return shown


def _claims(archive: Archive, client: ClientRow, month: str) -> dict[str, Any] | None:
    """Return what the last proof claims; None when there is none that can be read."""
    try:
        with archive.open_proof(client.uid, f"{month}.json") as file:
            claims: dict[str, Any] = json.loads(file.read())
    except (NotFound, ValueError):
        return None
    return claims


def _report_json(
    client: ClientRow, report: Report, visit: Visit, claims: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "client": client.uid,
        "name": client.name,
        "month": report.totals.month,
        "at": to_text(report.at),
        "fetched": report.fetched,
        "complete": report.complete,
        **_numbers(report.totals),
        "periods": dict(report.periods),
        "in_period": report.in_period,
        "listed_at": _text(report.listed_at),
        "radar": _radar_json(report.fetching),
        "gaps": [
            {
                "kind": gap.kind,
                "number": gap.number,
                "oldest": _text(gap.oldest),
                "sentence": month_words.gap_sentence(gap.kind, gap.number).in_language(
                    visit.language
                ),
                "named": [
                    {
                        "document": each.uid,
                        "message_id": each.message_id,
                        "upload_id": each.upload_id,
                        "at": to_text(each.when),
                        "days_left": each.days_left,
                        "problem": each.problem.in_language(visit.language)
                        if each.problem
                        else None,
                    }
                    for each in gap.named
                ],
            }
            for gap in report.gaps
        ],
        "proof": claims,
    }


def _numbers(totals: Totals) -> dict[str, Any]:
    return {
        "listed": totals.listed,
        "archived": totals.archived,
        "decidable": totals.decidable,
        "decided": totals.decided,
        "recordable": totals.recordable,
        "recorded": totals.recorded,
        "messages": {state.value: totals.messages.get(state, 0) for state in MessageState},
        "documents": {status.value: totals.documents.get(status, 0) for status in Status},
        "others": {status.value: totals.others.get(status, 0) for status in Status},
    }


def _radar_json(oldest: radar.Oldest | None) -> dict[str, Any] | None:
    if oldest is None:
        return None
    return {"created_at": to_text(oldest.created_at), "days_left": oldest.days_left}


def _json(value: object) -> Response[str]:
    return Response(json.dumps(value, ensure_ascii=False), media_type="application/json")


def _text(moment: datetime | None) -> str | None:
    return to_text(moment) if moment is not None else None


def _day(moment: datetime, visit: Visit) -> str:
    return i18n.day(moment.astimezone(BUCHAREST).date(), visit.language)


def _age(moment: datetime, visit: Visit) -> str:
    """Return how many days ago it was, in words."""
    days = (visit.at.astimezone(BUCHAREST).date() - moment.astimezone(BUCHAREST).date()).days
    return month_words.age_sentence(max(days, 0)).in_language(visit.language)


def _neighbours(place: str, month: str, visit: Visit) -> dict[str, Any]:
    """The months before and after, as far as there can be any."""
    current = current_period(visit.at)
    earlier, later = shifted(month, -1), shifted(month, 1)
    return {
        "earlier": {"href": f"{place}{earlier}", "name": i18n.month(earlier, visit.language)},
        "later": {"href": f"{place}{later}", "name": i18n.month(later, visit.language)}
        if later <= current
        else None,
    }


HANDLERS: list[BaseRouteHandler] = [
    board,
    board_json,
    month_list,
    month_page,
    month_json,
    proof_file,
    ask_for_proof,
]

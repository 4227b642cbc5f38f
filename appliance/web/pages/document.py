"""One document: reading it, and deciding about it.

What is decided is what was seen: every form carries the status and revision
that its page showed, and the store refuses when the document has moved since.
The routes of the decisions are made from `core.lifecycle.TRANSITIONS`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Stream

from appliance.core import presentation, ubl
from appliance.core.errors import (
    BadInput,
    DocumentRefused,
    NotFound,
    PeriodClosed,
    StaleDocument,
    TransitionRefused,
)
from appliance.core.lifecycle import TRANSITIONS, Action
from appliance.core.presentation import Presented
from appliance.core.roles import CLIENT_ROLES, FIRM_ROLES, Role, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.store import clients, documents, periods
from appliance.store.documents import DocumentView, Event
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.errors import status_of
from appliance.web.forms import Form, read_form, see_other
from appliance.web.pages.cards import card_of, signature_flag, signature_sentence
from appliance.web.pages.files import file_answer
from appliance.web.pages.frame import Frame, frame_for
from appliance.web.pages.lists import Done, done_of
from appliance.web.pages.objects import load_document
from appliance.web.portal import Portal, portal_of
from appliance.web.render import page, translate
from appliance.web.visit import Visit, viewer_of, visit_of

REASONS = {
    Action.REJECT: (
        "not_ours",
        "not_delivered",
        "wrong_amount",
        "duplicate",
        "personal",
        "other",
    ),
    Action.RETURN: ("not_ours", "unclear", "missing", "duplicate", "other"),
    Action.REOPEN: ("wrong_period", "mistake", "wrong_amount", "other"),
}
# What a person is asked before these steps is a page of its own.
ASKS = (Action.REJECT, Action.RETURN, Action.RECORD, Action.REOPEN)
# After these the next document of the same list comes by itself.
GOES_ON = frozenset({Action.APPROVE, Action.REJECT, Action.RECORD})
MAX_REASON = 500
_POSITIONS = 50

_FILE_ICONS = {
    "pdf": "document-text",
    "invoice": "code-bracket",
    "signature": "shield-check",
    "zip": "archive-box",
    "attachment": "paper-clip",
    "original": "document-text",
}
_FILE_ORDER = ("pdf", "original", "attachment", "invoice", "signature", "zip")
_DOCUMENT = {"document": Provide(load_document)}


@get(
    "/documents/{document_uid:str}",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="document"),
    dependencies=_DOCUMENT,
)
async def show(
    request: Request[Any, Any, Any], document: NamedDependency[DocumentView]
) -> Response[str]:
    """The invoice as a page, its files, its history and what may be done with it."""
    done = await done_of(request, viewer_of(request))
    return await _document_page(request, document, done=done)


@get(
    "/documents/{document_uid:str}/files/{name:str}",
    opt=allow(*CLIENT_ROLES, *FIRM_ROLES, object="document"),
    dependencies=_DOCUMENT,
)
async def document_file(
    request: Request[Any, Any, Any], document: NamedDependency[DocumentView], name: FromPath[str]
) -> Stream:
    """One file of the document; our own PDF opens in the browser unless `?download=1` is asked."""
    for file in document.files:
        if file.stored_name == name and file.role in _FILE_ICONS:
            opened = portal_of(request).archive.open_file(
                document.client_uid, document.archive_month, document.uid, name
            )
            inline = file.role == "pdf" and "download" not in request.query_params
            return file_answer(opened, file.shown_name or name, size=file.size, inline=inline)
    raise NotFound(Sentence("Fișierul nu există.", "there is no such file"))


@post(
    "/documents/{document_uid:str}/take",
    opt=allow(Role.ACCOUNTANT, object="document"),
    dependencies=_DOCUMENT,
    status_code=303,
)
async def take(
    request: Request[Any, Any, Any], document: NamedDependency[DocumentView]
) -> Response[str]:
    """Note that the accountant works with it; the client cannot withdraw it from now on."""
    await documents.take(document.uid, viewer_of(request), visit_of(request).at)
    return see_other(_address(f"/documents/{document.uid}", "take", document.uid))


def _roles_of(action: Action) -> frozenset[Role]:
    rows = [row.roles for (_, step), row in TRANSITIONS.items() if step is action]
    return frozenset().union(*rows)


def _deciding(action: Action) -> BaseRouteHandler:
    @post(
        f"/documents/{{document_uid:str}}/{action.value}",
        opt=allow(*_roles_of(action), object="document"),
        dependencies=_DOCUMENT,
        status_code=303,
        name=f"document.{action.value}",
    )
    async def decide(
        request: Request[Any, Any, Any], document: NamedDependency[DocumentView]
    ) -> Response[str]:
        return await _decide(request, document, action)

    return decide


def _asking(action: Action) -> BaseRouteHandler:
    @get(
        f"/documents/{{document_uid:str}}/{action.value}",
        opt=allow(*_roles_of(action), object="document"),
        dependencies=_DOCUMENT,
        name=f"document.{action.value}.ask",
    )
    async def ask(
        request: Request[Any, Any, Any], document: NamedDependency[DocumentView]
    ) -> Response[str]:
        if action.value not in card_of(document, viewer_of(request), visit_of(request).at).actions:
            return see_other(f"/documents/{document.uid}")
        back = "list" if request.query_params.get("back") == "list" else ""
        return await _sheet(request, document, action, back=back)

    return ask


async def _decide(
    request: Request[Any, Any, Any], document: DocumentView, action: Action
) -> Response[str]:
    visit, viewer = visit_of(request), viewer_of(request)
    form = await read_form(request)
    back = "list" if form["back"] == "list" else ""
    try:
        await documents.act(
            document.uid,
            action,
            viewer,
            seen_status=_seen_status(form),
            seen_revision=_seen_revision(form),
            at=visit.at,
            channel="portal",
            reason=_reason(form, action, visit.language),
            period=form["period"] or None if action is Action.RECORD else None,
        )
    except (StaleDocument, TransitionRefused) as error:
        # One sentence, and the document as it is now.
        fresh = await documents.get(document.uid, viewer)
        return await _document_page(request, fresh, problem=error, status=status_of(error))
    except (BadInput, PeriodClosed) as error:
        if action not in ASKS:
            raise
        fresh = await documents.get(document.uid, viewer)
        return await _sheet(
            request, fresh, action, back=back, problem=error, status=status_of(error)
        )
    return see_other(await _where_next(document, viewer, action, back))


async def _where_next(document: DocumentView, viewer: Viewer, action: Action, back: str) -> str:
    old_list = f"/clients/{document.client_uid}/{document.status.value}"
    if back == "list":
        return _address(old_list, action, document.uid)
    if action in GOES_ON:
        following = await documents.page(viewer, document.client_uid, document.status, limit=1)
        if following.rows:
            return _address(f"/documents/{following.rows[0].uid}", action, document.uid)
        return _address(old_list, action, document.uid)
    try:
        await documents.get(document.uid, viewer)
    except NotFound:
        return _address(old_list, action, document.uid)
    return _address(f"/documents/{document.uid}", action, document.uid)


def _address(path: str, action: str, uid: str) -> str:
    return f"{path}?{urlencode({'done': str(action), 'document': uid})}"


def _seen_status(form: Form) -> Status:
    try:
        return Status(form["seen_status"])
    except ValueError:
        raise _unseen() from None


def _seen_revision(form: Form) -> int:
    text = form["seen_revision"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _unseen()
    return int(text)


def _reason(form: Form, action: Action, language: str) -> str | None:
    if action not in REASONS:
        return None
    chosen, note = form["reason"].strip(), form["note"].strip()
    if len(chosen) > MAX_REASON or len(note) > MAX_REASON:
        raise BadInput(
            Sentence(
                f"Motivul este prea lung: cel mult {MAX_REASON} de caractere.",
                f"the reason is too long: at most {MAX_REASON} characters",
            )
        )
    if chosen == "other":
        if not note:
            raise BadInput(
                Sentence(
                    "Ai ales „Alt motiv”. Scrie motivul în câteva cuvinte.",
                    "you chose another reason; write it in a few words",
                )
            )
        return note
    if chosen in REASONS[action]:
        chosen = translate(language, f"reason.{chosen}")
    return ": ".join(filter(None, (chosen, note))) or None


async def _sheet(
    request: Request[Any, Any, Any],
    document: DocumentView,
    action: Action,
    *,
    back: str,
    problem: BadInput | PeriodClosed | None = None,
    status: int = 200,
) -> Response[str]:
    visit, viewer = visit_of(request), viewer_of(request)
    client = await clients.by_uid(document.client_uid, viewer)
    list_path = f"/clients/{document.client_uid}/{document.status.value}"
    return page(
        visit,
        "sheet.html",
        status=status,
        frame=await frame_for(viewer, document.status.value, client),
        card=card_of(document, viewer, visit.at),
        action=action.value,
        heading=translate(visit.language, f"sheet.{action.value}"),
        lead=translate(visit.language, f"sheet.{action.value}.lead"),
        button=translate(visit.language, f"action.{action.value}"),
        style="danger" if action is Action.REJECT else "main",
        reasons=REASONS.get(action, ()),
        periods=await _periods(document, visit) if action is Action.RECORD else [],
        back=back,
        cancel=list_path if back else f"/documents/{document.uid}",
        problem=_text(problem, visit) if problem else None,
    )


async def _periods(document: DocumentView, visit: Visit) -> list[dict[str, object]]:
    offer = await periods.choices(document.client_id, document.list_date, visit.at)
    return [
        {"value": month, "label": i18n.month(month, visit.language), "chosen": month == offer.usual}
        for month in reversed(offer.months)
    ]


async def _document_page(
    request: Request[Any, Any, Any],
    document: DocumentView,
    *,
    done: Done | None = None,
    problem: StaleDocument | TransitionRefused | None = None,
    status: int = 200,
) -> Response[str]:
    visit, viewer = visit_of(request), viewer_of(request)
    client = await clients.by_uid(document.client_uid, viewer)
    frame = await frame_for(viewer, document.status.value, client)
    card = card_of(document, viewer, visit.at)
    accountant = Role.ACCOUNTANT in viewer.roles_at(document.client_id)
    return page(
        visit,
        "document.html",
        status=status,
        frame=frame,
        card=card,
        presented=await asyncio.to_thread(_presented, portal_of(request), document, visit.language),
        position=await _position(document, viewer, frame),
        trouble=document.problem.in_language(visit.language) if document.problem else "",
        files=_files(document, visit.language),
        pdf_coming=document.type in ("invoice", "credit_note")
        and not any(file.role == "pdf" for file in document.files),
        signature=_signature(document, visit.language),
        facts=_facts(document, visit.language),
        history=[_event(event, visit) for event in reversed(document.events)],
        last_reason=_last_reason(document),
        may_take=accountant and document.status is Status.APPROVED and document.taken_at is None,
        standing=_standing(document, viewer, card.actions, visit.language),
        done=done,
        problem=_text(problem, visit) if problem else None,
    )


def _presented(portal: Portal, document: DocumentView, language: str) -> Presented | None:
    if document.type not in ("invoice", "credit_note"):
        return None
    for file in document.files:
        if file.role == "invoice":
            try:
                with portal.archive.open_file(
                    document.client_uid, document.archive_month, document.uid, file.stored_name
                ) as opened:
                    return presentation.present(ubl.read(opened.read()), language)
            except (DocumentRefused, NotFound):
                return None
    return None


async def _position(document: DocumentView, viewer: Viewer, frame: Frame) -> str:
    if document.status is not Status.PENDING:
        return ""
    first = await documents.page(viewer, document.client_uid, Status.PENDING, limit=_POSITIONS)
    for index, row in enumerate(first.rows, start=1):
        if row.uid == document.uid:
            total = frame.count(Status.PENDING)
            return translate(viewer.language, "document.position", index=index, total=total)
    return ""


@dataclass(frozen=True)
class _File:
    href: str
    label: str
    name: str
    size: str
    icon: str
    inline: bool


def _files(document: DocumentView, language: str) -> list[_File]:
    shown = [file for file in document.files if file.role in _FILE_ICONS]
    shown.sort(key=lambda file: _FILE_ORDER.index(file.role))
    return [
        _File(
            href=f"/documents/{document.uid}/files/{quote(file.stored_name, safe='')}",
            label=translate(language, f"file.{file.role}"),
            name=(file.shown_name or file.stored_name)
            if file.role in ("attachment", "original")
            else "",
            size=presentation.format_size(file.size, language),
            icon=_FILE_ICONS[file.role],
            inline=file.role == "pdf",
        )
        for file in shown
    ]


def _signature(document: DocumentView, language: str) -> dict[str, str]:
    flag = signature_flag(document, language)
    return {
        "label": flag.text,
        "icon": flag.icon,
        "style": flag.style,
        "sentence": signature_sentence(document, language),
    }


def _facts(document: DocumentView, language: str) -> list[tuple[str, str]]:
    pairs = [
        ("upload_id", document.upload_id or ""),
        ("message_id", document.message_id or ""),
        ("received", i18n.moment(document.received_at, language)),
        ("period", i18n.month(document.period, language) if document.period else ""),
        ("folder", document.folder_name),
    ]
    return [(translate(language, f"fact.{key}"), value) for key, value in pairs if value]


def _event(event: Event, visit: Visit) -> dict[str, str]:
    language = visit.language
    known = event.action in {*Action, "ingest", "take", "correct"}
    if event.action == Action.RECORD and event.period:
        month = i18n.month(event.period, language)
        what = translate(language, "event.record.period", period=month)
    elif known:
        what = translate(language, f"event.{event.action}")
    else:
        what = event.action
    channel = event.channel
    if channel in ("spv", "portal", "drive", "import", "reindex", "upload"):
        channel = translate(language, f"channel.{channel}")
    return {
        "what": what,
        "who": event.actor_name or "",
        "reason": event.reason or "",
        "when": i18n.moment(event.at, language),
        "iso": event.at.isoformat(),
        "channel": ", ".join(filter(None, (channel, event.device or ""))),
    }


def _last_reason(document: DocumentView) -> str:
    last = document.events[-1] if document.events else None
    if last is None or not last.reason:
        return ""
    return f"{last.actor_name}: {last.reason}" if last.actor_name else last.reason


def _standing(
    document: DocumentView, viewer: Viewer, actions: frozenset[str], language: str
) -> str:
    """Return why a person who usually decides finds no button here."""
    deciders = viewer.acting_roles(document.facts) & {Role.OWNER, Role.APPROVER}
    if document.status is Status.APPROVED and document.taken_at is not None:
        return translate(language, "document.taken")
    if document.status is Status.PENDING and deciders and Action.APPROVE.value not in actions:
        return translate(language, "document.over_limit")
    return ""


def _text(error: BadInput | PeriodClosed | StaleDocument | TransitionRefused, visit: Visit) -> str:
    text = error.sentence.in_language(visit.language)
    return text[:1].upper() + text[1:]


def _unseen() -> BadInput:
    return BadInput(
        Sentence(
            "Formularul nu spune ce document ai văzut. Reîncarcă pagina și încearcă din nou.",
            "the form does not say what you saw; reload the page and try again",
        )
    )


HANDLERS: list[BaseRouteHandler] = [
    show,
    document_file,
    take,
    *(_deciding(action) for action in Action),
    *(_asking(action) for action in ASKS),
]

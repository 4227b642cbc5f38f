"""Deciding about a document.

What is decided is what was seen: every form carries the status and revision
that its page showed, and the store refuses when the document has moved since.
The routes of the decisions are made from `core.lifecycle.TRANSITIONS`. Each
address that takes a form also answers a GET: it leads to the document, so that
nobody is stuck at an address that cannot be opened again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler

from appliance.core.errors import (
    ArhivarError,
    BadInput,
    NotAllowed,
    NotFound,
    PeriodClosed,
    StaleDocument,
    TransitionRefused,
)
from appliance.core.lifecycle import TRANSITIONS, Action
from appliance.core.roles import Role, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.store import clients, documents, periods
from appliance.store.documents import DocumentView
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.errors import status_of
from appliance.web.forms import Form, read_form, see_other
from appliance.web.pages.cards import card_of
from appliance.web.pages.document import document_page, what_happened
from appliance.web.pages.frame import frame_for
from appliance.web.pages.objects import load_document
from appliance.web.pages.places import document_place, done_at, safe_list
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
_DOCUMENT = {"document": Provide(load_document)}


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
            # Somebody was faster: the page says who.
            moved = (document.status, action) not in TRANSITIONS
            return see_other(document_place(document.uid) + ("?moved=1" if moved else ""))
        back = safe_list(request.query_params.get("back", ""))
        return await _sheet(request, document, action, back=back)

    return ask


def _leading_back(step: str, roles: frozenset[Role]) -> BaseRouteHandler:
    @get(
        f"/documents/{{document_uid:str}}/{step}",
        opt=allow(*roles, object="document"),
        dependencies=_DOCUMENT,
        name=f"document.{step}.back",
    )
    async def lead_back(document: NamedDependency[DocumentView]) -> Response[str]:
        return see_other(document_place(document.uid))

    return lead_back


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
    return see_other(done_at(document_place(document.uid), "take", document.uid))


async def _decide(
    request: Request[Any, Any, Any], document: DocumentView, action: Action
) -> Response[str]:
    visit, viewer = visit_of(request), viewer_of(request)
    form = await read_form(request)
    back = safe_list(form["back"])
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
    except (StaleDocument, TransitionRefused, NotAllowed) as error:
        # One sentence, and the document as it is now.
        fresh = await documents.get(document.uid, viewer)
        late = isinstance(error, StaleDocument)
        text = await what_happened(fresh, visit) if late else _text(error, visit)
        return await document_page(request, fresh, problem=text, status=status_of(error))
    except (BadInput, PeriodClosed) as error:
        if action not in ASKS:
            raise
        fresh = await documents.get(document.uid, viewer)
        return await _sheet(
            request, fresh, action, back=back, form=form, problem=error, status=status_of(error)
        )
    return see_other(await _where_next(document, viewer, action, back))


async def _where_next(document: DocumentView, viewer: Viewer, action: Action, back: str) -> str:
    old_list = f"/clients/{document.client_uid}/{document.status.value}"
    place = back or old_list
    if not back and action in GOES_ON:
        for after in (documents.cursor_of(document), None):
            following = await documents.page(
                viewer, document.client_uid, document.status, after=after, limit=1
            )
            if following.rows:
                place = document_place(following.rows[0].uid)
                break
    elif not back:
        # What is returned is the client's again, and its page gone for the firm.
        with suppress(NotFound):
            place = document_place((await documents.get(document.uid, viewer)).uid)
    return done_at(place, action, document.uid)


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
    form: Form | None = None,
    problem: BadInput | PeriodClosed | None = None,
    status: int = 200,
) -> Response[str]:
    visit, viewer = visit_of(request), viewer_of(request)
    client = await clients.by_uid(document.client_uid, viewer)
    form = form or Form()
    place = document_place(document.uid)
    response = page(
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
        chosen=form["reason"],
        note=form["note"][:MAX_REASON],
        periods=await _periods(document, visit) if action is Action.RECORD else [],
        back=back,
        cancel=back or place,
        problem=_text(problem, visit) if problem else None,
    )
    if visit.htmx:
        asked = f"?{urlencode({'back': back})}" if back else ""
        response.headers["hx-push-url"] = f"{place}/{action.value}{asked}"
    return response


async def _periods(document: DocumentView, visit: Visit) -> list[dict[str, object]]:
    offer = await periods.choices(document.client_id, document.list_date, visit.at)
    return [
        {"value": month, "label": i18n.month(month, visit.language), "chosen": month == offer.usual}
        for month in reversed(offer.months)
    ]


def _text(error: ArhivarError, visit: Visit) -> str:
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
    take,
    _leading_back("take", frozenset({Role.ACCOUNTANT})),
    *(_deciding(action) for action in Action),
    *(_asking(action) for action in ASKS),
    *(_leading_back(action.value, _roles_of(action)) for action in Action if action not in ASKS),
]

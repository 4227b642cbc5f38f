"""One document to read: the invoice as a page, its files, its history. See `decisions.py`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath
from litestar.response import Stream

from appliance.core import presentation, ubl
from appliance.core.errors import Busy, DocumentRefused, NotFound
from appliance.core.lifecycle import Action
from appliance.core.presentation import Presented
from appliance.core.roles import CLIENT_ROLES, FIRM_ROLES, Role, Status, Viewer
from appliance.core.sentence import Sentence
from appliance.store import clients, documents, duplicates, imports, pdfs
from appliance.store.documents import DocumentView, Event
from appliance.store.imports import Origin
from appliance.store.pdfs import PDF_NAME
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.pages.cards import card_of, signature_flag, signature_sentence
from appliance.web.pages.files import file_answer
from appliance.web.pages.frame import Frame, frame_for
from appliance.web.pages.lists import Done, done_of
from appliance.web.pages.objects import load_document
from appliance.web.pages.places import document_place
from appliance.web.portal import Portal, portal_of
from appliance.web.render import page, translate
from appliance.web.visit import Visit, viewer_of, visit_of

_FILE_ICONS = {
    "pdf": "document-text",
    "invoice": "code-bracket",
    "signature": "shield-check",
    "zip": "archive-box",
    "attachment": "paper-clip",
    "original": "document-text",
}
# What people open, in this order; the rest is evidence and stands with the signature.
_CONTENT = ("pdf", "original", "attachment", "invoice")
_EVIDENCE = ("signature", "zip")
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
    visit, viewer = visit_of(request), viewer_of(request)
    problem = ""
    if "moved" in request.query_params and document.events[-1].actor_name is not None:
        problem = await what_happened(document, visit)
    done = await done_of(request, viewer)
    return await document_page(request, document, done=done, problem=problem)


async def what_happened(document: DocumentView, visit: Visit) -> str:
    """Return one sentence to who comes late: who moved the document, and how it stands now."""
    step = (await documents.last_step(document.id, visit.at)).in_language(visit.language)
    return f"{step[:1].upper()}{step[1:]}. {translate(visit.language, 'document.now')}"


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
            return file_answer(opened, file.shown_name or name, inline=inline)
    if name == PDF_NAME and (said := await _pdf_said(document, visit_of(request))):
        raise NotFound(Sentence(said, said))
    raise NotFound(Sentence("Fișierul nu există.", "there is no such file"))


async def _pdf_said(document: DocumentView, visit: Visit) -> str:
    """Tell why there is no PDF yet, or at all; empty when it is there.

    Whoever looks waits for it: it is made before all others.
    """
    drawn = document.type in ("invoice", "credit_note")
    if not drawn or any(file.role == "pdf" for file in document.files):
        return ""
    try:
        problem = await pdfs.opened(document.uid, visit.at)
    except Busy:
        problem = None  # it has its place in the queue; the page does not wait for a better one
    if problem is None:
        return translate(visit.language, "document.pdf_coming")
    reason = problem.in_language(visit.language)
    if reason[1:2].islower():
        reason = reason[:1].lower() + reason[1:]
    return translate(visit.language, "document.pdf_problem", reason=reason)


async def document_page(
    request: Request[Any, Any, Any],
    document: DocumentView,
    *,
    done: Done | None = None,
    problem: str = "",
    status: int = 200,
) -> Response[str]:
    """Return the page, with what was just done or what stands in the way of it.

    Whatever was asked, the address that a browser shows is the document's own.
    """
    visit, viewer = visit_of(request), viewer_of(request)
    client = await clients.by_uid(document.client_uid, viewer)
    frame = await frame_for(viewer, document.status.value, client)
    why = await documents.reasons([document.id])
    twins = (await duplicates.twins(viewer, [document.id])).get(document.id, duplicates.NONE)
    card = card_of(document, viewer, visit.at, why.get(document.id), twins)
    origin = await imports.origin(document.uid) if document.source == "import" else None
    accountant = Role.ACCOUNTANT in viewer.roles_at(document.client_id)
    response = page(
        visit,
        "document.html",
        status=status,
        frame=frame,
        card=card,
        presented=await asyncio.to_thread(_presented, portal_of(request), document, visit.language),
        position=await _position(document, viewer, frame),
        trouble=document.problem.in_language(visit.language) if document.problem else "",
        files=_files(document, visit.language, _CONTENT),
        evidence=_files(document, visit.language, _EVIDENCE),
        pdf_said=await _pdf_said(document, visit),
        signature=_signature(document, visit.language),
        facts=_facts(document, origin, visit.language),
        twins=twins,
        history=[_event(event, visit) for event in reversed(document.events)],
        may_take=accountant and document.status is Status.APPROVED and document.taken_at is None,
        standing=_standing(document, viewer, card.actions, visit.language),
        done=done,
        problem=problem or None,
    )
    if visit.htmx:
        response.headers["hx-push-url"] = document_place(document.uid)
    return response


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
    index, total = await documents.position(viewer, document), frame.count(Status.PENDING)
    if not 1 <= index <= total:
        return ""  # something came or went between the two questions
    return translate(viewer.language, "document.position", index=index, total=total)


@dataclass(frozen=True)
class _File:
    href: str
    label: str
    name: str
    size: str
    icon: str
    inline: bool


def _files(document: DocumentView, language: str, roles: tuple[str, ...]) -> list[_File]:
    shown = [file for file in document.files if file.role in roles]
    shown.sort(key=lambda file: roles.index(file.role))
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


def _facts(document: DocumentView, origin: Origin | None, language: str) -> list[tuple[str, str]]:
    pairs = [
        ("source", _source(document, origin, language)),
        ("upload_id", document.upload_id or (origin.upload_id if origin else "")),
        ("message_id", document.message_id or ""),
        ("received", i18n.moment(document.received_at, language)),
        ("period", i18n.month(document.period, language) if document.period else ""),
        ("folder", document.folder_name),
    ]
    return [(translate(language, f"fact.{key}"), value) for key, value in pairs if value]


def _source(document: DocumentView, origin: Origin | None, language: str) -> str:
    if origin is not None:
        key = "fact.source.both" if document.message_id else "fact.source.import"
        return translate(language, key, source=origin.source, name=origin.name)
    if document.source not in ("spv", "upload", "drive"):
        # Rebuilt from the archive, which does not tell from where.
        known = document.source == "import"
        return translate(language, "nav.import") if known else document.source
    return translate(language, f"fact.source.{document.source}")


def _event(event: Event, visit: Visit) -> dict[str, str]:
    language = visit.language
    known = event.action in {*Action, "ingest", "take", "correct", "fetched"}
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


HANDLERS: list[BaseRouteHandler] = [show, document_file]

"""Import: old invoices of one client handed in as a file, and what became of each.

The browser sends the file itself as the body, never a form: it goes to the spool
as it comes, and no part of it is read here. A person chooses once what all of it
comes in as; `core.lifecycle.IMPORTS` says who may choose what.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler

from appliance.core.errors import BadInput
from appliance.core.lifecycle import import_choices
from appliance.core.roles import FIRM_ROLES, Role, Status
from appliance.core.sentence import Sentence
from appliance.store import imports
from appliance.store.clients import ClientRow
from appliance.store.engine import transaction
from appliance.store.ids import new_uid
from appliance.store.imports import ItemState, NewItem, Result, Run
from appliance.store.spool import UPLOAD_LIMIT, Spool
from appliance.web import i18n
from appliance.web.auth.guards import allow
from appliance.web.pages.frame import frame_for
from appliance.web.pages.objects import load_client
from appliance.web.portal import portal_of
from appliance.web.render import count, page, translate
from appliance.web.visit import Visit, viewer_of, visit_of

_WHO = allow(Role.OWNER, Role.APPROVER, *FIRM_ROLES, object="client")
_CLIENT = {"client": Provide(load_client)}
_BODY = "application/octet-stream"
CHUNK_SECONDS = 60  # an upload that gives nothing for so long is cut off
_LINES = 100
_ENDS = (ItemState.ARCHIVED, ItemState.NOTICE, ItemState.DUPLICATE, ItemState.REFUSED)


@get("/clients/{client_uid:str}/import", opt=_WHO, dependencies=_CLIENT)
async def show(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """Where files are handed in, and what became of those that were."""
    visit, viewer = visit_of(request), viewer_of(request)
    runs = await imports.of_client(client.id, viewer)
    return page(
        visit,
        "import.html",
        frame=await frame_for(viewer, "import", client),
        choices=[status.value for status in import_choices(viewer, client.id)],
        waiting=any(run.waiting for run in runs),
        runs=[
            _shown(run, await imports.results(run, viewer, _LINES) if place == 0 else [], visit)
            for place, run in enumerate(runs)
        ],
    )


@post(
    "/clients/{client_uid:str}/import",
    opt=_WHO,
    dependencies=_CLIENT,
    status_code=201,
    request_max_body_size=UPLOAD_LIMIT,
)
async def hand_in(
    request: Request[Any, Any, Any], client: NamedDependency[ClientRow]
) -> Response[str]:
    """Take one file, durably, and have sync file it; the address of the results is the answer."""
    visit, viewer = visit_of(request), viewer_of(request)
    if request.headers.get("content-type", "") != _BODY:
        raise _no_file()
    asked, name = request.query_params.get("status", ""), request.query_params.get("name", "")
    if asked not in {*Status} or not name.strip():
        raise _no_file()
    status = Status(asked)
    imports.require(status, viewer, client.id)
    uid = new_uid(visit.at)
    spool = Spool(portal_of(request).settings.spool_dir)
    digest = await spool.receive(uid, _chunks(request))
    async with transaction():
        run = await imports.begin(name, status, visit.at, client_id=client.id, by=viewer)
        await imports.add(run, [NewItem(uid, name, digest)], visit.at)
        await imports.handed_in(run, visit.at)
    return Response("", status_code=201, headers={"location": f"/clients/{client.uid}/import"})


async def _chunks(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(CHUNK_SECONDS):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BadInput(
                Sentence(
                    "Fișierul a ajuns prea încet și nu a fost preluat. Încearcă din nou.",
                    "the file arrived too slowly and was not taken; try again",
                )
            ) from None
        yield chunk


def _shown(run: Run, results: list[Result], visit: Visit) -> dict[str, Any]:
    language = visit.language
    ends = [
        count(language, f"import.{state.value}", run.counts[state])
        for state in _ENDS
        if run.counts.get(state)
    ]
    if run.ignored:
        ends.append(count(language, "import.ignored", run.ignored))
    return {
        "uid": run.uid,
        "source": run.source,
        "when": i18n.lately(run.created_at, visit.at, language),
        "as": translate(language, f"import.as.{run.status.value}"),
        "ends": ends,
        "waiting": count(language, "import.waiting", run.waiting) if run.waiting else "",
        "lines": [
            {
                "name": line.name,
                "said": _sentence(line, language),
                "document": line.document_uid,
            }
            for line in results
        ],
    }


def _sentence(line: Result, language: str) -> str:
    if line.problem is not None:
        text = line.problem.in_language(language)
        return text[:1].upper() + text[1:]
    return translate(language, "import.same")


def _no_file() -> BadInput:
    return BadInput(
        Sentence(
            "Nu a fost trimis niciun fișier. Alege un zip sau un XML și încearcă din nou.",
            "no file was sent; choose a zip or XML and try again",
        )
    )


HANDLERS: list[BaseRouteHandler] = [show, hand_in]

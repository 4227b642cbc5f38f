"""The two lists of messages: of the last days, and of a window by pages.

Source: the Ministry's swagger page of listaMesajeFactura and
listaMesajePaginatieFactura; limiteApeluriAPI for the quotas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from appliance.simulator.http import (
    NO_NUMBER,
    Request,
    Response,
    bad_request,
    digits,
    error_answer,
    json_answer,
    moment_of,
    wall,
)
from appliance.simulator.messages import Message
from appliance.simulator.state import WINDOW, State

_LIST_QUOTA = (
    "S-au facut deja {limit} interogari de lista mesaje de catre utilizator in cursul zilei"
)
_OVER_PAGE = (
    "Lista de mesaje este mai mare decat numarul de {size} elemente permise in pagina. "
    "Folositi endpoint-ul cu paginatie."
)


def simple(state: State, request: Request, serial: str) -> Response:
    query = request.query
    if "zile" not in query or "cif" not in query:
        return bad_request("Parametrii zile si cif sunt obligatorii", state.now())
    days, cif, filtru = query["zile"], query["cif"], query.get("filtru", "")
    error = None
    if not digits(days):
        error = f"Numarul de zile introdus= {days} nu este un numar intreg"
    elif not 1 <= int(days) <= 60:
        error = "Numarul de zile trebuie sa fie intre 1 si 60"
    elif not digits(cif):
        error = f"CIF introdus= {cif} nu este un numar"
    error = error or _list_error(state, cif, filtru, serial)
    limit = state.limits.lists_per_day
    if error is None and state.over_quota("list", cif, limit):
        error = _LIST_QUOTA.format(limit=limit)
    if error is not None:
        return error_answer(error, "Lista Mesaje")
    end = state.now()
    found = state.listed(cif, end - timedelta(days=int(days)), end, filtru)
    if not found:
        return error_answer(f"Nu exista mesaje in ultimele {days} zile", "Lista Mesaje")
    if len(found) > state.limits.page_size:
        return error_answer(_OVER_PAGE.format(size=state.limits.page_size), "Lista Mesaje")
    title = f"Lista Mesaje disponibile din ultimele {days} zile"
    return json_answer(_envelope(state, found, {}, serial, title))


def paged(state: State, request: Request, serial: str) -> Response:
    query = request.query
    if not {"startTime", "endTime", "cif", "pagina"} <= query.keys():
        text = "Parametrii startTime, endTime, cif si pagina sunt obligatorii"
        return bad_request(text, state.now())
    cif, filtru = query["cif"], query.get("filtru", "")
    error = None
    for name in ("startTime", "endTime", "pagina"):
        if not digits(query[name]) or (name == "pagina" and int(query[name]) < 1):
            error = error or f"{name} = {query[name]} {NO_NUMBER}"
    if error is None and not digits(cif):
        error = f"CIF introdus= {cif} {NO_NUMBER}"
    if error is None:
        error = _window_error(state, int(query["startTime"]), int(query["endTime"]))
    error = error or _list_error(state, cif, filtru, serial)
    limit = state.limits.pages_per_day
    if error is None and state.over_quota("pages", cif, limit):
        error = _LIST_QUOTA.format(limit=limit)
    if error is not None:
        return error_answer(error, "Lista Mesaje")
    start, end = moment_of(query["startTime"]), moment_of(query["endTime"])
    found = state.listed(cif, start, end, filtru)
    if not found:
        return error_answer("Nu exista mesaje in intervalul selectat", "Lista Mesaje")
    size = state.limits.page_size
    page, pages = int(query["pagina"]), -(-len(found) // size)
    if page > pages:
        text = f"Pagina solicitata {page} este mai mare decat numarul toatal de pagini {pages}"
        return error_answer(text, "Lista Mesaje")
    part = found[(page - 1) * size : page * size]
    numbers = {
        "numar_inregistrari_in_pagina": len(part),
        "numar_total_inregistrari_per_pagina": size,
        "numar_total_inregistrari": len(found),
        "numar_total_pagini": pages,
        "index_pagina_curenta": page,
    }
    title = f"Lista Mesaje disponibile din intervalul {wall(start)} - {wall(end)}"
    return json_answer(_envelope(state, part, numbers, serial, title))


def _window_error(state: State, start: int, end: int) -> str | None:
    now = state.now()
    now_ms = int(now.timestamp() * 1000)
    oldest = int((now - WINDOW).timestamp() * 1000)
    if max(start, end) > 253_370_764_800_000:  # the year 9999, where dates end
        return f"endTime = {end} {NO_NUMBER}"
    began, ended = wall(moment_of(start)), wall(moment_of(end))
    if start < oldest:
        return (
            f"startTime = {began} nu poate fi mai vechi de 60 de zile fata de momentul requestului"
        )
    if end > now_ms:
        return f"endTime = {ended} nu poate in viitor fata de momentul requestului = {wall(now)}"
    if end <= start:
        return f"endTime = {ended} nu poate fi <= startTime = {began}"
    return None


def _list_error(state: State, cif: str, filtru: str, serial: str) -> str | None:
    if filtru and filtru not in ("E", "T", "P", "R"):
        return "Valorile acceptate pentru parametrul filtru sunt E, T, P sau R"
    reachable = state.reachable(serial)
    if not reachable:
        return "Nu exista niciun CIF pentru care sa aveti drept in SPV"
    if cif not in reachable:
        return f"Nu aveti drept in SPV pentru CIF={cif}"
    return None


def _envelope(
    state: State, messages: Sequence[Message], numbers: Mapping[str, int], serial: str, title: str
) -> dict[str, Any]:
    return {
        "mesaje": [message.entry() for message in messages],
        **numbers,
        "serial": serial.replace(":", ""),
        "cui": ",".join(state.reachable(serial)),
        "titlu": title,
    }

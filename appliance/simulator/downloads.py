"""The zip of one message.

Source: the Ministry's swagger page of descarcare; limiteApeluriAPI for the quota.
"""

from __future__ import annotations

from appliance.simulator.http import Request, Response, bad_request, digits, error_answer
from appliance.simulator.state import WINDOW, State

_EXPIRED = (
    "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in care este "
    "disponibil"
)


def download(state: State, request: Request, serial: str) -> Response:
    if "id" not in request.query:
        return bad_request("Parametrul id este obligatoriu", state.now())
    wanted, title = request.query["id"], "Descarcare mesaj"
    if not digits(wanted):
        text = f"Id descarcare introdus= {wanted} nu este un numar intreg"
        return error_answer(text, title)
    message = state.message(wanted)
    if message is None or (message.visible or message.created) > state.now():
        return error_answer(f"Pentru id={wanted} nu exista inregistrata nici o factura", title)
    if message.cif not in state.reachable(serial):
        return error_answer("Nu aveti dreptul sa descarcati acesta factura", title)
    if message.created < state.now() - WINDOW:
        return error_answer(_EXPIRED, title)
    limit = state.limits.downloads_per_message
    if state.over_quota("download", wanted, limit):
        text = (
            f"S-au facut deja {limit} descarcari la mesajul cu id_descarcare={wanted}  "
            "in cursul zilei"
        )
        return error_answer(text, title)
    return Response(200, state.zip_of(message), "application/zip")

"""What goes wrong at ANAF, as it was seen to go wrong: one entry of `FAULTS` for each kind.

A fault either takes the place of an answer or changes a good one. Which calls
it strikes is decided in `rules`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.simulator import spoiled_lists as lists
from appliance.simulator import spoiled_zips as zips
from appliance.simulator.http import Request, Response, error_answer, json_answer
from appliance.simulator.state import State


@dataclass(frozen=True)
class Scene:
    """The call that a fault strikes; `seconds` is how long what takes time takes."""

    state: State
    request: Request
    seconds: float


@dataclass(frozen=True)
class Fault:
    """One kind. Exactly one of `instead` and `change` is given.

    `path` is the part of a path that it makes sense for; an answer that a
    change does not fit (a refusal, a list where a zip is meant) stays as it is.
    """

    about: str
    instead: Callable[[Scene], Response] | None = None
    change: Callable[[Response, Scene], Response] | None = None
    path: str = ""
    seconds: float = 0


def _fixed(
    about: str, body: bytes = b"", content_type: str = "application/json", status: int = 200
) -> Fault:
    return Fault(about, lambda scene: Response(status, body, content_type))


def _page(about: str, title: str, text: str, status: int = 200) -> Fault:
    page = f"<html><head><title>{title}</title></head><body>{text}</body></html>"
    return _fixed(about, page.encode(), "text/html", status)


def _changed(about: str, *, seconds: float = 0, **parts: Any) -> Fault:
    """Change how a good answer is sent, not what it says; None stands for the scene's seconds."""

    def change(response: Response, scene: Scene) -> Response:
        taken: dict[str, Any] = {
            name: scene.seconds if part is None else part for name, part in parts.items()
        }
        return dataclasses.replace(response, **taken)

    return Fault(about, change=change, seconds=seconds)


def _zip(about: str, spoil: zips.Spoil) -> Fault:
    def change(response: Response, scene: Scene) -> Response:
        if response.body[:2] != b"PK":
            return response
        signer = scene.state.signer
        return dataclasses.replace(response, body=spoil(response.body, signer))

    return Fault(about, change=change, path="descarcare")


def _list(about: str, spoil: lists.Spoil) -> Fault:
    def change(response: Response, scene: Scene) -> Response:
        return lists.spoiled(response, spoil, scene.state, scene.request.query)

    return Fault(about, change=change, path="lista")


def _invalid_json(response: Response, scene: Scene) -> Response:
    if response.body[:1] != b"{":
        return response
    return dataclasses.replace(response, body=response.body + b"}")


def _retry_later(scene: Scene) -> Response:
    headers = (("Retry-After", str(int(scene.seconds))),)
    return Response(429, b"", headers=headers)


def _no_right(scene: Scene) -> Response:
    query = scene.request.query
    if "cif" in query:
        return error_answer(f"Nu aveti drept in SPV pentru CIF={query['cif']}", "Lista Mesaje")
    return error_answer("Nu aveti dreptul sa descarcati acesta factura", "Descarcare mesaj")


def _nothing(scene: Scene) -> Response:
    days = scene.request.query.get("zile")
    when = f"in ultimele {days} zile" if days else "in intervalul selectat"
    return error_answer(f"Nu exista mesaje {when}", "Lista Mesaje")


def _echo(scene: Scene) -> Response:
    sent = f"{scene.request.headers.get('authorization', '')} {scene.request.body.decode()}"
    told = {"error": "invalid_grant", "error_description": f"refused: {sent}"}
    return json_answer(told, status=400)


_EXPIRED = (
    "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in care este "
    "disponibil"
)

FAULTS: Mapping[str, Fault] = {
    # instead of an answer
    "waf": _page(
        "the firewall's page, under 200",
        "Request Rejected",
        "The requested URL was rejected. Please consult with your administrator.<br><br>"
        "Your support ID is: 17422331549302",
    ),
    "maintenance": _page("the page of a maintenance, under 200", "", "Mentenanta sistem"),
    "bad_gateway": _page("502 as HTML", "502 Bad Gateway", "nginx", 502),
    "not_found_page": _page("404 as HTML", "404", "Not Found", 404),
    "error": _fixed("500 without a body", status=500),
    "empty": _fixed("200 without a body"),
    "no_content": _fixed("204", status=204),
    "too_many": _fixed("429 without Retry-After", status=429),
    "too_many_retry": Fault("429 with Retry-After: SECONDS", _retry_later, seconds=30),
    "unauthorized": _fixed(
        "a 401 told in JSON, under 200",
        b'{"timestamp":"24-11-2026 10:00:00","status":401,"error":"Unauthorized"}',
    ),
    "bad_token": _fixed(
        "401, as for a token that ANAF does not know",
        b'{"status":401,"error":"Unauthorized","message":"invalid_token"}',
        status=401,
    ),
    "echo": Fault("400 with an error that repeats the request, its token included", _echo),
    "technical": _fixed(
        "A aparut o eroare tehnica. Cod: 1814",
        b'{"eroare":"A aparut o eroare tehnica. Cod: 1814","titlu":"Lista Mesaje"}',
    ),
    "extra_brace": _fixed(
        "the quota of a message, in JSON with a brace too many",
        b'{"eroare":"S-au facut deja 10 descarcari de mesaj in cursul zilei",'
        b'"titlu":"Descarcare mesaj"}}',
    ),
    "expired": Fault(
        "the end of the 60 days, in JSON",
        lambda scene: error_answer(_EXPIRED, "Descarcare mesaj"),
        path="descarcare",
    ),
    "expired_text": dataclasses.replace(
        _fixed("the end of the 60 days, as text/plain", _EXPIRED.encode(), "text/plain"),
        path="descarcare",
    ),
    "no_right": Fault("Nu aveti drept in SPV, or to this message", _no_right),
    "nothing": Fault("a list that suddenly has nothing", _nothing, path="lista"),
    # a good answer, sent badly
    "cut": _changed("the connection breaks in the middle of the body", cut=True),
    "slow": _changed("the body trickles in for SECONDS", seconds=10, slow=None),
    "late": _changed("the answer comes after SECONDS", seconds=30, late=None),
    "wrong_type": _changed("Content-Type: text/html, whatever it is", content_type="text/html"),
    "invalid_json": Fault("JSON with a brace too many", change=_invalid_json),
    # a list
    "numbers": _list("numbers where strings belong", lists.numbers),
    "no_id": _list("no entry has an id", lists.without_ids),
    "foreign": _list("every entry has a CIF that was not asked for", lists.foreign),
    "nameless_entry": _list("one more entry, which has no id", lists.with_nameless_entry),
    "foreign_entry": _list("one more entry, of another company", lists.with_foreign_entry),
    "unknown_tip": _list("the first entry is of a tip that nobody knows", lists.unknown_tip),
    "repeated": _list("a page begins with the last entry of the page before", lists.repeated),
    "growing": _list("numar_total_pagini grows from page to page", lists.growing),
    "few": _list("a tenth of the messages, as if there were no others", lists.few),
    # a zip
    "truncated": _zip("two thirds of the zip", zips.truncated),
    "bad_crc": _zip("a byte inside the zip is another", zips.bad_crc),
    "one_member": _zip("no signature in the zip", zips.without_signature),
    "only_signature": _zip("nothing but the signature in the zip", zips.only_signature),
    "extra_member": _zip("a PDF in the zip too", zips.with_pdf),
    "wrong_names": _zip("members factura.xml and semnatura.xml", zips.other_names),
    "other_id": _zip("members named after another id_solicitare", zips.other_id),
    "tampered": _zip("a blank more in the invoice than was signed", zips.tampered),
    "other_signature": _zip("the signature of another invoice", zips.other_signature),
    "unknown_certificate": _zip("signed with a certificate nobody knows", zips.stranger),
    "test_form": _zip("signed as in ANAF's test: RSA-SHA256, enveloped", zips.test_form),
    "traversal": _zip("member names that lead out of the directory", zips.traversal),
    "bomb": _zip("40 MB of nothing, well compressed", zips.bomb),
}

"""ANAF's endpoints as an ASGI application, and a few of the simulator's own.

The texts under HTTP 200, their spelling mistakes included, are ANAF's.
Sources: the Ministry's swagger pages (upload, stareMesaj, listaMesaje,
descarcare, validare, transformare, validate/signature), its OAuth procedure
and limiteApeluriAPI.

The simulator's own are under `/simulator/` and take and return JSON:

    GET  /simulator             what is served
    POST /simulator/clock       {"now": "2026-11-24T10:00:00+00:00"} or {"advance": seconds}
    POST /simulator/messages    {"cif"?, "received"?: true, "count"?: 1} or {"cif"?, "tip"?, "xml"}
    POST /simulator/faults      {"path": "descarcare", "kind": "waf", "times": 1}; {} clears
    POST /simulator/rights      {"cifs": [...], "serial"?}
    POST /simulator/oauth       {"next"?: "access_denied"|"no_code", "rotation"?, "serial"?}
    POST /simulator/limits      {"calls_per_minute"?: 0, ...}; counters start again
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4
from xml.sax.saxutils import quoteattr

from lxml import etree

from appliance.core import certificates, signature, spv
from appliance.core.errors import DocumentRefused
from appliance.core.times import BUCHAREST
from appliance.simulator import generator
from appliance.simulator.faults import FAULTS, Fault
from appliance.simulator.oauth import Authority, TokenRefused
from appliance.simulator.state import PAGE, WINDOW, Message, State, validate

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BODY_LIMIT = 16 * 1024 * 1024
_UPLOAD_LIMIT = 10 * 1024 * 1024
_VALIDATE_LIMIT = 5 * 1024 * 1024


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("an object is expected")
        return value


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False  # announce the whole length, send half, break the connection


@dataclass
class _Armed:
    fault: Fault
    path: str
    times: int


@dataclass
class App:
    """Routes requests to ANAF's resources; all state is in `state` and `authority`."""

    state: State
    authority: Authority
    next_authorisation: str = ""
    _armed: list[_Armed] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        body = await _body(receive)
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        query = dict(
            parse_qsl(scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)
        )
        request = Request(scope["method"], scope["path"], query, headers, body or b"")
        response = self.answer(request) if body is not None else Response(413)
        await _reply(response, send)

    def answer(self, request: Request) -> Response:
        """Return the answer to one request."""
        path = request.path.rstrip("/")
        if path.startswith("/simulator"):
            return self._own(path.removeprefix("/simulator").strip("/"), request)
        if path.startswith("/anaf-oauth2/v1/"):
            return self._oauth(path.removeprefix("/anaf-oauth2/v1/"), request)
        if self.state.over_rate():
            return _status(429, "Too Many Requests", "Limita de apeluri a fost depasita", self.now)
        resource = path.rsplit("/", 1)[-1]
        armed = next((a for a in self._armed if a.path in path and a.times > 0), None)
        if armed is not None:
            armed.times -= 1
            if not armed.fault.after:
                return Response(armed.fault.status, armed.fault.body, armed.fault.content_type)
        response = self._resource(path, resource, request)
        if armed is not None and response.status == 200:
            body = armed.fault.change(response.body)
            return dataclasses.replace(response, body=body, cut=armed.fault.cut)
        return response

    @property
    def now(self) -> datetime:
        return self.state.now()

    def _resource(self, path: str, resource: str, request: Request) -> Response:
        get = request.method in ("GET", "HEAD")
        if path == "/api/validate/signature" and not get:
            return self._validate_signature(request)
        if path == "/TestOauth/jaxrs/hello" and get:
            return self._hello(request)
        match = re.fullmatch(r"/(prod|test)/FCTEL/rest/(.+)", path)
        if match is None:
            return _not_found(path, self.now)
        inner = match[2]
        if match[1] == "prod" and not get and inner.split("/")[0] in ("validare", "transformare"):
            # needs no token: the public host has the same resource
            return self._convert(inner.split("/"), request)
        handlers: dict[tuple[bool, str], Callable[[Request, str], Response]] = {
            (True, "listaMesajeFactura"): self._list,
            (True, "listaMesajePaginatieFactura"): self._pages,
            (True, "descarcare"): self._download,
            (True, "stareMesaj"): self._stare,
            (False, "upload"): self._upload,
            (False, "uploadb2c"): self._upload,
        }
        handler = handlers.get((get, inner))
        if handler is None:
            return _not_found(path, self.now)
        serial = self.authority.serial_of(request.headers.get("authorization", ""))
        if serial is None:
            challenge = 'Bearer realm="anaf", error="invalid_token"'
            response = _status(401, "Unauthorized", "invalid_token", self.now)
            return dataclasses.replace(response, headers=(("WWW-Authenticate", challenge),))
        return handler(request, serial)

    # OAuth

    def _oauth(self, name: str, request: Request) -> Response:
        if name == "authorize" and request.method == "GET":
            return self._authorize(request.query)
        if name == "token" and request.method == "POST":
            return self._token(request)
        if name == "revoke":
            # not usable without a browser: ANAF redirects to its login page
            return Response(302, headers=(("Location", "/my.policy"),))
        return _not_found(request.path, self.now)

    def _authorize(self, query: Mapping[str, str]) -> Response:
        redirect = query.get("redirect_uri", "")
        if query.get("client_id") != self.authority.client_id or "://" not in redirect:
            page = b"<html><body><h1>400</h1>client_id sau redirect_uri necunoscut</body></html>"
            return Response(400, page, "text/html")
        outcome = query.get("simulate") or self.next_authorisation
        self.next_authorisation = ""
        answer: dict[str, str] = {}
        if outcome == "access_denied":
            answer["error"] = "access_denied"
        elif outcome != "no_code":
            answer["code"] = self.authority.code(redirect)
        if "state" in query:
            answer["state"] = query["state"]
        mark = "&" if "?" in redirect else "?"
        location = redirect + (mark + urlencode(answer) if answer else "")
        return Response(302, headers=(("Location", location),))

    def _token(self, request: Request) -> Response:
        form = request.form()
        client = (form.get("client_id", ""), form.get("client_secret", ""))
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            with contextlib.suppress(binascii.Error, ValueError):
                name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
                client = (name, secret)
        try:
            return _json(self.authority.exchange(form, client))
        except TokenRefused as refused:
            return _json(
                {"error": refused.error, "error_description": refused.description}, status=400
            )

    def _hello(self, request: Request) -> Response:
        if self.authority.serial_of(request.headers.get("authorization", "")) is None:
            return _status(401, "Unauthorized", "invalid_token", self.now)
        return Response(200, f"Hello, {request.query.get('name', '')}!".encode(), "text/plain")

    # Lists

    def _list(self, request: Request, serial: str) -> Response:
        query = request.query
        if "zile" not in query or "cif" not in query:
            return _bad_request("Parametrii zile si cif sunt obligatorii", self.now)
        days, cif, filtru = query["zile"], query["cif"], query.get("filtru", "")
        error = None
        if not _digits(days):
            error = f"Numarul de zile introdus= {days} nu este un numar intreg"
        elif not 1 <= int(days) <= 60:
            error = "Numarul de zile trebuie sa fie intre 1 si 60"
        elif not _digits(cif):
            error = f"CIF introdus= {cif} nu este un numar"
        error = error or self._list_error(cif, filtru, serial)
        limit = self.state.limits.lists_per_day
        if error is None and self.state.over_quota("list", cif, limit):
            error = _LIST_QUOTA.format(limit=limit)
        if error is not None:
            return _error(error, "Lista Mesaje")
        end = self.now
        found = self.state.listed(cif, end - timedelta(days=int(days)), end, filtru)
        if not found:
            return _error(f"Nu exista mesaje in ultimele {days} zile", "Lista Mesaje")
        if len(found) > PAGE:
            return _error(_OVER_PAGE, "Lista Mesaje")
        title = f"Lista Mesaje disponibile din ultimele {days} zile"
        return _json(self._envelope(found, {}, serial, title))

    def _pages(self, request: Request, serial: str) -> Response:
        query = request.query
        if not {"startTime", "endTime", "cif", "pagina"} <= query.keys():
            text = "Parametrii startTime, endTime, cif si pagina sunt obligatorii"
            return _bad_request(text, self.now)
        cif, filtru = query["cif"], query.get("filtru", "")
        error = None
        for name in ("startTime", "endTime", "pagina"):
            if not _digits(query[name]) or (name == "pagina" and int(query[name]) < 1):
                error = error or f"{name} = {query[name]} {_NO_NUMBER}"
        if error is None and not _digits(cif):
            error = f"CIF introdus= {cif} {_NO_NUMBER}"
        if error is None:
            error = self._window_error(int(query["startTime"]), int(query["endTime"]))
        error = error or self._list_error(cif, filtru, serial)
        limit = self.state.limits.pages_per_day
        if error is None and self.state.over_quota("pages", cif, limit):
            error = _LIST_QUOTA.format(limit=limit)
        if error is not None:
            return _error(error, "Lista Mesaje")
        start, end = _moment(query["startTime"]), _moment(query["endTime"])
        found = self.state.listed(cif, start, end, filtru)
        if not found:
            return _error("Nu exista mesaje in intervalul selectat", "Lista Mesaje")
        page, pages = int(query["pagina"]), -(-len(found) // PAGE)
        if page > pages:
            text = f"Pagina solicitata {page} este mai mare decat numarul toatal de pagini {pages}"
            return _error(text, "Lista Mesaje")
        part = found[(page - 1) * PAGE : page * PAGE]
        numbers = {
            "numar_inregistrari_in_pagina": len(part),
            "numar_total_inregistrari_per_pagina": PAGE,
            "numar_total_inregistrari": len(found),
            "numar_total_pagini": pages,
            "index_pagina_curenta": page,
        }
        title = f"Lista Mesaje disponibile din intervalul {_wall(start)} - {_wall(end)}"
        return _json(self._envelope(part, numbers, serial, title))

    def _window_error(self, start: int, end: int) -> str | None:
        now = self.now
        now_ms = int(now.timestamp() * 1000)
        oldest = int((now - WINDOW).timestamp() * 1000)
        if max(start, end) > 253_370_764_800_000:  # the year 9999, where dates end
            return f"endTime = {end} {_NO_NUMBER}"
        began, ended = _wall(_moment(start)), _wall(_moment(end))
        if start < oldest:
            return (
                f"startTime = {began} nu poate fi mai vechi de 60 de zile fata de momentul "
                "requestului"
            )
        if end > now_ms:
            return (
                f"endTime = {ended} nu poate in viitor fata de momentul requestului = {_wall(now)}"
            )
        if end <= start:
            return f"endTime = {ended} nu poate fi <= startTime = {began}"
        return None

    def _list_error(self, cif: str, filtru: str, serial: str) -> str | None:
        if filtru and filtru not in ("E", "T", "P", "R"):
            return "Valorile acceptate pentru parametrul filtru sunt E, T, P sau R"
        reachable = self.state.rights.get(serial, ())
        if not reachable:
            return "Nu exista niciun CIF pentru care sa aveti drept in SPV"
        if cif not in reachable:
            return f"Nu aveti drept in SPV pentru CIF={cif}"
        return None

    def _envelope(
        self, messages: list[Message], numbers: Mapping[str, int], serial: str, title: str
    ) -> dict[str, Any]:
        return {
            "mesaje": [message.entry() for message in messages],
            **numbers,
            "serial": serial.replace(":", ""),
            "cui": ",".join(self.state.rights.get(serial, ())),
            "titlu": title,
        }

    # Downloads and states

    def _download(self, request: Request, serial: str) -> Response:
        if "id" not in request.query:
            return _bad_request("Parametrul id este obligatoriu", self.now)
        wanted, title = request.query["id"], "Descarcare mesaj"
        if not _digits(wanted):
            text = f"Id descarcare introdus= {wanted} nu este un numar intreg"
            return _error(text, title)
        message = self.state.messages.get(wanted)
        if message is None or (message.visible or message.created) > self.now:
            return _error(f"Pentru id={wanted} nu exista inregistrata nici o factura", title)
        if message.cif not in self.state.rights.get(serial, ()):
            return _error("Nu aveti dreptul sa descarcati acesta factura", title)
        if message.created < self.now - WINDOW:
            return _error(_EXPIRED, title)
        limit = self.state.limits.downloads_per_message
        if self.state.over_quota("download", wanted, limit):
            text = (
                f"S-au facut deja {limit} descarcari la mesajul cu id_descarcare={wanted}  "
                "in cursul zilei"
            )
            return _error(text, title)
        return Response(200, self.state.zip_of(message), "application/zip")

    def _stare(self, request: Request, serial: str) -> Response:
        if "id_incarcare" not in request.query:
            return _bad_request("Parametrul id_incarcare este obligatoriu", self.now)
        wanted = request.query["id_incarcare"]
        reachable = self.state.rights.get(serial, ())
        if not reachable:
            return _stare_error("Nu exista niciun CIF petru care sa aveti drept")
        if not _digits(wanted):
            return _stare_error(f"Id_incarcare introdus= {wanted} nu este un numar intreg")
        upload = self.state.uploads.get(wanted)
        if upload is None:
            return _stare_error(f"Nu exista factura cu id_incarcare= {wanted}")
        if upload.cif not in reachable:
            return _stare_error(f"Nu aveti dreptul de inteorgare pentru id_incarcare= {wanted}")
        limit = self.state.limits.states_per_message
        if self.state.over_quota("state", wanted, limit):
            return _stare_error(f"S-au facut deja {limit} descarcari de mesaj in cursul zilei")
        if self.now < upload.created + self.state.processing:
            return _stare('stare="in prelucrare"')
        if not upload.download_id:
            return _stare(f'stare="{upload.state}"')
        return _stare(f'stare="{upload.state}" id_descarcare="{upload.download_id}"')

    # Uploads

    def _upload(self, request: Request, serial: str) -> Response:
        query, body = request.query, request.body
        if not body:
            text = "Trebuie sa aveti atasat in request un fisier de tip xml"
            return _bad_request(text, self.now)
        if "standard" not in query or "cif" not in query:
            return _bad_request("Parametrii standard si cif sunt obligatorii", self.now)
        standard, cif = query["standard"], query["cif"]
        error = self._upload_error(query, body, serial)
        if error is None and standard == "RASP":
            limit = self.state.limits.buyer_messages_per_day
            if self.state.over_quota("rasp", cif, limit):
                error = (
                    f"S-au incarcat deja {limit} de mesaje de tip RASP pentru cui={cif} "
                    "in cursul zilei"
                )
        stamp = f"{self.now.astimezone(BUCHAREST):%Y%m%d%H%M}"
        if error is not None:
            return _xml(
                f'<header xmlns="mfp:anaf:dgti:spv:respUploadFisier:v1" dateResponse="{stamp}" '
                f'ExecutionStatus="1">\r\n    <Errors errorMessage={quoteattr(error)}/>\r\n'
                "</header>"
            )
        self_billed = query.get("autofactura") == "DA"
        upload = self.state.upload(cif, standard, body, self_billed=self_billed)
        return _xml(
            f'<header xmlns="mfp:anaf:dgti:spv:respUploadFisier:v1" dateResponse="{stamp}" '
            f'ExecutionStatus="0" index_incarcare="{upload.id}"/>'
        )

    def _upload_error(self, query: Mapping[str, str], body: bytes, serial: str) -> str | None:
        standard, cif = query["standard"], query["cif"]
        if standard not in ("UBL", "CN", "CII", "RASP"):
            return "Valorile acceptate pentru parametrul standard sunt UBL, CN, CII sau RASP"
        if len(body) > _UPLOAD_LIMIT:
            return "Marime fisier transmis mai mare de 10 MB."
        if not _digits(cif):
            return f"CIF introdus= {cif} nu este un numar"
        for name, shown in _SWITCHES.items():
            if query.get(name, "DA") != "DA":
                return f"Daca parametrul {shown} trebuie completat, valoarea acceptata este DA"
        if query.get("executare") == "DA":
            return f"CIF introdus= {cif} {_NOT_REGISTERED}"
        reachable = self.state.rights.get(serial, ())
        if not reachable:
            return "Nu exista niciun CIF pentru care sa aveti drept in SPV"
        if cif not in reachable:
            return f"Nu aveti drept in SPV pentru CIF={cif}"
        return _structure_error(standard, body)

    # validare, transformare, signature

    def _convert(self, parts: list[str], request: Request) -> Response:
        if len(parts) < 2:
            stamp = self.now.isoformat(timespec="milliseconds")
            answer = {"timestamp": stamp, "status": 404, "error": "Not Found"}
            return _json({**answer, "path": f"/FCTEL/rest/{parts[0]}/"}, status=404)
        standard, body = parts[1], request.body
        if standard not in ("FACT1", "FCN"):
            return _nok("Valorile acceptate pentru parametrul standard sunt FACT1 si FCN")
        if len(body) > _VALIDATE_LIMIT:
            return _nok("Marime fisier transmis mai mare de 5 MB.")
        structure = _structure_error("UBL" if standard == "FACT1" else "CN", body)
        errors, invoice = ((structure,), None) if structure else validate(body)
        checked = parts[0] == "validare" or parts[2:] != ["DA"]
        if invoice is None or (errors and checked):
            return _nok(*errors)
        if parts[0] == "validare":
            return _json({"stare": "ok", "trace_id": str(uuid4())})
        lines = [
            f"Emisa la: {invoice.issue_date}",
            f"Vanzator: {invoice.supplier.name} ({invoice.supplier.cif})",
            f"Cumparator: {invoice.customer.name} ({invoice.customer.cif})",
            f"Linii: {len(invoice.lines)}",
            f"Total de plata: {invoice.payable_amount} {invoice.currency}",
            "PDF al simulatorului, fara valoare fiscala",
        ]
        document = generator.pdf(f"Factura {invoice.number}", lines)
        return Response(200, document, "application/pdf")

    def _validate_signature(self, request: Request) -> Response:
        parts = _multipart(request)
        if parts is None or not {"file", "signature"} <= parts.keys():
            cause = "lipsesc fisierele file si signature"
            return _json({"msg": f"Eroare tehnică: request incorect. Cauza: {cause}"}, status=400)
        own = self.state.signer.pinned
        pinned = {**certificates.PINNED, own.fingerprint: own}
        verdict = signature.verify(parts["file"], parts["signature"], pinned=pinned, at=None)
        valid = verdict.result is signature.SignatureResult.VALID
        return _json({"msg": _SIGNATURE_VALID if valid else _SIGNATURE_INVALID})

    # The simulator's own

    def _own(self, name: str, request: Request) -> Response:
        if request.method == "GET" and not name:
            return _json(self.summary())
        if request.method != "POST":
            return Response(405)
        try:
            return _json(self._change(name, request.json()))
        except (ValueError, TypeError, KeyError, LookupError) as error:
            return _json({"error": str(error)}, status=400)

    def _change(self, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
        state = self.state
        if name == "clock":
            if "now" in wanted:
                moment = datetime.fromisoformat(wanted["now"])
                state.set_clock(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
            state.offset += timedelta(seconds=float(wanted.get("advance", 0)))
            return {"now": state.now().isoformat()}
        if name == "messages":
            return {"messages": [m.entry() for m in self._more(wanted)]}
        if name == "faults":
            if not wanted:
                self._armed.clear()
            else:
                fault = FAULTS[wanted["kind"]]
                times = int(wanted.get("times", 1))
                self._armed.append(_Armed(fault, str(wanted.get("path", "")), times))
            return {"kinds": sorted(FAULTS), "armed": sum(armed.times for armed in self._armed)}
        if name == "rights":
            serial = wanted.get("serial", self.authority.serial)
            state.rights[serial] = tuple(str(cif) for cif in wanted["cifs"])
            return {"rights": {name: list(cifs) for name, cifs in state.rights.items()}}
        if name == "oauth":
            self.next_authorisation = str(wanted.get("next", ""))
            self.authority.rotation = bool(wanted.get("rotation", self.authority.rotation))
            self.authority.serial = str(wanted.get("serial", self.authority.serial))
            return {"serial": self.authority.serial, "rotation": self.authority.rotation}
        if name == "limits":
            limits = {key: int(value) for key, value in wanted.items()}
            state.limits = dataclasses.replace(state.limits, **limits)
            state.forget_counters()
            return dataclasses.asdict(state.limits)
        raise LookupError(f"nothing is called {name!r} here")

    def _more(self, wanted: Mapping[str, Any]) -> list[Message]:
        first = next(iter(self.state.rights[self.authority.serial]))
        cif = str(wanted.get("cif", first))
        if "xml" in wanted:
            document = str(wanted["xml"]).encode()
            return self.state.add_document(cif, str(wanted.get("tip", "")), document)
        received = bool(wanted.get("received", True))
        return [
            message
            for _ in range(int(wanted.get("count", 1)))
            for message in self.state.add_generated(cif, received)
        ]

    def summary(self) -> dict[str, Any]:
        """Return what is served, for people and tests."""
        state = self.state
        return {
            "now": state.now().isoformat(),
            "messages": len(state.messages),
            "documents": state.served,
            "ignored": state.ignored,
            "cifs": list(state.rights.get(self.authority.serial, ())),
            "certificate": state.signer.pinned.fingerprint,
        }


# Texts and forms

_SWITCHES = {"extern": "extern", "autofactura": "autofacturare", "executare": "executare"}
_NOT_REGISTERED = "nu este inregistrat in Registrul RO e-Factura executari silite"
_NO_NUMBER = "nu este un numar sau nu are o valoare acceptata de sistem"
_LIST_QUOTA = (
    "S-au facut deja {limit} interogari de lista mesaje de catre utilizator in cursul zilei"
)
_OVER_PAGE = (
    "Lista de mesaje este mai mare decat numarul de 500 elemente permise in pagina. "
    "Folositi endpoint-ul cu paginatie."
)
_EXPIRED = (
    "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in care este "
    "disponibil"
)
_SIGNATURE_VALID = (
    "Fișierele încărcate au fost validate cu succes, din perspectiva autenticității semnăturii "
    "aplicate și a apartenenței acesteia la XML-ul ce reprezintă factura electronică. Documentul "
    "factură de tip XML cu semnătura de validare atașată, este considerat document original din "
    "perspectiva legislativă și este generat prin intermediul sistemului național RO e-Factura."
)
_SIGNATURE_INVALID = (
    "Fișierele încărcate NU au putut fi validate cu succes, din perspectiva autenticității "
    "semnăturii aplicate și a apartenenței acesteia la XML-ul ce reprezintă factura electronică. "
    "Documentul factură de tip XML cu semnătura de validare atașată, NU poate fi considerat "
    "document original din perspectiva legislativă și NU este generat prin intermediul sistemului "
    "național RO e-Factura."
)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _moment(milliseconds: str | int) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _wall(moment: datetime) -> str:
    return f"{moment.astimezone(BUCHAREST):%d-%m-%Y %H:%M:%S}"


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(status, text.encode())


def _error(text: str, title: str) -> Response:
    return _json({"eroare": text, "titlu": title})


def _status(status: int, error: str, message: str, now: datetime) -> Response:
    answer = {"timestamp": _wall(now), "status": status, "error": error, "message": message}
    return _json(answer, status=status)


def _bad_request(message: str, now: datetime) -> Response:
    return _status(400, "Bad Request", message, now)


def _not_found(path: str, now: datetime) -> Response:
    stamp = now.isoformat(timespec="milliseconds")
    answer = {"timestamp": stamp, "status": 404, "error": "Not Found", "path": path}
    return _json(answer, status=404)


def _nok(*messages: str) -> Response:
    said = [{"message": message} for message in messages]
    return _json({"stare": "nok", "Messages": said, "trace_id": str(uuid4())})


def _xml(header: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n{header}'
    return Response(200, text.encode(), "application/xml")


def _stare(attributes: str) -> Response:
    return _xml(f'<header xmlns="mfp:anaf:dgti:efactura:stareMesajFactura:v1" {attributes}/>')


def _stare_error(text: str) -> Response:
    return _xml(
        '<header xmlns="mfp:anaf:dgti:efactura:stareMesajFactura:v1">\r\n'
        f"    <Errors errorMessage={quoteattr(text)}/>\r\n</header>"
    )


_ROOTS = {"UBL": ("Invoice", "CreditNote"), "CN": ("CreditNote",), "RASP": ("header",)}


def _structure_error(standard: str, body: bytes) -> str | None:
    start = "Fisierul transmis nu este valid. org.xml.sax.SAXParseException; "
    try:
        # the whole file must be well-formed; which elements it has is judged later
        etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True))
        name = spv.document_root(body)[1]
        if standard == "RASP":
            spv.read_buyer_message(body)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        return f"{start}lineNumber: {line}; columnNumber: {column}; {error.msg}"
    except DocumentRefused as refused:
        return f"{start}lineNumber: 1; columnNumber: 1; {refused}"
    if name not in _ROOTS.get(standard, (name,)):
        return (
            f"{start}lineNumber: 1; columnNumber: 1; cvc-elt.1.a: Cannot find the declaration of "
            f"element '{name}'."
        )
    return None


def _multipart(request: Request) -> dict[str, bytes] | None:
    match = re.search(
        r'multipart/form-data.*boundary="?([^";]+)', request.headers.get("content-type", "")
    )
    if match is None:
        return None
    parts = {}
    for part in request.body.split(b"--" + match[1].encode("latin-1")):
        head, separator, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if separator and name:
            parts[name[1].decode("latin-1")] = content.removesuffix(b"\r\n")
    return parts


# ASGI


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body, `None` when it is larger than anything ANAF would read."""
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return b"".join(chunks)
        chunk = event.get("body", b"")
        size += len(chunk)
        if size <= _BODY_LIMIT:
            chunks.append(chunk)
        if not event.get("more_body"):
            return b"".join(chunks) if size <= _BODY_LIMIT else None


async def _reply(response: Response, send: Send) -> None:
    headers = [
        (b"content-type", response.content_type.encode("ascii")),
        (b"content-length", str(len(response.body)).encode("ascii")),
        (b"x-correlation-id", secrets.token_hex(8).encode("ascii")),
        *((name.encode("ascii"), value.encode("latin-1")) for name, value in response.headers),
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.cut:
        half = response.body[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        raise ConnectionResetError("a fault of the simulator: the connection breaks here")
    await send({"type": "http.response.body", "body": response.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return

"""Sending in: upload, and stareMesaj, which tells what became of it.

Source: the Ministry's swagger pages of upload and stareMesaj.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

from lxml import etree

from appliance.core import spv
from appliance.core.errors import DocumentRefused
from appliance.core.times import BUCHAREST
from appliance.simulator.http import Request, Response, bad_request, digits, xml_answer
from appliance.simulator.state import State

_UPLOAD_LIMIT = 10 * 1024 * 1024
_SWITCHES = {"extern": "extern", "autofactura": "autofacturare", "executare": "executare"}
_NOT_REGISTERED = "nu este inregistrat in Registrul RO e-Factura executari silite"
_ROOTS = {"UBL": ("Invoice", "CreditNote"), "CN": ("CreditNote",), "RASP": ("header",)}


def upload(state: State, request: Request, serial: str) -> Response:
    query, body = request.query, request.body
    if not body:
        text = "Trebuie sa aveti atasat in request un fisier de tip xml"
        return bad_request(text, state.now())
    if "standard" not in query or "cif" not in query:
        return bad_request("Parametrii standard si cif sunt obligatorii", state.now())
    standard, cif = query["standard"], query["cif"]
    error = _upload_error(state, query, body, serial)
    if error is None and standard == "RASP":
        limit = state.limits.buyer_messages_per_day
        if state.over_quota("rasp", cif, limit):
            error = (
                f"S-au incarcat deja {limit} de mesaje de tip RASP pentru cui={cif} in cursul zilei"
            )
    stamp = f"{state.now().astimezone(BUCHAREST):%Y%m%d%H%M}"
    if error is not None:
        return xml_answer(
            f'<header xmlns="mfp:anaf:dgti:spv:respUploadFisier:v1" dateResponse="{stamp}" '
            f'ExecutionStatus="1">\r\n    <Errors errorMessage={quoteattr(error)}/>\r\n'
            "</header>"
        )
    self_billed = query.get("autofactura") == "DA"
    accepted = state.upload(cif, standard, body, self_billed=self_billed)
    return xml_answer(
        f'<header xmlns="mfp:anaf:dgti:spv:respUploadFisier:v1" dateResponse="{stamp}" '
        f'ExecutionStatus="0" index_incarcare="{accepted.id}"/>'
    )


def _upload_error(state: State, query: Mapping[str, str], body: bytes, serial: str) -> str | None:
    standard, cif = query["standard"], query["cif"]
    if standard not in ("UBL", "CN", "CII", "RASP"):
        return "Valorile acceptate pentru parametrul standard sunt UBL, CN, CII sau RASP"
    if len(body) > _UPLOAD_LIMIT:
        return "Marime fisier transmis mai mare de 10 MB."
    if not digits(cif):
        return f"CIF introdus= {cif} nu este un numar"
    for name, shown in _SWITCHES.items():
        if query.get(name, "DA") != "DA":
            return f"Daca parametrul {shown} trebuie completat, valoarea acceptata este DA"
    if query.get("executare") == "DA":
        return f"CIF introdus= {cif} {_NOT_REGISTERED}"
    reachable = state.reachable(serial)
    if not reachable:
        return "Nu exista niciun CIF pentru care sa aveti drept in SPV"
    if cif not in reachable:
        return f"Nu aveti drept in SPV pentru CIF={cif}"
    return structure_error(standard, body)


def status(state: State, request: Request, serial: str) -> Response:
    if "id_incarcare" not in request.query:
        return bad_request("Parametrul id_incarcare este obligatoriu", state.now())
    wanted = request.query["id_incarcare"]
    reachable = state.reachable(serial)
    if not reachable:
        return _stare_error("Nu exista niciun CIF petru care sa aveti drept")
    if not digits(wanted):
        return _stare_error(f"Id_incarcare introdus= {wanted} nu este un numar intreg")
    upload = state.upload_of(wanted)
    if upload is None:
        return _stare_error(f"Nu exista factura cu id_incarcare= {wanted}")
    if upload.cif not in reachable:
        return _stare_error(f"Nu aveti dreptul de inteorgare pentru id_incarcare= {wanted}")
    limit = state.limits.states_per_message
    if state.over_quota("state", wanted, limit):
        return _stare_error(f"S-au facut deja {limit} descarcari de mesaj in cursul zilei")
    if state.now() < upload.created + state.processing:
        return _stare('stare="in prelucrare"')
    if not upload.download_id:
        return _stare(f'stare="{upload.state}"')
    return _stare(f'stare="{upload.state}" id_descarcare="{upload.download_id}"')


def structure_error(standard: str, body: bytes) -> str | None:
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


def _stare(attributes: str) -> Response:
    return xml_answer(f'<header xmlns="mfp:anaf:dgti:efactura:stareMesajFactura:v1" {attributes}/>')


def _stare_error(text: str) -> Response:
    return xml_answer(
        '<header xmlns="mfp:anaf:dgti:efactura:stareMesajFactura:v1">\r\n'
        f"    <Errors errorMessage={quoteattr(text)}/>\r\n</header>"
    )

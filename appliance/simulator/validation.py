"""Checking without sending in: validare, transformare, validate/signature.

Source: the Ministry's swagger pages of the same names.
"""

from __future__ import annotations

import re
from uuid import uuid4

from appliance.core import certificates, signature
from appliance.simulator import attachments
from appliance.simulator.http import Request, Response, json_answer
from appliance.simulator.state import State, validate
from appliance.simulator.uploads import structure_error

_VALIDATE_LIMIT = 5 * 1024 * 1024
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


def convert(state: State, parts: list[str], request: Request) -> Response:
    if len(parts) < 2:
        stamp = state.now().isoformat(timespec="milliseconds")
        answer = {"timestamp": stamp, "status": 404, "error": "Not Found"}
        return json_answer({**answer, "path": f"/FCTEL/rest/{parts[0]}/"}, status=404)
    standard, body = parts[1], request.body
    if standard not in ("FACT1", "FCN"):
        return _nok("Valorile acceptate pentru parametrul standard sunt FACT1 si FCN")
    if len(body) > _VALIDATE_LIMIT:
        return _nok("Marime fisier transmis mai mare de 5 MB.")
    structure = structure_error("UBL" if standard == "FACT1" else "CN", body)
    errors, invoice = ((structure,), None) if structure else validate(body)
    checked = parts[0] == "validare" or parts[2:] != ["DA"]
    if invoice is None or (errors and checked):
        return _nok(*errors)
    if parts[0] == "validare":
        return json_answer({"stare": "ok", "trace_id": str(uuid4())})
    lines = [
        f"Emisa la: {invoice.issue_date}",
        f"Vanzator: {invoice.supplier.name} ({invoice.supplier.cif})",
        f"Cumparator: {invoice.customer.name} ({invoice.customer.cif})",
        f"Linii: {len(invoice.lines)}",
        f"Total de plata: {invoice.payable_amount} {invoice.currency}",
        "PDF al simulatorului, fara valoare fiscala",
    ]
    document = attachments.pdf(f"Factura {invoice.number}", lines)
    return Response(200, document, "application/pdf")


def validate_signature(state: State, request: Request) -> Response:
    parts = _multipart(request)
    if parts is None or not {"file", "signature"} <= parts.keys():
        cause = "lipsesc fisierele file si signature"
        return json_answer({"msg": f"Eroare tehnică: request incorect. Cauza: {cause}"}, status=400)
    own = state.signer.pinned
    pinned = {**certificates.PINNED, own.fingerprint: own}
    verdict = signature.verify(parts["file"], parts["signature"], pinned=pinned, at=None)
    valid = verdict.result is signature.SignatureResult.VALID
    return json_answer({"msg": _SIGNATURE_VALID if valid else _SIGNATURE_INVALID})


def _nok(*messages: str) -> Response:
    said = [{"message": message} for message in messages]
    return json_answer({"stare": "nok", "Messages": said, "trace_id": str(uuid4())})


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

"""ANAF's calls as a client makes them, and what it reads of the answers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import httpx

from appliance.core import spv
from appliance.simulator.companies import CLIENTS

REST = "/prod/FCTEL/rest"
FIRST, SECOND, THIRD = (client.company.cif for client in CLIENTS)


def get(client: httpx.Client, resource: str, **query: Any) -> httpx.Response:
    return client.get(f"{REST}/{resource}", params=query)


def simple(client: httpx.Client, cif: str = FIRST, days: int = 60, **more: Any) -> spv.MessageList:
    answer = get(client, "listaMesajeFactura", zile=days, cif=cif, **more)
    return spv.read_list(answer.status_code, answer.content)


def refused(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["eroare", "titlu"]
    return str(body["eroare"])


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def paged(client: httpx.Client, start: datetime, end: datetime, page: Any = 1, **more: Any) -> Any:
    query = {"startTime": ms(start), "endTime": ms(end), "cif": FIRST, "pagina": page, **more}
    return get(client, "listaMesajePaginatieFactura", **query)


def stare(client: httpx.Client, upload_id: Any) -> str:
    answer = get(client, "stareMesaj", id_incarcare=upload_id)
    assert answer.headers["content-type"] == "application/xml"
    return answer.text


def upload(
    client: httpx.Client, data: bytes, standard: str = "UBL", cif: str = FIRST, **more: str
) -> httpx.Response:
    query = {"standard": standard, "cif": cif, **more}
    return client.post(f"{REST}/upload", params=query, content=data)


def index_of(answer: httpx.Response) -> str:
    match = re.search(
        r'dateResponse="202611241200" ExecutionStatus="0" index_incarcare="(\d+)"', answer.text
    )
    assert match, answer.text
    return match[1]


def exchange(client: httpx.Client, about: dict[str, Any], **form: str) -> httpx.Response:
    return client.post(
        "/anaf-oauth2/v1/token",
        data={"token_content_type": "jwt", **form},
        auth=(about["client_id"], about["client_secret"]),
    )

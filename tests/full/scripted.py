"""An ANAF that answers by a script and remembers what it said, behind the vault's real gateway.

Nothing here waits: time is a number that the test moves. `Scripted` is both ends
of the vault: sync calls it as if it were spv.sock, the gateway (limits, 429,
what is spent) is the real one, and what the gateway sends comes to `answer`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import httpx

from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST
from appliance.vault import database, schema
from appliance.vault.errors import NeedsAuthorisation, Unreachable
from appliance.vault.gateway import Gateway
from appliance.vault.limits import Limits
from appliance.vault.parts import Parts
from appliance.vault.refusals import Refusals
from appliance.vault.renewal import Access
from appliance.vault.secret import Secret
from appliance.vault.wire import Answer as WireAnswer
from appliance.vault.wire import Request
from tests.support.spv import ALFA, BETA, PARTIES, STRANGER, company, invoice, listed, members
from tests.support.spv import package as signed

GAMA = "14399840"
CIFS = (ALFA, BETA, GAMA)
PARTIES.setdefault(GAMA, company(GAMA, "Gama Trans SRL"))
KEPT = timedelta(days=60)
PAGE = 3
LATENCY = 0.25  # seconds that a call takes


class Killed(BaseException):
    """The worker ends here, as after `kill -9`."""


class Clock:
    """ANAF's time, and ours, which may be wrong."""

    def __init__(self, at: datetime) -> None:
        self.anaf = at
        self.skew = timedelta(0)

    def ours(self) -> datetime:
        return self.anaf + self.skew

    def advance(self, seconds: float) -> None:
        self.anaf += timedelta(seconds=seconds)


class Kind(StrEnum):
    """What a message is, or what is wrong with it for good."""

    RECEIVED = "received"
    ISSUED = "issued"
    UNKNOWN_TIP = "unknown tip"
    NUMBER_ID = "id as a number"
    REPEATED = "repeated"
    WITH_ANOTHER = "listed with another client"
    ERROR = "error"
    BUYER = "buyer message"
    NAMELESS = "nameless"
    NAMED_LATER = "named later"
    STRANGER = "of no client"
    FOREIGN = "another client's invoice"
    EXPIRED = "expired"
    GONE = "gone"
    NO_RIGHT = "no right"
    QUOTA = "quota used up elsewhere"
    BROKEN = "always the same broken zip"
    BROKEN_ANEW = "always another broken zip"
    ONE_MEMBER = "without signature"
    ONLY_SIGNATURE = "signature only"


@dataclass(frozen=True)
class Message:
    """A message at ANAF. `age` (hours at the start) is negative for one that comes later."""

    kind: Kind
    owner: int  # place in CIFS
    age: int
    delay: int = 0  # minutes from its `data_creare` until it is listed
    number: int = 0

    @property
    def id(self) -> str:
        return str(7000 + self.number)

    @property
    def cif(self) -> str:
        return STRANGER if self.kind is Kind.STRANGER else CIFS[self.owner]

    @property
    def upload_id(self) -> str:
        return f"5{self.id}"


@cache
def zip_of(kind: Kind, owner: int, number: int) -> bytes:
    """Return the zip of a message; no two messages have the same."""
    upload, cif = f"5{7000 + number}", CIFS[owner]
    fields = {"number": f"EFI-{number}", "issue_date": date(2026, 1, 1) + timedelta(days=number)}
    if kind is Kind.ERROR:
        return signed(
            '<header xmlns="mfp:anaf:dgti:efactura:mesajEroriFactuta:v1" '
            f'Index_incarcare="{upload}" Cif_emitent="{cif}">'
            f'<Error errorMessage="E: eroarea {number}"/></header>'.encode(),
            upload,
        )
    if kind is Kind.BUYER:
        return signed(
            f'<header xmlns="mfp:anaf:dgti:spv:reqMesaj:v1" index_incarcare="{upload}" '
            f'message="Marfa {number} nu a venit"/>'.encode(),
            upload,
        )
    if kind is Kind.FOREIGN:
        return signed(invoice(STRANGER, CIFS[(owner + 1) % len(CIFS)], **fields), upload)
    issued = kind is Kind.ISSUED
    document = invoice(*((cif, STRANGER) if issued else (STRANGER, cif)), **fields)
    if kind is Kind.ONE_MEMBER:
        return members((f"{upload}.xml", document))
    if kind is Kind.ONLY_SIGNATURE:
        return members(
            (f"semnatura_{upload}.xml", b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/>')
        )
    whole = signed(document, upload)
    return whole[: len(whole) // 2] if kind is Kind.BROKEN else whole


# What may come instead of one answer. Of a list and of a download alike:
ANYWHERE = (
    "429", "429 seconds", "429 date", "429 days", "500", "502", "maintenance", "waf", "empty",
    "204", "truncated", "reset", "refused", "timeout", "wrong type", "401", "json 401", "403",
    "technical", "unknown text", "our bug", "strange json", "array", "400", "no right", "quota",
    "stall", "kill before", "kill after", "vault reset",
)  # fmt: skip
ON_LISTS = (
    "extra brace", "suddenly empty", "half", "page loops", "growing", "no totals", "too high",
    "clock", "end of pages", "numbers", "use pages",
)  # fmt: skip
ON_DOWNLOADS = ("list instead", "quota with a brace", "kill spooled", "kill folder")
# Nothing answers, whatever is asked.
OUTAGES = ("500", "502", "maintenance", "empty", "reset", "refused", "timeout", "technical")

_TEXTS = {
    "technical": "A aparut o eroare tehnica. Cod: 1814",
    "unknown text": "Ceva ce nimeni nu a mai vazut",
    "our bug": "Numarul introdus= 123a nu este un numar intreg",
    "use pages": "Lista de mesaje este mai mare decat numarul de 500 elemente permise in pagina. "
    "Folositi endpoint-ul cu paginatie.",
    "suddenly empty": "Nu exista mesaje in intervalul selectat",
    "end of pages": "Pagina solicitata 1 este mai mare decat numarul toatal de pagini 0",
    "clock": "startTime = 01-01-2026 10:00:00 nu poate fi mai vechi de 60 de zile fata de "
    "momentul requestului",
}  # fmt: skip
_PAGES = {
    "500": (500, "<html><body>Internal Server Error</body></html>"),
    "502": (502, "<html><body>502 Bad Gateway</body></html>"),
    "maintenance": (200, "<html><body>Mentenanta sistem</body></html>"),
    "waf": (200, "<html><body>The requested URL was rejected. Your support ID is: 7</body></html>"),
    "empty": (200, ""),
    "204": (204, ""),
    "401": (401, '{"error":"invalid_token"}'),
    "json 401": (200, '{"status":401,"error":"Unauthorized"}'),
    "403": (403, '{"error":"forbidden"}'),
    "strange json": (200, '{"ok":true}'),
    "array": (200, "[1,2]"),
    "400": (400, '{"timestamp":"05-08-2026 12:04:01","status":400,"error":"Bad Request",'
     '"message":"Parametrii sunt obligatorii"}'),
    "429": (429, ""),
    "429 seconds": (429, "<html>Too many requests</html>"),
    "429 date": (429, ""),
    "429 days": (429, ""),
}  # fmt: skip


@dataclass
class Scripted:
    """ANAF, the world that it lists, and the vault before it."""

    clock: Clock
    messages: list[Message]
    per_minute: int = 1000
    script: dict[str, list[str]] = field(default_factory=lambda: {"list": [], "download": []})
    down: str = ""  # one of OUTAGES, for every call
    vault_away: bool = False
    revoked: set[str] = field(default_factory=set)  # CIFs whose right in SPV is gone
    grants: dict[str, str] = field(default_factory=dict)  # CIF: unmapped, needs or unreachable
    # What was said, for the model:
    calls: list[datetime] = field(default_factory=list)
    spent: Counter[tuple[str, date]] = field(default_factory=Counter)
    given: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    told_expired: set[str] = field(default_factory=set)
    told_no_right: set[str] = field(default_factory=set)
    kill_at: set[str] = field(default_factory=set)  # spooled, folder: where the next worker ends
    # A worker that is frozen in the middle of a call waits for `thaw`.
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    thaw: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.start = self.clock.anaf
        self.counters = _Counters()
        grants = _Grants(self)
        self.gateway = Gateway(
            api_url="https://anaf.test",
            environment="prod",
            parts=cast(Parts, SimpleNamespace(grants=grants, mapping=grants, renewal=grants)),
            limits=Limits(cast(database.Database, self.counters), self.per_minute),
            refusals=cast(Refusals, grants),
            http=httpx.AsyncClient(transport=_Anaf(self)),
            now=self.clock.ours,
        )

    # Before the vault: what sync meets

    async def from_sync(self, request: httpx.Request) -> httpx.Response:
        if self.vault_away:
            raise httpx.ConnectError("no such socket")
        self.cut = self.after = ""
        answer = await self.gateway(
            Request(
                method=request.method,
                path=request.url.path,
                query=request.url.query.decode(),
                headers={name.lower(): value for name, value in request.headers.items()},
                body=request.content,
                peer_uid=0,
            )
        )
        cut, after = self.cut, self.after
        if after == "stall":
            self.stalled.set()
            await self.thaw.wait()
        elif after == "kill":
            raise Killed
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer, broken=bool(cut))
        )

    # Behind the vault: what ANAF answers

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.clock.advance(LATENCY)
        query = dict(request.url.params)
        where = "download" if request.url.path.endswith("/descarcare") else "list"
        fault = self.down or (self.script[where].pop(0) if self.script[where] else "")
        if fault == "kill before":
            raise Killed
        if fault == "refused":
            raise httpx.ConnectError("refused")
        self.calls.append(self.clock.anaf)
        if where == "download" and not fault.startswith(("429", "401")):
            self.spent[query["id"], self.clock.ours().astimezone(BUCHAREST).date()] += 1
        if fault == "timeout":
            raise httpx.ReadTimeout("timeout")
        self.after = {"stall": "stall", "kill after": "kill"}.get(fault, "")
        self.cut = "cut" if fault == "vault reset" else ""
        if fault in ("kill spooled", "kill folder"):
            self.kill_at.add(fault.removeprefix("kill "))
        if fault in _PAGES:
            return self._page_instead(fault)
        if fault in _TEXTS:
            return _eroare(_TEXTS[fault])
        answer = (
            self._download(query["id"], fault) if where == "download" else self._list(query, fault)
        )
        if fault == "wrong type":
            answer.headers["content-type"] = "text/html"
        if fault == "reset":
            return httpx.Response(200, stream=_Reset(answer.content))
        return answer

    def _page_instead(self, fault: str) -> httpx.Response:
        status, body = _PAGES[fault]
        headers = {"content-type": "text/html"}
        if fault == "429 seconds":
            headers["retry-after"] = "20"
        if fault == "429 date":
            headers["retry-after"] = format_datetime(
                self.clock.anaf + timedelta(seconds=40), usegmt=True
            )
        if fault == "429 days":
            headers["retry-after"] = "200000"
        return httpx.Response(status, content=body.encode(), headers=headers)

    def _download(self, message_id: str, fault: str) -> httpx.Response:
        message = next((m for m in self.messages if m.id == message_id), None)
        if message is None or message.kind is Kind.GONE:
            self.told_expired.add(message_id)
            return _eroare(f"Pentru id={message_id} nu exista inregistrata nici o factura")
        if message.kind is Kind.NO_RIGHT or fault == "no right" or message.cif in self.revoked:
            self.told_no_right.add(message_id)
            return _eroare("Nu aveti dreptul sa descarcati acesta factura")
        if message.kind is Kind.EXPIRED or self.created(message) < self.clock.anaf - KEPT:
            self.told_expired.add(message_id)
            return _eroare(
                "Fisierul nu mai poate fi descarcat pentru ca a trecut perioada de 60 de zile in "
                "care este disponibil"
            )
        used_up = message.kind is Kind.QUOTA and self.clock.anaf < self.start + timedelta(hours=30)
        if used_up or fault == "quota":
            return _eroare(
                f"S-au facut deja 10 descarcari la mesajul cu id_descarcare={message_id}  "
                "in cursul zilei"
            )
        if fault == "quota with a brace":
            return httpx.Response(
                200,
                content=b'{"eroare":"S-au facut deja 10 descarcari de mesaj in cursul zilei",'
                b'"titlu":"Descarcare mesaj"}}',
            )
        if fault == "list instead":
            return httpx.Response(200, content=b'{"mesaje":[],"titlu":"Lista Mesaje"}')
        data = zip_of(message.kind, message.owner, message.number)
        given = self.given[message_id]
        broken = sum(each != data for each in given)
        if message.kind is Kind.BROKEN_ANEW:
            data = data[: len(data) // 2 + len(given)]
        elif fault == "truncated" and message.kind is not Kind.BROKEN and broken < 2:
            data = data[: len(data) // 2 + broken]
        if fault not in ("reset", "vault reset", "kill after"):
            given.append(data)
        return httpx.Response(200, content=data, headers={"content-type": "application/zip"})

    def created(self, message: Message) -> datetime:
        return (self.start - timedelta(hours=message.age)).replace(second=0, microsecond=0)

    def in_window(self, message: Message) -> bool:
        """Tell whether ANAF lists it now, to whoever asks with a minute's margin."""
        return self.listed_from(message) <= self.clock.anaf <= self.created(message) + KEPT

    def listed_from(self, message: Message) -> datetime:
        return self.created(message) + timedelta(minutes=message.delay)

    def _list(self, query: dict[str, str], fault: str) -> httpx.Response:
        cif, number = query["cif"], int(query["pagina"])
        start, end = (
            datetime.fromtimestamp(int(query[k]) / 1000, UTC) for k in ("startTime", "endTime")
        )
        now = self.clock.anaf
        if fault == "quota":
            return _eroare(
                "S-au facut deja 1000 de interogari de tip lista mesaje de catre "
                f"CUI= {cif} in cursul zilei"
            )
        if cif in self.revoked or fault == "no right":
            return _eroare(f"Nu aveti drept in SPV pentru CIF={cif}")
        wall = start.astimezone(BUCHAREST).replace(tzinfo=None)
        if start < now - KEPT or wall < now.astimezone(BUCHAREST).replace(tzinfo=None) - KEPT:
            return _eroare(_TEXTS["clock"])
        if end > now:
            text = f"{now.astimezone(BUCHAREST):%d-%m-%Y %H:%M:%S}"
            return _eroare(f"endTime = x nu poate in viitor fata de momentul requestului = {text}")
        found = [
            entry
            for message in sorted(self.messages, key=self.created)
            if self.listed_from(message) <= now and start <= self.created(message) <= end
            for entry in self._entries(message, cif)
        ]
        if fault == "half":
            found = found[: len(found) // 2]
        if not found:
            return _eroare("Nu exista mesaje in intervalul selectat")
        pages = -(-len(found) // PAGE)
        if number > pages and fault not in ("page loops", "growing"):
            return _eroare(
                f"Pagina solicitata {number} este mai mare decat numarul toatal de pagini {pages}"
            )
        first = 0 if fault == "page loops" else (number - 1) * PAGE
        shown = found[first : first + PAGE]
        total = len(found) + {"growing": number, "page loops": 7, "too high": 2}.get(fault, 0)
        if fault == "numbers":
            shown = [
                {k: int(v) if k in ("id", "id_solicitare", "cif") else v for k, v in entry.items()}
                for entry in shown
            ]
        said: dict[str, Any] = {
            "mesaje": shown,
            "serial": "34AB",
            "cui": ",".join(CIFS),
            "titlu": "Lista Mesaje",
        }
        if fault != "no totals":
            said |= {
                "numar_inregistrari_in_pagina": len(shown),
                "numar_total_inregistrari_per_pagina": PAGE,
                "numar_total_inregistrari": total,
                "numar_total_pagini": -(-total // PAGE),
                "index_pagina_curenta": number,
            }
        body = json.dumps(said).encode()
        if fault == "extra brace":
            body += b"}"
        if fault == "truncated":
            body = body[: len(body) // 2]
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    def _entries(self, message: Message, asked: str) -> Iterator[dict[str, Any]]:
        own = CIFS[message.owner]
        beside = CIFS[(message.owner + 1) % len(CIFS)]
        shown_to = {own, beside} if message.kind is Kind.WITH_ANOTHER else {own}
        if asked not in shown_to:
            return
        named = message.kind is not Kind.NAMELESS and not (
            message.kind is Kind.NAMED_LATER and self.clock.anaf < self.start + timedelta(hours=20)
        )
        entry = listed(
            message.id if named else None,
            message.cif,
            id_solicitare=message.upload_id,
            data_creare=f"{self.created(message).astimezone(BUCHAREST):%Y%m%d%H%M}",
            tip=_TIPS.get(message.kind, "FACTURA PRIMITA"),
        )
        if message.kind is Kind.NUMBER_ID:
            entry["id"], entry["id_solicitare"] = int(message.id), int(message.upload_id)
        yield entry
        if message.kind is Kind.REPEATED:
            yield dict(entry)


_TIPS = {
    Kind.ISSUED: "FACTURA TRIMISA",
    Kind.ERROR: "ERORI FACTURA",
    Kind.BUYER: "MESAJ CUMPARATOR PRIMIT / MESAJ CUMPARATOR TRANSMIS",
    Kind.UNKNOWN_TIP: "NOTIFICARE NOUA",
}


def _eroare(text: str) -> httpx.Response:
    return httpx.Response(200, content=json.dumps({"eroare": text, "titlu": "x"}).encode())


class Socket(httpx.AsyncBaseTransport):
    """spv.sock without a socket."""

    def __init__(self, scripted: Scripted) -> None:
        self._scripted = scripted

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._scripted.from_sync(request)


class _Anaf(httpx.AsyncBaseTransport):
    def __init__(self, scripted: Scripted) -> None:
        self._scripted = scripted

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._scripted.answer(request)
        if isinstance(answer.stream, httpx.ByteStream):
            return httpx.Response(
                answer.status_code, headers=answer.headers, stream=_Whole(answer.content)
            )
        return answer


class _Whole(httpx.AsyncByteStream):
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data


class _Body(httpx.AsyncByteStream):
    """An answer of the gateway on its way through the socket."""

    def __init__(self, answer: WireAnswer, *, broken: bool) -> None:
        self._answer, self._broken = answer, broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self._answer.body
        try:
            if isinstance(body, bytes):
                yield body
            else:
                async for chunk in body:
                    yield chunk[: len(chunk) // 2] if self._broken else chunk
        except ConnectionError as error:
            raise httpx.RemoteProtocolError("peer closed connection") from error
        if self._broken:
            raise httpx.ReadError("peer closed connection")


class _Reset(httpx.AsyncByteStream):
    """A body that ends in its middle."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data[: len(self._data) // 2]
        raise httpx.ReadError("reset by peer")


class _Counters:
    """The vault's counters, in memory; the real tables."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.executescript(schema.TABLES)

    def counting(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._count()

    @contextmanager
    def _count(self) -> Iterator[sqlite3.Connection]:
        with database._transaction(self._connection) as connection:
            yield connection

    def close(self) -> None:
        self._connection.close()


class _Grants:
    """What the gateway asks of the vault's parts: a grant for each CIF, as the test says."""

    def __init__(self, scripted: Scripted) -> None:
        self._scripted = scripted

    def for_cif(self, cif: str) -> list[str]:
        return [] if self._scripted.grants.get(cif) == "unmapped" else [cif]

    async def access(self, grant: str, *, at: datetime) -> Access:
        state = self._scripted.grants.get(grant)
        sentence = Sentence("x", "x")
        if state == "needs":
            raise NeedsAuthorisation(sentence)
        if state == "unreachable":
            raise Unreachable(sentence)
        return Access(Secret("token-of-the-test"), 1)

    async def replace(self, grant: str, access: Access, *, at: datetime) -> Access:
        return await self.access(grant, at=at)

    def used(self, grant: str, *, at: datetime) -> None: ...

    def note(self, *args: object, cif: str, at: datetime) -> None: ...

    def offer(self, *args: object, at: datetime) -> None: ...

    def not_allowed(self, *args: object, by: str, at: datetime) -> bool:
        return False

"""ANAF's dialect: message lists, answers and error documents, read from bytes.

The only room where ANAF's own words (`id_solicitare`, `data_creare`,
`detalii`, `eroare`) mean anything; everything returned speaks ours. Nothing
here performs a call. ANAF answers most errors with HTTP 200, sometimes with
HTML or broken JSON, so the bytes decide, never the Content-Type.

Sources: the Ministry's swagger pages (listaMesaje, descarcare, stareMesaj,
upload), its "prezentare API" and limiteApeluriAPI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lxml import etree

from appliance.core import spv_faults, xml
from appliance.core.errors import DocumentRefused
from appliance.core.roles import Kind
from appliance.core.sentence import Sentence
from appliance.core.spv_faults import FaultKind as FaultKind
from appliance.core.spv_faults import SpvFault as SpvFault
from appliance.core.times import BUCHAREST

if TYPE_CHECKING:
    from appliance.core.ubl import Invoice

ANSWER_LENGTH = 300  # of ANAF's raw text that travels with an error


class MessageType(StrEnum):
    """What a list entry announces; the raw `tip` is kept beside it."""

    RECEIVED = "received"
    ISSUED = "issued"
    ERROR = "error"
    BUYER_MESSAGE = "buyer_message"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ListEntry:
    """One message of a list, with everything ANAF said about it in `raw`."""

    message_id: str | None  # what descarcare takes; entries without one have been seen
    upload_id: str
    cif: str
    type: str
    message_type: MessageType
    details: str
    created_raw: str
    created_at: datetime | None
    raw: Mapping[str, Any]
    issuer_cif: str | None = None
    beneficiary_cif: str | None = None
    self_billed: bool = False


@dataclass(frozen=True)
class MessageList:
    """One page, or the whole of a simple list (then page and pages are 1).

    `total` is what ANAF says that all pages hold; where it does not say
    (`counted` is False) it is what this page holds.
    """

    entries: tuple[ListEntry, ...]
    serial: str = ""  # of the certificate behind the token
    cifs: tuple[str, ...] = ()  # every CIF the certificate may act for, as ANAF named them
    title: str = ""
    page: int = 1
    pages: int = 1
    total: int = 0
    counted: bool = False


def read_list(status: int, body: bytes) -> MessageList:
    """Return the messages of a list answer; "no messages" is an empty list.

    Raises `SpvFault` for everything else, with ANAF's own text kept.
    """
    answer = _json_answer(status, body)
    messages = answer.get("mesaje")
    if not isinstance(messages, list):
        fault = _fault_of(answer, body)
        if fault is None:
            return MessageList((), title=_text(answer.get("titlu")))
        raise fault
    entries = tuple(_entry(message) for message in messages)
    return MessageList(
        entries=entries,
        serial=_text(answer.get("serial")),
        cifs=tuple(_cifs(_text(answer.get("cui")))),
        title=_text(answer.get("titlu")),
        page=_number(answer.get("index_pagina_curenta"), 1),
        pages=_number(answer.get("numar_total_pagini"), 1),
        total=_number(answer.get("numar_total_inregistrari"), len(entries)),
        counted=bool(_text(answer.get("numar_total_inregistrari"))),
    )


def read_download(status: int, body: bytes) -> bytes:
    """Return the zip exactly as it came, or raise the `SpvFault` that the answer amounts to.

    Only the first bytes are looked at: a truncated zip passes and is refused by `read_zip`.
    """
    if 200 <= status < 300 and body[:2] == b"PK":
        return body
    if status == 200 and _EXPIRED.search(_excerpt(body)):
        # once seen as plain text instead of JSON
        raise SpvFault(FaultKind.EXPIRED, _said(body))
    answer = _json_answer(status, body)
    raise _fault_of(answer, body) or SpvFault(
        FaultKind.TRANSIENT, _excerpt(body), why=spv_faults.STRANGE
    )


# Reading answers


_EXPIRED = re.compile(r"a trecut perioada de \d+ de zile", re.IGNORECASE)
_EMPTY = re.compile(r"Nu exista mesaje in ", re.IGNORECASE)
_SERVER_TIME = re.compile(r"momentul requestului\s*=\s*(\d\d-\d\d-\d{4} \d\d:\d\d:\d\d)")

_TEXTS: tuple[tuple[re.Pattern[str], FaultKind], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"Pagina solicitata .* este mai mare decat", FaultKind.END_OF_PAGES),
        (r"Folositi endpoint-ul cu paginatie|Lista de mesaje este mai mare", FaultKind.USE_PAGES),
        (r"Nu exista niciun CIF pe(n)?tru care sa aveti drept", FaultKind.PERMISSION),
        (r"Nu aveti drept(ul)? ", FaultKind.PERMISSION),
        (r"S-au facut deja .* descarcari", FaultKind.QUOTA_MESSAGE),
        (r"S-au facut deja ", FaultKind.QUOTA_LIST),
        (_EXPIRED.pattern, FaultKind.EXPIRED),
        (r"nu exista inregistrata nici o factura", FaultKind.GONE),
        (r"nu poate fi mai vechi de|nu poate( fi)? in viitor", FaultKind.CLOCK),
        (r"nu poate fi <= startTime", FaultKind.OUR_BUG),
        (r"nu este un numar|Numarul de zile|Valorile acceptate pentru", FaultKind.OUR_BUG),
        (r"este obligatoriu|sunt obligatorii", FaultKind.OUR_BUG),
        (r"A aparut o eroare tehnica", FaultKind.TRANSIENT),
    )
)


def _json_answer(status: int, body: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer, or raise for everything that carries none."""
    answer = _object(body)
    inner = _number(answer.get("status"), status) if answer is not None else status
    if status == 401:
        raise SpvFault(FaultKind.TOKEN, _said(body))
    if inner == 401:
        # ANAF was seen to say so under 200, for a moment: no token is to blame.
        raise SpvFault(FaultKind.TRANSIENT, _said(body), why=spv_faults.REFUSED_ONCE)
    if status == 403 and not _is_page(body):
        # A right that lacks for one CIF comes as `eroare` under 200: this is the whole service.
        raise SpvFault(FaultKind.TOKEN, _said(body), why=spv_faults.NO_SERVICE)
    if answer is None or status == 429 or status >= 500:
        raise SpvFault(FaultKind.TRANSIENT, _said(body), why=_why_nothing(status, body))
    if inner == 400:
        raise SpvFault(FaultKind.OUR_BUG, _said(body))
    if not 200 <= status < 300:
        raise SpvFault(FaultKind.TRANSIENT, _said(body))
    return answer


def _why_nothing(status: int, body: bytes) -> tuple[str, str] | None:
    """Return what a person is told about an answer without an answer in it."""
    if status == 429:
        return spv_faults.TOO_MANY
    if _is_page(body):
        text = _excerpt(body)
        return next(
            (why for words, why in spv_faults.PAGES if words.search(text)), spv_faults.A_PAGE
        )
    if status >= 400:
        return None
    return spv_faults.BROKEN if body.strip() else spv_faults.NOTHING


def _is_page(body: bytes) -> bool:
    return body[:512].lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"<"


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        text = body.decode("utf-8-sig").strip()
        value, end = json.JSONDecoder().raw_decode(text)
        if "\\u" in text:
            value = _without_surrogates(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    # The swagger's own example of a download error has one brace too many. The object before
    # it is whole; of a list the totals are compared besides.
    if text[end:].strip(" \r\n\t}") or (text[end:] and not {"eroare", "mesaje"} & set(value)):
        return None
    return value


def _without_surrogates(value: Any) -> Any:
    """Replace halves of characters, which JSON can escape and no database or file can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


def _fault_of(answer: Mapping[str, Any], body: bytes) -> SpvFault | None:
    """Return the fault that an `eroare` text means, `None` when it means "no messages"."""
    text = _text(answer.get("eroare")) or _text(answer.get("message"))
    if _EMPTY.match(text):
        return None
    said = _shorten(text) or _excerpt(body)
    for pattern, kind in _TEXTS:
        if pattern.search(text):
            return SpvFault(kind, said, server_time=_server_time(text))
    return SpvFault(FaultKind.TRANSIENT, said, why=spv_faults.STRANGE)


def _server_time(text: str) -> datetime | None:
    match = _SERVER_TIME.search(text)
    if match is None:
        return None
    try:
        wall = datetime.strptime(match[1], "%d-%m-%Y %H:%M:%S")  # noqa: DTZ007 - zone follows
    except ValueError:
        return None
    return wall.replace(tzinfo=BUCHAREST).astimezone(UTC)


def _said(body: bytes) -> str:
    answer = _object(body)
    if answer is not None:
        for name in ("eroare", "message", "error"):
            if text := _text(answer.get(name)):
                return _shorten(text)
    return _excerpt(body)


def _excerpt(body: bytes) -> str:
    text = body[: 8 * ANSWER_LENGTH].decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        text = re.sub(r"<(script|style|head)\b.*?</\1>", " ", text, flags=re.I | re.S) or text
        text = re.sub(r"<[^>]*>", " ", text)
    return _shorten(" ".join(text.split()))


def _shorten(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:ANSWER_LENGTH]


def _text(value: object) -> str:
    """Return an id or a text; ANAF has sent numbers where it documents strings."""
    if value is None or isinstance(value, bool | dict | list | float):
        return ""
    return str(value).strip()


def _number(value: object, default: int) -> int:
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def _cifs(text: str) -> Iterator[str]:
    for part in re.split(r"[,;\s]+", text):
        digits = part.upper().removeprefix("RO")
        if digits:
            yield digits


# Reading entries


_TYPES = (
    ("FACTURA PRIMITA", MessageType.RECEIVED),
    ("FACTURA TRIMISA", MessageType.ISSUED),
    ("ERORI FACTURA", MessageType.ERROR),
    ("MESAJ CUMPARATOR", MessageType.BUYER_MESSAGE),
)
_ISSUER = re.compile(r"cif_emitent\s*=\s*(\w+)", re.IGNORECASE)
_BENEFICIARY = re.compile(r"cif_beneficiar\s*=\s*(\w+)", re.IGNORECASE)
# "autofactutra" is an older spelling of ANAF's.
_SELF_BILLED = re.compile(
    r"transmisa de cif\s*=\s*(\w+)\s+ca\s+autofact\w*\s+in numele cif\s*=\s*(\w+)", re.IGNORECASE
)
_DECLARED_SELF_BILLED = re.compile(r"tip declarat\s*=\s*AUTOFACT", re.IGNORECASE)
_UPLOAD = re.compile(r"id_incarcare\s*=\s*(\d+)", re.IGNORECASE)


def _entry(value: object) -> ListEntry:
    if not isinstance(value, dict):
        return ListEntry(None, "", "", "", MessageType.UNKNOWN, "", "", None, {"value": value})
    details = _text(value.get("detalii"))
    kind = _text(value.get("tip"))
    created = _text(value.get("data_creare"))
    issuer = _text(value.get("cif_emitent")) or _first(_ISSUER, details)
    beneficiary = _text(value.get("cif_beneficiar")) or _first(_BENEFICIARY, details)
    self_billed = _SELF_BILLED.search(details)
    if self_billed:
        # sent by the buyer, in the name of the seller
        beneficiary, issuer = beneficiary or self_billed[1], issuer or self_billed[2]
    return ListEntry(
        message_id=_text(value.get("id")) or None,
        upload_id=_text(value.get("id_solicitare")) or _first(_UPLOAD, details),
        cif=_text(value.get("cif")).upper().removeprefix("RO"),
        type=kind,
        message_type=message_type(kind),
        details=details,
        created_raw=created,
        created_at=read_created(created),
        raw=value,
        issuer_cif=issuer or None,
        beneficiary_cif=beneficiary or None,
        self_billed=bool(self_billed or _DECLARED_SELF_BILLED.search(details)),
    )


def message_type(tip: str) -> MessageType:
    """Return the type by its first words; ANAF writes some of them in more than one way."""
    upper = " ".join(tip.upper().split())
    return next((kind for text, kind in _TYPES if upper.startswith(text)), MessageType.UNKNOWN)


def read_created(text: str) -> datetime | None:
    """Return the UTC moment of a `yyyyMMddHHmm` in Romanian wall time, `None` when it is none.

    In the hour that October repeats it is the first of the two.
    """
    if not re.fullmatch(r"[0-9]{12}", text):
        return None
    try:
        wall = datetime.strptime(text, "%Y%m%d%H%M")  # noqa: DTZ007 - zone follows
        return wall.replace(tzinfo=BUCHAREST).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


# Documents of ANAF's own, and the questions that a message asks of an invoice

DOCUMENT_ROOTS = frozenset(
    {
        ("urn:oasis:names:specification:ubl:schema:xsd:Invoice-2", "Invoice"),
        ("urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2", "CreditNote"),
        ("urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100", "CrossIndustryInvoice"),
    }
)


def document_root(data: bytes) -> tuple[str, str]:
    """Return namespace and local name of the root element, reading no further than its start tag.

    Raises `DocumentRefused` when the bytes are no XML or declare a DTD.
    """
    parser = etree.XMLPullParser(
        events=("start",), resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        # in small steps: what is wrong further on must not hide the root
        for start in range(0, len(data), 64):
            parser.feed(data[start : start + 64])
            for _, element in parser.read_events():
                if element.getroottree().docinfo.doctype:
                    raise DocumentRefused(_HAS_DTD)
                name = etree.QName(element)
                return name.namespace or "", name.localname
    except etree.XMLSyntaxError:
        pass
    # An encoding that is not what it says, or no XML at all: the whole reader knows.
    name = etree.QName(xml.parse(data))
    return name.namespace or "", name.localname


@dataclass(frozen=True)
class ErrorDocument:
    """ANAF's reasons for refusing an uploaded document."""

    upload_id: str
    cif: str
    errors: tuple[str, ...]


@dataclass(frozen=True)
class BuyerMessage:
    """What a buyer answered to an invoice (`standard=RASP`)."""

    upload_id: str
    text: str


def read_error_document(data: bytes) -> ErrorDocument:
    """Read the document of an ERORI FACTURA; raise `DocumentRefused` when it is none.

    By local names: ANAF's namespace and spellings vary ("Factuta", `Error`, `Eroare`, `Errors`).
    """
    header, attributes = _header(data)
    errors = []
    for child in header:
        if isinstance(child.tag, str) and _local(child) in ("error", "eroare", "errors"):
            said = {name.lower(): text for name, text in _attributes(child).items()}
            errors.append((said.get("errormessage") or child.text or "").strip())
    errors = [text for text in errors if text]
    if not errors:
        raise DocumentRefused(
            Sentence(
                "Documentul de erori al ANAF nu conține nicio eroare. Verifică mesajul în SPV.",
                "ANAF's error document holds no error; check the message in SPV",
            )
        )
    return ErrorDocument(
        upload_id=attributes.get("index_incarcare", ""),
        cif=attributes.get("cif_emitent", ""),
        errors=tuple(errors),
    )


def read_buyer_message(data: bytes) -> BuyerMessage:
    """Read a buyer's message; raise `DocumentRefused` when it is none."""
    _, attributes = _header(data)
    if "message" not in attributes:
        raise DocumentRefused(
            Sentence(
                "Mesajul cumpărătorului nu are text. Verifică mesajul în SPV.",
                "the buyer's message has no text; check the message in SPV",
            )
        )
    return BuyerMessage(
        upload_id=attributes.get("index_incarcare", ""), text=attributes["message"].strip()
    )


def _header(data: bytes) -> tuple[etree._Element, dict[str, str]]:
    root = xml.parse(data)
    if _local(root) != "header" or not (etree.QName(root).namespace or "").startswith("mfp:"):
        raise DocumentRefused(
            Sentence(
                "Fișierul nu este un mesaj al ANAF (nu începe cu „header”). Verifică-l în SPV.",
                "the file is no message of ANAF's (its root is not a header); check it in SPV",
            )
        )
    return root, {name.lower(): text.strip() for name, text in _attributes(root).items()}


def _local(element: etree._Element) -> str:
    return etree.QName(element).localname.lower()


def _attributes(element: etree._Element) -> dict[str, str]:
    return {etree.QName(str(name)).localname: str(text) for name, text in element.attrib.items()}


def kind_of(
    invoice: Invoice, own_identifiers: frozenset[str], message_type: MessageType | None
) -> Kind:
    """Return the folder a document belongs to, seen from one client.

    The party decides: received when the client is the buyer (BT-46/47/48),
    issued when the seller (BT-29/30/31/32). The type of the message decides
    only when the client is both or neither, so a self-billed invoice, which
    its buyer sent, is still a purchase.
    """
    bought = bool(invoice.customer.all_identifiers() & own_identifiers)
    sold = bool(invoice.supplier.all_identifiers() & own_identifiers)
    if bought != sold:
        return Kind.RECEIVED if bought else Kind.ISSUED
    if message_type is MessageType.RECEIVED:
        return Kind.RECEIVED
    return Kind.ISSUED if message_type is MessageType.ISSUED else Kind.OTHER


class CifResult(StrEnum):
    OK = "ok"
    FOREIGN_CLIENT = "foreign_client"  # quarantine
    UNKNOWN = "unknown"  # store with the warning `CIF_WARNING`, never approve by a rule


CIF_WARNING = "cif_not_ours"


@dataclass(frozen=True)
class CifCheck:
    """Whether the parties of a document include the client whose message it is."""

    result: CifResult
    identifiers: tuple[str, ...] = ()  # FOREIGN_CLIENT: of the other clients that it names


def check_cif(invoice: Invoice, own: frozenset[str], others: frozenset[str]) -> CifCheck:
    """Compare the parties with the client (`own`) and with the firm's other clients."""
    named = invoice.supplier.all_identifiers() | invoice.customer.all_identifiers()
    if named & own:
        return CifCheck(CifResult.OK)
    if named & others:
        return CifCheck(CifResult.FOREIGN_CLIENT, tuple(sorted(named & others)))
    return CifCheck(CifResult.UNKNOWN)


_HAS_DTD = Sentence(
    "Documentul XML conține o declarație DTD, care nu este permisă. Cere un document fără DTD.",
    "the XML document declares a DTD, which is not allowed; ask for a document without one",
)

"""What the simulated SPV knows: messages, uploads, rights, counters, and its clock.

No HTTP here. Times are UTC inside and Romanian wall time where ANAF prints
them. With a state directory the same messages, ids and key come back after a
restart, and what was uploaded or added is remembered (one JSON line each).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from appliance.core import anaf_zip, spv, ubl
from appliance.core import cif as cifs
from appliance.core.errors import DocumentRefused, ZipRefused
from appliance.core.times import BUCHAREST, from_text, to_text
from appliance.simulator import generator
from appliance.simulator.companies import CLIENTS, client_company
from appliance.simulator.crowd import Crowd
from appliance.simulator.messages import Message, Upload, details
from appliance.simulator.signing import Signer

WINDOW = timedelta(days=60)
_CACHED_ZIPS = 1000
_COUNTED_DAYS = 3
# Ranges of their own, so that what is added to one leaves the ids of the others as they were.
_FIRST_UPLOAD, _FIRST_DOWNLOAD = 6_471_400_000, 7_712_300_000
_ADDED_UPLOAD, _ADDED_DOWNLOAD = 6_571_400_000, 7_812_300_000
_DOCUMENT = 8_000_000_000
SERIAL = "34:00:00:25:69:AF:5D:9E:5C:17:20:F2:00:00:00:00:25:69"


@dataclass(frozen=True)
class Limits:
    """ANAF's ceilings (limiteApeluriAPI); 0 switches one off."""

    calls_per_minute: int = 1000
    lists_per_day: int = 1500  # simple list, per CUI
    pages_per_day: int = 100_000  # paged list, per CUI
    downloads_per_message: int = 10
    states_per_message: int = 100
    buyer_messages_per_day: int = 1000  # per CUI
    page_size: int = 500  # entries; the most that the simple list gives

    @classmethod
    def none(cls) -> Limits:
        """Return limits that refuse nothing; pages are as long as ANAF's."""
        return cls(**{limit.name: 0 for limit in fields(cls) if limit.name != "page_size"})


@dataclass
class State:
    """Everything behind the endpoints. One process, one event loop, no locks."""

    seed: int
    invoices: int
    clock: Callable[[], datetime]
    signer: Signer
    documents: Path | None = None
    directory: Path | None = None
    limits: Limits = field(default_factory=Limits)
    clients: int = 0  # that many clients with messages that are worked out, not stored
    processing: timedelta = timedelta(0)
    indexing: timedelta = timedelta(0)
    lateness: timedelta = timedelta(0)  # at most; each message has its own

    def __post_init__(self) -> None:
        self.offset = timedelta(0)
        self.messages: dict[str, Message] = {}
        self.uploads: dict[str, Upload] = {}
        self.ignored = 0
        self.served = 0
        self._by_cif: dict[str, list[Message]] = {}
        self._counters: dict[str, Counter[tuple[str, str]]] = {}
        self._calls: deque[datetime] = deque()
        self._zips: OrderedDict[str, bytes] = OrderedDict()
        self._known: dict[tuple[str, str, int], Upload] = {}
        self._next_upload, self._next_download = _FIRST_UPLOAD, _FIRST_DOWNLOAD
        self.anchor = self._anchor()
        self.crowd: Crowd | None = None
        if self.clients:
            self.crowd = Crowd(self.seed, self.clients, self.invoices, self.anchor)
        else:
            self._generate()
        companies = (client_company(place).cif for place in range(self.clients or len(CLIENTS)))
        self.rights: dict[str, tuple[str, ...]] = {SERIAL: tuple(companies)}
        self._rights_to_be: list[tuple[datetime, str, tuple[str, ...]]] = []
        if self.documents is not None:
            self._serve_documents(self.documents)
        self._next_upload, self._next_download = _ADDED_UPLOAD, _ADDED_DOWNLOAD
        self._replay()

    # The clock

    def now(self) -> datetime:
        return (self.clock() + self.offset).astimezone(UTC)

    def set_clock(self, moment: datetime) -> None:
        """Make it this moment now; time runs on from there."""
        self.offset = moment - self.clock()

    def _anchor(self) -> datetime:
        """The moment the generated messages lead up to: the first start with this directory."""
        now = self.now()
        if self.directory is None:
            return now
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "anchor"
        if path.exists():
            return from_text(path.read_text(encoding="ascii").strip())
        path.write_text(to_text(now) + "\n", encoding="ascii")
        return now

    # Messages

    def _generate(self) -> None:
        uploads: dict[int, str] = {}
        planned = generator.plan(self.seed, self.invoices, self.anchor)
        for entry in planned:
            if entry.upload not in uploads:
                uploads[entry.upload] = self._new_upload_id()
        for entry in planned:
            about = "" if entry.about is None else uploads[entry.about]
            self._add_planned(entry, uploads[entry.upload], about)

    def _add_planned(self, entry: generator.Planned, upload_id: str, about: str) -> Message:
        def write() -> bytes:
            return entry.write(upload_id, about)

        message = self._add(
            entry.cif,
            entry.tip,
            upload_id,
            details(
                entry.tip, upload_id, entry.issuer, entry.beneficiary, entry.self_billed, about
            ),
            entry.created,
            write,
        )
        self.uploads.setdefault(
            upload_id,
            Upload(
                upload_id,
                entry.cif,
                entry.created,
                "nok" if entry.tip == generator.ERRORS else "ok",
                message.id,
                frozenset({entry.issuer, entry.beneficiary, entry.cif}),
            ),
        )
        return message

    def _add(
        self,
        cif: str,
        tip: str,
        upload_id: str,
        text: str,
        created: datetime,
        write: Callable[[], bytes],
        *,
        raw_zip: bytes | None = None,
        visible: datetime | None = None,
        message_id: str = "",
    ) -> Message:
        if not message_id:
            self._next_download += 1
            message_id = str(self._next_download)
        if self.lateness:
            share = zlib.crc32(f"{self.seed}:{message_id}".encode()) % 1000
            visible = (visible or created) + self.lateness * share / 1000
        message = Message(message_id, upload_id, cif, tip, text, created, write, raw_zip, visible)
        self.messages[message.id] = message
        self._by_cif.setdefault(cif, []).append(message)
        return message

    def _new_upload_id(self) -> str:
        self._next_upload += 1
        return str(self._next_upload)

    def reachable(self, serial: str) -> tuple[str, ...]:
        """Return the CIFs that a certificate reaches now."""
        while self._rights_to_be and self._rights_to_be[0][0] <= self.now():
            _, whose, cifs = self._rights_to_be.pop(0)
            self.rights[whose] = cifs
        return self.rights.get(serial, ())

    def change_rights(self, serial: str, cifs: tuple[str, ...], after: timedelta) -> None:
        """Let a certificate reach these CIFs and no others, from a moment on."""
        self._rights_to_be.append((self.now() + after, serial, cifs))
        self._rights_to_be.sort()
        self.reachable(serial)

    def count(self) -> int:
        """Return how many messages there are, in all lists together."""
        return len(self.messages) + (self.crowd.invoices if self.crowd else 0)

    def message(self, message_id: str) -> Message | None:
        found = self.messages.get(message_id)
        return found or (self.crowd.message(message_id) if self.crowd else None)

    def upload_of(self, upload_id: str) -> Upload | None:
        found = self.uploads.get(upload_id)
        return found or (self.crowd.upload(upload_id) if self.crowd else None)

    def listed(self, cif: str, start: datetime, end: datetime, filtru: str) -> Sequence[Message]:
        """Return the messages of a CIF created in [start, end], the newest first."""
        now = self.now()
        found = [
            message
            for message in self._by_cif.get(cif, ())
            if start <= message.created <= end
            and (message.visible or message.created) <= now
            and (not filtru or _LETTERS.get(spv.message_type(message.tip)) == filtru)
        ]
        if self.crowd is not None:
            worked_out = self.crowd.listed(cif, start, min(end, now), filtru)
            if not found:
                return worked_out
            found += worked_out
        return sorted(found, key=lambda m: (m.created, int(m.id)), reverse=True)

    def zip_of(self, message: Message) -> bytes:
        """Return the zip, the same bytes at each call."""
        if message.raw_zip is not None:
            return message.raw_zip
        known = self._zips.get(message.id)
        if known is None:
            local = message.created.astimezone(BUCHAREST)
            known = self.signer.pack(message.upload_id, message.write(), local)
            if message.id in self.messages:
                self._zips[message.id] = known
            if len(self._zips) > _CACHED_ZIPS:
                self._zips.popitem(last=False)
        return known

    def add_generated(self, cif: str, received: bool) -> list[Message]:
        """Let one more invoice of the generator arrive now."""
        return self._remember({"do": "generate", "cif": cif, "received": received})

    def add_document(self, cif: str, tip: str, document: bytes) -> list[Message]:
        """Let this document arrive now, byte for byte."""
        text = base64.b64encode(document).decode("ascii")
        return self._remember({"do": "document", "cif": cif, "tip": tip, "document": text})

    def _serve_documents(self, directory: Path) -> None:
        """Serve real files as messages of the first client, spread over the last weeks.

        A file has the same id at each start, whatever else lies beside it.
        """
        client = CLIENTS[0].company.cif
        start = self.now().replace(second=0, microsecond=0) - timedelta(minutes=10)
        paths = sorted(
            path
            for path in directory.rglob("*")
            if path.is_file() and path.suffix.lower() in (".xml", ".zip")
        )
        for path in paths:
            package = _package(path)
            if package is None:
                self.ignored += 1
                continue
            document, name, is_zip = package
            stable = hashlib.sha256(str(path.relative_to(directory)).encode() + b"\0" + document)
            number = int.from_bytes(stable.digest()[:8])
            own_id = _DOCUMENT + number % 1_000_000_000
            while str(own_id) in self.messages:
                own_id += 1
            stem = name.removesuffix(".xml")
            from_name = is_zip and stem.isdecimal() and stem not in self.uploads
            upload_id = stem if from_name else str(own_id - 1_000_000_000)
            created = start - timedelta(minutes=number % (50 * 24 * 60))
            tip, issuer, beneficiary = _announce(document, client)
            text = details(tip, upload_id, issuer, beneficiary, False, "")
            message = self._add(
                client,
                tip,
                upload_id,
                text,
                created,
                path.read_bytes,
                raw_zip=path.read_bytes() if is_zip else None,
                message_id=str(own_id),
            )
            self.uploads[upload_id] = Upload(upload_id, client, created, "ok", message.id)
            self.served += 1

    # Uploads

    def upload(self, cif: str, standard: str, data: bytes, *, self_billed: bool) -> Upload:
        """Take a file in; what becomes of it is decided now and told by `stareMesaj`."""
        line = {
            "do": "upload",
            "cif": cif,
            "standard": standard,
            "self_billed": self_billed,
            "document": base64.b64encode(data).decode("ascii"),
        }
        self._remember(line)
        return self.uploads[str(self._next_upload)]

    def _take(self, line: Mapping[str, Any], at: datetime) -> list[Message]:
        data, cif = base64.b64decode(line["document"]), str(line["cif"])
        upload = Upload(self._new_upload_id(), cif, at, "ok", "", frozenset({cif}))
        self.uploads[upload.id] = upload
        visible = at + self.processing + self.indexing
        if line["standard"] == "RASP":
            return self._answer(upload, data, visible)
        errors, invoice = self._judge(line, data, upload)
        if errors:
            upload.state = "nok"

            def refuse() -> bytes:
                return generator.error_document(upload.id, cif, errors)

            text = details(generator.ERRORS, upload.id, cif, "0", False, "")
            message = self._add(cif, generator.ERRORS, upload.id, text, at, refuse, visible=visible)
            upload.download_id = message.id
            return [message]
        assert invoice is not None
        issuer = _identifier(invoice.supplier)
        buyer = _identifier(invoice.customer)
        upload.parties = frozenset({cif, issuer, buyer})
        year = invoice.issue_date.year if invoice.issue_date else 0
        self._known[issuer, invoice.number, year] = upload
        text = details(generator.ISSUED, upload.id, issuer, buyer, bool(line["self_billed"]), "")
        sent = self._add(cif, generator.ISSUED, upload.id, text, at, lambda: data, visible=visible)
        upload.download_id = sent.id
        added = [sent]
        known = {c for reachable in self.rights.values() for c in reachable}
        other = issuer if line["self_billed"] else buyer
        if other in known:
            # also to oneself: two entries with one upload id
            added.append(
                self._add(
                    other, generator.RECEIVED, upload.id, text, at, lambda: data, visible=visible
                )
            )
        return added

    def _judge(
        self, line: Mapping[str, Any], data: bytes, upload: Upload
    ) -> tuple[tuple[str, ...], ubl.Invoice | None]:
        errors, invoice = validate(data)
        if invoice is None:
            return errors, None
        cif = str(line["cif"])
        side = invoice.customer if line["self_billed"] else invoice.supplier
        if cif not in side.all_identifiers():
            whose = "cumparatorului" if line["self_billed"] else "vanzatorului"
            errors += (
                "E: validari globale\n eroare regula: R6.2: CIF-ul "
                f"{whose} nu corespunde cu CIF-ul pentru care s-a facut incarcarea:{cif}",
            )
        year = invoice.issue_date.year if invoice.issue_date else 0
        before = self._known.get((_identifier(invoice.supplier), invoice.number, year))
        if before is not None:
            errors += (
                f"Factura a mai fost transmisa anterior cu index={before.id} si data incarcare="
                f"{before.created.astimezone(BUCHAREST):%d-%m-%Y %H:%M:%S}",
            )
        return errors, invoice

    def _answer(self, upload: Upload, data: bytes, visible: datetime) -> list[Message]:
        """A buyer's message: shown to both sides of the invoice it is about."""
        message = spv.read_buyer_message(data)
        about = self.upload_of(message.upload_id)
        text = details(generator.BUYER_MESSAGE, upload.id, "", "", False, message.upload_id)
        added = []
        sides = (about.parties if about else frozenset()) - {upload.cif}
        known = set(self._by_cif) | {cif for cifs in self.rights.values() for cif in cifs}
        for cif in sorted(sides & known):
            added.append(
                self._add(
                    cif,
                    generator.BUYER_MESSAGE,
                    upload.id,
                    text,
                    upload.created,
                    lambda: data,
                    visible=visible,
                )
            )
        own = self._add(
            upload.cif,
            "MESAJ CUMPARATOR TRANSMIS",
            upload.id,
            text,
            upload.created,
            lambda: data,
            visible=visible,
        )
        upload.download_id = own.id
        return [*added, own]

    # The journal of what was added

    def _remember(self, line: dict[str, Any]) -> list[Message]:
        at = self.now()
        messages = self._apply(line, at)
        if self.directory is not None:
            with (self.directory / "journal.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"at": to_text(at), **line}, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return messages

    def _replay(self) -> None:
        if self.directory is None or not (self.directory / "journal.jsonl").exists():
            return
        path = self.directory / "journal.jsonl"
        whole = path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if kept != whole:
            # the last line was cut by a power failure: nobody was told that it happened
            os.truncate(path, len(kept))
        for row in kept.splitlines():
            line = json.loads(row)
            self._apply(line, from_text(line["at"]))

    def _apply(self, line: Mapping[str, Any], at: datetime) -> list[Message]:
        if line["do"] == "upload":
            return self._take(line, at)
        upload_id = self._new_upload_id()
        if line["do"] == "generate":
            places = range(self.clients or len(CLIENTS))
            position = [client_company(place).cif for place in places].index(str(line["cif"]))
            serial = int(upload_id) - _ADDED_UPLOAD
            entries = generator.one_more(self.seed, serial, position, bool(line["received"]), at)
            return [self._add_planned(entry, upload_id, "") for entry in entries]
        data, cif = base64.b64decode(line["document"]), str(line["cif"])
        tip, issuer, beneficiary = _announce(data, cif)
        tip = str(line["tip"] or tip)
        text = details(tip, upload_id, issuer, beneficiary, False, "")
        message = self._add(cif, tip, upload_id, text, at, lambda: data)
        self.uploads[upload_id] = Upload(upload_id, cif, at, "ok", message.id)
        return [message]

    # Counters

    def over_rate(self) -> bool:
        """Count a call; tell whether it is over the ceiling of the last minute."""
        limit, now = self.limits.calls_per_minute, self.now()
        if not limit:
            return False
        while self._calls and now - self._calls[0] >= timedelta(minutes=1):
            self._calls.popleft()
        if len(self._calls) >= limit:
            return True
        self._calls.append(now)
        return False

    def over_quota(self, kind: str, key: str, limit: int) -> bool:
        """Count against a daily limit; the day ends at midnight in Romania."""
        day = f"{self.now().astimezone(BUCHAREST):%Y%m%d}"
        if not limit:
            return False
        counters = self._counters.setdefault(day, Counter())
        if len(self._counters) > _COUNTED_DAYS:
            self._counters.pop(next(name for name in self._counters if name != day))
        if counters[kind, key] >= limit:
            return True
        counters[kind, key] += 1
        return False

    def forget_counters(self) -> None:
        self._counters.clear()
        self._calls.clear()


_LETTERS = {
    spv.MessageType.RECEIVED: "P",
    spv.MessageType.ISSUED: "T",
    spv.MessageType.ERROR: "E",
    spv.MessageType.BUYER_MESSAGE: "R",
}


def validate(data: bytes) -> tuple[tuple[str, ...], ubl.Invoice | None]:
    """Return ANAF-like errors of a document, a much smaller set than the real ones."""
    try:
        invoice = ubl.read(data)
    except DocumentRefused as refused:
        return (f"E: validari globale\n eroare: {refused}",), None
    errors = []
    schematron = "E: validari globale  SCHEMATRON   eroare: "
    if "CIUS-RO" not in (invoice.customization_id or ""):
        errors.append(
            f"{schematron}[BR-RO-001]-Identificatorul specificatiei (BT-24) trebuie sa fie CIUS-RO."
        )
    if not any(c.isdigit() for c in invoice.number):
        errors.append(
            f"{schematron}[BR-RO-010]-Numarul facturii (BT-1) trebuie sa contina cel putin o cifra."
        )
    if not invoice.lines:
        errors.append(f"{schematron}[BR-16]-An Invoice shall have at least one Invoice line.")
    net, tax, gross = (
        invoice.tax_exclusive_amount, invoice.tax_amount, invoice.tax_inclusive_amount
    )  # fmt: skip
    if net is None or tax is None or net + tax != gross:
        errors.append(
            f"{schematron}[BR-CO-15]-Invoice total amount with VAT (BT-112) = Invoice total amount "
            "without VAT (BT-109) + Invoice total VAT amount (BT-110)."
        )
    return tuple(errors), invoice


def _identifier(party: ubl.Party) -> str:
    return party.cif or next(iter(sorted(party.all_identifiers())), "0")


def _announce(document: bytes, client: str) -> tuple[str, str, str]:
    """Return tip, issuer and beneficiary of a document that is put into a client's list."""
    try:
        root = spv.document_root(document)
        if root[0].startswith("mfp:"):
            is_answer = "reqMesaj" in root[0]
            return (generator.BUYER_MESSAGE if is_answer else generator.ERRORS), client, "0"
        invoice = ubl.read(document)
    except DocumentRefused:
        return generator.RECEIVED, "0", client
    own = client in invoice.supplier.all_identifiers()
    issuer, buyer = _identifier(invoice.supplier), _identifier(invoice.customer)
    digits = [cifs.normalise("".join(c for c in v if c.isdigit())) or "0" for v in (issuer, buyer)]
    return (generator.ISSUED if own else generator.RECEIVED), digits[0], digits[1]


_UBL = frozenset(root for root in spv.DOCUMENT_ROOTS if root[1] in ("Invoice", "CreditNote"))


def _package(path: Path) -> tuple[bytes, str, bool] | None:
    """Return document, member name and "is a zip", or `None` for what is no UBL and no ANAF zip."""
    data = path.read_bytes()
    try:
        if path.suffix.lower() == ".zip":
            package = anaf_zip.read_zip(data)
            return package.document, package.document_name, True
        if spv.document_root(data) in _UBL:
            return data, path.name, False
    except (ZipRefused, DocumentRefused):
        pass
    return None

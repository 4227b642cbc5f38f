"""Makes the messages of a believable SPV: which invoices, when, and what they say.

`plan()` decides everything small at once (dates, parties, numbers) and leaves
each document to a function that writes it when somebody downloads it. The same
seed, count and anchor give the same bytes.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from xml.sax.saxutils import quoteattr

from appliance.core.times import BUCHAREST
from appliance.simulator import attachments
from appliance.simulator.catalogue import (
    CONSUMER,
    CUSTOMERS,
    FOREIGN,
    OWN_GOODS,
    SELLER_WITHOUT_SOFTWARE,
    SUPPLIERS,
    Item,
    Profile,
    Supplier,
    hardware,
)
from appliance.simulator.companies import CLIENTS, Company, client_company
from appliance.simulator.invoice import (
    AllowanceDraft,
    AttachmentDraft,
    Draft,
    LineDraft,
    PaymentDraft,
    totals,
    write,
)

DAYS = 58  # of ANAF's 60, so that nothing leaves the window while a demo runs

RECEIVED, ISSUED, ERRORS = "FACTURA PRIMITA", "FACTURA TRIMISA", "ERORI FACTURA"
BUYER_MESSAGE = "MESAJ CUMPARATOR PRIMIT"


@dataclass(frozen=True)
class Planned:
    """One entry of a client's list; `upload` groups the entries of one uploaded file."""

    cif: str
    tip: str
    upload: int
    created: datetime
    issuer: str
    beneficiary: str
    self_billed: bool
    write: Callable[[str, str], bytes]  # given its own upload id and that of `about`
    about: int | None = None  # the upload that a buyer's message answers


@dataclass
class _Slot:
    """One invoice before it has a number."""

    created: datetime
    client: int
    received: bool
    supplier: Supplier
    customer: Company
    special: str
    seed: str
    issue_date: date
    number: str = ""
    preceding: tuple[tuple[str, date], ...] = ()


_RECEIVED_SPECIALS = (
    "attachment",
    "reverse",
    "rent",
    "exempt",
    "outside",
    "allowance",
    "long",
    "credit_note",
    "zero",
    "prepaid",
    "storno",
    "old_rate",
    "wordy",
    "between_clients",
    "picture",
)
_ISSUED_SPECIALS = ("plain", "foreign", "consumer", "self_billed", "prepaid", "attachment")
_PROFILE_OF = {
    "reverse": Profile.REVERSE,
    "rent": Profile.RENT,
    "exempt": Profile.EXEMPT,
    "outside": Profile.OUTSIDE,
    "long": Profile.WHOLESALE,
    "allowance": Profile.WHOLESALE,
    "picture": Profile.WHOLESALE,
    "wordy": Profile.PLAIN,
    "old_rate": Profile.PLAIN,
    "zero": Profile.PLAIN,
}


def plan(seed: int, invoices: int, anchor: datetime) -> list[Planned]:
    """Return the messages of the 58 days before the anchor, oldest first.

    `invoices` counts uploaded invoices; errors and buyers' messages come on top
    (one of each for every forty, at least one when there is anything at all).
    """
    slots = _slots(_random(f"{seed}:slots"), seed, invoices, anchor)
    _number(slots)
    planned = [entry for upload, slot in enumerate(slots) for entry in _entries(upload, slot)]
    planned += _answers(slots, anchor)
    return sorted(planned, key=lambda entry: (entry.created, entry.upload, entry.tip))


def one_more(seed: int, serial: int, client: int, received: bool, now: datetime) -> list[Planned]:
    """Return the entries of one invoice that arrives now."""
    rng = _random(f"{seed}:more:{serial}")
    slot = _slot(rng, f"{seed}:more:{serial}", client, received, "plain", now)
    slot.created = now
    slot.number = f"{slot.supplier.company.series}-{now:%y%j}{serial:04d}"
    return _entries(0, slot)


def written(
    seed: str, client: int, received: bool, special: str, moment: datetime, number: str, turn: int
) -> bytes:
    """Return one invoice of a client, the same one for the same arguments."""
    slot = _slot(_random(seed), seed, client, received, special, moment, turn)
    slot.number = number
    return write(draft(slot))


def _random(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - to be repeatable is the point


def _slots(rng: random.Random, seed: int, invoices: int, anchor: datetime) -> list[_Slot]:
    places = [(turn / c.share, k) for k, c in enumerate(CLIENTS) for turn in range(c.share)]
    shares = [k for _, k in sorted(places)]
    slots = []
    received = issued = 0
    for position in range(invoices):
        is_received = position % 4 != 3
        if is_received:
            special, turn = _pick(_RECEIVED_SPECIALS, received), received
            received += 1
        else:
            special, turn = _pick(_ISSUED_SPECIALS, issued), issued
            issued += 1
        client = shares[turn % len(shares)]
        if special == "between_clients" or (client == 2 and special in ("self_billed", "foreign")):
            client = 0
        moment = _moment(rng, position, invoices, anchor)
        slots.append(
            _slot(rng, f"{seed}:{position}", client, is_received, special, moment, position)
        )
    slots.sort(key=lambda slot: slot.created)
    return slots


def _pick(specials: Sequence[str], position: int) -> str:
    """Return each special once at first, then one in three, the rest plain."""
    if position < len(specials):
        return specials[position]
    turn, kind = divmod(position, 3)
    return specials[turn % len(specials)] if kind == 0 else "plain"


def _moment(rng: random.Random, position: int, invoices: int, anchor: datetime) -> datetime:
    """Return a moment in Romanian working hours, the positions spread evenly over the days."""
    golden = (position * 0.6180339887) % 1
    day = (anchor.astimezone(BUCHAREST) - timedelta(days=DAYS * golden)).date()
    if day.weekday() > 4 and rng.random() < 0.8:
        day -= timedelta(days=day.weekday() - 4)
    minutes = rng.randrange(7 * 60 + 30, 19 * 60)
    wall = datetime(day.year, day.month, day.day, minutes // 60, minutes % 60, tzinfo=BUCHAREST)
    earliest = anchor - timedelta(days=DAYS)
    latest = anchor - timedelta(minutes=5 + rng.randrange(180))
    return min(max(wall.astimezone(anchor.tzinfo), earliest), latest)


def _slot(
    rng: random.Random,
    seed: str,
    client: int,
    received: bool,
    special: str,
    moment: datetime,
    position: int = 0,
) -> _Slot:
    issue_date = moment.astimezone(BUCHAREST).date() - timedelta(
        days=rng.choice((0, 0, 1, 1, 2, 4))
    )
    seller, buyer = parties(client, received, special, position)
    return _Slot(moment, client, received, seller, buyer, special, seed, issue_date)


def parties(
    client: int, received: bool, special: str, position: int = 0
) -> tuple[Supplier, Company]:
    """Return who sells what to whom in an invoice of this client."""
    company = client_company(client)
    own = Supplier(company, OWN_GOODS[client % len(OWN_GOODS)])
    if not received:
        customer = CUSTOMERS[(position // 4) % len(CUSTOMERS)]
        if special == "foreign":
            customer = FOREIGN
        elif special == "consumer":
            customer = CONSUMER
        if special == "self_billed":
            # the client buys and writes the invoice for a seller without software
            goods = (
                Item("Legume proaspete, amestec", "KGM", "4.2", 30, 200, 1, category="O", rate=0),
            )
            own = Supplier(SELLER_WITHOUT_SOFTWARE, goods, Profile.OUTSIDE)
            customer = company
        return own, customer
    if special == "between_clients":
        return Supplier(CLIENTS[1].company, OWN_GOODS[1]), company
    wanted = _PROFILE_OF.get(special)
    choices = [s for s in SUPPLIERS if wanted is None or s.profile is wanted]
    if special == "zero":
        choices = [s for s in SUPPLIERS if any(item.category == "Z" for item in s.items)]
    # each client meets its own suppliers again and again
    return choices[(position * 5 + client * 3) % len(choices)], company


def _number(slots: list[_Slot]) -> None:
    """Give every invoice the next number of its seller, and a correction what it corrects."""
    last: dict[str, int] = {}
    earlier: dict[tuple[str, str], _Slot] = {}
    for slot in slots:
        series = slot.supplier.company.series
        count = last.get(series, 100 + zlib.crc32(series.encode()) % 3900) + 1
        last[series] = count
        slot.number = _formatted(series, count, slot.issue_date)
        pair = (slot.supplier.company.cif, slot.customer.cif)
        if slot.special in ("credit_note", "storno"):
            before = earlier.get(pair)
            number, day = (
                (before.number, before.issue_date)
                if before
                else (
                    _formatted(series, count - 40, slot.issue_date - timedelta(days=33)),
                    slot.issue_date - timedelta(days=33),
                )
            )
            slot.preceding = ((number, day),)
        elif slot.special == "old_rate":
            day = date(2025, 6, 1 + count % 28)
            slot.preceding = ((_formatted(series, count // 2 + 1, day), day),)
        else:
            earlier[pair] = slot


def _formatted(series: str, count: int, day: date) -> str:
    match len(series) % 3:
        case 0:
            return f"{series} {count:05d}"
        case 1:
            return f"{series}-{day.year}-{count}"
        case _:
            return f"{series}/{count}/{day:%m.%Y}"


def _entries(upload: int, slot: _Slot) -> list[Planned]:
    seller, buyer = slot.supplier.company.cif, slot.customer.cif
    self_billed = slot.special == "self_billed"

    def write_it(upload_id: str, about: str) -> bytes:
        return write(draft(slot))

    def entry(cif: str, tip: str) -> Planned:
        issuer, beneficiary = digits(seller), digits(buyer)
        return Planned(cif, tip, upload, slot.created, issuer, beneficiary, self_billed, write_it)

    clients = {client.company.cif for client in CLIENTS} | {client_company(slot.client).cif}
    entries = []
    if self_billed:
        return [entry(buyer, ISSUED)]
    if seller in clients:
        entries.append(entry(seller, ISSUED))
    if buyer in clients:
        entries.append(entry(buyer, RECEIVED))
    return entries


def digits(cif: str) -> str:
    return "".join(c for c in cif if c.isdigit()) or "0"


def _answers(slots: list[_Slot], anchor: datetime) -> list[Planned]:
    """Return errors for refused uploads and buyers' answers to issued invoices."""
    clients = {client.company.cif for client in CLIENTS}
    own = [
        (upload, slot) for upload, slot in enumerate(slots) if slot.supplier.company.cif in clients
    ]
    if not own:
        return []
    first = CLIENTS[0].company.cif  # meets one of each
    own.sort(key=lambda pair: pair[1].supplier.company.cif != first)
    planned = []
    count = max(1, len(slots) // 40)
    for turn in range(count):
        upload, slot = own[(turn * 7) % len(own)]
        later = min(slot.created + timedelta(hours=20, minutes=turn), anchor - timedelta(minutes=4))
        seller, buyer = slot.supplier.company.cif, digits(slot.customer.cif)
        text = BUYER_TEXTS[turn % len(BUYER_TEXTS)].format(number=slot.number)
        planned.append(
            Planned(
                seller,
                BUYER_MESSAGE,
                len(slots) + 2 * turn,
                later,
                buyer,
                seller,
                False,
                says(text),
                about=upload,
            )
        )
        upload, slot = own[(turn * 11 + 1) % len(own)]
        seller = slot.supplier.company.cif
        errors = ERROR_TEXTS[turn % len(ERROR_TEXTS)]
        planned.append(
            Planned(
                seller,
                ERRORS,
                len(slots) + 2 * turn + 1,
                max(slot.created - timedelta(minutes=25), anchor - timedelta(days=DAYS)),
                seller,
                buyer,
                False,
                refuses(seller, errors),
            )
        )
    return planned


def says(text: str) -> Callable[[str, str], bytes]:
    return lambda upload_id, about: buyer_message(about, text)


def refuses(cif: str, errors: Sequence[str]) -> Callable[[str, str], bytes]:
    return lambda upload_id, about: error_document(upload_id, cif, errors)


BUYER_TEXTS = (
    "Factura {number} nu corespunde comenzii: cantitatea livrată este mai mică. "
    "Vă rugăm să o corectați.",
    "Vă rugăm să completați numărul contractului pe factura {number}.",
    "Factura {number} nu este pentru noi; vă rugăm să o stornați.",
)
ERROR_TEXTS = (
    (
        "E: validari globale\n eroare regula: R6.1: CIF-ul cumparatorului nu figureaza in baza de "
        "date:12345",
    ),
    (
        "E: validari globale  SCHEMATRON   eroare: [BR-CO-15]-Invoice total amount with VAT "
        "(BT-112) = Invoice total amount without VAT (BT-109) + Invoice total VAT amount (BT-110).",
        "E: validari globale  SCHEMATRON   eroare: [BR-RO-110]-Daca Codul ţării vânzătorului "
        "(BT-40) este  RO , atunci Subdiviziunea ţării vânzătorului (BT-39) trebuie să fie "
        "codificată folosind lista de coduri ISO 3166-2:RO.",
    ),
)


def error_document(upload_id: str, cif: str, errors: Sequence[str]) -> bytes:
    """Return the document that stands in the zip of an ERORI FACTURA; "Factuta" is ANAF's."""
    inside = "".join(
        f"\n    <Error errorMessage={quoteattr(text, {chr(10): '&#xA;'})}/>" for text in errors
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        '<header xmlns="mfp:anaf:dgti:efactura:mesajEroriFactuta:v1" '
        f'Index_incarcare="{upload_id}" Cif_emitent="{cif}">{inside}\n</header>'
    ).encode()


def buyer_message(upload_id: str, text: str) -> bytes:
    """Return a buyer's message about the invoice with this upload id (`standard=RASP`)."""
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<header xmlns="mfp:anaf:dgti:spv:reqMesaj:v1" index_incarcare="{upload_id}" '
        f"message={quoteattr(text)}/>"
    ).encode()


# What an invoice says

_RATE = Decimal("5.0873")  # RON for one EUR, as the document itself states it


def draft(slot: _Slot) -> Draft:
    """Return the content of one invoice."""
    rng = _random(slot.seed)
    supplier, special = slot.supplier, slot.special
    currency = "EUR" if supplier.profile is Profile.RENT or special == "foreign" else "RON"
    lines = _lines(rng, slot)
    due = slot.issue_date + timedelta(days=rng.choice((10, 15, 30, 30, 45)))
    notes = ["Factura este valabilă fără semnătură și ștampilă conform art. 319 din Codul fiscal."]
    if currency != "RON":
        notes.append(f"Curs BNR din {slot.issue_date:%d.%m.%Y}: 1 EUR = {_comma(_RATE)} lei.")
    made = Draft(
        number=slot.number,
        issue_date=slot.issue_date,
        due_date=due,
        supplier=supplier.company,
        customer=slot.customer,
        lines=lines,
        currency=currency,
        exchange_rate=_RATE if currency != "RON" else None,
        notes=tuple(notes),
        preceding=slot.preceding,
        payments=(_transfer(slot),),
        terms=f"Plata prin transfer bancar până la {due:%d.%m.%Y}.",
        type_code="380",
    )
    made = _by_profile(rng, made, supplier.profile)
    return _by_special(rng, made, special)


def _lines(rng: random.Random, slot: _Slot) -> tuple[LineDraft, ...]:
    items = list(slot.supplier.items)
    special = slot.special
    if special == "long":
        return tuple(
            _line(rng, hardware(position), discount=position % 9 == 0) for position in range(200)
        )
    if slot.supplier.profile is Profile.UTILITY:
        chosen = items
    elif slot.supplier.profile is Profile.WHOLESALE and rng.random() < 0.4:
        chosen = [hardware(rng.randrange(190)) for _ in range(rng.randrange(8, 60))]
    else:
        chosen = rng.sample(items, rng.randrange(1, len(items) + 1))
    if special == "foreign":
        chosen = [replace(item, category="K", rate=0) for item in chosen]
    elif special == "zero":
        chosen = [item for item in items if item.category == "Z"] + chosen
        chosen = list(dict.fromkeys(chosen))
    elif special == "old_rate":
        chosen = [replace(i, rate={21: 19, 11: 9}.get(i.rate, i.rate)) for i in chosen]
    else:
        chosen = [item for item in chosen if item.category != "Z"] or chosen
    lines = tuple(
        _line(rng, item, discount=slot.supplier.profile is Profile.WHOLESALE) for item in chosen
    )
    if special == "wordy":
        first = replace(lines[0], description=_LONG, note=_NOTE, properties=_PROPERTIES)
        return (first, *lines[1:])
    if special == "storno":
        return tuple(replace(line, quantity=-line.quantity, discount_percent=0) for line in lines)
    return lines


_LONG = (
    "Livrare eșalonată conform anexei 2 la contract: ambalare pe paleți înfoliați, etichetare cu "
    "lot și termen de valabilitate, descărcare la rampă între orele 06:00 și 09:30, cu programare."
)
_NOTE = (
    "Cantitatea a fost verificată la recepție în prezența reprezentantului cumpărătorului; "
    "diferențele sub 0,5 % nu se regularizează. Retururile se anunță în scris în 48 de ore."
)
_PROPERTIES = (
    ("Lot", "L2026-317/B"),
    ("Termen de valabilitate", "14.12.2026"),
    ("Țara de origine", "România"),
)


def _line(rng: random.Random, item: Item, *, discount: bool = False) -> LineDraft:
    scale = 10**item.decimals
    quantity = Decimal(rng.randrange(item.low * scale, item.high * scale + 1)) / scale
    return LineDraft(
        name=item.name,
        quantity=quantity,
        unit=item.unit,
        price=Decimal(item.price),
        category=item.category,
        rate=item.rate,
        description=item.description,
        seller_id=item.code,
        classification=item.cpv,
        discount_percent=rng.choice((0, 0, 5, 10)) if discount else 0,
    )


def _by_profile(rng: random.Random, made: Draft, profile: Profile) -> Draft:
    end = made.issue_date.replace(day=1) - timedelta(days=1)
    month = (end.replace(day=1), end)
    if profile is Profile.UTILITY:
        used = made.lines[0].quantity
        lines = tuple(
            replace(line, quantity=used if line.unit == made.lines[0].unit else line.quantity)
            for line in made.lines
        )
        return replace(
            made,
            lines=lines,
            period=month,
            contract=f"{zlib.crc32(made.customer.cif.encode()) % 900000 + 100000}",
            notes=(*made.notes, "Loc de consum: sediul social. Telverde intervenții 24/7."),
        )
    if profile is Profile.FUEL:
        card = PaymentDraft("48", "Card bancar", card=f"************{rng.randrange(1000, 9999)}")
        return replace(made, payments=(card,), terms="Achitat cu cardul la stație.")
    if profile is Profile.RENT:
        return replace(made, period=month, contract=f"CTR {rng.randrange(10, 99)}/2024")
    if profile is Profile.WHOLESALE:
        return replace(
            made,
            despatch=f"AVZ {rng.randrange(1000, 9999)}",
            order=f"CMD-{rng.randrange(10000, 99999)}",
            delivery_date=made.issue_date,
            delivery_place=made.customer,
        )
    return made


def _by_special(rng: random.Random, made: Draft, special: str) -> Draft:
    if special in ("credit_note", "old_rate"):
        why = (
            "Retur de marfă conform procesului-verbal de recepție."
            if special == "credit_note"
            else "Reducere acordată ulterior; cota de TVA este cea de la data facturii inițiale."
        )
        return replace(made, type_code="381", notes=(why,), terms="", prepaid=0)
    if special == "storno":
        return replace(made, notes=("Storno integral al facturii menționate.",))
    if special == "self_billed":
        return replace(
            made, type_code="389", notes=("Autofactură emisă de cumpărător, art. 319 Cod fiscal.",)
        )
    if special == "allowance":
        base = sum(line.net for line in made.lines)
        off = (base * 3 + 50) // 100
        return replace(
            made,
            allowances=(
                AllowanceDraft(False, off, "Discount de fidelitate", "95", percent=3, base=base),
                AllowanceDraft(True, 8500, "Cheltuieli de transport", "FC"),
            ),
        )
    if special == "prepaid":
        paid = max(totals(made).inclusive // 3, 0)
        cash = PaymentDraft("10", "Numerar")
        return replace(
            made, prepaid=paid, payments=(*made.payments, cash), notes=(*made.notes, _ADVANCE)
        )
    if special == "attachment":
        content = attachments.pdf(
            f"Anexa la factura {made.number}",
            [f"Data: {made.issue_date:%d.%m.%Y}", f"Linii: {len(made.lines)}"],
        )
        name = f"Anexa {made.number.replace('/', '-')}.pdf"
        attachment = AttachmentDraft(
            "ANEXA-1", "Anexă la factură", name, "application/pdf", content
        )
        return replace(made, attachments=(attachment,))
    if special == "picture":
        content = attachments.png(rng.randrange(0x1000000))
        attachment = AttachmentDraft(
            "FOTO-1", "Fotografie recepție", "recepție.png", "image/png", content
        )
        return replace(made, attachments=(attachment,))
    if special == "wordy":
        return replace(
            made,
            payee="Factoring Carpatin IFN SA",
            project="Modernizare sediu, etapa a II-a",
            buyer_reference="Dep. Achiziții / Crăciun",
            tax_point=made.issue_date,
        )
    return made


_ADVANCE = "Din total s-a reținut avansul încasat anterior."


def _transfer(slot: _Slot) -> PaymentDraft:
    company = slot.supplier.company
    return PaymentDraft(
        "42" if len(company.name) % 2 else "30",
        "Transfer bancar",
        iban=company.iban,
        account_name=company.name,
        bank=company.bank,
        reference=slot.number,
    )


def _comma(number: Decimal) -> str:
    return str(number).replace(".", ",")

"""The companies of the demo: invented, with identifiers whose check digits are right.

Their CUIs lie above 80 million, a range that the trade register has not
reached, and their IBANs belong to nobody.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache

from stdnum import iban as stdnum_iban
from stdnum.ro import cui as stdnum_cui

_BANKS = {
    "BTRL": "Banca Transilvania",
    "RNCB": "BCR",
    "BRDE": "BRD",
    "INGB": "ING Bank",
    "RZBR": "Raiffeisen Bank",
    "CECE": "CEC Bank",
}


@dataclass(frozen=True)
class Company:
    """A party of an invoice."""

    name: str
    cif: str  # digits; of a foreign company the whole VAT identifier
    vat: bool = True  # registered for VAT: its identifier carries RO
    registration: str = ""  # trade register number
    street: str = ""
    city: str = ""
    county: str = ""  # RO-XX
    postcode: str = ""
    country: str = "RO"
    phone: str = ""
    email: str = ""
    contact: str = ""
    iban: str = ""
    bank: str = ""
    series: str = "FCT"
    style: str = "plain"  # how its software writes XML: plain, compact, prefixed, windows

    @property
    def vat_identifier(self) -> str:
        if self.country != "RO":
            return self.cif
        return f"RO{self.cif}" if self.vat else self.cif


def cui(first_digits: int) -> str:
    """Return the digits followed by their check digit."""
    digits = str(first_digits)
    return digits + str(stdnum_cui.calc_check_digit(digits))


def iban(bank: str, account: str) -> str:
    """Return a Romanian IBAN of 24 characters with right check digits."""
    body = bank + account.upper().rjust(16, "0")
    return "RO" + str(stdnum_iban.calc_check_digits("RO00" + body)) + body


def company(
    name: str,
    first_digits: int,
    street: str,
    city: str,
    county: str,
    *,
    vat: bool = True,
    bank: str = "BTRL",
    series: str = "FCT",
    style: str = "plain",
    contact: str = "",
) -> Company:
    """Return a Romanian company; what is not given follows from its name."""
    number = zlib.crc32(name.encode())
    plain = name.lower().translate(str.maketrans("ăâîșțé", "aaiste"))
    domain = "".join(c for c in plain if c.isalnum())[:18]
    return Company(
        name=name,
        cif=cui(first_digits),
        vat=vat,
        registration=(
            f"{'F' if 'PFA' in name else 'J'}{1 + number % 40:02d}/{100 + number % 9000}/"
            f"{2005 + number % 20}"
        ),
        street=street,
        city=city,
        county=county,
        postcode=f"{10000 + number % 890000:06d}",
        phone=f"07{20 + number % 60:02d} {number % 1000:03d} {number // 1000 % 1000:03d}",
        email=f"facturi@{domain}.example",
        contact=contact,
        iban=iban(bank, f"RONCRT{number % 10_000_000_000:010d}"),
        bank=_BANKS[bank],
        series=series,
        style=style,
    )


@dataclass(frozen=True)
class Client:
    """A client of the accounting firm in the demo, and its share of the messages."""

    company: Company
    share: int


CLIENTS = (
    Client(
        company(
            "Alfa Construct SRL",
            8104217,
            "Bd. Decebal nr. 17, bl. S12, ap. 4",
            "SECTOR3",
            "RO-B",
            series="ALFA",
            contact="Mihai Dumitrașcu",
        ),
        5,
    ),
    Client(
        company(
            "Pensiunea Țapului SRL",
            8153306,
            "Str. Zamora nr. 9",
            "Bușteni",
            "RO-PH",
            bank="RZBR",
            series="PT",
            style="prefixed",
            contact="Ioana Crăciun",
        ),
        3,
    ),
    Client(
        company(
            "Ionescu Ștefan-Cătălin PFA",
            8220145,
            "Str. Păcurari nr. 122, ap. 31",
            "Iași",
            "RO-IS",
            vat=False,
            bank="INGB",
            series="ISC",
            style="compact",
            contact="Ștefan Ionescu",
        ),
        2,
    ),
)


_TRADES = (
    "Brutăria", "Autoservice", "Instalații", "Tâmplăria", "Farmacia", "Transport", "Agro",
    "Contabil Expert", "Librăria", "Florăria", "Electro", "Cofetăria", "Vinăria", "Papetăria",
    "Optica", "Dental", "Construct", "Mobila", "Tipografia", "Ferma", "Restaurant", "Pensiunea",
    "Atelier", "Depozit", "Birotica",
)  # fmt: skip
_PLACES = (
    ("Bistrița", "RO-BN"), ("Făgăraș", "RO-BV"), ("Turda", "RO-CJ"), ("Mediaș", "RO-SB"),
    ("Râmnicu Sărat", "RO-BZ"), ("Pașcani", "RO-IS"), ("Câmpina", "RO-PH"), ("Roman", "RO-NT"),
    ("Lugoj", "RO-TM"), ("Onești", "RO-BC"), ("Dej", "RO-CJ"), ("Medgidia", "RO-CT"),
    ("Sighișoara", "RO-MS"), ("Caracal", "RO-OT"), ("Tecuci", "RO-GL"), ("Huși", "RO-VS"),
)  # fmt: skip
_FIRST_INVENTED = 8_600_001


@cache
def client_company(position: int) -> Company:
    """Return the client at this place: those of the demo first, then invented ones without end."""
    if position < len(CLIENTS):
        return CLIENTS[position].company
    turn, trade = divmod(position - len(CLIENTS), len(_TRADES))
    place, county = _PLACES[turn % len(_PLACES)]
    number = f" {turn // len(_PLACES) + 1}" if turn >= len(_PLACES) else ""
    return company(
        f"{_TRADES[trade]} {place}{number} {'PFA' if position % 3 == 2 else 'SRL'}",
        _FIRST_INVENTED + 7 * position,
        f"Str. Gării nr. {1 + position % 90}",
        place,
        county,
        vat=position % 3 != 2,
        bank=tuple(_BANKS)[position % len(_BANKS)],
        series=f"C{position}",
        style=("plain", "compact", "prefixed", "windows")[position % 4],
    )

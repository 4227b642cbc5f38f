"""The words behind the codes that an invoice uses.

EN 16931 lets an invoice say `380`, `AE`, `H87` or `30` and leaves it to the
reader's program to turn them into words. The tables hold the codes that occur
in practice; one that is missing is shown as it is written, so a table that
falls behind hides nothing. Nothing decides by these words.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from appliance.core.sentence import Sentence

_Table = Mapping[str, Sentence]


def _table(rows: Mapping[str, tuple[str, str]]) -> _Table:
    return {code: Sentence(*words) for code, words in rows.items()}


DOCUMENT_TYPES = _table(
    {
        "71": ("Cerere de plată", "Request for payment"),
        "80": ("Notă de debit pentru bunuri sau servicii", "Debit note for goods or services"),
        "81": ("Notă de creditare pentru bunuri sau servicii", "Credit note for goods or services"),
        "82": ("Factură pentru servicii măsurate", "Metered services invoice"),
        "83": ("Notă de creditare financiară", "Financial credit note"),
        "84": ("Notă de debit financiară", "Financial debit note"),
        "102": ("Notificare fiscală", "Tax notification"),
        "130": ("Fișă de date pentru facturare", "Invoicing data sheet"),
        "218": ("Factură finală de lucrări", "Final payment request"),
        "219": ("Factură de lucrări", "Payment request for completed units"),
        "261": ("Notă de creditare – autofactură", "Self-billed credit note"),
        "325": ("Factură proformă", "Proforma invoice"),
        "326": ("Factură parțială", "Partial invoice"),
        "331": ("Factură comercială cu listă de ambalare", "Commercial invoice with packing list"),
        "380": ("Factură", "Invoice"),
        "381": ("Notă de creditare", "Credit note"),
        "383": ("Notă de debit", "Debit note"),
        "384": ("Factură corectată", "Corrected invoice"),
        "385": ("Factură centralizatoare", "Consolidated invoice"),
        "386": ("Factură de avans", "Prepayment invoice"),
        "388": ("Factură fiscală", "Tax invoice"),
        "389": ("Autofactură", "Self-billed invoice"),
        "390": ("Factură del credere", "Delcredere invoice"),
        "393": ("Factură cesionată", "Factored invoice"),
        "394": ("Factură de leasing", "Lease invoice"),
        "395": ("Factură de consignație", "Consignment invoice"),
        "396": ("Notă de creditare cesionată", "Factored credit note"),
        "457": ("Storno al unei note de debit", "Reversal of debit"),
        "458": ("Storno al unei note de creditare", "Reversal of credit"),
        "527": ("Notă de debit – autofactură", "Self-billed debit note"),
        "575": ("Factura asigurătorului", "Insurer's invoice"),
        "623": ("Factura expeditorului", "Forwarder's invoice"),
        "751": (
            "Factură – informații în scopuri contabile",
            "Invoice information for accounting purposes",
        ),
        "780": ("Factură de transport", "Freight invoice"),
        "875": ("Factură parțială de lucrări", "Partial construction invoice"),
        "876": ("Factură parțial-finală de lucrări", "Partial final construction invoice"),
        "877": ("Factură finală de lucrări", "Final construction invoice"),
        "935": ("Factură vamală", "Customs invoice"),
    }
)
"""UNTDID 1001 (BT-3)."""

VAT_CATEGORIES = _table(
    {
        "S": ("Taxabil", "Taxable"),
        "Z": ("Cotă zero", "Zero rated"),
        "E": ("Scutit de TVA", "Exempt"),
        "AE": ("Taxare inversă", "Reverse charge"),
        "K": ("Livrare intracomunitară", "Intra-Community supply"),
        "G": ("Export", "Export"),
        "O": ("Neimpozabil", "Outside the scope of VAT"),
        "L": ("IGIC (Insulele Canare)", "IGIC (Canary Islands)"),
        "M": ("IPSI (Ceuta și Melilla)", "IPSI (Ceuta and Melilla)"),
        "B": ("TVA plătită direct la stat (Italia)", "Split payment (Italy)"),
    }
)
"""UNTDID 5305 as EN 16931 restricts it (BT-118, BT-151)."""

PAYMENT_MEANS = _table(
    {
        "1": ("Mijloc de plată nedefinit", "Payment means not defined"),
        "2": ("Credit prin casă de compensare", "Automated clearing house credit"),
        "3": ("Debit prin casă de compensare", "Automated clearing house debit"),
        "10": ("Numerar", "Cash"),
        "15": ("Credit în contul curent", "Bookentry credit"),
        "20": ("Cec", "Cheque"),
        "21": ("Cambie bancară", "Banker's draft"),
        "23": ("Cec bancar", "Bank cheque"),
        "24": ("Cambie", "Bill of exchange awaiting acceptance"),
        "25": ("Cec certificat", "Certified cheque"),
        "30": ("Transfer bancar (ordin de plată)", "Credit transfer"),
        "31": ("Transfer de debit", "Debit transfer"),
        "42": ("Plată în cont bancar", "Payment to bank account"),
        "44": ("Bilet de credit acceptat", "Accepted bill of exchange"),
        "45": ("Transfer bancar referențiat", "Referenced home-banking credit transfer"),
        "46": ("Debit interbancar", "Interbank debit transfer"),
        "47": ("Debit direct intern", "Home-banking debit transfer"),
        "48": ("Card bancar", "Bank card"),
        "49": ("Debit direct", "Direct debit"),
        "50": ("Plată prin virament poștal", "Payment by postgiro"),
        "54": ("Card de credit", "Credit card"),
        "55": ("Card de debit", "Debit card"),
        "56": ("Virament bancar", "Bankgiro"),
        "57": ("Acord permanent de plată", "Standing agreement"),
        "58": ("Transfer SEPA", "SEPA credit transfer"),
        "59": ("Debit direct SEPA", "SEPA direct debit"),
        "60": ("Bilet la ordin", "Promissory note"),
        "61": ("Bilet la ordin semnat de debitor", "Promissory note signed by the debtor"),
        "68": ("Serviciu de plată online", "Online payment service"),
        "70": ("Cambie trasă de creditor", "Bill drawn by the creditor"),
        "93": ("Virament de referință", "Reference giro"),
        "97": ("Compensare între parteneri", "Clearing between partners"),
        "ZZZ": ("Convenită între părți", "Mutually defined"),
    }
)
"""UNTDID 4461 (BT-81)."""

TAX_POINT_CODES = _table(
    {
        "3": ("data emiterii facturii", "date of issue of the invoice"),
        "35": ("data livrării", "date of delivery"),
        "432": ("data plății", "date of payment"),
    }
)
"""UNTDID 2005 (BT-8)."""

ALLOWANCE_REASONS = _table(
    {
        "41": (
            "Bonus pentru lucrări finalizate înainte de termen",
            "Bonus for works ahead of schedule",
        ),
        "42": ("Alt bonus", "Other bonus"),
        "60": ("Discount al producătorului pentru consumator", "Manufacturer's consumer discount"),
        "62": ("Datorită statutului militar", "Due to military status"),
        "63": ("Datorită unui accident de muncă", "Due to work accident"),
        "64": ("Acord special", "Special agreement"),
        "65": ("Discount pentru eroare de producție", "Production error discount"),
        "66": ("Discount pentru punct de vânzare nou", "New outlet discount"),
        "67": ("Discount de mostră", "Sample discount"),
        "68": ("Discount pentru sfârșit de serie", "End-of-range discount"),
        "70": ("Discount Incoterm", "Incoterm discount"),
        "71": ("Discount la punctul de vânzare", "Point of sales threshold allowance"),
        "88": ("Suprataxă sau deducere de material", "Material surcharge or deduction"),
        "95": ("Discount", "Discount"),
        "100": ("Rabat special", "Special rebate"),
        "102": ("Termen lung, fix", "Fixed long term"),
        "103": ("Temporar", "Temporary"),
        "104": ("Standard", "Standard"),
        "105": ("Cifră de afaceri anuală", "Yearly turnover"),
    }
)
"""UNTDID 5189 (BT-98, BT-140)."""

CHARGE_REASONS = _table(
    {
        "AA": ("Publicitate", "Advertising"),
        "AAA": ("Telecomunicații", "Telecommunication"),
        "ABK": ("Diverse", "Miscellaneous"),
        "ABL": ("Ambalare suplimentară", "Additional packaging"),
        "ADR": ("Alte servicii", "Other services"),
        "ADT": ("Ridicare", "Pick-up"),
        "AEO": ("Colectare și reciclare", "Collection and recycling"),
        "AEV": ("Protecția mediului", "Environmental protection service"),
        "CG": ("Curățare", "Cleaning"),
        "DL": ("Livrare", "Delivery"),
        "FC": ("Transport", "Freight service"),
        "FI": ("Finanțare", "Financing"),
        "IN": ("Asigurare", "Insurance"),
        "IS": ("Servicii de facturare", "Invoicing service"),
        "LA": ("Etichetare", "Labelling"),
        "PC": ("Ambalare", "Packing"),
        "SH": ("Manipulare specială", "Special handling"),
        "TX": ("Taxă", "Tax"),
    }
)
"""UNTDID 7161 (BT-105, BT-145)."""

IDENTIFIER_SCHEMES: Mapping[str, str] = {
    "0002": "SIREN",
    "0009": "SIRET",
    "0060": "DUNS",
    "0088": "GLN",
    "0106": "KvK",
    "0160": "GTIN",
    "0184": "CVR",
    "0192": "Org.nr",
    "0204": "Leitweg-ID",
    "0208": "KBO/BCE",
    "9930": "USt-IdNr.",
    "9947": "CIF",
    "EM": "e-mail",
    "VAT": "TVA",
}
"""ISO 6523 ICD and EAS (BT-29-1, BT-34-1, BT-157-1); names that are the same in any language."""

_UNITS: Mapping[str, tuple[str, str, str, str]] = {
    code: words
    for codes, words in (
        (("H87", "EA", "XPP", "PCE", "PCS", "NAR"), ("buc", "buc", "pc", "pcs")),
        (("C62", "XUN"), ("unit.", "unit.", "unit", "units")),
        (("KGM",), ("kg", "kg", "kg", "kg")),
        (("GRM",), ("g", "g", "g", "g")),
        (("MGM",), ("mg", "mg", "mg", "mg")),
        (("TNE",), ("t", "t", "t", "t")),
        (("LTR",), ("l", "l", "l", "l")),
        (("MLT",), ("ml", "ml", "ml", "ml")),
        (("HLT",), ("hl", "hl", "hl", "hl")),
        (("MMT",), ("mm", "mm", "mm", "mm")),
        (("CMT",), ("cm", "cm", "cm", "cm")),
        (("MTR", "LM"), ("m", "m", "m", "m")),
        (("KMT", "KTM"), ("km", "km", "km", "km")),
        (("CMK",), ("cm²", "cm²", "cm²", "cm²")),
        (("MTK",), ("m²", "m²", "m²", "m²")),
        (("HAR",), ("ha", "ha", "ha", "ha")),
        (("MTQ",), ("m³", "m³", "m³", "m³")),
        (("KWH",), ("kWh", "kWh", "kWh", "kWh")),
        (("MWH",), ("MWh", "MWh", "MWh", "MWh")),
        (("KWT",), ("kW", "kW", "kW", "kW")),
        (("KVR",), ("kvar", "kvar", "kvar", "kvar")),
        (("K3",), ("kvarh", "kvarh", "kvarh", "kvarh")),
        (("GV",), ("GJ", "GJ", "GJ", "GJ")),
        (("SEC",), ("s", "s", "s", "s")),
        (("MIN",), ("min", "min", "min", "min")),
        (("HUR",), ("oră", "ore", "hour", "hours")),
        (("DAY",), ("zi", "zile", "day", "days")),
        (("E49",), ("zi lucr.", "zile lucr.", "working day", "working days")),
        (("WEE",), ("săpt.", "săpt.", "week", "weeks")),
        (("MON",), ("lună", "luni", "month", "months")),
        (("QAN",), ("trim.", "trim.", "quarter", "quarters")),
        (("ANN",), ("an", "ani", "year", "years")),
        (("SET",), ("set", "seturi", "set", "sets")),
        (("PR", "NPR"), ("pereche", "perechi", "pair", "pairs")),
        (("DZN",), ("duzină", "duzini", "dozen", "dozens")),
        (("CEN",), ("sută", "sute", "hundred", "hundred")),
        (("MIL",), ("mie", "mii", "thousand", "thousand")),
        (("E48",), ("serviciu", "servicii", "service", "services")),
        (("ACT",), ("activitate", "activități", "activity", "activities")),
        (("LS",), ("forfetar", "forfetar", "lump sum", "lump sums")),
        (("P1",), ("%", "%", "%", "%")),
        (("IE",), ("pers.", "pers.", "person", "persons")),
        (("E54",), ("călătorie", "călătorii", "trip", "trips")),
        (("XBX", "BX"), ("cutie", "cutii", "box", "boxes")),
        (("XCT", "CT"), ("carton", "cartoane", "carton", "cartons")),
        (("XPK", "XPA", "PK", "NMP"), ("pachet", "pachete", "package", "packages")),
        (("XPX", "PF"), ("palet", "paleți", "pallet", "pallets")),
        (("XSA", "XBG", "BG"), ("sac", "saci", "bag", "bags")),
        (("XBO", "BO"), ("sticlă", "sticle", "bottle", "bottles")),
        (("XRO", "RO"), ("rolă", "role", "roll", "rolls")),
        (("XDR",), ("butoi", "butoaie", "drum", "drums")),
        (("XCA", "XCX"), ("doză", "doze", "can", "cans")),
        (("XTU",), ("tub", "tuburi", "tube", "tubes")),
    )
    for code in codes
}

_COUNTRIES = _table(
    {
        "AE": ("Emiratele Arabe Unite", "United Arab Emirates"),
        "AL": ("Albania", "Albania"),
        "AT": ("Austria", "Austria"),
        "AU": ("Australia", "Australia"),
        "BA": ("Bosnia și Herțegovina", "Bosnia and Herzegovina"),
        "BE": ("Belgia", "Belgium"),
        "BG": ("Bulgaria", "Bulgaria"),
        "CA": ("Canada", "Canada"),
        "CH": ("Elveția", "Switzerland"),
        "CN": ("China", "China"),
        "CY": ("Cipru", "Cyprus"),
        "CZ": ("Cehia", "Czechia"),
        "DE": ("Germania", "Germany"),
        "DK": ("Danemarca", "Denmark"),
        "EE": ("Estonia", "Estonia"),
        "EL": ("Grecia", "Greece"),
        "ES": ("Spania", "Spain"),
        "FI": ("Finlanda", "Finland"),
        "FR": ("Franța", "France"),
        "GB": ("Regatul Unit", "United Kingdom"),
        "GR": ("Grecia", "Greece"),
        "HR": ("Croația", "Croatia"),
        "HU": ("Ungaria", "Hungary"),
        "IE": ("Irlanda", "Ireland"),
        "IL": ("Israel", "Israel"),
        "IN": ("India", "India"),
        "IS": ("Islanda", "Iceland"),
        "IT": ("Italia", "Italy"),
        "JP": ("Japonia", "Japan"),
        "KR": ("Coreea de Sud", "South Korea"),
        "LI": ("Liechtenstein", "Liechtenstein"),
        "LT": ("Lituania", "Lithuania"),
        "LU": ("Luxemburg", "Luxembourg"),
        "LV": ("Letonia", "Latvia"),
        "MC": ("Monaco", "Monaco"),
        "MD": ("Republica Moldova", "Moldova"),
        "ME": ("Muntenegru", "Montenegro"),
        "MK": ("Macedonia de Nord", "North Macedonia"),
        "MT": ("Malta", "Malta"),
        "NL": ("Țările de Jos", "Netherlands"),
        "NO": ("Norvegia", "Norway"),
        "PL": ("Polonia", "Poland"),
        "PT": ("Portugalia", "Portugal"),
        "RO": ("România", "Romania"),
        "RS": ("Serbia", "Serbia"),
        "SE": ("Suedia", "Sweden"),
        "SG": ("Singapore", "Singapore"),
        "SI": ("Slovenia", "Slovenia"),
        "SK": ("Slovacia", "Slovakia"),
        "TR": ("Turcia", "Türkiye"),
        "UA": ("Ucraina", "Ukraine"),
        "US": ("Statele Unite ale Americii", "United States"),
        "XI": ("Irlanda de Nord", "Northern Ireland"),
    }
)

_COUNTIES: Mapping[str, str] = {
    "AB": "Alba",
    "AG": "Argeș",
    "AR": "Arad",
    "BC": "Bacău",
    "BH": "Bihor",
    "BN": "Bistrița-Năsăud",
    "BR": "Brăila",
    "BT": "Botoșani",
    "BV": "Brașov",
    "BZ": "Buzău",
    "CJ": "Cluj",
    "CL": "Călărași",
    "CS": "Caraș-Severin",
    "CT": "Constanța",
    "CV": "Covasna",
    "DB": "Dâmbovița",
    "DJ": "Dolj",
    "GJ": "Gorj",
    "GL": "Galați",
    "GR": "Giurgiu",
    "HD": "Hunedoara",
    "HR": "Harghita",
    "IF": "Ilfov",
    "IL": "Ialomița",
    "IS": "Iași",
    "MH": "Mehedinți",
    "MM": "Maramureș",
    "MS": "Mureș",
    "NT": "Neamț",
    "OT": "Olt",
    "PH": "Prahova",
    "SB": "Sibiu",
    "SJ": "Sălaj",
    "SM": "Satu Mare",
    "SV": "Suceava",
    "TL": "Tulcea",
    "TM": "Timiș",
    "TR": "Teleorman",
    "VL": "Vâlcea",
    "VN": "Vrancea",
    "VS": "Vaslui",
}


def words(table: _Table, code: str, language: str) -> str:
    """Return the words of a code, or the code itself when the table does not know it."""
    found = table.get(code)
    return found.in_language(language) if found else code


def unit(code: str, quantity: Decimal | None, language: str) -> str:
    """Return the unit (UN/ECE Recommendations 20 and 21) in the number that the quantity asks for.

    A code of no known unit is returned as it is written.
    """
    known = _UNITS.get(code)
    if known is None:
        return code
    one, many = known[:2] if language == "ro" else known[2:]
    return one if quantity in (1, -1) else many


def country(code: str, language: str) -> str:
    """Return the country's name (ISO 3166-1), or the code itself."""
    return words(_COUNTRIES, code.upper(), language) if code.upper() in _COUNTRIES else code


def subdivision(code: str, language: str) -> str:
    """Return the Romanian county behind an ISO 3166-2 code (`RO-CJ`), or the text itself."""
    if code.upper() == "RO-B":
        return "București" if language == "ro" else "Bucharest"
    county = _COUNTIES.get(code[3:].upper()) if code[:3].upper() == "RO-" else None
    if county is None:
        return code
    return f"jud. {county}" if language == "ro" else f"{county} county"


def city(text: str, country_code: str) -> str:
    """Return the town; CIUS-RO writes the sectors of Bucharest as `SECTOR1` (BR-RO-100)."""
    if country_code.upper() == "RO" and text.upper().startswith("SECTOR") and text[6:].isdecimal():
        return f"Sector {text[6:]}"
    return text


def scheme(code: str) -> str:
    """Return the usual name of an identifier scheme, or its code."""
    return IDENTIFIER_SCHEMES.get(code, code)

"""Who sells what to whom in the simulated SPV: invented companies with fitting goods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from appliance.simulator.companies import Company, company, iban


class Profile(StrEnum):
    """The habit of a supplier that shapes its invoices beyond what it sells."""

    PLAIN = "plain"
    UTILITY = "utility"  # monthly, with a billing period and a contract
    FUEL = "fuel"  # paid by card at the station
    RENT = "rent"  # in EUR, with VAT in RON too
    WHOLESALE = "wholesale"  # many lines, discounts, a delivery note
    REVERSE = "reverse"  # reverse charge
    EXEMPT = "exempt"
    OUTSIDE = "outside"  # not registered for VAT


@dataclass(frozen=True)
class Item:
    """Something sold, with the range of quantities that people buy."""

    name: str
    unit: str
    price: str
    low: int
    high: int
    decimals: int = 0
    description: str = ""
    rate: int = 21
    category: str = "S"
    code: str = ""
    cpv: str = ""


@dataclass(frozen=True)
class Supplier:
    company: Company
    items: tuple[Item, ...]
    profile: Profile = Profile.PLAIN


SUPPLIERS: tuple[Supplier, ...] = (
    Supplier(
        company(
            "Energia Carpaților SA",
            8310021,
            "Str. Uzinei nr. 1",
            "Craiova",
            "RO-DJ",
            bank="RNCB",
            series="EC",
            style="prefixed",
        ),
        (
            Item(
                "Energie electrică activă",
                "KWH",
                "0.61247",
                320,
                4800,
                3,
                "Consum măsurat la locul de consum, preț conform ofertei Fix 12",
                cpv="09310000-5",
            ),
            Item("Tarif de distribuție joasă tensiune", "KWH", "0.28631", 320, 4800, 3),
            Item("Tarif serviciu de transport", "KWH", "0.03117", 320, 4800, 3),
            Item("Certificate verzi", "KWH", "0.07243", 320, 4800, 3),
            Item("Contribuție pentru cogenerare", "KWH", "0.00891", 320, 4800, 3),
            Item("Acciză necomercială", "MWH", "6.05", 1, 4, 3),
        ),
        Profile.UTILITY,
    ),
    Supplier(
        company(
            "Brutăria Măgura SRL",
            8325540,
            "Str. Morii nr. 23",
            "Măgurele",
            "RO-IF",
            series="BM",
            style="plain",
        ),
        (
            Item("Pâine albă feliată 500 g", "H87", "4.15", 20, 160, rate=11, code="P-001"),
            Item("Pâine graham 400 g", "H87", "5.2", 10, 60, rate=11, code="P-014"),
            Item("Baghetă rustică", "H87", "3.4", 20, 90, rate=11, code="P-020"),
            Item("Covrigi cu susan", "H87", "2.1", 30, 200, rate=11, code="C-003"),
            Item("Cozonac cu nucă 750 g", "H87", "27.5", 4, 30, rate=11, code="D-002"),
            Item("Ambalaj carton imprimat", "H87", "0.85", 10, 100, code="A-001"),
        ),
    ),
    Supplier(
        company(
            "Transport Șiret SRL",
            8331874,
            "Str. Gării nr. 40",
            "Pașcani",
            "RO-IS",
            bank="BRDE",
            series="TS",
            style="windows",
        ),
        (
            Item(
                "Transport marfă intern",
                "KMT",
                "6.8",
                80,
                640,
                description="Cursă camion 7,5 t, încărcare și descărcare incluse",
            ),
            Item("Staționare peste 2 ore", "HUR", "95", 1, 6, 1),
            Item("Manipulare paleți", "H87", "18.5", 4, 33),
            Item("Taxă de drum (rovinietă)", "C62", "45", 1, 1),
        ),
    ),
    Supplier(
        company(
            "Depozitul Dacia Materiale SRL",
            8344019,
            "Șos. București-Târgoviște km 12",
            "Buftea",
            "RO-IF",
            bank="BTRL",
            series="DDM",
            style="windows",
            contact="Gabriela Țuțuianu",
        ),
        (
            Item("Ciment Portland CEM II 40 kg", "BG", "26.9", 10, 200, code="CIM-40"),
            Item("Plăci gips-carton 12,5 mm 1200×2600", "H87", "31.45", 10, 120, code="GK-125"),
            Item("Profil CW 75 4 m", "H87", "22.7", 10, 80, code="CW-75"),
            Item("Adeziv gresie și faianță C2TE 25 kg", "BG", "38.2", 5, 60, code="AD-C2"),
            Item("Oțel beton fasonat Ø12 BST500S", "KGM", "4.935", 150, 2400, 1, code="OB-12"),
            Item("Vată minerală 10 cm", "MTK", "19.85", 20, 300, 2, code="VM-10"),
            Item("Vopsea lavabilă interior 15 l", "BJ", "189", 1, 14, code="VL-15"),
            Item("Șuruburi gips-carton 3,5×35 (cutie 1000)", "BX", "27.3", 1, 20, code="SG-35"),
            Item("Spumă poliuretanică pistol 750 ml", "CA", "24.6", 2, 24, code="SP-75"),
        ),
        Profile.WHOLESALE,
    ),
    Supplier(
        company(
            "Petrol Călimani SRL",
            8350332,
            "DN15 km 102",
            "Toplița",
            "RO-HR",
            bank="RZBR",
            series="PCL",
            style="compact",
        ),
        (
            Item("Motorină standard", "LTR", "6.2479", 35, 310, 2, cpv="09134100-8"),
            Item("Benzină fără plumb 95", "LTR", "6.0331", 20, 55, 2, cpv="09132100-4"),
            Item("AdBlue vrac", "LTR", "3.1", 10, 40, 2),
            Item("Spălare autoutilitară", "C62", "45.45", 1, 3),
        ),
        Profile.FUEL,
    ),
    Supplier(
        company(
            "Papetăria Tăblița SRL",
            8367725,
            "Str. Republicii nr. 5",
            "Brașov",
            "RO-BV",
            bank="INGB",
            series="PAP",
            style="plain",
        ),
        (
            Item("Hârtie copiator A4 80 g/mp, top 500 coli", "H87", "21.9", 5, 60, code="HA4-80"),
            Item("Toner negru compatibil 2600 pagini", "H87", "118.5", 1, 6, code="TN-26"),
            Item("Pixuri gel albastre (set 12)", "SET", "32.4", 1, 10, code="PG-12"),
            Item("Bibliorafturi 75 mm", "H87", "11.3", 5, 40, code="BIB-75"),
            Item("Plicuri C5 autoadezive (cutie 500)", "BX", "74", 1, 4, code="PL-C5"),
            Item("Calendar de birou 2027", "H87", "14.9", 1, 20, code="CAL-27", rate=11),
        ),
    ),
    Supplier(
        company(
            "Telecomunicații Orizont SA",
            8371198,
            "Bd. Pipera nr. 44",
            "SECTOR2",
            "RO-B",
            bank="RNCB",
            series="TLO",
            style="prefixed",
        ),
        (
            Item("Abonament fibră Business 1 Gbps", "MON", "74.79", 1, 1),
            Item("Abonament voce nelimitat", "MON", "29.41", 1, 9),
            Item("Roaming în afara UE", "MIN", "1.89", 1, 55, 2),
            Item("Închiriere router", "MON", "8.4", 1, 2),
        ),
        Profile.UTILITY,
    ),
    Supplier(
        company(
            "Apă Canal Someșul SA",
            8384406,
            "Str. Izvorului nr. 79",
            "Cluj-Napoca",
            "RO-CJ",
            bank="CECE",
            series="ACS",
            style="plain",
        ),
        (
            Item("Apă potabilă", "MTQ", "6.41", 4, 180, 1, rate=11),
            Item("Canalizare și epurare", "MTQ", "5.96", 4, 180, 1, rate=11),
            Item("Apă meteorică", "MTQ", "5.96", 1, 20, 2, rate=21),
        ),
        Profile.UTILITY,
    ),
    Supplier(
        company(
            "Imobiliara Belvedere SRL",
            8391570,
            "Calea Victoriei nr. 155",
            "SECTOR1",
            "RO-B",
            bank="BRDE",
            series="IB",
            style="plain",
        ),
        (
            Item(
                "Chirie spațiu comercial",
                "MON",
                "1450",
                1,
                1,
                description="Conform contractului de închiriere, parter, 86 mp utili",
            ),
            Item("Cotă administrare și pază", "MON", "118.35", 1, 1),
            Item("Loc de parcare subteran", "MON", "75", 1, 2),
        ),
        Profile.RENT,
    ),
    Supplier(
        company(
            "Cherestea Făgețel SRL",
            8402268,
            "Sat Făgețel nr. 210",
            "Frumoasa",
            "RO-HR",
            series="CF",
            style="windows",
        ),
        (
            Item("Cherestea molid clasa A, 50 mm", "MTQ", "1385", 1, 14, 3, category="AE", rate=0),
            Item("Dulapi brad 48×200 mm", "MTQ", "1240", 1, 9, 3, category="AE", rate=0),
            Item("Lemn de foc fag", "MTQ", "410", 2, 25, 2, category="AE", rate=0),
        ),
        Profile.REVERSE,
    ),
    Supplier(
        company(
            "Cabinet Medical Dr. Țurcanu SRL",
            8415531,
            "Str. Lalelelor nr. 3",
            "Ploiești",
            "RO-PH",
            bank="CECE",
            series="CMT",
            style="compact",
        ),
        (
            Item("Examen medical la angajare", "C62", "85", 1, 12, category="E", rate=0),
            Item("Examen medical periodic", "C62", "70", 2, 30, category="E", rate=0),
            Item("Analize de laborator", "C62", "46.5", 1, 30, category="E", rate=0),
        ),
        Profile.EXEMPT,
    ),
    Supplier(
        company(
            "Săvulescu Ana-Maria PFA",
            8423807,
            "Str. Școlii nr. 14",
            "Târgu Mureș",
            "RO-MS",
            vat=False,
            bank="INGB",
            series="SAM",
            style="plain",
            contact="Ana-Maria Săvulescu",
        ),
        (
            Item("Servicii de contabilitate primară", "MON", "650", 1, 1, category="O", rate=0),
            Item("Consultanță resurse umane", "HUR", "120", 2, 14, 1, category="O", rate=0),
        ),
        Profile.OUTSIDE,
    ),
    Supplier(
        company(
            "Software Nord-Est SRL",
            8436612,
            "Str. Anastasie Panu nr. 28",
            "Iași",
            "RO-IS",
            bank="BTRL",
            series="SNE",
            style="compact",
        ),
        (
            Item(
                "Licență program de gestiune, abonament lunar",
                "MON",
                "29",
                1,
                6,
                description="Acces pentru un utilizator, actualizări și asistență incluse",
            ),
            Item("Găzduire server virtual", "MON", "18.5", 1, 3),
            Item("Asistență tehnică la cerere", "HUR", "45", 1, 9, 2),
        ),
        Profile.RENT,
    ),
    Supplier(
        company(
            "Ferma Țibleș Bio SRL",
            8440095,
            "Sat Groșii Țibleșului nr. 88",
            "Groșii Țibleșului",
            "RO-MM",
            bank="RZBR",
            series="FTB",
            style="plain",
        ),
        (
            Item("Cartofi albi calitatea I", "KGM", "3.35", 40, 600, 1, rate=11),
            Item("Ceapă galbenă", "KGM", "4.1", 10, 150, 1, rate=11),
            Item("Mere Ionatan", "KGM", "4.8", 20, 220, 2, rate=11),
            Item("Brânză de burduf maturată", "KGM", "49.9", 2, 30, 3, rate=11),
            Item("Zacuscă de vinete 300 g", "H87", "16.2", 6, 60, rate=11),
            Item("Garanție lăzi din lemn returnabile", "H87", "12.5", 1, 30, category="Z", rate=0),
        ),
    ),
)

CUSTOMERS: tuple[Company, ...] = (
    company("Primăria Comunei Vâlcele", 8510044, "Str. Principală nr. 1", "Vâlcele", "RO-CJ"),
    company("Hotel Ceahlăul Vechi SRL", 8523377, "Bd. Republicii nr. 7", "Bicaz", "RO-NT"),
    company("Agroindustriala Bărăgan SA", 8531190, "DN2A km 31", "Urziceni", "RO-IL"),
    company("Dentart Cosmin & Fiii SRL", 8546628, "Str. Horea nr. 61", "Oradea", "RO-BH"),
    company("Școala Gimnazială „Ion Creangă”", 8552703, "Str. Unirii nr. 10", "Focșani", "RO-VN"),
)

CONSUMER = replace(
    company("Stănescu Elena", 8560001, "Str. Teiului nr. 8, ap. 12", "Pitești", "RO-AG", vat=False),
    cif="0000000000000",  # a consumer who gave no CNP, as ANAF asks it to be written
    registration="",
    email="",
)

FOREIGN = Company(
    name="Müller & Söhne Bau GmbH",
    cif="DE993407182",
    registration="HRB 20417",
    street="Industriestraße 12",
    city="Nürnberg",
    postcode="90441",
    country="DE",
    email="rechnung@mueller-bau.example",
    iban="",
)

# What the clients themselves sell, by their CIF's position in `companies.CLIENTS`.
OWN_GOODS: tuple[tuple[Item, ...], ...] = (
    (
        Item("Lucrări de zidărie și tencuieli", "MTK", "118", 20, 400, 2),
        Item("Manoperă montaj gips-carton", "MTK", "64.5", 30, 350, 2),
        Item("Închiriere schelă metalică", "DAY", "210", 3, 30),
        Item("Transport moloz și depozitare", "MTQ", "95", 4, 30, 1),
    ),
    (
        Item("Cazare cameră dublă cu mic dejun", "DAY", "268.47", 1, 24, rate=11),
        Item("Închiriere sală de conferințe", "HUR", "140", 2, 10),
        Item("Cină festivă", "C62", "95", 5, 60, rate=11),
        Item("Taxă de stațiune", "DAY", "5", 2, 40, category="E", rate=0),
    ),
    (
        Item("Proiectare instalații electrice", "HUR", "150", 6, 60, 1, category="O", rate=0),
        Item("Verificare tehnică documentație", "C62", "900", 1, 3, category="O", rate=0),
    ),
)

HARDWARE = (
    "Șurub autoforant",
    "Diblu nylon",
    "Holșurub zincat",
    "Piuliță autoblocantă",
    "Șaibă plată DIN 125",
    "Cui construcții",
    "Conexpand",
    "Colier metalic",
    "Cot PPR",
    "Teu PPR",
)


def hardware(position: int) -> Item:
    """Return one of many small goods, for the documents of 200 lines."""
    name = HARDWARE[position % len(HARDWARE)]
    size = f"{4 + position % 17}×{20 + 5 * (position // len(HARDWARE))}"
    price = Decimal(15 + (position * 37) % 460) / 100
    return Item(f"{name} {size} mm", "H87", str(price), 10, 400, code=f"F{1000 + position}")


SELLER_WITHOUT_SOFTWARE = replace(
    company(
        "Gospodăria Bucșă Întreprindere Individuală",
        8571236,
        "Sat Râșca nr. 19",
        "Râșca",
        "RO-SV",
        vat=False,
        series="GB",
    ),
    iban=iban("CECE", "SV0100000004417"),
)

"""CPU time of one PDF at 1, 10 and 100 lines, beside an empty page in the same run.

The empty page goes through the same WeasyPrint with the same fonts and PDF/A
variant, without any invoice: what no layout can go below. Rounds are
interleaved, so a busy machine slows every row alike; then the ratio is what
counts. Every third line has a description that wraps.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

from appliance.core.signature import SignatureResult, Verdict
from appliance.core.ubl_model import (
    Address,
    Contact,
    DocumentType,
    Identifier,
    Invoice,
    Line,
    Party,
    PaymentMeans,
    VatSubtotal,
)
from appliance.sync.pdf import render

TARGETS = {1: 50, 10: 85, 100: 450}
NAMES = (
    "Energie electrică activă, consum lunar",
    "Țeavă PPR Ø20 mm, PN20, bară 4 m",
    "Servicii de consultanță pentru implementarea sistemului informatic integrat de gestiune",
)
DESCRIPTION = "Conform contractului-cadru și anexelor sale, cu livrare la sediul beneficiarului. "


def main() -> None:
    rows: dict[str, Callable[[], object]] = {"empty page": empty_page}
    rows |= {f"{lines} lines": renderer(lines) for lines in TARGETS}
    for work in rows.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for round_ in range(15):
        for name, work in rows.items():
            if name == "100 lines" and round_ % 2:
                continue
            started = time.process_time()
            work()
            taken[name].append((time.process_time() - started) * 1000)
    floor = statistics.median(taken["empty page"])
    print("CPU ms per PDF      median     min   ratio to an empty page   target")
    for (name, times), target in zip(taken.items(), ("-", *TARGETS.values()), strict=True):
        median = statistics.median(times)
        print(f"{name:<18} {median:7.1f} {min(times):7.1f} {median / floor:12.1f} {target:>18}")
    before = resident()
    work = renderer(10)
    for _ in range(150):
        work()
    print(f"resident after 150 more renders: {resident() / 1000:.0f} MB")
    print(f"growth over them: {(resident() - before) / 1000:+.1f} MB")


def renderer(lines: int) -> Callable[[], bytes]:
    document = invoice(lines)
    verdict = Verdict(SignatureResult.VALID, "")
    xml = b"<Invoice>" + b"<cbc:ID>line</cbc:ID>" * (60 + 60 * lines) + b"</Invoice>"
    return lambda: render.render_invoice(
        document, xml=xml, upload_id="5004552043", message_id="3003894211", verdict=verdict
    )


def empty_page() -> object:
    press = render._press()
    document = press.weasyprint.HTML(string="<p>", url_fetcher=press.refuse)
    return document.write_pdf(
        stylesheets=press.stylesheets["ro"],
        font_config=press.font_config,
        pdf_variant="pdf/a-3b",
    )


def invoice(lines: int) -> Invoice:
    made = tuple(line(number) for number in range(1, lines + 1))
    net = sum((one.net_amount or Decimal(0) for one in made), Decimal(0))
    tax = (net * Decimal("0.21")).quantize(Decimal("0.01"))
    return Invoice(
        type=DocumentType.INVOICE,
        number="EFI-1203",
        issue_date=date(2026, 11, 3),
        due_date=date(2026, 12, 3),
        currency="RON",
        payable_amount=net + tax,
        supplier=party("Energia Exemplu SA", "RO24387371", "J40/7746/2009"),
        customer=party("Alfa Construct SRL", "RO12345674", "J12/345/2004"),
        customization_id="urn:cen.eu:en16931:2017#compliant#urn:efactura.mfinante.ro:CIUS-RO:1.0.1",
        type_code="380",
        contract_reference="CT-2026/118",
        notes=("Vă mulțumim pentru colaborare.",),
        payment_means=(PaymentMeans("42", iban="RO49AAAA1B31007593840000"),),
        tax_amount=tax,
        vat_subtotals=(VatSubtotal("S", Decimal(21), net, tax),),
        line_extension_amount=net,
        tax_exclusive_amount=net,
        tax_inclusive_amount=net + tax,
        lines=made,
    )


def party(name: str, vat: str, register: str) -> Party:
    return Party(
        name=name,
        legal_name=name,
        vat_identifier=vat,
        legal_id=Identifier(register),
        address=Address(
            "Str. Memorandumului nr. 28", city="Iași", subdivision="RO-IS", country="RO"
        ),
        contact=Contact("Serviciul clienți", "0232000000", "office@exemplu.ro"),
    )


def line(number: int) -> Line:
    price = Decimal("12.50") * (number % 5 + 1)
    return Line(
        id=str(number),
        name=NAMES[number % 3],
        description=DESCRIPTION * 2 if number % 3 == 0 else "",
        quantity=Decimal(number % 7 + 1),
        unit="H87",
        net_amount=price * (number % 7 + 1),
        price=price,
        vat_category="S",
        vat_rate=Decimal(21),
        seller_item_id=f"ART-{number:05d}" if number % 2 else "",
    )


def resident() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()

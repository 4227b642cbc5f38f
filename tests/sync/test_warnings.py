"""What the owner is warned of when a message is filed, and that each warning has words."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from appliance.simulator.invoice import LineDraft, write
from appliance.web.pages.cards import KNOWN_WARNINGS
from appliance.web.render import translate
from tests.support.spv import ALFA, STRANGER, company, draft, invoice, members, package, signer
from tests.sync.test_ingest import document

WRONG = "22000461"  # STRANGER with another last digit


def test_a_wrong_check_digit_of_either_party_warns_and_refuses_nothing() -> None:
    bought = document(package(invoice(WRONG, ALFA)))
    sold = document(package(invoice(ALFA, WRONG)))

    assert (bought.warnings, sold.warnings) == (("check_digit",), ("check_digit",))
    assert (bought.type, bought.supplier_cif) == ("invoice", WRONG)


@pytest.mark.parametrize("cif", [STRANGER, "1960229410015"])
def test_a_right_check_digit_is_not_mentioned(cif: str) -> None:
    assert document(package(invoice(cif, ALFA))).warnings == ()


def test_digits_of_another_country_have_rules_of_their_own() -> None:
    abroad = company(WRONG, "Sofia Trade EOOD", country="BG")
    sold = write(replace(draft(ALFA), customer=abroad))

    assert document(package(sold)).warnings == ()


def test_the_largest_amount_that_is_read_fits_the_database() -> None:
    lines = (LineDraft("Aur", Decimal(10**6), "KGM", Decimal(82_644_000)),)

    new = document(package(invoice(lines=lines, currency="CLF")))  # a currency of four decimals

    assert new.payable_minor == 999992400000000000
    assert new.payable_minor < 2**63
    larger = (replace(lines[0], quantity=Decimal(10**7)),)
    assert document(package(invoice(lines=larger, currency="CLF"))).type == "unreadable"


def test_every_warning_of_filing_has_a_sentence_in_both_languages() -> None:
    original = invoice(WRONG, "14399840")
    zipped = members(
        ("semnatura_6001.xml", signer().sign(original)), ("6001.xml", original), ("x.txt", b"x")
    )

    warnings = set(document(zipped).warnings)

    assert warnings == {"cif_not_ours", "check_digit", "zip_has_more"}
    assert warnings == KNOWN_WARNINGS
    for code in warnings:
        sentences = {translate(language, f"warning.{code}") for language in ("ro", "en")}
        assert len(sentences) == 2
        assert not any("warning." in sentence or code in sentence for sentence in sentences)

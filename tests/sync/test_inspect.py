from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from appliance.sync.inspect import inspect, print_human

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "ubl"
WHOLE = VECTORS / "every-term-invoice.xml"

KEYS = [
    "type",
    "customization_id",
    "number",
    "issue_date",
    "due_date",
    "currency",
    "tax_currency",
    "supplier",
    "customer",
    "tax_exclusive_amount",
    "tax_inclusive_amount",
    "payable_amount",
    "vat_subtotals",
    "lines",
    "attachments",
    "preceding_invoices",
    "signature",
    "standard_name",
]


def only(path: Path) -> dict[str, object]:
    (result,) = inspect([path])
    return result


def shown(path: Path, language: str = "ro") -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    for result in inspect([path], language):
        print_human(result, console, language)
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_the_keys_are_those_of_the_contract() -> None:
    result = only(WHOLE)

    assert list(result) == KEYS
    assert json.loads(json.dumps(result)) == result


def test_amounts_are_texts_with_the_digits_of_the_document() -> None:
    result = only(WHOLE)

    assert result["payable_amount"] == "115.00"
    assert result["vat_subtotals"] == [
        {
            "category": "BT-118",
            "rate": "119",
            "taxable_amount": "116.00",
            "tax_amount": "117.00",
        }
    ]
    assert result["lines"] == [
        {
            "id": "BT-126",
            "name": "BT-153",
            "quantity": "129",
            "unit": "BT-130",
            "net_amount": "131.00",
            "vat_category": "BT-151",
            "vat_rate": "152",
        }
    ]
    assert only(VECTORS / "prefixed.xml")["payable_amount"] == "121.0000"


def test_parties_attachments_and_corrected_invoices_are_listed() -> None:
    result = only(WHOLE)

    assert result["supplier"] == {
        "name": "BT-27",
        "cif": "BT31",
        "vat_identifier": "BT-31",
        "iban": ["BT-84"],
    }
    assert result["customer"] == {"name": "BT-44", "cif": "BT48", "vat_identifier": "BT-48"}
    assert result["attachments"] == [
        {"filename": "BT-125-2.pdf", "mime": "application/pdf", "size": 6}
    ]
    assert result["preceding_invoices"] == ["BT-25"]
    assert result["standard_name"] == "2026-01-03_BT-27_BT-1"


def test_a_document_alone_says_nothing_about_a_signature() -> None:
    assert only(WHOLE)["signature"] is None


def test_a_zip_without_a_signature_says_so(tmp_path: Path) -> None:
    path = tmp_path / "17.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("17.xml", WHOLE.read_bytes())

    assert only(path)["signature"] == {"result": "absent", "reason": "no_signature"}


def test_a_zip_of_anaf_is_verified_and_one_changed_byte_shows(corpus: Path, tmp_path: Path) -> None:
    (original,) = corpus.rglob("4186086961.zip")

    assert only(original)["signature"] == {"result": "valid", "reason": "ok"}

    changed = tmp_path / "4186086961.zip"
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if not name.startswith("semnatura_"):
                content = content.replace(b"GRS1913049", b"GRS1913048")
            target.writestr(name, content)

    assert only(changed)["signature"] == {"result": "invalid", "reason": "digest_mismatch"}


def test_a_signature_beside_a_document_is_used(corpus: Path, tmp_path: Path) -> None:
    (folder,) = (path for path in corpus.rglob("4186086961.zip.d") if path.is_dir())
    for source in folder.iterdir():
        shutil.copy(source, tmp_path)

    assert only(tmp_path / "4186086961.xml")["signature"] == {"result": "valid", "reason": "ok"}


def test_one_bad_file_never_stops_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_bytes(b"<a>")
    empty = tmp_path / "empty.zip"
    empty.write_bytes(b"PK\x05\x06" + bytes(18))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    odd_name = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.xml"))
    paths = [WHOLE, broken, tmp_path / "absent.xml", tmp_path, empty, pipe, odd_name, WHOLE]

    results = list(inspect(paths))

    assert ["error" in result for result in results] == [
        False, True, True, True, True, True, True, False,
    ]  # fmt: skip
    for result in results[1:-1]:
        assert list(result) == ["file", "error"]
        json.dumps(result, ensure_ascii=False).encode()
        assert "\n" not in str(result["error"])


def test_a_file_without_permission_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)  # root, as CI is, may read everything

    assert "may not be read" in str(only(WHOLE)["error"])


def test_an_error_document_is_told_by_what_anaf_said(tmp_path: Path) -> None:
    path = tmp_path / "3.xml"
    path.write_text(
        '<header xmlns="mfp:anaf:dgti:efactura:mesajEroriFactuta:v1" Index_incarcare="38" '
        'Cif_emitent="12"><Error errorMessage="E: regula R6.1:&#10; CIF-ul nu figureaza"/></header>'
    )

    assert "38: E: regula R6.1: CIF-ul nu figureaza" in str(only(path)["error"])


def test_every_file_of_the_corpus_is_read_or_refused(corpus: Path) -> None:
    paths = [path for path in sorted(corpus.rglob("*")) if path.suffix in (".xml", ".zip")]
    results = list(inspect(paths))

    assert len(results) == len(paths)
    for result in results:
        assert list(result) in (KEYS, ["file", "error"])
        print_human(result, Console(file=io.StringIO()))


def test_a_person_reads_amounts_in_their_own_way() -> None:
    romanian, english = shown(WHOLE), shown(WHOLE, "en")

    assert "Factură BT-1" in romanian
    assert "de plată  115,00 EUR" in romanian
    assert "Invoice BT-1" in english
    assert "to pay  115.00 EUR" in english


def test_a_long_invoice_is_cut_with_a_count(tmp_path: Path) -> None:
    text = (VECTORS / "prefixed.xml").read_text()
    start, end = text.index("<a:InvoiceLine>"), text.index("</u:Invoice>")
    path = tmp_path / "long.xml"
    path.write_text(text[:start] + text[start:end] * 50 + text[end:])

    assert "… și încă 30" in shown(path)


def test_markup_and_control_codes_of_a_sender_are_only_shown(tmp_path: Path) -> None:
    path = tmp_path / "loud.xml"
    text = WHOLE.read_text().replace("BT-27", "[red]A&#x9b;2J[/red]").replace("BT-84", "[/x]")
    path.write_text(text)

    printed = shown(path)

    assert "[red]A2J[/red]" in printed
    assert "[/x]" in printed
    assert "\x9b" not in printed

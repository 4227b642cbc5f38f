"""Which files of an earlier tool belong together."""

from __future__ import annotations

import json

import pytest

from appliance.core.earlier import About, Part, group, read_about, shown, upload_id_of


def test_the_layout_of_anaf_sync_is_a_document_with_its_signature_and_what_was_noted() -> None:
    base = "12345674/received/2024/03/2024-03-05_F-1_ENEL S.R.L"
    names = [f"{base}{end}" for end in (".json", ".pdf", ".xml", ".zip", "_semnatura.xml")]

    found = group(names)

    assert found.parts == (
        Part(f"{base}.zip", about=f"{base}.json"),
        Part(f"{base}.xml", f"{base}_semnatura.xml", f"{base}.json"),
    )
    assert found.ignored == 1


@pytest.mark.parametrize(
    "signature", ["semnatura_4001.xml", "4001_semnatura.xml", "4001-semnatura.XML"]
)
def test_a_signature_is_found_beside_its_document_however_tools_call_it(signature: str) -> None:
    (part,) = group(["a/4001.xml", f"a/{signature}", "b/4001.txt"]).parts

    assert part == Part("a/4001.xml", f"a/{signature}")


def test_a_signature_in_another_folder_belongs_to_nobody_here() -> None:
    assert group(["a/1.xml", "b/semnatura_1.xml"]).parts == (
        Part("a/1.xml"),
        Part("b/semnatura_1.xml"),
    )


def test_a_signature_beside_its_zip_is_in_the_zip() -> None:
    found = group(["x.zip", "x_semnatura.xml"])

    assert (found.parts, found.ignored) == ((Part("x.zip"),), 1)


def test_what_systems_leave_behind_is_not_counted() -> None:
    assert group(["__MACOSX/._1.xml", ".DS_Store", "x/manifest.json"]) == group([])


def test_zips_come_before_signed_documents_and_those_before_bare_ones() -> None:
    found = group(["a.xml", "b.xml", "b_semnatura.xml", "c.zip"])

    assert [part.name for part in found.parts] == ["c.zip", "b.xml", "a.xml"]


def test_the_note_of_anaf_sync_and_an_entry_of_anaf_say_the_same() -> None:
    theirs = {
        "message": {
            "id": "3001",
            "request_id": "4001",
            "message_type": "FACTURA PRIMITA",
            "created_at": "202403050915",
            "cif": "12345674",
            "details": "x",
        },
        "context": {},
    }
    anafs = {
        "id": 3001,
        "id_solicitare": "4001",
        "tip": "FACTURA PRIMITA",
        "data_creare": "202403050915",
        "cif": "12345674",
        "detalii": "x",
    }

    about = read_about(json.dumps(theirs).encode())

    assert about == read_about(json.dumps(anafs).encode())
    assert about.upload_id == "4001"
    assert about.created_at is not None
    assert about.created_at.hour == 7


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"{", b'{"message": 3}', b'{"id": {"a": 1}}', b"\xff"]
)
def test_any_other_json_says_nothing(data: bytes) -> None:
    assert read_about(data) == About()


def test_the_upload_id_is_the_name_of_the_document_in_the_zip() -> None:
    assert upload_id_of("x/semnatura_4001234.xml") == upload_id_of("4001234.xml") == "4001234"
    assert upload_id_of("factura.xml") == upload_id_of("20.xml") == ""


def test_a_name_is_shown_without_control_characters_and_by_its_end() -> None:
    assert shown("a\x1b[31mb") == "a\N{REPLACEMENT CHARACTER}[31mb"
    assert len(shown("x" * 500)) == 200

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import naming

DAY = date(2026, 11, 3)
LATER = date(2026, 11, 5)
UID = "01k9abcdefghjkmnpqrstvwxyz"

FORBIDDEN = set('\\/:*?"<>|')
DEVICES = {"CON", "PRN", "AUX", "NUL"} | {f"{p}{n}" for p in ("COM", "LPT") for n in range(1, 10)}

texts = st.text(max_size=90) | st.sampled_from(
    [
        "con",
        "NUL.txt",
        "nul .pdf",
        "COM¹",
        "a" * 200,
        "...",
        "~1",
        "S.R.L.",
        "desktop.ini",
        "\u202e",
        ". a .",
    ]
)
dates = st.dates(date(1900, 1, 1), date(2100, 1, 1))


def windows_takes(name: str, length: int) -> None:
    assert name.isascii()
    assert name.isprintable()
    assert 0 < len(name) <= length
    assert not FORBIDDEN & set(name)
    assert name[-1] not in ". "
    assert name[0] not in ". "
    assert name.split(".")[0].strip().upper() not in DEVICES
    assert name.lower() not in ("desktop.ini", "thumbs.db")


@pytest.mark.parametrize(
    ("partner", "number", "name"),
    [
        ("SC Enel Energie SRL", "EFI 1203", "2026-11-03_ENEL-ENERGIE_EFI-1203"),
        ("S.C. ENEL ENERGIE S.R.L.", "EFI/1203", "2026-11-03_ENEL-ENERGIE_EFI-1203"),
        ("ENEL ENERGIE S. R. L.", "EFI-1203", "2026-11-03_ENEL-ENERGIE_EFI-1203"),
        ("Pop Ana PFA", "7", "2026-11-03_POP-ANA_7"),
        ("Țiglă & Șindrilă S.A.", "Ș 1", "2026-11-03_TIGLA-SINDRILA_S-1"),
        ("SC SRL", "1", "2026-11-03_SC-SRL_1"),
        ("ΑΒΓ", "Б.7", "2026-11-03_AVG_B.7"),
    ],
)
def test_the_name_is_date_partner_number(partner: str, number: str, name: str) -> None:
    assert naming.standard_name(DAY, partner, number, UID, LATER) == name


def test_a_long_partner_gives_way_to_the_number() -> None:
    name = naming.standard_name(DAY, "Compania " * 12, "SERIE-LUNGA-2026-000123456", UID, LATER)

    assert name.endswith("_SERIE-LUNGA-2026-000123456")
    assert len(name) <= 60


@pytest.mark.parametrize(
    ("issued", "partner", "number", "name"),
    [
        (None, "Enel", "1", "2026-11-05_Document_uvwxyz"),
        (DAY, "", "1", "2026-11-03_Document_uvwxyz"),
        (DAY, "***", "1", "2026-11-03_Document_uvwxyz"),
        (DAY, "Enel", " / ", "2026-11-03_Document_uvwxyz"),
    ],
)
def test_what_cannot_be_named_is_a_document_with_the_end_of_its_uid(
    issued: date | None, partner: str, number: str, name: str
) -> None:
    uid = "01k9abcdefghjkmnpqrstuvwxyz"

    assert naming.standard_name(issued, partner, number, uid, LATER) == name


@given(dates | st.none(), texts, texts, dates)
def test_windows_takes_every_document_name(
    issued: date | None, partner: str, number: str, received: date
) -> None:
    name = naming.standard_name(issued, partner, number, UID, received)

    windows_takes(name, 60)
    assert name == naming.standard_name(issued, partner, number, UID, received)


@given(texts, st.integers(1, 500))
def test_windows_takes_every_attachment_name(filename: str, position: int) -> None:
    windows_takes(naming.attachment_name(filename, position), 60)


@given(texts, st.sampled_from(["", "12345678", "1234567890", "DE123456789", "../x"]))
def test_windows_takes_every_client_folder(name: str, cif: str) -> None:
    windows_takes(naming.client_folder_name(name, cif), 40)


@given(dates, texts, texts)
def test_windows_takes_every_notice_name(received: date, label: str, upload_id: str) -> None:
    windows_takes(naming.notice_name(received, label, upload_id), 60)


@given(st.lists(texts, min_size=2, max_size=25), st.booleans())
def test_no_two_names_differ_only_in_case(filenames: list[str], as_files: bool) -> None:
    taken: set[str] = set()
    for position, filename in enumerate(filenames * 2):
        wanted = naming.attachment_name(filename, position)
        free = naming.free_file_name if as_files else naming.free_name
        name = free(wanted, taken)

        windows_takes(name, 60)
        assert name.casefold() not in taken
        taken.add(name.casefold())


def test_the_second_of_a_name_is_numbered_and_the_file_keeps_its_extension() -> None:
    assert naming.free_name("2026-11-03_A_F.1", {"2026-11-03_a_f.1"}) == "2026-11-03_A_F.1~2"
    assert naming.free_file_name("a.pdf", {"a.pdf", "a~2.pdf"}) == "a~3.pdf"
    assert naming.free_name("x" * 60, {"x" * 60}) == "x" * 58 + "~2"
    assert naming.free_name("y" * 40, {"y" * 40}, 40) == "y" * 38 + "~2"


def test_an_attachment_keeps_what_the_sender_called_it_and_nothing_of_a_path() -> None:
    assert naming.attachment_name("C:\\Users\\Ana\\Poză 1.JPG", 1) == "Poza 1.JPG"
    assert naming.attachment_name("../../etc/passwd", 1) == "passwd"
    assert naming.attachment_name("", 3) == "anexa-3"
    assert naming.attachment_name(".pdf", 3) == "anexa-3.pdf"
    assert naming.attachment_name("nul.pdf", 1) == "_nul.pdf"
    assert naming.attachment_name("f" * 90 + ".xlsx", 1) == "f" * 55 + ".xlsx"


def test_the_cif_of_a_client_is_never_cut() -> None:
    # A CNP is a person's: it stands on no drive.
    assert naming.client_folder_name("Ionescu Ana PFA", "2850101223341") == "Ionescu Ana PFA"
    assert naming.client_folder_name("Alfa Construct SRL", "12345678") == (
        "Alfa Construct SRL (12345678)"
    )
    assert naming.client_folder_name("Întreprinderea " * 5, "12345678") == (
        "Intreprinderea Intreprinderea (12345678)"[:29].rstrip() + " (12345678)"
    )


def test_a_notice_says_what_it_is_and_which_upload() -> None:
    assert naming.notice_name(DAY, "Eroare ANAF", "4186086961") == (
        "2026-11-03_Eroare-ANAF_4186086961"
    )

"""What a zip from ANAF may do to us, and the sentence a person reads about it."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from appliance.core.anaf_zip import Package, read_zip
from appliance.core.errors import ZipRefused

INVOICE = b'<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"/>'
SIGNATURE = b'<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/>'


def pack(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


PAIR = (("17.xml", INVOICE), ("semnatura_17.xml", SIGNATURE))


def refusal(data: bytes) -> str:
    with pytest.raises(ZipRefused) as refused:
        read_zip(data)
    sentence = refused.value.sentence
    assert sentence.ro[-1] == "."
    assert sentence.ro != sentence.en
    return sentence.en


@pytest.mark.parametrize("members", [PAIR, PAIR[::-1]])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_pair_is_found_in_either_order(
    members: tuple[tuple[str, bytes], ...], method: int
) -> None:
    assert read_zip(pack(*members, method=method)) == Package(
        "17.xml", INVOICE, "semnatura_17.xml", SIGNATURE
    )


def test_every_zip_of_the_corpus_opens_to_the_files_beside_it(corpus: Path) -> None:
    zips = sorted((corpus / "OCA__l10n-romania").rglob("*.zip"))
    assert len(zips) == 5
    for path in zips:
        package = read_zip(path.read_bytes())
        unpacked = path.with_name(path.name + ".d")
        assert package.document == (unpacked / package.document_name).read_bytes()
        assert package.signature_name is not None
        assert package.signature == (unpacked / package.signature_name).read_bytes()
        assert package.notes == ()


def test_a_document_without_signature_is_accepted_and_said() -> None:
    package = read_zip(pack(PAIR[0]))
    assert (package.document, package.signature) == (INVOICE, None)
    assert [note.en for note in package.notes] == [
        "the zip holds no signature of the Ministry of Finance"
    ]


def test_a_signature_alone_is_refused() -> None:
    assert "only the signature" in refusal(pack(PAIR[1]))


def test_wrong_names_are_tolerated_when_the_roots_leave_no_doubt() -> None:
    package = read_zip(pack(("semnatura.xml", SIGNATURE), ("factura.xml", INVOICE)))
    assert (package.document_name, package.signature_name) == ("factura.xml", "semnatura.xml")
    assert "unusual names" in package.notes[0].en


def test_swapped_names_do_not_swap_the_contents() -> None:
    package = read_zip(pack(("17.xml", SIGNATURE), ("semnatura_18.xml", INVOICE)))
    assert (package.document, package.signature) == (INVOICE, SIGNATURE)


def test_a_document_of_an_unknown_kind_is_still_the_document() -> None:
    package = read_zip(pack(("17.xml", b"<other/>"), ("semnatura_17.xml", SIGNATURE)))
    assert package.document == b"<other/>"
    assert read_zip(pack(("17.xml", b"<other/>"))).document == b"<other/>"


def test_further_members_are_kept_closed() -> None:
    inner = pack(("deep.xml", INVOICE))
    package = read_zip(pack(*PAIR, ("17.pdf", b"%PDF-1.7"), ("17.zip", inner), ("x.xml", INVOICE)))
    assert package.document_name == "17.xml"
    assert [(m.name, m.content) for m in package.others] == [
        ("17.pdf", b"%PDF-1.7"),
        ("17.zip", inner),
        ("x.xml", INVOICE),
    ]


def test_two_documents_without_usual_names_are_refused() -> None:
    assert "several documents" in refusal(pack(("a.xml", INVOICE), ("b.xml", INVOICE)))


def test_two_signatures_are_refused() -> None:
    data = pack(("a.xml", INVOICE), ("s.xml", SIGNATURE), ("t.xml", SIGNATURE))
    assert "several documents or signatures" in refusal(data)


def test_no_xml_at_all_is_refused() -> None:
    assert "no XML document" in refusal(pack(("readme.txt", b"salut")))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b'{"eroare":"Nu exista","titlu":"Descarcare mesaj"}', "error message of ANAF's (JSON)"),
        (b"\xef\xbb\xbf {}", "(JSON)"),
        (b"<html><body>Request Rejected</body></html>", "web page (HTML)"),
        (b"\r\n<!DOCTYPE html><title>502</title>", "web page (HTML)"),
        (b"%PDF-1.7", "not a zip"),
        (INVOICE, "not a zip"),
        (b"PK", "truncated"),
        (b"PK\x05\x06" + bytes(18), "holds no file"),
    ],
)
def test_what_is_no_zip_is_named(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize("keep", [4, 30, 60, 100, 200, -1, -22, -60])
def test_a_truncated_zip_is_refused_wherever_it_was_cut(keep: int) -> None:
    assert "truncated or damaged" in refusal(pack(*PAIR)[:keep])


def test_every_single_truncation_and_bit_flip_ends_in_a_sentence_or_the_same_bytes() -> None:
    whole = pack(*PAIR)
    for length in range(len(whole)):
        refusal(whole[:length])
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x41
        try:
            package = read_zip(bytes(damaged))
        except ZipRefused:
            continue
        assert package.document in (INVOICE, SIGNATURE)


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(pack(*PAIR, method=zipfile.ZIP_STORED))
    position = data.index(INVOICE) + 10
    data[position] ^= 1
    assert "checksum" in refusal(bytes(data))


@pytest.mark.parametrize(
    "name",
    ["../17.xml", "/etc/passwd.xml", "a/../../17.xml", "..\\17.xml", "C:17.xml", "a\x07.xml"],
)
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    assert "dangerous file name" in refusal(pack((name, INVOICE)))


def test_a_name_with_a_nul_is_refused() -> None:
    data = pack(("17.xmlA.txt", INVOICE)).replace(b"17.xmlA.txt", b"17.xml\0.txt")
    assert "dangerous file name" in refusal(data)


def test_a_symbolic_link_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("17.xml")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "dangerous file name" in refusal(buffer.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused() -> None:
    assert "two files of the same name" in refusal(pack(PAIR[0], PAIR[0]))
    assert "two files of the same name" in refusal(pack(("a.xml", INVOICE), ("A.XML", INVOICE)))


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(pack(*PAIR))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    assert "encrypted" in refusal(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_anaf_does_not_use_is_refused(method: int) -> None:
    assert "compression" in refusal(pack(*PAIR, method=method))


def test_a_bomb_is_refused_by_its_ratio() -> None:
    data = pack(("17.xml", bytes(20 * 1024 * 1024)))
    assert len(data) < 30_000
    assert "dangerous size" in refusal(data)


def test_a_member_over_the_limit_is_refused_before_it_is_unpacked() -> None:
    data = bytearray(pack(("17.xml", INVOICE)))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 4_000_000_000)
    assert "dangerous size" in refusal(bytes(data))


def test_a_member_longer_than_it_says_is_refused() -> None:
    data = bytearray(pack(("17.xml", bytes(5000))))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = struct.pack("<I", 100)
    refusal(bytes(data))


def test_many_small_members_are_refused() -> None:
    data = pack(*((f"{number}.txt", b"x") for number in range(60)))
    assert "more than 50 files" in refusal(data)


def test_members_that_are_small_alone_and_large_together_are_refused() -> None:
    noise = bytes(range(256)) * 4 * 1024  # 1 MiB: below the ratio's floor
    data = pack(*((f"{number}.txt", noise) for number in range(50)), ("17.xml", INVOICE))
    assert "dangerous size" in refusal(data) or "more than 50 files" in refusal(data)


def test_overlapping_members_are_refused() -> None:
    """Two names over one stream, as in the well-known quadratic bombs."""
    data = bytearray(pack(("17.xml", INVOICE), ("18.xml", INVOICE)))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[second + 42 : second + 46] = bytes(4)
    refusal(bytes(data))

from __future__ import annotations

import tracemalloc

import pytest

from appliance.core import xml
from appliance.core.errors import DocumentRefused

DECLARED = '<?xml version="1.0" encoding="{}"?>\n<a>Brânză și țuică</a>'


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        ("UTF-8", "utf-8-sig"),
        ("UTF-16", "utf-16"),
        ("UTF-16", "utf-16-le"),
        ("UTF-16", "utf-16-be"),
        ("utf-16", "utf-8"),  # .NET's StringWriter
        ("ISO-8859-16", "iso8859-16"),
    ],
)
def test_the_same_text_comes_out_of_every_encoding(declared: str, codec: str) -> None:
    assert xml.parse(DECLARED.format(declared).encode(codec)).text == "Brânză și țuică"


@pytest.mark.parametrize(
    ("declared", "codec"), [("ISO-8859-2", "iso8859-2"), ("windows-1250", "cp1250")]
)
def test_the_old_tables_bring_the_cedilla_they_have(declared: str, codec: str) -> None:
    data = DECLARED.format(declared).replace("ș", "ş").replace("ț", "ţ").encode(codec)

    assert xml.parse(data).text == "Brânză şi ţuică"


def test_blanks_before_the_declaration_are_passed_over() -> None:
    assert xml.parse("\ufeff\r\n <?xml version='1.0'?><a/>".encode()).tag == "a"


def test_text_around_comments_and_sections_is_one_text() -> None:
    assert xml.parse(b"<a>1<!-- 9 -->2<![CDATA[<3>]]>4<?pi 9?>5</a>").text == "12<3>45"


@pytest.mark.parametrize(
    "document",
    [
        b"<!DOCTYPE a><a/>",
        b"<?xml version='1.0'?>\n<!-- c --><?p?>\n<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        b"<!DOCTYPE a [<!ENTITY x SYSTEM 'http://localhost/'>]><a>&x;</a>",
        b"<!DOCTYPE a [<!ENTITY x 'y'><!ENTITY z '&x;&x;'>]><a>&z;</a>",
        "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a><a/>".encode("utf-16"),
        b"\xef\xbb\xbf<!doctype html><a/>",
    ],
)
def test_a_doctype_is_refused_wherever_it_may_stand(document: bytes) -> None:
    with pytest.raises(DocumentRefused, match="DOCTYPE"):
        xml.parse(document)


def test_the_word_doctype_in_a_text_is_a_text() -> None:
    assert xml.parse(b"<a><![CDATA[<!DOCTYPE html>]]></a>").text == "<!DOCTYPE html>"


def test_an_entity_that_is_not_of_xml_itself_is_refused() -> None:
    with pytest.raises(DocumentRefused, match="well-formed"):
        xml.parse(b"<a>&passwd;</a>")
    assert xml.parse(b"<a>&amp;&lt;&#537;</a>").text == "&<ș"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"<r>" + b"<a/>" * 12_500_000 + b"</r>", id="50 MB"),
        pytest.param(b"<r>" + b"<a/>" * 2_600_000 + b"</r>", id="10 MB"),
        pytest.param(
            b"<r " + b" ".join(b'a%d=""' % n for n in range(600_000)) + b"/>", id="attributes"
        ),
        pytest.param(("<r>" + "<a/>" * 1_200_000 + "</r>").encode("utf-16"), id="UTF-16"),
        pytest.param(b"<!--x-->" * 600_000 + b"<r/>", id="comments"),
    ],
)
def test_tiny_elements_are_refused_before_a_tree_is_built(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(_: str) -> object:
        raise AssertionError("a tree was built")

    monkeypatch.setattr(xml, "_build", built)
    tracemalloc.start()
    try:
        with pytest.raises(DocumentRefused, match=r"bytes|elements"):
            xml.parse(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 40_000_000


def test_a_text_of_almost_ten_megabytes_is_an_attachment_and_passes() -> None:
    text = xml.parse(b"<r>" + b"A" * 10_400_000 + b"</r>").text

    assert text is not None
    assert len(text) == 10_400_000


@pytest.mark.parametrize("depth", [101, 256, 3000, 200_000])
def test_elements_nested_too_deep_are_refused(depth: int) -> None:
    with pytest.raises(DocumentRefused, match="100 levels"):
        xml.parse(b"<a>" * depth + b"</a>" * depth)


def test_a_hundred_levels_are_read() -> None:
    assert xml.parse(b"<a>" * 100 + b"</a>" * 100).tag == "a"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b"%PDF-1.7", "not an XML document"),
        (b"PK\x03\x04", "not an XML document"),
        (b'{"eroare":"x"}', "not an XML document"),
        (b"<a><b></a>", "well-formed"),
        (b"<a>", "well-formed"),
        (b"<a/><b/>", "well-formed"),
        (b"<a>\0</a>", "well-formed"),
        (b"<a><x:b/></a>", "well-formed"),
        (b"<a>\xff</a>", "claims to be UTF-8"),
        ("<a>\ud800</a>".encode("utf-16", "surrogatepass"), "claims to be UTF-16"),
        (b"<?xml version='1.0' encoding='utf-7'?><a/>", "utf-7"),
        (b"<?xml version='1.0' encoding='zlib'?><a/>", "zlib"),
        (b"<?xml version='1.0' encoding='no-such'?><a/>", "no-such"),
        ("<a/>".encode("utf-32"), "utf-32"),
    ],
)
def test_what_is_no_document_is_refused_with_one_sentence(data: bytes, words: str) -> None:
    with pytest.raises(DocumentRefused, match=words) as refused:
        xml.parse(data)

    assert "\n" not in refused.value.sentence.ro + refused.value.sentence.en

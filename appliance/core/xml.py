"""The one way into XML that strangers wrote: bytes to a tree, or one sentence.

What a document could hurt us with is refused before a tree exists: a DTD (and
with it every entity, local or remote), more bytes, elements or attributes than
any invoice has, an encoding in which the checks above would not see the same
characters as the parser. What is only untidy passes: a byte order mark, blanks
before the declaration, UTF-16 with or without one, the ISO and Windows tables.
"""

from __future__ import annotations

import codecs
import re

from lxml import etree

from appliance.core.errors import DocumentRefused
from appliance.core.sentence import Sentence

MAX_BYTES = 10 * 1024 * 1024  # what ANAF takes (MF swagger, upload)
MAX_NODES = 500_000
MAX_DEPTH = 100

_MARKS = (
    # UTF-32's little-endian mark begins like UTF-16's; it is named to be refused.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ENCODINGS = frozenset(
    ["utf-8", "ascii", "utf-16-le", "utf-16-be"]
    + [f"iso8859-{part}" for part in range(1, 17)]
    + [f"cp125{page}" for page in range(9)]
)
_DECLARATION = re.compile(r"<\?xml\s[^>]{0,200}?>")
_DECLARED_ENCODING = re.compile(r"\sencoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_BLANKS = " \t\r\n"


def parse(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_nodes: int = MAX_NODES,
    max_depth: int = MAX_DEPTH,
) -> etree._Element:
    """Return the root of the document, without comments and processing instructions.

    Text on both sides of a comment is one text, as every other reader sees it.
    Nothing is fetched, no entity but the five of XML itself is expanded.
    Raises `DocumentRefused`, before memory is spent, when the bytes are no XML
    document or go beyond the given bounds.
    """
    if len(data) > max_bytes:
        raise DocumentRefused(
            Sentence(
                f"Fișierul are {len(data)} de octeți, peste limita de {max_bytes} a unei facturi. "
                "Verifică dacă este fișierul corect.",
                f"the file has {len(data)} bytes, over the {max_bytes} that an invoice may have; "
                "check that it is the right file",
            )
        )
    text = _decode(data)
    if not text:
        raise DocumentRefused(
            Sentence(
                "Fișierul este gol. Descarcă-l din nou.", "the file is empty; download it again"
            )
        )
    if not text.startswith("<"):
        raise DocumentRefused(
            Sentence(
                "Fișierul nu este un document XML. Verifică dacă este fișierul corect.",
                "the file is not an XML document; check that it is the right file",
            )
        )
    _refuse_doctype(text)
    # Each element, comment, instruction and CDATA section opens with a "<" that
    # "/" does not follow, each attribute has its "=": never fewer than the nodes.
    if text.count("<") - text.count("</") > max_nodes or text.count("=") > max_nodes:
        raise DocumentRefused(
            Sentence(
                f"Documentul are peste {max_nodes} de elemente, mai multe decât poate avea o "
                "factură. Cere emitentului să îl trimită din nou.",
                f"the document has more than {max_nodes} elements, which no invoice has; "
                "ask the sender for it again",
            )
        )
    root = _build(text)
    if etree.XPath("boolean(" + "/*" * (max_depth + 1) + ")")(root):
        raise DocumentRefused(_too_deep(max_depth))
    return root


def _decode(data: bytes) -> str:
    """Return the text without mark, leading blanks and declaration."""
    encoding = ""
    for mark, name in _MARKS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    if not encoding and data[:2] in (b"<\0", b"\0<"):
        encoding = "utf-16-le" if data[0] else "utf-16-be"
    if not encoding:
        encoding = _declared_encoding(data)
    if encoding not in _ENCODINGS:
        raise DocumentRefused(
            Sentence(
                f"Documentul folosește codarea {encoding}, pe care nu o citim. "
                "Cere emitentului să îl trimită în UTF-8.",
                f"the document is written in {encoding}, which is not read here; "
                "ask the sender for UTF-8",
            )
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DocumentRefused(
            Sentence(
                f"Documentul se declară {encoding.upper()}, dar octetul {error.start + 1} nu este. "
                "Cere emitentului să îl trimită din nou.",
                f"the document claims to be {encoding.upper()} and byte {error.start + 1} is not; "
                "ask the sender for it again",
            )
        ) from None
    text = text.lstrip(_BLANKS)
    # The declaration names the encoding of the bytes, which is past.
    declaration = _DECLARATION.match(text)
    return text[declaration.end() :].lstrip(_BLANKS) if declaration else text


def _declared_encoding(data: bytes) -> str:
    start = data[:400].lstrip(_BLANKS.encode()).decode("latin-1")
    declaration = _DECLARATION.match(start)
    declared = _DECLARED_ENCODING.search(declaration[0]) if declaration else None
    if declared is None:
        return "utf-8"
    try:
        name = codecs.lookup(declared[1]).name
    except LookupError:
        return declared[1]
    # A declaration that could be read byte by byte is not UTF-16, whatever it
    # says: .NET's StringWriter declares utf-16 and the file is saved as UTF-8.
    return "utf-8" if name.startswith("utf-16") else name


def _refuse_doctype(text: str) -> None:
    """A DTD can stand only before the root, among comments and instructions."""
    position = 0
    while True:
        while position < len(text) and text[position] in _BLANKS:
            position += 1
        if text.startswith("<!--", position):
            end, width = text.find("-->", position + 4), 3
        elif text.startswith("<?", position):
            end, width = text.find("?>", position + 2), 2
        else:
            break
        if end < 0:
            break  # not well-formed, which the parser will say
        position = end + width
    if text.startswith("<!", position):
        raise DocumentRefused(_DOCTYPE)


def _build(text: str) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        # Attachments may exceed libxml2's 10 million characters; size, nodes
        # and the absence of a DTD were seen to above.
        huge_tree=True,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except UnicodeEncodeError:
        raise DocumentRefused(_not_well_formed("")) from None
    except etree.XMLSyntaxError as error:
        if "Excessive depth" in str(error):
            raise DocumentRefused(_too_deep(MAX_DEPTH)) from None
        raise DocumentRefused(_not_well_formed(str(error.msg))) from None
    if root.getroottree().docinfo.doctype:
        raise DocumentRefused(_DOCTYPE)
    return root


_DOCTYPE = Sentence(
    "Documentul conține o declarație DOCTYPE, care nu are ce căuta într-o factură și poate fi "
    "periculoasă. Cere emitentului să îl trimită fără ea.",
    "the document has a DOCTYPE declaration, which no invoice needs and which can be harmful; "
    "ask the sender for it without one",
)


def _too_deep(max_depth: int) -> Sentence:
    return Sentence(
        f"Documentul are peste {max_depth} de niveluri de elemente, mai multe decât poate avea o "
        "factură. Cere emitentului să îl trimită din nou.",
        f"the document nests elements over {max_depth} levels deep, which no invoice does; "
        "ask the sender for it again",
    )


def _not_well_formed(detail: str) -> Sentence:
    shown = f" ({' '.join(detail.split())[:160]})" if detail else ""
    return Sentence(
        f"Documentul nu este un XML corect{shown}. Poate fi trunchiat: descarcă-l din nou.",
        f"the document is not well-formed XML{shown}; it may be cut short: download it again",
    )

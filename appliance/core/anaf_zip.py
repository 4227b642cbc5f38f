"""ANAF's zip: the document and its signature told apart, and everything dangerous refused.

What `descarcare` gives is two members, `N.xml` and `semnatura_N.xml` (MF
swagger, descarcare), but their names, their number and their order vary. Read
in memory and within limits; nothing is written anywhere.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from dataclasses import dataclass

from appliance.core.errors import DocumentRefused, ZipRefused
from appliance.core.sentence import Sentence
from appliance.core.spv import DOCUMENT_ROOTS, document_root

MEMBERS_LIMIT = 50
MEMBER_LIMIT = 32 * 1024 * 1024  # ANAF takes documents up to 10 MB
TOTAL_LIMIT = 64 * 1024 * 1024
RATIO_LIMIT = 200  # XML of many equal lines reaches 60
RATIO_FROM = 1024 * 1024  # below this no ratio can hurt

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_XMLDSIG = "http://www.w3.org/2000/09/xmldsig#"


@dataclass(frozen=True)
class Member:
    """A further file of the zip, kept as it is and never opened."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Package:
    """What ANAF's zip holds: the document and, beside it, the signature."""

    document_name: str
    document: bytes
    signature_name: str | None = None
    signature: bytes | None = None
    others: tuple[Member, ...] = ()
    notes: tuple[Sentence, ...] = ()


def read_zip(data: bytes) -> Package:
    """Open an ANAF zip in memory and tell the document from its signature.

    Every member was read whole within the limits and its CRC checked when this
    returns. The pair is found by name (`N.xml`, `semnatura_N.xml`); wrong names
    are tolerated, with a note, when the root elements leave no doubt. A
    document alone is accepted. Raises `ZipRefused`.
    """
    members = _members(data)
    xml_members = [member for member in members if member.name.lower().endswith(".xml")]
    document, signature = _pair_by_name(xml_members) or _pair_by_root(members)
    notes = []
    if signature is None:
        notes.append(_UNSIGNED)
    if not _usual_names(document, signature):
        notes.append(_RENAMED)
    others = tuple(m for m in members if m is not document and m is not signature)
    return Package(
        document_name=document.name,
        document=document.content,
        signature_name=signature.name if signature else None,
        signature=signature.content if signature else None,
        others=others,
        notes=tuple(notes),
    )


def _members(data: bytes) -> list[Member]:
    _refuse_what_is_no_zip(data)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        # Besides its own error zipfile lets through what a forged directory makes of its
        # seeks (ValueError, OSError) and versions that it does not know.
        raise ZipRefused(_TRUNCATED) from None
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        _refuse_by_directory(infos, archive)
        members, total = [], 0
        for info in infos:
            content = _content(archive, info, TOTAL_LIMIT - total)
            total += len(content)
            members.append(Member(info.filename, content))
    return members


def _refuse_what_is_no_zip(data: bytes) -> None:
    if not data:
        raise ZipRefused(_EMPTY_ANSWER)
    if data[:2] == b"PK":
        return
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start[:1] == b"{":
        raise ZipRefused(_JSON_INSTEAD)
    if start.startswith((b"<html", b"<!doctype html", b"<head", b"<body")):
        raise ZipRefused(_HTML_INSTEAD)
    raise ZipRefused(_NOT_A_ZIP)


def _refuse_by_directory(infos: list[zipfile.ZipInfo], archive: zipfile.ZipFile) -> None:
    if not infos:
        raise ZipRefused(_NO_MEMBER)
    if len(archive.infolist()) > MEMBERS_LIMIT:
        raise ZipRefused(_TOO_MANY)
    names = set()
    for info in infos:
        if _dangerous(info):
            raise ZipRefused(_TRAVERSAL)
        name = info.filename.casefold()
        if name in names:
            raise ZipRefused(_DUPLICATE)
        names.add(name)
        if info.flag_bits & 0x1:
            raise ZipRefused(_ENCRYPTED)
        if info.compress_type not in _METHODS:
            raise ZipRefused(_METHOD)
        if info.file_size > MEMBER_LIMIT:
            raise ZipRefused(_TOO_BIG)
        if info.file_size > RATIO_FROM and info.file_size > RATIO_LIMIT * info.compress_size:
            raise ZipRefused(_TOO_BIG)
    if sum(info.file_size for info in infos) > TOTAL_LIMIT:
        raise ZipRefused(_TOO_BIG)


def _dangerous(info: zipfile.ZipInfo) -> bool:
    # `filename` ends at a NUL; `orig_filename` is what the directory says.
    name = info.orig_filename
    return (
        name.startswith(("/", "\\"))
        or "\\" in name
        or ":" in name
        or ".." in name.split("/")
        or len(name) > 255
        or any(ord(character) < 32 for character in name)
        or (info.external_attr >> 16) & 0o170000 == 0o120000  # a symbolic link
    )


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: int) -> bytes:
    """Return the bytes of a member, never more than declared or than there is room for."""
    limit = min(info.file_size, room)
    try:
        with archive.open(info) as member:
            content = member.read(limit + 1)
            if len(content) > limit or member.read(1):
                raise ZipRefused(_TOO_BIG)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError, NotImplementedError):
        # zipfile checks the CRC when the last byte is read. The other errors are those of a
        # stream that does not inflate, and of a forged header: its seeks, names and versions.
        raise ZipRefused(_CORRUPT) from None
    except RuntimeError:
        # That a password is required: zipfile has no error of its own for it.
        raise ZipRefused(_ENCRYPTED) from None
    if len(content) != info.file_size:
        raise ZipRefused(_CORRUPT)
    return content


def _pair_by_name(members: list[Member]) -> tuple[Member, Member | None] | None:
    named = {member.name: member for member in members}
    pairs = [
        (named[name.removeprefix("semnatura_")], member)
        for name, member in named.items()
        if name.startswith("semnatura_") and name.removeprefix("semnatura_") in named
    ]
    if len(pairs) != 1 or _root(pairs[0][0].content) == (_XMLDSIG, "Signature"):
        return None
    return pairs[0]


def _pair_by_root(members: list[Member]) -> tuple[Member, Member | None]:
    signatures, documents, strangers = [], [], []
    roots = [(member, _root(member.content)) for member in members]
    # The test environment's signature is a copy of the document: only its name tells it.
    by_name = all(root != (_XMLDSIG, "Signature") for _, root in roots)
    for member, root in roots:
        base = member.name.rsplit("/", 1)[-1].lower()
        named = by_name and root is not None and base.startswith("semnatura")
        if root == (_XMLDSIG, "Signature") or named:
            signatures.append(member)
        elif root in DOCUMENT_ROOTS or (root and root[0].startswith("mfp:anaf:")):
            documents.append(member)
        elif base.endswith(".xml"):
            strangers.append(member)
    if not documents and len(strangers) == 1:
        documents = strangers  # no document that we know, but the only one there is
    if not documents:
        raise ZipRefused(_ONLY_SIGNATURE if signatures else _NO_DOCUMENT)
    if len(documents) > 1 or len(signatures) > 1:
        raise ZipRefused(_AMBIGUOUS)
    return documents[0], signatures[0] if signatures else None


def _usual_names(document: Member, signature: Member | None) -> bool:
    if re.fullmatch(r"[0-9]+\.xml", document.name) is None:
        return False
    return signature is None or signature.name == f"semnatura_{document.name}"


def _root(data: bytes) -> tuple[str, str] | None:
    try:
        return document_root(data)
    except DocumentRefused:
        return None


# Sentences

_AMBIGUOUS = Sentence(
    "Zipul conține mai multe documente sau semnături și nu se știe care este factura. "
    "Verifică-l în SPV.",
    "the zip holds several documents or signatures, and which is the invoice cannot be told; "
    "check it in SPV",
)

_CORRUPT = Sentence(
    "Conținutul zipului nu corespunde sumei de control. Descarcă-l din nou.",
    "the content of the zip does not match its checksum; download it again",
)

_DUPLICATE = Sentence(
    "Zipul conține două fișiere cu același nume. Verifică-l în SPV.",
    "the zip holds two files of the same name; check it in SPV",
)

_EMPTY_ANSWER = Sentence(
    "ANAF a trimis un fișier gol în loc de zip. Descarcă-l din nou.",
    "ANAF sent an empty file instead of a zip; download it again",
)

_ENCRYPTED = Sentence(
    "Zipul este protejat cu parolă, iar ANAF nu trimite așa ceva. Verifică-l în SPV.",
    "the zip is encrypted, which ANAF never sends; check it in SPV",
)

_HTML_INSTEAD = Sentence(
    "În loc de zip a venit o pagină web (HTML). Descarcă fișierul din nou.",
    "a web page (HTML) came instead of a zip; download the file again",
)

_JSON_INSTEAD = Sentence(
    "În loc de zip a venit un mesaj de eroare al ANAF (JSON). Descarcă fișierul din nou.",
    "an error message of ANAF's (JSON) came instead of a zip; download the file again",
)

_METHOD = Sentence(
    "Zipul folosește o metodă de compresie pe care ANAF nu o folosește. Verifică-l în SPV.",
    "the zip uses a compression that ANAF does not use; check it in SPV",
)

_NOT_A_ZIP = Sentence(
    "Fișierul nu este un zip. Alege zipul descărcat din SPV.",
    "the file is not a zip; choose the zip that was downloaded from SPV",
)

_NO_DOCUMENT = Sentence(
    "Zipul nu conține niciun document XML. Verifică-l în SPV.",
    "the zip holds no XML document; check it in SPV",
)

_NO_MEMBER = Sentence(
    "Zipul nu conține niciun fișier. Descarcă-l din nou.",
    "the zip holds no file; download it again",
)

_ONLY_SIGNATURE = Sentence(
    "Zipul conține doar semnătura, fără document. Descarcă-l din nou.",
    "the zip holds only the signature and no document; download it again",
)

_RENAMED = Sentence(
    "Numele fișierelor din zip nu sunt cele obișnuite; documentul a fost recunoscut după conținut.",
    "the files of the zip have unusual names; the document was told by its content",
)

_TOO_BIG = Sentence(
    "Zipul se dezarhivează la o mărime periculoasă și nu a fost deschis. Verifică-l în SPV.",
    "the zip would unpack to a dangerous size and was not opened; check it in SPV",
)

_TOO_MANY = Sentence(
    f"Zipul are peste {MEMBERS_LIMIT} de fișiere, deci nu este un mesaj ANAF. Verifică-l în SPV.",
    f"the zip has more than {MEMBERS_LIMIT} files, so it is no message of ANAF's; check it in SPV",
)

_TRAVERSAL = Sentence(
    "Zipul conține un nume de fișier periculos (cale în afara lui). Verifică-l în SPV.",
    "the zip holds a dangerous file name (a path out of it); check it in SPV",
)

_TRUNCATED = Sentence(
    "Zipul este trunchiat sau deteriorat. Descarcă-l din nou.",
    "the zip is truncated or damaged; download it again",
)

_UNSIGNED = Sentence(
    "Zipul nu conține semnătura Ministerului Finanțelor.",
    "the zip holds no signature of the Ministry of Finance",
)

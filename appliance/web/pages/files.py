"""Handing out files that strangers wrote: never as a page of ours.

Always an attachment, with a type that we found in its first bytes, in a
sandbox without origin, not to be sniffed, not to be kept. Our own PDF alone
may open in the browser.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from io import BufferedReader
from urllib.parse import quote

from litestar.response import Stream

from appliance.web.auth.headers import FILE_POLICY

_CHUNK = 64 * 1024
_FORBIDDEN = frozenset('\\/:*?"<>|')


def file_answer(file: BufferedReader, name: str, *, inline: bool = False) -> Stream:
    """Return the answer with the open file, as long as that file is; closed after its last byte.

    A PDF that is rendered again takes the name, not the place, of the one that is being sent.
    """
    size = os.fstat(file.fileno()).st_size
    start = file.read(512)
    disposition = "inline" if inline else "attachment"
    return Stream(
        _rest(start, file),
        media_type=detected_type(start),
        headers={
            "content-disposition": f"{disposition}; {disposition_name(name)}",
            "content-length": str(size),
            "content-security-policy": FILE_POLICY,
        },
    )


def detected_type(start: bytes) -> str:
    """Return the media type by the first bytes, one of a short list."""
    if start.startswith(b"%PDF-"):
        return "application/pdf"
    if start.startswith(b"PK\x03\x04"):
        return "application/zip"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"", "latin-1"),
    ):
        if start.startswith(mark):
            text = start[len(mark) :].decode(encoding, "replace").lstrip()
            if text.startswith("<?xml"):
                return "application/xml"
            break
    return "application/octet-stream"


def disposition_name(name: str) -> str:
    """Return both forms of the file name (RFC 6266 §4.3), free of anything that could break out."""
    kept = "".join(
        character
        for character in unicodedata.normalize("NFC", name)
        if unicodedata.category(character)[0] not in "CZ" or character == " "
    )
    kept = "".join("_" if character in _FORBIDDEN else character for character in kept)
    kept = kept.strip(" .")[:120] or "document"
    plain = unicodedata.normalize("NFKD", kept).encode("ascii", "ignore").decode() or "document"
    return f"filename=\"{plain}\"; filename*=UTF-8''{quote(kept, safe='')}"


def _rest(start: bytes, file: BufferedReader) -> Iterator[bytes]:
    with file:
        yield start
        while part := file.read(_CHUNK):
            yield part

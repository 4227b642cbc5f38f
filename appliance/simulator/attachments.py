"""A PDF and a picture, made here byte by byte, for invoices that bring attachments."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence


def pdf(title: str, lines: Sequence[str]) -> bytes:
    """Return a small PDF of one page; text outside ASCII is left out."""
    shown = [title, *lines]
    text = ["BT /F1 14 Tf 56 780 Td 20 TL"]
    for line in shown:
        plain = line.encode("ascii", "replace").decode()
        escaped = plain.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        text.append(f"({escaped}) Tj T*")
    stream = "\n".join([*text, "ET"]).encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    body = b"%PDF-1.4\n"
    offsets = []
    for position, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (position, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\n"
        b"startxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table, len(objects) + 1, len(body))
    )


def png(colour: int) -> bytes:
    """Return a picture of 96 × 64 dots in stripes of one colour."""
    red, green, blue = colour >> 16, colour >> 8 & 0xFF, colour & 0xFF
    dark, light = bytes((red // 2, green // 2, blue // 2)), bytes((red, green, blue))
    rows = b"".join(b"\0" + (dark if row // 8 % 2 else light) * 96 for row in range(64))

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", 96, 64, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )

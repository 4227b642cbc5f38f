"""GET and HEAD: the bytes of a file, whole or a part, never a page about a folder."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import BinaryIO

from appliance.core import tree
from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.dav.conditions import Outcome, byte_range, precondition
from appliance.dav.exchange import Answer, Request, error
from appliance.dav.multistatus import Item, http_date
from appliance.dav.opened import Damaged, as_it_is
from appliance.dav.propfind import ABSENT
from appliance.dav.resources import Resources

log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024
# Shorter files are read in the loop's own thread: a change of thread costs more.
_SMALL = 64 * 1024


async def get(request: Request, resources: Resources) -> Answer | None:
    """Answer 200, 206, 304, 412, 416 or 404; 405 with a sentence on a folder.

    Length, ETag and date are those of the file that is open, also while the
    PDF is being made again: what is sent is one file, whole, the old or the new
    one. Returns None when the answer was streamed. The stream stops when the
    client hangs up, and a client that reads slowly holds one open file and no
    thread. Raises `Damaged` for a file that is no longer what was stored.
    """
    node = resources.find(tree.split(request.raw_path))
    if node is None:
        return error(404, ABSENT, resources.language)
    if node.item.collection:
        refused = error(405, _A_FOLDER, resources.language)
        return Answer(405, (*refused.headers, ALLOW), refused.body)
    entry = node.document or node.notice
    try:
        file = resources.open(node)
    except NotFound:
        # A row promises its files, so this is damage and not the reader's affair.
        log.error("drive: a file of %s is missing in the archive", entry and entry.uid)
        return error(404, ABSENT, resources.language)
    with file:
        try:
            item = node.item if node.text else await as_it_is(file, node)
        except Damaged:
            log.error("drive: a file of %s is damaged in the archive", entry and entry.uid)
            raise
        return await _answer(request, resources, file, item)


async def _answer(
    request: Request, resources: Resources, file: BinaryIO, item: Item
) -> Answer | None:
    outcome = precondition(
        etag=item.etag,
        modified=item.modified,
        if_match=_text(request, b"if-match"),
        if_none_match=_text(request, b"if-none-match"),
        if_modified_since=_text(request, b"if-modified-since"),
        if_unmodified_since=_text(request, b"if-unmodified-since"),
    )
    if outcome is Outcome.NOT_MODIFIED:
        return Answer(304, _validators(item))
    if outcome is Outcome.FAILED:
        return error(412, _CHANGED, resources.language)
    headers = (*_validators(item), *_about(item))
    if request.method == "HEAD":
        return Answer(200, headers, length=item.size)
    try:
        wanted = byte_range(
            _text(request, b"range"),
            item.size,
            if_range=_text(request, b"if-range"),
            etag=item.etag,
            modified=item.modified,
        )
    except ValueError:
        return Answer(416, ((b"content-range", f"bytes */{item.size}".encode()),))
    status, first, length = 200, 0, item.size
    if wanted is not None:
        first, last = wanted
        status, length = 206, last - first + 1
        part = f"bytes {first}-{last}/{item.size}".encode()
        headers = (*headers, (b"content-range", part))
    if length <= _SMALL:
        return Answer(status, headers, os.pread(file.fileno(), length, first))
    await _stream(request, file, status, headers, first, length)
    return None


async def _stream(
    request: Request,
    file: BinaryIO,
    status: int,
    headers: tuple[tuple[bytes, bytes], ...],
    first: int,
    length: int,
) -> None:
    await request.start(status, (*headers, (b"content-length", str(length).encode())))
    # The server swallows what is sent to a client that has gone, so only this
    # tells; without it the rest of a long file would be read for nobody.
    watcher = asyncio.create_task(request.watch())
    try:
        end = first + length
        while first < end and not request.gone:
            chunk = await asyncio.to_thread(
                os.pread, file.fileno(), min(_CHUNK, end - first), first
            )
            if not chunk:
                raise OSError(f"a file of the archive ended {end - first} bytes early")
            first += len(chunk)
            await request.send(
                {"type": "http.response.body", "body": chunk, "more_body": first < end}
            )
    finally:
        watcher.cancel()


def _validators(item: Item) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"etag", item.etag.encode()),
        (b"last-modified", http_date(item.modified).encode()),
        (b"cache-control", b"private, no-cache"),
    )


def _about(item: Item) -> tuple[tuple[bytes, bytes], ...]:
    # What strangers attached to an invoice is never a page of ours in a browser.
    return (
        (b"content-type", item.mime.encode()),
        (b"accept-ranges", b"bytes"),
        (b"content-disposition", b"attachment"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
    )


def _text(request: Request, name: bytes) -> str | None:
    value = request.header(name)
    return None if value is None else value.decode("latin-1")


ALLOW = (b"allow", b"OPTIONS, GET, HEAD, PROPFIND, MOVE")
_A_FOLDER = Sentence(
    "Acesta este un dosar. Deschide-l ca disc de rețea sau în portal.",
    "this is a folder; open it as a network drive or in the portal",
)
_CHANGED = Sentence(
    "Fișierul s-a schimbat între timp. Reîncarcă dosarul.",
    "the file has changed meanwhile; reload the folder",
)

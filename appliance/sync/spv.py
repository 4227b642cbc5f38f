"""The only client of the vault's spv.sock: list, download, report the CIFs seen.

ANAF's answers are read by `core.spv`; this module adds the socket, the fixed
window with its margins, the pages and the spool file. It never sees a token.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import httpx

from appliance.core import spv
from appliance.core.errors import ArhivarError, Busy
from appliance.core.sentence import Sentence
from appliance.disk import fsync_directory

WINDOW = timedelta(days=60)  # what ANAF keeps and lists
# ANAF refuses a start older than 60 days and an end in its own future by one
# second, and it compares with its own clock.
START_MARGIN = timedelta(minutes=5)
END_MARGIN = timedelta(seconds=60)
MAX_ZIP = 50 * 1024 * 1024
# For a whole answer: one that trickles must not hold a worker for ever.
CALL_SECONDS = 300
_PARTIAL = ".partial"


class Deferred(ArhivarError):
    """The vault or ANAF cannot take the call now; nothing was spent, come back later."""

    def __init__(self, sentence: Sentence, *, after_seconds: int, reason: str) -> None:
        super().__init__(sentence)
        self.after_seconds = after_seconds
        self.reason = reason


class NotLinked(ArhivarError):
    """No grant reaches this CIF: a person has to authorise Arhivar in SPV first."""


@dataclass(frozen=True)
class Listing:
    """Everything ANAF lists for one CIF in the window, and which CIFs the holder reaches."""

    entries: tuple[spv.ListEntry, ...]
    cifs: tuple[str, ...]
    serial: str


class SpvClient:
    """Calls through the vault; one per process, safe for concurrent tasks."""

    def __init__(self, socket: Path, environment: str) -> None:
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://vault",
            timeout=httpx.Timeout(90, connect=10),
        )
        self._base = f"/{environment}/FCTEL/rest"

    async def close(self) -> None:
        await self._http.aclose()

    async def list_window(self, cif: str, at: datetime) -> Listing:
        """Return every message of the last 60 days, each once.

        The window is fixed before the first page, so messages that arrive
        meanwhile cannot shift the pages. When ANAF's total changes between
        pages all the same, the pages are read once more and united.
        Raises `Deferred`, `NotLinked` or `core.spv.SpvFault`.
        """
        try:
            return await self._list_once(cif, at)
        except spv.SpvFault as fault:
            if fault.kind is not spv.FaultKind.CLOCK or fault.server_time is None:
                raise
            # The refusal carries ANAF's clock: take the window from it and try once more.
            return await self._list_once(cif, fault.server_time)

    async def _list_once(self, cif: str, now: datetime) -> Listing:
        start, end = now - WINDOW + START_MARGIN, now - END_MARGIN
        entries: dict[str, spv.ListEntry] = {}
        nameless: dict[str, spv.ListEntry] = {}
        cifs: tuple[str, ...] = ()
        serial = ""
        for _ in range(2):
            totals: set[int] = set()
            page, pages = 1, 1
            while page <= pages:
                try:
                    answer = await self._page(cif, start, end, page)
                except spv.SpvFault as fault:
                    if fault.kind is spv.FaultKind.END_OF_PAGES and page > 1:
                        break
                    raise
                for entry in answer.entries:
                    if entry.message_id is None:
                        nameless[repr(sorted(entry.raw.items(), key=str))] = entry
                    else:
                        entries.setdefault(entry.message_id, entry)
                cifs = cifs or answer.cifs
                serial = serial or answer.serial
                totals.add(answer.total)
                pages = max(pages, answer.pages)
                page += 1
            if len(totals) <= 1:
                break
        return Listing((*entries.values(), *nameless.values()), cifs, serial)

    async def _page(self, cif: str, start: datetime, end: datetime, page: int) -> spv.MessageList:
        query = urlencode(
            {
                "startTime": int(start.timestamp() * 1000),
                "endTime": int(end.timestamp() * 1000),
                "cif": cif,
                "pagina": page,
            }
        )
        url = f"{self._base}/listaMesajePaginatieFactura?{query}"
        async with self._call("GET", url, cif) as response:
            return spv.read_list(response.status_code, await response.aread())

    async def download(self, cif: str, message_id: str, target: Path) -> None:
        """Put the zip of the message at `target`, durable and whole, or leave nothing there.

        A zip that is there already is kept and not downloaded again: ANAF
        allows ten downloads of a message a day.
        """
        if target.exists():
            return
        url = f"{self._base}/descarcare?{urlencode({'id': message_id})}"
        async with self._call("GET", url, cif) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ZIP:
                    raise spv.SpvFault(spv.FaultKind.TRANSIENT, "more than 50 MB")
            data = spv.read_download(response.status_code, bytes(body))
        await asyncio.to_thread(_write_durably, target, data)

    async def report_cifs(self, cif: str, listing: Listing) -> None:
        """Tell the vault which CIFs the holder reaches; a person is offered them."""
        if not listing.cifs:
            return
        body = {"cif": cif, "cifs": list(listing.cifs), "serial": listing.serial}
        async with self._call("POST", "/arhivar/seen-cifs", cif, json=body) as response:
            await response.aread()

    @asynccontextmanager
    async def _call(
        self, method: str, url: str, cif: str, json: object | None = None
    ) -> AsyncIterator[httpx.Response]:
        try:
            async with (
                asyncio.timeout(CALL_SECONDS),
                self._http.stream(method, url, headers={"Arhivar-Cif": cif}, json=json) as response,
            ):
                _raise_refusal(response)
                yield response
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            raise Deferred(
                Sentence(
                    "Legătura cu SPV s-a întrerupt. Încercăm din nou singuri.",
                    "the connection to SPV broke; it is tried again without you",
                ),
                after_seconds=30,
                reason="broken",
            ) from error


def _raise_refusal(response: httpx.Response) -> None:
    reason = response.headers.get("Arhivar-Reason")
    if reason is None:
        return
    if reason in ("unmapped", "needs-authorisation"):
        raise NotLinked(
            Sentence(
                "CIF-ul nu are o autorizare SPV valabilă. Leagă SPV din portal.",
                "no valid SPV authorisation reaches this CIF; link SPV in the portal",
            )
        )
    if reason in ("cif-mismatch", "refused"):
        raise RuntimeError(f"the vault refused our own call: {reason}")
    after = int(response.headers.get("Retry-After") or 60)
    raise Deferred(
        _DEFERRED.get(reason, _DEFERRED["unreachable"]), after_seconds=after, reason=reason
    )


_DEFERRED = {
    "rate": Sentence(
        "S-a atins plafonul ANAF de apeluri pe minut. Continuăm singuri.",
        "ANAF's ceiling of calls a minute is reached; it goes on without you",
    ),
    "list-quota": Sentence(
        "S-a atins numărul zilnic de liste permis de ANAF. Continuăm mâine.",
        "ANAF's daily number of lists is used up; it goes on tomorrow",
    ),
    "message-quota": Sentence(
        "S-a atins numărul zilnic de descărcări permis de ANAF pentru mesaj. Continuăm mâine.",
        "ANAF's daily number of downloads of this message is used up; it goes on tomorrow",
    ),
    "unreachable": Sentence(
        "ANAF nu răspunde. Încercăm din nou singuri.",
        "ANAF does not answer; it is tried again without you",
    ),
}


def discard_partials(spool: Path) -> None:
    """Remove the downloads that a killed process had not finished; for the start."""
    for path in spool.glob(f".*{_PARTIAL}"):
        path.unlink(missing_ok=True)


def _write_durably(target: Path, data: bytes) -> None:
    # A name of its own: a job whose lease ran out may be at work twice.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PARTIAL}")
    with _disk_errors():
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(target)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        fsync_directory(target.parent)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS):
            raise
        raise Busy(
            Sentence(
                "Nu mai este loc pe disc pentru descărcări sau discul nu poate fi scris. "
                "Eliberează spațiu; se reîncearcă automat.",
                "there is no room on the disk for downloads, or it cannot be written; "
                "free some space, it is tried again by itself",
            )
        ) from error

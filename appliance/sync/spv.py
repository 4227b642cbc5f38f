"""The only client of the vault's spv.sock: list, download, report, ask how grants stand.

ANAF's answers are read by `core.spv`; this module adds the socket, the fixed
window with its margins, the pages and the spool file. It never sees a token.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx

from appliance.core import spv
from appliance.core.errors import ArhivarError, Busy
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST, from_text
from appliance.disk import fsync_directory
from appliance.store.grants import Grant

WINDOW = timedelta(days=60)  # what ANAF keeps and lists
# ANAF refuses a start older than 60 days and an end in its own future by one second, and it
# compares with its own clock: at the start and at the end of the window so much is left out.
# The wider ones are for a clock that it refuses without telling its own.
_MARGINS = (
    (timedelta(minutes=5), timedelta(seconds=60)),
    (timedelta(minutes=65), timedelta(minutes=65)),
    (timedelta(days=1), timedelta(days=1)),
)
PAGE = 500  # entries on a full page
MAX_PAGES = 1000  # half a million messages in 60 days: more is an answer gone wrong
_ROUNDS = 3
MAX_ZIP = 50 * 1024 * 1024
# For a whole answer: one that trickles must not hold a worker for ever.
CALL_SECONDS = 300
# A refused call is repeated after so many seconds at most; a longer pause gives the job back.
LONGEST_PAUSE = 65.0
_VAULT_AWAY_SECONDS = 5
_PARTIAL = ".partial"
_Read = TypeVar("_Read")


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
    """What ANAF lists for one CIF from `start` to `end`, and which CIFs the holder reaches.

    `whole` says that it is everything ANAF announced. `skew` is how far our
    clock is ahead of ANAF's, when that had to be found out; `refused` the widest
    margin that ANAF refused without telling its time, so our clock is behind by more.
    """

    entries: tuple[spv.ListEntry, ...]
    cifs: tuple[str, ...]
    serial: str
    start: datetime
    end: datetime
    announced: int
    whole: bool
    skew: timedelta | None = None
    refused: timedelta | None = None


class SpvClient:
    """Calls through the vault; one per process, safe for concurrent tasks."""

    def __init__(self, socket: Path, environment: str, place: int = 1) -> None:
        self._place = place  # sync/queue.py: which of sync's processes this is
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://vault",
            timeout=httpx.Timeout(90, connect=10),
        )
        self._base = f"/{environment}/FCTEL/rest"
        self.answers = 0  # how often ANAF has given what was asked for
        self.reached = 0  # how often the vault has answered anything

    async def close(self) -> None:
        await self._http.aclose()

    async def list_window(self, cif: str, at: datetime) -> Listing:
        """Return every message of the last 60 days, each once.

        The window is fixed before the first page, so messages that arrive
        meanwhile cannot shift the pages. When what was read is not what ANAF
        announced, or that changed between pages, the pages are read again and
        united. Where ANAF's clock is another, the window is taken from its own
        or, when it does not tell it, made narrower.
        Raises `Deferred`, `NotLinked` or `core.spv.SpvFault`.
        """
        now, margins = at, list(_MARGINS)
        skew: timedelta | None = None
        refused: timedelta | None = None
        while True:
            start_margin, end_margin = margins.pop(0)
            start, end = _oldest(now) + start_margin, now - end_margin
            try:
                return replace(await self._read(cif, start, end), skew=skew, refused=refused)
            except spv.SpvFault as fault:
                if fault.kind is not spv.FaultKind.CLOCK or not margins:
                    raise
                if fault.server_time is not None and skew is None:
                    now, skew = fault.server_time, at - fault.server_time
                    margins, refused = list(_MARGINS), None
                else:
                    refused = start_margin

    async def _read(self, cif: str, start: datetime, end: datetime) -> Listing:
        pages = _Pages()
        for _ in range(_ROUNDS):
            pages.begin_round()
            number = 1
            while number <= pages.last:
                try:
                    answer = await self._page(cif, start, end, number)
                except spv.SpvFault as fault:
                    if fault.kind is spv.FaultKind.END_OF_PAGES and number > 1:
                        break
                    raise
                pages.add(answer, number)
                number += 1
            if pages.whole():
                break
        return Listing(
            entries=tuple(pages.entries.values()),
            cifs=pages.cifs,
            serial=pages.serial,
            start=start,
            end=end,
            announced=pages.total,
            whole=pages.whole(),
        )

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

        async def read(response: httpx.Response) -> spv.MessageList:
            return spv.read_list(response.status_code, await response.aread())

        answer = await self._ask(url, cif, read)
        self.answers += 1
        return answer

    async def download(self, cif: str, message_id: str, target: Path) -> None:
        """Put the zip of the message at `target`, durable and whole, or leave nothing there.

        A zip that is there already is kept and not downloaded again: ANAF
        allows ten downloads of a message a day.
        """
        if target.exists():
            return
        _require_room(target.parent)
        url = f"{self._base}/descarcare?{urlencode({'id': message_id})}"

        async def read(response: httpx.Response) -> bytes:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ZIP:
                    raise spv.SpvFault(spv.FaultKind.TRANSIENT, "more than 50 MB")
            return spv.read_download(response.status_code, bytes(body))

        data = await self._ask(url, cif, read)
        self.answers += 1
        await asyncio.to_thread(_write_durably, target, data, self._place)

    async def report_cifs(self, cif: str, listing: Listing) -> None:
        """Tell the vault which CIFs the holder reaches; a person is offered them."""
        if not listing.cifs:
            return
        body = {"cif": cif, "cifs": list(listing.cifs), "serial": listing.serial}
        async with self._call("POST", "/arhivar/seen-cifs", cif, body) as response:
            await response.aread()

    async def standing(self) -> list[Grant]:
        """Return how the authorisations stand that the vault holds; ANAF is not asked.

        Raises `Deferred` while the vault is away.
        """
        async with self._call("GET", "/arhivar/standing", "") as response:
            answer = await response.aread()
            response.raise_for_status()
        return [_grant(told) for told in json.loads(answer)["grants"]]

    async def _ask(
        self, url: str, cif: str, read: Callable[[httpx.Response], Awaitable[_Read]]
    ) -> _Read:
        """Return what `read` makes of ANAF's answer.

        When ANAF says that the holder has no right, the vault is told whose
        authorisation that was, and another one of the CIF is tried at once.
        """
        tried: set[str] = set()
        while True:
            async with self._call("GET", url, cif) as response:
                grant = response.headers.get("Arhivar-Grant", "")
                try:
                    return await read(response)
                except spv.SpvFault as fault:
                    if fault.kind is not spv.FaultKind.PERMISSION or not grant:
                        raise
                    refused = fault
            # The vault may have none but this one that works now.
            if grant in tried or not await self._report_not_allowed(cif, grant):
                raise refused
            tried.add(grant)

    async def _report_not_allowed(self, cif: str, grant: str) -> bool:
        """Return whether the CIF has an authorisation that ANAF did not refuse yet."""
        body = {"cif": cif, "grant": grant}
        async with self._call("POST", "/arhivar/not-allowed", cif, body) as response:
            answer = await response.aread()
            return response.status_code == 200 and bool(json.loads(answer)["again"])

    @asynccontextmanager
    async def _call(
        self, method: str, url: str, cif: str, body: object | None = None
    ) -> AsyncIterator[httpx.Response]:
        try:
            response = await self._send(method, url, cif, body)
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
            vault_away = isinstance(error, httpx.ConnectError)
            raise Deferred(
                _DEFERRED["vault" if vault_away else "broken"],
                after_seconds=_VAULT_AWAY_SECONDS if vault_away else 30,
                reason="vault" if vault_away else "broken",
            ) from error

    async def _send(self, method: str, url: str, cif: str, body: object) -> httpx.Response:
        """Return the answer of a call that the vault let pass, its body not read yet.

        ANAF's minute is waited out here: whoever waits keeps what it has done so
        far, the pages of a list, and a refused call has cost nothing.
        """
        while True:
            request = self._http.build_request(method, url, headers={"Arhivar-Cif": cif}, json=body)
            async with asyncio.timeout(CALL_SECONDS):
                response = await self._http.send(request, stream=True)
            self.reached += 1
            wait = _short_wait(response)
            if wait is None:
                break
            await response.aclose()
            await asyncio.sleep(wait)
        try:
            _raise_refusal(response)
        except BaseException:
            await response.aclose()
            raise
        return response


def _grant(told: dict[str, Any]) -> Grant:
    return Grant(
        uid=told["grant"],
        holder=" ".join(told["holder"].split()),
        state=told["state"],
        requested_by=told["requested_by"],
        issued_at=from_text(told["issued_at"]),
        access_expires_at=from_text(told["access_expires_at"]),
        refresh_expires_at=from_text(told["refresh_expires_at"]),
        cifs=tuple(told["cifs"]),
    )


def _oldest(now: datetime) -> datetime:
    """Return the start of the 60 days, by elapsed time and by the Romanian calendar.

    ANAF prints and compares wall time; across a change of the clock the two are
    an hour apart, and only the later one is refused by neither.
    """
    by_calendar = now.astimezone(BUCHAREST) - WINDOW  # the same hour, whatever its offset
    return max(now - WINDOW, by_calendar.astimezone(UTC))


class _Pages:
    """The pages of one window, read once or more often, united.

    ANAF's numbers are compared and never trusted: a page is asked for only
    while there may be something on it.
    """

    def __init__(self) -> None:
        self.entries: dict[str, spv.ListEntry] = {}  # by id, the nameless by all they say
        self.cifs: tuple[str, ...] = ()
        self.serial = ""
        self.rounds = 0
        self.begin_round()

    def begin_round(self) -> None:
        self.rounds += 1
        self.last = 1  # the page up to which there may be something
        self.rows = 0  # entries that the pages of this round held, repeated ones too
        self.total = 0  # the most that was announced in this round
        self._before = len(self.entries)

    def add(self, answer: spv.MessageList, number: int) -> None:
        """Take in a page."""
        for entry in answer.entries:
            key = entry.message_id or repr(sorted(entry.raw.items(), key=str))
            self.entries.setdefault(key, entry)
        self.rows += len(answer.entries)
        self.cifs = self.cifs or answer.cifs
        self.serial = self.serial or answer.serial
        if answer.counted:
            self.total = max(self.total, answer.total)
            pages = max(answer.pages, -(-answer.total // PAGE))
            # No page is empty, so there are never more pages than entries.
            pages = min(pages, max(self.total, len(self.entries)), MAX_PAGES)
        else:
            # Nobody says how many there are: a full page may have another one behind it.
            self.total = max(self.total, self.rows)
            full = len(answer.entries) >= PAGE and number < MAX_PAGES
            pages = number + 1 if full else number
        self.last = max(self.last, pages)

    def whole(self) -> bool:
        """Tell whether everything that was announced has been read."""
        if len(self.entries) >= self.total:
            return True
        # As many rows as announced, and again the same ones: ANAF counts what it repeats.
        again = self.rounds > 1 and len(self.entries) == self._before
        return again and self.rows >= self.total


def _short_wait(response: httpx.Response) -> float | None:
    """Return for how many seconds the vault holds the call up, when that is ANAF's minute."""
    milliseconds = response.headers.get("Arhivar-Retry-Ms", "")
    if response.headers.get("Arhivar-Reason") != "rate" or not milliseconds.isdecimal():
        return None
    seconds = int(milliseconds) / 1000
    return seconds if seconds <= LONGEST_PAUSE else None


def _raise_refusal(response: httpx.Response) -> None:
    reason = response.headers.get("Arhivar-Reason")
    if reason is None:
        return
    if reason in ("unmapped", "needs-authorisation"):
        raise NotLinked(
            Sentence(
                "CIF-ul nu are o autorizare SPV valabilă. Anunță titularul certificatului digital: "
                "numai el o poate da sau reînnoi.",
                "no valid SPV authorisation reaches this CIF; tell the certificate's holder, who "
                "alone can give or renew it",
            )
        )
    if reason in ("cif-mismatch", "refused"):
        raise RuntimeError(f"the vault refused our own call: {reason}")
    after = int(response.headers.get("Retry-After") or 60)
    raise Deferred(
        _DEFERRED.get(reason, _DEFERRED["unreachable"]), after_seconds=after, reason=reason
    )


_DEFERRED = {
    "second-try": Sentence(
        "ANAF a refuzat reînnoirea autorizării SPV. Încercăm singuri a doua oară; dacă și atunci "
        "este refuzată, titularul certificatului digital primește un e-mail.",
        "ANAF refused to renew the SPV authorisation; it is tried a second time without you, and "
        "if it is refused then as well the certificate's holder gets a mail",
    ),
    "application": Sentence(
        "ANAF nu recunoaște aplicația firmei. Administratorul verifică client_id și client_secret "
        "în pagina „Aplicația ANAF”; apoi continuăm singuri.",
        "ANAF does not know the firm's application; the administrator checks client_id and "
        "client_secret on the page “ANAF application”, then it goes on without you",
    ),
    "busy": Sentence(
        "Seiful (arhivar-vault) nu poate scrie pe disc. Administratorul eliberează spațiu; "
        "încercăm din nou singuri.",
        "the vault (arhivar-vault) cannot write to its disk; the administrator frees some space, "
        "it is tried again without you",
    ),
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
    "broken": Sentence(
        "Legătura cu SPV s-a întrerupt. Încercăm din nou singuri.",
        "the connection to SPV broke; it is tried again without you",
    ),
    "vault": Sentence(
        "Seiful (arhivar-vault) nu răspunde. Încercăm din nou singuri.",
        "the vault (arhivar-vault) does not answer; it is tried again without you",
    ),
    "unreachable": Sentence(
        "ANAF nu răspunde. Încercăm din nou singuri.",
        "ANAF does not answer; it is tried again without you",
    ),
}


def discard_partials(spool: Path, places: Iterable[int]) -> None:
    """Remove the downloads that the processes at these places, killed, had not finished."""
    for place in places:
        for path in spool.glob(f".*.{place}-*{_PARTIAL}"):
            path.unlink(missing_ok=True)


def _write_durably(target: Path, data: bytes, place: int) -> None:
    # A name of its own: a job whose lease ran out may be at work twice.
    partial = target.with_name(f".{target.name}.{place}-{secrets.token_hex(4)}{_PARTIAL}")
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
        raise Busy(_NO_ROOM) from error


def _require_room(place: Path) -> None:
    # Before the call: what cannot be kept would use up the message's ten downloads a day.
    free = os.statvfs(place)
    if free.f_bavail * free.f_frsize < 2 * MAX_ZIP:
        raise Busy(_NO_ROOM)


_NO_ROOM = Sentence(
    "Nu mai este loc pe disc pentru descărcări sau discul nu poate fi scris. Eliberează spațiu; "
    "se reîncearcă automat.",
    "there is no room on the disk for downloads, or it cannot be written; free some space, it is "
    "tried again by itself",
)

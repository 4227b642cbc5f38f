"""spv.sock: ANAF's own paths, with the token added and the limits kept.

    GET /{env}/FCTEL/rest/listaMesajePaginatieFactura?startTime=&endTime=&cif=&pagina=[&filtru=]
    GET /{env}/FCTEL/rest/listaMesajeFactura?zile=&cif=[&filtru=]
    GET /{env}/FCTEL/rest/descarcare?id=
    GET /{env}/FCTEL/rest/stareMesaj?id_incarcare=
    POST /arhivar/seen-cifs {cif, cifs, serial}                           204
    POST /arhivar/not-allowed {cif, grant}                              {again}
    GET /arhivar/standing                     {application: bool, grants: […]}

Each GET of ANAF's carries `Arhivar-Cif`, a CIF that a person gave to a grant; `cif=` must
be the same. The vault answers itself, with `Arhivar-Reason`: 403 unmapped,
cif-mismatch or refused; 429 rate, list-quota or message-quota, with
Retry-After and, to the millisecond, Arhivar-Retry-Ms; 503 needs-authorisation when
a person with a certificate has to; with Retry-After, 503 second-try (ANAF refused a
renewal once), 503 application (it refused the firm's application, or there is none),
503 busy (the disk takes no more) and 502 unreachable. Everything else is ANAF's
answer as it came, of its headers only those listed here, and `Arhivar-Grant`, the
grant whose token was used. When ANAF says in it that this grant's holder has no
right on the CIF, sync reports that to `not-allowed`; `again` tells that another
grant may have the right. A grant whose token ANAF rejects, renewed or not, gives
way to the next one of the CIF in the same call.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import ceil
from urllib.parse import parse_qsl, urlencode

import httpx

from appliance.core import cif as cifs
from appliance.core.errors import ArhivarError, BadInput, Busy, NotFound
from appliance.core.sentence import Sentence
from appliance.vault.errors import NeedsAuthorisation, SealBroken, TokenRefused, Unreachable
from appliance.vault.limits import Call, Kind, Limits, TooManyCalls
from appliance.vault.parts import Parts
from appliance.vault.refusals import Refusals
from appliance.vault.renewal import SECOND_TRY, Access
from appliance.vault.secret import Secret
from appliance.vault.wire import Answer, Refused, Request

log = logging.getLogger(__name__)

_PASSED_ON = (
    "content-type",
    "content-length",
    "content-encoding",
    "content-disposition",
    "date",
    "retry-after",
    "x-correlation-id",
)
_VALUE = re.compile(r"[A-Za-z0-9]{1,20}")
_CIF = re.compile(r"[0-9]{2,13}")
_TIMEOUT = httpx.Timeout(60, connect=10, pool=60)
_FOR_THE_HOLDER = (NeedsAuthorisation, SealBroken)
_TEST_SECONDS = 25  # a person waits, and the portal for 30
# ANAF's 429 is not known to say how long; doubled each time that it says it again.
_PAUSE_SECONDS = 15


@dataclass(frozen=True)
class Resource:
    kind: Kind
    parameters: frozenset[str]
    counted_by: str


RESOURCES = {
    "listaMesajePaginatieFactura": Resource(
        Kind.PAGED_LIST, frozenset({"startTime", "endTime", "cif", "pagina", "filtru"}), "cif"
    ),
    "listaMesajeFactura": Resource(Kind.LIST, frozenset({"zile", "cif", "filtru"}), "cif"),
    "descarcare": Resource(Kind.DOWNLOAD, frozenset({"id"}), "id"),
    "stareMesaj": Resource(Kind.STATE, frozenset({"id_incarcare"}), "id_incarcare"),
}


@dataclass(frozen=True)
class Target:
    """A call that may be made: where, for which CIF, and what it is counted under."""

    url: str
    cif: str
    call: Call


class NotPassed(Refused):
    """A call that the gateway does not make; `reason` is for the machine."""

    def __init__(self, reason: str, sentence: Sentence) -> None:
        super().__init__(403, sentence)
        self.reason = reason


class NoAnswer(Unreachable):
    """ANAF's API itself did not answer: another token would change nothing."""


class Gateway:
    """The handler of spv.sock."""

    def __init__(
        self,
        *,
        api_url: str,
        environment: str,
        parts: Parts,
        limits: Limits,
        refusals: Refusals,
        http: httpx.AsyncClient,
        now: Callable[[], datetime],
    ) -> None:
        self._api = api_url.rstrip("/")
        self._base = f"/{environment}/FCTEL/rest/"
        self._grants = parts.grants
        self._mapping = parts.mapping
        self._renewal = parts.renewal
        self._limits = limits
        self._http = http
        self._now = now
        self._own: dict[tuple[str, str], Callable[[Request, datetime], Answer]] = {
            ("POST", "/arhivar/seen-cifs"): self._seen,
            ("POST", "/arhivar/not-allowed"): self._not_allowed,
            ("GET", "/arhivar/standing"): lambda request, at: Answer.json(parts.grants.standing()),
        }
        self._refusals = refusals
        self._rejected: dict[str, datetime] = {}  # grants whose token got 401 at last
        self._too_many = 0  # how often ANAF said so, one after the other
        self._paused_until = datetime.min.replace(tzinfo=UTC)

    async def __call__(self, request: Request) -> Answer:
        at = self._now()
        try:
            own = self._own.get((request.method, request.path))
            if own is not None:
                return own(request, at)
            return await self._pass(self._target(request), at)
        except NotPassed as error:
            self._note(error.reason, request, at)
            return Answer.refusal(403, error.sentence, Arhivar_Reason=error.reason)
        except TooManyCalls as error:
            return Answer.refusal(
                429,
                error.sentence,
                Retry_After=str(error.retry_after),
                Arhivar_Retry_Ms=str(error.retry_ms),
                Arhivar_Reason=error.reason,
            )
        except _FOR_THE_HOLDER as error:
            return Answer.refusal(503, error.sentence, Arhivar_Reason="needs-authorisation")
        except TokenRefused as error:
            return Answer.refusal(
                503,
                error.sentence,
                Arhivar_Reason="second-try" if error.code == "invalid_grant" else "application",
                Retry_After=str(int(SECOND_TRY.total_seconds())),
            )
        except Unreachable as error:
            return Answer.refusal(
                502, error.sentence, Arhivar_Reason="unreachable", Retry_After="60"
            )
        except Busy as error:
            return Answer.refusal(503, error.sentence, Arhivar_Reason="busy", Retry_After="5")

    async def hello(self, grant: str) -> int:
        """Make ANAF's own test call with the grant's token and return its status.

        A token that gets 401 is renewed first, as for any other call. Raises
        what `Renewal.access()` raises, `TooManyCalls`, or `Unreachable` when ANAF
        is silent for 25 s or sends under 200 a page or an error in JSON.
        """
        at = self._now()
        url = f"{self._api}/TestOauth/jaxrs/hello?name=Arhivar"
        try:
            async with asyncio.timeout(_TEST_SECONDS):
                access = await self._renewal.access(grant, at=at)
                self._limits.take(None, at=at)
                response = await self._send(url, access, None, at)
                if response.status_code == 401:
                    response, _ = await self._once_more(grant, access, response, url, at)
                try:
                    greeting = await anext(response.aiter_raw(), b"")
                finally:
                    await response.aclose()
        except (TimeoutError, NoAnswer, httpx.HTTPError, httpx.StreamError):
            raise NoAnswer(_SILENT) from None
        if response.status_code == 200 and greeting.lstrip()[:1] in (b"", b"<", b"{"):
            raise NoAnswer(_NO_GREETING)
        return response.status_code

    def _seen(self, request: Request, at: datetime) -> Answer:
        body = request.json()
        cif, seen, serial = body.get("cif"), body.get("cifs"), body.get("serial") or ""
        if not (
            isinstance(cif, str)
            and isinstance(seen, list)
            and all(isinstance(value, str) and len(value) <= 40 for value in seen)
            and isinstance(serial, str)
        ):
            raise Refused(
                400,
                Sentence(
                    "Cererea are nevoie de cif, cifs și serial.",
                    "the request needs cif, cifs and serial",
                ),
            )
        self._mapping.offer(cifs.normalise(cif), seen, serial, at=at)
        return Answer(204)

    def _not_allowed(self, request: Request, at: datetime) -> Answer:
        body = request.json()
        cif, grant = body.get("cif"), body.get("grant")
        if not (isinstance(cif, str) and isinstance(grant, str)):
            raise Refused(
                400,
                Sentence("Cererea are nevoie de cif și grant.", "the request needs cif and grant"),
            )
        by = f"uid:{request.peer_uid}"
        return Answer.json({"again": self._mapping.not_allowed(cif, grant, by=by, at=at)})

    def _target(self, request: Request) -> Target:
        name = request.path.removeprefix(self._base)
        resource = RESOURCES.get(name)
        if request.method != "GET" or resource is None or request.path != self._base + name:
            raise NotPassed("refused", _NOT_LISTED)
        try:
            pairs = parse_qsl(
                request.query, keep_blank_values=True, strict_parsing=True, max_num_fields=8
            )
        except ValueError:
            raise NotPassed("refused", _BAD_QUERY) from None
        query = dict(pairs)
        if (
            len(query) != len(pairs)
            or not query.keys() <= resource.parameters
            or resource.counted_by not in query
            or not all(_VALUE.fullmatch(value) for value in query.values())
        ):
            raise NotPassed("refused", _BAD_QUERY)
        cif = cifs.normalise(request.headers.get("arhivar-cif", ""))
        if not _CIF.fullmatch(cif):
            raise NotPassed("unmapped", _UNMAPPED)
        if "cif" in query and cifs.normalise(query["cif"]) != cif:
            raise NotPassed("cif-mismatch", _MISMATCH)
        counted = cif if resource.counted_by == "cif" else query[resource.counted_by]
        # Built anew from what was understood, so nothing else can ride along.
        url = f"{self._api}{self._base}{name}?{urlencode(query)}"
        return Target(url, cif, Call(resource.kind, counted))

    async def _pass(self, target: Target, at: datetime) -> Answer:
        """Ask with the grants of the CIF, the best one first, until ANAF takes a token."""
        grants = self._in_order(target.cif, at)
        problem: ArhivarError | None = None
        uncounted: Call | None = target.call  # however many tokens it takes, it is one call
        for grant in grants:
            try:
                access = await self._renewal.access(grant, at=at)
                # Read anew: a token may have been fetched meanwhile, and the minute is
                # counted exactly.
                at = self._now()
                self._limits.take(uncounted, at=at)
                response = await self._send(target.url, access, uncounted, at)
                uncounted = None
                if response.status_code == 401:
                    response, access = await self._once_more(
                        grant, access, response, target.url, at
                    )
            except NoAnswer:
                raise
            except (*_FOR_THE_HOLDER, NotFound, BadInput, TokenRefused, Unreachable) as error:
                # A second certificate may reach the company.
                problem = _rather(problem, error)
                continue
            if response.status_code == 401:
                self._rejected[grant] = at
                if grant != grants[-1]:
                    await response.aclose()
                    continue
            return await self._answer(grant, access, response, target, at)
        assert problem is not None
        raise problem

    def _in_order(self, cif: str, at: datetime) -> list[str]:
        """Return the grants of the CIF; those whose token ANAF just rejected come last."""
        grants = self._mapping.for_cif(cif)
        if not grants:
            raise NotPassed("unmapped", _UNMAPPED)
        long_ago = datetime.min.replace(tzinfo=UTC)
        return sorted(
            grants, key=lambda grant: at < self._rejected.get(grant, long_ago) + SECOND_TRY
        )

    async def _once_more(
        self,
        grant: str,
        access: Access,
        response: httpx.Response,
        url: str,
        at: datetime,
    ) -> tuple[httpx.Response, Access]:
        """After a 401: return the answer to another token, or this one when there is no other."""
        try:
            other = await self._renewal.replace(grant, access, at=at)
            if other is None:
                return response, access
            self._limits.take(None, at=self._now())
        except BaseException:
            await response.aclose()
            raise
        await response.aclose()
        return await self._send(url, other, None, at), other

    async def _answer(
        self, grant: str, access: Access, response: httpx.Response, target: Target, at: datetime
    ) -> Answer:
        try:
            if 300 <= response.status_code < 400:
                # To a login page or elsewhere: no answer of the API, and nobody may follow it.
                self._limits.give_back(target.call, at=at)
                raise NoAnswer(_REDIRECTED)
            self._grants.used(grant, at=at)
            headers = self._headers(response, access, target.call, at) | {"Arhivar-Grant": grant}
        except BaseException:
            # Else its connection is never used again, and there are 64.
            await response.aclose()
            raise
        return Answer(response.status_code, _stream(response, access.token), headers)

    def _headers(
        self, response: httpx.Response, access: Access, call: Call, at: datetime
    ) -> dict[str, str]:
        """Return what is passed on of the headers; after a 429 of ANAF's everybody waits."""
        headers = {
            name: value
            for name in _PASSED_ON
            # No answer of ours may hold anything else, and nobody needs it.
            if (value := response.headers.get(name)) is not None
            and value.isascii()
            and access.token.reveal() not in value
        }
        if response.status_code != 429:
            self._too_many = 0
            return headers
        seconds = self._pause(response.headers.get("retry-after", ""), self._now())
        # Turned away at the door: no download of this message has been made.
        self._limits.give_back(call, at=at)
        return headers | {
            "retry-after": str(seconds),
            "arhivar-retry-ms": str(seconds * 1000),
            "arhivar-reason": "rate",
        }

    def _pause(self, asked: str, at: datetime) -> int:
        """Hold every call for as long as ANAF asks, or longer each time; return the seconds."""
        wait = _retry_after(asked, at)
        if wait is None:
            wait = _PAUSE_SECONDS * 2 ** min(self._too_many, 5)
        # Those that were on their way together are one refusal.
        if at >= self._paused_until:
            self._too_many += 1
        seconds = self._limits.pause(wait, at=at)
        self._paused_until = at + timedelta(seconds=seconds)
        log.warning("ANAF answered 429: no call for %d s", seconds)
        return seconds

    async def _send(
        self, url: str, access: Access, call: Call | None, at: datetime
    ) -> httpx.Response:
        request = self._http.build_request(
            "GET",
            url,
            headers={
                "Authorization": f"Bearer {access.token.reveal()}",
                # As ANAF's bytes are: the archive keeps them, and nothing is parsed here.
                "Accept-Encoding": "identity",
            },
            timeout=_TIMEOUT,
        )
        try:
            return await self._http.send(request, stream=True)
        except (httpx.HTTPError, httpx.StreamError) as error:
            name = type(error).__name__
            if call is not None and isinstance(
                error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
            ):
                self._limits.give_back(call, at=at)
        raise NoAnswer(
            Sentence(
                f"ANAF nu a răspuns ({name}); încercăm din nou mai târziu.",
                f"ANAF did not answer ({name}); we try again later",
            )
        )

    def _note(self, reason: str, request: Request, at: datetime) -> None:
        cif = re.sub(r"[^0-9]", "", request.headers.get("arhivar-cif", ""))[:13]
        call = f"{request.method} {request.path}"
        self._refusals.note(reason, request.peer_uid, call, cif=cifs.mask_cnp(cif), at=at)


def _rather(before: ArhivarError | None, error: ArhivarError) -> ArhivarError:
    """Return which of a CIF's problems is told: the first one that ends without its holder."""
    if isinstance(error, NotFound):  # revoked just now
        error = NeedsAuthorisation(error.sentence)
    if isinstance(error, BadInput):
        error = TokenRefused("no_application", error.sentence)
    if before is None:
        return error
    both = [before, error]
    return next((one for one in both if not isinstance(one, _FOR_THE_HOLDER)), before)


def _retry_after(text: str, at: datetime) -> int | None:
    """Return the seconds that Retry-After asks for, as a number or as a date; None for neither."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        return None
    return max(1, ceil((moment - at).total_seconds()))


async def _stream(response: httpx.Response, token: Secret) -> AsyncGenerator[bytes, None]:
    """Yield ANAF's bytes as they come; stop short of a body that repeats the token."""
    needle = token.reveal().encode()
    held = b""
    try:
        async for chunk in response.aiter_raw():
            held += chunk
            if needle in held:
                log.error("an answer repeated the token and was cut")
                raise ConnectionError
            # Nothing that may be the token's beginning leaves before its end is seen.
            keep = _overlap(held, needle)
            if len(held) > keep:
                yield held[: len(held) - keep]
                held = held[len(held) - keep :]
        if held:
            yield held
    except (httpx.HTTPError, httpx.StreamError) as error:
        log.warning("an answer of ANAF ended early (%s)", type(error).__name__)
        raise ConnectionError from None
    finally:
        await response.aclose()


def _overlap(data: bytes, needle: bytes) -> int:
    """Return how many of the last bytes of `data` are a beginning of `needle`."""
    tail = data[-(len(needle) - 1) :]
    start = tail.find(needle[:8]) if len(tail) >= 8 else -1
    while start >= 0:
        if needle.startswith(tail[start:]):
            return len(tail) - start
        start = tail.find(needle[:8], start + 1)
    for length in range(min(7, len(tail)), 0, -1):
        if needle.startswith(tail[-length:]):
            return length
    return 0


_NOT_LISTED = Sentence(
    "Seiful trece mai departe numai listele, descărcarea și starea mesajelor din SPV.",
    "the vault passes on nothing but SPV's lists, downloads and message states",
)
_BAD_QUERY = Sentence(
    "Parametrii cererii către SPV nu sunt cei cunoscuți.",
    "the parameters of the SPV call are not the known ones",
)
_REDIRECTED = Sentence(
    "ANAF a trimis la altă pagină în loc de răspuns; încercăm din nou mai târziu.",
    "ANAF sent to another page instead of an answer; we try again later",
)
_SILENT = Sentence(
    "ANAF nu răspunde acum; încearcă din nou peste câteva minute.",
    "ANAF does not answer now; try again in a few minutes",
)
_NO_GREETING = Sentence(
    "ANAF a trimis altceva decât răspunsul de test, de obicei fiindcă lucrează la sistem; încearcă "
    "din nou mai târziu.",
    "ANAF sent something else than the answer to the test, mostly because its system is being "
    "worked on; try again later",
)
_UNMAPPED = Sentence(
    "CIF-ul nu este legat de nicio autorizare SPV; titularul certificatului digital confirmă al "
    "cui este.",
    "the CIF belongs to no SPV authorisation; the certificate's holder confirms whose it is",
)
_MISMATCH = Sentence(
    "CIF-ul din cerere nu este cel pentru care se face cererea.",
    "the CIF in the query is not the one the call is made for",
)

"""ANAF's authorisation server: the address for the browser, and the token endpoint.

Form and lifetimes: ANAF, "Procedura de înregistrare a aplicațiilor OAuth". The
code lives 60 seconds, the access token 90 days, the refresh token 365; each
refresh brings a new pair. The endpoint answers JSON and, in trouble, the HTML
page of the firewall before it, under any status.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard
from urllib.parse import urlencode

import httpx

from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.vault.errors import SealBroken, TokenRefused, Unreachable
from appliance.vault.secret import Secret

ACCESS_LIFE = timedelta(days=90)
REFRESH_LIFE = timedelta(days=365)
# Long enough for a slow answer, short enough that no caller of ours gives up first.
_TIMEOUT = httpx.Timeout(20)
_MAX_ANSWER = 1024 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,16384}")
_CODE = re.compile(r"[a-z_]{1,40}")
_SERIAL = re.compile(r"[0-9A-Fa-f:]{1,100}")


@dataclass(frozen=True)
class Application:
    """What ANAF gave the firm when it registered its application."""

    client_id: str
    secret: Secret
    redirect_uri: str


@dataclass(frozen=True)
class TokenPair:
    """One answer of the token endpoint."""

    access: Secret
    refresh: Secret
    serial: str  # of the holder's certificate; '' when the token does not say
    issued_at: datetime
    access_expires_at: datetime
    refresh_expires_at: datetime

    @property
    def due_at(self) -> datetime:
        """When two thirds of the access token's life are over; the last third is for repair."""
        return self.issued_at + (self.access_expires_at - self.issued_at) * 2 / 3

    def to_bytes(self) -> bytes:
        """Return the plaintext that is sealed; it goes nowhere else."""
        return json.dumps(
            {
                "access": self.access.reveal(),
                "refresh": self.refresh.reveal(),
                "serial": self.serial,
                "issued_at": to_text(self.issued_at),
                "access_expires_at": to_text(self.access_expires_at),
                "refresh_expires_at": to_text(self.refresh_expires_at),
            }
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> TokenPair:
        """Read what `to_bytes()` wrote."""
        try:
            value = json.loads(data)
            return cls(
                Secret(value["access"]),
                Secret(value["refresh"]),
                value["serial"],
                from_text(value["issued_at"]),
                from_text(value["access_expires_at"]),
                from_text(value["refresh_expires_at"]),
            )
        except (ValueError, KeyError, TypeError):
            raise SealBroken from None


class AuthorisationServer:
    """Calls to `…/anaf-oauth2/v1`; holds no state."""

    def __init__(self, base_url: str, http: httpx.AsyncClient) -> None:
        self._base = base_url.rstrip("/")
        self._http = http

    def authorise_url(self, application: Application, state: str) -> str:
        """Return where the browser with the certificate has to go."""
        query = {
            "response_type": "code",
            "client_id": application.client_id,
            "redirect_uri": application.redirect_uri,
            # Without it the token is opaque and the API refuses it.
            "token_content_type": "jwt",
            "state": state,
        }
        return f"{self._base}/authorize?{urlencode(query)}"

    async def exchange(self, application: Application, code: Secret, *, at: datetime) -> TokenPair:
        """Turn the browser's code into a pair; raises `TokenRefused` or `Unreachable`."""
        return await self._ask(
            application,
            {
                "grant_type": "authorization_code",
                "code": code.reveal(),
                "redirect_uri": application.redirect_uri,
                "token_content_type": "jwt",
            },
            at,
        )

    async def refresh(
        self, application: Application, pair: TokenPair, *, at: datetime
    ) -> TokenPair:
        """Return the next pair; after `TokenRefused` or `Unreachable` the old one still counts.

        An answer without a new refresh token keeps the old one with its last day.
        """
        fresh = await self._ask(
            application,
            {
                "grant_type": "refresh_token",
                "refresh_token": pair.refresh.reveal(),
                "token_content_type": "jwt",
            },
            at,
        )
        if not fresh.refresh:
            fresh = replace(fresh, refresh=pair.refresh, refresh_expires_at=pair.refresh_expires_at)
        return fresh

    async def _ask(self, application: Application, form: dict[str, str], at: datetime) -> TokenPair:
        try:
            async with self._http.stream(
                "POST",
                f"{self._base}/token",
                data=form,
                auth=(application.client_id, application.secret.reveal()),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=_TIMEOUT,
            ) as response:
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > _MAX_ANSWER:
                        raise _unreachable("răspuns prea lung", "answer too long")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            name = type(error).__name__
            raise _unreachable(name, name) from None
        return _read_answer(response.status_code, bytes(body), at)


def _read_answer(status: int, body: bytes, at: datetime) -> TokenPair:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise _unreachable(f"HTTP {status}, fără JSON", f"HTTP {status} without JSON")
    error = answer.get("error")
    if isinstance(error, str) and status < 500 and error not in _TRANSIENT:
        raise refusal(error)
    access, refresh = answer.get("access_token"), answer.get("refresh_token")
    if status != 200 or not _is_token(access) or not (refresh is None or _is_token(refresh)):
        raise _unreachable(f"HTTP {status}, fără token", f"HTTP {status} without a token")
    claims = _claims(access)
    serial = claims.get("serial")
    return TokenPair(
        access=Secret(access),
        refresh=Secret(refresh or ""),
        serial=_normal_serial(serial) if isinstance(serial, str) else "",
        issued_at=at,
        access_expires_at=_expiry(answer.get("expires_in"), claims, ACCESS_LIFE, at),
        refresh_expires_at=_expiry(None, _claims(refresh or ""), REFRESH_LIFE, at),
    )


def refusal(error: str) -> TokenRefused:
    """Return the error for an OAuth code; of its text nothing but a plain code is repeated."""
    code = error if _CODE.fullmatch(error) else "unknown"
    return TokenRefused(code, _SENTENCES.get(code) or _other(code))


# RFC 6749 §4.1.2.1; at the token endpoint they say nothing about the grant.
_TRANSIENT = ("server_error", "temporarily_unavailable")
_AGAIN = Sentence(
    "ANAF nu poate da autorizări acum; încearcă din nou peste câteva minute.",
    "ANAF cannot give authorisations just now; try again in a few minutes",
)
_CHECK_APPLICATION = Sentence(
    "ANAF nu a acceptat cererea așa cum este înregistrată aplicația; administratorul firmei "
    "verifică în portalul ANAF dacă este bifat E-Factura și dacă adresa de întoarcere este exact "
    "cea din pagina „Aplicația ANAF”.",
    "ANAF did not accept the request as the application is registered; the firm's administrator "
    "checks in ANAF's portal that E-Factura is ticked and that the callback address is exactly "
    "the one of the page “ANAF application”",
)
_SENTENCES = {
    "server_error": _AGAIN,
    "temporarily_unavailable": _AGAIN,
    "invalid_request": _CHECK_APPLICATION,
    "unauthorized_client": _CHECK_APPLICATION,
    "invalid_scope": _CHECK_APPLICATION,
    "redirect_uri_mismatch": _CHECK_APPLICATION,
    "invalid_grant": Sentence(
        "ANAF nu mai acceptă această autorizare: codul a expirat (are 60 de secunde) sau "
        "autorizarea a fost retrasă; leagă din nou SPV cu certificatul.",
        "ANAF does not accept this authorisation any more: the code expired (it has 60 seconds) "
        "or the authorisation was withdrawn; authorise SPV again with the certificate",
    ),
    "invalid_client": Sentence(
        "ANAF nu recunoaște aplicația firmei; administratorul verifică client_id și client_secret "
        "în pagina „Aplicația ANAF”.",
        "ANAF does not know the firm's application; the administrator checks client_id and "
        "client_secret on the page “ANAF application”",
    ),
    "access_denied": Sentence(
        "Autorizarea a fost refuzată în browser; alege certificatul înregistrat în SPV "
        "și încearcă din nou.",
        "the authorisation was refused in the browser; choose the certificate that is enrolled "
        "in SPV and try again",
    ),
    "no_code": Sentence(
        "ANAF nu a trimis codul de autorizare, de obicei fiindcă nu a fost ales un certificat; "
        "conectează tokenul, apoi încearcă din nou.",
        "ANAF sent no authorisation code, mostly because no certificate was chosen; "
        "connect the token, then try again",
    ),
}


def _other(code: str) -> Sentence:
    return Sentence(
        f"ANAF a refuzat cererea de autorizare ({code}); încearcă din nou, iar dacă se repetă "
        "administratorul firmei verifică în portalul ANAF aplicația și adresa de întoarcere.",
        f"ANAF refused the authorisation request ({code}); try again, and if it repeats the firm's "
        "administrator checks the application and its callback address in ANAF's portal",
    )


def _unreachable(ro: str, en: str) -> Unreachable:
    return Unreachable(
        Sentence(
            f"Serverul de autorizare ANAF nu a răspuns cum trebuie ({ro}); "
            "încearcă din nou peste câteva minute.",
            f"ANAF's authorisation server gave no usable answer ({en}); try again in a few minutes",
        )
    )


def _is_token(value: Any) -> TypeGuard[str]:
    # A token goes into a header: anything else there would end up in an exception's text.
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = json.loads(payload)
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _expiry(seconds: Any, claims: dict[str, Any], default: timedelta, at: datetime) -> datetime:
    for value, base in ((seconds, at), (claims.get("exp"), datetime.fromtimestamp(0, UTC))):
        try:
            if isinstance(value, int | str) and not isinstance(value, bool):
                return base + timedelta(seconds=max(0, int(value)))
        except (ValueError, OverflowError):
            continue
    return at + default


def _normal_serial(serial: str) -> str:
    return serial.replace(":", "").upper() if _SERIAL.fullmatch(serial) else ""

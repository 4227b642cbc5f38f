"""ANAF's OAuth as clients meet it: codes of a minute, JWTs of 90 days, rotation.

Tokens are checked by their own signature, not by a table, so they outlive the
process together with the key. What is remembered is only what was used up.
Source: the Ministry's OAuth procedure (Oauth_procedura_inregistrare_aplicatii).
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ACCESS = timedelta(minutes=129_600)  # 90 days
REFRESH = timedelta(minutes=525_600)  # 365 days
CODE = timedelta(seconds=60)


@dataclass(frozen=True)
class Grant:
    """A code that was given out and not used yet."""

    redirect_uri: str
    serial: str
    expires: datetime


class TokenRefused(Exception):
    """An OAuth error (RFC 6749 §5.2): its code and what it says to a person."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class Authority:
    """Gives out codes and tokens and recognises them."""

    def __init__(
        self,
        key: rsa.RSAPrivateKey,
        client_id: str,
        client_secret: str,
        serial: str,
        now: Callable[[], datetime],
        used: Callable[[str], None] = lambda jti: None,
    ) -> None:
        self._key = key
        self.client_id = client_id
        self.client_secret = client_secret
        self.serial = serial  # of the certificate that the next authorisation shows
        self._now = now
        self._report_used = used
        self._codes: dict[str, Grant] = {}
        self._used: set[str] = set()
        self.rotation = True  # a refresh token works once
        self.issued: list[str] = []  # every code and every token, for whoever looks for leaks

    def code(self, redirect_uri: str) -> str:
        """Return a code for the certificate at hand, good once within a minute."""
        code = secrets.token_hex(32)
        self._codes[code] = Grant(redirect_uri, self.serial, self._now() + CODE)
        self.issued.append(code)
        return code

    def exchange(self, form: Mapping[str, str], client: tuple[str, str]) -> dict[str, Any]:
        """Answer a request to the token endpoint, or raise `TokenRefused`."""
        if not (
            secrets.compare_digest(client[0].encode(), self.client_id.encode())
            and secrets.compare_digest(client[1].encode(), self.client_secret.encode())
        ):
            raise TokenRefused("invalid_client", "Client authentication failed")
        match form.get("grant_type"):
            case "authorization_code":
                serial = self._redeem(form)
            case "refresh_token":
                serial = self._refresh(form.get("refresh_token", ""))
            case None | "":
                raise TokenRefused("invalid_request", "The grant_type is missing")
            case _:
                raise TokenRefused("unsupported_grant_type", "The grant_type is not supported")
        return self.tokens(serial, jwt=form.get("token_content_type") == "jwt")

    def _redeem(self, form: Mapping[str, str]) -> str:
        grant = self._codes.pop(form.get("code", ""), None)
        if grant is None or self._now() > grant.expires:
            raise TokenRefused("invalid_grant", "The authorization code is invalid or expired")
        if grant.redirect_uri != form.get("redirect_uri"):
            raise TokenRefused("invalid_grant", "The redirect_uri does not match")
        return grant.serial

    def _refresh(self, token: str) -> str:
        claims = self._claims(token)
        if claims is None or claims.get("token_type") != "Refresh":
            raise TokenRefused("invalid_grant", "The refresh token is invalid")
        if claims["exp"] <= self._now().timestamp():
            raise TokenRefused("invalid_grant", "Refresh Token status is expired")
        if claims["jti"] in self._used:
            raise TokenRefused("invalid_grant", "The refresh token was used already")
        if self.rotation:
            self.forget(claims["jti"])
            self._report_used(claims["jti"])
        return str(claims["serial"])

    def forget(self, jti: str) -> None:
        """Never accept this token again."""
        self._used.add(jti)

    def tokens(self, serial: str, *, jwt: bool = True) -> dict[str, Any]:
        """Return a new pair; without `token_content_type=jwt` an access token the API refuses."""
        now = self._now()
        access = self._jwt(serial, now, ACCESS, "Bearer") if jwt else secrets.token_hex(32)
        refresh = self._jwt(serial, now, REFRESH, "Refresh")
        self.issued += [access, refresh]
        return {
            "access_token": access,
            "expires_in": int(ACCESS.total_seconds()),
            "token_type": "Bearer",
            "scope": "clientappid info issuer role serial",
            "refresh_token": refresh,
        }

    def serial_of(self, authorization: str) -> str | None:
        """Return the certificate behind an Authorization header, `None` when it is not good."""
        scheme, _, token = authorization.partition(" ")
        claims = self._claims(token.strip()) if scheme.lower() == "bearer" else None
        if claims is None or claims.get("token_type") != "Bearer":
            return None
        now = self._now().timestamp()
        if not claims["nbf"] <= now < claims["exp"] or claims["jti"] in self._used:
            return None
        return str(claims["serial"])

    def _jwt(self, serial: str, now: datetime, life: timedelta, kind: str) -> str:
        issued = int(now.timestamp())
        roles = "HELLO,EFACTURA,ETRANSPORT,SRV_EFACTURA"
        values = {
            "clientappid": self.client_id,
            "info": "HELLO",
            "issuer": "Anaf",
            "role": roles,
            "serial": serial,
        }
        claims = {
            "token_type": kind,
            "scope": "clientappid info issuer role serial",
            "scope_data": [{"id": name, "value": value} for name, value in values.items()],
            "iss": "https://logincert.anaf.ro",
            "clientappid": self.client_id,
            "efactura": "EFACTURA,SRV_EFACTURA",
            "etransport": "ETRANSPORT",
            "hello": "HELLO",
            "issuer": "Anaf",
            "role": roles,
            "serial": serial,
            "sub": serial.replace(":", ""),
            "jti": secrets.token_hex(16),
            "iat": issued,
            "exp": issued + int(life.total_seconds()),
            "nbf": issued - 300,
        }
        head = {"alg": "RS512", "kid": "anaf_2023_2024", "typ": "JWT"}
        # pretty-printed before encoding, as the real ones are
        signed = ".".join(_encode(json.dumps(part, indent=2).encode()) for part in (head, claims))
        value = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA512())
        return f"{signed}.{_encode(value)}"

    def _claims(self, token: str) -> dict[str, Any] | None:
        signed, _, value = token.rpartition(".")
        try:
            self._key.public_key().verify(
                _decode(value), signed.encode(), padding.PKCS1v15(), hashes.SHA512()
            )
            claims: dict[str, Any] = json.loads(_decode(signed.split(".")[1]))
        except (InvalidSignature, ValueError, IndexError, binascii.Error):
            return None
        return claims


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""enrol.sock: what the portal may ask of the vault. No answer holds a secret.

    PUT /application {client_id, client_secret, redirect_uri[, by]}            204
    GET /status                                 {application, grants: […], keys: […]}
    POST /authorisations {session, requested_by, holder, about[, grant]}
                                                             {authorise_url, state}
    POST /authorisations/code {session, state, code | error}
                                         {grant, serial, renewed, instead_of, about}
    PUT /cifs/{cif} {grant, confirmed_by}                                       204
    DELETE /cifs/{cif} [{by, grant}]                                            204
    POST /grants/{grant}/test                                       {ok, sentence}
    POST /grants/{grant}/revoke [{by}]                                  {sentence}
    POST /keys/rewrap          for root and our own user          {rewrapped, left}

`holder` is the name on the certificate as a person typed it, `about` comes back
as it went. `renewed` is false when the certificate is of no grant that is there.
`instead_of` is the grant that was to be renewed where the certificate is another
one, else empty: that grant stays as it was, and its CIFs are offered to `grant`.
DELETE takes the CIF from every grant, or from the one that is named. /keys/rewrap
does part of the work (rewrapping.py): asked again until `rewrapped` is 0.
A request that is not listed is refused and audited. A refusal is 4xx or 5xx
with `{"error": {"ro", "en"}}`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from appliance.core.sentence import Sentence
from appliance.vault.errors import NeedsAuthorisation, SealBroken, TokenRefused, Unreachable
from appliance.vault.gateway import Gateway
from appliance.vault.limits import TooManyCalls
from appliance.vault.parts import Parts
from appliance.vault.refusals import Refusals
from appliance.vault.rewrapping import rewrap
from appliance.vault.secret import Secret
from appliance.vault.wire import Answer, Refused, Request

_MAX_TEXT = 4096
_MAX_NAME = 120


class Enrol:
    """The handler of enrol.sock."""

    def __init__(
        self, parts: Parts, gateway: Gateway, refusals: Refusals, now: Callable[[], datetime]
    ) -> None:
        self._parts = parts
        self._gateway = gateway
        self._refusals = refusals
        self._now = now
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Awaitable[Answer]]]] = [
            ("PUT", re.compile(r"/application"), self._put_application),
            ("GET", re.compile(r"/status"), self._status),
            ("POST", re.compile(r"/authorisations"), self._begin),
            ("POST", re.compile(r"/authorisations/code"), self._finish),
            ("PUT", re.compile(r"/cifs/([A-Za-z0-9]{2,20})"), self._map),
            ("DELETE", re.compile(r"/cifs/([A-Za-z0-9]{2,20})"), self._unmap),
            ("POST", re.compile(r"/grants/([0-9a-f]{32})/test"), self._test),
            ("POST", re.compile(r"/grants/([0-9a-f]{32})/revoke"), self._revoke),
            ("POST", re.compile(r"/keys/rewrap"), self._rewrap),
        ]

    async def __call__(self, request: Request) -> Answer:
        matches = [
            (method, match, handler)
            for method, pattern, handler in self._routes
            if (match := pattern.fullmatch(request.path))
        ]
        for method, match, handler in matches:
            if method == request.method:
                if handler == self._rewrap and request.peer_uid not in (0, os.geteuid()):
                    raise Refused(
                        403,
                        Sentence(
                            "Cheile seifului le schimbă numai administratorul mașinii; rulează "
                            "„arhivar vault rewrap” ca root.",
                            "only the machine's administrator changes the vault's keys; "
                            "run `arhivar vault rewrap` as root",
                        ),
                    )
                try:
                    return await handler(request.json(), self._now(), *match.groups())
                except Unreachable as error:
                    return Answer.refusal(502, error.sentence)
        call = f"{request.method} {request.path}"
        self._refusals.note("unknown", request.peer_uid, call, at=self._now())
        raise Refused(
            405 if matches else 404,
            Sentence("Seiful nu cunoaște această cerere.", "the vault does not know this request"),
        )

    async def _put_application(self, body: dict[str, Any], at: datetime) -> Answer:
        secret = _text(body, "client_secret", required=False)
        self._parts.registration.set(
            _text(body, "client_id"),
            Secret(secret) if secret else None,
            _text(body, "redirect_uri"),
            by=_text(body, "by", required=False) or "portal",
            at=at,
        )
        return Answer(204)

    async def _status(self, body: dict[str, Any], at: datetime) -> Answer:
        return Answer.json(self._parts.grants.status())

    async def _begin(self, body: dict[str, Any], at: datetime) -> Answer:
        url, state = self._parts.authorising.begin(
            _text(body, "session"),
            requested_by=_text(body, "requested_by"),
            holder=_text(body, "holder", required=False, longest=_MAX_NAME),
            about=_text(body, "about", required=False, longest=_MAX_NAME),
            grant=_text(body, "grant", required=False) or None,
            at=at,
        )
        return Answer.json({"authorise_url": url, "state": state})

    async def _finish(self, body: dict[str, Any], at: datetime) -> Answer:
        code = _text(body, "code", required=False)
        authorised = await self._parts.authorising.finish(
            _text(body, "session"),
            _text(body, "state"),
            code=Secret(code) if code else None,
            error=_text(body, "error", required=False) or None,
            at=at,
        )
        return Answer.json(asdict(authorised))

    async def _map(self, body: dict[str, Any], at: datetime, cif: str) -> Answer:
        self._parts.mapping.map(
            cif, _text(body, "grant"), confirmed_by=_text(body, "confirmed_by"), at=at
        )
        return Answer(204)

    async def _unmap(self, body: dict[str, Any], at: datetime, cif: str) -> Answer:
        self._parts.mapping.unmap(
            cif,
            by=_text(body, "by", required=False) or "portal",
            grant=_text(body, "grant", required=False) or None,
            at=at,
        )
        return Answer(204)

    async def _test(self, body: dict[str, Any], at: datetime, grant: str) -> Answer:
        try:
            status = await self._gateway.hello(grant)
        except (NeedsAuthorisation, SealBroken, TokenRefused, TooManyCalls, Unreachable) as error:
            return _tested(False, error.sentence)
        if status == 200:
            return _tested(
                True, Sentence("Legătura cu ANAF funcționează.", "the connection to ANAF works")
            )
        if status in (401, 403):
            return _tested(
                False,
                Sentence(
                    "ANAF nu acceptă autorizarea pentru aplicația firmei; administratorul verifică "
                    "în portalul ANAF dacă este bifat E-Factura, apoi SPV se autorizează din nou.",
                    "ANAF does not accept the authorisation for the firm's application; the "
                    "administrator checks in ANAF's portal that E-Factura is ticked, then SPV is "
                    "authorised again",
                ),
            )
        return _tested(
            False,
            Sentence(
                f"ANAF a răspuns cu o eroare (HTTP {status}); încearcă din nou mai târziu.",
                f"ANAF answered with an error (HTTP {status}); try again later",
            ),
        )

    async def _revoke(self, body: dict[str, Any], at: datetime, grant: str) -> Answer:
        self._parts.grants.revoke(grant, by=_text(body, "by", required=False) or "portal", at=at)
        sentence = Sentence(
            "Autorizarea a fost ștearsă din Arhivar și nu mai poate fi folosită aici. La ANAF o "
            "retrage numai titularul certificatului, în portalul ANAF, cu „Renunțare Oauth”.",
            "the authorisation was erased from Arhivar and cannot be used here any more; at ANAF "
            "only the certificate's holder withdraws it, in ANAF's portal, with “Renunțare Oauth”",
        )
        return Answer.json({"sentence": sentence._asdict()})

    async def _rewrap(self, body: dict[str, Any], at: datetime) -> Answer:
        return Answer.json(asdict(await rewrap(self._parts.database, self._now)))


def _tested(ok: bool, sentence: Sentence) -> Answer:
    return Answer.json({"ok": ok, "sentence": sentence._asdict()})


def _text(
    body: dict[str, Any], name: str, *, required: bool = True, longest: int = _MAX_TEXT
) -> str:
    value = body.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or len(value) > longest or (required and not value):
        raise Refused(
            400,
            Sentence(
                f"Câmpul {name} lipsește sau nu este un text potrivit.",
                f"the field {name} is missing or no suitable text",
            ),
        )
    return value

"""Authorising: the way to ANAF's page and back, where a code becomes a grant with tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from appliance.core.errors import BadInput, Busy
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.vault.application import PRINTABLE, Registration
from appliance.vault.database import Database
from appliance.vault.errors import TokenRefused, Unreachable
from appliance.vault.grants import Grants
from appliance.vault.oauth import AuthorisationServer, TokenPair, refusal
from appliance.vault.secret import Secret
from appliance.vault.tokens import Tokens, times

STATE_LIFE = timedelta(minutes=10)
# Browsers that are away at once; a portal that was taken over could else fill the disk.
MAX_WAITING = 500
# Of one person in as many minutes as a state lives: who begins again and again could else use
# up the others' places, or send ANAF made-up codes in the firm's name without end.
OF_A_PERSON = 30
# States that do not fit, in the audit chain: a browser can bring any number of them.
BAD_A_MINUTE = 10


@dataclass(frozen=True)
class Authorised:
    """What came of an authorisation, and what the portal said it was about."""

    grant: str
    serial: str
    renewed: bool  # the certificate's grant was there already
    instead_of: str  # the grant that was to be renewed, when its certificate is another one
    about: str


class Authorising:
    """Authorisations under way, each bound to the session that began it."""

    def __init__(
        self,
        database: Database,
        server: AuthorisationServer,
        registration: Registration,
        grants: Grants,
        tokens: Tokens,
    ) -> None:
        self._db = database
        self._server = server
        self._registration = registration
        self._grants = grants
        self._tokens = tokens
        self._begun: dict[str, list[datetime]] = {}  # when, by the person who began
        self._bad: list[datetime] = []

    def begin(
        self,
        session: str,
        *,
        requested_by: str,
        holder: str = "",
        about: str = "",
        grant: str | None = None,
        at: datetime,
    ) -> tuple[str, str]:
        """Return the address for the browser and the `state` that must come back.

        The state belongs to this session (and to `grant`, when one is to be
        renewed), serves once and for ten minutes.
        Raises `Busy` when too many were begun and not finished, or by this person.
        """
        application = self._registration.registered()
        if grant is not None:
            self._grants.row(grant)
        begun = self._begun_lately(at)
        if len(begun.get(requested_by, ())) >= OF_A_PERSON:
            raise _too_many()
        state = secrets.token_urlsafe(32)
        with self._db.transaction() as connection:
            connection.execute("DELETE FROM authorisation WHERE expires_at < ?", (to_text(at),))
            (waiting,) = connection.execute("SELECT COUNT(*) FROM authorisation").fetchone()
            if waiting >= MAX_WAITING:
                raise _too_many()
            connection.execute(
                "INSERT INTO authorisation "
                "(state_hash, session_hash, grant_uid, requested_by, holder, about, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    _hash(state),
                    _hash(session),
                    grant,
                    requested_by,
                    _one_line(holder),
                    about,
                    to_text(at + STATE_LIFE),
                ),
            )
            self._db.append("authorisation:begin", requested_by, grant or "", {}, at=at)
        begun.setdefault(requested_by, []).append(at)
        return self._server.authorise_url(application, state), state

    def _begun_lately(self, at: datetime) -> dict[str, list[datetime]]:
        lately = {who: _within(STATE_LIFE, moments, at) for who, moments in self._begun.items()}
        self._begun = {who: moments for who, moments in lately.items() if moments}
        return self._begun

    async def finish(
        self, session: str, state: str, *, code: Secret | None, error: str | None, at: datetime
    ) -> Authorised:
        """Exchange what the browser brought back.

        The certificate of a grant that is there renews it, with its CIFs.
        Another one than that of the grant to be renewed makes a new grant,
        which is offered that grant's CIFs: it may be the same holder's next
        certificate or another person's, and only a person can tell. The state
        is spent by the first try of its own session, whatever comes of it.
        """
        asked = self._spend_state(session, state, at)
        try:
            pair = await self._exchange(code, error, at)
        except (TokenRefused, Unreachable) as refused:
            why = refused.code if isinstance(refused, TokenRefused) else "unreachable"
            with self._db.transaction():
                self._db.append(
                    "authorisation:refused",
                    asked["requested_by"],
                    asked["grant_uid"] or "",
                    {"code": why},
                    at=at,
                )
            raise
        with self._db.transaction() as connection:
            known = self._with_certificate(pair.serial, asked["grant_uid"])
            uid = known or uuid.uuid4().hex
            connection.execute(
                "INSERT INTO spv_grant (uid, serial, state, requested_by, created_at, issued_at, "
                "access_expires_at, refresh_expires_at) VALUES (?, ?, 'active', ?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (uid, pair.serial, asked["requested_by"], to_text(at), *times(pair)),
            )
            self._tokens.write(uid, pair, at=at)
            connection.execute(
                "UPDATE spv_grant SET holder = ? WHERE uid = ? AND (? <> '' OR holder = '')",
                (asked["holder"], uid, asked["holder"]),
            )
            connection.execute(
                "UPDATE cif_grant SET not_allowed_at = NULL WHERE grant_uid = ?", (uid,)
            )
            if uid != asked["grant_uid"]:
                connection.execute(
                    "INSERT OR IGNORE INTO offer (grant_uid, cif, first_seen_at) "
                    "SELECT ?, cif, ? FROM cif_grant WHERE grant_uid = ?",
                    (uid, to_text(at), asked["grant_uid"]),
                )
            self._db.append(
                "grant:authorise",
                asked["requested_by"],
                uid,
                {"renewed": known is not None, "asked": asked["grant_uid"] or ""},
                at=at,
            )
        self._tokens.forget(uid)
        other = asked["grant_uid"] if asked["grant_uid"] != uid else None
        return Authorised(uid, pair.serial, known is not None, other or "", asked["about"])

    async def _exchange(self, code: Secret | None, error: str | None, at: datetime) -> TokenPair:
        if error:
            raise refusal(error)
        if code is None or not code:
            raise refusal("no_code")
        if not PRINTABLE.fullmatch(code.reveal()):
            raise refusal("invalid_grant")
        pair = await self._server.exchange(self._registration.registered(), code, at=at)
        if not pair.refresh:
            raise Unreachable(
                Sentence(
                    "ANAF nu a trimis tokenul de reînnoire; leagă din nou SPV.",
                    "ANAF sent no refresh token; authorise SPV again",
                )
            )
        return pair

    def _with_certificate(self, serial: str, preferred: str | None) -> str | None:
        """Return the grant of this certificate, None when there is none that is not revoked."""
        row = self._db.durable.execute(
            "SELECT uid FROM spv_grant WHERE serial = ? AND serial <> '' AND state <> 'revoked' "
            "ORDER BY uid IS NOT ?, created_at LIMIT 1",
            (serial, preferred),
        ).fetchone()
        return row[0] if row else None

    def _spend_state(self, session: str, state: str, at: datetime) -> dict[str, Any]:
        hashed = _hash(state)
        with self._db.transaction() as connection:
            who, why = "portal", "unknown"
            for row in self._db.rows("SELECT * FROM authorisation WHERE state_hash = ?", hashed):
                if not hmac.compare_digest(row["session_hash"], _hash(session)):
                    why = "another-session"
                    continue
                connection.execute("DELETE FROM authorisation WHERE state_hash = ?", (hashed,))
                if to_text(at) < row["expires_at"]:
                    return row
                who, why = row["requested_by"], "expired"
            self._bad = _within(timedelta(minutes=1), self._bad, at)
            if len(self._bad) < BAD_A_MINUTE:
                self._bad.append(at)
                self._db.append("authorisation:bad-state", who, "", {"why": why}, at=at)
        raise BadInput(
            Sentence(
                "Cererea de autorizare a expirat (are 10 minute) sau a fost deja folosită; "
                "pornește din nou legarea SPV.",
                "the authorisation request expired (it has 10 minutes) or was used already; "
                "start linking SPV again",
            )
        )


def _within(time: timedelta, moments: list[datetime], at: datetime) -> list[datetime]:
    return [moment for moment in moments if at - time < moment <= at]


def _too_many() -> Busy:
    return Busy(
        Sentence(
            "Prea multe autorizări au fost începute; încearcă din nou peste zece minute.",
            "too many authorisations were begun; try again in ten minutes",
        )
    )


def _one_line(name: str) -> str:
    """Return a name as it may stand in a line of a page, a mail or a log."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

"""Grants: who authorised at ANAF, which CIFs a person gave them, and their tokens.

A token pair is renewed when two thirds of the access token's life are over, by
one caller for all (in this process and beside it), and is on disk before
anyone uses it. ANAF's refusal counts after a second try ten minutes later;
until the access token's last day the mailbox stays reachable all the same.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from appliance.core import cif as cifs
from appliance.core.errors import BadInput, Busy, NotFound
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.vault.database import Database, Journal
from appliance.vault.envelope import Purpose
from appliance.vault.errors import NeedsAuthorisation, SealBroken, TokenRefused, Unreachable
from appliance.vault.oauth import Application, AuthorisationServer, TokenPair, refusal
from appliance.vault.secret import Secret

log = logging.getLogger(__name__)

STATE_LIFE = timedelta(minutes=10)
SECOND_TRY = timedelta(minutes=10)
AFTER_TROUBLE = timedelta(minutes=1)
MAX_OFFERED = 5000

_CIF = re.compile(r"[0-9]{2,13}")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,4096}")
_CLIENT_ID = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Authorised:
    """What came of an authorisation, and what the portal said it was about."""

    grant: str
    serial: str
    renewed: bool  # the certificate's grant was there already
    about: str


@dataclass(frozen=True)
class Access:
    """A token that may be used now; `version` names the pair it comes from."""

    token: Secret
    version: int


class Grants:
    """Everything about grants in one process; `recover()` first, `settle()` before the end."""

    def __init__(
        self,
        database: Database,
        server: AuthorisationServer,
        directory: Path,
        now: Callable[[], datetime],
    ) -> None:
        self._db = database
        self._server = server
        self._directory = directory
        self._journal = Journal(directory)
        self._now = now
        self._flights: dict[str, asyncio.Task[Access]] = {}
        self._unsaved: dict[str, tuple[int, TokenPair]] = {}
        self._replaced: dict[str, datetime] = {}

    def recover(self, *, at: datetime) -> None:
        """Finish what a crash interrupted: apply kept pairs, shred what was revoked."""
        for subject, version, body in self._journal.unfinished():
            # ANAF gives a pair once; the seal tells whether every byte of it is there.
            try:
                self._db.unseal(subject, Purpose.TOKENS, version, body)
                self._journal.finish(subject)
            except SealBroken:
                self._journal.discard(subject)
        for subject, version, body in self._journal.read():
            if self._db.version(subject, Purpose.TOKENS) == version - 1:
                try:
                    pair = TokenPair.from_bytes(
                        self._db.unseal(subject, Purpose.TOKENS, version, body)
                    )
                except SealBroken:
                    log.error(
                        "the journal of grant %s does not open and is set aside", subject.hex()
                    )
                    self._journal.set_aside(subject)
                    continue
                self._store(subject.hex(), pair, at=at)
                log.info("grant %s: a renewed pair was taken from the journal", subject.hex())
            self._journal.drop(subject)
        for (uid,) in self._db.durable.execute("SELECT uid FROM spv_grant WHERE state = 'revoked'"):
            if bytes.fromhex(uid) in self._db.salted():
                self._db.shred(bytes.fromhex(uid))

    async def settle(self) -> None:
        """Wait for the renewals under way, so that none of ANAF's answers is lost."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    # -- the application registered at ANAF

    def set_application(
        self, client_id: str, secret: Secret | None, redirect_uri: str, *, by: str, at: datetime
    ) -> None:
        """Keep ANAF's credentials; without a secret the one that is there stays."""
        known = self.application()
        if not _CLIENT_ID.fullmatch(client_id):
            raise _bad(
                "Câmpul client_id nu are forma pe care o dă ANAF; copiază-l din portalul ANAF.",
                "client_id does not look like ANAF's; copy it from ANAF's portal",
            )
        if secret is None and (known is None or known.client_id != client_id):
            raise _bad(
                "Lipsește client_secret; copiază-l din portalul ANAF.",
                "client_secret is missing; copy it from ANAF's portal",
            )
        if secret is not None and not _PRINTABLE.fullmatch(secret.reveal()):
            raise _bad(
                "Câmpul client_secret conține caractere nepermise; copiază-l din nou din "
                "portalul ANAF.",
                "client_secret has characters that cannot be; copy it again from ANAF's portal",
            )
        if not _is_callback(redirect_uri):
            raise _bad(
                "Adresa de întoarcere trebuie să înceapă cu https:// și să fie exact cea "
                "înregistrată la ANAF.",
                "the callback address must begin with https:// and be exactly the one "
                "registered at ANAF",
            )
        with self._db.transaction() as connection:
            connection.execute(
                "REPLACE INTO application (id, client_id, redirect_uri, changed_at) "
                "VALUES (1, ?, ?, ?)",
                (client_id, redirect_uri, to_text(at)),
            )
            if secret is not None:
                self._db.put(
                    self._db.installation, Purpose.CLIENT_SECRET, secret.reveal().encode(), at=at
                )
            self._db.append("application:set", by, client_id, {}, at=at)

    def application(self) -> Application | None:
        row = self._db.durable.execute("SELECT client_id, redirect_uri FROM application").fetchone()
        record = self._db.get(self._db.installation, Purpose.CLIENT_SECRET)
        if row is None or record is None:
            return None
        return Application(row[0], Secret(record[0].decode()), row[1])

    # -- authorising

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
        """
        application = self._registered()
        if grant is not None:
            self._row(grant)
        state = secrets.token_urlsafe(32)
        with self._db.transaction() as connection:
            connection.execute("DELETE FROM authorisation WHERE expires_at < ?", (to_text(at),))
            connection.execute(
                "INSERT INTO authorisation "
                "(state_hash, session_hash, grant_uid, requested_by, holder, about, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    _hash(state),
                    _hash(session),
                    grant,
                    requested_by,
                    holder,
                    about,
                    to_text(at + STATE_LIFE),
                ),
            )
            self._db.append("authorisation:begin", requested_by, grant or "", {}, at=at)
        return self._server.authorise_url(application, state), state

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
        if error:
            raise refusal(error)
        if code is None or not code:
            raise refusal("no_code")
        if not _PRINTABLE.fullmatch(code.reveal()):
            raise refusal("invalid_grant")
        pair = await self._server.exchange(self._registered(), code, at=at)
        if not pair.refresh:
            raise Unreachable(
                Sentence(
                    "ANAF nu a trimis tokenul de reînnoire; leagă din nou SPV.",
                    "ANAF sent no refresh token; authorise SPV again",
                )
            )
        with self._db.transaction() as connection:
            known = self._with_certificate(pair.serial, asked["grant_uid"])
            uid = known or uuid.uuid4().hex
            connection.execute(
                "INSERT INTO spv_grant (uid, serial, state, requested_by, created_at, issued_at, "
                "access_expires_at, refresh_expires_at) VALUES (?, ?, 'active', ?, ?, ?, ?, ?) "
                "ON CONFLICT DO NOTHING",
                (uid, pair.serial, asked["requested_by"], to_text(at), *_times(pair)),
            )
            self._write_pair(uid, pair, at=at)
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
        self._unsaved.pop(uid, None)
        self._journal.drop(bytes.fromhex(uid))
        return Authorised(uid, pair.serial, known is not None, asked["about"])

    def _with_certificate(self, serial: str, preferred: str | None) -> str | None:
        """Return the grant of this certificate, None when there is none that is not revoked."""
        row = self._db.durable.execute(
            "SELECT uid FROM spv_grant WHERE serial = ? AND serial <> '' AND state <> 'revoked' "
            "ORDER BY uid IS NOT ?, created_at LIMIT 1",
            (serial, preferred),
        ).fetchone()
        return row[0] if row else None

    # -- CIFs

    def map_cif(self, cif: str, grant: str, *, confirmed_by: str, at: datetime) -> None:
        """Give a CIF to a grant, as a person confirmed; the last one confirmed is used first."""
        number = _number(cif)
        self._row(grant)
        with self._db.transaction() as connection:
            connection.execute(
                "REPLACE INTO cif_grant (cif, grant_uid, confirmed_by, confirmed_at) "
                "VALUES (?, ?, ?, ?)",
                (number, grant, confirmed_by, to_text(at)),
            )
            self._db.append("cif:map", confirmed_by, grant, {"cif": cifs.mask_cnp(number)}, at=at)

    def unmap_cif(self, cif: str, *, by: str, grant: str | None = None, at: datetime) -> None:
        """Take a CIF from this grant, or from every one; nothing happens when none has it."""
        number = _number(cif)
        with self._db.transaction() as connection:
            taken = connection.execute(
                "DELETE FROM cif_grant WHERE cif = ? AND (? IS NULL OR grant_uid = ?) "
                "RETURNING grant_uid",
                (number, grant, grant),
            ).fetchall()
            for (uid,) in taken:
                self._db.append("cif:unmap", by, uid, {"cif": cifs.mask_cnp(number)}, at=at)

    def not_allowed(self, cif: str, grant: str, *, by: str, at: datetime) -> bool:
        """ANAF said that this grant has no right on the CIF: it comes last from now on.

        Until it is confirmed or authorised again; of several such the one that
        was refused longest ago is tried first. Returns whether another grant is
        left that ANAF has not refused. Raises `NotFound` for a grant without the CIF.
        """
        number = _number(cif)
        with self._db.transaction() as connection:
            row = connection.execute(
                "SELECT not_allowed_at FROM cif_grant WHERE cif = ? AND grant_uid = ?",
                (number, grant),
            ).fetchone()
            if row is None:
                raise NotFound(
                    Sentence(
                        "CIF-ul nu este legat de această autorizare.",
                        "the CIF is not linked to this authorisation",
                    )
                )
            connection.execute(
                "UPDATE cif_grant SET not_allowed_at = ? WHERE cif = ? AND grant_uid = ?",
                (to_text(at), number, grant),
            )
            if row[0] is None:
                data = {"cif": cifs.mask_cnp(number)}
                self._db.append("cif:not-allowed", by, grant, data, at=at)
            (others,) = connection.execute(
                "SELECT COUNT(*) FROM cif_grant m JOIN spv_grant g ON g.uid = m.grant_uid "
                "WHERE m.cif = ? AND m.not_allowed_at IS NULL AND g.state <> 'revoked'",
                (number,),
            ).fetchone()
        return bool(others)

    def for_cif(self, cif: str) -> list[str]:
        """Return the grants that reach this CIF, the best one first."""
        return [
            uid
            for (uid,) in self._db.durable.execute(
                "SELECT g.uid FROM cif_grant m JOIN spv_grant g ON g.uid = m.grant_uid "
                "WHERE m.cif = ? AND g.state <> 'revoked' "
                "ORDER BY m.not_allowed_at IS NOT NULL, m.not_allowed_at, g.state <> 'active', "
                "m.confirmed_at DESC, g.uid",
                (cif,),
            )
        ]

    def offer(self, cif: str, seen: Iterable[str], serial: str, *, at: datetime) -> None:
        """Remember which CIFs a list answer named, for a person to confirm.

        They belong to the grant with that certificate, else to the one that
        serves `cif`. What is no number is passed over.
        """
        grants = self.for_cif(cif)
        if not grants:
            raise NotFound(Sentence("CIF-ul nu este legat de SPV.", "the CIF is not linked to SPV"))
        wanted = serial.replace(":", "").upper()
        for uid in grants:
            if wanted and self._row(uid)["serial"] == wanted:
                break
        else:
            uid = grants[0]
        known = {
            number
            for (number,) in self._db.durable.execute(
                "SELECT cif FROM offer WHERE grant_uid = ?", (uid,)
            )
        }
        fresh = sorted(
            number
            for number in {cifs.normalise(text) for text in seen} - known
            if _CIF.fullmatch(number)
        )[: max(0, MAX_OFFERED - len(known))]
        if fresh:
            with self._db.transaction() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO offer (grant_uid, cif, first_seen_at) VALUES (?, ?, ?)",
                    [(uid, number, to_text(at)) for number in fresh],
                )

    # -- tokens

    async def access(self, uid: str, *, at: datetime) -> Access:
        """Return a token for use now, renewed when it is due.

        A renewal that fails is no matter while the access token lives. Raises
        `NeedsAuthorisation` or `Unreachable` when there is nothing left to use.
        """
        row = self._row(uid)
        pair, version = self._pair(uid)
        current = Access(pair.access, version)
        lives = at < pair.access_expires_at
        if at < pair.due_at or (lives and not _may_refresh(row, at)):
            return current
        try:
            return await self._renew(row, version, at)
        except (TokenRefused, NeedsAuthorisation, Unreachable, Busy):
            if lives:
                return current
            raise

    async def replace(self, uid: str, refused: Access, *, at: datetime) -> Access | None:
        """ANAF answered 401: return another token, or None when that was tried just now.

        When the renewed token gets a 401 as well, the fault lies elsewhere (the
        application, ANAF), and nothing is renewed for ten minutes.
        """
        pair, version = self._pair(uid)
        if version != refused.version:
            return Access(pair.access, version)
        replaced_at = self._replaced.get(uid)
        recent = replaced_at is not None and replaced_at <= at < replaced_at + SECOND_TRY
        if recent and uid not in self._flights:
            return None
        self._replaced[uid] = at
        return await self._renew(self._row(uid), version, at)

    def used(self, uid: str, *, at: datetime) -> None:
        """Note the use, to the minute."""
        with self._db.counting() as connection:
            connection.execute(
                "UPDATE spv_grant SET last_used_at = ? "
                "WHERE uid = ? AND (last_used_at IS NULL OR last_used_at < ?)",
                (to_text(at), uid, to_text(at - timedelta(minutes=1))),
            )

    async def _renew(self, row: dict[str, Any], version: int, at: datetime) -> Access:
        if row["state"] != "active":
            raise _needs_authorisation()
        if not _may_refresh(row, at):
            raise _needs_authorisation() if row["refused_at"] else _no_token_now()
        uid = row["uid"]
        flight = self._flights.get(uid)
        if flight is None:
            flight = self._flights[uid] = asyncio.create_task(self._fly(uid, version))
            flight.add_done_callback(lambda done: self._landed(uid, done))
        # Whoever started it may go away; the answer must still be written down.
        return await asyncio.shield(flight)

    def _landed(self, uid: str, flight: asyncio.Task[Access]) -> None:
        self._flights.pop(uid, None)
        if not flight.cancelled():
            flight.exception()

    async def _fly(self, uid: str, version: int) -> Access:
        async with self._lock(uid):
            at = self._now()
            if uid in self._unsaved:
                kept_version, kept = self._unsaved[uid]
                self._keep(uid, kept, kept_version, at=at)
            pair, current = self._pair(uid)
            if current != version:
                return Access(pair.access, current)
            try:
                try:
                    fresh = await self._server.refresh(self._registered(), pair, at=at)
                except TokenRefused as error:
                    fresh = await self._refused(uid, pair, error, at)
            except Unreachable:
                self._wait(uid, at + AFTER_TROUBLE, at=at)
                raise
            self._keep(uid, fresh, version, at=at)
            pair, current = self._pair(uid)
            return Access(pair.access, current)

    async def _refused(
        self, uid: str, pair: TokenPair, error: TokenRefused, at: datetime
    ) -> TokenPair:
        if error.code != "invalid_grant":
            self._wait(uid, at + AFTER_TROUBLE, at=at)
            raise error
        if self._row(uid)["refused_at"] is None:
            self._wait(uid, at + SECOND_TRY, at=at, refused=True)
            raise error
        previous = self._db.get(bytes.fromhex(uid), Purpose.PREVIOUS_TOKENS)
        if previous is not None:
            older = TokenPair.from_bytes(previous[0])
            if older.refresh != pair.refresh:
                try:
                    return await self._server.refresh(self._registered(), older, at=at)
                except TokenRefused:
                    pass
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE spv_grant SET state = 'needs_authorisation' "
                "WHERE uid = ? AND state = 'active'",
                (uid,),
            )
            self._db.append("grant:needs-authorisation", "vault", uid, {}, at=at)
        log.warning("grant %s needs authorisation: ANAF refused its renewal twice", uid)
        raise _needs_authorisation()

    def _wait(self, uid: str, until: datetime, *, at: datetime, refused: bool = False) -> None:
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE spv_grant SET retry_after = ? WHERE uid = ?", (to_text(until), uid)
            )
            if refused:
                connection.execute(
                    "UPDATE spv_grant SET refused_at = ? WHERE uid = ?", (to_text(at), uid)
                )
                self._db.append("grant:refresh-refused", "vault", uid, {}, at=at)

    def _keep(self, uid: str, pair: TokenPair, version: int, *, at: datetime) -> None:
        subject = bytes.fromhex(uid)
        self._unsaved[uid] = (version, pair)
        # Else somebody authorised again or revoked meanwhile, and theirs counts.
        if self._db.version(subject, Purpose.TOKENS) == version:
            try:
                body = self._db.seal(subject, Purpose.TOKENS, version + 1, pair.to_bytes())
                self._journal.write(subject, version + 1, body)
            except OSError as error:
                log.error("grant %s: the journal cannot be written (%s)", uid, error.strerror)
            self._store(uid, pair, at=at)
        del self._unsaved[uid]
        self._journal.drop(subject)

    def _store(self, uid: str, pair: TokenPair, *, at: datetime) -> None:
        with self._db.transaction():
            self._write_pair(uid, pair, at=at)
            self._db.append("grant:refresh", "vault", uid, {}, at=at)

    def _write_pair(self, uid: str, pair: TokenPair, *, at: datetime) -> None:
        subject = bytes.fromhex(uid)
        try:
            old = self._db.get(subject, Purpose.TOKENS)
        except SealBroken:
            old = None  # a new authorisation is the remedy
        if old is not None:
            self._db.put(subject, Purpose.PREVIOUS_TOKENS, old[0], at=at)
        self._db.put(subject, Purpose.TOKENS, pair.to_bytes(), at=at)
        self._db.durable.execute(
            "UPDATE spv_grant SET serial = CASE WHEN ? = '' THEN serial ELSE ? END, "
            "state = 'active', issued_at = ?, access_expires_at = ?, refresh_expires_at = ?, "
            "refused_at = NULL, retry_after = NULL WHERE uid = ?",
            (pair.serial, pair.serial, *_times(pair), uid),
        )

    def _pair(self, uid: str) -> tuple[TokenPair, int]:
        record = self._db.get(bytes.fromhex(uid), Purpose.TOKENS)
        if record is None:
            raise _needs_authorisation()
        return TokenPair.from_bytes(record[0]), record[1]

    # -- looking and removing

    def status(self) -> dict[str, object]:
        """Return everything the portal shows; nothing secret."""
        application = self._db.durable.execute(
            "SELECT client_id, redirect_uri, changed_at FROM application"
        ).fetchone()
        mapped = self._cifs_by_grant()
        offered = _by_grant(
            self._db.durable.execute("SELECT grant_uid, cif FROM offer ORDER BY cif")
        )
        grants = []
        for row in self._rows("SELECT * FROM spv_grant ORDER BY created_at, uid"):
            uid = row["uid"]
            held = mapped.get(uid, [])
            grants.append(
                {
                    "grant": uid,
                    "serial": row["serial"],
                    "holder": row["holder"],
                    "state": row["state"],
                    "requested_by": row["requested_by"],
                    "created_at": row["created_at"],
                    "issued_at": row["issued_at"],
                    "access_expires_at": row["access_expires_at"],
                    "renew_at": _renew_at(row),
                    "refresh_expires_at": row["refresh_expires_at"],
                    "refused_at": row["refused_at"],
                    "last_used_at": row["last_used_at"],
                    "cifs": held,
                    "offered": [n for n in offered.get(uid, []) if n not in held],
                }
            )
        return {
            "application": application
            and dict(zip(("client_id", "redirect_uri", "changed_at"), application, strict=True)),
            "grants": grants,
            "keys": self._db.keys(),
        }

    def standing(self) -> dict[str, object]:
        """Return what warnings are made of: the grants that are not revoked, nothing secret."""
        mapped = self._cifs_by_grant()
        shown = ("holder", "state", "requested_by", "created_at", "issued_at", "refresh_expires_at")
        return {
            "application": self.application() is not None,
            "grants": [
                {
                    "grant": row["uid"],
                    **{name: row[name] for name in shown},
                    "cifs": mapped.get(row["uid"], []),
                }
                for row in self._rows(
                    "SELECT * FROM spv_grant WHERE state <> 'revoked' ORDER BY created_at, uid"
                )
            ],
        }

    def _cifs_by_grant(self) -> dict[str, list[str]]:
        return _by_grant(
            self._db.durable.execute("SELECT grant_uid, cif FROM cif_grant ORDER BY cif")
        )

    def revoke(self, uid: str, *, by: str, at: datetime) -> None:
        """Erase the grant here: unmapped, its records deleted, its salt shredded.

        A second call does nothing more. ANAF has no call that withdraws an
        authorisation without the certificate; the holder does that in the portal.
        """
        self._row(uid, revoked=True)
        subject = bytes.fromhex(uid)
        with self._db.transaction() as connection:
            changed = connection.execute(
                "UPDATE spv_grant SET state = 'revoked' WHERE uid = ? AND state <> 'revoked'",
                (uid,),
            ).rowcount
            connection.execute("DELETE FROM cif_grant WHERE grant_uid = ?", (uid,))
            connection.execute("DELETE FROM offer WHERE grant_uid = ?", (uid,))
            connection.execute("DELETE FROM record WHERE subject = ?", (subject,))
            if changed:
                self._db.append("grant:revoke", by, uid, {}, at=at)
        self._unsaved.pop(uid, None)
        self._journal.drop(subject)
        self._db.shred(subject)

    def refuse(self, reason: str, peer: str, data: dict[str, object], *, at: datetime) -> None:
        """Write a refused call of a neighbour into the audit chain."""
        with self._db.transaction():
            self._db.append(f"call:{reason}", peer, "", data, at=at)

    def _registered(self) -> Application:
        application = self.application()
        if application is None:
            raise _bad(
                "Aplicația nu este înregistrată; completează întâi client_id și client_secret "
                "de la ANAF.",
                "the application is not registered; enter ANAF's client_id and client_secret first",
            )
        return application

    def _spend_state(self, session: str, state: str, at: datetime) -> dict[str, Any]:
        with self._db.transaction() as connection:
            row = next(
                iter(self._rows("SELECT * FROM authorisation WHERE state_hash = ?", _hash(state))),
                None,
            )
            if row and hmac.compare_digest(row["session_hash"], _hash(session)):
                connection.execute(
                    "DELETE FROM authorisation WHERE state_hash = ?", (_hash(state),)
                )
                if to_text(at) < row["expires_at"]:
                    return row
            self._db.append("authorisation:bad-state", "web", "", {}, at=at)
        raise _bad(
            "Cererea de autorizare a expirat (are 10 minute) sau a fost deja folosită; "
            "pornește din nou legarea SPV.",
            "the authorisation request expired (it has 10 minutes) or was used already; "
            "start linking SPV again",
        )

    def _row(self, uid: str, *, revoked: bool = False) -> dict[str, Any]:
        for row in self._rows("SELECT * FROM spv_grant WHERE uid = ?", uid):
            if revoked or row["state"] != "revoked":
                return row
        raise NotFound(
            Sentence(
                "Această autorizare SPV nu există; reîncarcă pagina.",
                "there is no such SPV authorisation; reload the page",
            )
        )

    def _state(self, uid: str) -> str:
        return str(self._row(uid, revoked=True)["state"])

    def _rows(self, query: str, *values: object) -> Iterable[dict[str, Any]]:
        cursor = self._db.durable.execute(query, values)
        names = [column[0] for column in cursor.description]
        for values_read in cursor.fetchall():
            yield dict(zip(names, values_read, strict=True))

    @asynccontextmanager
    async def _lock(self, uid: str) -> AsyncIterator[None]:
        # A kernel lock: it ends with its holder, however that dies.
        path = self._directory / f"refresh-{uid}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def _may_refresh(row: dict[str, Any], at: datetime) -> bool:
    if row["state"] != "active":
        return False
    return row["retry_after"] is None or at >= from_text(row["retry_after"])


def _renew_at(row: dict[str, Any]) -> str | None:
    """Return when the pair is renewed by itself, None when only a person can."""
    if row["state"] != "active":
        return None
    issued, ends = from_text(row["issued_at"]), from_text(row["access_expires_at"])
    due = to_text(issued + (ends - issued) * 2 / 3)
    return max(due, row["retry_after"] or "")


def _times(pair: TokenPair) -> tuple[str, str, str]:
    return (
        to_text(pair.issued_at),
        to_text(pair.access_expires_at),
        to_text(pair.refresh_expires_at),
    )


def _by_grant(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for uid, number in rows:
        found.setdefault(uid, []).append(number)
    return found


def _number(cif: str) -> str:
    number = cifs.normalise(cif)
    if not _CIF.fullmatch(number):
        raise _bad(
            "CIF-ul trebuie să aibă între 2 și 13 cifre.", "a CIF has between 2 and 13 digits"
        )
    return number


def _is_callback(uri: str) -> bool:
    if not _PRINTABLE.fullmatch(uri) or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOCAL))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _bad(ro: str, en: str) -> BadInput:
    return BadInput(Sentence(ro, en))


def _needs_authorisation() -> NeedsAuthorisation:
    return NeedsAuthorisation(
        Sentence(
            "Autorizarea SPV nu mai este valabilă; titularul certificatului digital trebuie să o "
            "dea din nou.",
            "the SPV authorisation is not valid any more; the certificate's holder has to give it "
            "again",
        )
    )


def _no_token_now() -> Unreachable:
    return Unreachable(
        Sentence(
            "Tokenul SPV nu a putut fi reînnoit acum; încercăm din nou peste un minut.",
            "the SPV token could not be renewed now; we try again in a minute",
        )
    )

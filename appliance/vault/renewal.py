"""Renewal of tokens: in time, once for all callers, and never insisting.

A token pair is renewed when two thirds of the access token's life are over, by
one caller for all (in this process and beside it), and is on disk before
anyone uses it. What nobody calls for is renewed all the same: the vault looks
once an hour, one grant after the other. ANAF's refusal counts after a second try ten minutes later;
until the access token's last day the mailbox stays reachable all the same.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from appliance.core.errors import BadInput, Busy, NotFound
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.vault.application import Registration
from appliance.vault.database import Database
from appliance.vault.errors import NeedsAuthorisation, SealBroken, TokenRefused, Unreachable
from appliance.vault.grants import Grants, renew_at
from appliance.vault.oauth import Application, AuthorisationServer, TokenPair, refusal
from appliance.vault.secret import Secret
from appliance.vault.tokens import Tokens, needs_authorisation
from appliance.vault.wire import places

log = logging.getLogger(__name__)

SECOND_TRY = timedelta(minutes=10)
AFTER_TROUBLE = timedelta(minutes=1)
BETWEEN_LOOKS = timedelta(hours=1)
# Of 300 that were authorised on one day; there are 30 days for them.
A_LOOK = 50
_CLOCK = timedelta(hours=1)  # so far a clock may be set back; what lies further ahead is wrong
_OF_THE_APPLICATION = ("invalid_client", "unauthorized_client")
_random = random.SystemRandom()
_sleep = asyncio.sleep  # where a test moves the time


@dataclass(frozen=True)
class Access:
    """A token that may be used now; `version` names the pair it comes from."""

    token: Secret
    version: int


@dataclass(frozen=True)
class _Held:
    """ANAF refused the application: for ten minutes no grant is renewed with it."""

    at: datetime
    application: Application
    code: str

    def holds(self, application: Application, at: datetime) -> bool:
        return application == self.application and self.at <= at < self.at + SECOND_TRY


class Renewal:
    """Tokens for use; `settle()` before the end."""

    def __init__(
        self,
        database: Database,
        server: AuthorisationServer,
        registration: Registration,
        grants: Grants,
        tokens: Tokens,
        directory: Path,
        now: Callable[[], datetime],
    ) -> None:
        self._db = database
        self._server = server
        self._registration = registration
        self._grants = grants
        self._tokens = tokens
        self._directory = directory
        self._now = now
        self._flights: dict[str, asyncio.Task[Access]] = {}
        self._held: _Held | None = None
        self._replaced: dict[str, datetime] = {}

    async def settle(self) -> None:
        """Wait for the renewals under way, so that none of ANAF's answers is lost."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        self._keep_unsaved()

    async def keep_renewed(self) -> None:
        """Look for ever; a look that fails is logged, and the next one comes."""
        while True:
            until = self._now() + BETWEEN_LOOKS * 0.9
            try:
                until = await self.look()
            except Exception as error:  # the edge: its text might hold what nobody may read
                log.error("%s while renewing\n%s", type(error).__name__, places(error))
            # A clock that was set back meanwhile must not make it longer.
            wait = min(until - self._now(), BETWEEN_LOOKS * 0.99).total_seconds()
            # Not at the same second as every other installation.
            await _sleep(max(1.0, wait) + _random.uniform(0, 30))

    async def look(self) -> datetime:
        """Renew what is due and may be renewed now; return when to look again.

        At the latest in an hour, sooner for the second try of what ANAF refused.
        Trouble that is not the grant's own ends the look, so nobody insists.
        """
        self._keep_unsaved()
        asked = 0
        for uid in self._due(self._now()):
            if asked == A_LOOK:
                break
            try:
                _, version = self._tokens.pair(uid)
                asked += 1  # what does not open takes nobody's place
                await self._renew(self._grants.row(uid), version, self._now())
            except TokenRefused as error:
                if error.code != "invalid_grant":
                    break  # the application is refused, so every grant will be
            except (Unreachable, Busy, BadInput):
                break
            except (NeedsAuthorisation, SealBroken, NotFound):
                continue
        at = self._now()
        usual = at + BETWEEN_LOOKS * _random.uniform(0.75, 0.99)
        # What is put off once more waits for the hour, or an outage would be asked every minute.
        second_tries = [
            from_text(row["refused_at"]) + SECOND_TRY
            for row in self._active()
            if row["refused_at"] is not None
        ]
        return min([usual, *(moment for moment in second_tries if moment > at)])

    def _due(self, at: datetime) -> list[str]:
        """Return the grants to renew: first those whose last try was no failure."""
        rows = [
            row
            for row in self._active()
            if (renew_at(row) or "") <= to_text(at) or _dated_ahead(row, at)
        ]
        rows.sort(key=lambda row: (row["retry_after"] is not None, row["access_expires_at"]))
        return [row["uid"] for row in rows]

    def _active(self) -> list[dict[str, Any]]:
        return self._db.rows("SELECT * FROM spv_grant WHERE state = 'active'")

    def _keep_unsaved(self) -> None:
        for uid in self._tokens.unsaved():
            try:
                self._tokens.keep_unsaved(uid, at=self._now())
            except Busy as error:
                log.error("grant %s: its renewed pair is not on disk yet (%s)", uid, error)

    async def access(self, uid: str, *, at: datetime) -> Access:
        """Return a token for use now, renewed when it is due.

        A renewal that fails is no matter while the access token lives. When there is
        nothing left to use: `NeedsAuthorisation` when only a person helps, `TokenRefused`
        or `BadInput` before ANAF's second refusal or when the application is at fault,
        else `Unreachable`.
        """
        row = self._grants.row(uid)
        pair, version = self._tokens.pair(uid)
        current = Access(pair.access, version)
        lives = at < pair.access_expires_at
        if at < pair.due_at or (lives and not _may_refresh(row, at)):
            return current
        try:
            return await self._renew(row, version, at)
        except (TokenRefused, NeedsAuthorisation, Unreachable, Busy, SealBroken, BadInput):
            if lives:
                return current
            raise

    async def replace(self, uid: str, refused: Access, *, at: datetime) -> Access | None:
        """ANAF answered 401: return another token, or None when that was tried just now.

        When the renewed token gets a 401 as well, the fault lies elsewhere (the
        application, ANAF), and nothing is renewed for ten minutes.
        """
        pair, version = self._tokens.pair(uid)
        if version != refused.version:
            return Access(pair.access, version)
        replaced_at = self._replaced.get(uid)
        recent = replaced_at is not None and replaced_at <= at < replaced_at + SECOND_TRY
        if recent and uid not in self._flights:
            return None
        self._replaced[uid] = at
        return await self._renew(self._grants.row(uid), version, at)

    async def _renew(self, row: dict[str, Any], version: int, at: datetime) -> Access:
        _require_may_refresh(row, at)
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
            self._tokens.keep_unsaved(uid, at=at)
            pair, current = self._tokens.pair(uid)
            if current != version:
                return Access(pair.access, current)
            # Another process may have been refused while we waited for the lock.
            _require_may_refresh(self._grants.row(uid), at)
            try:
                fresh = await self._ask(uid, pair, at)
            except (TokenRefused, Unreachable) as error:
                pair, current = self._tokens.pair(uid)
                if current != version:  # somebody authorised again meanwhile
                    return Access(pair.access, current)
                self._note(uid, error, at)
                raise
            self._tokens.keep(uid, fresh, version, at=at)
            pair, current = self._tokens.pair(uid)
            return Access(pair.access, current)

    async def _ask(self, uid: str, pair: TokenPair, at: datetime) -> TokenPair:
        """Return the next pair; at the second try the pair before counts as well."""
        application = self._registration.registered()
        if self._held is not None and self._held.holds(application, at):
            raise refusal(self._held.code)
        try:
            return await self._server.refresh(application, pair, at=at)
        except TokenRefused as error:
            if error.code in _OF_THE_APPLICATION:
                self._held = _Held(at, application, error.code)
            older = self._tokens.previous(uid)
            if (
                error.code != "invalid_grant"
                or self._grants.row(uid)["refused_at"] is None
                or older is None
                or older.refresh == pair.refresh
            ):
                raise
            try:
                return await self._server.refresh(application, older, at=at)
            except TokenRefused:
                raise error from None

    def _note(self, uid: str, error: TokenRefused | Unreachable, at: datetime) -> None:
        """Write down what follows from ANAF's answer; raises instead of `error` what is truer."""
        if not isinstance(error, TokenRefused):
            self._wait(uid, at + AFTER_TROUBLE, at=at)
            return
        if error.code in _OF_THE_APPLICATION:
            return  # `_held`: it says nothing of the grant
        if error.code != "invalid_grant":
            self._wait(uid, at + AFTER_TROUBLE, at=at)
            return
        if self._grants.row(uid)["refused_at"] is None:
            self._wait(uid, at + SECOND_TRY, at=at, refused=True)
            raise _refused_once()
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE spv_grant SET state = 'needs_authorisation' "
                "WHERE uid = ? AND state = 'active'",
                (uid,),
            )
            self._db.append("grant:needs-authorisation", "vault", uid, {}, at=at)
        log.warning("grant %s needs authorisation: ANAF refused its renewal twice", uid)
        raise needs_authorisation()

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
    if row["retry_after"] is None:
        return True
    again = from_text(row["retry_after"])
    return at >= again or again > at + SECOND_TRY + _CLOCK


def _dated_ahead(row: dict[str, Any], at: datetime) -> bool:
    """Tell whether a wrong clock wrote this row: it would be renewed years too late."""
    return from_text(row["issued_at"]) > at + _CLOCK or (
        row["retry_after"] is not None and from_text(row["retry_after"]) > at + SECOND_TRY + _CLOCK
    )


def _require_may_refresh(row: dict[str, Any], at: datetime) -> None:
    if row["state"] != "active":
        raise needs_authorisation()
    if not _may_refresh(row, at):
        raise _refused_once() if row["refused_at"] else _no_token_now()


def _refused_once() -> TokenRefused:
    return TokenRefused(
        "invalid_grant",
        Sentence(
            "ANAF a refuzat reînnoirea autorizării SPV. După zece minute încercăm singuri a doua "
            "oară; dacă și atunci este refuzată, titularul certificatului o dă din nou.",
            "ANAF refused to renew the SPV authorisation; after ten minutes it is tried a second "
            "time without you, and if it is refused then as well the certificate's holder has to "
            "give it again",
        ),
    )


def _no_token_now() -> Unreachable:
    return Unreachable(
        Sentence(
            "Tokenul SPV nu a putut fi reînnoit acum; încercăm din nou peste un minut.",
            "the SPV token could not be renewed now; we try again in a minute",
        )
    )

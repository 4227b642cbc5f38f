"""Token pairs at rest: sealed, each new one durable before anyone uses it.

The pair before stays sealed beside it, as a fallback. A pair that the database
could not take waits in the journal, and in memory until the next call.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.vault.database import Database
from appliance.vault.envelope import Purpose
from appliance.vault.errors import NeedsAuthorisation, SealBroken
from appliance.vault.journal import Journal
from appliance.vault.oauth import TokenPair

log = logging.getLogger(__name__)


class Tokens:
    """The pairs of all grants; `recover()` first."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._db = database
        self._journal = Journal(directory)
        self._unsaved: dict[str, tuple[int, TokenPair]] = {}

    def recover(self, *, at: datetime) -> None:
        """Apply the pairs that a crash left in the journal."""
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

    def pair(self, uid: str) -> tuple[TokenPair, int]:
        """Return the current pair and its version; raises `NeedsAuthorisation` for none."""
        record = self._db.get(bytes.fromhex(uid), Purpose.TOKENS)
        if record is None:
            raise needs_authorisation()
        return TokenPair.from_bytes(record[0]), record[1]

    def previous(self, uid: str) -> TokenPair | None:
        """Return the pair before the current one, when there was one and it opens."""
        try:
            record = self._db.get(bytes.fromhex(uid), Purpose.PREVIOUS_TOKENS)
            return TokenPair.from_bytes(record[0]) if record else None
        except SealBroken:
            return None

    def keep(self, uid: str, pair: TokenPair, version: int, *, at: datetime) -> None:
        """Make the pair that follows `version` durable; raises `Busy` when it cannot be yet."""
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
            self.write(uid, pair, at=at)
            self._db.append("grant:refresh", "vault", uid, {}, at=at)

    def write(self, uid: str, pair: TokenPair, *, at: datetime) -> None:
        """Seal the pair inside `transaction()`; the grant is active with it."""
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
            (pair.serial, pair.serial, *times(pair), uid),
        )

    def keep_unsaved(self, uid: str, *, at: datetime) -> None:
        """Write down the pair that the database could not take before, when there is one."""
        if uid in self._unsaved:
            version, pair = self._unsaved[uid]
            self.keep(uid, pair, version, at=at)

    def unsaved(self) -> list[str]:
        """Return the grants with such a pair."""
        return list(self._unsaved)

    def forget(self, uid: str) -> None:
        """Drop the pairs that wait to be written: newer ones are there, or none may be."""
        self._unsaved.pop(uid, None)
        self._journal.drop(bytes.fromhex(uid))


def times(pair: TokenPair) -> tuple[str, str, str]:
    return (
        to_text(pair.issued_at),
        to_text(pair.access_expires_at),
        to_text(pair.refresh_expires_at),
    )


def needs_authorisation() -> NeedsAuthorisation:
    return NeedsAuthorisation(
        Sentence(
            "Autorizarea SPV nu mai este valabilă; titularul certificatului digital trebuie să o "
            "dea din nou.",
            "the SPV authorisation is not valid any more; the certificate's holder has to give it "
            "again",
        )
    )

"""Grants: who authorised at ANAF, with which certificate, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from appliance.core.errors import NotFound
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.vault.application import Registration
from appliance.vault.database import Database
from appliance.vault.tokens import Tokens


class Grants:
    """The grants as rows; `recover()` first."""

    def __init__(self, database: Database, registration: Registration, tokens: Tokens) -> None:
        self._db = database
        self._registration = registration
        self._tokens = tokens

    def recover(self) -> None:
        """Finish the revocations that a crash interrupted."""
        for (uid,) in self._db.durable.execute("SELECT uid FROM spv_grant WHERE state = 'revoked'"):
            if bytes.fromhex(uid) in self._db.salted():
                self._db.shred(bytes.fromhex(uid))

    def row(self, uid: str, *, revoked: bool = False) -> dict[str, Any]:
        """Return the row of a grant; raises `NotFound` for none, or for a revoked one."""
        for row in self._db.rows("SELECT * FROM spv_grant WHERE uid = ?", uid):
            if revoked or row["state"] != "revoked":
                return row
        raise NotFound(
            Sentence(
                "Această autorizare SPV nu există; reîncarcă pagina.",
                "there is no such SPV authorisation; reload the page",
            )
        )

    def state(self, uid: str) -> str:
        return str(self.row(uid, revoked=True)["state"])

    def used(self, uid: str, *, at: datetime) -> None:
        """Note the use, to the minute."""
        with self._db.counting() as connection:
            connection.execute(
                "UPDATE spv_grant SET last_used_at = ? "
                "WHERE uid = ? AND (last_used_at IS NULL OR last_used_at < ?)",
                (to_text(at), uid, to_text(at - timedelta(minutes=1))),
            )

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
        for row in self._shown():
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
                    "renew_at": renew_at(row),
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
        shown = ("holder", "state", "requested_by", "created_at", "issued_at", "access_expires_at",
                 "refresh_expires_at")  # fmt: skip
        return {
            "application": self._registration.get() is not None,
            "grants": [
                {
                    "grant": row["uid"],
                    **{name: row[name] for name in shown},
                    "cifs": mapped.get(row["uid"], []),
                }
                for row in self._shown()
                if row["state"] != "revoked"
            ],
        }

    def _shown(self) -> list[dict[str, Any]]:
        """Return every row; where the salt is gone the pair does not open, whatever it says.

        So it is after an old backup was put back: the grant was revoked since.
        """
        salted = self._db.salted()
        rows = self._db.rows("SELECT * FROM spv_grant ORDER BY created_at, uid")
        for row in rows:
            if row["state"] == "active" and bytes.fromhex(row["uid"]) not in salted:
                row["state"] = "needs_authorisation"
        return rows

    def _cifs_by_grant(self) -> dict[str, list[str]]:
        return _by_grant(
            self._db.durable.execute("SELECT grant_uid, cif FROM cif_grant ORDER BY cif")
        )

    def revoke(self, uid: str, *, by: str, at: datetime) -> None:
        """Erase the grant here: unmapped, its records deleted, its salt shredded.

        A second call does nothing more. ANAF has no call that withdraws an
        authorisation without the certificate; the holder does that in the portal.
        """
        self.row(uid, revoked=True)
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
        self._tokens.forget(uid)
        self._db.shred(subject)
        self._db.empty_log()


def renew_at(row: dict[str, Any]) -> str | None:
    """Return when the pair is renewed by itself, None when only a person can.

    Past two thirds of the access token's life: the last third is for repair.
    After a refusal of ANAF's it is the second try.
    """
    if row["state"] != "active":
        return None
    if row["refused_at"] is not None:
        return str(row["retry_after"])
    issued, ends = from_text(row["issued_at"]), from_text(row["access_expires_at"])
    return max(to_text(issued + (ends - issued) * 2 / 3), row["retry_after"] or "")


def _by_grant(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for uid, number in rows:
        found.setdefault(uid, []).append(number)
    return found

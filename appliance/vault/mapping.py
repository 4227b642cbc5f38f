"""Which grants reach which CIF: offered by ANAF's lists, given by a person's confirmation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from appliance.core import cif as cifs
from appliance.core.errors import BadInput, NotFound
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.vault.database import Database
from appliance.vault.grants import Grants

MAX_OFFERED = 5000

_CIF = re.compile(r"[0-9]{2,13}")


class Mapping:
    """The CIFs of grants; a CIF may have several, and a grant any number of them."""

    def __init__(self, database: Database, grants: Grants) -> None:
        self._db = database
        self._grants = grants

    def map(self, cif: str, grant: str, *, confirmed_by: str, at: datetime) -> None:
        """Give a CIF to a grant, as a person confirmed; the last one confirmed is used first."""
        number = _number(cif)
        self._grants.row(grant)
        with self._db.transaction() as connection:
            connection.execute(
                "REPLACE INTO cif_grant (cif, grant_uid, confirmed_by, confirmed_at) "
                "VALUES (?, ?, ?, ?)",
                (number, grant, confirmed_by, to_text(at)),
            )
            self._db.append("cif:map", confirmed_by, grant, {"cif": cifs.mask_cnp(number)}, at=at)

    def unmap(self, cif: str, *, by: str, grant: str | None = None, at: datetime) -> None:
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
            if wanted and self._grants.row(uid)["serial"] == wanted:
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


def _number(cif: str) -> str:
    number = cifs.normalise(cif)
    if not _CIF.fullmatch(number):
        raise BadInput(
            Sentence(
                "CIF-ul trebuie să aibă între 2 și 13 cifre.", "a CIF has between 2 and 13 digits"
            )
        )
    return number

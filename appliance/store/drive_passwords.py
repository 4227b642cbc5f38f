"""The passwords of drives: one for each device of a person.

They are 160 random bits, so a keyed hash is enough and is checked at every
request of a drive.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import accounts, audit, tables
from appliance.store.engine import ENGINE, Row, execute, fetch, fetch_now, joined

LASTS = timedelta(days=400)
MOST = 20

_SHAPE = re.compile(r"arh1_([a-z2-7]{8})_([a-z2-7]{32})", re.ASCII)


@dataclass(frozen=True)
class DrivePassword:
    """One device's password, without its secret."""

    id: int
    public_id: str
    account_id: int
    device: str
    read_only: bool
    created_at: datetime
    expires_at: datetime
    last_used_on: str | None


async def create(
    account_id: int,
    device: str,
    at: datetime,
    *,
    read_only: bool = False,
    expires: datetime | None = None,
) -> str:
    """Return a new password for one device, `arh1_<8>_<32>`; it can never be shown again.

    At most 20 a person: `BadInput` beyond. It works for 400 days.
    """
    public_id = base64.b32encode(secrets.token_bytes(5)).decode().lower()
    secret = base64.b32encode(secrets.token_bytes(20)).decode().lower()
    device = " ".join(device.split())[:80] or "?"
    async with joined():
        account = await accounts.by_id(account_id)
        if account is None or account.disabled:
            raise accounts.no_account()
        if len(await listed(account_id, at)) >= MOST:
            raise BadInput(
                Sentence(
                    f"Ai deja {MOST} parole de disc. Revocă una nefolosită.",
                    f"there are already {MOST} drive passwords; revoke one",
                )
            )
        await tables.DrivePassword.insert(
            tables.DrivePassword(
                public_id=public_id,
                secret_hash=_hash(secret),
                account=account_id,
                device=device,
                read_only=int(read_only),
                created_at=to_text(at),
                expires_at=to_text(expires or at + LASTS),
            )
        )
        await audit.append(
            "drive-password:create", account.uid, "", account.uid, {"id": public_id}, at=at
        )
    return f"arh1_{public_id}_{secret}"


async def listed(account_id: int, at: datetime) -> list[DrivePassword]:
    """Return the devices that can log in, the newest first."""
    rows = await fetch(
        f"{_ROW} WHERE account = ? AND revoked_at IS NULL AND expires_at > ? ORDER BY id DESC",
        [account_id, to_text(at)],
    )
    return [_read(row) for row in rows]


async def revoke(account_id: int, public_id: str, at: datetime) -> None:
    """Shut the device out; `NotFound` for one that is not this person's. Again does nothing."""
    async with joined():
        mine = await fetch(
            "SELECT id FROM drive_password WHERE account = ? AND public_id = ?",
            [account_id, public_id],
        )
        if not mine:
            raise NotFound(
                Sentence(
                    "Parola de disc nu există. Reîncarcă pagina.",
                    "there is no such drive password; reload the page",
                )
            )
        changed = await execute(
            "UPDATE drive_password SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL "
            "RETURNING id",
            [to_text(at), mine[0]["id"]],
        )
        if changed:
            uid = await accounts.uid_of(account_id)
            await audit.append("drive-password:revoke", uid, "", uid, {"id": public_id}, at=at)


def viewer_for(email: str, password: str, at: datetime) -> tuple[Viewer, DrivePassword] | None:
    """Return who is asking and with which device, or None; writes nothing.

    None for everything that is wrong: address, password, expired, revoked,
    disabled. Asked at every request, so a revocation works at the next one.
    """
    parts = _SHAPE.fullmatch(password.strip().lower())
    public_id, secret = parts.groups() if parts else ("", password)
    rows = fetch_now(
        f"{_ROW} WHERE public_id = ? AND revoked_at IS NULL AND expires_at > ?",
        [public_id, to_text(at)],
    )
    # One hash and one comparison, whether the row exists or not.
    stored = rows[0]["secret_hash"] if rows else "0" * 64
    right = hmac.compare_digest(_hash(secret), stored)
    if not rows or not right:
        return None
    device = _read(rows[0])
    person = accounts.viewer_now(device.account_id)
    if person is None or accounts.email_key(email) != accounts.email_key(person.email):
        return None
    return person, device


async def note_use(password_id: int, day: str) -> None:
    """Remember that the device came on this day (yyyy-mm-dd); a later one stays."""
    async with joined():
        await execute(
            "UPDATE drive_password SET last_used_on = ? "
            "WHERE id = ? AND (last_used_on IS NULL OR last_used_on < ?)",
            [day, password_id, day],
        )


_ROW = (
    "SELECT id, public_id, secret_hash, account, device, read_only, created_at, expires_at, "
    "last_used_on FROM drive_password"
)


def _read(row: Row) -> DrivePassword:
    return DrivePassword(
        id=row["id"],
        public_id=row["public_id"],
        account_id=row["account"],
        device=row["device"],
        read_only=bool(row["read_only"]),
        created_at=from_text(row["created_at"]),
        expires_at=from_text(row["expires_at"]),
        last_used_on=row["last_used_on"],
    )


def _hash(secret: str) -> str:
    text = b"drive" + secret.encode("utf-8", "surrogatepass")
    return hmac.new(ENGINE.portal_key(), text, hashlib.sha256).hexdigest()

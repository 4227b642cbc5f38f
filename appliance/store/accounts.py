"""People: their accounts, their links and the passwords of their drives.

Passwords of accounts are hashed by the portal; here they are text that is
stored. Drive passwords are 160 random bits, so a keyed hash is enough and is
checked at every request of a drive.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import Kind, Membership, Role, Scope, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import audit, tables
from appliance.store.engine import ENGINE, Row, execute, fetch, fetch_now, joined
from appliance.store.ids import new_uid

DRIVE_PASSWORD_LASTS = timedelta(days=400)
MOST_DRIVE_PASSWORDS = 20
SYSTEM = "system"  # the actor of what no person did

_DRIVE_PASSWORD = re.compile(r"arh1_([a-z2-7]{8})_([a-z2-7]{32})", re.ASCII)
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Account:
    """A person who can log in, or could once the activation link is used."""

    id: int
    uid: str
    email: str
    name: str
    language: str
    password_hash: str | None
    firm_role: Role | None
    auth_epoch: int
    disabled: bool
    created_at: datetime


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


def email_key(email: str) -> str:
    """Return the one spelling that log-in, throttling and uniqueness compare."""
    return email.strip().casefold()


async def create_account(
    email: str,
    name: str,
    at: datetime,
    *,
    language: str = "ro",
    firm_role: Role | None = None,
    password_hash: str | None = None,
    by: Viewer | None = None,
) -> int:
    """Add a person and return the account's id.

    Without a password hash nobody can log in yet: send a link of
    `issue_link()`. Raises `BadInput` for what is no address, for an address
    that already has an account, and for a role that is not one of a firm.
    """
    email, name = email.strip(), " ".join(name.split())
    if not _EMAIL.fullmatch(email) or len(email) > 254:
        raise BadInput(
            Sentence(
                f"„{email[:80]}” nu este o adresă de e-mail. Verifică adresa.",
                f"{email[:80]!r} is no e-mail address; check it",
            )
        )
    if not name:
        raise BadInput(
            Sentence("Lipsește numele persoanei. Scrie-l.", "the person's name is missing; give it")
        )
    if firm_role not in (None, Role.ADMIN, Role.ACCOUNTANT):
        raise BadInput(
            Sentence(
                f"Rolul „{firm_role}” se dă la un client, nu la firmă. Alege admin sau accountant.",
                f"the role {firm_role} belongs to a client; choose admin or accountant",
            )
        )
    uid = new_uid(at)
    async with joined():
        if await by_email(email) is not None:
            raise BadInput(
                Sentence(
                    f"Există deja un cont cu adresa {email}. Folosește contul existent.",
                    f"there is already an account with the address {email}; use that one",
                )
            )
        made = await tables.Account.insert(
            tables.Account(
                uid=uid,
                email=email,
                email_key=email_key(email),
                name=name,
                language="en" if language == "en" else "ro",
                password_hash=password_hash,
                firm_role=firm_role.value if firm_role else None,
                created_at=to_text(at),
            )
        )
        await audit.append(
            "account:create", _actor(by), "", uid, {"firm_role": firm_role or ""}, at=at
        )
    return int(made[0]["id"])


async def by_email(email: str) -> Account | None:
    """Return the account of the address, however it is spelled; also a disabled one."""
    return _account(await fetch(f"{_ACCOUNT} WHERE email_key = ?", [email_key(email)]))


async def by_id(account_id: int) -> Account | None:
    """Return the account, also a disabled one."""
    return _account(await fetch(f"{_ACCOUNT} WHERE id = ?", [account_id]))


async def by_uid(uid: str) -> Account | None:
    """Return the account, also a disabled one."""
    return _account(await fetch(f"{_ACCOUNT} WHERE uid = ?", [uid]))


async def viewer(account_id: int) -> Viewer:
    """Return the person with every role as it is now; `NotFound` when absent or disabled."""
    if not ENGINE.in_own_transaction():
        found = viewer_now(account_id)
    else:
        found = _viewer(
            await fetch(_VIEWER, [account_id]),
            await fetch(_MEMBERSHIPS, [account_id]),
            await fetch(_ASSIGNED, [account_id]),
        )
    if found is None:
        raise NotFound(
            Sentence(
                "Contul nu există sau este dezactivat. Cere-i administratorului să îl reactiveze.",
                "the account does not exist or is disabled; ask an administrator",
            )
        )
    return found


def viewer_now(account_id: int) -> Viewer | None:
    """Return what `viewer()` does, read in the calling thread; None when absent or disabled."""
    return _viewer(
        fetch_now(_VIEWER, [account_id]),
        fetch_now(_MEMBERSHIPS, [account_id]),
        fetch_now(_ASSIGNED, [account_id]),
    )


async def set_password_hash(
    account_id: int,
    password_hash: str,
    at: datetime,
    *,
    rehash: bool = False,
    by: Viewer | None = None,
) -> None:
    """Store a new password; every session and open link of the account dies.

    `rehash` is for the same password under stronger parameters, stored at a
    log-in: it ends nothing and is no event of the audit log.
    """
    async with joined():
        uid = await _uid_of(account_id)
        await execute(
            "UPDATE account SET password_hash = ?, auth_epoch = auth_epoch + ? WHERE id = ?",
            [password_hash, 0 if rehash else 1, account_id],
        )
        if not rehash:
            await audit.append("account:password", by.user_uid if by else uid, "", uid, {}, at=at)


async def raise_epoch(account_id: int, at: datetime, *, by: Viewer | None = None) -> None:
    """End every session and open link of the account ("log out everywhere")."""
    async with joined():
        uid = await _uid_of(account_id)
        await execute("UPDATE account SET auth_epoch = auth_epoch + 1 WHERE id = ?", [account_id])
        await audit.append("account:logout-everywhere", _actor(by), "", uid, {}, at=at)


async def disable(account_id: int, at: datetime, *, by: Viewer | None = None) -> None:
    """Shut the person out of portal and drive at their next request; again does nothing."""
    async with joined():
        uid = await _uid_of(account_id)
        changed = await execute(
            "UPDATE account SET disabled_at = ?, auth_epoch = auth_epoch + 1 "
            "WHERE id = ? AND disabled_at IS NULL RETURNING id",
            [to_text(at), account_id],
        )
        if changed:
            await audit.append("account:disable", _actor(by), "", uid, {}, at=at)


async def enable(account_id: int, at: datetime, *, by: Viewer | None = None) -> None:
    """Let a disabled person in again, with a new log-in; again does nothing."""
    async with joined():
        uid = await _uid_of(account_id)
        changed = await execute(
            "UPDATE account SET disabled_at = NULL "
            "WHERE id = ? AND disabled_at IS NOT NULL RETURNING id",
            [account_id],
        )
        if changed:
            await audit.append("account:enable", _actor(by), "", uid, {}, at=at)


async def set_language(account_id: int, language: str) -> None:
    """Remember the language of the person's pages: `ro`, or `en` for anything else."""
    async with joined():
        await execute(
            "UPDATE account SET language = ? WHERE id = ?",
            ["ro" if language == "ro" else "en", account_id],
        )


# Links that arrive by mail: activation, invitation, reset


async def issue_link(
    account_id: int, purpose: str, at: datetime, expires: datetime, *, by: Viewer | None = None
) -> str:
    """Return a token that `spend_link()` takes once, until `expires`.

    Older tokens of the same purpose stop working, and so does this one when
    the account's password changes. Only its hash is stored.
    """
    token = secrets.token_urlsafe(32)
    async with joined():
        account = await by_id(account_id)
        if account is None or account.disabled:
            raise _no_account()
        await execute(
            "DELETE FROM link_token WHERE account = ? AND purpose = ?", [account_id, purpose]
        )
        await tables.LinkToken.insert(
            tables.LinkToken(
                token_hash=_link_hash(token),
                purpose=purpose,
                account=account_id,
                email=account.email,
                auth_epoch=account.auth_epoch,
                created_at=to_text(at),
                expires_at=to_text(expires),
            )
        )
        await audit.append("link:issue", _actor(by), "", account.uid, {"purpose": purpose}, at=at)
    return token


async def peek_link(token: str, purpose: str, at: datetime) -> Account:
    """Return whose link it is and change nothing; `BadInput` when it does not work (any more)."""
    rows = await fetch(
        f"{_ACCOUNT} WHERE disabled_at IS NULL AND id = (SELECT account FROM link_token "
        "WHERE token_hash = ? AND purpose = ? AND used_at IS NULL AND expires_at > ? "
        "AND auth_epoch = account.auth_epoch AND email = account.email)",
        [_link_hash(token), purpose, to_text(at)],
    )
    if not rows:
        raise _dead_link()
    return _read(rows[0])


async def spend_link(token: str, purpose: str, at: datetime) -> int:
    """Use the token up and return the account's id; a second time raises `BadInput`."""
    async with joined():
        account = await peek_link(token, purpose, at)
        spent = await execute(
            "UPDATE link_token SET used_at = ? "
            "WHERE token_hash = ? AND used_at IS NULL AND expires_at > ? RETURNING id",
            [to_text(at), _link_hash(token), to_text(at)],
        )
        if not spent:
            raise _dead_link()
        await audit.append("link:spend", account.uid, "", account.uid, {"purpose": purpose}, at=at)
    return account.id


# Drive passwords


async def create_drive_password(
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
        account = await by_id(account_id)
        if account is None or account.disabled:
            raise _no_account()
        if len(await drive_passwords(account_id, at)) >= MOST_DRIVE_PASSWORDS:
            raise BadInput(
                Sentence(
                    f"Ai deja {MOST_DRIVE_PASSWORDS} parole de disc. Revocă una nefolosită.",
                    f"there are already {MOST_DRIVE_PASSWORDS} drive passwords; revoke one",
                )
            )
        await tables.DrivePassword.insert(
            tables.DrivePassword(
                public_id=public_id,
                secret_hash=_drive_hash(secret),
                account=account_id,
                device=device,
                read_only=int(read_only),
                created_at=to_text(at),
                expires_at=to_text(expires or at + DRIVE_PASSWORD_LASTS),
            )
        )
        await audit.append(
            "drive-password:create", account.uid, "", account.uid, {"id": public_id}, at=at
        )
    return f"arh1_{public_id}_{secret}"


async def drive_passwords(account_id: int, at: datetime) -> list[DrivePassword]:
    """Return the devices that can log in, the newest first."""
    rows = await fetch(
        f"{_DRIVE} WHERE account = ? AND revoked_at IS NULL AND expires_at > ? ORDER BY id DESC",
        [account_id, to_text(at)],
    )
    return [_drive(row) for row in rows]


async def revoke_drive_password(account_id: int, public_id: str, at: datetime) -> None:
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
            uid = await _uid_of(account_id)
            await audit.append("drive-password:revoke", uid, "", uid, {"id": public_id}, at=at)


def viewer_for_drive_password(
    email: str, password: str, at: datetime
) -> tuple[Viewer, DrivePassword] | None:
    """Return who is asking and with which device, or None; writes nothing.

    None for everything that is wrong: address, password, expired, revoked,
    disabled. Asked at every request, so a revocation works at the next one.
    """
    parts = _DRIVE_PASSWORD.fullmatch(password.strip().lower())
    public_id, secret = parts.groups() if parts else ("", password)
    rows = fetch_now(
        f"{_DRIVE} WHERE public_id = ? AND revoked_at IS NULL AND expires_at > ?",
        [public_id, to_text(at)],
    )
    # One hash and one comparison, whether the row exists or not.
    stored = rows[0]["secret_hash"] if rows else "0" * 64
    right = hmac.compare_digest(_drive_hash(secret), stored)
    if not rows or not right:
        return None
    device = _drive(rows[0])
    person = viewer_now(device.account_id)
    if person is None or email_key(email) != email_key(person.email):
        return None
    return person, device


async def note_drive_use(password_id: int, day: str) -> None:
    """Remember that the device came on this day (yyyy-mm-dd); a later one stays."""
    async with joined():
        await execute(
            "UPDATE drive_password SET last_used_on = ? "
            "WHERE id = ? AND (last_used_on IS NULL OR last_used_on < ?)",
            [day, password_id, day],
        )


# Rows to values

_ACCOUNT = (
    "SELECT id, uid, email, name, language, password_hash, firm_role, auth_epoch, disabled_at, "
    "created_at FROM account"
)
_VIEWER = (
    "SELECT id, uid, email, name, language, firm_role FROM account "
    "WHERE id = ? AND disabled_at IS NULL"
)
_MEMBERSHIPS = (
    "SELECT client, role, scope_kinds, scope_suppliers, approval_limit_minor FROM member "
    "WHERE account = ?"
)
_ASSIGNED = "SELECT client FROM assignment WHERE account = ?"
_DRIVE = (
    "SELECT id, public_id, secret_hash, account, device, read_only, created_at, expires_at, "
    "last_used_on FROM drive_password"
)


def membership_of(row: Row) -> Membership:
    """Return what a row of `member` says; an unknown role or kind raises `ValueError`."""
    kinds, suppliers = row["scope_kinds"], row["scope_suppliers"]
    return Membership(
        client_id=row["client"],
        role=Role(row["role"]),
        scope=Scope(
            kinds=None if kinds is None else frozenset(Kind(kind) for kind in json.loads(kinds)),
            suppliers=None if suppliers is None else frozenset(json.loads(suppliers)),
            approval_limit_minor=row["approval_limit_minor"],
        ),
    )


def _viewer(
    account: Sequence[Row], memberships: Sequence[Row], assigned: Sequence[Row]
) -> Viewer | None:
    if not account:
        return None
    row = account[0]
    return Viewer(
        user_id=row["id"],
        user_uid=row["uid"],
        name=row["name"],
        email=row["email"],
        language=row["language"],
        firm_role=Role(row["firm_role"]) if row["firm_role"] else None,
        assigned_clients=frozenset(each["client"] for each in assigned),
        memberships={each["client"]: membership_of(each) for each in memberships},
    )


def _account(rows: Sequence[Row]) -> Account | None:
    return _read(rows[0]) if rows else None


def _read(row: Row) -> Account:
    return Account(
        id=row["id"],
        uid=row["uid"],
        email=row["email"],
        name=row["name"],
        language=row["language"],
        password_hash=row["password_hash"],
        firm_role=Role(row["firm_role"]) if row["firm_role"] else None,
        auth_epoch=row["auth_epoch"],
        disabled=row["disabled_at"] is not None,
        created_at=from_text(row["created_at"]),
    )


def _drive(row: Row) -> DrivePassword:
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


async def _uid_of(account_id: int) -> str:
    rows = await fetch("SELECT uid FROM account WHERE id = ?", [account_id])
    if not rows:
        raise _no_account()
    return str(rows[0]["uid"])


def _actor(by: Viewer | None) -> str:
    return by.user_uid if by else SYSTEM


def _link_hash(token: str) -> str:
    return hashlib.sha256(b"link" + token.encode("utf-8", "surrogatepass")).hexdigest()


def _drive_hash(secret: str) -> str:
    text = b"drive" + secret.encode("utf-8", "surrogatepass")
    return hmac.new(ENGINE.portal_key(), text, hashlib.sha256).hexdigest()


def _no_account() -> NotFound:
    return NotFound(
        Sentence(
            "Contul nu există sau este dezactivat. Verifică adresa.",
            "there is no such account, or it is disabled; check the address",
        )
    )


def _dead_link() -> BadInput:
    return BadInput(
        Sentence(
            "Linkul a expirat sau a fost deja folosit. Cere unul nou.",
            "the link has expired or was already used; ask for a new one",
        )
    )

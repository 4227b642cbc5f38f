"""People: their accounts, and who a person is with every role as it is now.

Passwords are hashed by the portal; here they are text that is stored. Links by
mail are in `links.py`, the passwords of drives in `drive_passwords.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from appliance.core.errors import BadInput, NotFound
from appliance.core.roles import Kind, Membership, Role, Scope, Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import from_text, to_text
from appliance.store import audit, tables
from appliance.store.engine import ENGINE, Row, execute, fetch, fetch_now, joined
from appliance.store.ids import new_uid

SYSTEM = "system"  # the actor of what no person did

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
    `links.issue()`. Raises `BadInput` for what is no address, for an address
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
            "account:create", actor_of(by), "", uid, {"firm_role": firm_role or ""}, at=at
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


async def administrators() -> list[Account]:
    """Return the firm's administrators whose accounts are not disabled, the oldest first."""
    rows = await fetch(f"{_ACCOUNT} WHERE firm_role = 'admin' AND disabled_at IS NULL ORDER BY id")
    return [_read(row) for row in rows]


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
        uid = await uid_of(account_id)
        await execute(
            "UPDATE account SET password_hash = ?, auth_epoch = auth_epoch + ? WHERE id = ?",
            [password_hash, 0 if rehash else 1, account_id],
        )
        if not rehash:
            await audit.append("account:password", by.user_uid if by else uid, "", uid, {}, at=at)


async def raise_epoch(account_id: int, at: datetime, *, by: Viewer | None = None) -> None:
    """End every session and open link of the account ("log out everywhere")."""
    async with joined():
        uid = await uid_of(account_id)
        await execute("UPDATE account SET auth_epoch = auth_epoch + 1 WHERE id = ?", [account_id])
        await audit.append("account:logout-everywhere", actor_of(by), "", uid, {}, at=at)


async def disable(account_id: int, at: datetime, *, by: Viewer | None = None) -> None:
    """Shut the person out of portal and drive at their next request; again does nothing."""
    async with joined():
        uid = await uid_of(account_id)
        changed = await execute(
            "UPDATE account SET disabled_at = ?, auth_epoch = auth_epoch + 1 "
            "WHERE id = ? AND disabled_at IS NULL RETURNING id",
            [to_text(at), account_id],
        )
        if changed:
            await audit.append("account:disable", actor_of(by), "", uid, {}, at=at)


async def enable(account_id: int, at: datetime, *, by: Viewer | None = None) -> None:
    """Let a disabled person in again, with a new log-in; again does nothing."""
    async with joined():
        uid = await uid_of(account_id)
        changed = await execute(
            "UPDATE account SET disabled_at = NULL "
            "WHERE id = ? AND disabled_at IS NOT NULL RETURNING id",
            [account_id],
        )
        if changed:
            await audit.append("account:enable", actor_of(by), "", uid, {}, at=at)


async def set_language(account_id: int, language: str) -> None:
    """Remember the language of the person's pages: `ro`, or `en` for anything else."""
    async with joined():
        await execute(
            "UPDATE account SET language = ? WHERE id = ?",
            ["ro" if language == "ro" else "en", account_id],
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


async def uid_of(account_id: int) -> str:
    """Return the account's uid, also of a disabled one; raises `NotFound`."""
    rows = await fetch("SELECT uid FROM account WHERE id = ?", [account_id])
    if not rows:
        raise no_account()
    return str(rows[0]["uid"])


def actor_of(by: Viewer | None) -> str:
    """Return who the audit log says it was."""
    return by.user_uid if by else SYSTEM


def no_account() -> NotFound:
    """Return the error for an account that is absent or disabled."""
    return NotFound(
        Sentence(
            "Contul nu există sau este dezactivat. Verifică adresa.",
            "there is no such account, or it is disabled; check the address",
        )
    )

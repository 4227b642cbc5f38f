"""Links that arrive by mail: activation, invitation, reset.

A link is 256 random bits, of which only the hash is stored. It works once, for
one purpose, until it expires or the account's password changes.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from appliance.core.errors import BadInput
from appliance.core.roles import Viewer
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.store import accounts, audit, tables
from appliance.store.accounts import Account
from appliance.store.engine import execute, fetch, joined


async def issue(
    account_id: int, purpose: str, at: datetime, expires: datetime, *, by: Viewer | None = None
) -> str:
    """Return a token that `spend()` takes once, until `expires`.

    Older tokens of the same purpose stop working, and so does this one when
    the account's password changes. Only its hash is stored.
    """
    token = secrets.token_urlsafe(32)
    async with joined():
        account = await accounts.by_id(account_id)
        if account is None or account.disabled:
            raise accounts.no_account()
        await execute(
            "DELETE FROM link_token WHERE account = ? AND purpose = ?", [account_id, purpose]
        )
        await tables.LinkToken.insert(
            tables.LinkToken(
                token_hash=_hash(token),
                purpose=purpose,
                account=account_id,
                email=account.email,
                auth_epoch=account.auth_epoch,
                created_at=to_text(at),
                expires_at=to_text(expires),
            )
        )
        await audit.append(
            "link:issue", accounts.actor_of(by), "", account.uid, {"purpose": purpose}, at=at
        )
    return token


async def peek(token: str, purpose: str, at: datetime) -> Account:
    """Return whose link it is and change nothing; `BadInput` when it does not work (any more)."""
    rows = await fetch(
        "SELECT account.id FROM link_token JOIN account ON account.id = link_token.account "
        "WHERE token_hash = ? AND purpose = ? AND used_at IS NULL AND expires_at > ? "
        "AND disabled_at IS NULL AND link_token.auth_epoch = account.auth_epoch "
        "AND link_token.email = account.email",
        [_hash(token), purpose, to_text(at)],
    )
    account = await accounts.by_id(rows[0]["id"]) if rows else None
    if account is None:
        raise _dead()
    return account


async def spend(token: str, purpose: str, at: datetime) -> int:
    """Use the token up and return the account's id; a second time raises `BadInput`."""
    async with joined():
        account = await peek(token, purpose, at)
        spent = await execute(
            "UPDATE link_token SET used_at = ? "
            "WHERE token_hash = ? AND used_at IS NULL AND expires_at > ? RETURNING id",
            [to_text(at), _hash(token), to_text(at)],
        )
        if not spent:
            raise _dead()
        await audit.append("link:spend", account.uid, "", account.uid, {"purpose": purpose}, at=at)
    return account.id


def _hash(token: str) -> str:
    return hashlib.sha256(b"link" + token.encode("utf-8", "surrogatepass")).hexdigest()


def _dead() -> BadInput:
    return BadInput(
        Sentence(
            "Linkul a expirat sau a fost deja folosit. Cere unul nou.",
            "the link has expired or was already used; ask for a new one",
        )
    )

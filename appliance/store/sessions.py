"""The rows of the portal's sessions; what makes one alive is the portal's to say.

A row is found by the hash of the browser's secret; the secret is nowhere.
Nothing but `create_session()` inserts, so a session that was ended while a slow
request ran stays ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from appliance.core.times import from_text, to_text
from appliance.store import audit, tables
from appliance.store.engine import Row, execute, fetch, fetch_now, joined

MOST_PER_ACCOUNT = 10


@dataclass(frozen=True)
class Session:
    """A session as it was stored, beside what its account says now."""

    token_hash: str
    account_id: int
    level: int  # 1 password only, 2 full
    auth_epoch: int
    created_at: datetime
    seen_at: datetime
    sudo_until: datetime | None
    address: str
    agent: str
    account_epoch: int  # the session is dead unless it equals auth_epoch
    account_disabled: bool


async def create_session(
    token_hash: str,
    account_id: int,
    at: datetime,
    *,
    level: int,
    address: str,
    agent: str,
    replaces: str | None = None,
    sudo_until: datetime | None = None,
) -> Session:
    """Begin a session; `replaces` is the hash of the one it follows, which dies with it.

    At most 10 sessions a person: the one that was seen longest ago dies.
    """
    async with joined():
        if replaces is not None:
            await execute("DELETE FROM session WHERE token_hash = ?", [replaces])
        account = (await fetch("SELECT uid, auth_epoch FROM account WHERE id = ?", [account_id]))[0]
        await tables.Session.insert(
            tables.Session(
                token_hash=token_hash,
                account=account_id,
                level=level,
                auth_epoch=account["auth_epoch"],
                created_at=to_text(at),
                seen_at=to_text(at),
                sudo_until=to_text(sudo_until) if sudo_until else None,
                address=address,
                agent=agent[:200],
            )
        )
        await execute(
            "DELETE FROM session WHERE account = ? AND token_hash <> ? AND id NOT IN "
            "(SELECT id FROM session WHERE account = ? ORDER BY token_hash = ? DESC, "
            "seen_at DESC, id DESC LIMIT ?)",
            [account_id, token_hash, account_id, token_hash, MOST_PER_ACCOUNT],
        )
        await audit.append(
            "session:create", account["uid"], "", account["uid"], {"level": level}, at=at
        )
        rows = await fetch(f"{_SESSION} WHERE session.token_hash = ?", [token_hash])
    return _session(rows[0])


async def load_session(token_hash: str) -> Session | None:
    """Return the session, dead or alive, or None. Asked at every request of the portal."""
    rows = fetch_now(f"{_SESSION} WHERE session.token_hash = ?", [token_hash])
    return _session(rows[0]) if rows else None


async def load_sessions(token_hashes: Iterable[str]) -> dict[str, Session]:
    """Return those of the sessions that there are, dead or alive, by their hash."""
    rows = await fetch(
        f"{_SESSION} WHERE session.token_hash IN (SELECT value FROM json_each(?))",
        [json.dumps(sorted(token_hashes))],
    )
    return {row["token_hash"]: _session(row) for row in rows}


async def sessions_of(account_id: int) -> list[Session]:
    """Return the person's sessions, the one seen last first."""
    rows = await fetch(
        f"{_SESSION} WHERE session.account = ? ORDER BY session.seen_at DESC", [account_id]
    )
    return [_session(row) for row in rows]


async def touch(token_hash: str, at: datetime) -> None:
    """Note that the session was seen; does nothing for one that was ended."""
    async with joined():
        await execute(
            "UPDATE session SET seen_at = ? WHERE token_hash = ?", [to_text(at), token_hash]
        )


async def delete_session(token_hash: str, at: datetime) -> None:
    """End the session; again does nothing."""
    async with joined():
        ended = await execute(
            "DELETE FROM session WHERE token_hash = ? RETURNING account", [token_hash]
        )
        if ended:
            uid = (await fetch("SELECT uid FROM account WHERE id = ?", [ended[0]["account"]]))[0]
            await audit.append("session:end", uid["uid"], "", uid["uid"], {}, at=at)


async def delete_seen_before(moment: datetime) -> int:
    """Forget the sessions that nobody used since; return how many."""
    async with joined():
        gone = await execute(
            "DELETE FROM session WHERE seen_at < ? RETURNING id", [to_text(moment)]
        )
    return len(gone)


_SESSION = (
    "SELECT session.token_hash, session.account, session.level, session.auth_epoch, "
    "session.created_at, session.seen_at, session.sudo_until, session.address, session.agent, "
    "account.auth_epoch AS account_epoch, account.disabled_at "
    "FROM session JOIN account ON account.id = session.account"
)


def _session(row: Row) -> Session:
    return Session(
        token_hash=row["token_hash"],
        account_id=row["account"],
        level=row["level"],
        auth_epoch=row["auth_epoch"],
        created_at=from_text(row["created_at"]),
        seen_at=from_text(row["seen_at"]),
        sudo_until=from_text(row["sudo_until"]) if row["sudo_until"] else None,
        address=row["address"],
        agent=row["agent"],
        account_epoch=row["account_epoch"],
        account_disabled=row["disabled_at"] is not None,
    )

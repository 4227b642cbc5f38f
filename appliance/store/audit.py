"""The audit log: one record for each change, chained by hashes (core/chain.py).

A record is written in the transaction of the change it tells of, so both
exist or neither. It names people and things by uid only: names and addresses
live in tables that can be erased without breaking the chain, and free text
(a reason) stays in the event it belongs to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path

from appliance.core import chain
from appliance.core.chain import Break
from appliance.core.sentence import Sentence
from appliance.core.times import to_text
from appliance.store import engine

__all__ = ["Break", "append", "head", "verify"]


async def append(
    action: str,
    actor: str,
    tenant: str,
    object: str,
    data: Mapping[str, object],
    *,
    at: datetime,
) -> int:
    """Add a record to the running transaction and return its number.

    `action` is `thing:verb` ("document:approve"), `actor` an account's uid or
    the name of a part of ours ("sync"), `tenant` a client's uid ("" for the
    firm), `object` the uid of what changed. Outside `engine.transaction()`
    raises `RuntimeError`: a record alone would vouch for nothing.
    """
    if not engine.ENGINE.in_own_transaction():
        raise engine.WriteOutsideTransaction("an audit record outside transaction()")
    last = await engine.fetch("SELECT seq, head FROM audit ORDER BY seq DESC LIMIT 1")
    seq, previous = (last[0]["seq"] + 1, last[0]["head"]) if last else (1, chain.FIRST)
    body = chain.canonical(
        {
            "v": chain.VERSION,
            "seq": seq,
            "t": to_text(at),
            "action": action,
            "actor": actor,
            "tenant": tenant,
            "object": object,
            "data": data,
        }
    )
    await engine.execute(
        "INSERT INTO audit (seq, body, head) VALUES (?, ?, ?)",
        [seq, body, chain.next_head(previous, body)],
    )
    return seq


def verify(
    database: Path | sqlite3.Connection, *, anchors: Mapping[int, bytes] | None = None
) -> list[Break]:
    """Return every break of the chain, read in one snapshot while services run.

    `anchors` are heads that were kept elsewhere (the nightly decisions hold
    them). A database that cannot be read to its end is a break as well, never
    an exception; nothing is written.
    """
    breaks: list[Break] = []
    try:
        if isinstance(database, sqlite3.Connection):
            breaks.extend(chain.find_breaks(_rows(database), anchors=anchors))
        else:
            with closing(read_only(database)) as connection:
                breaks.extend(chain.find_breaks(_rows(connection), anchors=anchors))
    except sqlite3.Error as error:
        breaks.append(
            Break(
                None,
                "unreadable",
                Sentence(
                    f"Jurnalul nu poate fi citit până la capăt ({error}). "
                    "Restaurează baza de date din copia de siguranță.",
                    f"the log cannot be read to its end ({error}); "
                    "restore the database from a backup",
                ),
            )
        )
    return breaks


def head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """Return number and head of the last record; (0, 32 zero bytes) before the first."""
    row = connection.execute("SELECT seq, head FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return (int(row[0]), bytes(row[1])) if row else (0, chain.FIRST)


def read_only(database: Path) -> sqlite3.Connection:
    """Open the database for one who only looks; raises `sqlite3.Error`."""
    uri = f"{database.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[object, object, object]]:
    cursor = connection.cursor()
    cursor.row_factory = None
    # As blobs together with their types: a text that is not UTF-8 would raise
    # in the middle of the walk and hide everything after it.
    cursor.execute(
        "SELECT CASE WHEN typeof(seq) = 'integer' THEN seq END, "
        "CASE WHEN typeof(body) = 'blob' THEN body END, "
        "CASE WHEN typeof(head) = 'blob' THEN head END FROM audit ORDER BY seq"
    )
    yield from cursor

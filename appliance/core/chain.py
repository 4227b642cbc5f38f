"""The hash chain of an append-only log: its bytes, and how breaks in it are found.

    body = canonical JSON {v, seq, t, action, actor, tenant, object, data}
    head = SHA-256(0x02 || previous head || SHA-256(0x00 || body))
    the head before the first record is 32 zero bytes

A head vouches for its record and for all before it. The chain alone shows an
edit, a deletion, an exchange and an insertion; a cut tail and a chain that was
recomputed to its end show only against heads that were kept elsewhere
(`anchors`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from appliance.core.sentence import Sentence

VERSION = 1
FIRST = bytes(32)

_KEYS = frozenset({"v", "seq", "t", "action", "actor", "tenant", "object", "data"})


def canonical(value: object) -> bytes:
    """Return the one JSON text of a value: sorted keys, no blanks, UTF-8, no floats.

    Raises `TypeError` for a float or anything else that JSON does not write
    the same way everywhere.
    """
    text = json.dumps(_stable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def next_head(previous: bytes, body: bytes) -> bytes:
    """Return the head of the record that follows `previous`."""
    return hashlib.sha256(b"\x02" + previous + hashlib.sha256(b"\x00" + body).digest()).digest()


@dataclass(frozen=True)
class Break:
    """One place where the chain does not hold.

    `kind`: `type` (a value that no record has), `gap` (records are missing),
    `edited` (body or head changed), `moved` (the body of another record),
    `body` (no canonical record), `anchor` (a head kept elsewhere disagrees),
    `unreadable` (the table cannot be read to its end).
    """

    seq: int | None
    kind: str
    sentence: Sentence


def find_breaks(
    rows: Iterable[tuple[object, object, object]],
    *,
    start: tuple[int, bytes] = (0, FIRST),
    anchors: Mapping[int, bytes] | None = None,
) -> Iterator[Break]:
    """Yield every break in `rows` of (seq, body, head), which come in the order of seq.

    Never raises for what a row holds: a value of the wrong type is a break
    like any other. After a break the comparison goes on with the head that
    stands in the row, so that one edit is one break and not the whole tail.
    """
    wanted = dict(anchors or {})
    expected = start[0] + 1
    previous: bytes | None = start[1]  # None: unknown, so the next record cannot be compared
    for seq, body, head in rows:
        if type(seq) is not int:
            yield _break(None, "type", f"numărul de ordine {seq!r:.40}", f"the number {seq!r:.40}")
            previous = None
            continue
        if seq != expected:
            yield _gap(expected, seq)
            previous = None
        expected = seq + 1
        if not isinstance(body, bytes):
            yield _break(seq, "type", "câmpul body", "the field body")
        elif not _is_head(head):
            yield _break(seq, "type", "câmpul head", "the field head")
            yield from _check_body(seq, body)
        else:
            if previous is not None and next_head(previous, body) != head:
                yield _edited(seq)
            yield from _check_body(seq, body)
        if seq in wanted and wanted.pop(seq) != head:
            yield Break(
                seq,
                "anchor",
                Sentence(
                    f"Înregistrarea {seq} nu este cea notată în arhivă la acea dată.",
                    f"record {seq} is not the one that the archive noted at the time",
                ),
            )
        if isinstance(head, bytes) and _is_head(head):
            previous = head
        elif previous is not None:
            previous = next_head(previous, body) if isinstance(body, bytes) else None
    for seq in sorted(wanted):
        yield Break(
            seq,
            "anchor",
            Sentence(
                f"Înregistrarea {seq}, notată în arhivă, lipsește: jurnalul a fost scurtat.",
                f"record {seq}, which the archive noted, is missing: the log was cut",
            ),
        )


def _check_body(seq: int, body: bytes) -> Iterator[Break]:
    try:
        record = json.loads(body)
        whole = isinstance(record, dict) and record.keys() == _KEYS and canonical(record) == body
    except (ValueError, TypeError, RecursionError):
        whole = False
    if not whole:
        yield _break(seq, "body", "conținutul", "its content")
    elif type(record["seq"]) is not int or record["seq"] != seq:
        yield Break(
            seq,
            "moved",
            Sentence(
                f"În locul înregistrării {seq} stă înregistrarea {record['seq']!r:.20}.",
                f"in the place of record {seq} stands record {record['seq']!r:.20}",
            ),
        )


def _edited(seq: int) -> Break:
    return Break(
        seq,
        "edited",
        Sentence(
            f"Înregistrarea {seq} sau cea dinaintea ei a fost modificată după scriere.",
            f"record {seq} or the one before it was changed after it was written",
        ),
    )


def _is_head(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def _break(seq: int | None, kind: str, ro: str, en: str) -> Break:
    where_ro = "O înregistrare" if seq is None else f"Înregistrarea {seq}"
    where_en = "a record" if seq is None else f"record {seq}"
    return Break(
        seq,
        kind,
        Sentence(
            f"{where_ro} are o formă pe care jurnalul nu o scrie: {ro}.",
            f"{where_en} has a form that the log does not write: {en}",
        ),
    )


def _gap(expected: int, seq: int) -> Break:
    if seq < expected:
        return _break(seq, "gap", "un număr folosit deja", "a number used before")
    last = seq - 1
    ro = f"Înregistrarea {expected} lipsește" if last == expected else ""
    en = f"record {expected} is missing" if last == expected else ""
    return Break(
        expected,
        "gap",
        Sentence(
            (ro or f"Înregistrările {expected}–{last} lipsesc") + " din jurnal.",
            (en or f"records {expected} to {last} are missing") + " from the log",
        ),
    )


def _stable(value: object) -> object:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("every key must be a text")
        return {key: _stable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_stable(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} has no canonical JSON")

"""Which part of a file a GET wants, and whether it wants it at all (RFC 9110 §13, §14)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


class Outcome(Enum):
    """What a precondition leads to."""

    GO_ON = 200
    NOT_MODIFIED = 304
    FAILED = 412


def precondition(
    *,
    etag: str,
    modified: str,
    if_match: str | None = None,
    if_none_match: str | None = None,
    if_modified_since: str | None = None,
    if_unmodified_since: str | None = None,
) -> Outcome:
    """Evaluate the conditions of a GET or HEAD in the order of RFC 9110 §13.2.2.

    `etag` is quoted and strong, `modified` the text of `core.times`. A date
    that cannot be read counts as not sent.
    """
    if if_match is not None:
        if not _matches(if_match, etag, weak=False):
            return Outcome.FAILED
    elif (since := _date(if_unmodified_since)) is not None and _second(modified) > since:
        return Outcome.FAILED
    if if_none_match is not None:
        if _matches(if_none_match, etag, weak=True):
            return Outcome.NOT_MODIFIED
    elif (since := _date(if_modified_since)) is not None and _second(modified) <= since:
        return Outcome.NOT_MODIFIED
    return Outcome.GO_ON


def byte_range(
    value: str | None, size: int, *, if_range: str | None, etag: str, modified: str
) -> tuple[int, int] | None:
    """Return first and last byte wanted, or None for the whole file.

    A header that cannot be read, that asks for several parts, or whose
    `If-Range` names another state of the file is as if it were not there.
    Raises `ValueError` when the file has no such byte (416).
    """
    if value is None or not _is_current(if_range, etag, modified):
        return None
    match = _RANGE.fullmatch(value.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        wanted = int(last)
        if wanted == 0 or size == 0:
            raise ValueError("no last bytes")
        return max(size - wanted, 0), size - 1
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise ValueError("past the end")
    return int(first), min(int(last), size - 1) if last else size - 1


def _is_current(if_range: str | None, etag: str, modified: str) -> bool:
    if if_range is None:
        return True
    if '"' in if_range:
        return if_range.strip() == etag
    return _date(if_range) == _second(modified)


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    if weak:
        tags = [tag.removeprefix("W/") for tag in tags]
    # Some clients send the tag without its quotes.
    return etag in tags or header.strip() == etag.strip('"')


def _date(value: str | None) -> datetime | None:
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _second(modified: str) -> datetime:
    return datetime.fromisoformat(modified[:19]).replace(tzinfo=UTC)

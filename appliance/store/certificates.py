"""Which signing certificates are trusted here, which were seen, and what each of them signed.

Trusted are those shipped and configured (`store.pinned`) and those that an
administrator added, which are rows. Whoever judges signatures asks `trusted()`
each time, so that an addition or removal holds in every process at once.

When a certificate becomes trusted the job `reverify` (object: its fingerprint)
judges again what was filed with it before. A judged document leaves
`waiting()`, so the work goes on where it was cut off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from appliance.core import certificates
from appliance.core.certificates import PinnedCertificate
from appliance.core.earlier import About
from appliance.core.errors import NotFound
from appliance.core.signature import Verdict, certificate_in
from appliance.core.times import from_text, to_text
from appliance.store import audit, jobs, pdfs
from appliance.store.accounts import SYSTEM
from appliance.store.engine import Row, execute, fetch, joined
from appliance.store.files import Archive

UNKNOWN = "unknown_certificate"
_TRIED = 20
# Reasons of signatures that are good, whoever made them.
_SIGNED = ("ok", UNKNOWN, "certificate_not_valid_then")


@dataclass(frozen=True)
class Added:
    """A certificate that an administrator trusts."""

    certificate: PinnedCertificate
    by: str | None  # name of the person; None: the command line
    at: datetime


@dataclass(frozen=True)
class Use:
    """What a certificate signed among the documents here."""

    fingerprint: str
    number: int
    unknown: int  # of them not judged since it is trusted
    not_valid_then: int  # of them dated outside its validity
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Trusted:
    """A certificate whose signatures are valid here, and why."""

    certificate: PinnedCertificate
    origin: str  # shipped, configured, added
    added: Added | None
    use: Use | None


@dataclass(frozen=True)
class Signed:
    """A document that is to be judged again: where its files are, and when it was signed."""

    id: int
    uid: str
    client_uid: str
    archive_month: str
    reason: str  # of the judgement that does not hold any more
    at: datetime | None  # of the message; None when nobody knows


async def trusted(configured: Mapping[str, PinnedCertificate]) -> dict[str, PinnedCertificate]:
    """Return the trusted certificates by fingerprint: the given ones, and those added."""
    return {**configured, **{one.certificate.fingerprint: one.certificate for one in await added()}}


async def added() -> list[Added]:
    """Return the certificates that administrators added, the oldest first."""
    rows = await fetch(
        "SELECT certificate.*, account.name FROM certificate "
        "LEFT JOIN account ON account.id = certificate.added_by ORDER BY certificate.id"
    )
    return [
        Added(
            PinnedCertificate(
                row["fingerprint"],
                row["subject"],
                from_text(row["not_before"]),
                from_text(row["not_after"]),
            ),
            row["name"],
            from_text(row["added_at"]),
        )
        for row in rows
    ]


async def listed(configured: Mapping[str, PinnedCertificate]) -> list[Trusted]:
    """Return every trusted certificate with what it signed, the last valid first."""
    by_person = {one.certificate.fingerprint: one for one in await added()}
    use_of = await uses()

    def origin(fingerprint: str) -> str:
        if fingerprint in certificates.PINNED:
            return "shipped"
        return "configured" if fingerprint in configured else "added"

    found = [
        Trusted(one, origin(fingerprint), by_person.get(fingerprint), use_of.get(fingerprint))
        for fingerprint, one in (await trusted(configured)).items()
    ]
    return sorted(found, key=lambda one: one.certificate.not_after, reverse=True)


async def strange(configured: Mapping[str, PinnedCertificate]) -> list[Use]:
    """Return what was signed by certificates that nobody trusts here."""
    known = await trusted(configured)
    return [use for use in (await uses()).values() if use.unknown and use.fingerprint not in known]


async def of_documents(
    fingerprint: str, archive: Archive
) -> tuple[PinnedCertificate, bytes] | None:
    """Return a certificate that nobody trusts, and its DER, out of an archived signature.

    None when no document waits for it, or none of the first has its signature any more.
    """
    for signed in await waiting(fingerprint, 0, _TRIED):
        try:
            with archive.open_file(
                signed.client_uid, signed.archive_month, signed.uid, "signature.xml"
            ) as file:
                der = certificate_in(await asyncio.to_thread(file.read))
        except NotFound:
            continue
        if der is not None and (found := certificates.from_pem(der)).fingerprint == fingerprint:
            return found, der
    return None


async def add(
    data: bytes, at: datetime, *, by: int | None = None, by_uid: str = SYSTEM
) -> tuple[PinnedCertificate, bool]:
    """Trust a certificate (PEM or DER) from now on, and judge again what it signed.

    Row, audit record and job are committed together. Tells whether this call
    did it; one that was added before stays as it was. Raises `BadInput`.
    """
    certificate = certificates.from_pem(data)
    async with joined():
        made = await execute(
            "INSERT INTO certificate (fingerprint, subject, not_before, not_after, pem, added_by, "
            "added_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            [
                certificate.fingerprint,
                certificate.subject,
                to_text(certificate.not_before),
                to_text(certificate.not_after),
                certificates.as_pem(data),
                by,
                to_text(at),
            ],
        )
        if made:
            await audit.append(
                "certificate:add", by_uid, "", certificate.fingerprint,
                {"subject": certificate.subject}, at=at,
            )  # fmt: skip
        await jobs.insert("reverify", certificate.fingerprint, at)
    return certificate, bool(made)


async def remove(fingerprint: str, at: datetime, *, by_uid: str = SYSTEM) -> bool:
    """Trust no longer what an administrator added, and judge again what it signed.

    Row, audit record and job are committed together. Returns False when it is not among
    those added. One that is shipped or configured as well stays trusted for that reason.
    """
    async with joined():
        gone = await execute(
            "DELETE FROM certificate WHERE fingerprint = ? RETURNING subject", [fingerprint]
        )
        if not gone:
            return False
        await audit.append(
            "certificate:remove", by_uid, "", fingerprint,
            {"subject": gone[0]["subject"]}, at=at,
        )  # fmt: skip
        await jobs.insert("reverify", fingerprint, at)
    return True


async def uses() -> dict[str, Use]:
    """Return by fingerprint what each certificate signed here, bytes intact."""
    rows = await fetch(
        "SELECT fingerprint, SUM(number) AS number, MIN(first_at) AS first_at, "
        "MAX(last_at) AS last_at, SUM(CASE WHEN reason = ? THEN number ELSE 0 END) AS unknown, "
        "SUM(CASE WHEN reason = 'certificate_not_valid_then' THEN number ELSE 0 END) "
        "AS not_valid_then FROM certificate_total WHERE number > 0 AND reason IN (?, ?, ?) "
        "GROUP BY fingerprint ORDER BY MIN(first_at)",
        [UNKNOWN, *_SIGNED],
    )
    return {
        row["fingerprint"]: Use(
            row["fingerprint"],
            row["number"],
            row["unknown"],
            row["not_valid_then"],
            from_text(row["first_at"]),
            from_text(row["last_at"]),
        )
        for row in rows
    }


async def queue_reverify(configured: Mapping[str, PinnedCertificate], at: datetime) -> int:
    """Ask to judge again what was judged while its certificate was not, or was, trusted.

    Returns how many certificates that is about. For the start of sync: an upgrade or a
    file of the configuration may have brought some, or be gone.
    """
    known = await trusted(configured)
    wanted = [
        use.fingerprint
        for use in (await uses()).values()
        if (use.unknown if use.fingerprint in known else use.number - use.unknown)
    ]
    await jobs.insert_many("reverify", wanted, at)
    return len(wanted)


async def waiting(fingerprint: str, after: int, limit: int, *, known: bool = True) -> list[Signed]:
    """Return documents whose judgement does not fit, in order of `id` after this one.

    Those filed while the certificate was unknown; with `known` false those filed while it was
    trusted.
    """
    # Spelled out: only so the index of the few unknown ones is used.
    unfit = "= 'unknown_certificate'" if known else "IN ('ok', 'certificate_not_valid_then')"
    rows = await fetch(
        "SELECT document.id, document.uid, document.archive_month, client.uid AS client_uid, "
        "document.signature_reason AS reason, "
        "COALESCE(message.created_at, message.listed_at) AS dated, import_item.about "
        "FROM document JOIN client ON client.id = document.client "
        "LEFT JOIN message ON message.id = document.message "
        "LEFT JOIN import_item ON import_item.uid = document.uid "
        f"WHERE document.signature_reason {unfit} "
        "AND document.signature_fingerprint = ? AND document.id > ? ORDER BY document.id LIMIT ?",
        [fingerprint, after, limit],
    )
    return [
        Signed(
            row["id"],
            row["uid"],
            row["client_uid"],
            row["archive_month"],
            row["reason"],
            _dated(row),
        )
        for row in rows
    ]


def _dated(row: Row) -> datetime | None:
    # As when it was filed: an import that says no moment is judged without one.
    if row["dated"]:
        return from_text(row["dated"])
    return About(**json.loads(row["about"])).created_at if row["about"] else None


async def judged(found: Sequence[tuple[Signed, Verdict]], at: datetime) -> int:
    """Record what a second look at the signatures found, and ask for the PDFs that show it.

    All in one transaction, each with an audit record; returns how many changed.
    A document that has been judged in the meantime is left alone.
    """
    changed = []
    async with joined():
        for signed, verdict in found:
            moved = await execute(
                "UPDATE document SET signature_result = ?, signature_reason = ?, "
                "signature_fingerprint = ?, changed_at = ? "
                "WHERE id = ? AND signature_reason = ? AND signature_reason <> ? RETURNING id",
                [
                    verdict.result.value,
                    verdict.reason,
                    verdict.fingerprint,
                    to_text(at),
                    signed.id,
                    signed.reason,
                    verdict.reason,
                ],
            )
            if not moved:
                continue
            changed.append(signed.uid)
            await audit.append(
                "document:reverify", "sync", signed.client_uid, signed.uid,
                {"result": verdict.result.value, "reason": verdict.reason,
                 "fingerprint": verdict.fingerprint}, at=at,
            )  # fmt: skip
        await pdfs.again(changed, at)
    return len(changed)

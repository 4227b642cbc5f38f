"""Signatures whose certificate becomes known: judged again, shown on the PDF, cut off anywhere."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from appliance.store import certificates, documents, jobs, pdfs
from appliance.store.jobs import Job
from appliance.sync import reverify, tasks
from tests.support.desk import Desk
from tests.support.spv import members, package, signer

MINE = signer().pinned


async def unknown(desk: Desk, *ids: str) -> None:
    """File messages that nobody here trusts the signature of, and make their PDFs."""
    desk.context.pinned = {}
    for number, message_id in enumerate(ids or ("7001",)):
        desk.vault.offer(message_id, package(upload_id=str(6001 + number)))
    await desk.fetch()
    await desk.run("render")


async def add(desk: Desk, pem: bytes | None = None) -> None:
    await certificates.add(signer().pem if pem is None else pem, datetime.now(UTC))


async def results(desk: Desk) -> list[tuple[str, str]]:
    found = await desk.documents()
    return [(row["signature_result"], row["signature_reason"]) for row in found]


async def pdf(desk: Desk) -> bytes:
    (row,) = await desk.documents()
    place = (row["client_uid"], row["archive_month"], row["uid"])
    return desk.context.archive.path_of(*place, "invoice.pdf").read_bytes()


async def test_an_added_certificate_makes_earlier_signatures_valid_and_their_pdfs_say_so(
    desk: Desk,
) -> None:
    await unknown(desk)
    before = await pdf(desk)
    assert await results(desk) == [("valid_unknown_certificate", "unknown_certificate")]

    await add(desk)
    await desk.run("reverify")
    await desk.run("render")

    assert await results(desk) == [("valid", "ok")]
    assert await pdf(desk) != before
    assert desk.problems() == []


async def test_what_comes_after_it_is_added_is_valid_at_once(desk: Desk) -> None:
    desk.context.pinned = {}
    await add(desk)
    desk.vault.offer("7001", package())

    await desk.fetch()

    assert await results(desk) == [("valid", "ok")]


async def test_a_removed_certificate_makes_its_signatures_unknown_again_and_their_pdfs_say_so(
    desk: Desk,
) -> None:
    await unknown(desk)
    await add(desk)
    await desk.run("reverify")
    await desk.run("render")
    trusted = await pdf(desk)

    assert await certificates.remove(MINE.fingerprint, datetime.now(UTC))
    await desk.run("reverify")
    await desk.run("render")

    assert await results(desk) == [("valid_unknown_certificate", "unknown_certificate")]
    assert await pdf(desk) != trusted
    assert desk.problems() == []


async def test_removed_while_its_documents_are_judged_it_leaves_none_of_them_valid(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unknown(desk, "7001", "7002", "7003")
    monkeypatch.setattr(reverify, "BATCH", 1)
    real, calls = certificates.judged, []

    async def judged(found: Any, at: datetime) -> int:
        calls.append(found)
        if len(calls) == 2:
            await certificates.remove(MINE.fingerprint, at)
        return await real(found, at)

    monkeypatch.setattr(certificates, "judged", judged)
    await add(desk)
    await desk.run("reverify")

    assert await results(desk) == [("valid_unknown_certificate", "unknown_certificate")] * 3


async def test_a_message_outside_the_validity_stays_unknown_and_says_why(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unknown(desk)
    late = replace(MINE, not_before=datetime(2026, 11, 23, 7, 16, tzinfo=UTC))  # listed at 7:15

    async def trusted(configured: object) -> dict[str, Any]:
        return {MINE.fingerprint: late}

    monkeypatch.setattr(certificates, "trusted", trusted)
    await add(desk)
    await desk.run("reverify")

    assert await results(desk) == [("valid_unknown_certificate", "certificate_not_valid_then")]


async def test_bytes_that_changed_since_are_found_out(desk: Desk) -> None:
    await unknown(desk)
    (row,) = await desk.documents()
    place = (row["client_uid"], row["archive_month"], row["uid"])
    path = desk.context.archive.path_of(*place, "invoice.xml")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"EFI-1203", b"EFI-1204"))

    await add(desk)
    await desk.run("reverify")

    assert await results(desk) == [("invalid", "digest_mismatch")]


async def test_files_that_are_gone_leave_their_document_and_hold_up_no_other(desk: Desk) -> None:
    await unknown(desk, "7001", "7002", "7003")
    first = (await desk.documents())[0]
    place = (first["client_uid"], first["archive_month"], first["uid"])
    desk.context.archive.path_of(*place, "signature.xml").rename(
        desk.world.settings.data_dir / "elsewhere"
    )

    await add(desk)
    (job,) = await desk.run("reverify")

    assert job.state == "done"
    assert sorted(await results(desk)) == [
        ("valid", "ok"),
        ("valid", "ok"),
        ("valid_unknown_certificate", "unknown_certificate"),
    ]


async def test_cut_off_between_two_batches_it_goes_on_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unknown(desk, "7001", "7002", "7003")
    monkeypatch.setattr(reverify, "BATCH", 1)
    real, calls = certificates.judged, []

    async def judged(found: Any, at: datetime) -> int:
        calls.append(found[0][0].uid)
        if len(calls) == 2:
            raise asyncio.CancelledError
        return await real(found, at)

    monkeypatch.setattr(certificates, "judged", judged)
    await add(desk)
    (leased,) = await jobs.lease(1, datetime.now(UTC), 45, ["reverify"])
    await tasks.run(leased.id, desk.context)
    assert sorted(await results(desk))[0] == ("valid", "ok")

    await desk.run("reverify")

    assert await results(desk) == [("valid", "ok")] * 3
    assert len(calls) == 4  # one of them twice, none three times


async def test_a_signature_judged_while_its_pdf_is_drawn_is_drawn_once_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.context.pinned = {}
    desk.vault.offer("7001", package())
    await desk.fetch()
    real, drawn = desk.context.renderers.render, []

    async def render(xml: bytes, **facts: Any) -> bytes:
        made = await real(xml, **facts)
        drawn.append(facts["verdict"].result.value)
        if len(drawn) == 1:
            await add(desk)
            await desk.run("reverify")
        return made

    monkeypatch.setattr(desk.context.renderers, "render", render)
    (job,) = await desk.run("render")

    assert drawn == ["valid_unknown_certificate", "valid"]
    assert job.state == "done"
    assert await jobs.waiting("render") == 0


@pytest.mark.parametrize("cause", [ValueError("a defect"), RuntimeError("another")])
async def test_a_document_that_no_pdf_can_be_made_of_is_parked_and_holds_up_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    desk.vault.offer("7001", package())
    desk.vault.offer("7002", package(upload_id="6002"))
    await desk.fetch()
    (bad, good) = await desk.documents()
    real = desk.context.renderers.render

    async def render(xml: bytes, **facts: Any) -> bytes:
        if facts["message_id"] == "7001":
            raise cause
        return await real(xml, **facts)

    monkeypatch.setattr(desk.context.renderers, "render", render)
    await desk.run("render")
    job = await _render_job(bad["uid"])
    await jobs.retry(job.id, datetime.now(UTC), 0)
    await desk.run("render")

    job = await _render_job(bad["uid"])
    assert job.state == "parked"
    assert job.problem is not None
    assert "arhivar rerender" in job.problem.ro
    files = (await documents.by_uid(good["uid"])).files
    assert pdfs.PDF_NAME in [file.stored_name for file in files]


async def _render_job(uid: str) -> Job:
    job = await jobs.latest("render", uid)
    assert job is not None
    return job


async def test_the_manifest_says_hashes_result_fingerprint_and_reason(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.offer("7002", members(("6002.xml", b"<x/>"), ("semnatura_6002.xml", b"<y/>")))

    await desk.fetch()

    for row in await desk.documents():
        place = (row["client_uid"], row["archive_month"], row["uid"])
        facts = desk.context.archive.read_manifest(*place)
        assert facts["signature"] == {
            "result": row["signature_result"],
            "reason": row["signature_reason"],
            "fingerprint": row["signature_fingerprint"],
        }
        assert all(len(file["sha256"]) == 64 for file in facts["files"])
        assert {file["stored_name"] for file in facts["files"]} >= {"message.zip", "invoice.xml"}

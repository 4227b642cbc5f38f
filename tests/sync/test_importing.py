"""From a folder of an earlier tool to filed documents, with the real store and archive."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from appliance.core.errors import NotAllowed
from appliance.core.roles import Status
from appliance.simulator.invoice import LineDraft
from appliance.store import documents, engine, imports
from appliance.store.imports import ItemState, Run
from appliance.store.messages import MessageState
from appliance.sync import unpacking
from tests.support.desk import Desk
from tests.support.importing import ANAF_ERROR, NOW, handed, left, packed, signature_of
from tests.support.spv import ALFA, BETA, STRANGER, invoice, package, signer


async def _problem_of(run: Run) -> Any:
    (line,) = await imports.results(run, None)
    return line.problem


async def test_a_zip_of_anafs_becomes_a_document_with_its_source(desk: Desk, folder: Path) -> None:
    (folder / "6001.zip").write_bytes(package(upload_id="4001234"))

    run = await handed(desk, folder)

    assert run.counts == {ItemState.ARCHIVED: 1}
    assert run.finished_at is not None
    (document,) = await desk.documents()
    assert (document["source"], document["status"]) == ("import", "pending")
    assert document["signature_result"] == "valid"
    origin = await imports.origin(document["uid"])
    assert origin is not None
    assert (origin.source, origin.name, origin.upload_id) == (
        "Facturi vechi",
        "6001.zip",
        "4001234",
    )
    assert left(desk) == []
    assert desk.problems() == []


async def test_the_folder_of_anaf_sync_is_one_document_for_each_invoice(
    desk: Desk, folder: Path
) -> None:
    document = invoice()
    place = folder / ALFA / "received" / "2024"
    place.mkdir(parents=True)
    base = "2024-03-05_EFI-1203_ENEL S.R.L"
    (place / f"{base}.zip").write_bytes(package(document))
    (place / f"{base}.xml").write_bytes(document)
    (place / f"{base}_semnatura.xml").write_bytes(signature_of(document))
    (place / f"{base}.pdf").write_bytes(b"%PDF")
    (place / f"{base}.json").write_text(json.dumps({"message": {"request_id": "6001"}}))

    run = await handed(desk, folder, Status.ARCHIVED)

    assert run.counts == {ItemState.ARCHIVED: 1, ItemState.DUPLICATE: 1}
    assert run.ignored == 1
    (stored,) = await desk.documents()
    assert (stored["status"], stored["period"]) == ("archived", "2026-11")
    assert desk.problems() == []


async def test_a_document_with_its_signature_beside_it_is_verified(
    desk: Desk, folder: Path
) -> None:
    document = invoice()
    (folder / "factura.xml").write_bytes(document)
    (folder / "factura_semnatura.xml").write_bytes(signature_of(document))

    await handed(desk, folder)

    (stored,) = await desk.documents()
    assert stored["signature_result"] == "valid"
    files = [f.role for f in (await documents.by_uid(stored["uid"])).files]
    assert files == ["invoice", "signature"]
    assert desk.problems() == []


async def test_a_zip_of_zips_and_folders_is_opened_to_its_last_invoice(
    desk: Desk, folder: Path
) -> None:
    inner = packed({"a/6001.zip": package(invoice(number="1")), "b.xml": invoice(number="2")})
    outer = packed(
        {"2024/inner.zip": inner, "6003.zip": package(invoice(number="3")), "x.pdf": b"%PDF"}
    )
    (folder / "all.zip").write_bytes(outer)

    run = await handed(desk, folder)

    assert run.counts == {ItemState.ARCHIVED: 3, ItemState.OPENED: 2}
    assert run.ignored == 1
    assert sorted(d["number"] for d in await desk.documents()) == ["1", "2", "3"]
    assert left(desk) == []
    assert desk.problems() == []


async def test_a_second_import_of_the_same_folder_stores_nothing(desk: Desk, folder: Path) -> None:
    (folder / "6001.zip").write_bytes(package(invoice(number="1")))
    (folder / "all.zip").write_bytes(packed({"2.xml": invoice(number="2"), "3.xml": invoice()}))
    await handed(desk, folder)
    before = await desk.documents()

    again = await handed(desk, folder)

    assert again.counts == {ItemState.DUPLICATE: 3, ItemState.OPENED: 1}
    assert await desk.documents() == before
    assert desk.problems() == []


async def test_what_was_fetched_before_is_a_duplicate_of_its_document(
    desk: Desk, folder: Path
) -> None:
    zipped = package()
    desk.vault.offer("7001", zipped)
    await desk.fetch()
    (folder / "6001.zip").write_bytes(zipped)

    run = await handed(desk, folder)

    assert run.counts == {ItemState.DUPLICATE: 1}
    (document,) = await desk.documents()
    (line,) = await imports.results(run, None)
    assert line.document_uid == document["uid"]


async def test_the_same_upload_with_other_bytes_is_a_duplicate_that_says_so(
    desk: Desk, folder: Path
) -> None:
    document = invoice()
    desk.vault.offer("7001", package(document), id_solicitare="600100")
    await desk.fetch()
    (folder / "600100.xml").write_bytes(document.replace(b"\n", b"\r\n"))

    run = await handed(desk, folder)

    assert run.counts == {ItemState.DUPLICATE: 1}
    assert "alt conținut" in (await _problem_of(run)).ro


async def test_a_signed_copy_of_an_unsigned_import_is_kept_as_well(
    desk: Desk, folder: Path
) -> None:
    (folder / "a.xml").write_bytes(invoice())
    await handed(desk, folder)
    (folder / "a.zip").write_bytes(package(invoice()))

    run = await handed(desk, folder)

    assert run.counts == {ItemState.ARCHIVED: 1, ItemState.DUPLICATE: 1}
    results = sorted(d["signature_result"] for d in await desk.documents())
    assert results == ["absent", "valid"]


async def test_a_message_fetched_later_meets_its_imported_document(
    desk: Desk, folder: Path
) -> None:
    zipped = package()
    (folder / "6001.zip").write_bytes(zipped)
    await handed(desk, folder, Status.APPROVED)
    desk.vault.offer("7001", zipped)

    await desk.fetch()

    (document,) = await desk.documents()
    message = await desk.only_message()
    assert message.state is MessageState.ARCHIVED
    view = await documents.by_uid(document["uid"])
    assert (view.source, view.message_id, view.status) == ("import", "7001", Status.APPROVED)
    assert [event.action for event in view.events] == ["ingest", "fetched"]
    assert desk.problems() == []


async def test_a_message_with_better_evidence_than_the_import_is_filed_too(
    desk: Desk, folder: Path
) -> None:
    (folder / "a.xml").write_bytes(invoice())
    await handed(desk, folder)
    desk.vault.offer("7001", package(invoice()))

    await desk.fetch()

    assert sorted(d["source"] for d in await desk.documents()) == ["import", "spv"]
    assert desk.problems() == []


async def test_an_invoice_between_two_clients_is_a_document_of_each(
    desk: Desk, folder: Path
) -> None:
    (folder / "6001.zip").write_bytes(package(invoice(ALFA, BETA)))

    run = await handed(desk, folder)

    assert run.counts == {ItemState.ARCHIVED: 2, ItemState.OPENED: 1}
    assert {d["kind"]: d["client_uid"] for d in await desk.documents()} == {
        "issued": desk.world.alfa_uid,
        "received": desk.world.beta_uid,
    }


@pytest.mark.parametrize("parties", [(STRANGER, "14399840"), (STRANGER, BETA)])
async def test_an_invoice_of_another_than_the_named_client_is_refused_in_the_same_words(
    desk: Desk, folder: Path, parties: tuple[str, str]
) -> None:
    (folder / "6001.zip").write_bytes(package(invoice(*parties)))

    run = await handed(desk, folder, client=desk.world.alfa, by="ana")

    assert run.counts == {ItemState.REFUSED: 1}
    assert (await _problem_of(run)).en.startswith("the client's CIF is in the invoice neither")
    assert await desk.documents() == []
    assert desk.problems() == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", b"PK\x03\x04 torn"),
        ("a.xml", b"<a"),
        ("a.xml", b"<declaratie/>"),
        ("semnatura_1.xml", b"<Signature xmlns='http://www.w3.org/2000/09/xmldsig#'/>"),
        ("a.zip", packed({"x.txt": b"nothing"})),
        ("a.zip", packed({"6001.xml": b"0" * 40_000_000})),
        ("a.xml", invoice(STRANGER, "14399840")),
    ],
)
async def test_what_is_no_invoice_of_a_client_is_refused_with_a_sentence(
    desk: Desk, folder: Path, name: str, data: bytes
) -> None:
    (folder / name).write_bytes(data)

    run = await handed(desk, folder)

    assert run.counts == {ItemState.REFUSED: 1}
    assert (await _problem_of(run)).ro.endswith(".")
    assert left(desk) == []
    assert desk.problems() == []


async def test_zips_in_zips_without_end_stop(desk: Desk, folder: Path) -> None:
    data = package()
    for level in range(unpacking.MAX_DEPTH + 2):
        data = packed({f"{level}.zip": data})
    (folder / "deep.zip").write_bytes(data)

    run = await handed(desk, folder)

    assert run.counts == {ItemState.OPENED: unpacking.MAX_DEPTH, ItemState.REFUSED: 1}
    assert await desk.documents() == []


async def test_a_bomb_of_many_members_is_not_opened(desk: Desk, folder: Path) -> None:
    bomb = packed({f"{n}.xml": b" " * 8_000_000 for n in range(12)})
    (folder / "bomb.zip").write_bytes(bomb)

    run = await handed(desk, folder)

    assert run.counts == {ItemState.REFUSED: 1}
    assert "periculoas" in (await _problem_of(run)).ro


async def test_a_damaged_member_is_refused_alone(desk: Desk, folder: Path) -> None:
    whole = packed({"1.zip": package(invoice(number="1")), "2.zip": package(invoice(number="2"))})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        offset = archive.getinfo("1.zip").header_offset + 60
    (folder / "all.zip").write_bytes(whole[:offset] + b"\xff\xff\xff" + whole[offset + 3 :])

    run = await handed(desk, folder)

    assert run.counts[ItemState.REFUSED] == 1
    assert run.counts[ItemState.ARCHIVED] == 1


async def test_old_errors_of_anaf_are_notices_and_alert_nobody_when_they_are_archived(
    desk: Desk, folder: Path
) -> None:
    (folder / "6001.zip").write_bytes(signer().pack("6001", ANAF_ERROR, NOW))

    run = await handed(desk, folder, Status.ARCHIVED)
    again = await handed(desk, folder, Status.ARCHIVED)

    assert (run.counts, again.counts) == ({ItemState.NOTICE: 1}, {ItemState.DUPLICATE: 1})
    (notice,) = await engine.fetch("SELECT * FROM notice")
    assert notice["message"] is None
    assert notice["acknowledged_client_at"] is not None
    desk.vault.offer("7001", signer().pack("6001", ANAF_ERROR, NOW), tip="ERORI FACTURA")
    await desk.fetch()
    assert (await desk.only_message()).state is MessageState.NOTICE
    assert await engine.fetch("SELECT COUNT(*) AS n FROM notice") == [{"n": 1}]
    assert desk.problems() == []


# Who may choose what


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("ana", {"pending", "approved"}),
        ("bogdan", {"pending", "approved"}),
        ("corina", set()),
        ("dan", set()),
        ("bianca", set()),
        ("elena", {"pending", "archived"}),
        ("florin", set()),
        ("gina", {"pending", "archived"}),
    ],
)
async def test_who_may_bring_documents_as_what(desk: Desk, name: str, allowed: set[str]) -> None:
    viewer = await desk.world.viewer(name)
    opened = set()
    for status in Status:
        try:
            await imports.begin("x", status, NOW, client_id=desk.world.alfa, by=viewer)
        except NotAllowed:
            continue
        opened.add(status.value)
    assert opened == allowed


async def test_an_approvers_import_reaches_as_far_as_their_limit(desk: Desk, folder: Path) -> None:
    small = invoice(number="small")
    large = invoice(number="large", lines=(LineDraft("x", Decimal(9000), "H87", Decimal(1)),))
    (folder / "1.xml").write_bytes(small)
    (folder / "2.xml").write_bytes(large)

    await handed(desk, folder, Status.APPROVED, client=desk.world.alfa, by="bogdan")

    statuses = {d["number"]: d["status"] for d in await desk.documents()}
    assert statuses == {"small": "approved", "large": "pending"}
    assert desk.problems() == []


async def test_recorded_documents_keep_the_month_of_their_date_and_no_future_one(
    desk: Desk, folder: Path
) -> None:
    for name, day in (("a", date(2024, 3, 5)), ("b", date(2061, 1, 1)), ("c", date(1970, 1, 1))):
        (folder / f"{name}.xml").write_bytes(invoice(number=name, issue_date=day))

    run = await handed(desk, folder, Status.ARCHIVED, client=desk.world.alfa, by="elena")

    assert run.counts == {ItemState.ARCHIVED: 3}
    now = f"{datetime.now(UTC):%Y-%m}"
    assert {d["number"]: d["period"] for d in await desk.documents()} == {
        "a": "2024-03",
        "b": now,
        "c": now,
    }
    record = await engine.fetch("SELECT CAST(body AS TEXT) AS body FROM audit")
    told = [json.loads(row["body"]) for row in record]
    assert [r["data"] for r in told if r["action"] == "import:begin"] == [{"status": "archived"}]
    assert [r["data"] for r in told if r["action"] == "import:end"] == [{"archived": 3}]
    assert {r["data"]["to"] for r in told if r["action"] == "document:ingest"} == {"archived"}
    assert desk.problems() == []


async def test_an_accountant_is_not_told_what_a_duplicate_is_a_copy_of_while_it_waits(
    desk: Desk, folder: Path
) -> None:
    zipped = package()
    desk.vault.offer("7001", zipped)
    await desk.fetch()
    (folder / "6001.zip").write_bytes(zipped)
    run = await handed(desk, folder, Status.ARCHIVED, client=desk.world.alfa, by="elena")
    elena, ana = await desk.world.viewer("elena"), await desk.world.viewer("ana")

    assert run.counts == {ItemState.DUPLICATE: 1}
    assert await imports.results(run, elena) == []
    assert len(await imports.results(run, ana)) == 1
    (document,) = await desk.documents()
    assert document["status"] == "pending"

    await desk.world.bring(document["uid"], Status.APPROVED)
    (line,) = await imports.results(run, elena)
    assert line.document_uid == document["uid"]


async def test_the_firm_does_not_see_what_the_clients_people_imported(
    desk: Desk, folder: Path
) -> None:
    (folder / "secret.xml").write_bytes(invoice())
    await handed(desk, folder, client=desk.world.alfa, by="ana")

    for name, runs in (("elena", 0), ("gina", 0), ("ana", 1), ("bogdan", 1)):
        viewer = await desk.world.viewer(name)
        assert len(await imports.of_client(desk.world.alfa, viewer)) == runs

"""From a job to a filed document, with the real store and archive, and a vault on a socket."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.core.roles import Status
from appliance.core.times import BUCHAREST
from appliance.simulator.invoice import AttachmentDraft
from appliance.store import clients, documents, jobs, messages
from appliance.store import files as archive_files
from appliance.store.files import Archive
from appliance.store.messages import Message, MessageState
from appliance.sync import ingest, tasks
from appliance.sync.spv import SpvClient
from tests.support.desk import Desk
from tests.support.spv import (
    ALFA,
    BETA,
    STRANGER,
    Answer,
    eroare,
    invoice,
    names,
    package,
    refusal,
)


async def test_a_listed_invoice_is_filed_with_its_pdf(desk: Desk) -> None:
    desk.vault.offer("7001", package())

    assert (await desk.listing()).state == "done"
    ended = await desk.run()

    assert [(job.kind, job.state) for job in ended] == [("message", "done"), ("render", "done")]
    message = await desk.only_message()
    assert message.state is MessageState.ARCHIVED
    assert desk.problems() == []


async def test_a_second_fetch_finds_nothing_to_do(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.fetch()

    assert [job.kind for job in await desk.fetch()] == ["list"]

    assert desk.vault.downloads == ["7001"]
    assert len(await desk.documents()) == 1
    assert desk.spooled() == []


async def test_the_vault_is_told_which_companies_the_certificate_reaches(desk: Desk) -> None:
    desk.vault.offer("7001", package())

    await desk.listing()

    assert desk.vault.seen == [{"cif": ALFA, "cifs": [ALFA, BETA], "serial": "34AB"}]


async def test_every_page_of_the_list_is_read(desk: Desk) -> None:
    desk.vault.page_size = 2
    for number in range(7001, 7006):
        desk.vault.offer(str(number), package())

    await desk.listing()

    assert (await messages.progress())[MessageState.QUEUED] == 5
    assert [query["pagina"] for query in desk.vault.lists] == ["1", "2", "3"]
    assert len({query["endTime"] for query in desk.vault.lists}) == 1


async def test_a_listed_message_of_another_client_is_filed_with_that_client(desk: Desk) -> None:
    zipped = package(invoice(STRANGER, BETA))
    desk.vault.offer("7001", zipped)
    desk.vault.entries[ALFA][0]["cif"] = BETA

    await desk.fetch()

    (document,) = await desk.documents()
    assert document["client_uid"] == desk.world.beta_uid
    assert (await desk.only_message()).cif == BETA


async def test_a_listed_message_of_no_client_is_not_stored(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.entries[ALFA][0]["cif"] = STRANGER

    assert (await desk.listing()).state == "done"

    assert sum((await messages.progress()).values()) == 0


async def test_an_entry_without_its_cif_belongs_to_the_one_that_was_asked_for(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    del desk.vault.entries[ALFA][0]["cif"]

    await desk.fetch()

    assert (await desk.only_message()).cif == ALFA
    assert len(await desk.documents()) == 1


async def test_an_entry_without_an_id_is_kept_once_and_says_why_it_was_not_fetched(
    desk: Desk,
) -> None:
    desk.vault.offer("7001", package())
    desk.vault.offer("7002", package())
    del desk.vault.entries[ALFA][1]["id"]

    await desk.fetch()
    await desk.fetch()

    assert desk.vault.downloads == ["7001"]
    (kept,) = await messages.in_state(MessageState.NOT_ALLOWED)
    assert kept.problem is not None
    assert str(kept.upload_id) in kept.problem.ro
    assert desk.problems() == []


async def test_text_that_no_database_holds_does_not_stop_the_list(desk: Desk) -> None:
    desk.vault.offer("7001", package(), detalii="jum\ud83d\u0000tate")
    desk.vault.offer("7002", package())

    await desk.fetch()

    assert len(await desk.documents()) == 2


async def test_an_invoice_of_another_client_is_kept_apart(desk: Desk) -> None:
    desk.vault.offer("7001", package(invoice(STRANGER, BETA)))

    await desk.fetch()

    message = await desk.only_message()
    assert message.state is MessageState.QUARANTINED
    assert message.problem is not None
    assert BETA in message.problem.ro
    assert await desk.documents() == []
    kept = desk.world.settings.archive_dir / "quarantine" / message.uid
    assert (kept / "message.zip").read_bytes() == desk.vault.zips["7001"]
    assert desk.spooled() == []
    assert desk.problems() == []


async def test_when_one_number_of_a_client_is_not_linked_the_other_is_listed(desk: Desk) -> None:
    other = "14399840"
    await clients.add_identifier(desk.world.alfa, other, datetime.now(UTC))
    desk.vault.offer("7001", package(invoice(STRANGER, other)), cif=other)
    desk.vault.answers[ALFA] = [refusal(403, "unmapped")]

    listing = (await desk.fetch())[0]

    assert listing.state == "queued"
    assert len(await desk.documents()) == 1


# What ANAF and the vault may answer

SOON = timedelta(minutes=2)


@pytest.mark.parametrize(
    ("answer", "state", "least", "most"),
    [
        (eroare("Pentru id=7001 nu exista inregistrata nici o factura"), "expired", None, None),
        (eroare("A trecut perioada de 60 de zile"), "expired", None, None),
        (eroare("Nu aveti dreptul sa descarcati acest mesaj"), "not_allowed", None, None),
        ((403, b"{}", {}), "queued", 3590, 3610),
        (eroare("A aparut o eroare tehnica. Cod: XYZ"), "queued", 3, 7),
        ((500, b"<html><h1>Internal error</h1></html>", {}), "queued", 3, 7),
        ((200, b"<html><body>mentenanta</body></html>", {}), "queued", 3, 7),
        ((200, b'{"neasteptat": true}', {}), "queued", 3, 7),
        ((200, b"", {}), "queued", 3, 7),
        ((401, b'{"status":401}', {}), "queued", 3590, 3610),
        (eroare("Id descarcare introdus= x nu este un numar intreg"), "queued", 890, 910),
        (refusal(403, "unmapped"), "queued", 3590, 3610),
        (refusal(503, "needs-authorisation"), "queued", 3590, 3610),
        (refusal(503, "second-try", 600), "queued", 598, 602),
        (refusal(503, "application", 600), "queued", 598, 602),
        (refusal(503, "busy", 5), "queued", 3, 7),
        (refusal(502, "unreachable", 60), "queued", 58, 62),
        (refusal(429, "message-quota", 500), "queued", 498, 502),
        (refusal(403, "refused"), "queued", 890, 910),
    ],
)
async def test_where_an_answer_to_a_download_leads(
    desk: Desk, answer: Answer, state: str, least: float | None, most: float | None
) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [answer]

    _, job = await desk.fetch()

    message = await desk.only_message()
    assert message.state == state
    assert message.problem is not None
    assert message.problem.ro != message.problem.en
    if least is None or most is None:
        assert job.state == "done"
    else:
        assert job.state == "queued"
        wait = (job.next_attempt_at - datetime.now(UTC)).total_seconds()
        assert least - 2 < wait < most
    assert desk.spooled() == []
    assert desk.problems() == []


async def test_a_message_that_waited_is_filed_at_its_time(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [(500, b"", {}), refusal(502, "unreachable", 60)]
    await desk.fetch()

    await desk.run("message", at=datetime.now(UTC) + SOON)
    await desk.run("message", at=datetime.now(UTC) + SOON)

    message = await desk.only_message()
    assert (message.state, message.problem) == (MessageState.ARCHIVED, None)


async def test_whoever_asks_to_fetch_does_not_wait_for_an_hour(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [refusal(503, "needs-authorisation")]
    await desk.fetch()

    await desk.fetch()

    assert (await desk.only_message()).state is MessageState.ARCHIVED


async def test_at_anafs_ceiling_nobody_calls_until_there_is_room(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.offer("7002", package())
    desk.vault.answers["7001"] = [refusal(429, "rate", 30)]

    ended = (await desk.fetch())[1:]

    assert desk.vault.downloads == ["7001"]
    assert [(job.state, job.attempts) for job in ended] == [("queued", 0), ("queued", 0)]
    wait = (ended[1].next_attempt_at - datetime.now(UTC)).total_seconds()
    assert 27 < wait <= 30
    desk.context.paused_until = datetime.now(UTC)
    await desk.run("message", at=datetime.now(UTC) + SOON)
    assert len(await desk.documents()) == 2


async def test_a_used_up_quota_waits_for_midnight_in_romania(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers["7001"] = [eroare("S-au facut deja 10 descarcari de mesaj in cursul zilei")]

    _, job = await desk.fetch()

    local = job.next_attempt_at.astimezone(BUCHAREST)
    assert (local.hour, local.minute) == (0, 1)
    assert local.date() == (datetime.now(UTC).astimezone(BUCHAREST) + timedelta(days=1)).date()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (eroare("Nu aveti dreptul sa interogati mesajele pentru cif"), "parked"),
        (eroare("S-au facut deja 1500 interogari de tip lista mesaje"), "queued"),
        (refusal(403, "unmapped"), "queued"),
        ((500, b"", {}), "queued"),
        ((200, b"<html>", {}), "queued"),
    ],
)
async def test_where_an_answer_to_a_list_leads(desk: Desk, answer: Answer, state: str) -> None:
    desk.vault.offer("7001", package())
    desk.vault.answers[ALFA] = [answer]

    job = await desk.listing()

    assert job.state == state
    assert job.problem is not None
    assert sum((await messages.progress()).values()) == 0


async def test_without_a_vault_everything_waits(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    desk.context.spv = SpvClient(desk.world.settings.run_dir / "nobody.sock", "prod")

    (job,) = await desk.run("message")

    assert job.state == "queued"
    assert (await desk.only_message()).problem is not None


# Zips that do not open


async def test_a_broken_zip_is_downloaded_again(desk: Desk) -> None:
    whole = package()
    desk.vault.offer("7001", whole)
    desk.vault.answers["7001"] = [(200, whole[:-40], {}), (200, whole[:-50], {})]

    await desk.fetch()
    await desk.run("message", at=datetime.now(UTC) + SOON)
    await desk.run("message", at=datetime.now(UTC) + SOON)

    (document,) = await desk.documents()
    assert document["type"] == "invoice"
    assert desk.vault.downloads == ["7001"] * 3
    assert desk.spooled() == []


async def test_a_zip_that_stays_broken_is_kept_and_says_why(desk: Desk) -> None:
    whole = package()
    desk.vault.offer("7001", whole)
    desk.vault.answers["7001"] = [(200, whole[:-size], {}) for size in (40, 50, 60)]

    await desk.fetch()
    for _ in range(4):
        await desk.run("message", at=datetime.now(UTC) + SOON)

    (document,) = await desk.documents()
    assert document["type"] == "unreadable"
    assert document["status"] == Status.PENDING
    assert "trunchiat" in json.loads(document["problem"])["ro"]
    place = (document["client_uid"], document["archive_month"], document["uid"])
    kept = desk.context.archive.path_of(*place, "message.zip")
    assert kept.read_bytes() == whole[:-60]
    assert desk.vault.downloads == ["7001"] * 3
    assert desk.spooled() == []
    assert desk.problems() == []


async def test_the_same_broken_bytes_twice_are_what_anaf_has(desk: Desk) -> None:
    desk.vault.offer("7001", package()[:-40])

    await desk.fetch()
    await desk.run("message", at=datetime.now(UTC) + SOON)

    assert desk.vault.downloads == ["7001"] * 2
    assert len(await desk.documents()) == 1


async def test_calls_put_off_do_not_use_up_the_second_chance(desk: Desk) -> None:
    whole = package()
    desk.vault.offer("7001", whole)
    down: Answer = (500, b"", {})
    desk.vault.answers["7001"] = [*[down] * 4, (200, whole[:-40], {})]
    await desk.fetch()

    for _ in range(6):
        await desk.run("message", at=datetime.now(UTC) + timedelta(hours=1))

    (document,) = await desk.documents()
    assert document["type"] == "invoice"


# Killed anywhere


class Killed(BaseException):
    """As final as kill -9: nothing of ours catches it."""


def dying(before: Callable[..., Any] | None = None) -> Callable[..., Any]:
    def die(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(*args, **kwargs)
        raise Killed

    return die


STEPS: list[tuple[Any, str, Callable[..., Any] | None]] = [
    (os, "fsync", None),  # the spool file is not on disk
    (ingest, "plan", None),
    (archive_files, "_fill", None),
    (archive_files, "_fill", archive_files._fill),  # a whole temporary folder
    (Archive, "write_document", Archive.write_document),  # the folder, no row
    (documents, "add", None),
    (jobs, "insert", None),  # inside the transaction, after the document
    (jobs, "finish", None),  # filed; the job is open
    (Path, "unlink", None),  # filed; the spool file is there
]


@pytest.mark.parametrize(("where", "name", "before"), STEPS)
async def test_killed_at_any_step_the_next_run_files_exactly_one(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    before: Callable[..., Any] | None,
) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    (job,) = await jobs.lease(10, datetime.now(UTC), 45, ["message"])
    with monkeypatch.context() as fault:
        fault.setattr(where, name, dying(before))
        with pytest.raises(Killed):
            await tasks.run(job.id, desk.context)
    assert [p for p in desk.problems() if p.kind != "old_temporary"] == []

    # The lease ends, the sweeper queues it again.
    later = datetime.now(UTC) + timedelta(seconds=46)
    await jobs.sweep(later)
    await desk.run(at=later)

    (document,) = await desk.documents()
    place = (document["client_uid"], document["archive_month"], document["uid"])
    stored = desk.context.archive.path_of(*place, "message.zip").parent
    assert names(stored.iterdir()) == [
        "invoice.pdf",
        "invoice.xml",
        "manifest.json",
        "message.zip",
        "signature.xml",
    ]
    assert (stored / "message.zip").read_bytes() == desk.vault.zips["7001"]
    assert not [name for name in desk.spooled() if not name.endswith(".partial")]
    desk.context.archive.sweep(later, older_than=timedelta(0))
    assert desk.problems() == []


async def test_a_folder_without_its_row_is_not_downloaded_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    (job,) = await jobs.lease(10, datetime.now(UTC), 45, ["message"])
    with monkeypatch.context() as fault:
        fault.setattr(documents, "add", dying())
        with pytest.raises(Killed):
            await tasks.run(job.id, desk.context)
    for path in desk.world.settings.spool_dir.iterdir():
        path.unlink()
    # ANAF may zip anew, and then the bytes differ although the invoice is the same.
    desk.vault.zips["7001"] = package(upload_id="6002")

    later = datetime.now(UTC) + timedelta(seconds=46)
    await jobs.sweep(later)
    await desk.run("message", at=later)

    assert len(await desk.documents()) == 1
    assert desk.vault.downloads == ["7001"]


async def test_a_job_at_work_twice_files_one_document(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    (job,) = await jobs.lease(10, datetime.now(UTC), 45, ["message"])

    await asyncio.gather(*(tasks.run(job.id, desk.context) for _ in range(3)))

    assert len(await desk.documents()) == 1
    assert desk.spooled() == []
    assert desk.problems() == []


async def test_a_job_that_is_done_is_not_done_again(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    (job,) = await jobs.lease(10, datetime.now(UTC), 45, ["message"])
    await tasks.run(job.id, desk.context)

    await tasks.run(job.id, desk.context)

    assert desk.vault.downloads == ["7001"]


async def test_a_cancelled_job_is_given_back(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    desk.vault.hold["7001"] = asyncio.Event()
    await desk.listing()
    (job,) = await jobs.lease(10, datetime.now(UTC), 45, ["message"])
    desk.vault.asked.clear()
    running = asyncio.create_task(tasks.run(job.id, desk.context))
    await desk.vault.asked.wait()

    running.cancel()
    await running

    after = await jobs.get(job.id)
    assert after is not None
    assert (after.state, after.attempts) == ("queued", 0)


# A full disk


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of a megabyte at `place`, or the limit of a file where we may not mount."""
    place.mkdir(parents=True, exist_ok=True)
    mounted = (
        os.getuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
            check=False,
            capture_output=True,
        ).returncode
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def heavy() -> bytes:
    noise = random.Random(1).randbytes(1_500_000)
    attachment = AttachmentDraft("1", "Foto", "foto.png", "image/png", noise)
    return package(invoice(attachments=(attachment,)))


async def test_a_full_archive_loses_nothing_and_the_spool_keeps_the_zip(desk: Desk) -> None:
    desk.vault.offer("7001", heavy())
    with small_disk(desk.world.settings.archive_dir):
        _, job = await desk.fetch()

        message = await desk.only_message()
        assert (job.state, message.state) == ("queued", MessageState.QUEUED)
        assert message.problem is not None
        assert await desk.documents() == []
        assert desk.problems() == []

    desk.context.archive = Archive(desk.world.settings.archive_dir)
    await desk.run("message", at=datetime.now(UTC) + SOON)

    assert len(await desk.documents()) == 1
    assert desk.spooled() == []
    assert desk.problems() == []


async def test_a_full_spool_waits_and_leaves_nothing_half_written(desk: Desk) -> None:
    desk.vault.offer("7001", heavy())
    with small_disk(desk.world.settings.spool_dir):
        _, job = await desk.fetch()

        assert job.state == "queued"
        message = await desk.only_message()
        assert message.problem is not None
        assert "loc pe disc" in message.problem.ro
        assert desk.spooled() == []

    await desk.run("message", at=datetime.now(UTC) + SOON)

    assert len(await desk.documents()) == 1


async def test_other_bytes_in_the_archive_wait_for_a_person(desk: Desk) -> None:
    desk.vault.offer("7001", package())
    await desk.listing()
    message = await desk.only_message()
    desk.context.archive.write_document(
        message.client_uid,
        documents.archive_month(message.listed_at),
        message.uid,
        {"invoice.xml": b"other"},
        {"v": 1},
    )

    (job,) = await desk.run("message")

    assert job.state == "parked"
    explained = (await desk.only_message()).problem
    assert explained is not None
    assert "alt conținut" in explained.ro


async def test_a_defect_of_ours_is_logged_and_stops_nobody_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk.vault.offer("7001", package())
    desk.vault.offer("7002", package())
    plan = ingest.plan

    def broken(message: Message, *args: Any, **kwargs: Any) -> Any:
        if message.message_id == "7001":
            raise ZeroDivisionError
        return plan(message, *args, **kwargs)

    monkeypatch.setattr(ingest, "plan", broken)

    await desk.fetch()

    states = await messages.progress()
    assert (states[MessageState.QUEUED], states[MessageState.ARCHIVED]) == (1, 1)
    assert "ZeroDivisionError" in caplog.text
    assert desk.spooled() != []
    assert desk.problems() == []

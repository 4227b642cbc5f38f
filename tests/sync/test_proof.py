"""„Dovada lunii”: from a job to three files by which a month can be checked later."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.core.roles import Status
from appliance.core.sentence import Sentence
from appliance.store import audit, engine, jobs, messages
from appliance.store.files import MANIFEST, Archive
from appliance.store.jobs import Job
from appliance.store.messages import MessageState
from appliance.store.months import GAPS, NAMED
from appliance.sync import tasks
from appliance.sync.context import Context
from appliance.sync.pdf.proof import render_proof
from appliance.sync.rendering import Renderers
from appliance.sync.spv import SpvClient
from tests.support.store import NOW, World, entry, new_document

MONTH = "2026-11"


@pytest.fixture
async def context(world: World) -> AsyncIterator[Context]:
    settings = world.settings
    made = Context(
        settings=settings,
        archive=Archive(settings.archive_dir),
        spv=SpvClient(settings.spv_socket, settings.spv_environment),
        renderers=Renderers(1),
        pinned={},
    )
    yield made
    made.renderers.close()


async def filed(world: World, archive: Archive, message_id: str, status: Status) -> str:
    """Bring one message into the archive, its folder and rows, and to the status."""
    (message,) = await messages.remember(world.alfa, [entry(message_id)], NOW)
    new = new_document(world.alfa, uid=message.uid, message_uid=message.uid, partner_name="KANAR")
    data = {"message.zip": b"PK" + message_id.encode(), "invoice.xml": b"<a/>"}
    archive.write_document(world.alfa_uid, "2026/11", new.uid, data, {"v": 1, "uid": new.uid})
    await world.document(status, **{**vars_of(new), "files": []})
    await messages.settle(new.uid, MessageState.ARCHIVED, None, NOW)
    return new.uid


def vars_of(new: Any) -> dict[str, Any]:
    return {name: getattr(new, name) for name in ("uid", "message_uid", "partner_name")}


async def made(world: World, context: Context) -> Job:
    """Ask for the proof of Alfa's November and run the job."""
    job = await jobs.insert("proof", f"{world.alfa_uid}/{MONTH}", datetime.now(UTC))
    (leased,) = await jobs.lease(5, datetime.now(UTC), 45, ["proof"])
    await tasks.run(leased.id, context)
    after = await jobs.get(job.id)
    assert after is not None
    return after


def proofs(world: World) -> Path:
    return world.settings.archive_dir / world.alfa_uid / "proofs"


def claims(world: World) -> dict[str, Any]:
    return dict(json.loads((proofs(world) / f"{MONTH}.json").read_bytes()))


async def test_the_proof_can_be_checked_with_tools_that_every_machine_has(
    world: World, context: Context
) -> None:
    kept = await filed(world, context.archive, "7001", Status.ARCHIVED)
    await filed(world, context.archive, "7002", Status.PENDING)

    assert (await made(world, context)).state == "done"

    said = claims(world)
    checked = sha256sum(world)
    assert checked.returncode == 0, checked.stderr
    assert len(checked.stdout.splitlines()) == said["manifests"]["number"] == 2
    listed = (proofs(world) / f"{MONTH}.sha256").read_bytes()
    assert hashlib.sha256(listed).hexdigest() == said["manifests"]["sha256"]
    # The head that is printed vouches for a record that names the list.
    seq, head = said["audit"]["seq"], bytes.fromhex(said["audit"]["head"])
    (row,) = await engine.fetch("SELECT body FROM audit WHERE seq = ?", [seq])
    body = json.loads(row["body"])
    assert (body["action"], body["tenant"]) == ("month:proof", world.alfa_uid)
    assert body["data"]["sha256"] == said["manifests"]["sha256"]
    assert audit.verify(world.settings.database_path, anchors={seq: head}) == []
    assert (proofs(world) / f"{MONTH}.pdf").read_bytes().startswith(b"%PDF-1.7")
    # Who changes the archive afterwards is found out.
    path = context.archive.path_of(world.alfa_uid, "2026/11", kept, MANIFEST)
    path.chmod(0o600)
    path.write_bytes(b"{}")
    assert sha256sum(world).returncode != 0


def sha256sum(world: World) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", "--check", "--strict", f"proofs/{MONTH}.sha256"],
        cwd=proofs(world).parent,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_proof_says_the_numbers_and_nothing_of_what_is_not_approved(
    world: World, context: Context
) -> None:
    for number, status in enumerate(Status):
        await filed(world, context.archive, f"71{number}", status)
    await world.document(source="upload", issue_date=date(2026, 11, 3))
    for message_id, state in (("7201", MessageState.EXPIRED), ("7202", MessageState.QUEUED)):
        (message,) = await messages.remember(world.alfa, [entry(message_id)], NOW)
        await messages.settle(message.uid, state, Sentence("x", "x"), NOW)

    await made(world, context)

    said = claims(world)
    assert said["messages"]["listed"] == 6
    assert said["messages"]["archived"] == 4
    assert said["documents"] == {"pending": 1, "approved": 1, "rejected": 1, "archived": 1}
    assert said["others"]["pending"] == 1
    assert [(each["message_id"], each["state"]) for each in said["lost"]] == [("7201", "expired")]
    assert not said["fetched"]
    everything = (proofs(world) / f"{MONTH}.json").read_text() + text(proofs(world))
    assert "KANAR" not in everything
    assert "7202" not in everything
    assert "4 din 6" in text(proofs(world))
    # The upload has no folder in this test, and its row promised one.
    assert {"kind": "no_file", "number": 1, "oldest": None} in said["gaps"]


async def test_of_many_lost_messages_the_page_names_some_and_counts_the_others(
    world: World, context: Context
) -> None:
    ids = [str(7300 + number) for number in range(NAMED + 20)]
    for message in await messages.remember(world.alfa, [entry(each) for each in ids], NOW):
        await messages.settle(message.uid, MessageState.EXPIRED, Sentence("x", "x"), NOW)

    await made(world, context)

    page = text(proofs(world))
    named = sum(each in page for each in ids)
    assert 0 < named < NAMED
    assert f"și încă {len(ids) - named};" in page


def text(folder: Path) -> str:
    return subprocess.run(
        ["pdftotext", "-layout", str(folder / f"{MONTH}.pdf"), "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


async def test_a_second_proof_replaces_the_first_and_the_check_finds_nothing_strange(
    world: World, context: Context
) -> None:
    await made(world, context)
    first = claims(world)
    await filed(world, context.archive, "7001", Status.PENDING)
    (proofs(world) / ".tmp-left-behind").write_bytes(b"half")

    await made(world, context)

    second = claims(world)
    assert (first["manifests"]["number"], second["manifests"]["number"]) == (0, 1)
    assert second["audit"]["seq"] > first["audit"]["seq"]
    context.archive.sweep(datetime(2027, 1, 1, tzinfo=UTC))
    assert sorted(path.name for path in proofs(world).iterdir()) == [
        f"{MONTH}.json", f"{MONTH}.pdf", f"{MONTH}.sha256",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in proofs(world).iterdir()} == {0o440}


async def test_the_claims_are_written_last_so_that_they_promise_the_others(
    world: World, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(world, context)
    before = claims(world)
    written = context.archive.write_proof

    def stopped(client_uid: str, name: str, data: bytes) -> Path:
        if name.endswith(".json"):
            raise RuntimeError("killed")
        return written(client_uid, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(context.archive, "write_proof", stopped)
        assert (await made(world, context)).state == "queued"
    assert claims(world) == before

    async with engine.transaction():
        await engine.execute("UPDATE job SET state = 'done' WHERE state = 'queued'")
    assert (await made(world, context)).state == "done"
    assert claims(world)["audit"]["seq"] > before["audit"]["seq"]


@pytest.mark.parametrize("gaps", [0, 3, 13])
@pytest.mark.parametrize("lost", [0, 1, 60])
def test_the_proof_is_one_page_whatever_is_missing(gaps: int, lost: int, tmp_path: Path) -> None:
    pdf = render_proof(
        {
            "client": {"uid": "0" * 26, "name": "Întreprindere Ș" * 12, "cif": "1" * 10},
            "firm": "Contabilitate și Consultanță " * 4,
            "month": MONTH,
            "at": "2026-12-01T08:00:00.000000Z",
            "fetched": False,
            "complete": False,
            "messages": {"listed": 123456, "archived": 123400, "notice": 3},
            "documents": dict.fromkeys(Status, 10**6),
            "others": dict.fromkeys(Status, 10**6),
            "periods": {f"2026-{month:02}": 10**6 for month in range(1, 13)},
            "in_period": 10**6,
            "gaps": [
                {"kind": kind, "number": 10**6, "oldest": "2026-11-01T08:00:00.000000Z"}
                for kind in [*GAPS, "no_file"][:gaps]
            ],
            "lost": [
                {
                    "message_id": "7" * 12,
                    "upload_id": "6" * 12,
                    "created_at": "2026-11-01T08:00:00.000000Z",
                    "state": "expired",
                }
            ]
            * lost,
            "manifests": {"number": 10**6, "sha256": "a" * 64},
            "audit": {"seq": 10**6, "head": "b" * 64},
        }
    )
    (tmp_path / "proof.pdf").write_bytes(pdf)
    shown = subprocess.run(
        ["pdfinfo", str(tmp_path / "proof.pdf")], capture_output=True, text=True, check=True
    ).stdout
    assert "Pages:           1" in shown
    assert "A4" in shown

"""`arhivar export`: the drive as plain folders."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from appliance.core.errors import BadInput, Busy
from appliance.core.lifecycle import Action
from appliance.core.roles import Kind, Status
from appliance.store import clients
from appliance.store.engine import execute, transaction
from appliance.store.export import MARKER, export
from tests.conftest import ROOT
from tests.store.world import MORNING, World, office

ALFA = "Alfa Construct SRL (11111)"


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with office(tmp_path / "data") as world:
        yield world


def files(target: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(target)): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() and path.name != MARKER
    }


async def test_every_document_lies_where_the_drive_shows_it(world: World, tmp_path: Path) -> None:
    await world.receive(world.alfa, 1)
    recorded = await world.receive(world.alfa, 2, kind=Kind.ISSUED)
    await world.act(recorded, Action.APPROVE, world.ana, Status.PENDING)
    await world.act(recorded, Action.RECORD, world.carmen, Status.APPROVED)
    await world.notice(world.beta, 3)
    target = tmp_path / "export"
    report = export(world.settings, target)
    assert (report.folders, report.files, report.unchanged, report.problems) == (3, 7, 0, [])
    pending = f"{ALFA}/De aprobat/2026-11-20_FURNIZOR_F-1/2026-11-20_FURNIZOR_F-1"
    issued = f"{ALFA}/Emise/2026-11/2026-11-20_FURNIZOR_F-2/2026-11-20_FURNIZOR_F-2"
    notice = "2026-11-24_Eroare-ANAF_3"
    found = files(target)
    assert found.keys() == {
        *(f"{pending}{end}" for end in (".xml", "_semnatura.xml", ".pdf")),
        *(f"{issued}{end}" for end in (".xml", "_semnatura.xml", ".pdf")),
        f"Beta Trans SRL (22222)/Altele/2026-11/{notice}/{notice}.zip",
    }
    assert found[f"{pending}.xml"] == b"<Invoice>1</Invoice>"
    assert found[f"{issued}.pdf"] == b"%PDF 2"
    # Folders that hold nothing yet are there as well, as on the drive.
    assert (target / ALFA / "Respinse").is_dir()


async def test_copies_are_files_of_their_own(world: World, tmp_path: Path) -> None:
    uid = await world.receive(world.alfa, 1)
    target = tmp_path / "export"
    export(world.settings, target)
    (copy,) = target.rglob("*_F-1.xml")
    assert copy.stat().st_nlink == 1
    assert copy.stat().st_mode & 0o200
    copy.write_bytes(b"changed by its owner")
    assert (await world.path(uid, "invoice.xml")).read_bytes() == b"<Invoice>1</Invoice>"


async def test_made_again_it_only_brings_itself_up_to_date(world: World, tmp_path: Path) -> None:
    first = await world.receive(world.alfa, 1)
    await world.receive(world.alfa, 2)
    target = tmp_path / "export"
    export(world.settings, target)
    report = export(world.settings, target)
    assert (report.files, report.unchanged) == (0, 6)
    await world.act(first, Action.APPROVE, world.ana, Status.PENDING)
    await world.receive(world.alfa, 3)
    report = export(world.settings, target)
    # The approved one was moved with its folder, not copied again.
    assert (report.files, report.unchanged) == (3, 6)
    assert not (target / ALFA / "De aprobat" / "2026-11-20_FURNIZOR_F-1").exists()
    assert (target / ALFA / "Aprobate" / "2026-11-20_FURNIZOR_F-1").is_dir()


async def test_an_interrupted_export_goes_on(world: World, tmp_path: Path) -> None:
    for number in range(1, 4):
        await world.receive(world.alfa, number)
    target = tmp_path / "export"
    export(world.settings, target)
    whole = files(target)
    paths = sorted(whole)
    (target / paths[0]).unlink()
    (target / paths[1]).write_bytes(b"half")
    (target / MARKER).write_text('{"v": 1, "folders": {}}')
    report = export(world.settings, target)
    assert (report.files, report.unchanged) == (2, 7)
    assert files(target) == whole


async def test_an_export_killed_before_its_marker_may_be_begun_again(
    world: World, tmp_path: Path
) -> None:
    target = tmp_path / "export"
    target.mkdir()
    (target / f"{MARKER}.00ff").write_bytes(b"{")
    export(world.settings, target)
    assert (target / MARKER).is_file()


async def test_the_markers_name_has_reached_the_disk(world: World, tmp_path: Path) -> None:
    target, log = tmp_path / "export", tmp_path / "calls"
    program = (
        "import sys, pathlib as p; from appliance.config import Settings; "
        "from appliance.store.export import export; "
        "export(Settings(data_dir=p.Path(sys.argv[1])), p.Path(sys.argv[2]))"
    )

    await asyncio.to_thread(
        subprocess.run,
        ["strace", "-f", "-qq", "-y", "-o", str(log), "-e", "trace=fsync,/rename",
         sys.executable, "-c", program, str(world.settings.data_dir), str(target)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip

    # No call names the marker after its last rename but the fsync of its directory.
    *_, last = log.read_text().split(f'/{MARKER}")')
    assert f"<{target}>)" in last


@pytest.mark.parametrize("marker", [None, b"", b"[]", b'{"folders": 7}', b"\xff"])
async def test_a_folder_that_is_no_export_is_left_alone(
    world: World, tmp_path: Path, marker: bytes | None
) -> None:
    await world.receive(world.alfa, 1)
    target = tmp_path / "photos"
    target.mkdir()
    (target / "holiday.jpg").write_bytes(b"jpg")
    if marker is not None:
        (target / MARKER).write_bytes(marker)
    before = {path: path.read_bytes() for path in target.iterdir()}
    with pytest.raises(BadInput, match="choose an empty folder"):
        export(world.settings, target)
    assert {path: path.read_bytes() for path in target.iterdir()} == before
    with pytest.raises(BadInput, match="choose an empty folder"):
        export(world.settings, target / "holiday.jpg")


async def test_one_bad_file_does_not_stop_the_rest(world: World, tmp_path: Path) -> None:
    missing = await world.receive(world.alfa, 1)
    changed = await world.receive(world.alfa, 2)
    await world.receive(world.alfa, 3)
    (await world.path(missing, "invoice.xml")).unlink()
    path = await world.path(changed, "invoice.xml")
    path.chmod(0o640)
    path.write_bytes(b"<Invoice>9</Invoice>")
    target = tmp_path / "export"
    report = export(world.settings, target)
    assert (report.folders, report.files) == (3, 7)
    assert [where.rpartition("/")[2] for where, _ in report.problems] == [
        "2026-11-20_FURNIZOR_F-1.xml",
        "2026-11-20_FURNIZOR_F-2.xml",
    ]
    assert "is damaged in the archive" in report.problems[1][1].en
    assert not [path for path in target.rglob("*") if ".tmp-" in path.name]


async def test_a_name_that_leads_out_of_the_folder_is_reported(
    world: World, tmp_path: Path
) -> None:
    await world.receive(world.alfa, 1)
    async with transaction():
        await execute(
            "UPDATE document_file SET shown_name = '../../../../../out' WHERE role = 'pdf'"
        )
    client = await clients.by_id(world.beta)
    await world.receive(world.beta, 2)
    async with transaction():
        await execute(
            "UPDATE document SET folder_name = '../../../out' WHERE client = ?", [client.id]
        )
    target = tmp_path / "a" / "b" / "export"
    report = export(world.settings, target)
    assert len(report.problems) == 2
    assert not [path for path in tmp_path.rglob("out*") if target not in path.parents]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "arhivar-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_is_a_sentence_and_the_next_run_goes_on(
    world: World, small_disk: Path
) -> None:
    for number in range(1, 12):
        await world.receive(world.alfa, number, MORNING)
    target = small_disk / "export"
    with pytest.raises(Busy, match="run the same command again"):
        export(world.settings, target)
    assert not [path for path in target.rglob("*") if ".tmp-" in path.name]
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)  # noqa: ASYNC221
    report = export(world.settings, target)
    assert report.problems == []
    assert report.unchanged > 0
    assert report.files + report.unchanged == 33

"""The whole way once: SPV → archive → approve → drive, with the real processes and clients."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.test_killed import archived_by_message
from tests.support.browser import chromium, log_in
from tests.support.demo import PROCESSES, Demo

INVOICES = 60


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("walk") / "data", invoices=INVOICES)
    try:
        demo.start()
        demo.settled()
        yield demo
    finally:
        demo.kill_everything()


def _client_folder(demo: Demo, person: str) -> str:
    (folder,) = demo.folders(person, "")
    return folder


def test_what_spv_has_is_filed_verified_named_and_on_the_drive(demo: Demo) -> None:
    folder = _client_folder(demo, "ana")
    pending = demo.folders("ana", f"{folder}/De aprobat")

    assert len(pending) > INVOICES / 4
    files = demo.rclone("ana", "lsf", f":webdav:{folder}/De aprobat/{pending[0]}").stdout.split()
    assert {f"{pending[0]}.xml", f"{pending[0]}.pdf", f"{pending[0]}_semnatura.xml"} <= set(files)
    assert demo.arhivar("check", "--deep").stdout == "rows and files agree\n"
    assert demo.arhivar("audit", "verify").returncode == 0
    manifests = [
        json.loads(path.read_text())
        for path in (demo.data / "archive").glob("*/*/*/*/manifest.json")
    ]
    signatures = {m["signature"]["result"] for m in manifests if "signature" in m}
    assert signatures == {"valid"}


def test_approved_on_the_phone_it_reaches_the_accountant_who_records_it_on_the_drive(
    demo: Demo,
) -> None:
    folder = _client_folder(demo, "ana")
    ana = demo.person("ana")
    before = set(demo.folders("ana", f"{folder}/De aprobat"))
    assert demo.folders("elena", f"{folder}/De aprobat") == []
    assert demo.folders("elena", f"{folder}/Aprobate") == []

    with chromium() as page:
        log_in(page, demo.info["portal"], ana["email"], ana["password"])
        page.get_by_role("button", name="Aprobă", exact=True).first.click()
        page.get_by_text("Aprobat:").wait_for()
    (moved,) = before - set(demo.folders("ana", f"{folder}/De aprobat"))

    assert demo.folders("ana", f"{folder}/Aprobate") == [moved]
    assert demo.folders("elena", f"{folder}/Aprobate") == [moved]
    listing = demo.rclone("elena", "lsf", f":webdav:{folder}").stdout.split("\n")
    assert "De aprobat/" not in listing
    assert "Respinse/" not in listing

    with demo.drive("elena") as drive:
        kinds = {"Primite", "Emise", "Altele"}
        statuses = {}
        for kind in sorted(kinds):
            answer = drive.request(
                "MOVE",
                "/" + quote(f"{folder}/Aprobate/{moved}"),
                headers={"Destination": "/" + quote(f"{folder}/{kind}/{moved}")},
            )
            statuses[kind] = answer.status_code
            if answer.status_code == 201:
                break
    assert 201 in statuses.values()
    assert set(statuses.values()) <= {201, 409}

    assert demo.folders("elena", f"{folder}/Aprobate") == []
    (kind,) = [name for name, status in statuses.items() if status == 201]
    months = demo.folders("ana", f"{folder}/{kind}")
    assert any(moved in demo.folders("ana", f"{folder}/{kind}/{month}") for month in months)


def test_moving_a_folder_to_respinse_rejects_it_and_the_portal_says_pe_disc(demo: Demo) -> None:
    folder = _client_folder(demo, "ana")
    ana = demo.person("ana")
    name = demo.folders("ana", f"{folder}/De aprobat")[-1]

    moved = demo.rclone(
        "ana", "moveto", f":webdav:{folder}/De aprobat/{name}", f":webdav:{folder}/Respinse/{name}"
    )

    assert moved.returncode == 0, moved.stderr
    assert name in demo.folders("ana", f"{folder}/Respinse")
    assert demo.folders("elena", f"{folder}/Respinse") == []
    with chromium() as page:
        log_in(page, demo.info["portal"], ana["email"], ana["password"])
        page.get_by_role("link", name="Respinse").first.click()
        page.locator("main a[href^='/documents/']").first.click()
        page.get_by_text("mutat pe disc").first.wait_for()


def test_ctrl_c_ends_everything_and_the_same_directory_goes_on_where_it_was(
    demo: Demo,
) -> None:
    """The last test of this file: it stops the demo that the others share."""
    folder = _client_folder(demo, "ana")
    before = {
        place: demo.folders("ana", f"{folder}/{place}")
        for place in ("De aprobat", "Aprobate", "Respinse")
    }
    logins = demo.info["logins"]
    messages = archived_by_message(demo)
    pids = [pid for name in PROCESSES for pid in demo.pids(name)]

    assert demo.stop() == 0
    assert not any(_runs(pid) for pid in pids)
    for name in PROCESSES:
        assert "Traceback" not in demo.log(name), demo.log(name)

    demo.start()
    demo.settled()
    after = {
        place: demo.folders("ana", f"{folder}/{place}")
        for place in ("De aprobat", "Aprobate", "Respinse")
    }
    assert after == before
    assert demo.info["logins"] == logins
    assert archived_by_message(demo) == messages
    assert demo.arhivar("check").returncode == 0


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return signal.SIGKILL is not None and Path(f"/proc/{pid}").exists()

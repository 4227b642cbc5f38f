"""A client that we did not write meets our SPV: PyPI's `anafpy` and `anaf-sync`.

The simulator and our own client have the same authors, so that both could be
wrong in the same way. These tests are skipped, with the reason, where the
packages cannot be had.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.simulator.generator import plan
from tests.support import anaf_sync
from tests.support.simulator import NOON, Running, running_simulator
from tests.support.sync import Installation

SESSION = Path(__file__).with_name("anafpy_session.py")
pytestmark = pytest.mark.timeout(400)  # the first run fetches the packages


@pytest.fixture(scope="module", autouse=True)
def _packages() -> None:
    found = anaf_sync.anaf_sync_python()
    if isinstance(found, str):
        pytest.skip(found)


@pytest.fixture
def spv_server() -> Iterator[Running]:
    with running_simulator(invoices=40) as running:
        yield running


def sync(running: Running, directory: Path, *command: str) -> str:
    done = anaf_sync.run(
        running.url,
        running.about,
        directory,
        running.about["cifs"],
        command=("sync", *command),
        patient=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def invoices(running: Running) -> dict[str, str]:
    """The messages that `anaf-sync` fetches, each with its CIF; no errors, no answers."""
    messages = running.simulator.state.messages.values()
    return {m.id: m.cif for m in messages if m.tip.startswith("FACTURA")}


def files_of(directory: Path, cif: str, message_id: str) -> tuple[bytes, bytes, bytes]:
    base = directory / "files" / cif / message_id
    return (
        base.with_name(f"{message_id}.zip").read_bytes(),
        base.with_name(f"{message_id}.xml").read_bytes(),
        base.with_name(f"{message_id}_semnatura.xml").read_bytes(),
    )


def own_invoice(running: Running) -> bytes:
    """An invoice from the first company to the second."""
    first, second = running.about["cifs"][:2]
    between = [
        entry
        for entry in plan(1, 200, NOON)
        if {entry.issuer, entry.beneficiary} == {first, second}
    ]
    data = next(entry for entry in between if not entry.self_billed).write("", "")
    swapped = data.replace(first.encode(), b"@").replace(second.encode(), first.encode())
    return swapped.replace(b"@", second.encode())


def test_anafpy_lives_with_the_simulator_as_with_anaf(spv_server: Running, tmp_path: Path) -> None:
    listed: dict[str, list[str]] = {cif: [] for cif in spv_server.about["cifs"]}
    letters: dict[str, list[str]] = {letter: [] for letter in "ETPR"}
    by_tip = {"FACTURA TRIMISA": "T", "FACTURA PRIMITA": "P", "ERORI FACTURA": "E"}
    for message in spv_server.simulator.state.messages.values():
        listed[message.cif].append(message.id)
        if message.cif == spv_server.about["cifs"][0]:
            letters[by_tip.get(message.tip, "R")].append(message.id)
    about, invoice = tmp_path / "spv.json", tmp_path / "invoice.xml"
    about.write_text(json.dumps(spv_server.about))
    invoice.write_bytes(own_invoice(spv_server))

    done = anaf_sync.run_script(
        spv_server.url, about, tmp_path / "home", [str(SESSION), str(about), str(invoice)]
    )

    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["state"] == "s1"
    assert told["lives"] == [90, 365]
    assert told["rotated"] == [True, True]
    assert told["used_twice"][0] == "AnafAuthError"
    assert told["lists"] == {cif: sorted(ids) for cif, ids in listed.items()}
    assert told["filtered"] == {letter: sorted(ids) for letter, ids in letters.items()}
    assert told["no_right"][0] == "AnafResponseError"
    assert "Nu aveti drept in SPV pentru CIF=999" in told["no_right"][1]
    assert "Pentru id=1 nu exista inregistrata nici o factura" in told["unknown"][1]
    assert told["signatures"] == [True, False]
    assert (told["valid"], told["pdf"]) == (True, "%PDF-")
    assert told["sent"][0] == "ok"
    assert told["sent_bytes"]
    assert told["again"] == "nok"
    assert "Factura a mai fost transmisa anterior cu index=" in told["again_says"]
    assert told["broken"][0] is False
    assert told["broken"][1][0].startswith("Fisierul transmis nu este valid.")
    assert "Nu exista factura cu id_incarcare= 5" in json.dumps(told["strange"])
    assert told["rasp"] == [True, "ok"]


def test_anaf_sync_and_arhivar_archive_the_same_bytes(spv_server: Running, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    ours.mkdir()
    expected = invoices(spv_server)
    assert re.search(rf"\| new {len(expected)} \|", sync(spv_server, theirs))
    assert re.search(rf"new 0 \| already archived {len(expected)} ", sync(spv_server, theirs))

    installation = Installation(ours, spv_server)
    try:
        installation.start("sync")
        fetched = installation.arhivar("fetch")
        assert fetched.returncode == 0, fetched.stdout + fetched.stderr
        archived = {}
        for path in installation.settings.archive_dir.rglob("manifest.json"):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            archived[manifest["message"]["message_id"]] = path.parent
        assert set(archived) == set(spv_server.simulator.state.messages)
        for message_id, cif in expected.items():
            folder = archived[message_id]
            own = tuple(
                (folder / name).read_bytes()
                for name in ("message.zip", "invoice.xml", "signature.xml")
            )
            assert own == files_of(theirs, cif, message_id), message_id
    finally:
        installation.close()


def test_arhivar_inspects_what_anaf_sync_fetched(spv_server: Running, tmp_path: Path) -> None:
    sync(spv_server, tmp_path)
    certificate = tmp_path / "spv.pem"
    spv_server.simulator.write_certificate(certificate)
    expected = invoices(spv_server)
    paths = [tmp_path / "files" / cif / f"{message}.zip" for message, cif in expected.items()]
    installation_free = [
        "inspect", "--json", "--certificate", str(certificate), *map(str, paths),
    ]  # fmt: skip
    said = [json.loads(line) for line in _arhivar(*installation_free).splitlines()]
    assert len(said) == len(paths)
    assert {json.dumps(each["signature"]) for each in said} == {
        '{"result": "valid", "reason": "ok"}'
    }


def test_anaf_sync_gets_a_token_that_has_ended_renewed(spv_server: Running, tmp_path: Path) -> None:
    dead = {**spv_server.about, "access_token": "opaque"}
    done = anaf_sync.run(spv_server.url, dead, tmp_path, spv_server.about["cifs"])
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((tmp_path / "tokens.json").read_text())
    assert kept["access_token"].startswith("ewogICJhbGci")
    assert kept["refresh_token"] != spv_server.about["refresh_token"]


def test_anaf_sync_takes_faults_for_what_they_are_called(
    spv_server: Running, tmp_path: Path
) -> None:
    """It gives up what has ended, tries again what was only a fault, counts an entry without id."""
    ended, *disturbed = list(invoices(spv_server))[:3]
    third = spv_server.about["cifs"][2]
    for rule in (
        {"kind": "expired", "id": ended, "probability": 1},
        {"kind": "technical", "path": "descarcare", "id": disturbed[0], "attempt": 1},
        {"kind": "truncated", "id": disturbed[1], "attempt": 1},
        {"kind": "nameless_entry", "cif": third, "probability": 1},
    ):
        answer = httpx.post(f"{spv_server.url}/simulator/faults", json=rule)
        assert answer.status_code == 200

    said = sync(spv_server, tmp_path)

    total = len(invoices(spv_server))
    counted = re.search(r"new (\d+) .*missing id (\d+) \| expired (\d+)", said)
    assert counted is not None, said
    assert list(map(int, counted.groups())) == [total - 1, 1, 1]
    for message_id in disturbed:
        message = spv_server.simulator.state.messages[message_id]
        good = spv_server.simulator.state.zip_of(message)
        assert files_of(tmp_path, message.cif, message_id)[0] == good
    struck = httpx.get(f"{spv_server.url}/simulator").json()["struck"]
    assert struck == {"expired": 4, "technical": 1, "truncated": 1, "nameless_entry": 1}


def test_anaf_sync_fetches_from_the_load_mode(tmp_path: Path) -> None:
    with running_simulator(invoices=100, clients=20) as running:
        done = anaf_sync.run(running.url, running.about, tmp_path, running.about["cifs"])
        assert done.returncode == 0, done.stdout + done.stderr
        state = running.simulator.state
        hashes = set()
        for path in (tmp_path / "files").rglob("*.zip"):
            message = state.message(path.stem)
            assert message is not None
            assert path.read_bytes() == state.zip_of(message)
            hashes.add(hashlib.sha256(path.read_bytes()).hexdigest())
        assert len(hashes) == 100


def _arhivar(*arguments: str) -> str:
    from click.testing import CliRunner

    from appliance.cli import cli

    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output

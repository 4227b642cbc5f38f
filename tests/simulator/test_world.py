"""Real files, restarts, and the simulator as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.core import anaf_zip, certificates, spv
from appliance.core.errors import BadInput
from appliance.simulator import serve
from appliance.simulator.generator import plan
from tests.simulator.calls import FIRST, REST, exchange, get, simple
from tests.support.simulator import NOON, Clock, Running, running_simulator


def test_real_files_are_served_byte_for_byte(corpus: Path, clock: Clock) -> None:
    with (
        running_simulator(invoices=1, documents=corpus, clock=clock) as running,
        httpx.Client(base_url=running.url, headers=running.headers) as client,
    ):
        state = running.simulator.state
        assert state.served > 150
        served_xml, served_zip = set(), set()
        for entry in simple(client).entries:
            data = get(client, "descarcare", id=entry.message_id).content
            served_zip.add(data)
            served_xml.add(anaf_zip.read_zip(data).document)
        for path in corpus.rglob("*.zip"):
            assert path.read_bytes() in served_zip
        names = {root[1] for root in spv.DOCUMENT_ROOTS} - {"CrossIndustryInvoice"}
        checked = 0
        for path in corpus.rglob("*.xml"):
            try:
                is_ubl = spv.document_root(path.read_bytes())[1] in names
            except spv.DocumentRefused:
                continue
            if is_ubl and path.is_file():
                assert path.read_bytes() in served_xml
                checked += 1
        assert checked > 150


def test_files_that_are_no_ubl_are_counted_and_left_out(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "note.xml").write_bytes(b"<note/>")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "text.txt").write_bytes(b"x")
    own = next(e for e in plan(1, 40, NOON) if e.cif == FIRST and e.tip == "FACTURA TRIMISA")
    (tmp_path / "own.XML").write_bytes(own.write("", ""))
    with running_simulator(invoices=0, documents=tmp_path, clock=clock) as running:
        state = running.simulator.state
        assert (state.served, state.ignored) == (1, 2)
        (message,) = state.messages.values()
        assert message.tip == "FACTURA TRIMISA"  # the client sold it


def test_a_restart_with_its_directory_is_the_same_world(tmp_path: Path, clock: Clock) -> None:
    """Key, tokens, messages, what arrived meanwhile and what was used up."""
    seen = []
    tokens: dict[str, Any] = {}
    for start in range(2):
        with (
            running_simulator(clock=clock, directory=tmp_path / "spv") as running,
            httpx.Client(base_url=running.url) as client,
        ):
            if start == 0:
                tokens = dict(running.about)
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            if start == 0:
                form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
                assert exchange(client, tokens, **form).status_code == 200
                client.post("/simulator/messages", json={"count": 2})
            else:
                assert exchange(client, tokens, **form).status_code == 400
            entries = simple(client).entries
            documents = [get(client, "descarcare", id=e.message_id).content for e in entries[:5]]
            seen.append(([e.raw for e in entries], documents, running.simulator.certificate))
        clock.advance(hours=7)
    assert seen[0] == seen[1]
    assert (tmp_path / "spv" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_restart_after_a_power_cut_forgets_half_a_line_and_goes_on(
    tmp_path: Path, clock: Clock
) -> None:
    def world(add: int) -> list[str | None]:
        with (
            running_simulator(clock=clock, directory=tmp_path) as running,
            httpx.Client(base_url=running.url, headers=running.headers) as client,
        ):
            if add:
                client.post("/simulator/messages", json={"count": add})
            return [entry.message_id for entry in simple(client).entries]

    before = world(2)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"at": "2026-11-')
    assert world(0) == before
    after = world(1)
    assert len(after) == len(before) + 1
    assert world(0) == after


def test_a_file_keeps_its_id_whatever_else_is_served(tmp_path: Path, clock: Clock) -> None:
    entries = [entry for entry in plan(1, 9, NOON) if entry.tip == "FACTURA PRIMITA"]
    documents = [entry.write("", "") for entry in entries]

    def served() -> dict[bytes, str]:
        with running_simulator(invoices=0, documents=tmp_path, clock=clock) as running:
            messages = running.simulator.state.messages.values()
            return {message.write(): message.id for message in messages}

    for name, document in zip("bd", documents[:2], strict=True):
        (tmp_path / f"{name}.xml").write_bytes(document)
    before = served()
    for name, document in zip("ac", documents[2:4], strict=True):
        (tmp_path / f"{name}.xml").write_bytes(document)
    clock.advance(days=3)
    after = served()
    assert len(after) == 4
    assert before.items() <= after.items()


def test_a_port_that_is_taken_is_one_sentence(spv_server: Running) -> None:
    port = int(spv_server.url.rsplit(":", 1)[1])
    with pytest.raises(BadInput, match="choose another port"):
        serve(port=port, invoices=0)


def test_serve_stands_alone_and_its_file_is_all_a_client_needs(tmp_path: Path) -> None:
    about, pem = tmp_path / "spv.json", tmp_path / "spv.pem"
    code = (
        "from pathlib import Path; from appliance.simulator import serve; "
        f"serve(invoices=10, json_file=Path({str(about)!r}), certificate=Path({str(pem)!r}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            known = json.loads(about.read_text())
            assert list(known) == [
                "url",
                "client_id",
                "client_secret",
                "access_token",
                "refresh_token",
                "cifs",
            ]
            assert known["url"] in first
            assert about.stat().st_mode & 0o777 == 0o600
            certificates.from_pem(pem.read_bytes())
            headers = {"Authorization": f"Bearer {known['access_token']}"}
            url = f"{known['url']}{REST}/listaMesajeFactura?zile=60&cif={known['cifs'][0]}"
            assert httpx.get(url, headers=headers).json()["mesaje"]
        finally:
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(10) == 0


def test_the_clock_is_the_real_one_by_default() -> None:
    with running_simulator(invoices=0) as running:
        now = datetime.fromisoformat(httpx.get(f"{running.url}/simulator").json()["now"])
        assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)

"""The vault against the simulated SPV, which keeps ANAF's rules: rotation, codes, quotas."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypercorn.asyncio import serve

from appliance.core import anaf_zip, spv
from appliance.core.cif import normalise
from appliance.simulator import Simulator, configured, listen
from appliance.sync.spv import SpvClient
from appliance.vault.secret import Secret
from tests.support.vault import CALLBACK, START, VaultProcess, World


@dataclass
class Spv:
    """A simulator that answers at `url`."""

    simulator: Simulator
    url: str

    async def browser(self, authorise_url: str) -> dict[str, str]:
        """Go where the vault sends the browser; return what ANAF hangs on the callback."""
        async with httpx.AsyncClient() as client:
            answer = await client.get(authorise_url)
        assert answer.status_code == 302
        back = urlsplit(answer.headers["location"])
        assert f"{back.scheme}://{back.netloc}{back.path}" == CALLBACK
        return {name: values[0] for name, values in parse_qs(back.query).items()}

    async def tell(self, what: str, **wanted: object) -> None:
        async with httpx.AsyncClient(base_url=self.url) as client:
            answer = await client.post(f"/simulator/{what}", json=wanted)
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def anaf_like(tmp_path: Path) -> AsyncIterator[Spv]:
    simulator = Simulator(seed=3, invoices=24)
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    stop = asyncio.Event()
    task = asyncio.create_task(
        serve(simulator.app, configured(listening), shutdown_trigger=stop.wait)  # type: ignore[arg-type]
    )
    yield Spv(simulator, url)
    stop.set()
    await task


@pytest.fixture
async def vault(short: Path, anaf_like: Spv) -> AsyncIterator[VaultProcess]:
    process = VaultProcess(short, anaf_like.url)
    await process.start()
    yield process
    await process.close()


async def enrol(vault: VaultProcess, anaf: Spv) -> str:
    authority = anaf.simulator.authority
    await vault.enrol.put(
        "/application",
        json={
            "client_id": authority.client_id,
            "client_secret": authority.client_secret,
            "redirect_uri": CALLBACK,
        },
    )
    begun = await vault.enrol.post("/authorisations", json={"session": "s", "requested_by": "ana"})
    back = await anaf.browser(begun.json()["authorise_url"])
    answer = await vault.enrol.post("/authorisations/code", json={"session": "s", **back})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["grant"])


async def test_from_the_browser_to_every_zip_of_every_company(
    vault: VaultProcess, anaf_like: Spv
) -> None:
    grant = await enrol(vault, anaf_like)
    companies = next(iter(anaf_like.simulator.state.rights.values()))
    await vault.map(companies[0], grant)
    first = await vault.spv.get(
        "/prod/FCTEL/rest/listaMesajeFactura",
        params={"zile": "60", "cif": companies[0]},
        headers={"Arhivar-Cif": companies[0]},
    )
    listed = spv.read_list(first.status_code, first.content)
    answer = await vault.spv.post(
        "/arhivar/seen-cifs",
        json={"cif": companies[0], "cifs": list(listed.cifs), "serial": listed.serial},
    )
    assert answer.status_code == 204
    offered = (await vault.grant())["offered"]
    assert {companies[0], *offered} == {normalise(cif) for cif in companies}
    for cif in offered:
        await vault.map(cif, grant)
    zips = 0
    for cif in companies:
        answer = await vault.spv.get(
            "/prod/FCTEL/rest/listaMesajeFactura",
            params={"zile": "60", "cif": cif},
            headers={"Arhivar-Cif": cif},
        )
        for entry in spv.read_list(answer.status_code, answer.content).entries:
            body = await vault.spv.get(
                "/prod/FCTEL/rest/descarcare",
                params={"id": str(entry.message_id)},
                headers={"Arhivar-Cif": cif},
            )
            anaf_zip.read_zip(spv.read_download(body.status_code, body.content))
            zips += 1
    assert zips == len(anaf_like.simulator.state.messages)
    tested = (await vault.enrol.post(f"/grants/{grant}/test")).json()
    assert tested["ok"], tested


@pytest.mark.parametrize(
    ("outcome", "words"), [("access_denied", "refuzată"), ("no_code", "certificat")]
)
async def test_a_browser_that_comes_back_without_a_code_is_told_what_to_do(
    vault: VaultProcess, anaf_like: Spv, outcome: str, words: str
) -> None:
    await enrol(vault, anaf_like)
    await anaf_like.tell("oauth", next=outcome)
    begun = await vault.enrol.post("/authorisations", json={"session": "s", "requested_by": "ana"})
    back = await anaf_like.browser(begun.json()["authorise_url"])
    answer = await vault.enrol.post("/authorisations/code", json={"session": "s", **back})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["ro"]


@pytest.mark.parametrize("kind", ["waf", "maintenance", "bad_gateway", "empty", "extra_brace"])
async def test_anafs_strange_answers_pass_as_they_are(
    vault: VaultProcess, anaf_like: Spv, kind: str
) -> None:
    cif = next(iter(anaf_like.simulator.state.rights.values()))[0]
    await vault.map(cif, await enrol(vault, anaf_like))
    await anaf_like.tell("faults", path="listaMesaje", kind=kind, times=1)
    await anaf_like.tell("faults", path="listaMesaje", kind=kind, times=1)
    query = {"zile": "60", "cif": cif}
    path = "/prod/FCTEL/rest/listaMesajeFactura"
    through = await vault.spv.get(path, params=query, headers={"Arhivar-Cif": cif})
    tokens = anaf_like.simulator.authority.tokens(next(iter(anaf_like.simulator.state.rights)))
    async with httpx.AsyncClient(base_url=anaf_like.url) as client:
        direct = await client.get(
            path,
            params=query,
            headers={"Authorization": f"Bearer {tokens['access_token']}"},
        )
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert "arhivar-reason" not in through.headers


async def test_a_download_that_is_cut_is_not_taken_for_whole(
    vault: VaultProcess, anaf_like: Spv
) -> None:
    message = next(iter(anaf_like.simulator.state.messages.values()))
    await vault.map(message.cif, await enrol(vault, anaf_like))
    await anaf_like.tell("faults", path="descarcare", kind="cut", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        await vault.spv.get(
            "/prod/FCTEL/rest/descarcare",
            params={"id": message.id},
            headers={"Arhivar-Cif": message.cif},
        )


async def second_holder(vault: VaultProcess, anaf: Spv, serial: str, *cifs: str) -> str:
    """Authorise with another certificate, which has these rights in SPV; return the grant."""
    await anaf.tell("rights", serial=serial, cifs=list(cifs))
    await anaf.tell("oauth", serial=serial)
    return await enrol(vault, anaf)


async def test_a_holder_without_the_right_gives_way_to_one_who_has_it(
    vault: VaultProcess, anaf_like: Spv, tmp_path: Path
) -> None:
    cif, other, *_ = next(iter(anaf_like.simulator.state.rights.values()))
    await vault.map(cif, await enrol(vault, anaf_like))
    stranger = await second_holder(vault, anaf_like, "11:22", other)
    await vault.map(cif, stranger)  # a person was wrong, or the right was withdrawn
    client = SpvClient(vault.directory / "run" / "spv.sock", "prod")
    try:
        listing = await client.list_window(cif, datetime.now(UTC))
        assert listing.whole
        message = next(entry.message_id for entry in listing.entries if entry.cif == cif)
        assert message
        await client.download(cif, message, tmp_path / "one.zip")
        assert (tmp_path / "one.zip").read_bytes()[:2] == b"PK"
    finally:
        await client.close()
    await vault.end()
    refused = [entry for entry in vault.audit() if entry["action"] == "cif:not-allowed"]
    assert [entry["object"] for entry in refused] == [stranger]


async def test_when_no_holder_has_the_right_each_was_asked_once_and_anafs_words_are_told(
    vault: VaultProcess, anaf_like: Spv
) -> None:
    cif, other, *_ = next(iter(anaf_like.simulator.state.rights.values()))
    await vault.map(cif, await enrol(vault, anaf_like))
    await anaf_like.tell("rights", cifs=[other])
    for serial in ("11:22", "33:44"):
        await vault.map(cif, await second_holder(vault, anaf_like, serial, other))
    client = SpvClient(vault.directory / "run" / "spv.sock", "prod")
    try:
        for _ in range(2):
            with pytest.raises(spv.SpvFault) as caught:
                await client.list_window(cif, datetime.now(UTC))
            assert caught.value.kind is spv.FaultKind.PERMISSION
            assert cif in caught.value.answer
    finally:
        await client.close()
    await vault.end()
    refused = [entry["object"] for entry in vault.audit() if entry["action"] == "cif:not-allowed"]
    assert len(refused) == len(set(refused)) == 3


async def test_a_certificate_that_was_withdrawn_at_anaf_gives_way_in_the_same_call(
    vault: VaultProcess, anaf_like: Spv
) -> None:
    cif, *_ = next(iter(anaf_like.simulator.state.rights.values()))
    first = await enrol(vault, anaf_like)
    await vault.map(cif, first)
    second = await second_holder(vault, anaf_like, "11:22", cif)
    await vault.map(cif, second)
    # „Renunțare Oauth”: neither of its tokens is accepted any more.
    for token in anaf_like.simulator.authority.issued[-2:]:
        anaf_like.simulator.authority.forget(claims(token)["jti"])
    for _ in range(3):
        answer = await vault.spv.get(
            "/prod/FCTEL/rest/listaMesajeFactura",
            params={"zile": "60", "cif": cif},
            headers={"Arhivar-Cif": cif},
        )
        assert spv.read_list(answer.status_code, answer.content).entries
        assert answer.headers["Arhivar-Grant"] == first


def claims(token: str) -> dict[str, str]:
    payload = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


async def test_a_refresh_token_that_works_once_carries_a_grant_through_three_years(
    tmp_path: Path, anaf_like: Spv
) -> None:
    clock = START
    anaf_like.simulator.state.set_clock(clock)
    world = World(tmp_path, anaf_like)  # type: ignore[arg-type]
    authority = anaf_like.simulator.authority
    world.registration.set(
        authority.client_id, Secret(authority.client_secret), CALLBACK, by="ana", at=clock
    )
    url, state = world.authorising.begin("s", requested_by="ana", at=clock)
    back = await anaf_like.browser(url)
    assert back["state"] == state
    done = await world.authorising.finish(
        "s", state, code=Secret(back["code"]), error=None, at=clock
    )
    versions = set()
    for _ in range(18):
        clock += timedelta(days=61)
        world.now = clock
        anaf_like.simulator.state.set_clock(clock)
        access = await world.renewal.access(done.grant, at=clock)
        assert authority.serial_of(f"Bearer {access.token.reveal()}")
        versions.add(access.version)
    assert len(versions) == 18
    await world.http.aclose()

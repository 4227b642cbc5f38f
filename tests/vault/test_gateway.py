"""spv.sock of the real process: what passes, what is refused, what never comes back."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import Busy
from appliance.core.sentence import Sentence
from appliance.vault.gateway import _stream
from appliance.vault.grants import Grants
from appliance.vault.limits import Limits
from appliance.vault.secret import Secret
from tests.support.anaf import Anaf
from tests.support.vault import VaultProcess, World

BASE = "/prod/FCTEL/rest"
CIF = "12345674"


async def test_a_list_passes_with_the_token_and_comes_back_as_it_is(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    answer = await vault.list(CIF)
    assert (answer.status_code, answer.content) == (200, anaf.api_body)
    (call,) = anaf.calls
    assert call["path"] == f"{BASE}/listaMesajePaginatieFactura"
    assert call["query"] == f"startTime=1&endTime=2&cif={CIF}&pagina=1"
    assert call["headers"]["authorization"] == f"Bearer {anaf.issued[0]}"
    assert "arhivar-cif" not in call["headers"]
    shown = await vault.grant()
    assert shown["last_used_at"]
    assert answer.headers["Arhivar-Grant"] == shown["grant"]


async def test_cookies_and_unknown_headers_do_not_come_back(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.api_headers = [(b"x-echo", b"canary"), (b"location", b"https://evil.example/")]
    await vault.enrolled(CIF)
    answer = await vault.list(CIF)
    assert set(answer.headers) <= {
        "content-type",
        "content-length",
        "date",
        "transfer-encoding",
        "arhivar-grant",
    }


async def test_a_header_that_no_answer_may_hold_is_left_out_and_the_answer_comes(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.api_headers = [(b"content-disposition", b"attachment; filename=factur\xc4\x83.zip")]
    await vault.enrolled(CIF)
    answer = await vault.list(CIF)
    assert (answer.status_code, answer.content) == (200, anaf.api_body)
    assert "content-disposition" not in answer.headers


async def test_an_answer_that_repeats_the_token_is_cut_before_it(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.echo_token = True
    await vault.enrolled(CIF)
    with pytest.raises(httpx.RemoteProtocolError):
        await vault.list(CIF)
    assert (await vault.enrol.get("/status")).status_code == 200


async def test_a_header_that_repeats_the_token_is_left_out(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.enrolled(CIF)
    anaf.api_headers = [(b"x-correlation-id", b"for " + anaf.issued[0].encode())]
    answer = await vault.list(CIF)
    assert answer.status_code == 200
    assert "x-correlation-id" not in answer.headers


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
async def test_a_redirect_of_anaf_is_no_answer_and_leads_nowhere(
    vault: VaultProcess, anaf: Anaf, status: int
) -> None:
    await vault.enrolled(CIF)
    anaf.api_status = status
    anaf.api_headers = [(b"location", b"https://logincert.anaf.ro/my.policy")]
    for _ in range(12):
        answer = await vault.spv.get(f"{BASE}/descarcare?id=7", headers={"Arhivar-Cif": CIF})
        assert (answer.status_code, answer.headers["Arhivar-Reason"]) == (502, "unreachable")
        assert "location" not in answer.headers
        assert "my.policy" not in answer.text
    assert len(anaf.calls) == 12, "no download was made, so none was counted"


async def test_what_names_anafs_server_or_asks_for_a_password_does_not_come_back(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    anaf.api_status = 403
    anaf.api_headers = [
        (b"server", b"BigIP"),
        (b"www-authenticate", b'Bearer error="invalid_token"'),
        (b"refresh", b"0; url=https://evil.example/"),
        (b"arhivar-reason", b"needs-authorisation"),
        (b"x-echo", b"canary"),
    ]
    answer = await vault.list(CIF)
    assert answer.status_code == 403
    assert answer.headers.keys().isdisjoint(
        {"server", "www-authenticate", "refresh", "set-cookie", "x-echo", "arhivar-reason"}
    )


REFUSED = [
    (f"{BASE}/upload?standard=UBL&cif={CIF}", CIF, "refused"),
    (f"{BASE}/listaMesajeFactura?zile=60&cif={CIF}", "12345675", "cif-mismatch"),
    (f"{BASE}/listaMesajeFactura?zile=60&cif={CIF}", "", "unmapped"),
    (f"{BASE}/listaMesajeFactura?zile=60&cif=99&cif={CIF}", CIF, "refused"),
    (f"{BASE}/listaMesajeFactura?zile=60", CIF, "refused"),
    (f"{BASE}/listaMesajeFactura?zile=60&cif={CIF}&extern=DA", CIF, "refused"),
    (f"{BASE}/descarcare?id=1%26cif%3D2", CIF, "refused"),
    (f"{BASE}/descarcare?id=", CIF, "refused"),
    (f"{BASE}/descarcare", CIF, "refused"),
    (f"{BASE}/../rest/descarcare?id=1", CIF, "refused"),
    (f"{BASE}//descarcare?id=1", CIF, "refused"),
    (f"{BASE}/Descarcare?id=1", CIF, "refused"),
    (f"{BASE}/descarcare%3Fid=1", CIF, "refused"),
    ("/test/FCTEL/rest/descarcare?id=1", CIF, "refused"),
    ("/TestOauth/jaxrs/hello?name=x", CIF, "refused"),
    (f"{BASE}/descarcare?id=1", "87654321", "unmapped"),
]


async def test_what_is_not_listed_or_not_ours_is_refused_and_not_sent(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    for path, cif, reason in REFUSED:
        await _expect_refusal(vault, path, cif, reason)
    assert anaf.calls == []


async def _expect_refusal(vault: VaultProcess, path: str, cif: str, reason: str) -> None:
    # httpx would tidy the path, so the request line is written by hand.
    reader, writer = await asyncio.open_unix_connection(vault.directory / "run" / "spv.sock")
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: v\r\nArhivar-Cif: {cif}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    raw = await reader.read()
    writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 "), path
    assert f"Arhivar-Reason: {reason}".encode() in head, path
    assert set(json.loads(body)["error"]) == {"ro", "en"}


async def test_a_call_for_two_cifs_at_once_is_refused(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.enrolled(CIF)
    for first, second in ((CIF, "99"), ("99", CIF), (CIF, CIF)):
        answer = await vault.spv.get(
            f"{BASE}/descarcare?id=1", headers=[("Arhivar-Cif", first), ("Arhivar-Cif", second)]
        )
        assert answer.status_code == 400
    assert anaf.calls == []


@given(data=st.data(), where=st.integers(min_value=0, max_value=300))
async def test_a_repeated_token_is_cut_however_the_answer_is_split(
    data: st.DataObject, where: int
) -> None:
    token = "ewogICJhbGci.ewogewogICJh.ewogICJhbGciOi"
    body = b"ewogICJhb" * 40
    body = body[:where] + token.encode() + body[where:]
    passed = b""

    async def read() -> None:
        nonlocal passed
        async for chunk in _stream(_response(_split(data, body)), Secret(token)):
            passed += chunk

    with pytest.raises(ConnectionError):
        await read()
    assert passed == body[: len(passed)]
    assert len(passed) <= body.index(token.encode())


@given(data=st.data(), body=st.lists(st.sampled_from([b"ewogICJ", b"hbGci.", b"P", b"K"])))
async def test_an_answer_without_the_token_passes_unchanged_however_it_is_split(
    data: st.DataObject, body: list[bytes]
) -> None:
    whole = b"".join(body)
    token = Secret("ewogICJhbGci.ewogICJhbGci.PKPK" + "K" * 200)
    passed = [chunk async for chunk in _stream(_response(_split(data, whole)), token)]
    assert b"".join(passed) == whole


def _split(data: st.DataObject, body: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(min_value=0, max_value=len(body)), max_size=6)))
    return [body[start:end] for start, end in itertools.pairwise([0, *cuts, len(body)])]


def _response(chunks: list[bytes]) -> httpx.Response:
    async def parts() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return httpx.Response(200, content=parts())


async def test_only_get_passes(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.enrolled(CIF)
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"):
        answer = await vault.spv.request(
            method, f"{BASE}/descarcare?id=1", headers={"Arhivar-Cif": CIF}
        )
        assert answer.status_code == 403, method
    assert anaf.calls == []


async def test_head_is_answered_without_a_body_and_the_connection_goes_on(
    vault: VaultProcess,
) -> None:
    reader, writer = await asyncio.open_unix_connection(vault.directory / "run" / "spv.sock")
    for method in (b"HEAD", b"GET"):
        writer.write(method + b" / HTTP/1.1\r\nHost: vault\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 403"), head
    writer.close()


async def test_a_refused_call_is_in_the_audit_chain_once_a_minute(vault: VaultProcess) -> None:
    for _ in range(20):
        await vault.spv.get(f"{BASE}/descarcare?id=1", headers={"Arhivar-Cif": "1234567890123"})
    await vault.end()
    refused = [entry for entry in vault.audit() if entry["action"] == "call:unmapped"]
    assert 1 <= len(refused) <= 2
    assert refused[0]["data"]["cif"] == "1••••••••••23"


async def test_the_romanian_prefix_of_a_cif_makes_no_difference(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(f"RO{CIF}")
    assert (await vault.list(f"RO {CIF}", asked=CIF)).status_code == 200


async def test_a_refused_token_is_renewed_once_and_the_call_repeated(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    anaf.refused = set(anaf.issued)
    answers = await asyncio.gather(*(vault.list(CIF) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(anaf.refreshes) == 1


async def test_when_every_token_gets_401_it_is_passed_on_and_nobody_insists(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    anaf.api_status = 401
    anaf.api_headers = [(b"www-authenticate", b"Bearer")]
    for _ in range(3):
        answer = await vault.list(CIF)
        assert answer.status_code == 401
        assert "www-authenticate" not in answer.headers
    assert len(anaf.refreshes) == 1


async def test_without_a_token_that_lives_the_answer_is_503(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.expires_in = 0
    await vault.enrolled(CIF)
    anaf.token_answer = (400, b'{"error":"invalid_grant"}')
    for _ in range(3):
        answer = await vault.list(CIF)
        assert answer.status_code == 503
        assert answer.headers["Arhivar-Reason"] == "second-try"
    assert len(anaf.refreshes) == 1, "no retry before ten minutes are over"


async def test_a_second_grant_serves_the_cif_when_the_first_is_refused(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    anaf.serial, anaf.expires_in = "77:77", 0
    await vault.map(CIF, await vault.authorise())
    anaf.token_answer = (400, b'{"error":"invalid_grant"}')
    assert (await vault.list(CIF)).status_code == 200
    assert anaf.calls[-1]["headers"]["authorization"] == f"Bearer {anaf.issued[0]}"


async def test_a_message_is_downloaded_ten_times_a_day(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.enrolled(CIF)
    for _ in range(10):
        answer = await vault.spv.get(f"{BASE}/descarcare?id=7", headers={"Arhivar-Cif": CIF})
        assert answer.status_code == 200
    answer = await vault.spv.get(f"{BASE}/descarcare?id=7", headers={"Arhivar-Cif": CIF})
    assert answer.status_code == 429
    assert answer.headers["Arhivar-Reason"] == "message-quota"
    assert 0 < int(answer.headers["Retry-After"]) <= 25 * 3600
    other = await vault.spv.get(f"{BASE}/descarcare?id=8", headers={"Arhivar-Cif": CIF})
    assert other.status_code == 200
    assert len(anaf.calls) == 11


async def test_the_minute_is_counted_across_a_kill(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.enrolled(CIF)
    await vault.end()
    await vault.start({"ARHIVAR_SPV_CALLS_PER_MINUTE": "3"})
    assert [(await vault.list(CIF)).status_code for _ in range(2)] == [200, 200]
    await vault.end(signal.SIGKILL)
    await vault.start({"ARHIVAR_SPV_CALLS_PER_MINUTE": "3"})
    assert (await vault.list(CIF)).status_code == 200
    answer = await vault.list(CIF)
    assert (answer.status_code, answer.headers["Arhivar-Reason"]) == (429, "rate")
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert 0 < int(answer.headers["Arhivar-Retry-Ms"]) <= 61_000
    assert len(anaf.calls) == 3


async def test_after_anafs_own_429_nobody_calls_until_it_is_over(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    anaf.api_status, anaf.api_headers = 429, [(b"retry-after", b"40")]
    answer = await vault.list(CIF)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "40")
    assert answer.headers["Arhivar-Reason"] == "rate"
    anaf.api_status = 200
    assert (await vault.list(CIF)).status_code == 429
    assert len(anaf.calls) == 1


async def test_a_429_that_says_nothing_is_waited_out_longer_each_time_and_spends_no_download(
    tmp_path: Path, anaf: Anaf
) -> None:
    world = World(tmp_path, anaf)
    await world.authorise()
    anaf.api_status = 429
    asked = []
    for _ in range(12):
        answer = await world.call("descarcare", "id=7")
        asked.append(int(answer.headers["retry-after"]))
        assert answer.headers["arhivar-retry-ms"] == f"{asked[-1]}000"
        world.now += timedelta(seconds=asked[-1])
    assert asked[:7] == [15, 30, 60, 120, 240, 300, 300]

    anaf.api_status = 200
    assert (await world.call("descarcare", "id=7")).status == 200
    anaf.api_status = 429
    assert (await world.call("descarcare", "id=7")).headers["retry-after"] == "15"
    await world.http.aclose()


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("40", "40"),
        ("Tue, 24 Nov 2026 12:00:40 GMT", "40"),
        ("Tue, 24 Nov 2026 11:00:00 GMT", "1"),
        ("soon", "15"),
        ("99999999", "300"),
        ("9" * 5000, "15"),
        ("Tue, 24 Nov 2026 12:00:40 +99999999999999999999", "15"),
    ],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(
    tmp_path: Path, anaf: Anaf, said: str, seconds: str
) -> None:
    world = World(tmp_path, anaf)
    await world.authorise()
    anaf.api_status, anaf.api_headers = 429, [(b"retry-after", said.encode())]

    assert (await world.list()).headers["retry-after"] == seconds
    await world.http.aclose()


async def test_when_anaf_is_away_the_answer_is_502_and_the_download_is_not_counted(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    await vault.end()
    await vault.start({"ARHIVAR_SPV_API_URL": "http://127.0.0.1:9"})
    for _ in range(12):
        answer = await vault.spv.get(f"{BASE}/descarcare?id=7", headers={"Arhivar-Cif": CIF})
        assert (answer.status_code, answer.headers["Arhivar-Reason"]) == (502, "unreachable")


async def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    anaf.api_body, anaf.break_after = b"P" * 100_000, 50_000
    with pytest.raises(httpx.RemoteProtocolError):
        await vault.list(CIF)


async def test_a_hundred_megabytes_stream_through_without_growing_the_process(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    await vault.list(CIF)
    before = _resident(vault)
    anaf.api_body, anaf.body_chunks = b"PK\x03\x04" * 25_000, 1000
    received = 0
    async with vault.spv.stream(
        "GET", f"{BASE}/descarcare?id=7", headers={"Arhivar-Cif": CIF}
    ) as answer:
        async for chunk in answer.aiter_raw():
            received += len(chunk)
    assert received == 100_000_000
    assert _resident(vault) - before < 8 * 1024


@pytest.mark.parametrize(("status", "note"), [(200, Grants.used), (429, Limits.give_back)])
async def test_a_disk_that_fills_up_during_a_call_costs_no_connection_to_anaf(
    tmp_path: Path,
    anaf: Anaf,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    note: Callable[..., None],
) -> None:
    world = World(tmp_path, anaf)
    await world.authorise()
    pool = world.http._transport._pool  # type: ignore[attr-defined]
    anaf.api_status = status

    def full(*arguments: object, **named: object) -> None:
        raise Busy(Sentence("x", "x"))

    with monkeypatch.context() as disk:
        disk.setattr(Grants if note is Grants.used else Limits, note.__name__, full)
        answer = await world.list()

    assert (answer.status, answer.headers["Arhivar-Reason"]) == (503, "busy")
    assert [each for each in pool.connections if not each.is_idle()] == []
    await world.http.aclose()


async def test_cifs_that_a_list_named_are_offered_and_not_mapped(
    vault: VaultProcess, anaf: Anaf
) -> None:
    grant = await vault.enrolled(CIF)
    answer = await vault.spv.post(
        "/arhivar/seen-cifs",
        json={"cif": CIF, "cifs": [CIF, "RO87654321", "no-number", "1" * 30], "serial": "x"},
    )
    assert answer.status_code == 204
    status = await vault.grant()
    assert (status["cifs"], status["offered"]) == ([CIF], ["87654321"])
    assert (await vault.list("87654321")).status_code == 403
    await vault.map("87654321", grant)
    assert (await vault.list("87654321")).status_code == 200
    assert (await vault.grant())["offered"] == []


async def test_seen_cifs_of_a_stranger_or_without_sense_are_refused(vault: VaultProcess) -> None:
    await vault.enrolled(CIF)
    for body, status in (
        ({"cif": "99", "cifs": ["1"], "serial": ""}, 404),
        ({"cif": CIF, "cifs": "123"}, 400),
        ({"cif": CIF, "cifs": [1]}, 400),
        ([], 400),
    ):
        answer = await vault.spv.post("/arhivar/seen-cifs", json=body)
        assert answer.status_code == status
        assert answer.json()["error"]["ro"]


async def test_a_grant_that_anaf_does_not_allow_comes_last_until_it_is_confirmed_again(
    vault: VaultProcess, anaf: Anaf
) -> None:
    first = await vault.enrolled(CIF)
    anaf.serial = "77:77"
    second = await vault.authorise()
    await vault.map(CIF, second)

    async def refused(grant: str) -> bool:
        body = {"cif": CIF, "grant": grant}
        return bool((await vault.spv.post("/arhivar/not-allowed", json=body)).json()["again"])

    async def serves() -> str:
        return str((await vault.list(CIF)).headers["Arhivar-Grant"])

    assert await serves() == second
    assert await refused(second)
    assert await serves() == first
    assert not await refused(first)
    assert await serves() == second, "the one that was refused longest ago"
    await vault.map(CIF, first)
    assert await serves() == first


async def test_only_a_grant_of_the_cif_can_be_reported_as_not_allowed(vault: VaultProcess) -> None:
    grant = await vault.enrolled(CIF)
    for body, status in (
        ({"cif": "87654321", "grant": grant}, 404),
        ({"cif": CIF, "grant": "0" * 32}, 404),
        ({"cif": CIF}, 400),
        ({"cif": 5, "grant": grant}, 400),
        ({"cif": "", "grant": grant}, 400),
    ):
        answer = await vault.spv.post("/arhivar/not-allowed", json=body)
        assert answer.status_code == status, body


async def test_standing_names_the_grants_that_are_there_and_no_secret(vault: VaultProcess) -> None:
    assert (await vault.spv.get("/arhivar/standing")).json() == {"application": False, "grants": []}
    grant = await vault.enrolled(CIF)
    answer = await vault.spv.get("/arhivar/standing")
    (shown,) = answer.json()["grants"]
    assert answer.json()["application"] is True
    assert (shown["grant"], shown["state"], shown["cifs"]) == (grant, "active", [CIF])
    assert shown.keys() == {
        "grant",
        "holder",
        "state",
        "requested_by",
        "created_at",
        "issued_at",
        "access_expires_at",
        "refresh_expires_at",
        "cifs",
    }
    assert "canary" not in answer.text
    await vault.enrol.post(f"/grants/{grant}/revoke", json={"by": "ana"})
    assert (await vault.spv.get("/arhivar/standing")).json()["grants"] == []


def _resident(vault: VaultProcess) -> int:
    assert vault.process is not None
    lines = Path(f"/proc/{vault.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

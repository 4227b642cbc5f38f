"""The process: its start and end, its sockets, a kill in the middle, and what it never says."""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import os
import signal
import socket
import sqlite3
import stat
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from appliance.core import chain
from appliance.vault import keys, server
from appliance.vault.access import used_keys
from appliance.vault.errors import VaultRunning
from tests.support.anaf import CLIENT_SECRET, Anaf
from tests.support.vault import RUNNER, VaultProcess

CIF = "12345674"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")


async def test_sixty_four_callers_on_the_socket_make_one_refresh(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.expires_in = 0
    await vault.enrolled(CIF)
    anaf.expires_in = 7_776_000
    anaf.hold = asyncio.Event()
    callers = [asyncio.create_task(vault.list(CIF)) for _ in range(64)]
    await anaf.asked.wait()
    anaf.hold.set()
    answers = await asyncio.gather(*callers)
    assert {answer.status_code for answer in answers} == {200}
    assert len(anaf.refreshes) == 1


async def test_grants_outlive_a_kill(vault: VaultProcess, anaf: Anaf) -> None:
    await vault.enrolled(CIF)
    await vault.end(signal.SIGKILL)
    await vault.start()
    assert (await vault.list(CIF)).status_code == 200
    assert anaf.refreshes == []


async def test_killed_while_anaf_answers_a_refresh_the_old_pair_is_still_there(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.expires_in = 0
    await vault.enrolled(CIF)
    anaf.expires_in = 7_776_000
    anaf.hold = asyncio.Event()
    caller = asyncio.create_task(vault.list(CIF))
    await anaf.asked.wait()
    await vault.end(signal.SIGKILL)
    with pytest.raises(httpx.TransportError):
        await caller
    anaf.hold.set()
    anaf.hold = None
    await vault.start()
    assert (await vault.list(CIF)).status_code == 200
    assert anaf.refreshes == [anaf.issued[1]] * 2


async def test_a_new_pair_that_anybody_used_is_there_after_a_kill(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.expires_in = 0  # each call renews, so each call is a chance to lose a pair
    await vault.enrolled(CIF)
    for _ in range(8):
        seen = len(anaf.calls)
        caller = asyncio.create_task(vault.list(CIF))
        while len(anaf.calls) == seen and not caller.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await vault.end(signal.SIGKILL)
        await asyncio.gather(caller, return_exceptions=True)
        used = anaf.calls[-1]["headers"]["authorization"].removeprefix("Bearer ")
        anaf.refreshes.clear()
        await vault.start()
        await vault.list(CIF)
        # The refresh token of the pair whose access token ANAF saw, or of a later one.
        known = anaf.issued.index(anaf.refreshes[0])
        assert known >= anaf.issued.index(used) + 1


async def test_sigterm_waits_for_the_refresh_under_way(vault: VaultProcess, anaf: Anaf) -> None:
    anaf.expires_in = 0
    await vault.enrolled(CIF)
    anaf.expires_in = 7_776_000
    anaf.hold = asyncio.Event()
    caller = asyncio.create_task(vault.list(CIF))
    await anaf.asked.wait()
    assert vault.process is not None
    vault.process.send_signal(signal.SIGTERM)
    anaf.hold.set()
    assert (await caller).status_code == 200
    assert await vault.end() == 0
    assert not list((vault.directory / "run").iterdir())
    await vault.start()
    assert (await vault.list(CIF)).status_code == 200
    assert len(anaf.refreshes) == 1


async def test_no_secret_is_in_a_file_a_log_or_an_answer(vault: VaultProcess, anaf: Anaf) -> None:
    answers: list[httpx.Response] = []

    async def keep(response: httpx.Response) -> None:
        await response.aread()
        answers.append(response)

    vault.enrol.event_hooks = vault.spv.event_hooks = {"response": [keep]}
    anaf.expires_in = 0
    grant = await vault.enrolled(CIF)
    await vault.list(CIF)
    await vault.enrol.post(f"/grants/{grant}/test")
    anaf.echo_token = True
    with pytest.raises(httpx.RemoteProtocolError):
        await vault.list(CIF)
    anaf.echo_token = False
    anaf.token_answer = (400, b'{"error":"invalid_grant"}')
    await vault.list(CIF)
    # A token that cannot stand in a header must not end in an exception's text.
    anaf.token_answer = (200, b'{"access_token":"canary-bad-token\\r\\nX: 1 aaaaaaaaaaaaaaaa"}')
    await vault.list(CIF)
    await vault.enrol.get("/status")
    await vault.end(signal.SIGKILL)  # the write-ahead log stays, to be searched as well
    secrets = [*anaf.issued, CLIENT_SECRET, "canary-code-5512", "canary-session-1", "canary-bad"]
    secrets.append((vault.directory / "vault" / "kek").read_bytes().hex())
    needles = [text.encode() for text in secrets]
    needles += [base64.b64encode(f"f0e1d2c3b4a59687:{CLIENT_SECRET}".encode())]
    haystacks = {
        path.name: path.read_bytes()
        for path in vault.directory.rglob("*")
        if path.is_file() and path.name != "kek"
    }
    haystacks |= {
        f"answer {number}": str(answer.headers).encode() + answer.content
        for number, answer in enumerate(answers)
    }
    assert len(answers) > 8
    assert {"vault.log", "vault.db", "vault.db-wal", "shred.db"} <= haystacks.keys()
    for name, content in haystacks.items():
        for needle in needles:
            assert needle not in content, name
        assert b"canary-access" not in content, name
        assert b"canary-refresh" not in content, name


async def test_no_secret_is_on_the_command_line_or_in_the_environment(
    vault: VaultProcess, anaf: Anaf
) -> None:
    await vault.enrolled(CIF)
    assert vault.process is not None
    for name in ("cmdline", "environ"):
        content = Path(f"/proc/{vault.process.pid}/{name}").read_bytes()
        assert b"canary" not in content


async def test_the_process_leaves_no_core_and_lets_nobody_trace_it(vault: VaultProcess) -> None:
    assert vault.process is not None
    proc = Path(f"/proc/{vault.process.pid}")
    limits = (proc / "limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [
        ["0", "0"]
    ]
    asked = (
        "import ctypes; from appliance.vault import server; server._keep_to_ourselves();"
        "print(ctypes.CDLL(None).prctl(3))"  # PR_GET_DUMPABLE
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", asked, stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0] == b"0\n"


@as_root
@pytest.mark.parametrize(("limit", "locked"), [("unlimited", True), ("8388608", False)])
async def test_the_memory_is_locked_where_no_limit_could_make_that_fail_later(
    short: Path, anaf: Anaf, limit: str, locked: bool
) -> None:
    raised = await asyncio.create_subprocess_exec("prlimit", f"--memlock={limit}", "true")
    if await raised.wait() != 0:
        pytest.skip("this machine does not let root raise the limit")
    vault = VaultProcess(short, anaf.url)
    process = await asyncio.create_subprocess_exec(
        "prlimit", f"--memlock={limit}", sys.executable, "-c", RUNNER, env=vault.environ
    )
    try:
        while True:
            with suppress(httpx.TransportError):
                await vault.enrol.get("/status")
                break
            assert process.returncode is None
            await asyncio.sleep(0.02)
        status = Path(f"/proc/{process.pid}/status").read_text()
        kilobytes = int(status.split("VmLck:")[1].split()[0])
        assert (kilobytes > 1000) is locked
    finally:
        process.kill()
        await process.wait()
        await vault.close()


async def test_a_vault_that_runs_is_not_replaced(vault: VaultProcess) -> None:
    keys.create(vault.directory / "vault" / "kek.2")
    second = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUNNER,
        env=vault.environ,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await second.communicate()
    assert second.returncode != 0
    assert b"VaultRunning" in errors
    assert len(used_keys(vault.directory / "vault")) == 1, "only the one that serves uses a key"
    assert (await vault.enrol.get("/status")).status_code == 200


async def test_a_wrong_key_stops_the_start(vault: VaultProcess) -> None:
    await vault.enrolled(CIF)
    await vault.end()
    key = vault.directory / "vault" / "kek"
    for content, mode in ((os.urandom(32), 0o600), (key.read_bytes(), 0o640)):
        before = key.read_bytes()
        key.write_bytes(content)
        key.chmod(mode)
        with pytest.raises(AssertionError, match="KeyRefused"):
            await vault.start()
        key.write_bytes(before)
        key.chmod(0o600)
    await vault.start()


async def test_a_database_that_is_none_is_told_in_a_sentence(short: Path, anaf: Anaf) -> None:
    vault = VaultProcess(short, anaf.url)
    for name in ("vault.db", "shred.db"):
        (short / "vault" / name).write_bytes(b"not a database" * 100)
        with pytest.raises(AssertionError, match=r"ConfigError: the vault in .* cannot be opened"):
            await vault.start()
        (short / "vault" / name).unlink()
    assert not (short / "run").exists()
    await vault.close()


@pytest.mark.parametrize("option", ["ARHIVAR_SPV_OAUTH_URL", "ARHIVAR_SPV_API_URL"])
async def test_a_token_never_goes_over_plain_http_to_another_host(
    short: Path, anaf: Anaf, option: str
) -> None:
    vault = VaultProcess(short, anaf.url)
    with pytest.raises(AssertionError, match=r"ConfigError: .* must be https"):
        await vault.start({option: "http://api.anaf.ro"})
    await vault.close()


def test_a_stale_socket_is_replaced_a_live_one_and_a_file_are_not(short: Path) -> None:
    path = short / "x.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    live = server.bind(path, "no-such-group")
    with pytest.raises(VaultRunning):
        server.bind(path, "no-such-group")
    live.close()
    path.unlink()
    path.write_text("not a socket")
    with pytest.raises(VaultRunning):
        server.bind(path, "no-such-group")
    assert path.read_text() == "not a socket"


def test_a_socket_is_for_its_owner_alone_when_the_group_is_missing(short: Path) -> None:
    server.bind(short / "x.sock", "no-such-group").close()
    assert stat.S_IMODE((short / "x.sock").stat().st_mode) == 0o600


@as_root
def test_a_socket_is_for_its_group_when_there_is_one(short: Path) -> None:
    server.bind(short / "x.sock", "nogroup").close()
    facts = (short / "x.sock").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_gid) == (0o660, 65534)


@as_root
async def test_a_stranger_who_gets_past_the_files_mode_is_not_heard(
    vault: VaultProcess,
) -> None:
    run = vault.directory / "run"
    vault.directory.chmod(0o755)
    for name in ("enrol.sock", "spv.sock"):
        (run / name).chmod(0o666)
        script = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'GET /status HTTP/1.1\\r\\nHost: v\\r\\n\\r\\n'); print(s.recv(99))"
        )
        process = await asyncio.create_subprocess_exec(
            "/usr/bin/python3",
            "-c",
            script,
            str(run / name),
            user=NOBODY,
            group=NOBODY,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        cut = (b"ConnectionResetError", b"BrokenPipeError")
        assert output.strip() == b"b''" or any(error in output for error in cut)
    await vault.end()
    refused = [entry for entry in vault.audit() if entry["actor"] == f"uid:{NOBODY}"]
    assert [(entry["action"], entry["data"]["socket"]) for entry in refused] == [
        ("call:peer", "enrol.sock"),
        ("call:peer", "spv.sock"),
    ]


async def test_sockets_that_systemd_opened_are_used(short: Path, anaf: Anaf) -> None:
    vault = VaultProcess(short, anaf.url)
    (short / "run").mkdir()
    launcher = (
        "import os,socket,sys\n"
        "run=sys.argv[1]\n"
        "socks=[socket.socket(socket.AF_UNIX) for _ in range(2)]\n"
        "for s,n in zip(socks,('spv.sock','enrol.sock')):\n"
        "    s.bind(run+'/'+n); s.listen()\n"
        "high=[os.dup2(s.fileno(),60+i) for i,s in enumerate(socks)]\n"
        "for i,h in enumerate(high): os.dup2(h,3+i,inheritable=True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='2')\n"
        "os.execv(sys.executable,[sys.executable,'-c',sys.argv[2]])\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", launcher, str(short / "run"), RUNNER, env=vault.environ
    )
    while True:
        try:
            assert process.returncode is None
            answer = await vault.enrol.get("/status")
            break
        except httpx.TransportError:
            await asyncio.sleep(0.02)
    assert answer.json()["grants"] == []
    assert (await vault.spv.get("/status")).headers["Arhivar-Reason"] == "refused"
    process.terminate()
    assert await process.wait() == 0
    # They are systemd's to remove.
    assert {path.name for path in (short / "run").iterdir()} == {"enrol.sock", "spv.sock"}
    await vault.close()


async def test_there_is_no_listener_on_the_network(vault: VaultProcess) -> None:
    await vault.list(CIF)
    assert vault.process is not None
    inodes = {
        str(path.readlink()).removeprefix("socket:[").removesuffix("]")
        for path in Path(f"/proc/{vault.process.pid}/fd").iterdir()
        if str(path.readlink()).startswith("socket:")
    }
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{vault.process.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            assert not (fields[9] in inodes and fields[3] in ("0A", "07")), line


NOISE = [
    b"\x16\x03\x01\x02\x00\x01",
    b"GET / HTTP/1.1\r\n\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: v\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: v\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    b"POST /status HTTP/1.1\r\nHost: v\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /status HTTP/1.1\r\nHost: v\r\nContent-Length: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: v\r\nArhivar-Cif: 1\r\nArhivar-Cif: 2\r\n\r\n",
    gzip.compress(b"x" * 1000),
]


async def test_noise_on_a_socket_is_answered_with_4xx_or_silence(
    vault: VaultProcess,
) -> None:
    for name, raw in itertools.product(("enrol.sock", "spv.sock"), NOISE):
        reader, writer = await asyncio.open_unix_connection(vault.directory / "run" / name)
        writer.write(raw)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        writer.close()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), raw[:40]
    assert (await vault.enrol.get("/status")).status_code == 200
    assert "Traceback" not in vault.log.read_text()


async def test_the_audit_chain_holds_after_all_this(vault: VaultProcess, anaf: Anaf) -> None:
    anaf.expires_in = 0
    grant = await vault.enrolled(CIF)
    await vault.list(CIF)
    await vault.enrol.post(f"/grants/{grant}/revoke", json={"by": "ana"})
    await vault.end()
    with sqlite3.connect(vault.directory / "vault" / "vault.db") as connection:
        rows = connection.execute("SELECT seq, body, head FROM audit ORDER BY seq").fetchall()
    assert list(chain.find_breaks(rows)) == []
    text = b"".join(body for _, body, _ in rows).decode()
    for action in (
        "application:set",
        "grant:authorise",
        "cif:map",
        "grant:refresh",
        "grant:revoke",
    ):
        assert f'"action":"{action}"' in text

"""An authorisation that ANAF stops renewing, from the real vault to a real mail server and back."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from appliance.core.roles import Role
from appliance.store import accounts
from appliance.store import mails as outbox
from appliance.store.engine import open_store
from tests.support.simulator import Running, running_simulator
from tests.support.smtp import MailServer, mail_server
from tests.support.sync import Installation

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
ADMIN = "gina@tismana.example"
SIXTY_ONE_DAYS, ELEVEN_MINUTES = 61 * 86400, 11 * 60


@pytest.fixture
def simulator() -> Iterator[Running]:
    with running_simulator(invoices=3) as running:
        yield running


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def installation(tmp_path: Path, simulator: Running) -> Iterator[Installation]:
    made = Installation(tmp_path, simulator, clients=1)
    yield made
    made.close()


def use(installation: Installation, mails: MailServer) -> None:
    """Write the mail server into the configuration, for processes that start from now on."""
    installation.configure(mails.settings(installation.settings))


def later(seconds: int) -> list[str]:
    """Return the command under which a process has a clock so far ahead."""
    assert FAKETIME is not None, "libfaketime is missing (scripts/setup.sh)"
    return ["env", f"LD_PRELOAD={FAKETIME}", f"FAKETIME=+{seconds}", "DONT_FAKE_MONOTONIC=1"]


def vault(installation: Installation) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(installation.settings.enrol_socket))
    return httpx.Client(transport=transport, base_url="http://vault", timeout=30)


def restart_vault(installation: Installation, seconds: int) -> None:
    installation.end("vault")
    installation.start("vault", under=later(seconds))
    installation.wait("the vault", lambda: _state(installation))


def _state(installation: Installation) -> str:
    try:
        with vault(installation) as client:
            (grant,) = client.get("/status").json()["grants"]
            return f"{grant['state']} {'refused' if grant.get('refused_at') else ''}".strip()
    except httpx.TransportError:
        return ""


def authorise_again(installation: Installation) -> str:
    with vault(installation) as client:
        (grant,) = client.get("/status").json()["grants"]
        uid, session = grant["grant"], secrets.token_hex(16)
        begun = client.post(
            "/authorisations",
            json={"session": session, "requested_by": "demo", "holder": "Ana", "grant": uid},
        ).json()
        back = httpx.get(begun["authorise_url"], follow_redirects=False, timeout=30)
        query = parse_qs(urlsplit(back.headers["Location"]).query)
        answer = client.post(
            "/authorisations/code",
            json={"session": session, "state": query["state"][0], "code": query["code"][0]},
        )
        assert answer.status_code == 200, answer.text
        return str(uid)


async def _add_administrator(installation: Installation) -> None:
    async with open_store(installation.settings):
        await accounts.create_account(ADMIN, "Gina", datetime.now(UTC), firm_role=Role.ADMIN)


def test_from_the_second_refusal_to_one_mail_and_from_a_new_authorisation_to_silence(
    installation: Installation, simulator: Running, mails: MailServer
) -> None:
    asyncio.run(_add_administrator(installation))
    use(installation, mails)
    installation.start("sync")
    installation.wait("the list", lambda: installation.count("listing WHERE done_at IS NOT NULL"))
    refuse = {"kind": "echo", "path": "token", "times": 100}
    httpx.post(f"{simulator.url}/simulator/faults", json=refuse).raise_for_status()

    restart_vault(installation, SIXTY_ONE_DAYS)
    installation.wait("the first refusal", lambda: _state(installation) == "active refused")
    installation.end("sync", signal.SIGKILL)
    installation.start("sync")
    installation.wait(
        "the grant known", lambda: installation.count("spv_grant WHERE state = 'active'")
    )
    assert mails.taken == []  # once is not enough

    restart_vault(installation, SIXTY_ONE_DAYS + ELEVEN_MINUTES)
    installation.wait("the second", lambda: _state(installation).startswith("needs_authorisation"))
    for _ in range(3):
        # However often it is looked at, by whatever process.
        installation.end("sync", signal.SIGKILL)
        installation.free_leases()
        installation.start("sync")
        installation.wait(
            "it is learned",
            lambda: installation.count("spv_grant WHERE state = 'needs_authorisation'"),
        )
        installation.wait("the mail", lambda: installation.count("mail WHERE state = 'sent'"))
    assert len({message["Message-ID"] for message in mails.taken}) == 1
    (message, *_) = mails.taken
    assert message["To"] == ADMIN
    text = message.get_content()
    assert "a refuzat de două ori" in text
    assert "Din SPV se mai aduc facturi cel mult până pe" in text
    assert f"{installation.settings.web_url}/spv/grants/" in text
    assert installation.count("alert WHERE kind = 'grant' AND ended_at IS NULL") == 1

    httpx.post(f"{simulator.url}/simulator/faults", json={}).raise_for_status()
    uid = authorise_again(installation)
    installation.end("sync")
    installation.start("sync")
    installation.wait(
        "it is over",
        lambda: not installation.count("alert WHERE kind = 'grant' AND ended_at IS NULL"),
    )
    assert uid in text
    assert installation.count("mail") == 1
    assert len({message["Message-ID"] for message in mails.taken}) == 1
    for service in ("sync", "vault"):
        assert "Traceback" not in installation.log(service)
    issued = simulator.simulator.authority.issued
    kept = installation.settings.database_path.read_bytes()
    assert issued
    assert not [token for token in issued if token.encode() in kept or token in text]


def test_mails_wait_for_a_mail_server_and_for_its_return_and_are_sent_once(
    installation: Installation,
) -> None:
    asyncio.run(_put_mails(installation, 3))
    installation.start("sync")
    installation.wait("the list", lambda: installation.count("listing WHERE done_at IS NOT NULL"))
    waiting = "job WHERE kind = 'mail' AND state = 'queued' AND attempts = 0"
    assert installation.count(waiting) == 3  # nobody has tried in vain
    installation.end("sync")

    with mail_server() as mails:
        use(installation, mails)
    # It is in the configuration, and away.
    installation.start("sync")
    installation.wait("a try", lambda: installation.count("mail WHERE problem IS NOT NULL") == 3)
    installation.end("sync", signal.SIGKILL)
    installation.try_again_now()
    installation.free_leases()

    with mail_server(port=mails.port) as back:
        installation.start("sync")
        installation.wait("all sent", lambda: installation.count("mail WHERE state = 'sent'") == 3)
        assert installation.end("sync") == 0
    assert sorted(back.recipients) == [f"person{number}@example.ro" for number in range(3)]
    assert not installation.count("job WHERE kind = 'mail' AND state <> 'done'")


async def _put_mails(installation: Installation, number: int) -> None:
    async with open_store(installation.settings):
        for each in range(number):
            address = f"person{each}@example.ro"
            await outbox.put(f"test:{each}", address, "ro", "Știre", "Bună.", datetime.now(UTC))

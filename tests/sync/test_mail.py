"""Mails of the outbox, sent to a real mail server."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.config import Settings
from appliance.store import engine, jobs, mails
from appliance.store.jobs import Job
from appliance.store.mails import Mail, MailState
from appliance.sync import mail as mail_jobs
from appliance.sync import tasks
from appliance.sync.mail import compose
from tests.support.desk import Desk
from tests.support.smtp import PASSWORD, USER, MailServer, certificate, mail_server
from tests.support.store import NOW

# The server cannot see that it is spoken to under TLS from the first byte.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

ANA = "ana@alfa.example"
TEXT = "Bună ziua,\n\nAutorizarea SPV a expirat. Șterge și dă-o din nou, până mâine.\n"


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's certificate is one that this machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(certificate(tmp_path)))
    return tmp_path


def password_file(directory: Path, content: str = PASSWORD, mode: int = 0o600) -> Path:
    path = directory / "mail-password"
    path.write_text(f"{content}\n")
    path.chmod(mode)
    return path


async def put(cause: str = "test:1", recipient: str = ANA) -> Mail:
    assert await mails.put(cause, recipient, "ro", "SPV: expiră, șterge", TEXT, NOW)
    rows = await engine.fetch("SELECT uid FROM mail WHERE cause = ?", [cause])
    found = await mails.get(rows[0]["uid"])
    assert found is not None
    return found


async def sent(desk: Desk, settings: Settings) -> Job:
    """Run the one job that is due and return it as it ended."""
    desk.context.settings = settings
    (job,) = await desk.run("mail")
    return job


async def now(mail: Mail) -> Mail:
    found = await mails.get(mail.uid)
    assert found is not None
    return found


async def test_a_mail_arrives_as_it_was_written(desk: Desk, server: MailServer) -> None:
    mail = await put()

    job = await sent(desk, server.settings(desk.context.settings))

    (message,) = server.taken
    assert server.recipients == [ANA]
    assert message["To"] == ANA
    assert message["From"] == "Contabilitate Tismana SRL <arhivar@tismana.example>"
    assert message["Subject"] == "SPV: expiră, șterge"
    assert message["Message-ID"] == f"<{mail.uid}@tismana.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(message["Date"]) == NOW
    assert message.get_content_type() == "text/plain"
    assert message.get_content_charset() == "utf-8"
    assert message.as_bytes().isascii()  # no server needs more than that
    assert message.get_content().replace("\r\n", "\n") == TEXT
    assert (job.state, (await now(mail)).state) == ("done", MailState.SENT)


async def test_the_same_mail_is_the_same_message_however_often_it_is_built(desk: Desk) -> None:
    mail = await put()

    built = {compose(mail, "arhivar@tismana.example", "Firma SRL").as_bytes() for _ in range(3)}

    assert len(built) == 1


async def test_of_one_cause_one_mail_is_sent(desk: Desk, server: MailServer) -> None:
    await put()
    assert not await mails.put("test:1", ANA, "ro", "again", "again", NOW)
    await sent(desk, server.settings(desk.context.settings))
    assert not await mails.put("test:1", ANA, "ro", "again", "again", NOW)

    assert await desk.run("mail") == []
    assert len(server.taken) == 1


async def test_a_mail_that_is_put_in_a_transaction_that_fails_is_not_sent(desk: Desk) -> None:
    async def fails() -> None:
        async with engine.transaction():
            await mails.put("test:1", ANA, "ro", "subject", TEXT, NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fails()

    assert await jobs.waiting("mail") == 0
    assert await mails.put("test:1", ANA, "ro", "subject", TEXT, NOW)


async def test_a_job_that_runs_again_after_the_mail_was_sent_sends_nothing(
    desk: Desk, server: MailServer
) -> None:
    mail = await put()
    await sent(desk, server.settings(desk.context.settings))
    await jobs.insert("mail", mail.uid, datetime.now(UTC))

    await desk.run("mail")

    assert len(server.taken) == 1


async def test_killed_between_the_servers_yes_and_our_note_the_second_one_can_be_recognised(
    desk: Desk, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put()
    with monkeypatch.context() as patched:

        async def power_cut(*_: Any, **__: Any) -> None:
            raise RuntimeError("the note was never written")

        patched.setattr(mails, "settle", power_cut)
        await sent(desk, server.settings(desk.context.settings))
    await _make_due()

    await desk.run("mail")

    first, second = server.taken
    assert first["Message-ID"] == second["Message-ID"]
    assert first.as_bytes() == second.as_bytes()


async def test_what_is_over_before_it_is_sent_is_not_sent(desk: Desk, server: MailServer) -> None:
    mail, other = await put("grant:1:30:ana"), await put("grant:10:30:ana")
    await mails.withdraw("grant:1:", NOW)
    desk.context.settings = server.settings(desk.context.settings)

    await desk.run("mail")

    assert (await now(mail)).state is MailState.WITHDRAWN
    assert (await now(other)).state is MailState.SENT
    assert len(server.taken) == 1


# The server is away, or says no


async def test_while_the_server_is_away_the_mail_waits_and_is_tried_again(
    desk: Desk, server: MailServer
) -> None:
    mail = await put()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        away = server.settings(desk.context.settings, mail_port=port)
        for attempt in (1, 2, 3):
            job = await sent(desk, away)
            wait = (job.next_attempt_at - datetime.now(UTC)).total_seconds()
            assert 60 * 2 ** (attempt - 1) * 0.7 < wait < 60 * 2 ** (attempt - 1) * 1.3
            assert job.state == "queued"
            await _make_due()
    problem = (await mails.outbox(NOW)).problem
    assert problem is not None
    assert "nu răspunde" in problem.ro
    assert (await mails.outbox(NOW)).waiting == 1

    await sent(desk, server.settings(desk.context.settings))

    assert (await now(mail)).state is MailState.SENT
    assert len(server.taken) == 1
    assert (await mails.outbox(NOW)).problem is None


@pytest.mark.parametrize("answer", ["450 4.2.0 greylisted", "530 5.7.0 log in first"])
async def test_a_no_for_now_is_tried_again(desk: Desk, server: MailServer, answer: str) -> None:
    mail = await put()
    server.refuse[ANA] = [answer]

    job = await sent(desk, server.settings(desk.context.settings))

    assert job.state == "queued"
    assert job.problem is not None
    assert answer in job.problem.ro
    await _make_due()
    await desk.run("mail")
    assert (await now(mail)).state is MailState.SENT


async def test_a_no_for_good_ends_the_mail_and_is_shown(desk: Desk, server: MailServer) -> None:
    mail, other = await put(), await put("test:2", "bogdan@alfa.example")
    server.refuse[ANA] = ["550 5.1.1 no such user"]
    desk.context.settings = server.settings(desk.context.settings)

    ended = await desk.run("mail")

    assert {job.state for job in ended} == {"done"}
    assert (await now(mail)).state is MailState.REFUSED
    assert (await now(other)).state is MailState.SENT
    box = await mails.outbox(datetime.now(UTC))
    assert (box.waiting, box.refused, [each.recipient for each in box.refused_last]) == (
        0,
        1,
        [ANA],
    )
    problem = box.refused_last[0].problem
    assert problem is not None
    assert "550 5.1.1 no such user" in problem.ro
    assert (await mails.outbox(datetime.now(UTC) + timedelta(days=31))).refused == 0


async def test_a_message_that_the_server_does_not_take_is_not_tried_again(
    desk: Desk, server: MailServer
) -> None:
    first, second = await put(), await put("test:2")
    server.refuse_data = ["554 5.7.1 spam", "451 4.3.0 later"]
    desk.context.settings = server.settings(desk.context.settings)

    await desk.run("mail")

    assert [(await now(each)).state for each in (first, second)] == [
        MailState.REFUSED,
        MailState.QUEUED,
    ]


@pytest.mark.parametrize("address", ["a,b@alfa.example", "ana@", "ana..@alfa.example"])
async def test_what_is_no_address_is_refused_and_holds_up_nobody(
    desk: Desk, server: MailServer, address: str
) -> None:
    mail = await put(recipient=address)

    job = await sent(desk, server.settings(desk.context.settings))

    assert (job.state, (await now(mail)).state) == ("done", MailState.REFUSED)
    assert server.taken == []


async def test_without_a_host_the_mail_waits_and_nothing_is_connected_to(desk: Desk) -> None:
    await put()

    job = await sent(desk, replace(desk.context.settings, mail_host=""))

    assert job.state == "queued"
    assert job.problem is not None
    assert "mail.host nu este configurat" in job.problem.ro


async def test_told_to_end_it_does_not_wait_for_a_server_that_says_nothing(
    desk: Desk, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_jobs, "_ANSWER_SECONDS", 3600)
    ended, talk = threading.Event(), mail_jobs._Delivery.run

    def watched(delivery: Any) -> None:
        try:
            talk(delivery)
        finally:
            ended.set()

    monkeypatch.setattr(mail_jobs._Delivery, "run", watched)
    mail = await put()
    desk.context.settings = server.settings(desk.context.settings)
    server.silent = True
    (job,) = await jobs.lease(1, datetime.now(UTC), 60, ["mail"])
    running = asyncio.create_task(tasks.run(job.id, desk.context))
    assert await asyncio.to_thread(server.waited_for.wait, 60)

    running.cancel()
    await running
    assert await asyncio.to_thread(ended.wait, 60)

    after = await jobs.get(job.id)
    assert after is not None
    assert (after.state, after.attempts) == ("queued", 0)
    assert (await now(mail)).state is MailState.QUEUED


# Encryption and the password


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_under_tls_with_a_password(desk: Desk, trusted: Path, security: str) -> None:
    await put()
    with mail_server(security, log_in=True, directory=trusted) as server:
        options = {"mail_user": USER, "mail_password_file": password_file(trusted)}
        await sent(desk, server.settings(desk.context.settings, mail_security=security, **options))

    assert server.encrypted == [True]
    assert server.users == [USER]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_that_nobody_trusts_gets_neither_password_nor_mail(
    desk: Desk, tmp_path: Path, security: str
) -> None:
    await put()
    with mail_server(security, log_in=True, directory=tmp_path) as server:
        options = {"mail_user": USER, "mail_password_file": password_file(tmp_path)}
        job = await sent(
            desk, server.settings(desk.context.settings, mail_security=security, **options)
        )

    assert (server.taken, server.users) == ([], [])
    assert job.state == "queued"
    assert job.problem is not None
    assert "nu este de încredere" in job.problem.ro


async def test_a_certificate_of_another_name_is_not_trusted(desk: Desk, trusted: Path) -> None:
    await put()
    with mail_server("starttls", directory=trusted) as server:
        settings = server.settings(
            desk.context.settings, mail_security="starttls", mail_host="127.0.0.1"
        )
        job = await sent(desk, settings)

    assert server.taken == []
    assert job.problem is not None
    assert "nu este de încredere" in job.problem.ro


async def test_a_server_without_starttls_gets_nothing(desk: Desk, server: MailServer) -> None:
    await put()

    job = await sent(desk, server.settings(desk.context.settings, mail_security="starttls"))

    assert server.taken == []
    assert job.problem is not None
    assert "STARTTLS" in job.problem.ro


async def test_a_wrong_password_is_told_and_is_in_no_log(
    desk: Desk, trusted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await put()
    wrong = "canary-wrong-password"
    with mail_server("starttls", log_in=True, directory=trusted) as server:
        options = {"mail_user": USER, "mail_password_file": password_file(trusted, wrong)}
        job = await sent(
            desk, server.settings(desk.context.settings, mail_security="starttls", **options)
        )

    assert job.state == "queued"
    assert job.problem is not None
    assert "utilizatorul sau parola" in job.problem.ro
    assert "canary" not in caplog.text + job.problem.to_json()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [(PASSWORD, 0o640, "0600"), ("", 0o600, "parola"), ("parolă", 0o600, "diacritice")],
)
async def test_a_password_that_cannot_be_used_lets_the_mail_wait(
    desk: Desk, server: MailServer, tmp_path: Path, content: str, mode: int, said: str
) -> None:
    await put()
    path = password_file(tmp_path, content, mode)

    job = await sent(
        desk,
        server.settings(desk.context.settings, mail_user=USER, mail_password_file=path),
    )

    assert server.taken == []
    assert job.problem is not None
    assert said.lower() in job.problem.ro.lower()


async def test_systemd_may_give_the_password(
    desk: Desk, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", os.fspath(trusted))
    password_file(trusted, mode=0o440)
    with mail_server("tls", log_in=True, directory=trusted) as server:
        await sent(
            desk, server.settings(desk.context.settings, mail_security="tls", mail_user=USER)
        )

    assert len(server.taken) == 1


async def test_texts_of_what_was_settled_long_ago_are_forgotten_and_the_cause_is_not(
    desk: Desk, server: MailServer
) -> None:
    mail, waits = await put(), await put("test:2")
    await mails.settle(mail.uid, MailState.SENT, NOW)

    assert await mails.sweep(NOW + timedelta(days=89)) == 0
    assert await mails.sweep(NOW + timedelta(days=91)) == 1
    assert await mails.sweep(NOW + timedelta(days=91)) == 0
    assert ((await now(mail)).text, (await now(waits)).text) == ("", TEXT)
    assert not await mails.put("test:1", ANA, "ro", "again", "again", NOW)


async def _make_due() -> None:
    async with engine.transaction():
        await engine.execute("UPDATE job SET next_attempt_at = created_at WHERE state = 'queued'")

"""Tokens over months: the real database and gateway, a real token endpoint, our own clock."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.core.errors import BadInput, Busy, NotFound
from appliance.vault import authorising
from appliance.vault.authorising import Authorised
from appliance.vault.envelope import Purpose
from appliance.vault.errors import NeedsAuthorisation, SealBroken, TokenRefused, Unreachable
from appliance.vault.secret import Secret
from tests.support.anaf import CLIENT_ID, Anaf
from tests.support.vault import CALLBACK, CIF, START, World

INVALID_GRANT = (400, b'{"error":"invalid_grant","error_description":"<b>expired</b>"}')
MAINTENANCE = (200, b"<html>Mentenanta sistem</html>")


@pytest.fixture
async def world(tmp_path: Path, anaf: Anaf) -> AsyncIterator[World]:
    world = World(tmp_path, anaf)
    yield world
    await world.http.aclose()


async def test_a_token_is_renewed_past_two_thirds_of_its_life_and_not_before(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=60) - timedelta(seconds=1)
    await world.list()
    assert anaf.refreshes == []
    world.now = START + timedelta(days=60)
    await world.list()
    assert anaf.refreshes == [anaf.issued[1]]
    assert world.used_token() == anaf.issued[2]


async def test_a_grant_that_is_used_lives_for_years_without_a_person(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    for month in range(60):
        world.now = START + timedelta(days=30 * month)
        if month % 7 == 0:
            world.restart()
        assert (await world.list()).status == 200
    assert len(anaf.refreshes) == len(set(anaf.refreshes)) == 29
    assert world.database.audit_breaks() == []


async def test_sixty_four_callers_make_one_refresh(world: World, anaf: Anaf) -> None:
    await world.authorise()
    world.now = START + timedelta(days=61)
    answers = await asyncio.gather(*(world.list() for _ in range(64)))
    assert {answer.status for answer in answers} == {200}
    assert len(anaf.refreshes) == 1
    assert {call["headers"]["authorization"] for call in anaf.calls} == {f"Bearer {anaf.issued[2]}"}


async def test_two_processes_make_one_refresh(world: World, anaf: Anaf) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=61)
    anaf.hold = asyncio.Event()
    first = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    world.restart()  # a second set of objects on the same files
    second = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await asyncio.sleep(0)
    anaf.hold.set()
    tokens = await asyncio.gather(first, second)
    assert {access.token.reveal() for access in tokens} == {anaf.issued[2]}
    assert len(anaf.refreshes) == 1


async def test_a_caller_that_goes_away_does_not_lose_the_answer(world: World, anaf: Anaf) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=61)
    anaf.hold = asyncio.Event()
    caller = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    caller.cancel()
    anaf.hold.set()
    await world.renewal.settle()
    assert world.database.version(bytes.fromhex(uid), Purpose.TOKENS) == 2
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1


async def test_a_renewed_token_that_names_no_certificate_keeps_the_grants_serial(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.serial = "not a serial"
    world.now = START + timedelta(days=61)
    await world.list()
    (grant,) = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert (grant["serial"], len(anaf.refreshes)) == ("3400002569AB", 1)


async def test_while_the_old_token_lives_a_failed_refresh_is_no_matter(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.token_answer = MAINTENANCE
    world.now = START + timedelta(days=61)
    for _ in range(5):
        assert (await world.list()).status == 200
        assert world.used_token() == anaf.issued[0]
    assert len(anaf.refreshes) == 1, "the next try waits a minute"
    world.now += timedelta(minutes=1)
    anaf.token_answer = None
    assert (await world.list()).status == 200
    assert world.used_token() == anaf.issued[2]


@pytest.mark.parametrize(
    "trouble",
    [
        MAINTENANCE,
        (502, b""),
        (200, b"{}"),
        (200, b'{"access_token":"short"}'),
        (200, b'{"access_token":"' + b"a" * 40 + b'\\r\\nX: y"}'),
        (200, b"[" * 100_000),
        (200, b" " * 2_000_000),
        (503, b'{"error":"invalid_grant"}'),
    ],
)
async def test_trouble_at_the_token_endpoint_never_ends_a_grant(
    world: World, anaf: Anaf, trouble: tuple[int, bytes]
) -> None:
    await world.authorise()
    anaf.token_answer = trouble
    world.now = START + timedelta(days=91)
    for _ in range(4):
        answer = await world.list()
        assert (answer.status, answer.headers["Arhivar-Reason"]) == (502, "unreachable")
        world.now += timedelta(minutes=11)
    assert world.state() == "active"
    anaf.token_answer = None
    assert (await world.list()).status == 200


async def test_a_grant_needs_authorisation_only_after_a_second_refusal(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=91)
    assert (await world.list()).status == 503
    assert world.state() == "active"
    world.now += timedelta(minutes=9)
    assert (await world.list()).status == 503
    assert (len(anaf.refreshes), world.state()) == (1, "active")
    world.now += timedelta(minutes=1)
    assert (await world.list()).status == 503
    assert (len(anaf.refreshes), world.state()) == (2, "needs_authorisation")
    world.now += timedelta(days=1)
    assert (await world.list()).status == 503
    assert len(anaf.refreshes) == 2, "no retry loop"


async def test_a_refused_grant_serves_until_its_access_token_ends(world: World, anaf: Anaf) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=61)
    await world.list()
    world.now += timedelta(minutes=10)
    assert (await world.list()).status == 200
    assert world.state() == "needs_authorisation"
    world.now = START + timedelta(days=90)
    assert (await world.list()).status == 503


async def test_one_refusal_by_mistake_is_forgotten(world: World, anaf: Anaf) -> None:
    await world.authorise()
    anaf.token_answer = INVALID_GRANT
    world.now = START + timedelta(days=61)
    await world.list()
    anaf.token_answer = None
    world.now += timedelta(minutes=10)
    await world.list()
    assert world.used_token() == anaf.issued[2]
    anaf.token_answer = INVALID_GRANT
    world.now += timedelta(days=61)
    await world.list()
    assert world.state() == "active"


async def test_the_previous_pair_is_tried_before_a_grant_is_given_up(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=61)
    await world.list()
    world.now += timedelta(days=91)
    anaf.token_answer = INVALID_GRANT
    await world.list()
    world.now += timedelta(minutes=10)
    await world.list()
    assert anaf.refreshes[-2:] == [anaf.issued[3], anaf.issued[1]]
    assert world.state() == "needs_authorisation"


async def test_a_wrong_client_secret_does_not_end_the_grant(world: World, anaf: Anaf) -> None:
    await world.authorise()
    anaf.token_answer = (400, b'{"error":"invalid_client"}')
    world.now = START + timedelta(days=91)
    for _ in range(3):
        answer = await world.list()
        assert answer.status in (502, 503)
        world.now += timedelta(minutes=15)
    assert world.state() == "active"


async def test_after_a_401_the_token_is_renewed_once_and_the_call_repeated(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    world.now = START + timedelta(days=1)
    anaf.refused = {anaf.issued[0]}
    answers = await asyncio.gather(*(world.list() for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len(anaf.refreshes) == 1


async def test_when_the_renewed_token_gets_401_as_well_nobody_insists_for_ten_minutes(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.api_status = 401
    for minutes, refreshes in ((0, 1), (1, 1), (9, 1), (10, 2), (19, 2)):
        world.now = START + timedelta(minutes=minutes)
        assert (await world.list()).status == 401
        assert len(anaf.refreshes) == refreshes


async def test_a_pair_that_the_database_could_not_take_comes_from_the_journal(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with sqlite3.connect(world.database.path, isolation_level=None) as other:
        world.database.durable.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")  # as a backup that hangs
        with pytest.raises(Busy):
            await world.renewal.access(uid, at=world.now)
        other.execute("ROLLBACK")
    other.close()
    world.restart()  # the process died meanwhile
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1
    assert list(world.directory.glob("*.journal")) == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
async def test_a_pair_whose_journal_was_begun_when_the_process_was_killed_is_not_lost(
    world: World, anaf: Anaf, call: str
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*((os, "fsync") if call == "fsync" else (Path, "rename")), killed)
        with pytest.raises(Killed):
            await world.renewal.access(uid, at=world.now)
    assert len(list(world.directory.glob("*.tmp"))) == 1
    world.restart()
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1
    assert left_by_the_journal(world) == []


async def test_a_journal_that_was_torn_is_removed_and_the_pair_stays(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(Killed):
            await world.renewal.access(uid, at=world.now)
    [path] = world.directory.glob("*.tmp")
    whole = path.read_bytes()
    for length in (0, 5, 8, 20, 60, 100, 120, 300, len(whole) - 1):
        path.write_bytes(whole[:length])
        world.restart()
        assert left_by_the_journal(world) == [], length
        assert world.grants.status()["grants"][0]["state"] == "active"  # type: ignore[index]


async def test_a_journal_that_could_not_be_written_leaves_nothing(world: World) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", full)
        await world.renewal.access(uid, at=world.now)
    assert left_by_the_journal(world) == []


class Killed(BaseException):
    """The process ends here."""


def killed(*_: object) -> None:
    raise Killed


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def left_by_the_journal(world: World) -> list[str]:
    return sorted(path.name for path in world.directory.glob("refresh-*") if path.suffix != ".lock")


async def test_a_pair_that_the_database_could_not_take_is_written_at_the_next_call(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    with sqlite3.connect(world.database.path, isolation_level=None) as other:
        world.database.durable.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await world.renewal.access(uid, at=world.now)
        other.execute("ROLLBACK")
    other.close()
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]
    assert len(anaf.refreshes) == 1


async def test_a_journal_older_than_the_row_changes_nothing(world: World, anaf: Anaf) -> None:
    uid = await world.authorise()
    subject = bytes.fromhex(uid)
    (body,) = world.database.durable.execute(
        "SELECT body FROM record WHERE subject = ? AND purpose = 1", (subject,)
    ).fetchone()
    world.now = START + timedelta(days=61)
    await world.list()
    (world.directory / f"refresh-{uid}.journal").write_bytes((1).to_bytes(8, "big") + body)
    world.restart()
    assert (await world.renewal.access(uid, at=world.now)).token.reveal() == anaf.issued[2]


async def test_a_journal_that_does_not_open_is_set_aside_and_the_vault_starts(
    world: World,
) -> None:
    uid = await world.authorise()
    path = world.directory / f"refresh-{uid}.journal"
    path.write_bytes((2).to_bytes(8, "big") + b"x" * 700)
    world.restart()
    assert (await world.list()).status == 200
    assert not path.exists()
    assert path.with_suffix(".broken").exists()


async def test_authorising_during_a_refresh_keeps_the_newer_authorisation(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=61)
    anaf.hold = asyncio.Event()
    refresh = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    assert await world.authorise() == uid, "the same certificate renews its grant"
    anaf.hold.set()
    await refresh
    access = await world.renewal.access(uid, at=world.now)
    assert access.token.reveal() == anaf.issued[2]


async def test_another_certificate_takes_over_no_grant_and_is_offered_its_cifs(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    anaf.serial = "99:99"
    world.now += timedelta(minutes=1)
    _, state = world.authorising.begin("session", requested_by="dan", grant=uid, at=world.now)
    done = await world.authorising.finish(
        "session", state, code=Secret("c"), error=None, at=world.now
    )
    assert (done.grant != uid, done.serial, done.renewed) == (True, "9999", False)
    first, second = world.grants.status()["grants"]  # type: ignore[attr-defined]
    assert (first["grant"], first["cifs"], first["offered"]) == (uid, [CIF], [])
    assert (second["grant"], second["cifs"], second["offered"]) == (done.grant, [], [CIF])
    await world.list()
    assert world.used_token() == anaf.issued[0], "nobody confirmed the new one"
    world.mapping.map(CIF, done.grant, confirmed_by="ana", at=world.now)
    await world.list()
    assert world.used_token() == anaf.issued[2]


async def test_the_certificate_of_another_grant_renews_that_one(world: World, anaf: Anaf) -> None:
    first = await world.authorise()
    anaf.serial = "99:99"
    second = await world.authorise()
    _, state = world.authorising.begin("session", requested_by="ana", grant=first, at=world.now)
    done = await world.authorising.finish(
        "session", state, code=Secret("c"), error=None, at=world.now
    )
    assert (done.grant, done.renewed) == (second, True)


async def test_a_token_without_a_certificates_serial_is_of_no_grant_that_is_there(
    world: World, anaf: Anaf
) -> None:
    anaf.serial = ""
    first = await world.authorise()
    assert await world.authorise(grant=first) != first


async def test_the_holders_name_and_what_it_was_about_come_back(world: World) -> None:
    await world.authorise()
    for holder, shown in (("Ana Pop", "Ana Pop"), ("", "Ana Pop"), ("Ana Șerban", "Ana Șerban")):
        _, state = world.authorising.begin(
            "session", requested_by="ana", holder=holder, about="client-7", at=world.now
        )
        done = await world.authorising.finish(
            "session", state, code=Secret("c"), error=None, at=world.now
        )
        assert done.about == "client-7"
        [grant] = world.grants.standing()["grants"]  # type: ignore[misc]
        assert (grant["holder"], grant["grant"]) == (shown, done.grant)  # type: ignore[index]


async def test_a_state_serves_once_its_session_alone_and_ten_minutes(world: World) -> None:
    await world.authorise()

    async def finish(session: str, state: str) -> Authorised:
        return await world.authorising.finish(
            session, state, code=Secret("c"), error=None, at=world.now
        )

    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises(BadInput):
        await finish("another", state)
    assert await finish("session", state)
    with pytest.raises(BadInput):
        await finish("session", state)
    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    world.now += timedelta(minutes=10)
    with pytest.raises(BadInput):
        await finish("session", state)
    with pytest.raises(BadInput):
        await finish("session", "invented")


async def test_authorisations_that_nobody_finishes_are_so_many_at_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorising, "MAX_WAITING", 3)
    await world.authorise()
    for _ in range(3):
        world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises(Busy):
        world.authorising.begin("session", requested_by="ana", at=world.now)
    world.now += timedelta(minutes=11)
    world.authorising.begin("session", requested_by="ana", at=world.now)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("access_denied", "access_denied"),
        ("<script>alert(1)</script>", "unknown"),
        (None, "no_code"),
    ],
)
async def test_what_the_browser_brings_back_without_a_code_is_told_in_plain_words(
    world: World, error: str | None, code: str
) -> None:
    await world.authorise()
    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises(TokenRefused) as caught:
        await world.authorising.finish("session", state, code=None, error=error, at=world.now)
    assert caught.value.code == code
    assert "<" not in caught.value.sentence.ro + caught.value.sentence.en


@pytest.mark.parametrize(
    "answer",
    [
        (400, b'{"error":"invalid_grant","error_description":"<img src=x onerror=alert(1)>"}'),
        (400, b'{"error":"<img src=x onerror=alert(1)>"}'),
    ],
)
async def test_html_in_anafs_error_is_not_repeated(
    world: World, anaf: Anaf, answer: tuple[int, bytes]
) -> None:
    await world.authorise()
    anaf.code_answer = answer
    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises(TokenRefused) as caught:
        await world.authorising.finish("session", state, code=Secret("c"), error=None, at=world.now)
    assert "img" not in caught.value.sentence.ro + caught.value.sentence.en


@pytest.mark.parametrize(
    ("code", "next_step"),
    [
        ("access_denied", "alege certificatul"),
        ("invalid_grant", "leagă din nou SPV"),
        ("invalid_client", "client_secret"),
        ("invalid_request", "adresa de întoarcere"),
        ("unauthorized_client", "E-Factura"),
        ("invalid_scope", "E-Factura"),
        ("server_error", "peste câteva minute"),
        ("temporarily_unavailable", "peste câteva minute"),
        ("unsupported_response_type", "încearcă din nou"),
        ("something_new", "încearcă din nou"),
    ],
)
async def test_every_oauth_error_has_a_romanian_sentence_with_the_next_step(
    world: World, anaf: Anaf, code: str, next_step: str
) -> None:
    """Whether it comes back with the browser or from the token endpoint."""
    await world.authorise()
    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises(TokenRefused) as refused:
        await world.authorising.finish("session", state, code=None, error=code, at=world.now)
    assert next_step in refused.value.sentence.ro
    assert refused.value.sentence.en
    anaf.code_answer = (400, b'{"error":"%s"}' % code.encode())
    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises((TokenRefused, Unreachable)) as caught:
        await world.authorising.finish("session", state, code=Secret("c"), error=None, at=world.now)
    assert next_step in caught.value.sentence.ro
    refusals = [entry for entry in world.audit() if entry["action"] == "authorisation:refused"]
    assert [entry["actor"] for entry in refusals] == ["ana", "ana"]
    assert refusals[0]["data"]["code"] == code


@pytest.mark.parametrize("code", ["server_error", "temporarily_unavailable"])
async def test_a_server_that_cannot_just_now_ends_no_grant(
    world: World, anaf: Anaf, code: str
) -> None:
    await world.authorise()
    anaf.token_answer = (400, b'{"error":"%s"}' % code.encode())
    world.now = START + timedelta(days=91)
    answer = await world.list()
    assert (answer.status, answer.headers["Arhivar-Reason"]) == (502, "unreachable")
    assert world.state() == "active"


async def test_the_audit_chain_names_who_did_what(world: World) -> None:
    uid = await world.authorise()
    world.mapping.unmap(CIF, by="bogdan", at=world.now)
    _, state = world.authorising.begin("session", requested_by="dan", at=world.now)
    for session in ("another", "session", "session"):
        with pytest.raises((BadInput, TokenRefused)):
            await world.authorising.finish(
                session, state, code=None, error="access_denied", at=world.now
            )
    world.grants.revoke(uid, by="elena", at=world.now)
    told = [
        (entry["action"], entry["actor"], entry["object"])
        for entry in world.audit()
        if entry["actor"] != "vault"
    ]
    assert told == [
        ("application:set", "ana", CLIENT_ID),
        ("authorisation:begin", "ana", ""),
        ("grant:authorise", "ana", uid),
        ("cif:map", "ana", uid),
        ("cif:unmap", "bogdan", uid),
        ("authorisation:begin", "dan", ""),
        ("authorisation:bad-state", "portal", ""),
        ("authorisation:refused", "dan", ""),
        ("authorisation:bad-state", "portal", ""),
        ("grant:revoke", "elena", uid),
    ]


async def test_the_code_is_exchanged_with_basic_and_the_exact_callback(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    (request,) = anaf.token_requests
    assert request["authorization"].startswith("Basic ")
    assert request["form"] == {
        "grant_type": ["authorization_code"],
        "code": ["the-code"],
        "redirect_uri": [CALLBACK],
        "token_content_type": ["jwt"],
    }


async def test_a_revoked_grant_is_gone_and_an_old_copy_of_it_does_not_open(world: World) -> None:
    uid = await world.authorise()
    backup = world.directory / "backup.db"
    world.database.durable.execute("VACUUM INTO ?", (str(backup),))
    world.grants.revoke(uid, by="ana", at=world.now)
    world.grants.revoke(uid, by="ana", at=world.now)
    assert (await world.list()).status == 403
    with pytest.raises(NotFound):
        await world.renewal.access(uid, at=world.now)
    world.database.close()
    backup.replace(world.database.path)
    world.database.path.with_name("vault.db-wal").unlink(missing_ok=True)
    world.restart()
    with pytest.raises(SealBroken):
        await world.renewal.access(uid, at=world.now)
    assert (await world.list()).status == 503


async def test_a_grant_that_an_old_copy_brings_back_is_shown_as_what_it_is(world: World) -> None:
    uid = await world.authorise()
    backup = world.directory / "backup.db"
    world.database.durable.execute("VACUUM INTO ?", (str(backup),))
    world.grants.revoke(uid, by="ana", at=world.now)
    world.database.close()
    backup.replace(world.database.path)
    world.database.path.with_name("vault.db-wal").unlink(missing_ok=True)
    world.restart()
    await world.renewal.look()
    assert world.state() == "needs_authorisation"
    (grant,) = world.grants.standing()["grants"]  # type: ignore[misc]
    assert grant["state"] == "needs_authorisation"  # type: ignore[index]
    assert await world.authorise() == uid, "the same certificate, with a new salt"
    assert (await world.list()).status == 200


async def test_no_byte_of_a_revoked_record_is_left_in_the_vaults_files(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    anaf.serial = "99:99"
    await world.authorise()
    world.now = START + timedelta(days=61)
    await world.renewal.access(uid, at=world.now)
    subject = bytes.fromhex(uid)
    bodies = [
        body
        for (body,) in world.database.durable.execute(
            "SELECT body FROM record WHERE subject = ?", (subject,)
        )
    ]
    assert len(bodies) == 2
    pieces = [body[at : at + 24] for body in bodies for at in range(60, len(body) - 24, 24)]

    def left() -> int:
        data = b"".join(path.read_bytes() for path in world.directory.glob("*.db*"))
        return sum(piece in data for piece in pieces)

    assert left() == len(pieces), "before, every piece is found"
    world.grants.revoke(uid, by="ana", at=world.now)
    assert left() == 0
    assert [path.name for path in world.directory.glob(f"refresh-{uid}*")] == [
        f"refresh-{uid}.lock"
    ]


async def test_a_refresh_that_ends_after_the_revocation_leaves_nothing(
    world: World, anaf: Anaf
) -> None:
    uid = await world.authorise()
    world.now = START + timedelta(days=91)
    anaf.hold = asyncio.Event()
    refresh = asyncio.create_task(world.renewal.access(uid, at=world.now))
    await anaf.asked.wait()
    world.grants.revoke(uid, by="ana", at=world.now)
    anaf.hold.set()
    with pytest.raises((NeedsAuthorisation, NotFound)):
        await refresh
    assert bytes.fromhex(uid) not in world.database.salted()
    (count,) = world.database.durable.execute(
        "SELECT COUNT(*) FROM record WHERE purpose <> 2"
    ).fetchone()
    assert count == 0


async def test_a_grant_revoked_while_the_browser_was_away_stays_revoked(world: World) -> None:
    uid = await world.authorise()
    _, state = world.authorising.begin("session", requested_by="ana", grant=uid, at=world.now)
    world.grants.revoke(uid, by="ana", at=world.now)
    done = await world.authorising.finish(
        "session", state, code=Secret("c"), error=None, at=world.now
    )
    assert (done.grant != uid, done.renewed) == (True, False)
    assert bytes.fromhex(uid) not in world.database.salted()
    with pytest.raises(NotFound):
        await world.renewal.access(uid, at=world.now)


async def test_the_last_cif_that_a_person_confirmed_is_served_first(
    world: World, anaf: Anaf
) -> None:
    first = await world.authorise()
    anaf.serial = "11:22"
    world.now += timedelta(minutes=1)
    second = await world.authorise()
    assert first != second
    assert world.mapping.for_cif(CIF) == [second, first]
    world.mapping.unmap(CIF, by="ana", at=world.now)
    assert (await world.list()).status == 403


async def test_an_unreachable_server_is_told_as_such(world: World, anaf: Anaf) -> None:
    await world.authorise()
    anaf.code_answer = MAINTENANCE
    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises(Unreachable):
        await world.authorising.finish("session", state, code=Secret("c"), error=None, at=world.now)

"""What becomes of a grant that is revoked or a CIF that is taken away, and who is named."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from appliance.core.errors import BadInput, NotFound
from appliance.vault.errors import NeedsAuthorisation, SealBroken, TokenRefused
from appliance.vault.secret import Secret
from tests.support.anaf import CLIENT_ID, Anaf
from tests.support.vault import CIF, START, World


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

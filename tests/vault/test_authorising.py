"""The way to ANAF and back: states, codes, certificates, refusals in plain words."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from appliance.core.errors import BadInput, Busy
from appliance.vault import authorising
from appliance.vault.authorising import Authorised
from appliance.vault.errors import TokenRefused, Unreachable
from appliance.vault.secret import Secret
from tests.support.anaf import MAINTENANCE, Anaf
from tests.support.vault import CALLBACK, CIF, START, World


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
    assert done.instead_of == uid
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
    assert (done.grant, done.renewed, done.instead_of) == (second, True, first)


async def test_a_token_without_a_certificates_serial_is_of_no_grant_that_is_there(
    world: World, anaf: Anaf
) -> None:
    anaf.serial = ""
    first = await world.authorise()
    assert await world.authorise(grant=first) != first


async def test_the_holders_name_and_what_it_was_about_come_back(world: World) -> None:
    await world.authorise()
    for holder, shown in (
        ("Ana Pop", "Ana Pop"),
        ("", "Ana Pop"),
        ("Ana Șerban", "Ana Șerban"),
        (" Ana\r\nBcc: x\x00\u202e ", "Ana Bcc: x"),
    ):
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


async def test_one_person_who_begins_without_end_takes_nobodys_place_and_sends_no_more_codes(
    world: World, anaf: Anaf
) -> None:
    await world.authorise()
    anaf.code_answer = (400, b'{"error":"invalid_grant"}')
    asked = len(anaf.token_requests)
    for number in range(50):
        world.now += timedelta(seconds=1)
        try:
            session = f"session-{number}"
            _, state = world.authorising.begin(session, requested_by="eva", at=world.now)
        except Busy:
            continue
        with pytest.raises(TokenRefused):
            await world.authorising.finish(
                session, state, code=Secret("made-up"), error=None, at=world.now
            )
    assert len(anaf.token_requests) - asked == authorising.OF_A_PERSON
    anaf.code_answer = None
    await world.authorise()
    world.now += timedelta(minutes=10)
    world.authorising.begin("session", requested_by="eva", at=world.now)


async def test_states_that_do_not_fit_cannot_fill_the_chain(world: World) -> None:
    await world.authorise()
    for _ in range(100):
        with pytest.raises(BadInput):
            await world.authorising.finish(
                "session", "made-up", code=Secret("c"), error=None, at=world.now
            )
    noted = [entry["action"] for entry in world.audit()].count("authorisation:bad-state")
    assert noted == authorising.BAD_A_MINUTE


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


async def test_an_unreachable_server_is_told_as_such(world: World, anaf: Anaf) -> None:
    await world.authorise()
    anaf.code_answer = MAINTENANCE
    _, state = world.authorising.begin("session", requested_by="ana", at=world.now)
    with pytest.raises(Unreachable):
        await world.authorising.finish("session", state, code=Secret("c"), error=None, at=world.now)

"""Logging in, guessing, activation links and the language of a person."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from appliance.core.errors import BadInput, Busy
from appliance.store import accounts, engine, links, throttle
from appliance.store.engine import transaction
from appliance.web.auth.passwords import Passwords, check_new_password
from appliance.web.auth.throttle import subject_of
from tests.support.store import NOW, World
from tests.support.web import PASSWORD, Browser, Clock, Site, cheap_passwords, running


class Counting(Passwords):
    """Passwords that count their hashes."""

    def __init__(self) -> None:
        super().__init__(memory_kib=8, time_cost=1)
        self.hashes = 0

    def _check(self, stored: str, password: str) -> bool:
        self.hashes += 1
        return super()._check(stored, password)


async def test_a_known_and_an_unknown_address_cost_one_hash_and_get_one_answer(
    world: World,
) -> None:
    counting = Counting()
    async with running(world, passwords=counting) as site:
        await world.person("niciodata")
        texts = []
        for email in ("ana@example.ro", "nimeni@example.ro", "niciodata@example.ro"):
            browser = Browser(site.app)
            before = counting.hashes
            response = await browser.log_in(email, "o parolă greșită de tot")
            assert response.status_code == 403
            assert counting.hashes == before + 1
            texts.append(response.text.replace(email, "").replace(browser.token(), ""))
        assert len(set(texts)) == 1


async def test_ten_wrong_passwords_stop_the_eleventh_however_the_address_is_spelled(
    world: World,
) -> None:
    counting = Counting()
    async with running(world, passwords=counting) as site:
        spellings = ["ana@example.ro", "ANA@example.ro", " Ana@Example.RO "]
        for turn in range(10):
            response = await Browser(site.app, address=f"10.0.0.{turn}").log_in(
                spellings[turn % 3], "greșit greșit"
            )
            assert response.status_code == 403
        hashes = counting.hashes
        right = await Browser(site.app, address="10.0.1.1").log_in("ana@example.ro")
        assert right.status_code == 429
        assert counting.hashes == hashes, "a throttled attempt must not be verified"
        site.clock.forward(minutes=6)
        assert (await Browser(site.app).log_in("ana@example.ro")).status_code == 303


async def test_a_browser_that_was_here_before_is_not_locked_out_by_a_stranger(site: Site) -> None:
    ana = await site.browser("ana")
    del ana.cookies["s"]
    for turn in range(12):
        await Browser(site.app, address=f"10.0.0.{turn}").log_in("ana@example.ro", "greșit")
    assert (await Browser(site.app).log_in("ana@example.ro")).status_code == 429
    assert (await ana.log_in("ana@example.ro")).status_code == 303
    stranger = Browser(site.app, cookies={"d": ana.cookies["d"].replace(".", ".0", 1)})
    assert (await stranger.log_in("ana@example.ro")).status_code == 429


async def test_one_address_may_not_try_many_accounts(site: Site) -> None:
    statuses = [
        (await Browser(site.app).log_in(f"{turn}@example.ro", "greșit")).status_code
        for turn in range(31)
    ]
    assert statuses == [403] * 30 + [429]
    forged = Browser(site.app)
    await forged.get("/login")
    response = await forged.post(
        "/login",
        {"email": "ana@example.ro", "password": PASSWORD, "next": ""},
        headers={"x-forwarded-for": "8.8.8.8", "x-real-ip": "8.8.8.8"},
    )
    assert response.status_code == 429


async def test_what_is_refused_writes_nothing_however_many_addresses_are_made_up(
    site: Site,
) -> None:
    for turn in range(30):
        await Browser(site.app).log_in(f"{turn}@example.ro", "greșit")
    before = await counters()
    for turn in range(10):
        assert (await Browser(site.app).log_in(f"{turn}@nou.ro", "greșit")).status_code == 429
    assert (await Browser(site.app).log_in("ana@example.ro", "greșit")).status_code == 429
    assert await counters() == before
    for _ in range(1000):
        await throttle.count_failure("login-all", "", NOW)
    before = await counters()
    for turn in range(10):
        browser = Browser(site.app, address=f"10.0.0.{turn}")
        assert (await browser.log_in(f"{turn}@altul.ro", "greșit")).status_code == 429
    assert await counters() == before


async def test_a_stranger_who_knows_one_address_fills_no_rows_of_others(site: Site) -> None:
    for turn in range(10):
        await Browser(site.app, address=f"10.0.0.{turn}").log_in("ana@example.ro", "greșit")
    before = await counters()
    for turn in range(10):
        refused = await Browser(site.app, address=f"10.0.1.{turn}").log_in("ana@example.ro", "nu")
        assert refused.status_code == 429
    assert await counters() == before


def test_made_up_addresses_share_a_fixed_number_of_counters() -> None:
    key = bytes(32)
    subjects = {subject_of(key, f"{turn}@example.ro") for turn in range(200_000)}
    assert 60_000 < len(subjects) <= 65_536
    assert subject_of(key, " ANA@Example.ro") == subject_of(key, "ana@example.ro")
    assert subject_of(b"x" * 32, "ana@example.ro") != subject_of(key, "ana@example.ro")


async def test_no_e_mail_address_is_kept_by_the_counters(site: Site) -> None:
    await Browser(site.app).log_in("ana@example.ro", "greșit")
    rows = await counters()
    assert len(rows) == 4
    assert not any("ana" in str(row) for row in rows)


async def counters() -> list[object]:
    rows = await engine.fetch("SELECT * FROM throttle ORDER BY key")
    return [dict(row) for row in rows]


async def test_a_right_password_takes_its_count_back(site: Site) -> None:
    for _ in range(40):
        assert (await Browser(site.app).log_in("ana@example.ro")).status_code == 303


async def test_under_attack_only_known_browsers_reach_the_slow_part(site: Site) -> None:
    ana = await site.browser("ana")
    del ana.cookies["s"]
    async with transaction():
        for _ in range(1001):
            await throttle.count_failure("login-all", "", NOW)
    assert (await Browser(site.app).log_in("elena@example.ro")).status_code == 429
    assert (await ana.log_in("ana@example.ro")).status_code == 303


async def test_the_log_says_where_a_failure_came_from_and_nothing_that_was_typed(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await Browser(site.app).log_in("ana@example.ro\nauth fail src=1.2.3.4", "parola-canar")
    lines = [record.getMessage() for record in caplog.records if record.name == "arhivar.web"]
    assert lines == ["auth fail src=127.0.0.1 kind=password"]
    assert "canar" not in caplog.text


async def test_a_queue_that_is_full_asks_to_come_back() -> None:
    passwords = cheap_passwords()
    stored = await passwords.hash("a")
    results = await asyncio.gather(
        *(passwords.verify(stored, "a") for _ in range(60)), return_exceptions=True
    )
    busy = [result for result in results if isinstance(result, Busy)]
    assert len(busy) == 38
    assert results.count(True) == 22
    assert await passwords.verify(stored, "a"), "the queue is free again"


async def test_an_old_hash_is_made_anew_at_log_in_and_ends_no_session(world: World) -> None:
    async with running(world) as site:
        first = await site.browser("ana")
        site.app.portal.passwords = Passwords(memory_kib=16, time_cost=1)
        await site.browser("ana")
        account = await accounts.by_email("ana@example.ro")
        assert account is not None
        assert account.password_hash is not None
        assert "m=16," in account.password_hash
        assert (await first.get("/")).headers["location"] != "/login"


def test_production_hashes_with_64_mib() -> None:
    assert Passwords()._nobody.startswith("$argon2id$v=19$m=65536,t=2,p=1$")


@pytest.mark.parametrize(
    "password",
    [
        "scurt", "x" * 11, "x" * 257, "aaaaaaaaaaaaaaaa", "ababababababab", "123456789012345",
        "abcdefghijklmnop", "AnaPopescu1234", "alfaconstruct1", "parolaparola12", "qwertyuiop123",
    ],
)  # fmt: skip
def test_a_password_that_is_guessed_first_is_refused(password: str) -> None:
    with pytest.raises(BadInput):
        check_new_password(password, about=["ana.popescu@alfaconstruct.ro", "Ana Popescu"])


@pytest.mark.parametrize(
    "password",
    [
        "corect cal baterie capsator",
        "țșăîâ țșăîâ ĂÂ",
        "x7#kPq!mZ2vL",
        " spații la capete ",
        "密码密码很长的一个密码短语",
    ],
)
def test_any_characters_make_a_password(password: str) -> None:
    check_new_password(password, about=["ana@example.ro", "Ana"])


async def test_an_activation_link_shows_a_page_and_only_a_post_uses_it(site: Site) -> None:
    account_id = await site.world.person("noua")
    token = await links.issue(account_id, "activation", NOW, NOW + timedelta(hours=24))
    scanner = Browser(site.app)
    for _ in range(3):
        response = await scanner.get(f"/activate/{token}")
        assert response.headers["location"] == "/activate"
        assert response.headers["referrer-policy"] == "no-referrer"
        shown = await scanner.get("/activate")
        assert shown.status_code == 200
        assert shown.headers["referrer-policy"] == "no-referrer"
        assert token not in shown.text
    person = Browser(site.app)
    await person.get(f"/activate/{token}")
    await person.get("/activate")
    short = await person.post("/activate", {"password": "scurt", "again": "scurt"})
    assert short.status_code == 400
    differ = await person.post("/activate", {"password": PASSWORD, "again": PASSWORD + "x"})
    assert differ.status_code == 400
    done = await person.post("/activate", {"password": PASSWORD, "again": PASSWORD})
    assert done.headers["location"] == "/"
    assert "s" in person.cookies
    assert "l" not in person.cookies
    assert (await scanner.get("/activate")).status_code == 400
    assert (await Browser(site.app).log_in("noua@example.ro")).status_code == 303


async def test_a_link_dies_with_time_and_of_two_posts_one_wins(world: World) -> None:
    clock = Clock()
    async with running(world, clock=clock) as site:
        account_id = await world.person("noua")
        token = await links.issue(account_id, "activation", NOW, NOW + timedelta(hours=24))
        browsers = [Browser(site.app), Browser(site.app)]
        for browser in browsers:
            await browser.get(f"/activate/{token}")
            await browser.get("/activate")
        fields = {"password": PASSWORD, "again": PASSWORD}
        both = await asyncio.gather(*(browser.post("/activate", fields) for browser in browsers))
        assert sorted(response.status_code for response in both) == [303, 400]
        second = await links.issue(account_id, "activation", NOW, NOW + timedelta(hours=24))
        clock.forward(hours=25)
        late = Browser(site.app)
        await late.get(f"/activate/{second}")
        assert (await late.get("/activate")).status_code == 400


@pytest.mark.parametrize("token", ["x", "x" * 44, "x" * 42 + "%0a", "ș" * 43, "x" * 42 + ";"])
async def test_a_link_of_another_shape_is_no_cookie(site: Site, token: str) -> None:
    browser = Browser(site.app)
    response = await browser.get(f"/activate/{token}")
    assert response.status_code in (400, 404)
    assert not browser.cookies


async def test_a_person_reads_the_portal_in_the_language_they_chose(site: Site) -> None:
    ana = await site.browser("ana")
    assert '<html lang="ro">' in ana.page
    response = await ana.post("/language", {"language": "en", "back": "/clients"})
    assert response.headers["location"] == "/clients"
    assert '<html lang="en">' in (await site.browser("ana")).page
    assert (await ana.post("/language", {"language": "xx"})).status_code == 400


async def test_a_visitor_is_spoken_to_in_the_language_of_the_browser(site: Site) -> None:
    assert "Autentificare" in (await Browser(site.app).get("/login")).text
    english = Browser(site.app, accept_language="en-GB,en;q=0.9")
    assert "Log in" in (await english.get("/login")).text
    assert "Autentificare" in (await Browser(site.app, accept_language="de").get("/login")).text
    assert "Log in" in (await Browser(site.app).get("/login?lang=en")).text

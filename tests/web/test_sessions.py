"""The life of a session, step by step against a model, and its single promises."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.config import Settings
from appliance.store import accounts, sessions
from appliance.store.engine import open_store
from appliance.store.sessions import MOST_PER_ACCOUNT
from appliance.web.app import PortalApp, create_app
from appliance.web.auth.sessions import ABSOLUTE, IDLE, hash_of, new_id
from tests.support.store import NOW, make_world
from tests.support.web import PASSWORD, Browser, Clock, Site, cheap_passwords

PEOPLE = ("ana", "elena")


@dataclass
class Model:
    """What is to be true of one session."""

    person: str
    session_id: str
    created: datetime
    seen: datetime
    epoch: int
    order: int
    browser: Browser
    ended: bool = False


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A data directory with people who can log in, to be copied for every example."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"

        async def make() -> None:
            made = Settings(data_dir=data, run_dir=data / "run")
            async with open_store(made, migrate=True):
                world = await make_world(made)
                stored = await cheap_passwords().hash(PASSWORD)
                for account_id in world.ids.values():
                    await accounts.set_password_hash(account_id, stored, NOW, rehash=True)

        asyncio.run(make())
        yield data


def test_a_session_lives_exactly_as_long_as_the_model_says(template: Path) -> None:
    class Machine(SessionMachine):
        source = template

    Machine.TestCase.settings = settings(
        max_examples=20,
        stateful_step_count=25,
        deadline=None,
        # Without shrinking: a trace of 25 steps can be read, and shrinking takes minutes.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    case = Machine.TestCase()
    case.runTest()


class SessionMachine(RuleBasedStateMachine):
    """Log in, look, log out, slow requests, clocks that jump both ways."""

    source: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        data = Path(self.folder.name) / "data"
        shutil.copytree(self.source, data)
        self.settings = Settings(data_dir=data, run_dir=data / "run")
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.app: PortalApp = create_app(
            self.settings, clock=self.clock, passwords=cheap_passwords()
        )
        self.opened = open_store(self.settings)
        self.app.portal.store = self.run(self.opened.__aenter__())
        self.models: list[Model] = []
        self.epochs = dict.fromkeys(PEOPLE, 0)
        self.ids: list[str] = []
        self.order = 0

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.opened.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    def alive(self, model: Model) -> bool:
        now = self.clock.moment
        return (
            not model.ended
            and model.epoch == self.epochs[model.person]
            and now >= model.created - timedelta(seconds=60)
            and now - model.created < ABSOLUTE
            and now - model.seen < IDLE
        )

    def pick(self, number: int) -> Model:
        return self.models[number % len(self.models)]

    @rule(person=st.sampled_from(PEOPLE), planted=st.booleans())
    def log_in(self, person: str, planted: bool) -> None:
        browser = Browser(self.app)
        chosen = new_id()
        if planted:
            browser.cookies["s"] = chosen
        response = self.run(browser.log_in(f"{person}@example.ro"))
        assert response.status_code == 303
        session_id = browser.cookies["s"]
        assert session_id != chosen
        assert session_id not in self.ids
        self.ids.append(session_id)
        self.order += 1
        now = self.clock.moment
        made = Model(person, session_id, now, now, self.epochs[person], self.order, browser)
        rows = [m for m in self.models if m.person == person and not m.ended]
        rows.sort(key=lambda m: (m.seen, m.order), reverse=True)
        for dropped in rows[MOST_PER_ACCOUNT - 1 :]:
            dropped.ended = True
        self.models.append(made)

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 30))
    def look(self, number: int) -> None:
        model = self.pick(number)
        model.browser.cookies["s"] = model.session_id
        response = self.run(model.browser.get("/"))
        if self.alive(model):
            assert response.headers["location"].startswith("/cl")
            if abs(self.clock.moment - model.seen) >= timedelta(minutes=1):
                model.seen = self.clock.moment
        else:
            assert response.headers["location"] == "/login"
            assert "s" not in model.browser.cookies

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 30))
    def log_out_while_a_slow_request_runs(self, number: int) -> None:
        model = self.pick(number)
        if not self.alive(model):
            return
        model.browser.cookies["s"] = model.session_id
        place = self.run(model.browser.get("/")).headers["location"]
        self.run(model.browser.get(place))
        response = self.run(model.browser.post("/logout"))
        assert response.headers["clear-site-data"] == '"cache", "cookies", "storage"'
        # The end of the slow one: it marks the session as seen.
        self.run(sessions.touch(hash_of(model.session_id), self.clock.moment))
        model.ended = True
        self.look(number)

    @precondition(lambda self: self.models)
    @rule(number=st.integers(0, 30))
    def end_everywhere(self, number: int) -> None:
        person = self.pick(number).person

        async def end() -> None:
            account = await accounts.by_email(f"{person}@example.ro")
            assert account is not None
            await accounts.raise_epoch(account.id, self.clock.moment)

        self.run(end())
        self.epochs[person] += 1

    @rule(minutes=st.sampled_from([0.5, 2, 10, 29, 31, 400, 721]))
    def time_passes(self, minutes: float) -> None:
        self.clock.forward(minutes=minutes)

    @rule(seconds=st.sampled_from([30, 90, 4000]))
    def the_clock_goes_back(self, seconds: float) -> None:
        self.clock.forward(seconds=-seconds)

    @invariant()
    def no_id_is_in_the_database(self) -> None:
        with closing(sqlite3.connect(self.settings.database_path)) as connection:
            dump = "\n".join(connection.iterdump())
        assert not [session_id for session_id in self.ids if session_id in dump]


async def test_a_visitor_who_is_not_logged_in_writes_nothing(site: Site) -> None:
    def rows() -> list[str]:
        with closing(sqlite3.connect(site.world.settings.database_path)) as connection:
            return list(connection.iterdump())

    before = rows()
    for path in ("/", "/login", "/clients", "/nix", "/static/app.css", "/activate", "/healthz"):
        await Browser(site.app, cookies={"s": "x" * 43}).get(path)
    assert rows() == before


async def test_an_id_that_the_browser_chose_is_never_the_session(site: Site) -> None:
    planted = {"s": "gales-de-atacator-" + "x" * 25}
    browser = Browser(site.app, cookies=dict(planted))
    await browser.log_in("ana@example.ro")
    assert "gales" not in browser.cookies["s"]
    response = await Browser(site.app, cookies=dict(planted)).get("/")
    assert response.headers["location"] == "/login"


async def test_logging_in_again_ends_the_session_before(site: Site) -> None:
    ana = await site.browser("ana")
    old = ana.cookies["s"]
    other = Browser(site.app)
    await other.get("/login")
    other.cookies["s"] = old
    await other.post("/login", {"email": "elena@example.ro", "password": PASSWORD, "next": ""})
    assert other.cookies["s"] != old
    assert (await Browser(site.app, cookies={"s": old}).get("/")).headers["location"] == "/login"


async def test_a_session_with_the_password_alone_reaches_nothing(site: Site) -> None:
    session_id = new_id()
    await sessions.create_session(
        hash_of(session_id), site.world.ids["ana"], NOW, level=1, address="127.0.0.0/24", agent=""
    )
    for path in ("/", "/clients", f"/clients/{site.world.alfa_uid}/pending"):
        response = await Browser(site.app, cookies={"s": session_id}).get(path)
        assert response.headers["location"].startswith("/login")


async def test_a_disabled_person_is_out_at_the_next_request(site: Site) -> None:
    ana = await site.browser("ana")
    await accounts.disable(site.world.ids["ana"], NOW)
    assert (await ana.get("/")).headers["location"] == "/login"
    assert (await ana.log_in("ana@example.ro")).status_code == 403


async def test_a_cookie_sent_twice_is_no_cookie(site: Site) -> None:
    ana = await site.browser("ana")
    doubled = f"s={ana.cookies['s']}; s={ana.cookies['s']}"
    response = await Browser(site.app).get("/", cookie=doubled)
    assert response.headers["location"] == "/login"


async def test_over_https_cookies_are_bound_to_the_host(tmp_path: Path) -> None:
    made = Settings(data_dir=tmp_path, web_url="https://arhiva.example")
    async with open_store(made, migrate=True) as store:
        app = create_app(made, passwords=cheap_passwords(), clock=Clock())
        app.portal.store = store
        browser = Browser(app, origin="https://arhiva.example")
        await browser.get("/login")
        assert "__Host-p" in browser.cookies

"""Secrets do not travel: one whole run of the processes, then all that it left is searched.

The simulator names every code and token that it gave out. A run enrols, rotates the key, fetches,
has a token refused and renewed, has ANAF's errors repeat what they were sent until the grant needs
a person and a mail says so, links again in the portal, visits portal and drive, and kills
processes, while every one logs as much as it can. Then logs, mails, databases, archive,
environments, command lines, open files and memory are searched for those tokens and for the
vault's keys, whole or in pieces. An invoice's number, which travels, shows that things are found.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from appliance.config import Settings
from appliance.simulator import generator
from appliance.vault import paper
from tests.support.canaries import PIECE, Canaries
from tests.support.demo import PROCESSES, Demo, until
from tests.support.smtp import mail_server

pytestmark = pytest.mark.timeout(300)

# Begins every Python process that the demo starts: all that a library can say is logged.
# Not in the demo itself, which plays the holder's browser: that one does see a code.
SITE = """
import logging, sys
if "demo" not in sys.orig_argv:
    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
for tells_every_glyph in ("fontTools", "weasyprint"):
    logging.getLogger(tells_every_glyph).setLevel(logging.WARNING)
"""
LISTS = "/prod/FCTEL/rest/listaMesajeFactura"
NEIGHBOURS = ("web", "dav", "sync")


@dataclass
class Run:
    """A demo after everything that could make a secret travel, still running."""

    demo: Demo
    secrets: Canaries
    control: Canaries
    number: str
    tokens: list[str]
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    told: dict[str, bytes] = field(default_factory=dict)  # cmdline and environ of every process
    opened: dict[str, set[str]] = field(default_factory=dict)  # by the neighbours
    mails: list[EmailMessage] = field(default_factory=list)
    page: str = ""  # of the safe
    portal_key: Canaries = field(default_factory=Canaries)

    @property
    def data(self) -> Path:
        return self.demo.data

    @property
    def vault(self) -> Path:
        return self.data / "vault"

    def ask(self, socket: str, method: str, path: str, **more: Any) -> httpx.Response:
        """Speak to the vault as a neighbour does, and keep the answer."""
        transport = httpx.HTTPTransport(uds=str(self.data / "run" / socket))
        with httpx.Client(transport=transport, base_url="http://vault", timeout=60) as http:
            answer = http.request(method, path, **more)
        self.keep(f"{method} {path}", answer)
        return answer

    def keep(self, what: str, answer: httpx.Response) -> None:
        self.answers.append((what, str(answer.headers).encode() + answer.content))

    def look(self) -> None:
        """Keep what the processes of this moment were started with and hold open."""
        for name, pid in self.processes():
            with contextlib.suppress(OSError):  # it ended
                for what in ("cmdline", "environ"):
                    self.told[f"{name} {pid} {what}"] = Path(f"/proc/{pid}/{what}").read_bytes()
                if name in NEIGHBOURS:
                    self.opened.setdefault(name, set()).update(_open_files(pid))

    def processes(self) -> list[tuple[str, int]]:
        """Every process of the demo, and what it started, under the name of the first."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    status = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents[int(entry.name)] = int(status[1])
        found = [(name, pid) for name in PROCESSES for pid in self.demo.pids(name)]
        for name, pid in found:
            found += [(name, child) for child, parent in parents.items() if parent == pid]
        return found


def _open_files(pid: int) -> set[str]:
    proc = Path(f"/proc/{pid}")
    paths = set()
    for entry in (proc / "fd").iterdir():
        with contextlib.suppress(OSError):
            paths.add(str(entry.readlink()))
    for line in (proc / "maps").read_text().splitlines():
        paths |= set(line.split(maxsplit=5)[5:])
    return paths


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    base = tmp_path_factory.mktemp("secrets")
    (base / "site").mkdir()
    (base / "site" / "sitecustomize.py").write_text(SITE)
    demo = Demo(base / "data", invoices=24)
    with pytest.MonkeyPatch.context() as environment, mail_server() as mail:
        path = f"{base / 'site'}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
        environment.setenv("PYTHONPATH", path)
        environment.setenv("PYTHONASYNCIODEBUG", "1")
        for option in ("host", "port", "security", "from"):
            value = str(getattr(mail.settings(Settings()), f"mail_{option}"))
            environment.setenv(f"ARHIVAR_MAIL_{option.upper()}", value)
        try:
            demo.start()
            yield _story(demo, mail.taken)
        finally:
            demo.kill_everything()


def _story(demo: Demo, mails: list[EmailMessage]) -> Run:
    run = Run(demo, Canaries(), Canaries(), f"CONTROL-{secrets.token_hex(10)}", [], mails=mails)
    run.look()
    demo.settled()
    _rotate_the_key(run)
    cif, invoice = _an_invoice(run.number)
    # The newest minute is not listed, so it comes from the one before the last.
    _spv(demo, "clock", advance=-120)
    _spv(demo, "messages", cif=cif, xml=invoice, tip="FACTURA PRIMITA")
    _spv(demo, "clock", advance=120)

    # sync meets the 401 of a token, which the vault renews, and files the invoice.
    before = len(_issued(demo))
    _spv(demo, "faults", kind="bad_token", path="lista")
    demo.settled()
    assert len(_issued(demo)) == before + 2
    _spv(demo, "faults", kind="echo", path="lista", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        _list(run, cif)
    for reason in ("second-try", "needs-authorisation"):
        _spv(demo, "faults", kind="echo", path="token", times=2)
        demo.kill("vault")  # which forgets that it renewed just now; its write-ahead log stays
        run.look()
        _spv(demo, "faults", kind="bad_token", path="lista")
        assert _list(run, cif).headers["Arhivar-Reason"] == reason
        _spv(demo, "faults")
        _let_ten_minutes_pass(run)
    assert _struck(demo, "echo") >= 3
    (grant,) = run.ask("enrol.sock", "GET", "/status").json()["grants"]
    assert grant["state"] == "needs_authorisation"
    demo.kill("sync")  # which asks how the grants stand when it starts
    until("a person is told by mail", lambda: mails)

    _visit_the_portal(run)
    (again,) = run.ask("enrol.sock", "GET", "/status").json()["grants"]
    assert (again["grant"], again["state"]) == (grant["grant"], "active")
    assert run.ask("enrol.sock", "POST", f"/grants/{grant['grant']}/test").json()["ok"]
    assert _list(run, cif).status_code == 200
    demo.settled()
    _visit_the_drive(run)
    run.look()
    _gather(run)
    return run


def _rotate_the_key(run: Run) -> None:
    """Print the page for the safe, and put every record under a second key."""
    printed = run.demo.arhivar("vault", "init", "--yes").stdout
    groups = re.findall(r"\b[0-9A-Z]{4}\b", printed)
    run.page = next(
        " ".join(groups[start : start + paper.GROUPS])
        for start in range(len(groups))
        if not list(paper.wrong_groups(groups[start : start + paper.GROUPS]))
    )
    assert run.demo.arhivar("vault", "rotate").returncode == 0
    run.demo.kill("vault")
    run.look()
    assert run.demo.arhivar("vault", "rewrap").returncode == 0
    assert len(list(run.vault.glob("kek*"))) == 2


def _let_ten_minutes_pass(run: Run) -> None:
    """For the second try of a renewal that ANAF refused."""
    with contextlib.closing(sqlite3.connect(run.vault / "vault.db", timeout=20)) as connection:
        connection.execute("UPDATE spv_grant SET retry_after = NULL")
        connection.commit()


def _spv(demo: Demo, name: str, **wanted: Any) -> dict[str, Any]:
    answer = httpx.post(f"{demo.info['spv']}/simulator/{name}", json=wanted).raise_for_status()
    return dict(answer.json())


def _issued(demo: Demo) -> list[str]:
    return list(_spv(demo, "issued")["issued"])


def _struck(demo: Demo, kind: str) -> int:
    return int(httpx.get(f"{demo.info['spv']}/simulator").json()["struck"].get(kind, 0))


def _an_invoice(number: str) -> tuple[str, str]:
    """One that the first client received, with this number; and that client's CIF."""
    moment = datetime.now(UTC) - timedelta(days=1)
    document = generator.written("secrets", 0, True, "plain", moment, number, 0).decode()
    return generator.CLIENTS[0].company.cif, document


def _list(run: Run, cif: str) -> httpx.Response:
    query = {"zile": "60", "cif": cif}
    return run.ask("spv.sock", "GET", LISTS, params=query, headers={"Arhivar-Cif": cif})


class Visitor:
    """A person in the portal; every page is kept."""

    def __init__(self, run: Run, name: str) -> None:
        self._run, self._name = run, name
        portal = run.demo.info["portal"]
        own = {"sec-fetch-site": "same-origin", "origin": portal}
        self._http = httpx.Client(base_url=portal, headers=own, timeout=60)
        person = run.demo.person(name)
        entered = self.post(
            "/login", "/login", email=person["email"], password=person["password"], next=""
        )
        assert entered.status_code == 303

    def get(self, place: str) -> httpx.Response:
        page = self._http.get(place)
        self._run.keep(f"{self._name} at {place.partition('?')[0]}", page)
        return page

    def post(self, page: str, place: str, **form: str) -> httpx.Response:
        csrf = re.search(r'name="csrf" value="(\w+)"', self.get(page).text)
        assert csrf, page
        answer = self._http.post(place, data={**form, "csrf": csrf[1]})
        self._run.keep(f"{self._name} sends {place}", answer)
        return answer

    def link(self, place: str, **change: str) -> str:
        """Take the steps, choose the certificate at ANAF and come back; where that leads."""
        begun = self.post(place, place, holder="Ana Pop")
        page = self.get(begun.headers["location"]).text
        (address,) = re.findall(r'href="([^"]*/anaf-oauth2/[^"]*)"', page)
        back = httpx.URL(httpx.get(unescape(address)).headers["location"])
        return self.get(str(back.copy_merge_params(change))).headers["location"]


def _visit_the_portal(run: Run) -> None:
    spv = json.loads((run.data / "simulator.json").read_text())
    gina = Visitor(run, "gina")
    registered = {name: spv[name] for name in ("client_id", "client_secret")}
    assert gina.post("/settings/spv", "/settings/spv", **registered).status_code == 303
    for place in ("/clients", "/spv", "/settings/spv", "/spv/grants", "/months", "/certificates"):
        assert gina.get(place).status_code == 200, place

    ana = Visitor(run, "ana")
    pending = ana.get(ana.get("/").headers["location"]).text
    client = re.search(r"/clients/(\w{26})", pending)
    assert client
    link = f"/clients/{client[1]}/spv/link"
    for change in ({"code": "0" * 64}, {"error": "access_denied"}):
        assert ana.link(link, **change) == "/spv/link/failed"
        assert ana.get("/spv/link/failed").status_code == 200
    _spv(run.demo, "faults", kind="echo", path="token")
    assert ana.link(link) == "/spv/link/failed"
    assert ana.get("/spv/link/failed").status_code == 200
    done = ana.link(link)
    assert done.startswith("/spv/grants/")
    for place in (done, "/spv/grants", f"/clients/{client[1]}/spv"):
        assert ana.get(place).status_code == 200, place
    for uid in sorted(set(re.findall(r"/documents/(\w{26})", pending))):
        assert ana.get(f"/documents/{uid}").status_code == 200


def _visit_the_drive(run: Run) -> None:
    (folder,) = run.demo.folders("ana", "")
    pending = run.demo.folders("ana", f"{folder}/De aprobat")
    with run.demo.drive("ana") as drive:
        for name in pending:
            where = "/" + quote(f"{folder}/De aprobat/{name}/")
            run.keep(f"PROPFIND {name}", drive.request("PROPFIND", where, headers={"Depth": "1"}))
            run.keep(f"GET {name}", drive.get(where + quote(f"{name}.xml")))


def _gather(run: Run) -> None:
    spv = json.loads((run.data / "simulator.json").read_text())
    issued = _issued(run.demo)
    run.tokens = [text for text in issued if "." in text]
    # Inside each token, and in the address that every browser is sent to.
    run.secrets.is_public(spv["client_id"])
    for number, text in enumerate(issued):
        run.secrets.add(f"token {number}" if "." in text else f"code {number}", text)
    run.secrets.add("page", run.page)
    run.secrets.add("key on the page", paper.read(run.page))
    pair = f"{spv['client_id']}:{spv['client_secret']}"
    run.secrets.add("client secret", spv["client_secret"])
    run.secrets.add("client secret as it goes to ANAF", base64.b64encode(pair.encode()))
    for path in sorted(run.vault.glob("kek*")):
        run.secrets.add(f"key {path.name}", path.read_bytes())
    with contextlib.closing(sqlite3.connect(run.vault / "shred.db")) as connection:
        for subject, salt in connection.execute("SELECT subject, salt FROM salt"):
            run.secrets.add(f"salt of {subject.hex()}", salt)
    run.portal_key.add("portal.key", (run.data / "portal.key").read_bytes())
    run.control.add("invoice number", run.number)
    run.control.add("data directory", str(run.data))


# The search itself


@pytest.mark.parametrize(
    "writing",
    [
        lambda token: token,
        lambda token: token[: len(token) // 2],
        lambda token: token[len(token) // 2 :],
        lambda token: token[100 : 100 + PIECE],
        lambda token: token.hex().encode(),
        lambda token: base64.b64encode(token),
        lambda token: base64.b64encode(b"Bearer " + token),
        lambda token: base64.urlsafe_b64encode(b"a:" + token),
        lambda token: quote(token.decode() + "==").encode(),
        lambda token: token.decode().encode("utf-16"),
        lambda token: json.dumps({"a": token.decode()}).encode(),
    ],
)
@pytest.mark.parametrize("before", range(9))
def test_the_search_finds_a_token_whole_or_in_part_and_however_it_is_written(
    writing: Any, before: int
) -> None:
    token = secrets.token_urlsafe(400).encode()
    canaries = Canaries()
    canaries.add("token", token)

    assert canaries.found(os.urandom(before) + writing(token) + os.urandom(3))
    assert not canaries.found(os.urandom(before) + writing(token[::-1]) + os.urandom(3))


# What the run left


def test_what_does_travel_is_found_where_the_secrets_are_looked_for(run: Run) -> None:
    """Else the tests below would be silent whatever leaked."""
    places = {
        "arhivar.db": [run.data / "arhivar.db", run.data / "arhivar.db-wal"],
        "archive": list((run.data / "archive").rglob("*.xml")),
    }
    for name, paths in places.items():
        found = [run.control.found_in(path) for path in paths if path.exists()]
        assert any("invoice number" in text for texts in found for text in texts), name
    assert any(run.control.found(content) for _, content in run.answers)
    shown = {what.split()[0] for what, told in run.told.items() if run.control.found(told)}
    # The vault shows how it was started to root alone, not to its own user.
    assert shown >= {name for name in PROCESSES if name != "vault" or os.geteuid() == 0}
    for name in PROCESSES:
        assert "DEBUG" in run.demo.log(name), name
    assert len(run.tokens) >= 8


def test_no_file_that_the_run_left_holds_a_token_a_code_or_a_key(run: Run) -> None:
    kept = {
        run.data / "simulator.json", run.data / "simulator",  # ANAF's own side
        *run.vault.glob("kek*"), run.vault / "shred.db",
    }  # fmt: skip
    searched = set()
    for path in sorted(run.data.rglob("*")):
        if path.is_file() and not kept & {path, *path.parents}:
            assert not run.secrets.found_in(path), path
            searched.add(path.name)
            assert path.name == "portal.key" or not run.portal_key.found_in(path), path
    assert not run.secrets.found(run.demo.output().encode())
    assert searched >= {
        "vault.log", "sync.log", "web.log", "dav.log", "simulator.log", "arhivar.toml",
        "arhivar.db", "queue.db", "vault.db", "recovery.json",
        "message.zip", "invoice.xml", "manifest.json",
    }  # fmt: skip


def test_each_key_is_in_its_own_file_and_nowhere_else(run: Run) -> None:
    assert len(list(run.vault.glob("kek*"))) == 2
    for path in run.vault.glob("kek*"):
        assert {text.split(",")[0] for text in run.secrets.found_in(path)} == {f"key {path.name}"}
        assert path.stat().st_mode & 0o077 == 0
    salts = {text.split()[0] for text in run.secrets.found_in(run.vault / "shred.db")}
    assert salts == {"salt"}
    assert (run.vault / "shred.db").stat().st_mode & 0o077 == 0


def test_no_answer_of_vault_portal_or_drive_holds_a_token_or_a_key(run: Run) -> None:
    assert len(run.answers) > 20
    for what, content in run.answers:
        assert not run.secrets.found(content), what


def test_no_mail_holds_a_token_or_a_key(run: Run) -> None:
    assert run.mails
    for mail in run.mails:
        assert not run.secrets.found(bytes(mail))
        assert b"Arhivar" in bytes(mail)


def test_no_process_was_ever_told_a_secret_when_it_was_started(run: Run) -> None:
    assert len({what.split()[1] for what in run.told if what.startswith("vault")}) == 4
    for what, content in run.told.items():
        assert not run.secrets.found(content), what


def test_no_neighbour_opens_or_maps_a_file_of_the_vault(run: Run) -> None:
    opened = {name: {path for path in paths if str(run.data) in path}
              for name, paths in run.opened.items()}  # fmt: skip
    assert set(opened) == set(NEIGHBOURS)
    for name in NEIGHBOURS:
        assert any("arhivar.db" in path for path in opened[name]), name
        assert not [path for path in opened[name] if str(run.vault) in path], name


def test_no_secret_is_in_the_memory_of_a_neighbour(run: Run) -> None:
    """Of web, dav, sync and what they started; the vault's own shows that it would be found.

    A code and the client secret pass through the portal, as a person brings them.
    """
    passing = ("code", "client secret")
    (web,) = run.demo.pids("web")
    try:
        assert run.portal_key.found_in_memory(web)
    except PermissionError:
        pytest.skip("this user may not read the memory of other processes (Yama ptrace_scope)")
    searched = set()
    for name, pid in run.processes():
        if name in NEIGHBOURS:
            assert "data directory, as it is" in run.control.found_in_memory(pid), name
            found = run.secrets.found_in_memory(pid)
            held = {text for text in found if name != "web" or not text.startswith(passing)}
            assert not held, name
            searched.add(name)
            if name == "sync":
                assert not run.portal_key.found_in_memory(pid)
    assert searched == set(NEIGHBOURS)
    if os.geteuid() == 0:
        (vault,) = run.demo.pids("vault")
        held = run.secrets.found_in_memory(vault)
        assert any(text.startswith("token") for text in held)
        assert any(text.startswith("key") for text in held)
        assert not run.portal_key.found_in_memory(vault)

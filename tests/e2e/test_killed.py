"""`kill -9` to each process in turn while downloads are under way and people are deciding.

Nothing is left to luck: the simulator holds its downloads back, and the database is kept locked
while approvals are sent, so each kill meets work that has begun and cannot have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from appliance import config
from appliance.core.roles import Status
from appliance.store import clients, jobs, messages, outages
from appliance.store.engine import open_store
from appliance.store.messages import MessageState
from tests.support.demo import Demo, until

DOWNLOAD = "/prod/FCTEL/rest/descarcare"
# The vault and the simulator last: what fails without them is tried again after half a minute.
KILLED = ("sync", "web", "dav", "sync while filing", "web", "dav", "vault", "simulator")


class Approval(threading.Thread):
    """One request that approves a document; what came of it, and when the server had it."""

    def __init__(self, client: httpx.Client, request: httpx.Request, document: str) -> None:
        super().__init__(daemon=True)
        self.document = document
        self.status: int | None = None  # None: the connection broke
        self._client = client
        self._request = request
        self._sent = threading.Event()
        request.extensions["trace"] = self._trace
        self.start()

    def _trace(self, event: str, info: object) -> None:
        if event == "http11.receive_response_headers.started":
            self._sent.set()

    def run(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            self.status = self._client.send(self._request).status_code

    def under_way(self) -> bool:
        """The whole request is sent and no answer has come."""
        assert self._sent.wait(30)
        return self.is_alive()


class Deciding:
    """Ana on the drive, Irina in the portal: two clients, so that they never meet."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.ana = demo.drive("ana")
        (self.folder,) = demo.folders("ana", "")
        (self.irinas_folder,) = demo.folders("irina", "")
        self.irina = httpx.Client(
            base_url=demo.info["portal"],
            headers={"sec-fetch-site": "same-origin", "origin": demo.info["portal"]},
            timeout=60,
        )
        person = demo.person("irina")
        form = {"email": person["email"], "password": person["password"], "next": ""}
        csrf = re.search(r'name="csrf" value="(\w+)"', self.irina.get("/login").text)
        assert csrf
        entered = self.irina.post("/login", data={**form, "csrf": csrf[1]}, follow_redirects=True)
        assert entered.status_code == 200
        self.list = str(entered.url)
        self.approved: dict[str, set[str]] = {"ana": set(), "irina": set()}

    def prepare(self) -> dict[str, tuple[httpx.Client, httpx.Request, str]]:
        """Look at what is pending, and have an approval ready in each place."""
        name = self.demo.folders("ana", f"{self.folder}/De aprobat")[0]
        move = self.ana.build_request(
            "MOVE",
            "/" + quote(f"{self.folder}/De aprobat/{name}"),
            headers={"Destination": "/" + quote(f"{self.folder}/Aprobate/{name}")},
        )
        found = re.search(
            r'<form method="post" action="(/documents/(\w+)/approve)".*?</form>',
            self.irina.get(self.list).text,
            re.DOTALL,
        )
        assert found
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', found[0]))
        post = self.irina.build_request("POST", found[1], data=fields)
        return {"ana": (self.ana, move, name), "irina": (self.irina, post, found[2])}

    def note(self, person: str, approval: Approval, died: bool) -> None:
        """Whose server lived has the answer; whose server died was told nothing."""
        approval.join(60)
        if died:
            assert approval.status is None
        else:
            assert approval.status in (201, 303)
            self.approved[person].add(approval.document)


@contextlib.contextmanager
def nobody_writes(demo: Demo) -> Iterator[None]:
    """Hold the database's only write lock: whatever is about to commit waits."""
    connection = sqlite3.connect(demo.data / "arhivar.db", isolation_level=None, timeout=20)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def spv(demo: Demo, name: str, **wanted: object) -> None:
    httpx.post(f"{demo.info['spv']}/simulator/{name}", json=wanted).raise_for_status()


def downloads_held(demo: Demo) -> int:
    return int(httpx.get(f"{demo.info['spv']}/simulator").json()["held"].get(DOWNLOAD, 0))


def new_messages(demo: Demo) -> None:
    """Let SPV have three more, and ask sync to look, as `arhivar fetch` does.

    The newest minute is not listed, so they come from the one before the last.
    """
    spv(demo, "clock", advance=-120)
    spv(demo, "messages", count=3)
    spv(demo, "clock", advance=120)

    async def ask() -> None:
        async with open_store(config.load(demo.data / "arhivar.toml")):
            for client in await clients.all_clients():
                await jobs.insert("list", client.uid, datetime.now(UTC), priority=10)

    asyncio.run(ask())


def try_again_now(demo: Demo) -> None:
    """Make due at once what waits for a minute: broken calls, an outage, leases of the dead.

    What is leased by the living becomes due as well, and so runs twice; it may.
    """

    async def ask() -> None:
        at = datetime.now(UTC)
        async with open_store(config.load(demo.data / "arhivar.toml")):
            for host in outages.HOSTS:
                await outages.answered(host, at)
            await jobs.sweep(at + timedelta(minutes=2))
            for message in await messages.in_state(MessageState.QUEUED):
                await jobs.insert("message", message.uid, at)

    asyncio.run(ask())


def rows(demo: Demo, question: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(demo.data / "arhivar.db")) as connection:
        return connection.execute(question).fetchall()


def manifests(demo: Demo) -> Iterator[Path]:
    """Those of whole folders; one under `.tmp-…` is being prepared, or its writer was killed."""
    return (demo.data / "archive").glob("*/*/*/[!.]*/manifest.json")


def folders_written(demo: Demo) -> set[str]:
    return {path.parent.name for path in manifests(demo)}


def folders_without_a_row(demo: Demo) -> set[str]:
    known = {uid for (uid,) in rows(demo, "SELECT uid FROM document UNION SELECT uid FROM notice")}
    return folders_written(demo) - known


@pytest.mark.full
@pytest.mark.timeout(300)
def test_killed_in_the_middle_of_everything_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "data", invoices=45)
    try:
        demo.start()
        demo.settled()
        people = Deciding(demo)

        for step in KILLED:
            name, _, filing = step.partition(" while ")
            spv(demo, "latency")
            spv(demo, "latency", path="descarcare", seconds=600)
            try_again_now(demo)
            new_messages(demo)
            until(f"a download is under way before {step} is killed", lambda: downloads_held(demo))
            ready = people.prepare()
            with nobody_writes(demo):
                sent = {person: Approval(*what) for person, what in ready.items()}
                if filing:
                    spv(demo, "latency")
                    until(
                        "a folder is written, its row not", lambda: folders_without_a_row(demo), 8
                    )
                else:
                    assert downloads_held(demo) > 0
                assert rows(demo, "SELECT COUNT(*) FROM message WHERE state = 'queued'") > [(0,)]
                assert all(approval.under_way() for approval in sent.values())
                before = demo.strike(name)
            demo.risen(name, before)
            people.note("ana", sent["ana"], died=name == "dav")
            people.note("irina", sent["irina"], died=name == "web")

        spv(demo, "latency")
        try_again_now(demo)
        demo.settled(seconds=180)

        assert demo.arhivar("check", "--deep").stdout == "rows and files agree\n"
        assert demo.arhivar("audit", "verify").returncode == 0
        kept = demo.folders("ana", f"{people.folder}/Aprobate")
        assert sorted(kept) == sorted(people.approved["ana"])
        approved = f"SELECT uid FROM document WHERE status = '{Status.APPROVED}'"
        assert people.approved["irina"] < {uid for (uid,) in rows(demo, approved)}
        everybody = sum(map(len, people.approved.values()))
        assert len(rows(demo, approved)) == everybody == 2 * len(KILLED) - 4
        counted = archived_by_message(demo)
        assert set(counted.values()) == {1}
        listed = httpx.get(f"{demo.info['spv']}/simulator").json()["messages"]
        assert len(counted) == listed
        assert not folders_without_a_row(demo)
        assert not [path for path in (demo.data / "spool").rglob("*") if path.is_file()]
        assert demo.stop() == 0
    finally:
        demo.kill_everything()


def archived_by_message(demo: Demo) -> dict[tuple[str, str], int]:
    """How often each message of each client is in the archive."""
    counted: dict[tuple[str, str], int] = {}
    for path in manifests(demo):
        manifest = json.loads(path.read_text())
        key = (manifest["client"]["uid"], manifest["message"]["message_id"])
        counted[key] = counted.get(key, 0) + 1
    return counted

"""What each attacker gets and does not get, as docs/security.md says: the lines of the vault."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.core import chain
from appliance.vault import enrol, envelope, gateway, keys
from appliance.vault.database import Database
from appliance.vault.envelope import Keyring, Label, Purpose
from appliance.vault.errors import KeyRefused, SealBroken
from appliance.vault.wire import Request
from tests.conftest import ROOT
from tests.support.anaf import CLIENT_SECRET, Anaf
from tests.support.canaries import Canaries
from tests.support.vault import VaultProcess, World

CIF, OTHER = "12345674", "40033352"
CODE = "canary-code-5512-and-so-on"
LISTS = "/prod/FCTEL/rest/listaMesajeFactura"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
async def world(short: Path, anaf: Anaf) -> Any:
    made = World(short, anaf)
    yield made
    made.database.close()
    await made.http.aclose()


def canaries(vault: Path, anaf: Anaf) -> Canaries:
    """Everything that nobody but the vault may hold."""
    made = Canaries()
    for number, token in enumerate(anaf.issued):
        made.add(f"token {number}", token)
    made.add("client secret", CLIENT_SECRET)
    made.add("key", (vault / "kek").read_bytes())
    with closing(sqlite3.connect(vault / "shred.db")) as connection:
        for subject, salt in connection.execute("SELECT subject, salt FROM salt"):
            made.add(f"salt {subject.hex()}", salt)
    return made


def told(vault: Path) -> list[dict[str, Any]]:
    """The records of the vault's audit chain, which must hold."""
    with closing(sqlite3.connect(vault / "vault.db")) as connection:
        rows = connection.execute("SELECT seq, body, head FROM audit ORDER BY seq").fetchall()
    assert list(chain.find_breaks(rows)) == []
    return [json.loads(body) for _, body, _ in rows]


class Spoken:
    """What the vault answered on its sockets, for a search afterwards."""

    def __init__(self, vault: VaultProcess) -> None:
        self.answers: list[tuple[str, int, bytes]] = []
        vault.enrol.event_hooks = vault.spv.event_hooks = {"response": [self._keep]}

    async def _keep(self, response: httpx.Response) -> None:
        content = await response.aread()  # raises when the vault cut it
        what = f"{response.request.method} {response.request.url.path}"
        whole = str(response.headers).encode() + content
        self.answers.append((what, response.status_code, whole))

    def hold_none_of(self, secrets: Canaries) -> None:
        for what, _, whole in self.answers:
            assert not secrets.found(whole), what


# The portal is taken over: enrol.sock, with whatever anybody can think of


def documented(module: Any) -> list[tuple[str, str]]:
    """The calls that the module's contract lists."""
    return re.findall(r"^    (GET|PUT|POST|DELETE) (/\S+)", module.__doc__, re.MULTILINE)


def hostile(proper: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The proper body, then with each field in turn something that a page never sends."""
    yield proper
    for name in proper:
        for value in ("", "' OR 1=1 --", "../../vault.db", "{access_token}", "\r\nX: 1", "a" * 5000,
                      None, 7, ["x"], {"$ne": ""}):  # fmt: skip
            yield {**proper, name: value}


async def test_a_portal_that_was_taken_over_gets_no_token_through_any_call(
    vault: VaultProcess, anaf: Anaf
) -> None:
    spoken = Spoken(vault)
    grant = await vault.enrolled(CIF)
    begun = await vault.enrol.post("/authorisations", json={"session": "s", "requested_by": "x"})
    bodies: dict[str, dict[str, Any]] = {
        "/application": {"client_id": "evil", "redirect_uri": "https://evil.example/", "by": "x"},
        "/authorisations": {"session": "s", "requested_by": "x", "grant": grant, "holder": "x"},
        "/authorisations/code": {"session": "s", "state": begun.json()["state"], "code": CODE},
        "/cifs/{cif}": {"grant": grant, "confirmed_by": "x", "by": "x"},
    }
    calls = documented(enrol)
    assert len(calls) >= 9
    # Last the one after which there is nothing to steal.
    for method, path in sorted(calls, key=lambda call: call[1].endswith("/revoke")):
        for value in (grant, CIF, "f" * 32, "..%2f..%2fvault.db", "%00", "*"):
            place = path.replace("{grant}", value).replace("{cif}", value)
            for body in hostile(bodies.get(path, {"by": "x"})):
                answer = await vault.enrol.request(method, place, json=body)
                assert answer.status_code < 600
            if "{" not in path:
                break
        for other in ("GET", "PUT", "POST", "DELETE", "PATCH", "TRACE", "OPTIONS"):
            await vault.enrol.request(other, path.replace("{grant}", grant).replace("{cif}", CIF))
    for path in ("/", "/vault.db", "/grants", f"/grants/{grant}", f"/grants/{grant}/token",
                 "/prod/FCTEL/rest/descarcare?id=1", "/arhivar/standing", "/keys"):  # fmt: skip
        await vault.enrol.get(path)

    secrets = canaries(vault.directory / "vault", anaf)
    secrets.add("code", CODE)
    assert len(spoken.answers) > 300
    spoken.hold_none_of(secrets)
    assert not secrets.found_in(vault.log)
    assert not [what for what, status, _ in spoken.answers if status == 500]


async def test_it_can_map_a_cif_that_nobody_confirmed_and_the_vaults_chain_names_it(
    vault: VaultProcess,
) -> None:
    grant = await vault.enrolled(CIF)
    await vault.map(OTHER, grant)

    assert (await vault.list(OTHER)).status_code == 200
    (record,) = [
        record
        for record in told(vault.directory / "vault")
        if record["action"] == "cif:map" and record["data"]["cif"] == OTHER
    ]
    assert record["object"] == grant
    # Who confirmed it is what the portal says: the vault knows the process, not the person.
    assert record["actor"] == "ana"


async def test_it_can_exchange_the_application_and_the_vaults_chain_names_it(
    vault: VaultProcess, anaf: Anaf
) -> None:
    """New authorisations then go to another application: the one thing that may be stolen."""
    await vault.enrolled(CIF)
    evil = {
        "client_id": "another-application",
        "client_secret": "known-to-the-attacker",
        "redirect_uri": "https://evil.example/back",
    }
    assert (await vault.enrol.put("/application", json=evil)).status_code == 204

    begun = await vault.enrol.post("/authorisations", json={"session": "s", "requested_by": "x"})

    assert "client_id=another-application" in begun.json()["authorise_url"]
    records = told(vault.directory / "vault")
    named = [record["object"] for record in records if record["action"] == "application:set"]
    assert named[-1] == "another-application"
    # What was authorised before goes on being read, with its own token.
    assert (await vault.list(CIF)).status_code == 200
    assert anaf.calls[-1]["headers"]["authorization"] == f"Bearer {anaf.issued[0]}"


# The parser is taken over: spv.sock


async def test_a_parser_that_was_taken_over_reads_what_is_mapped_and_gets_no_token(
    vault: VaultProcess, anaf: Anaf
) -> None:
    spoken = Spoken(vault)
    grant = await vault.enrolled(CIF)
    assert (await vault.list(CIF)).status_code == 200  # its mailbox, as long as it lasts
    anaf.calls.clear()
    own = {"Arhivar-Cif": CIF}

    assert (await vault.list(OTHER)).headers["Arhivar-Reason"] == "unmapped"
    for path, headers in (
        (f"{LISTS}?zile=60&cif={OTHER}", own),
        ("/prod/FCTEL/rest/upload?standard=UBL&cif=" + CIF, own),
        ("/anaf-oauth2/v1/token", own),
        ("/TestOauth/jaxrs/hello", own),
        ("/status", {}),
        (f"/grants/{grant}/test", {}),
        ("/application", {}),
        (f"{LISTS}?zile=60&cif={CIF}&access_token=1", own),
        (f"/prod/FCTEL/rest/../../../vault.db?cif={CIF}", own),
    ):
        for method in ("GET", "POST", "PUT", "DELETE", "TRACE"):
            answer = await vault.spv.request(method, path, headers=headers)
            assert answer.status_code in (400, 403, 404, 405), path
    assert anaf.calls == []

    answer = await vault.spv.get(
        f"{LISTS}?zile=60&cif={CIF}",
        headers={**own, "Authorization": "Bearer another", "Host": "evil.example", "X-Echo": "1"},
    )
    assert answer.status_code == 200
    (call,) = anaf.calls
    assert call["headers"]["authorization"] == f"Bearer {anaf.issued[0]}"
    assert "x-echo" not in call["headers"]

    anaf.echo_token = True
    with pytest.raises(httpx.RemoteProtocolError):
        await vault.list(CIF)
    anaf.echo_token = False
    for method, path in documented(gateway):
        for body in ({}, {"cif": CIF, "cifs": [OTHER], "grant": grant, "serial": "x"}):
            await vault.spv.request(method, path.split("?")[0].replace("{env}", "prod"), json=body,
                                    headers=own)  # fmt: skip

    spoken.hold_none_of(canaries(vault.directory / "vault", anaf))
    assert len(spoken.answers) > 50
    actions = [record["action"] for record in told(vault.directory / "vault")]
    assert {"call:unmapped", "call:cif-mismatch", "call:refused"} <= set(actions)


# The vault's files are stolen


async def test_a_stolen_vault_without_its_key_opens_nothing(world: World, tmp_path: Path) -> None:
    grant = bytes.fromhex(await world.authorise())
    stolen = tmp_path / "stolen"
    shutil.copytree(world.directory, stolen, ignore=shutil.ignore_patterns("kek*"))

    with pytest.raises(KeyRefused):  # whoever starts a vault on it, with a key of his own
        Database(stolen, Keyring({1: keys.fresh()}), at=NOW)
    with closing(sqlite3.connect(stolen / "vault.db")) as connection:
        (installation,) = connection.execute("SELECT uid FROM installation").fetchone()
        rows = connection.execute("SELECT subject, purpose, version, body FROM record").fetchall()
    salts = _salts(stolen)
    assert {row[0] for row in rows} == {grant, installation}
    for subject, purpose, version, body in rows:
        label = Label(installation, subject, Purpose(purpose), version)
        with pytest.raises(SealBroken):
            envelope.unseal(Keyring({1: keys.fresh()}), label, salts[subject], body)
    secrets = canaries(world.directory, world.anaf)
    for path in stolen.iterdir():
        if path.name != "shred.db":
            assert not secrets.found_in(path), path.name


async def test_with_the_key_the_salts_decide_whether_a_stolen_backup_opens(
    world: World, tmp_path: Path
) -> None:
    """The limit that the page states: key, vault.db and shred.db together are the tokens."""
    grant = bytes.fromhex(await world.authorise())
    whole, without_salts = tmp_path / "whole", tmp_path / "without"
    shutil.copytree(world.directory, whole)
    shutil.copytree(world.directory, without_salts, ignore=shutil.ignore_patterns("shred.db*"))

    keyring = keys.load(world.directory / "kek", {})
    with closing(Database(whole, keyring, at=NOW)) as opened:
        record = opened.get(grant, Purpose.TOKENS)
        assert record is not None
        assert world.anaf.issued[0].encode() in record[0]
    with closing(Database(without_salts, keyring, at=NOW)) as closed, pytest.raises(SealBroken):
        closed.get(grant, Purpose.TOKENS)


async def test_a_stolen_backup_with_its_key_opens_nothing_of_a_grant_revoked_since(
    world: World, tmp_path: Path
) -> None:
    """Restored beside today's shred.db, as the page says that backups are kept."""
    grant = bytes.fromhex(await world.authorise())
    backup = tmp_path / "backup"
    shutil.copytree(world.directory, backup, ignore=shutil.ignore_patterns("shred.db*"))

    world.grants.revoke(grant.hex(), by="ana", at=world.now)
    shutil.copy(world.directory / "shred.db", backup)

    with closing(Database(backup, keys.load(backup / "kek", {}), at=NOW)) as opened:
        assert opened.version(grant, Purpose.TOKENS) == 1  # the record is there again
        with pytest.raises(SealBroken):
            opened.get(grant, Purpose.TOKENS)
        assert opened.get(opened.installation, Purpose.CLIENT_SECRET) is not None


# vault.db can be written


async def test_whoever_writes_vault_db_cannot_plant_a_token_of_his_own(world: World) -> None:
    grant = bytes.fromhex(await world.authorise())
    installation = world.database.installation
    salt = _salts(world.directory)[grant]
    label = Label(installation, grant, Purpose.TOKENS, 1)
    planted = json.dumps({"access": "of the attacker"}).encode()
    forged = envelope.seal(Keyring({1: keys.fresh()}), label, salt, planted)

    _write_record(world, grant, forged)
    with pytest.raises(KeyRefused):  # the vault does not even start
        world.restart()
    with_our_key_id = forged[:5] + keys.load(world.directory / "kek", {}).newest + forged[9:]
    _write_record(world, grant, with_our_key_id)
    world.restart()

    answer = await world.list()
    assert answer.status == 503
    assert answer.headers["Arhivar-Reason"] == "needs-authorisation"
    assert world.anaf.calls == []


async def test_whoever_writes_vault_db_cannot_give_one_grant_the_token_of_another(
    world: World,
) -> None:
    first = bytes.fromhex(await world.authorise())
    world.anaf.serial = "77:77"
    second = bytes.fromhex(await world.authorise())
    with closing(sqlite3.connect(world.directory / "vault.db")) as connection, connection:
        (body,) = connection.execute(
            "SELECT body FROM record WHERE subject = ? AND purpose = 1", (first,)
        ).fetchone()
        connection.execute(
            "UPDATE record SET body = ? WHERE subject = ? AND purpose = 1", (body, second)
        )
    world.restart()

    with pytest.raises(SealBroken):
        world.database.get(second, Purpose.TOKENS)


async def test_whoever_writes_vault_db_can_give_a_grant_a_cif_for_mappings_are_not_sealed(
    world: World,
) -> None:
    """A limit: noticed only by who compares the mappings with the chain, which does not name it."""
    grant = await world.authorise()
    with closing(sqlite3.connect(world.directory / "vault.db")) as connection, connection:
        connection.execute(
            "INSERT INTO cif_grant (cif, grant_uid, confirmed_by, confirmed_at) "
            "VALUES (?, ?, 'nobody', '')",
            (OTHER, grant),
        )
    world.restart()

    asked = Request("GET", LISTS, f"zile=60&cif={OTHER}", {"arhivar-cif": OTHER}, b"", 0)
    assert (await world.gateway(asked)).status == 200
    mapped = [r["data"]["cif"] for r in told(world.directory) if r["action"] == "cif:map"]
    with closing(sqlite3.connect(world.directory / "vault.db")) as connection:
        held = [cif for (cif,) in connection.execute("SELECT cif FROM cif_grant")]
    assert set(held) - set(mapped) == {OTHER}


async def test_a_whole_vault_put_back_opens_and_only_a_head_kept_elsewhere_tells(
    world: World, tmp_path: Path
) -> None:
    """A limit too: rows, marks and chain of the same moment agree with one another."""
    grant = bytes.fromhex(await world.authorise())
    before = tmp_path / "before"
    shutil.copytree(world.directory, before)
    world.anaf.serial = ""
    await world.authorise(grant.hex())
    with closing(sqlite3.connect(world.directory / "vault.db")) as connection:
        (kept,) = connection.execute("SELECT head FROM audit ORDER BY seq DESC LIMIT 1").fetchone()

    with closing(Database(before, keys.load(before / "kek", {}), at=NOW)) as opened:
        assert opened.get(grant, Purpose.TOKENS) is not None
        assert opened.audit_breaks() == []
        heads = {head for (head,) in opened.durable.execute("SELECT head FROM audit")}
    assert kept not in heads


# Errors inside the vault


BROKEN = """
import appliance.vault.gateway as gateway
import appliance.vault.oauth as oauth

async def refresh(self, application, pair, *, at):
    access, secret = pair.access.reveal(), application.secret.reveal()
    raise RuntimeError(f"{access} {pair.refresh.reveal()} {secret}")

async def send(self, url, access, call, at):
    headers = {"Authorization": f"Bearer {access.token.reveal()}"}
    raise ValueError(headers)

oauth.AuthorisationServer.refresh = refresh
gateway.Gateway._send = send
"""


async def test_an_exception_inside_the_vault_shows_no_token_that_its_frames_hold(
    vault: VaultProcess, anaf: Anaf
) -> None:
    anaf.expires_in = 0
    grant = await vault.enrolled(CIF)
    await vault.end()
    # Read by every Python as it starts; the product has no switch that breaks it.
    site = vault.directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BROKEN)
    await vault.start(
        {"PYTHONPATH": f"{site}:{ROOT}", "PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"}
    )
    spoken = Spoken(vault)

    assert (await vault.list(CIF)).status_code == 500  # while it is renewed
    anaf.expires_in = 7_776_000
    renewed = await vault.authorise()
    assert renewed == grant
    assert (await vault.list(CIF)).status_code == 500  # while it is used
    assert (await vault.enrol.post(f"/grants/{grant}/test")).status_code == 500
    await vault.end()

    log = vault.log.read_text()
    assert "RuntimeError in a handler" in log
    assert "ValueError in a handler" in log
    assert "in refresh" in log  # where, without what
    secrets = canaries(vault.directory / "vault", anaf)
    assert not secrets.found(log.encode())
    spoken.hold_none_of(secrets)


def _salts(directory: Path) -> dict[bytes, bytes]:
    with closing(sqlite3.connect(directory / "shred.db")) as connection:
        return dict(connection.execute("SELECT subject, salt FROM salt").fetchall())


def _write_record(world: World, subject: bytes, body: bytes) -> None:
    with closing(sqlite3.connect(world.directory / "vault.db")) as connection, connection:
        connection.execute(
            "UPDATE record SET body = ? WHERE subject = ? AND purpose = 1", (body, subject)
        )

"""`arhivar demo` and `arhivar serve`: the whole appliance on one machine.

The demo makes a data directory with a configuration, a vault key, a firm and
its people, starts a simulated SPV, and enrols the clients exactly as people
would: through enrol.sock and ANAF's pages. A second start with the same
directory finds all of it and only starts the processes.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import httpx
from rich.console import Console
from rich.table import Table

from appliance import config
from appliance.config import Settings
from appliance.core.errors import BadInput, Busy
from appliance.core.roles import FIRM_ROLES, Role
from appliance.core.sentence import Sentence
from appliance.simulator.companies import CLIENTS
from appliance.store import accounts, clients, drive_passwords
from appliance.store.engine import open_store, transaction
from appliance.store.migrate import migrate
from appliance.supervise import Supervisor
from appliance.vault import keys
from appliance.web.auth.passwords import Passwords

FIRM = "Contabilitate Tismana SRL"
SEED = 1
# Long enough for a busy machine; a normal start takes a few seconds.
START_SECONDS = 90


@dataclass(frozen=True)
class Person:
    """Somebody of the demo, with a role at the firm or at one or more of the clients."""

    email: str
    name: str
    role: Role
    clients: tuple[int, ...] = ()  # positions in CLIENTS


PEOPLE = (
    Person("gina@tismana.example", "Gina Munteanu", Role.ADMIN),
    Person("elena@tismana.example", "Elena Dobre", Role.ACCOUNTANT, (0, 1)),
    Person("florin@tismana.example", "Florin Sava", Role.ACCOUNTANT, (2,)),
    Person("ana@client1.example", "Ana Pop", Role.OWNER, (0,)),
    Person("bogdan@client1.example", "Bogdan Ionescu", Role.APPROVER, (0,)),
    Person("corina@client1.example", "Corina Stan", Role.CONTRIBUTOR, (0,)),
    Person("dan@client1.example", "Dan Rusu", Role.VIEWER, (0,)),
    Person("irina@client2.example", "Irina Vlad", Role.OWNER, (1,)),
    Person("mihai@client3.example", "Mihai Țurcanu", Role.OWNER, (2,)),
)


def run_demo(
    data: Path,
    *,
    portal_port: int,
    drive_port: int,
    spv_port: int,
    invoices: int,
    documents: Path | None,
) -> int:
    """Run until Ctrl-C; 0 when everything ended cleanly.

    `data/demo.json` names the addresses and log-ins once everything answers;
    it is removed first, so whoever waits for it never reads an old one.
    """
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    lock = _lock(data)
    settings = _settings(data, portal_port, drive_port, spv_port)
    if len({portal_port, drive_port, spv_port}) < 3:
        raise BadInput(
            Sentence(
                "Portalul, discul și SPV au nevoie de porturi diferite. Alege altele.",
                "portal, drive and SPV need different ports; choose others",
            )
        )
    for port in (portal_port, drive_port, spv_port):
        _require_free(port)
    for name in ("demo.json", "simulator.json"):
        (data / name).unlink(missing_ok=True)
    config_file = data / "arhivar.toml"
    config_file.write_text(config.dump(settings), encoding="utf-8")
    console = Console()
    console.print(f"Arhivar demo in {data} (Ctrl-C stops it)")

    certificate = data / "certificates" / "simulator.pem"
    certificate.parent.mkdir(exist_ok=True)
    simulator = [
        "simulator", "--port", str(spv_port), "--invoices", str(invoices), "--seed", str(SEED),
        "--json", str(data / "simulator.json"), "--certificate", str(certificate),
        "--state", str(data / "simulator"),
    ]  # fmt: skip
    if documents is not None:
        simulator += ["--documents", str(documents.resolve())]

    with Supervisor({"ARHIVAR_CONFIG": str(config_file)}, data / "log") as children:
        children.start("simulator", simulator)
        _wait(children, "simulator", (data / "simulator.json").exists)
        if not settings.vault_key_file.exists():
            keys.create(settings.vault_key_file)
        migrate(settings)
        logins = (
            _read_logins(data)
            if asyncio.run(_has_firm(settings))
            else asyncio.run(_make_firm(settings))
        )
        children.start("vault", ["vault"])
        _wait_for_socket(children, "vault", settings.enrol_socket)
        if not children.stopping:
            spv = json.loads((data / "simulator.json").read_text(encoding="utf-8"))
            _enrol(settings, spv, by=asyncio.run(_holder(settings)))
        for name in ("sync", "web", "dav"):
            children.start(name, [name])
        _wait_for_port(children, "web", portal_port)
        _wait_for_port(children, "dav", drive_port)
        if not children.stopping:
            _write_demo_json(data, settings, spv_port, logins)
            _print_table(console, settings, spv_port, logins)
        children.watch()
        console.print("stopping …")
    lock.close()
    return 0


def serve_all(settings: Settings, config_file: Path | None) -> None:
    """Run vault, sync, web and dav with the given configuration until SIGTERM or Ctrl-C."""
    environment = {"ARHIVAR_CONFIG": str(config_file.resolve())} if config_file else {}
    with Supervisor(environment, None) as children:
        for name in ("vault", "sync", "web", "dav"):
            children.start(name, [name])
        children.watch()


def _settings(data: Path, portal_port: int, drive_port: int, spv_port: int) -> Settings:
    run_dir = data / "run"
    if len(str(run_dir)) > 90:
        # A socket's path ends at 107 bytes (sun_path in unix(7)).
        digest = hashlib.sha256(str(data).encode()).hexdigest()[:12]
        run_dir = Path(tempfile.gettempdir()) / f"arhivar-{os.getuid()}-{digest}"
    run_dir.mkdir(mode=0o700, exist_ok=True)
    vault_dir = data / "vault"
    vault_dir.mkdir(mode=0o700, exist_ok=True)
    return replace(
        Settings(),
        single_user=True,
        data_dir=data,
        vault_dir=vault_dir,
        vault_key_file=vault_dir / "kek",
        run_dir=run_dir,
        web_port=portal_port,
        web_url=f"http://localhost:{portal_port}",
        dav_port=drive_port,
        dav_url=f"http://localhost:{drive_port}",
        spv_oauth_url=f"http://127.0.0.1:{spv_port}/anaf-oauth2/v1",
        spv_api_url=f"http://127.0.0.1:{spv_port}",
        spv_extra_certificates=data / "certificates",
        sync_pdf_workers=2,
    )


def _lock(data: Path) -> IO[str]:
    """Hold the directory for this process; a second demo in it is refused."""
    lock = (data / "demo.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Busy(
            Sentence(
                f"Un demo rulează deja în {data}. Oprește-l sau alege alt dosar cu --data.",
                f"a demo is already running in {data}; stop it, or choose another --data",
            )
        ) from None
    return lock


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise BadInput(
                Sentence(
                    f"Portul {port} este ocupat de alt program. Alege altul (--portal-port, "
                    "--drive-port, --spv-port).",
                    f"port {port} is taken by another program; choose another one "
                    "(--portal-port, --drive-port, --spv-port)",
                )
            ) from None


def _read_logins(data: Path) -> list[dict[str, Any]]:
    """Return the log-ins of the first run; passwords are kept nowhere else."""
    path = data / "logins.json"
    try:
        logins: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(
            Sentence(
                f"Lipsește {path}, cu parolele acestui demo. Alege alt dosar cu --data.",
                f"{path} with this demo's passwords is gone; choose another --data",
            )
        ) from None
    return logins


async def _make_firm(settings: Settings) -> list[dict[str, Any]]:
    """Make firm, clients and people in one transaction and return the log-ins.

    The log-ins are written first: cut short, the next start finds no firm and
    makes other ones.
    """
    at = datetime.now(UTC)
    hasher = Passwords()
    secrets_of = {person.email: _readable_password() for person in PEOPLE}
    hashes = {email: await hasher.hash(password) for email, password in secrets_of.items()}
    logins: list[dict[str, Any]] = []
    async with open_store(settings), transaction():
        await clients.create_firm(FIRM, at)
        made = [
            await clients.create_client(client.company.name, [client.company.cif], at)
            for client in CLIENTS
        ]
        for person in PEOPLE:
            account = await accounts.create_account(
                person.email,
                person.name,
                at,
                firm_role=person.role if person.role in FIRM_ROLES else None,
                password_hash=hashes[person.email],
            )
            for position in person.clients:
                if person.role in FIRM_ROLES:
                    await clients.assign(account, made[position], at)
                else:
                    await clients.add_member(account, made[position], person.role, at)
            drive_password = await drive_passwords.create(account, "demo", at)
            logins.append(
                {
                    "email": person.email,
                    "password": secrets_of[person.email],
                    "role": str(person.role),
                    "client": ", ".join(CLIENTS[p].company.name for p in person.clients) or None,
                    "drive_password": drive_password,
                }
            )
        _write_private(settings.data_dir / "logins.json", logins)
    return logins


async def _has_firm(settings: Settings) -> bool:
    async with open_store(settings):
        return await clients.firm() is not None


async def _holder(settings: Settings) -> str:
    """Return the uid of the person whose certificate it is; they may be gone by now."""
    async with open_store(settings):
        account = await accounts.by_email(PEOPLE[0].email)
    return account.uid if account else "demo"


def _readable_password() -> str:
    words = ("brad", "codru", "deal", "fagure", "izvor", "munte", "plop", "zmeur")
    return "-".join(
        (secrets.choice(words), str(secrets.randbelow(9000) + 1000), secrets.choice(words),
         str(secrets.randbelow(9000) + 1000))
    )  # fmt: skip


_CIFS = tuple(client.company.cif for client in CLIENTS)


def _enrol(
    settings: Settings, spv: Mapping[str, Any], cifs: Iterable[str] = _CIFS, *, by: str = "demo"
) -> None:
    """Authorise once as the certificate's holder would, and confirm the CIFs.

    Does nothing when the vault holds a working grant from an earlier run.
    """
    transport = httpx.HTTPTransport(uds=str(settings.enrol_socket))
    with httpx.Client(transport=transport, base_url="http://vault", timeout=30) as vault:
        status = vault.get("/status").raise_for_status().json()
        wanted = set(cifs)
        mapped = {cif for grant in status["grants"] for cif in grant["cifs"]}
        if wanted <= mapped:
            return
        redirect_uri = f"{settings.web_url}/spv/callback"
        application = {
            "client_id": spv["client_id"],
            "client_secret": spv["client_secret"],
            "redirect_uri": redirect_uri,
        }
        vault.put("/application", json=application).raise_for_status()
        session = secrets.token_hex(16)
        started = (
            vault.post(
                "/authorisations",
                json={"session": session, "requested_by": by, "holder": PEOPLE[0].name},
            )
            .raise_for_status()
            .json()
        )
        answer = httpx.get(started["authorise_url"], follow_redirects=False, timeout=30)
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
        done = (
            vault.post(
                "/authorisations/code",
                json={"session": session, "state": query["state"][0], "code": query["code"][0]},
            )
            .raise_for_status()
            .json()
        )
        for cif in sorted(wanted):
            vault.put(
                f"/cifs/{cif}", json={"grant": done["grant"], "confirmed_by": by}
            ).raise_for_status()


def _wait_for_port(children: Supervisor, name: str, port: int) -> None:
    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    _wait(children, name, answers)


def _wait_for_socket(children: Supervisor, name: str, path: Path) -> None:
    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    _wait(children, name, answers)


def _wait(children: Supervisor, name: str, answers: Any) -> None:
    for _ in range(START_SECONDS * 10):
        if children.stopping or answers():
            return
        if children.died(name):
            break
        children.wait(0.1)
    raise BadInput(
        Sentence(
            f"Procesul {name} nu a pornit; motivul este în log/{name}.log.",
            f"the process {name} did not start; the reason is in log/{name}.log",
        )
    )


def _write_demo_json(
    data: Path, settings: Settings, spv_port: int, logins: Iterable[Mapping[str, Any]]
) -> None:
    _write_private(
        data / "demo.json",
        {
            "portal": settings.web_url,
            "drive": settings.dav_url,
            "spv": f"http://localhost:{spv_port}",
            "logins": list(logins),
        },
    )


def _write_private(path: Path, value: object) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
    temporary.rename(path)


def _print_table(
    console: Console, settings: Settings, spv_port: int, logins: Iterable[Mapping[str, Any]]
) -> None:
    console.print(f"portal  {settings.web_url}")
    console.print(f"drive   {settings.dav_url}   (WebDAV; the user is the e-mail)")
    console.print(f"SPV     http://localhost:{spv_port}   (simulated)")
    # Two narrow tables: a password that a terminal cuts off is worth nothing.
    people = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("e-mail", "password for the portal", "role"):
        people.add_column(heading, no_wrap=True)
    people.add_column("of")
    drive = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("e-mail", "password for the drive"):
        drive.add_column(heading, no_wrap=True)
    for login in logins:
        people.add_row(login["email"], login["password"], login["role"], login["client"] or FIRM)
        drive.add_row(login["email"], login["drive_password"])
    console.print()
    console.print(people)
    console.print()
    console.print(drive)

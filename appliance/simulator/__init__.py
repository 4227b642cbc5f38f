"""A fake SPV that behaves like ANAF, for the demo, the tests and anyone's ANAF client.

`serve()` runs it on a port; `Simulator` is the same without one. Nothing here
has fiscal value: the certificate, the companies and the invoices are invented.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve as _hypercorn
from hypercorn.config import Config

from appliance.core.errors import BadInput
from appliance.core.sentence import Sentence
from appliance.simulator.app import App
from appliance.simulator.oauth import Authority
from appliance.simulator.rules import script
from appliance.simulator.signing import Signer
from appliance.simulator.state import SERIAL, Limits, State

__all__ = ["Limits", "Signer", "Simulator", "configured", "listen", "serve"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Simulator:
    """One simulated SPV: `app` is its ASGI application.

    With a `directory` key, messages, ids and used tokens survive a restart;
    without one every start is a new world (its tokens too).
    """

    def __init__(
        self,
        seed: int = 1,
        invoices: int = 200,
        documents: Path | None = None,
        clock: Callable[[], datetime] = _utc_now,
        *,
        directory: Path | None = None,
        limits: Limits | None = None,
        signer: Signer | None = None,
        clients: int = 0,
        latency: int = 0,
        lateness: timedelta = timedelta(0),
        faults: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        signer = signer or Signer.load(directory / "key.pem" if directory else None)
        self.state = State(
            seed=seed,
            invoices=invoices,
            clock=clock,
            signer=signer,
            documents=documents,
            directory=directory,
            limits=limits or Limits(),
            clients=clients,
            lateness=lateness,
        )
        name = hashlib.sha256(signer.secret).hexdigest()
        self._used = directory / "used-tokens" if directory else None
        self.authority = Authority(
            signer.key, name[:32], name[32:], SERIAL, self.state.now, self._remember_used
        )
        if self._used is not None and self._used.exists():
            for jti in self._used.read_text(encoding="ascii").split():
                self.authority.forget(jti)
        self.app = App(self.state, self.authority)
        if latency:
            self.app.control.keep_waiting(latency / 1000)
        for wanted in faults:
            self.app.control.arm(wanted)

    @property
    def certificate(self) -> bytes:
        """The signing certificate as PEM, to be pinned by whoever trusts this simulator."""
        return self.state.signer.pem

    def describe(self, url: str) -> dict[str, object]:
        """Return what a client needs, with tokens that work at once."""
        tokens = self.authority.tokens(SERIAL)
        return {
            "url": url,
            "client_id": self.authority.client_id,
            "client_secret": self.authority.client_secret,
            "access_token": tokens["access_token"],
            "refresh_token": tokens["refresh_token"],
            "cifs": list(self.state.rights[SERIAL]),
        }

    def write_json(self, path: Path, url: str) -> None:
        """Write `describe()` to a file for its owner alone; it appears whole or not at all."""
        _write(path, json.dumps(self.describe(url), indent=2).encode() + b"\n", 0o600)

    def write_certificate(self, path: Path) -> None:
        _write(path, self.certificate, 0o644)

    def _remember_used(self, jti: str) -> None:
        if self._used is not None:
            with self._used.open("a", encoding="ascii") as file:
                file.write(jti + "\n")


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. Raises `BadInput` when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise BadInput(
            Sentence(
                f"Simulatorul nu poate asculta la {host}:{port} ({error}). Alege alt port.",
                f"the simulator cannot listen at {host}:{port} ({error}); choose another port",
            )
        ) from None
    listening.listen(128)
    return listening


def configured(listening: socket.socket) -> Config:
    """Return Hypercorn's configuration for an open socket, which is Hypercorn's from now on."""
    config = Config()
    # detach(): Hypercorn closes the descriptor; a second owner would later close
    # whatever has its number by then.
    config.bind = [f"fd://{listening.detach()}"]
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = 1
    config.keep_alive_timeout = 60
    return config


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    invoices: int = 200,
    seed: int = 1,
    documents: Path | None = None,
    json_file: Path | None = None,
    certificate: Path | None = None,
    directory: Path | None = None,
    limits: Limits | None = None,
    clock: Callable[[], datetime] = _utc_now,
    clients: int = 0,
    latency: int = 0,
    lateness: timedelta = timedelta(0),
    faults: Sequence[str] = (),
) -> None:
    """Serve until Ctrl-C or SIGTERM. The files are written once the port answers.

    `faults` as in `rules.script`, which raises `BadInput`.
    """
    simulator = Simulator(
        seed,
        invoices,
        documents,
        clock,
        directory=directory,
        limits=limits,
        clients=clients,
        latency=latency,
        lateness=lateness,
        faults=script(faults),
    )
    listening = listen(host, port)
    bound = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{bound}"
    if json_file is not None:
        simulator.write_json(json_file, url)
    if certificate is not None:
        simulator.write_certificate(certificate)
    _announce(simulator, url, json_file, documents)
    # Hypercorn types each scope as a TypedDict of its own; an App takes any.
    asyncio.run(_hypercorn(simulator.app, configured(listening)))  # type: ignore[arg-type]


def _named(cifs: tuple[str, ...]) -> str:
    return ", ".join(cifs) if len(cifs) < 8 else f"{len(cifs)} CIFs, the first of them {cifs[0]}"


def _announce(
    simulator: Simulator, url: str, json_file: Path | None, documents: Path | None
) -> None:
    state = simulator.state
    lines = [
        f"Simulated SPV at {url} (no fiscal value)",
        f"  {state.count()} messages for {_named(state.rights[SERIAL])}",
        f"  OAuth  {url}/anaf-oauth2/v1/authorize and /token",
        f"  API    {url}/prod/FCTEL/rest/",
        f"  client_id {simulator.authority.client_id}",
    ]
    if documents is not None:
        lines.append(
            f"  {state.served} files of {documents} as messages of the first CIF; "
            f"{state.ignored} files ignored (neither UBL nor ANAF zips)"
        )
    if json_file is not None:
        lines.append(f"  tokens in {json_file}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()

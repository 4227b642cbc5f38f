"""The vault's process: two sockets, who may speak on them, and the way it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import grp
import logging
import os
import pwd
import resource
import signal
import socket
import sqlite3
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from appliance.config import Settings
from appliance.core.errors import ConfigError
from appliance.core.sentence import Sentence
from appliance.vault import keys
from appliance.vault.database import Database
from appliance.vault.enrol import Enrol
from appliance.vault.envelope import Keyring
from appliance.vault.errors import VaultRunning
from appliance.vault.gateway import Gateway
from appliance.vault.limits import Limits
from appliance.vault.oauth import AuthorisationServer
from appliance.vault.parts import Parts
from appliance.vault.refusals import Refusals
from appliance.vault.wire import Server

log = logging.getLogger(__name__)

_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
_PR_SET_DUMPABLE = 4
_MCL_ALL_WHEN_TOUCHED = 1 | 2 | 4  # MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT: mlockall(2)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Neighbour:
    """Who speaks on a socket: the process's user, and the group that may connect."""

    user: str
    group: str


ENROL = Neighbour("arhivar-web", "arhivar-enrol")
SPV = Neighbour("arhivar-sync", "arhivar-spv")


def serve(settings: Settings) -> None:
    """Run the vault until SIGTERM or SIGINT.

    Requests and renewals under way end first, so no answer of ANAF is lost.
    Raises `KeyRefused`, `SchemaUnknown`, `ConfigError` or `VaultRunning` before
    anything listens.
    """
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """See `serve()`."""
    _keep_to_ourselves()
    for url in (settings.spv_oauth_url, settings.spv_api_url):
        _check_url(url)
    keyring = keys.load(settings.vault_key_file)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        database = _open(settings.vault_dir, keyring, stack)
        http = await stack.enter_async_context(_client())
        server = AuthorisationServer(settings.spv_oauth_url, http)
        parts = Parts.of(database, server, settings.vault_dir, _now)
        paths = (settings.enrol_socket, settings.spv_socket)
        refusals = [Refusals(database, path.name) for path in paths]
        gateway = Gateway(
            api_url=settings.spv_api_url,
            environment=settings.spv_environment,
            parts=parts,
            limits=Limits(database, settings.spv_calls_per_minute),
            refusals=refusals[1],
            http=http,
            now=_now,
        )
        servers = [
            Server(
                Enrol(parts, gateway, refusals[0], _now), allowed_uids(ENROL), _noting(refusals[0])
            ),
            Server(gateway, allowed_uids(SPV), _noting(refusals[1])),
        ]
        passed = passed_sockets(os.environ)
        for each, path, neighbour in zip(servers, paths, (ENROL, SPV), strict=True):
            listener = passed.get(path.name)
            if listener is None:
                listener = bind(path, neighbour.group)
                stack.callback(path.unlink, missing_ok=True)
            await each.start(listener)
        log.info("vault: listening on %s and %s", *paths)
        renewing = asyncio.create_task(parts.renewal.keep_renewed())
        await stop.wait()
        renewing.cancel()
        await asyncio.gather(*(each.close(_GRACE_SECONDS) for each in servers))
        await parts.renewal.settle()


def _noting(refusals: Refusals) -> Callable[[int], None]:
    return lambda uid: refusals.note("peer", uid, "connect", at=_now())


def allowed_uids(neighbour: Neighbour) -> frozenset[int]:
    """Return who may speak: the neighbour's user when there is one, ourselves and root."""
    uids = {0, os.geteuid()}
    with contextlib.suppress(KeyError):
        uids.add(pwd.getpwnam(neighbour.user).pw_uid)
    return frozenset(uids)


def bind(path: Path, group: str) -> socket.socket:
    """Return a listening socket at `path`: 0660 for `group` when there is one, else 0600.

    A file that a dead process left is replaced; one that somebody answers on,
    or that is no socket, raises `VaultRunning`.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)  # under our umask the neighbours could not enter
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # bind() gives 0777 & ~umask: nobody may connect before the group is right.
        previous = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(previous)
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
            path.chmod(0o660)
        except KeyError:
            pass
        except PermissionError:
            log.warning("%s is for our own user only: we are not in the group %s", path, group)
        listener.listen(128)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def passed_sockets(environ: Mapping[str, str]) -> dict[str, socket.socket]:
    """Return the sockets that systemd opened for us (sd_listen_fds(3)), by file name."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    passed = {}
    for number in range(int(environ.get("LISTEN_FDS", "0"))):
        listener = socket.socket(fileno=_FIRST_PASSED_FD + number)
        listener.setblocking(False)
        os.set_inheritable(listener.fileno(), False)
        passed[Path(os.fsdecode(listener.getsockname())).name] = listener
    return passed


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        if stat.S_ISSOCK(mode):
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink()
                return
            except OSError:
                pass  # it exists and is not ours to judge
    raise VaultRunning(
        Sentence(
            f"Soclul {path} este folosit de alt proces; oprește-l, apoi pornește din nou seiful.",
            f"another process uses {path}; stop it, then start the vault again",
        )
    )


def _open(directory: Path, keyring: Keyring, stack: contextlib.AsyncExitStack) -> Database:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # First: whoever is one too many neither upgrades the files nor takes a key into use.
        stack.enter_context(only_one(directory))
        database = Database(directory, keyring, at=_now())
        stack.callback(database.close)
        return database
    except (OSError, sqlite3.DatabaseError) as error:
        raise ConfigError(
            Sentence(
                f"Seiful din {directory} nu poate fi deschis ({error}); verifică proprietarul "
                "directorului sau restaurează seiful din copia de siguranță.",
                f"the vault in {directory} cannot be opened ({error}); check who owns the "
                "directory, or restore the vault from a backup",
            )
        ) from error


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the vault's lock; raises `VaultRunning` when a process serves it already."""
    path = directory / "vault.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VaultRunning(
                Sentence(
                    f"Alt proces folosește deja seiful din {directory}; oprește-l întâi.",
                    f"another process already serves the vault in {directory}; stop it first",
                )
            ) from None
        yield
    finally:
        os.close(descriptor)


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=ssl.create_default_context(),
        # No proxy and no .netrc from the environment, no redirect: the token goes to
        # the two hosts of the configuration and nowhere else.
        trust_env=False,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
    )


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL):
        return
    raise ConfigError(
        Sentence(
            f"Adresa {url} trebuie să fie https: pe ea circulă tokenuri.",
            f"the address {url} must be https: tokens travel there",
        )
    )


def _keep_to_ourselves() -> None:
    os.umask(0o077)
    # No memory of this process on disk, and none for another process of the same user.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _stay_out_of_swap(libc)
    # The HTTP libraries name every call, at debug level with its headers.
    for name in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _stay_out_of_swap(libc: ctypes.CDLL) -> None:
    # Under a limit it would fail now or, worse, at a later allocation.
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        log.info("vault: its memory may be swapped; LimitMEMLOCK=infinity would prevent that")
    elif libc.mlockall(_MCL_ALL_WHEN_TOUCHED) != 0:
        log.warning("vault: its memory may be swapped (%s)", os.strerror(ctypes.get_errno()))


def _now() -> datetime:
    return datetime.now(UTC)

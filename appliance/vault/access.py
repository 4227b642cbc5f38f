"""How a command reaches the vault: its keys, its files, and its process when that runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from appliance.config import Settings
from appliance.core.errors import ArhivarError, Busy, NotFound
from appliance.core.sentence import Sentence
from appliance.vault import keys, recovery
from appliance.vault.database import Database
from appliance.vault.envelope import Keyring, key_id


def held_keys(settings: Settings, credentials: Mapping[int, bytes] | None) -> dict[int, bytes]:
    """Return every key by its generation: those root got from systemd, else those of the files."""
    return dict(credentials) if credentials else keys.generations(settings.vault_key_file)


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep other commands that change the keys away; raises `Busy` when one is at work.

    The lock is the directory's own, so that root and the vault's user share it.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise no_vault(directory) from None
    except OSError as error:
        raise _not_ours(directory, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                Sentence(
                    "Altă comandă „arhivar vault” este în lucru; așteapt-o sau oprește-o.",
                    "another `arhivar vault` command is at work; wait for it or stop it",
                )
            ) from None
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Busy(
            Sentence(
                f"Discul nu a primit cheile ({error.strerror}); verifică spațiul liber, apoi "
                "rulează din nou comanda, care continuă de unde a rămas.",
                f"the disk did not take the keys ({error.strerror}); check the free space, then "
                "run the command again, it goes on from there",
            )
        ) from error
    finally:
        os.close(descriptor)


def tidy(settings: Settings) -> None:
    """Remove what a command that was killed had not given its name yet; needs `alone()`."""
    for directory, pattern in (
        (settings.vault_key_file.parent, f"{keys.UNFINISHED}*"),
        (settings.vault_dir, f"{recovery.UNFINISHED}*"),
    ):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


def ask(settings: Settings, method: str, path: str) -> dict[str, Any] | None:
    """Return what the running vault answers, None when it does not run.

    Raises `ArhivarError` with the vault's own sentence when it refuses.
    """
    if not _listening(settings.enrol_socket):
        return None
    transport = httpx.HTTPTransport(uds=os.fspath(settings.enrol_socket))
    try:
        with httpx.Client(transport=transport, base_url="http://vault", timeout=600) as client:
            answer = client.request(method, path)
            value: dict[str, Any] = answer.json()
    except (httpx.TransportError, ValueError) as error:
        raise ArhivarError(
            Sentence(
                f"Seiful care rulează nu a răspuns ({type(error).__name__}); vezi jurnalul "
                "serviciului arhivar-vault și rulează comanda ca root.",
                f"the running vault did not answer ({type(error).__name__}); see the log of the "
                "service arhivar-vault, and run the command as root",
            )
        ) from None
    if answer.is_error:
        raise ArhivarError(Sentence(value["error"]["ro"], value["error"]["en"]))
    return value


def used_keys(directory: Path) -> dict[bytes, int]:
    """Return the ids of the keys that a vault has started with, each with its records."""
    counts = {}
    with _reading(directory) as connection:
        for (identifier,) in connection.execute("SELECT key_id FROM kek"):
            counts[identifier] = 0
        for identifier, records in connection.execute(
            "SELECT substr(body, 6, 4), count(*) FROM record GROUP BY 1"
        ):
            counts[identifier] = records
    return counts


def installation(directory: Path) -> bytes:
    """Return whose vault.db it is; raises `NotFound` when there is none."""
    with _reading(directory) as connection:
        row = connection.execute("SELECT uid FROM installation").fetchone()
    return bytes(row[0])


def last_page(directory: Path) -> str:
    """Return the fingerprint of the page that was made last, as the audit chain has it, or ''."""
    with _reading(directory) as connection:
        row = connection.execute(
            "SELECT body FROM audit WHERE instr(body, ?) > 0 ORDER BY seq DESC LIMIT 1",
            (b'"action":"recovery:set"',),  # canonical JSON writes it in no other place
        ).fetchone()
    try:
        return str(json.loads(row[0])["object"]) if row else ""
    except (ValueError, KeyError, TypeError):
        return ""  # the chain names it as broken


def open_beside(settings: Settings, held: Mapping[int, bytes]) -> Database:
    """Open the files for writing beside a vault that may run; they are made when absent.

    A key is in use when a vault started with it: those that none has met are left out,
    so that a command does not pass for that start.
    """
    known: Mapping[bytes, int] = {}
    with contextlib.suppress(NotFound):
        known = used_keys(settings.vault_dir)
    ring = {number: key for number, key in held.items() if key_id(key) in known}
    return opened(settings.vault_dir, Keyring(ring or held))


def opened(directory: Path, keyring: Keyring) -> Database:
    """Open the files for writing; raises `NotFound` for what is no vault or not ours."""
    try:
        return Database(directory, keyring, at=now())
    except (OSError, sqlite3.Error) as error:
        raise _not_ours(directory, error) from None


def looked_at(directory: Path, keyring: Keyring) -> Database:
    """Open the files for reading; raises `NotFound` for what is no vault or not ours."""
    try:
        return Database.to_look_at(directory, keyring)
    except (OSError, sqlite3.Error) as error:
        raise _not_ours(directory, error) from None


def now() -> datetime:
    return datetime.now(UTC)


def no_vault(directory: Path) -> NotFound:
    return NotFound(
        Sentence(
            f"În {directory} nu este niciun seif; rulează „arhivar vault init” sau pune la loc "
            "copia de siguranță.",
            f"there is no vault in {directory}; run `arhivar vault init` or put a backup there",
        )
    )


@contextlib.contextmanager
def _reading(directory: Path) -> Iterator[sqlite3.Connection]:
    path = directory / "vault.db"
    try:
        if not path.exists():
            raise no_vault(directory)
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            yield connection
    except (OSError, sqlite3.Error, TypeError) as error:
        raise _not_ours(directory, error) from None


def _listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise _not_ours(path, error) from None
    return True


def _not_ours(path: Path, error: Exception) -> NotFound:
    return NotFound(
        Sentence(
            f"{path} nu poate fi deschis ({error}); rulează comanda ca root sau restaurează seiful "
            "din copia de siguranță.",
            f"{path} cannot be opened ({error}); run the command as root, or restore the vault "
            "from a backup",
        )
    )

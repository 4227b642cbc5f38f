"""Where the key-encryption keys come from, and when one is refused.

`$CREDENTIALS_DIRECTORY/vault-kek.N` (systemd's `LoadCredentialEncrypted=`)
comes first, N being the generation; without such a credential the file of
`vault.key_file` is generation 1 and `<file>.2`, `<file>.3` the next ones. A key
is 32 random bytes. One that others can read, that belongs to somebody else or
that was plainly not made by a random generator stops the start.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from appliance.core.sentence import Sentence
from appliance.disk import fsync_directory
from appliance.vault.envelope import Keyring
from appliance.vault.errors import KeyRefused

_LENGTH = 32
_CREDENTIAL = re.compile(r"vault-kek\.([1-9][0-9]{0,3})")


def load(key_file: Path, environ: Mapping[str, str] = os.environ) -> Keyring:
    """Return every generation there is; raises `KeyRefused` with the next step."""
    credentials = _credentials(environ)
    generations = {
        number: _read(path, credential=True) for number, path in credentials.items()
    } or {number: _read(path, credential=False) for number, path in _files(key_file).items()}
    if len(set(generations.values())) != len(generations):
        raise KeyRefused(
            Sentence(
                "Două generații ale cheii seifului sunt identice; șterge-o pe cea mai nouă "
                "și creeaz-o din nou.",
                "two generations of the vault's key are the same; "
                "delete the newer one and make it again",
            )
        )
    return Keyring(generations)


def create(path: Path) -> bool:
    """Make a key file, durable and readable by its owner alone; True when it is new.

    A file that is there already is kept, so a second call changes nothing. After
    a crash the file is whole or absent.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".kek-")  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_fresh())
            file.flush()
            os.fsync(file.fileno())
        # link(), unlike rename(), never replaces a key that seals something.
        with suppress(FileExistsError):
            os.link(temporary, path)
            return True
        return False
    finally:
        temporary.unlink()
        fsync_directory(path.parent)


def _fresh() -> bytes:
    while _looks_made_up(key := os.urandom(_LENGTH)):
        pass
    return key


def _looks_made_up(key: bytes) -> bool:
    # 32 random bytes hold about 30 different values, fewer than 16 once in 10^20
    # keys; all of them printable once in 10^13.
    return len(set(key)) < 16 or all(0x20 <= byte < 0x7F for byte in key)


def _credentials(environ: Mapping[str, str]) -> dict[int, Path]:
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        return {}
    found = ((_CREDENTIAL.fullmatch(path.name), path) for path in Path(directory).iterdir())
    return {int(match[1]): path for match, path in found if match}


def _files(key_file: Path) -> dict[int, Path]:
    files = {1: key_file}
    generation = 2
    while (path := key_file.with_name(f"{key_file.name}.{generation}")).exists():
        files[generation] = path
        generation += 1
    return files


def _read(path: Path, *, credential: bool) -> bytes:
    try:
        # O_NONBLOCK: a FIFO in the key's place must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyRefused(
            Sentence(
                f"Cheia seifului lipsește ({path}). Creeaz-o cu „arhivar init” sau pune înapoi "
                "fișierul din copia de siguranță.",
                f"the vault's key is missing ({path}); make it with `arhivar init` "
                "or put the file back from a backup",
            )
        ) from None
    except OSError as error:
        raise _refused(path, f"nu poate fi citit ({error.strerror})", "cannot be read") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(path, "nu este un fișier obișnuit", "is no regular file")
        # systemd may keep a credential owned by root and let the service in by an
        # ACL, which shows as a readable group.
        owners, forbidden = ({os.geteuid(), 0}, 0o037) if credential else ({os.geteuid()}, 0o077)
        if facts.st_uid not in owners:
            raise _refused(path, "aparține altui utilizator", "belongs to another user")
        if facts.st_mode & forbidden:
            raise _refused(
                path,
                "poate fi citit de alții (folosește chmod 600)",
                "can be read by others (use chmod 600)",
            )
        key = os.read(descriptor, _LENGTH + 1)
    finally:
        os.close(descriptor)
    if len(key) != _LENGTH:
        raise _refused(path, "nu are exact 32 de octeți", "does not have exactly 32 bytes")
    if _looks_made_up(key):
        raise _refused(path, "nu conține o cheie aleatoare", "holds no random key")
    return key


def _refused(path: Path, ro: str, en: str) -> KeyRefused:
    return KeyRefused(
        Sentence(
            f"Cheia seifului nu poate fi folosită: {path} {ro}.",
            f"the vault's key cannot be used: {path} {en}",
        )
    )

"""Where the key-encryption keys come from, and when one is refused.

`$CREDENTIALS_DIRECTORY/vault-kek.N` (systemd's `LoadCredentialEncrypted=`)
comes first, N being the generation; without such a credential the file of
`vault.key_file` is generation 1 and `<file>.2`, `<file>.3` the next ones. The
newest seals; an older one may be missing when it seals nothing any more
(`Database` refuses to open without a key that it needs). A key is 32 random
bytes. One that others can read, that belongs to somebody else or that was
plainly not made by a random generator stops the start.

systemd decrypts its credentials for the service alone. A command, which root
runs, reads and adds them where they lie (`CREDSTORE`) by `systemd-creds`.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from appliance.core.sentence import Sentence
from appliance.disk import fsync_directory
from appliance.vault.envelope import Keyring
from appliance.vault.errors import KeyRefused

CREDSTORE = Path("/etc/credstore.encrypted")
UNFINISHED = ".kek-"

_LENGTH = 32
_CREDENTIAL = re.compile(r"vault-kek\.([1-9][0-9]{0,3})")


def load(key_file: Path, environ: Mapping[str, str] = os.environ) -> Keyring:
    """Return the keyring of every generation there is; raises `KeyRefused` with the next step."""
    return Keyring(generations(key_file, environ))


def generations(key_file: Path, environ: Mapping[str, str] = os.environ) -> dict[int, bytes]:
    """Return every key by its generation, oldest first; raises `KeyRefused`."""
    directory = environ.get("CREDENTIALS_DIRECTORY", "")
    try:
        credentials = _credentials(Path(directory)) if directory else {}
    except OSError as error:
        raise _refused(
            Path(directory), f"nu poate fi citit ({error.strerror})", "cannot be read"
        ) from None
    return _distinct(
        {number: _read(path, credential=True) for number, path in credentials.items()}
        or {number: _read(path, credential=False) for number, path in files(key_file).items()}
    )


def in_credstore(directory: Path | None = None) -> bool:
    """Tell whether systemd gives the vault its keys."""
    try:
        return bool(_credentials(directory or CREDSTORE))
    except OSError:  # absent, or not ours to look into
        return False


def decrypt_credstore(directory: Path | None = None) -> dict[int, bytes]:
    """Return every key that systemd keeps for the vault, for root; raises `KeyRefused`."""
    return _distinct(
        {
            number: _content(path, _systemd_creds("decrypt", os.fspath(path), "-"))
            for number, path in _credentials(directory or CREDSTORE).items()
        }
    )


def add_to_credstore(number: int, key: bytes, directory: Path | None = None) -> Path:
    """Give systemd the key of a new generation, for root; whole or absent after a crash."""
    path = (directory or CREDSTORE) / f"vault-kek.{number}"
    sealed = _systemd_creds("encrypt", f"--name={path.name}", "-", "-", key=key)
    if not _link(path, sealed):
        raise KeyRefused(
            Sentence(
                f"{path} există deja; rulează din nou „arhivar vault rotate”.",
                f"{path} is there already; run `arhivar vault rotate` again",
            )
        )
    return path


def _distinct(generations: dict[int, bytes]) -> dict[int, bytes]:
    if len(set(generations.values())) != len(generations):
        raise KeyRefused(
            Sentence(
                "Două generații ale cheii seifului sunt identice; șterge-o pe cea mai nouă "
                "și creeaz-o din nou.",
                "two generations of the vault's key are the same; "
                "delete the newer one and make it again",
            )
        )
    return dict(sorted(generations.items()))


def create(path: Path, key: bytes | None = None) -> bool:
    """Make a key file, durable and readable by its owner alone; True when it is new.

    A file that is there already is kept, so a second call changes nothing. After
    a crash the file is whole or absent.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _link(path, key or fresh())


def make_first(key_file: Path, vault_dir: Path) -> bool:
    """Make generation 1 of a new vault; True when it is new.

    Where vault.db is there and no key, the key was lost: a new one would open
    nothing and only be in the way, so `KeyRefused`.
    """
    if (vault_dir / "vault.db").exists() and not any(
        map(os.path.lexists, files(key_file).values())
    ):
        raise _missing(key_file)
    return create(key_file)


def files(key_file: Path) -> dict[int, Path]:
    """Return the key files that are there by generation; the first, absent, when there is none."""
    numbered = re.compile(re.escape(key_file.name) + r"\.([2-9]|[1-9][0-9]{1,3})")
    found = {1: key_file} if os.path.lexists(key_file) else {}
    if key_file.parent.is_dir():
        for path in key_file.parent.iterdir():
            if match := numbered.fullmatch(path.name):
                found[int(match[1])] = path
    return dict(sorted(found.items())) or {1: key_file}


def file_of(key_file: Path, number: int) -> Path:
    """Return where the key of a generation belongs."""
    return key_file if number == 1 else key_file.with_name(f"{key_file.name}.{number}")


def fresh() -> bytes:
    """Return a new key."""
    while _looks_made_up(key := os.urandom(_LENGTH)):
        pass
    return key


def _link(path: Path, content: bytes) -> bool:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
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


def _looks_made_up(key: bytes) -> bool:
    # 32 random bytes hold about 30 different values, fewer than 16 once in 10^20
    # keys; all of them printable once in 10^13.
    return len(set(key)) < 16 or all(0x20 <= byte < 0x7F for byte in key)


def _credentials(directory: Path) -> dict[int, Path]:
    found = ((_CREDENTIAL.fullmatch(path.name), path) for path in directory.iterdir())
    return {int(match[1]): path for match, path in found if match}


def _systemd_creds(*arguments: str, key: bytes = b"") -> bytes:
    # The key goes through a pipe: never on a command line or into a file.
    try:
        done = subprocess.run(  # noqa: S603
            ["systemd-creds", *arguments],  # noqa: S607 - systemd's own, on root's PATH
            input=key,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", b"").decode(errors="replace").strip().splitlines()
        reason = told[-1] if told else type(error).__name__
        raise KeyRefused(
            Sentence(
                f"systemd-creds nu a reușit ({reason}); rulează comanda ca root, pe mașina pe "
                "care au fost făcute cheile.",
                f"systemd-creds failed ({reason}); run the command as root, on the machine where "
                "the keys were made",
            )
        ) from None
    return done.stdout


def _read(path: Path, *, credential: bool) -> bytes:
    try:
        # O_NONBLOCK: a FIFO in the key's place must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise _missing(path) from None
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
    return _content(path, key)


def _content(path: Path, key: bytes) -> bytes:
    if len(key) != _LENGTH:
        raise _refused(path, "nu are exact 32 de octeți", "does not have exactly 32 bytes")
    if _looks_made_up(key):
        raise _refused(path, "nu conține o cheie aleatoare", "holds no random key")
    return key


def _missing(path: Path) -> KeyRefused:
    return KeyRefused(
        Sentence(
            f"Cheia seifului lipsește ({path}). La un seif nou rulează „arhivar vault init”; la "
            "unul existent pune fișierul la loc sau rulează „arhivar vault recover”, cu foaia.",
            f"the vault's key is missing ({path}); for a new vault run `arhivar vault init`, for "
            "one that exists put the file back or run `arhivar vault recover` with the page",
        )
    )


def _refused(path: Path, ro: str, en: str) -> KeyRefused:
    return KeyRefused(
        Sentence(
            f"Cheia seifului nu poate fi folosită: {path} {ro}.",
            f"the vault's key cannot be used: {path} {en}",
        )
    )

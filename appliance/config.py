"""Settings: one frozen object, read once from TOML and the environment.

Every default is visible here. A wrong file is reported whole: `load()` raises
one `ConfigError` that names each problem. An environment variable
`ARHIVAR_<OPTION>` (upper case, dots as underscores: `ARHIVAR_WEB_PORT`)
overrides the file. No option holds a secret; secrets are files (see `vault`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Any, get_type_hints

from appliance.core.errors import ConfigError
from appliance.core.sentence import Sentence

DEFAULT_PATH = Path("/etc/arhivar/arhivar.toml")


@dataclass(frozen=True)
class Settings:
    """Every option of the appliance; a name `a_b` is `b` in the table `[a]` of the file."""

    data_dir: Path = Path("/var/lib/arhivar")
    """arhivar.db, queue.db, archive/, spool/ (design.md §7)."""
    vault_dir: Path = Path("/var/lib/arhivar-vault")
    """vault.db; only the vault's user enters."""
    vault_key_file: Path = Path("/var/lib/arhivar-vault/kek")
    """The key-encryption key when systemd gives no credential: 32 bytes, mode 0600."""
    run_dir: Path = Path("/run/arhivar")
    """enrol.sock and spv.sock; short, because a socket's path ends at 107 bytes."""
    language: str = "ro"
    """Language of a page before anybody logged in: ro or en."""
    single_user: bool = False
    """Every process stays under the user that started it; for the demo, never in production."""
    database_url: str = ""
    """Empty: SQLite at data_dir/arhivar.db."""

    web_host: str = "127.0.0.1"
    web_port: int = 8080
    web_url: str = "http://localhost:8080"
    """What people type; links, origins and cookies follow it."""
    dav_host: str = "127.0.0.1"
    dav_port: int = 8081
    dav_url: str = "http://localhost:8081"

    spv_oauth_url: str = "https://logincert.anaf.ro/anaf-oauth2/v1"
    spv_api_url: str = "https://api.anaf.ro"
    """Host root; the environment follows as a path (`/prod/FCTEL/rest/…`)."""
    spv_environment: str = "prod"
    spv_calls_per_minute: int = 1000
    """ANAF's ceiling for all calls together (limiteApeluriAPI); 0: no limit, for benchmarks."""
    spv_extra_certificates: Path | None = None
    """A directory of further pinned signing certificates (PEM), beside those shipped."""

    sync_workers: int = 8
    """Messages downloaded and filed at once; enough for ANAF's ceiling at half a second a call."""
    sync_pdf_workers: int = 2
    """Long-lived processes that render PDFs."""
    sync_fetch_every_hours: int = 24

    mail_host: str = ""
    """The firm's mail server; while it is empty, mails wait in the outbox."""
    mail_port: int = 587
    mail_security: str = "starttls"
    """starttls, tls (from the first byte, usually port 465) or none."""
    mail_user: str = ""
    mail_password_file: Path | None = None
    """Mode 0600. Without it systemd's credential `mail-password`, when there is a user."""
    mail_from: str = ""
    """The sender's address; people see the firm's name beside it."""

    @property
    def database_path(self) -> Path:
        return self.data_dir / "arhivar.db"

    @property
    def queue_path(self) -> Path:
        return self.data_dir / "queue.db"

    @property
    def archive_dir(self) -> Path:
        return self.data_dir / "archive"

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"

    @property
    def enrol_socket(self) -> Path:
        return self.run_dir / "enrol.sock"

    @property
    def spv_socket(self) -> Path:
        return self.run_dir / "spv.sock"


_TABLES = ("web", "dav", "spv", "sync", "mail", "vault", "database")
_TYPES = get_type_hints(Settings)
_SECURITY = ("none", "starttls", "tls")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the file (`ARHIVAR_CONFIG`, else the default place) and environment.

    A default file that is absent is an empty one; a file that was named must
    exist. Raises `ConfigError` listing every unknown option and wrong value.
    """
    named = path or (Path(environ["ARHIVAR_CONFIG"]) if "ARHIVAR_CONFIG" in environ else None)
    problems: list[str] = []
    values = _read(named or DEFAULT_PATH, must_exist=named is not None, problems=problems)
    names = {field.name for field in fields(Settings)}
    problems += [f"unknown option {name!r}" for name in sorted(values.keys() - names)]
    for name in names:
        variable = f"ARHIVAR_{name.upper()}"
        if variable in environ:
            values[name] = environ[variable]
    accepted: dict[str, Any] = {}
    for name in sorted(values.keys() & names):
        try:
            accepted[name] = _convert(name, values[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
    problems += _mail_problems(Settings(**accepted))
    if problems:
        source = named or DEFAULT_PATH
        raise ConfigError(
            Sentence(
                f"Configurația nu poate fi folosită ({source}): {'; '.join(problems)}.",
                f"the configuration cannot be used ({source}): {'; '.join(problems)}",
            )
        )
    return Settings(**accepted)


def dump(settings: Settings) -> str:
    """Return the TOML that `load()` reads back to the same settings."""
    tables: dict[str, list[str]] = {"": []}
    defaults = Settings()
    for field in fields(Settings):
        value = getattr(settings, field.name)
        if value is None or value == getattr(defaults, field.name):
            continue
        table, option = _split(field.name)
        text = str(value).lower() if isinstance(value, int) else _quote(str(value))
        tables.setdefault(table, []).append(f"{option} = {text}")
    lines = tables.pop("")
    for table, options in tables.items():
        lines += ["", f"[{table}]", *options]
    return "\n".join(lines) + "\n"


def _is_address(text: str) -> bool:
    try:
        address = Address(addr_spec=text)
    except (ValueError, IndexError, MessageError):
        return False
    return bool(address.username and address.domain)


def _mail_problems(settings: Settings) -> list[str]:
    """Say what does not fit together in the table `[mail]`."""
    problems = []
    if settings.mail_host and not settings.mail_from:
        problems.append("mail_from: is needed with mail_host")
    plain = settings.mail_security == "none" and settings.mail_host not in _THIS_MACHINE
    if settings.mail_user and plain:
        problems.append("mail_security: none would send the password to another machine as it is")
    return problems


def _split(name: str) -> tuple[str, str]:
    table, _, option = name.partition("_")
    return (table, option) if table in _TABLES else ("", name)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _read(path: Path, *, must_exist: bool, problems: list[str]) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            problems.append("the file does not exist")
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"the file cannot be read: {error}")
        return {}
    values: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            values |= {f"{name}_{option}": inner for option, inner in value.items()}
        else:
            values[name] = value
    return values


def _convert(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    if kind is bool:
        if value in (True, "true"):
            return True
        if value in (False, "false"):
            return False
        raise ValueError(f"{value!r} is neither true nor false")
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f"{value!r} is not a whole number")
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number") from None
        if number < 0:
            raise ValueError(f"{number} is negative")
        if name.endswith("_port") and not 1 <= number <= 65535:
            raise ValueError(f"{number} is not a port (1 to 65535)")
        return number
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    if name == "language" and value not in ("ro", "en"):
        raise ValueError(f"{value!r} is neither ro nor en")
    if name == "mail_security" and value not in _SECURITY:
        raise ValueError(f"{value!r} is none of {', '.join(_SECURITY)}")
    if name in ("mail_from", "mail_user") and not value.isascii():
        raise ValueError(f"{value!r} is not ASCII")
    if name == "mail_from" and value and not _is_address(value):
        raise ValueError(f"{value!r} is no e-mail address")
    if name.endswith("_url") and value and "://" not in value:
        raise ValueError(f"{value!r} is not a URL")
    return Path(value) if kind is not str else value

"""`arhivar vault status`: keys, their safety copy, and the grants, on one screen."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from appliance.config import Settings
from appliance.core import chain, counts
from appliance.core.sentence import Sentence
from appliance.core.times import BUCHAREST, from_text
from appliance.vault import access, keys, recovery
from appliance.vault.application import Registration
from appliance.vault.commands import Credentials, Say, speaker
from appliance.vault.envelope import Keyring, key_id, key_id_of
from appliance.vault.errors import RecoveryRefused
from appliance.vault.grants import Grants
from appliance.vault.journal import Journal
from appliance.vault.recovery import Recovery
from appliance.vault.tokens import Tokens

A_YEAR = 365

_STATES = {
    "active": ("active", "active"),
    "needs_authorisation": ("de autorizat din nou", "need authorisation"),
    "revoked": ("retrase", "revoked"),
}


@dataclass(frozen=True)
class Overview:
    """What the vault says of itself, and what lies beside it."""

    running: bool
    held: Mapping[int, bytes]
    status: Mapping[str, Any]
    recovery: Recovery | None
    recovery_problem: Sentence | None
    journals: frozenset[bytes]  # key ids of the answers that wait for the database
    breaks: tuple[chain.Break, ...]


def look(settings: Settings, credentials: Credentials) -> Overview:
    """Return the state of the vault, whether it runs or not; nothing in it is written."""
    held = access.held_keys(settings, credentials)
    directory = settings.vault_dir
    status = access.ask(settings, "GET", "/status")
    running = status is not None
    home = access.installation(directory)
    if status is None:
        database = access.looked_at(directory, Keyring(held))
        with closing(database):
            registration, tokens = Registration(database), Tokens(database, directory)
            status = Grants(database, registration, tokens).status()
    found, problem = None, None
    try:
        found = recovery.load(directory)
        if found is not None:
            found.check(home, held, access.last_page(directory))
    except RecoveryRefused as error:
        problem = error.sentence
    journals = Journal(directory)
    waiting = [body for _, _, body in journals.read() + journals.unfinished()]
    return Overview(
        running,
        held,
        status,
        found,
        problem,
        frozenset(map(key_id_of, waiting)),
        tuple(audit_breaks(directory)),
    )


def audit_breaks(directory: Path) -> list[chain.Break]:
    """Return every break of the vault's own chain; a file that cannot be read is one as well."""
    uri = f"{(directory / 'vault.db').resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            # As blobs with their types: a value that is no text must not end the walk.
            return list(
                chain.find_breaks(
                    connection.execute(
                        "SELECT CASE WHEN typeof(seq) = 'integer' THEN seq END, "
                        "CASE WHEN typeof(body) = 'blob' THEN body END, "
                        "CASE WHEN typeof(head) = 'blob' THEN head END FROM audit ORDER BY seq"
                    )
                )
            )
    except sqlite3.Error as error:
        sentence = Sentence(
            f"Jurnalul seifului nu poate fi citit până la capăt ({error}). Restaurează seiful din "
            "copia de siguranță.",
            f"the vault's log cannot be read to its end ({error}); restore the vault from a backup",
        )
        return [chain.Break(None, "unreadable", sentence)]


def status(settings: Settings, credentials: Credentials, language: str) -> int:
    """Print the state of the vault; 1 when something in it asks for a person."""
    say = speaker(language)
    seen = look(settings, credentials)
    console = Console(highlight=False)
    console.print(
        say("Seiful rulează.", "The vault is running.")
        if seen.running
        else say("Seiful este oprit.", "The vault is stopped."),
        style="bold",
    )
    console.print()
    console.print(_keys_table(seen, say, language))
    console.print()
    _print_grants(console, seen, say, language)
    problems = _problems(seen, say)
    for hint in _hints(seen, say, places(settings, credentials, removable(seen))):
        console.print(hint, soft_wrap=True)
    for problem in problems:
        console.print(problem, style="bold red", soft_wrap=True)
    return int(bool(problems))


def removable(seen: Overview) -> list[int]:
    """Return the generations that seal nothing here any more."""
    newest = key_id(seen.held[max(seen.held)])
    records = {one["key_id"]: one["records"] for one in seen.status["keys"]}
    in_use = newest.hex() in records
    return [
        number
        for number, key in sorted(seen.held.items())
        if in_use
        and key_id(key) != newest
        and not records.get(key_id(key).hex())
        and key_id(key) not in seen.journals
    ]


def places(settings: Settings, credentials: Credentials, numbers: list[int]) -> list[Path]:
    """Return where the keys of these generations lie."""
    if credentials:
        return [keys.CREDSTORE / f"vault-kek.{number}" for number in numbers]
    return [keys.file_of(settings.vault_key_file, number) for number in numbers]


def _keys_table(seen: Overview, say: Say, language: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(say("nr.", "no."), justify="right")
    table.add_column(say("cheia", "key"))
    table.add_column(say("din", "since"))
    table.add_column(say("vechime", "age"), justify="right")
    table.add_column(say("înreg.", "records"), justify="right")
    table.add_column(say("foaie", "paper"))
    table.add_column("")
    known = {one["key_id"]: one for one in seen.status["keys"]}
    held = {number: key_id(key).hex() for number, key in sorted(seen.held.items())}
    gone = [identifier for identifier in known if identifier not in held.values()]
    rows: list[tuple[int | None, str]] = [(None, identifier) for identifier in gone]
    rows += held.items()
    seals = max((number for number, identifier in held.items() if identifier in known), default=0)
    free = removable(seen)
    for number, identifier in rows:
        used = known.get(identifier)
        if number is None:
            note = say("nu mai este aici", "not here any more")
        elif used is None:
            note = say("așteaptă repornirea", "waits for the restart")
        elif number == seals:
            note = say("sigilează", "seals")
        elif number in free:
            note = say("poate fi scoasă*", "may be removed*")
        else:
            note = say("arhivar vault rewrap", "arhivar vault rewrap")
        table.add_row(
            "–" if number is None else str(number),
            identifier,
            _date(used["created_at"], language) if used else "–",
            _age(used["created_at"], language) if used else "–",
            counts.grouped(used["records"] if used else 0, language),
            "" if number is None else _sealed(seen, number, say),
            note,
        )
    return table


def _sealed(seen: Overview, number: int, say: Say) -> str:
    sealed = seen.recovery is not None and seen.recovery.vouched_for(number, seen.held[number])
    return say("da", "yes") if sealed else say("NU", "NO")


def _print_grants(console: Console, seen: Overview, say: Say, language: str) -> None:
    application = seen.status["application"]
    console.print(
        say("Aplicația ANAF: ", "ANAF application: ")
        + (application["client_id"] if application else say("nesetată", "not set"))
    )
    grants = seen.status["grants"]
    if not grants:
        console.print(say("Autorizări SPV: niciuna", "SPV authorisations: none"))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(say("autorizări SPV", "SPV authorisations"))
    table.add_column("", justify="right")
    table.add_column(say("prima reînnoire", "next renewal"))
    table.add_column(say("ultima zi", "last day"))
    for state, words in _STATES.items():
        these = [grant for grant in grants if grant["state"] == state]
        if not these:
            continue
        renewals = [grant["renew_at"] for grant in these if grant["renew_at"]]
        last = [grant["refresh_expires_at"] for grant in these if state != "revoked"]
        table.add_row(
            say(*words),
            counts.grouped(len(these), language),
            _date(min(renewals), language) if renewals else "–",
            _date(min(last), language) if last else "–",
        )
    console.print(table)


def _hints(seen: Overview, say: Say, removable_places: list[Path]) -> list[str]:
    hints = []
    if removable_places:
        names = ", ".join(map(str, removable_places))
        hints.append(
            say(
                f"* {names}: numai după ce nu mai există nicio copie de siguranță care o cere",
                f"* {names}: only when no backup that needs it exists any more",
            )
        )
    newest = next((one for one in seen.status["keys"] if one["newest"]), None)
    if newest is not None and _days(newest["created_at"]) > A_YEAR:
        hints.append(
            say(
                "Cheia are peste un an; schimb-o cu „arhivar vault rotate”.",
                "The key is more than a year old; change it with `arhivar vault rotate`.",
            )
        )
    if seen.recovery is not None and seen.recovery_problem is None:
        hints.append(
            say(
                f"Cheia de recuperare: amprenta {seen.recovery.fingerprint}",
                f"recovery key: fingerprint {seen.recovery.fingerprint}",
            )
        )
    return hints


def _problems(seen: Overview, say: Say) -> list[str]:
    problems = [say(*found.sentence) for found in seen.breaks]
    if seen.recovery_problem is not None:
        problems.append(say(*seen.recovery_problem))
    elif seen.recovery is None:
        problems.append(
            say(
                "Nu există cheie de recuperare: dacă mașina se strică, nicio copie de siguranță "
                "nu deschide seiful. Rulează „arhivar vault init”.",
                "There is no recovery key: if this machine breaks, no backup opens the vault. "
                "Run `arhivar vault init`.",
            )
        )
    return problems


def _date(text: str, language: str) -> str:
    day = from_text(text).astimezone(BUCHAREST)
    return day.strftime("%d.%m.%Y" if language == "ro" else "%Y-%m-%d")


def _days(text: str) -> int:
    return max(0, (datetime.now(UTC) - from_text(text)).days)


def _age(text: str, language: str) -> str:
    days = _days(text)
    if language == "ro":
        return counts.romanian(days, "o zi", "zile")
    return counts.english(days, "day")

"""`arhivar vault init | rotate | rewrap | recover`: the life of the keys.

Each returns the exit code and prints for a person; `say` speaks his language.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from appliance.config import Settings
from appliance.core import counts
from appliance.core.sentence import Sentence
from appliance.vault import access, keys, recovery
from appliance.vault.database import Database
from appliance.vault.envelope import Keyring, Purpose, key_id
from appliance.vault.errors import KeyRefused, RecoveryRefused, SealBroken
from appliance.vault.paper import Page
from appliance.vault.recovery import Recovery
from appliance.vault.rewrapping import Rewrapped, rewrap
from appliance.vault.server import only_one

Say = Callable[[str, str], str]
Credentials = Mapping[int, bytes] | None

_NEXT = (
    "Urmează: 1. repornește serviciul arhivar-vault   2. arhivar vault rewrap",
    "Next: 1. restart the service arhivar-vault   2. arhivar vault rewrap",
)


def speaker(language: str) -> Say:
    return lambda ro, en: ro if language == "ro" else en


def init(
    settings: Settings,
    credentials: Credentials,
    language: str,
    *,
    replace: bool,
    copied: Callable[[str], bool],
) -> int:
    """Make the vault's key when absent, and a recovery key for the safe.

    The page is printed once. Only when `copied(page)` says that a person holds it
    is anything of it stored; before that a kill leaves nothing of it. A recovery
    key that is there stays, unless `replace`.
    """
    say = speaker(language)
    access.tidy(settings)
    if not credentials and not any(
        map(os.path.lexists, keys.files(settings.vault_key_file).values())
    ):
        keys.make_first(settings.vault_key_file, settings.vault_dir)
        click.echo(
            say(
                f"Cheia seifului a fost făcută: {settings.vault_key_file}",
                f"the vault's key was made: {settings.vault_key_file}",
            )
        )
    held = access.held_keys(settings, credentials)
    database = access.open_beside(settings, held)
    try:
        if not replace and (current := recovery.load(settings.vault_dir)) is not None:
            current.check(database.installation, held, access.last_page(settings.vault_dir))
            click.echo(
                say(
                    f"Cheia de recuperare există deja (amprenta {current.fingerprint}); dacă "
                    "foaia s-a pierdut, rulează „arhivar vault init --replace”.",
                    f"there is a recovery key already (fingerprint {current.fingerprint}); "
                    "if the page is lost, run `arhivar vault init --replace`",
                )
            )
            return 0
        at = access.now()
        paper_key = os.urandom(32)
        made = Recovery(database.installation, recovery.public_half(paper_key), at)
        page = Page(paper_key, made.fingerprint, made.installation.hex(), settings.web_url, at)
        click.echo(page.text(language))
        if not copied(page.last_group):
            click.echo(say("Nu a fost păstrat nimic.", "nothing was kept"), err=True)
            return 2
        for generation, key in held.items():
            made = made.with_key(generation, key)
        with database.transaction():
            database.append(
                "recovery:set",
                "command",
                made.fingerprint,
                {"generations": list(held)},
                at=at,
            )
        # After the chain: a kill in between leaves a page that nothing is sealed to, and
        # the next call makes another.
        recovery.save(settings.vault_dir, made)
    finally:
        database.close()
    click.echo(
        say(
            f"Cheile seifului ({_generations(held, 'ro')}) sunt sigilate către foaie; "
            "recovery.json intră în copia de siguranță.",
            f"the vault's keys ({_generations(held, 'en')}) are sealed to the page; "
            "recovery.json belongs into the backup",
        )
    )
    return 0


def rotate(settings: Settings, credentials: Credentials, language: str, key: bytes) -> int:
    """Add `key` as the next generation: sealed to the recovery key first, then kept.

    Where systemd keeps the keys, the caller, who is root, gives it the key
    afterwards. A kill in between leaves a sealed key that nobody holds; the next
    call replaces it. Refused while the generation before is not in use alone.
    """
    say = speaker(language)
    access.tidy(settings)
    held = access.held_keys(settings, credentials)
    number = max(held) + 1
    database = access.open_beside(settings, held)
    try:
        _refuse_to_pile_up(settings, held)
        found = recovery.load(settings.vault_dir)
        if found is not None:
            found.check(database.installation, held, access.last_page(settings.vault_dir))
        with database.transaction():
            database.append(
                "key:add",
                "command",
                key_id(key).hex(),
                {"generation": number, "recovery": found.fingerprint if found else ""},
                at=access.now(),
            )
            if found is not None:
                recovery.save(settings.vault_dir, found.with_key(number, key))
    finally:
        database.close()
    if found is not None:
        click.echo(
            say(
                f"Cheia cea nouă este sigilată către foaia cu amprenta {found.fingerprint}.",
                f"the new key is sealed to the page with the fingerprint {found.fingerprint}",
            )
        )
    else:
        Console(stderr=True, highlight=False).print(
            say(
                "ATENȚIE: nu există cheie de recuperare. Dacă mașina se strică, nicio copie de "
                "siguranță nu mai deschide legăturile SPV. Rulează „arhivar vault init”.",
                "WARNING: there is no recovery key. If this machine breaks, no backup opens the "
                "connections to SPV. Run `arhivar vault init`.",
            ),
            style="bold red",
            soft_wrap=True,
        )
    if not credentials:
        keys.create(keys.file_of(settings.vault_key_file, number), key)
        tell_rotated(language, number, keys.file_of(settings.vault_key_file, number))
    return 0


def tell_rotated(language: str, number: int, place: Path) -> None:
    """Say where the new generation is and what comes next."""
    say = speaker(language)
    click.echo(
        say(
            f"Generația {number} a cheii a fost adăugată: {place}",
            f"generation {number} of the key was added: {place}",
        )
    )
    if place.parent == keys.CREDSTORE:
        click.echo(
            say(
                f"Adaugă în serviciul arhivar-vault linia LoadCredentialEncrypted={place.name} "
                "(systemctl edit arhivar-vault), dacă nu este.",
                f"Add the line LoadCredentialEncrypted={place.name} to the service arhivar-vault "
                "(systemctl edit arhivar-vault) unless it is there.",
            )
        )
    click.echo(say(*_NEXT))


def rewrap_all(settings: Settings, credentials: Credentials, language: str) -> int:
    """Put every record under the newest key, by the running vault or else here.

    Returns 1 when records are left that do not open.
    """
    say = speaker(language)
    held = access.held_keys(settings, credentials)
    status = access.ask(settings, "GET", "/status")
    if status is not None:
        newest = [one["key_id"] for one in status["keys"] if one["newest"]]
        if newest != [key_id(held[max(held)]).hex()]:
            raise KeyRefused(
                Sentence(
                    "Seiful care rulează nu are încă cheia cea nouă; repornește serviciul "
                    "arhivar-vault, apoi rulează din nou „arhivar vault rewrap”.",
                    "the running vault does not hold the newest key yet; restart the service "
                    "arhivar-vault, then run `arhivar vault rewrap` again",
                )
            )

        def batch() -> Rewrapped:
            answer = access.ask(settings, "POST", "/keys/rewrap")
            if answer is None:
                raise _stopped_meanwhile()
            return Rewrapped(int(answer["rewrapped"]), int(answer["left"]))

        done = _watch(batch, say)
    elif not (settings.vault_dir / "vault.db").exists():
        raise access.no_vault(settings.vault_dir)
    else:
        with only_one(settings.vault_dir):
            database = access.opened(settings.vault_dir, Keyring(held))
            try:
                done = _watch(lambda: asyncio.run(rewrap(database, access.now)), say)
            finally:
                database.close()
    click.echo(
        say(
            f"{counts.romanian(done.rewrapped, 'o înregistrare', 'înregistrări')} sub cheia cea "
            "nouă.",
            f"{counts.english(done.rewrapped, 'record')} put under the newest key",
        )
        if done.rewrapped
        else say("Nu era nimic de făcut.", "there was nothing to do")
    )
    if done.left:
        click.echo(
            say(
                f"Nu se deschid și au rămas cum erau: {done.left}; retrage în portal autorizările "
                "respective și cere-le din nou.",
                f"do not open and stay as they were: {done.left}; "
                "revoke those authorisations in the portal and ask for them again",
            ),
            err=True,
        )
    return int(bool(done.left))


def recover(settings: Settings, language: str, read_key: Callable[[], bytes]) -> int:
    """Write the key files again from recovery.json and the page; a second run changes nothing.

    Before a key is written it has opened what vault.db holds. Raises
    `RecoveryRefused` for another page, another installation, and a different key
    in the place; returns 1 when some records do not open.
    """
    say = speaker(language)
    directory = settings.vault_dir
    access.tidy(settings)
    with only_one(directory):
        home = access.installation(directory)
        if not (directory / "shred.db").exists():
            raise RecoveryRefused(
                Sentence(
                    f"Lipsește {directory / 'shred.db'}, fără de care nimic nu se deschide; "
                    "pune-l la loc din copia de siguranță.",
                    f"{directory / 'shred.db'} is missing, without which nothing opens; "
                    "put it back from the backup",
                )
            )
        found = recovery.load(directory)
        if found is None:
            raise RecoveryRefused(
                Sentence(
                    f"Lipsește {directory / recovery.NAME}; pune-l la loc din copia de siguranță.",
                    f"{directory / recovery.NAME} is missing; put it back from the backup",
                )
            )
        if found.installation != home:
            raise recovery.another_installation()
        _refuse_other_keys(settings, found)
        recovered = found.open(read_key())
        missing = {
            identifier for identifier, records in access.used_keys(directory).items() if records
        } - set(map(key_id, recovered.values()))
        if missing:
            raise RecoveryRefused(
                Sentence(
                    "recovery.json este mai vechi decât vault.db: cheia "
                    f"{min(missing).hex()} lipsește din el; pune la loc amândouă fișierele din "
                    "aceeași copie de siguranță.",
                    f"recovery.json is older than vault.db: it lacks the key {min(missing).hex()}; "
                    "put both files back from the same backup",
                )
            )
        recovery.save(directory, found)  # as ours again, whoever restored it
        database = access.opened(directory, Keyring(recovered))
        try:
            opened, broken = _try_records(database)
            if broken and not opened:
                raise RecoveryRefused(
                    Sentence(
                        "Nicio înregistrare din vault.db nu se deschide: shred.db nu este din "
                        "aceeași copie de siguranță; pune la loc amândouă fișierele.",
                        "no record of vault.db opens: shred.db is not from the same backup; "
                        "put both files back",
                    )
                )
            for generation, key in recovered.items():
                keys.create(keys.file_of(settings.vault_key_file, generation), key)
            with database.transaction():
                database.append(
                    "recovery:use",
                    "command",
                    found.fingerprint,
                    {"generations": list(recovered)},
                    at=access.now(),
                )
        finally:
            database.close()
    click.echo(
        say(
            f"Cheile seifului ({_generations(recovered, 'ro')}) sunt la loc în "
            f"{settings.vault_key_file.parent}; se deschid "
            f"{counts.romanian(opened, 'o înregistrare', 'înregistrări')}.",
            f"the vault's keys ({_generations(recovered, 'en')}) are back in "
            f"{settings.vault_key_file.parent}; {counts.english(opened, 'record')} can be opened",
        )
    )
    if broken:
        click.echo(
            say(
                f"Nu se deschid: {broken}; acei titulari trebuie să autorizeze din nou.",
                f"do not open: {broken}; those holders have to authorise again",
            ),
            err=True,
        )
    click.echo(
        say("Urmează: pornește serviciul arhivar-vault.", "Next: start the service arhivar-vault.")
    )
    return int(bool(broken))


def key_elsewhere() -> RecoveryRefused:
    return RecoveryRefused(
        Sentence(
            f"În {keys.CREDSTORE} sunt deja chei ale seifului; mută vault-kek.* de acolo, apoi "
            "rulează din nou.",
            f"{keys.CREDSTORE} holds keys of the vault already; move vault-kek.* away, "
            "then run again",
        )
    )


def _refuse_to_pile_up(settings: Settings, held: Mapping[int, bytes]) -> None:
    newest = key_id(held[max(held)])
    used = access.used_keys(settings.vault_dir)
    if newest not in used:
        raise KeyRefused(
            Sentence(
                f"Generația {max(held)} a cheii așteaptă deja; repornește serviciul arhivar-vault, "
                "apoi rulează „arhivar vault rewrap”.",
                f"generation {max(held)} of the key is waiting already; restart the service "
                "arhivar-vault, then run `arhivar vault rewrap`",
            )
        )
    if any(records for identifier, records in used.items() if identifier != newest):
        database = access.looked_at(settings.vault_dir, Keyring(held))
        try:
            # What does not open will not be rewrapped either.
            waiting = any(_opens(database, *record) for record in database.outdated())
        finally:
            database.close()
        if waiting:
            raise KeyRefused(
                Sentence(
                    "Mai sunt înregistrări sub cheia dinainte; rulează întâi „arhivar vault "
                    "rewrap”.",
                    "there are records under the key before; run `arhivar vault rewrap` first",
                )
            )


def _refuse_other_keys(settings: Settings, found: Recovery) -> None:
    expected = {one.generation: one.key_id for one in found.keys}
    for generation, path in keys.files(settings.vault_key_file).items():
        if os.path.lexists(path) and (
            not path.is_file() or key_id(path.read_bytes()) != expected.get(generation)
        ):
            raise RecoveryRefused(
                Sentence(
                    f"{path} este altă cheie decât cea din copia de siguranță; mut-o de acolo, "
                    "apoi rulează din nou.",
                    f"{path} is another key than the backup's; move it away, then run again",
                )
            )


def _try_records(database: Database) -> tuple[int, int]:
    opened = broken = 0
    for subject, purpose in database.durable.execute(
        "SELECT subject, purpose FROM record"
    ).fetchall():
        if _opens(database, subject, purpose):
            opened += 1
        else:
            broken += 1
    return opened, broken


def _opens(database: Database, subject: bytes, purpose: int) -> bool:
    try:
        return database.get(subject, Purpose(purpose)) is not None
    except (SealBroken, ValueError):
        return False


def _watch(batch: Callable[[], Rewrapped], say: Say) -> Rewrapped:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(say("înregistrări", "records"), total=None)
        total = 0
        while True:
            done = batch()
            total += done.rewrapped
            progress.update(task, total=total + done.left, completed=total)
            if not done.rewrapped or not done.left:
                return Rewrapped(total, done.left)


def _generations(held: Mapping[int, bytes], language: str) -> str:
    word = "generația" if language == "ro" else "generation"
    return ", ".join(f"{word} {number}: {key_id(key).hex()}" for number, key in held.items())


def _stopped_meanwhile() -> KeyRefused:
    return KeyRefused(
        Sentence(
            "Seiful s-a oprit între timp; rulează din nou „arhivar vault rewrap”, care continuă de "
            "unde a rămas.",
            "the vault stopped meanwhile; run `arhivar vault rewrap` again, it goes on from there",
        )
    )

"""`arhivar vault …`: the commands of the vault's keys, as the vault's user."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from appliance import command
from appliance.core.sentence import Sentence

if TYPE_CHECKING:
    from appliance.config import Settings


def make_key(settings: Settings) -> None:
    """Make the key file, and give it to the vault's user, unless systemd provides the key.

    A key that is there is kept; a run that was cut off is simply run again.
    """
    from appliance.vault import keys

    if keys.in_credstore():
        return
    keys.make_first(settings.vault_key_file, settings.vault_dir)
    _give(settings, [settings.vault_key_file.parent, settings.vault_key_file])


def has_recovery_key(settings: Settings) -> bool:
    """Tell whether there is a page in a safe, as far as we may look."""
    from appliance.vault import recovery

    return os.access(settings.vault_dir, os.X_OK) and (settings.vault_dir / recovery.NAME).exists()


def verify_chain(settings: Settings) -> int:
    """Print every break of the vault's chain; 1 when there is one, 0 where no vault is ours."""
    from appliance.vault import overview

    if not os.access(settings.vault_dir / "vault.db", os.R_OK):
        return 0
    breaks = overview.audit_breaks(settings.vault_dir)
    for found in breaks:
        click.echo(found.sentence.in_language(command.terminal_language()))
    if not breaks:
        click.echo("the vault's chain is whole")
    return int(bool(breaks))


@click.command("init")
@click.option("--yes", is_flag=True, help="Take it for copied; for scripts.")
@click.option("--replace", is_flag=True, help="Make a new page, because the old one is lost.")
def init(yes: bool, replace: bool) -> int:
    """Make the key, and its page for the safe.

    A key and a page that are there stay. The page is shown once; with it and a
    backup, `arhivar vault recover` brings everything back on a new machine.
    """
    from appliance.vault import access, commands

    settings = command.load_settings()
    settings.vault_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.vault_key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _give(settings, [settings.vault_dir, settings.vault_key_file.parent])
    with access.alone(settings.vault_dir):
        credentials = _become_the_vault(settings)
        return commands.init(
            settings,
            credentials,
            command.terminal_language(),
            replace=replace,
            copied=(lambda _: True) if yes else _copied,
        )


@click.command("status")
def status() -> int:
    """Show keys, safety copy and grants.

    Exit 1 when something asks for a person: no page, a page or a log that does not fit.
    """
    from appliance.vault import overview

    settings = command.load_settings()
    credentials = _become_the_vault(settings)
    return overview.status(settings, credentials, command.terminal_language())


@click.command("rotate")
def rotate() -> int:
    """Add a new generation of the key.

    Then restart the service arhivar-vault and run `arhivar vault rewrap`.
    """
    from appliance.vault import access, commands, keys

    settings = command.load_settings()
    language = command.terminal_language()
    with access.alone(settings.vault_dir):
        if not (credentials := _credentials(settings)):
            command.settings_as("vault")
            return commands.rotate(settings, None, language, keys.fresh())
        key = keys.fresh()
        code = command.in_child_as(
            "vault",
            settings.single_user,
            lambda: commands.rotate(settings, credentials, language, key),
        )
        if code == 0:
            number = max(credentials) + 1
            commands.tell_rotated(language, number, keys.add_to_credstore(number, key))
        return code


@click.command("rewrap")
def rewrap() -> int:
    """Put every record under the newest key.

    The vault may run or not. Broken off, the same command goes on where it was.
    """
    from appliance.vault import access, commands

    settings = command.load_settings()
    with access.alone(settings.vault_dir):
        credentials = _become_the_vault(settings)
        return commands.rewrap_all(settings, credentials, command.terminal_language())


@click.command("recover")
def recover() -> int:
    """Bring the keys back, from backup and page.

    The backup's vault.db, shred.db and recovery.json lie in the vault's directory,
    and the vault is stopped. Asks for the 18 groups of the page, or reads them
    from standard input.
    """
    from appliance.vault import access, commands, keys

    settings = command.load_settings()
    if not settings.single_user and keys.in_credstore():
        raise commands.key_elsewhere()
    if settings.vault_dir.is_dir():
        settings.vault_key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        restored = [path for path in settings.vault_dir.iterdir() if _is_plain(path)]
        _give(settings, [settings.vault_dir, settings.vault_key_file.parent, *restored])
    with access.alone(settings.vault_dir):
        _become_the_vault(settings)
        return commands.recover(settings, command.terminal_language(), _typed_key)


COMMANDS = (init, status, rotate, rewrap, recover)


def _credentials(settings: Settings) -> dict[int, bytes] | None:
    """Return the keys that systemd keeps, None when it keeps none; only root reads them."""
    from appliance.vault import keys

    if settings.single_user or os.geteuid() != 0 or not keys.in_credstore():
        return None
    return keys.decrypt_credstore()


def _become_the_vault(settings: Settings) -> dict[int, bytes] | None:
    credentials = _credentials(settings)
    command.settings_as("vault")
    return credentials


def _give(settings: Settings, paths: list[Path]) -> None:
    """Give the paths to the vault's user, when we are root and there is one."""
    if settings.single_user or os.geteuid() != 0:
        return
    import grp
    import pwd

    owner = command.OWNERS["vault"]
    with contextlib.suppress(KeyError):  # it does not exist: nobody drops to it either
        uid, gid = pwd.getpwnam(owner).pw_uid, grp.getgrnam(owner).gr_gid
        for path in paths:
            # What lies in the vault's directory may be a link that its user made.
            os.chown(path, uid, gid, follow_symlinks=path == settings.vault_dir)


def _is_plain(path: Path) -> bool:
    facts = path.lstat()
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1


def _copied(last_group: str) -> bool:
    from appliance.vault import paper

    ask = Sentence(
        "Copiaz-o sau tipărește-o acum: nu mai apare. Scrie ultimul grup al cheii (al 18-lea)",
        "Copy or print it now: it is not shown again. Type the last group of the key (the 18th)",
    ).in_language(command.terminal_language())
    wrong = Sentence(
        f"Nu este ultimul grup de pe foaie; uită-te la al {paper.GROUPS}-lea.",
        f"that is not the last group of the page; look at number {paper.GROUPS}",
    ).in_language(command.terminal_language())
    while True:
        try:
            typed = click.prompt(ask, err=True)
        except click.Abort:
            return False
        if paper.same(last_group, typed):
            break
        click.echo(wrong, err=True)
    if sys.stdout.isatty():
        click.echo("\x1b[3J\x1b[2J\x1b[H", nl=False)  # the page is not left in the window
    return True


def _typed_key() -> bytes:
    from appliance.vault import paper

    if not sys.stdin.isatty():
        return paper.read(sys.stdin.read(10_000))
    language = command.terminal_language()
    groups: list[str] = []
    while len(groups) < paper.GROUPS:
        ask = Sentence(
            f"Cheia de pe foaie, de la grupul {len(groups) + 1}",
            f"The key on the page, from group {len(groups) + 1}",
        )
        typed = paper.split(click.prompt(ask.in_language(language), err=True))
        wrong = paper.wrong_groups(typed, len(groups) + 1)
        if wrong:
            place = wrong[0] - len(groups) - 1
            told = paper.wrong_group(wrong[0], typed[place])
            click.echo(told.in_language(language), err=True)
            typed = typed[:place]
        groups += typed
    return paper.read(" ".join(groups))

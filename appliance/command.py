"""What the subcommands share: settings, language, and becoming the user that owns the data."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from appliance import config
from appliance.core.errors import ArhivarError

if TYPE_CHECKING:
    from appliance.config import Settings

# The owning user of each process (design.md §5); a root start drops to it.
OWNERS = {
    "web": "arhivar-web",
    "dav": "arhivar-dav",
    "sync": "arhivar-sync",
    "vault": "arhivar-vault",
}


def terminal_language() -> str:
    """Return `ro` when the terminal speaks Romanian, else `en`."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "ro" if value.startswith("ro") else "en"
    return "en"


def load_settings() -> Settings:
    """Return the settings of the file that the command line names, or of the default one."""
    return config.load(click.get_current_context().find_root().obj)


def settings_as(name: str) -> Settings:
    """Return the settings, and be the user of the process `name` from now on."""
    found = load_settings()
    if not found.single_user:
        drop_to(OWNERS[name])
    return found


def drop_to(user: str) -> None:
    """Become `user` for good when started by root and the user exists; otherwise do nothing.

    Groups follow the user database, so the process holds exactly the rights
    that design.md §5 gives it. Files are made group-writable where SQLite needs it.
    """
    os.umask(0o007)
    if os.geteuid() != 0:
        return
    import pwd

    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def in_child_as(name: str, single_user: bool, work: Callable[[], int]) -> int:
    """Return the exit code of `work`, done by a child as the user of `name`; we stay who we are."""
    if single_user or os.geteuid() != 0:
        return work()
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 2
    try:
        drop_to(OWNERS[name])
        code = work()
    except ArhivarError as error:
        show(error)
    except BaseException:  # the child's edge: it must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def show(error: ArhivarError) -> None:
    """Tell a person what went wrong, in one sentence."""
    click.echo(f"arhivar: {error.sentence.in_language(terminal_language())}", err=True)

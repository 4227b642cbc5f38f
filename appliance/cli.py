"""The `arhivar` command: thin, each subcommand calls one function of a room.

Exit codes: 0 fine, 1 found problems, 2 wrong use. An error for a person is one
sentence on standard error, in Romanian when the terminal's language is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance import __version__, cli_vault, config
from appliance.command import (
    OWNERS,
    in_child_as,
    load_settings,
    settings_as,
    show,
    terminal_language,
)
from appliance.core.errors import ArhivarError
from appliance.core.sentence import Sentence
from appliance.supervise import end_with_supervisor

if TYPE_CHECKING:
    from appliance.config import Settings
    from appliance.core.certificates import PinnedCertificate

PORT = click.IntRange(1, 65535)


def main() -> int:
    """Run the command; an `ArhivarError` becomes one sentence and exit code 2."""
    try:
        result = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except ArhivarError as error:
        show(error)
        return 2
    except BrokenPipeError:
        # Whoever reads us (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings file (default: $ARHIVAR_CONFIG, else /etc/arhivar/arhivar.toml).",
)
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def cli(context: click.Context, config_file: Path | None) -> None:
    """Arhivar: e-Factura from SPV to the archive, the client's phone and the accountant's drive."""
    context.obj = config_file


def _serve(name: str) -> None:
    settings = settings_as(name)
    end_with_supervisor()
    logging.basicConfig(level=logging.INFO, format=f"%(levelname)s {name}: %(message)s")
    # One line a request or a task says nothing that our own lines do not.
    for chatty in ("httpx", "huey"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    room = __import__(f"appliance.{name}", fromlist=["serve"])
    room.serve(settings)


def _process(name: str, help_text: str) -> Callable[[], None]:
    @cli.command(name, help=help_text)
    def run() -> None:
        _serve(name)

    return run


_process("web", "Run the portal.")
_process("dav", "Run the drive (WebDAV).")
_process("sync", "Run fetching, filing and rendering.")


@cli.group(invoke_without_command=True)
@click.pass_context
def vault(context: click.Context) -> None:
    """Run the token vault and SPV gateway, or, with a command, look after its keys."""
    if context.invoked_subcommand is None:
        _serve("vault")


for _command in cli_vault.COMMANDS:
    vault.add_command(_command)


@cli.command()
def serve() -> None:
    """Run all four processes on this machine, without nginx."""
    from appliance.demo import serve_all

    serve_all(load_settings(), click.get_current_context().find_root().obj)


@cli.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-data"))
@click.option("--portal-port", type=PORT, default=8080, show_default=True)
@click.option("--drive-port", type=PORT, default=8081, show_default=True)
@click.option("--spv-port", type=PORT, default=8082, show_default=True)
@click.option(
    "--invoices",
    type=click.IntRange(min=0),
    default=120,
    show_default=True,
    help="How many to make.",
)
@click.option(
    "--documents",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Real UBL files below this folder are served too, as messages of the first client.",
)
def demo(
    data: Path,
    portal_port: int,
    drive_port: int,
    spv_port: int,
    invoices: int,
    documents: Path | None,
) -> int:
    """Run everything with a simulated SPV, a firm, three clients and their people."""
    from appliance.demo import run_demo

    return run_demo(
        data,
        portal_port=portal_port,
        drive_port=drive_port,
        spv_port=spv_port,
        invoices=invoices,
        documents=documents,
    )


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8082, show_default=True)
@click.option("--invoices", type=click.IntRange(min=0), default=120, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--documents",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Real UBL files and ANAF zips below this folder are served too, byte for byte.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write address, client_id, client_secret, working tokens and CIFs here.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the signing certificate (PEM) here, so that a client can pin it.",
)
@click.option(
    "--state",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep key, messages and tokens here, so that a restart is the same SPV.",
)
@click.option(
    "--clients",
    type=click.IntRange(min=0),
    default=0,
    help="Load mode: so many clients share --invoices messages, worked out when asked for.",
)
@click.option(
    "--latency",
    type=click.IntRange(min=0),
    default=0,
    metavar="MS",
    help="Answer each call so many milliseconds later.",
)
@click.option(
    "--late-indexing",
    type=click.IntRange(min=0),
    default=0,
    metavar="MINUTES",
    help="List each message 0 to so many minutes after its data_creare (ANAF: 15).",
)
@click.option(
    "--faults",
    multiple=True,
    metavar="FILE|RULE",
    help="Let things go wrong: a JSON file with a list of rules, or one rule as key=value,…",
)
@click.option("--no-limits", is_flag=True, help="Count no calls: nothing is refused as too many.")
def simulator(**options: Any) -> None:
    """Run a fake SPV that behaves like ANAF's, for any client of it (docs/simulator.md).

    It serves ANAF's own paths below http://HOST:PORT: /anaf-oauth2/v1/ for authorize, token and
    revoke, /prod/FCTEL/rest/ for lists, downloads and uploads. Its world can be changed while it
    runs, by JSON to /simulator/: clock, messages, faults, latency, rights, indexing, oauth, limits.

    \b
    arhivar simulator --json spv.json --certificate spv.pem
    arhivar simulator --clients 500 --invoices 200000 --no-limits --latency 50
    arhivar simulator --faults kind=waf,probability=0.02 --faults kind=truncated,attempt=1

    A rule of --faults has a kind and conditions, all of which must hold. The same seed gives the
    same faults, in whatever order one asks.

    \b
    kind         what happens, see below
    path         regular expression found in the path (default: what the kind is about)
    cif, id      regular expressions of the CIF and of the id that is asked for
    nth          the n-th matching call; attempt: the n-th call for the same thing
    probability  0.02 is one call in fifty
    since,until  seconds after the start, by the simulator's clock
    times        at most so often (default: once, without a limit if any condition is given)
    seconds      how long what takes time takes

    \b
    answers      waf maintenance bad_gateway not_found_page error empty no_content too_many
                 too_many_retry unauthorized technical extra_brace expired expired_text no_right
                 nothing bad_token echo
    sending      cut slow late wrong_type invalid_json
    lists        numbers no_id foreign nameless_entry foreign_entry unknown_tip repeated growing few
    zips         truncated bad_crc one_member only_signature extra_member wrong_names other_id
                 tampered other_signature unknown_certificate test_form traversal bomb
    """
    from appliance import simulator as room

    end_with_supervisor()
    limits = room.Limits.none() if options.pop("no_limits") else None
    lateness = timedelta(minutes=options.pop("late_indexing"))
    room.serve(limits=limits, lateness=lateness, **options)


_certificates = click.option(
    "--certificate",
    "certificates",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Trust this signing certificate (PEM) too, beside those shipped, configured and added.",
)


def _pinned(files: tuple[Path, ...]) -> Mapping[str, PinnedCertificate]:
    """Return the trusted certificates. A default configuration that we may not read adds none."""
    from appliance.store.pinned import added_certificates, pinned_certificates

    chosen = click.get_current_context().find_root().obj
    named = chosen is not None or "ARHIVAR_CONFIG" in os.environ
    if not named and not os.access(config.DEFAULT_PATH, os.R_OK):
        chosen = Path(os.devnull)
    settings = config.load(chosen)
    pinned = pinned_certificates(settings.spv_extra_certificates, files)
    return {**added_certificates(settings.database_path), **pinned}


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, in order.")
@_certificates
def inspect(files: tuple[Path, ...], as_json: bool, certificates: tuple[Path, ...]) -> int:
    """Read UBL documents or ANAF zips and print what was understood."""
    from appliance.sync import inspect as room

    failed = False
    for result in room.inspect(files, terminal_language(), _pinned(certificates)):
        failed |= "error" in result
        if as_json:
            click.echo(json.dumps(result, ensure_ascii=False))
        else:
            room.print_human(result, language=terminal_language())
    return int(failed)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False))
@_certificates
def render(file: Path, output: Path, certificates: tuple[Path, ...]) -> None:
    """Set one invoice (XML or ANAF zip) as a PDF."""
    from appliance.sync.pdf.render import render_file

    render_file(file, output, pinned=_pinned(certificates))


@cli.command()
def migrate() -> None:
    """Create or upgrade the database; a second run does nothing."""
    from appliance.store.migrate import migrate as room

    _give_portal_key(load_settings())
    for name in room(settings_as("sync")):
        click.echo(f"applied {name}")


@cli.command()
@click.option("--firm", prompt="Firm", help="The accounting firm's name.")
@click.option("--email", prompt="Your e-mail", help="Of the first administrator.")
@click.option("--name", prompt="Your name", help="Of the first administrator.")
def init(firm: str, email: str, name: str) -> None:
    """First run: make the vault's key, database and firm; print the administrator's link."""
    from appliance.store.setup import first_run

    before = load_settings()
    cli_vault.make_key(before)
    _give_portal_key(before)
    safe = cli_vault.has_recovery_key(before)  # before we become a user who may not look
    settings = settings_as("sync")
    token = asyncio.run(first_run(settings, firm, email, name, datetime.now(UTC)))
    click.echo("Open this link within 24 hours and choose a password:")
    click.echo(f"{settings.web_url}/activate/{token}")
    if not safe:
        click.echo("Then make the recovery key for your safe: arhivar vault init")


def _give_portal_key(settings: Settings) -> None:
    """Let web and dav read the portal's key and nobody else; only root can."""
    import pwd

    from appliance.store.migrate import give_portal_key

    if settings.single_user or os.geteuid() != 0:
        return
    with contextlib.suppress(KeyError):  # the users do not exist: nobody drops to them either
        owner, group = pwd.getpwnam(OWNERS["web"]).pw_uid, pwd.getpwnam(OWNERS["dav"]).pw_gid
        give_portal_key(settings, owner, group)


@cli.command()
@click.option("--client", "cif", help="Only the client with this CIF.")
def fetch(cif: str | None) -> int:
    """Fetch from SPV now, and watch until everything listed is settled."""
    from appliance.sync.fetch import fetch_and_watch

    return asyncio.run(fetch_and_watch(settings_as("sync"), cif))


@cli.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--client", "cif", help="Only for the client with this CIF; without it each file's.")
@click.option(
    "--status",
    type=click.Choice(["pending", "approved", "archived"]),
    default="pending",
    show_default=True,
    help="What all of it comes in as; archived: recorded already, in the month of its date.",
)
def import_(path: Path, cif: str | None, status: str) -> int:
    """Import a folder or zip of ANAF zips and XML of earlier tools, anaf-sync's too."""
    from appliance.core.roles import Status
    from appliance.sync.hand_in import import_and_watch

    settings = settings_as("sync")
    chosen = Status(status)
    return asyncio.run(import_and_watch(settings, path, cif, chosen, terminal_language()))


@cli.command()
@click.option("--deep", is_flag=True, help="Hash every byte of the archive again.")
def check(deep: bool) -> int:
    """Compare the rows with the files, both ways; exit 1 when something is wrong."""
    from appliance.store import verify

    problems = verify.check(settings_as("sync"), deep=deep, at=datetime.now(UTC))
    for problem in problems:
        click.echo(
            f"{problem.kind} {problem.object}: {problem.sentence.in_language(terminal_language())}"
        )
    if not problems:
        click.echo("rows and files agree")
    return int(bool(problems))


@cli.command()
def reindex() -> int:
    """Rebuild missing rows from the archive; a row that exists is never touched."""
    from appliance.store import reindex as room

    report = asyncio.run(room.reindex(settings_as("sync"), at=datetime.now(UTC)))
    click.echo(
        f"brought back: {report.documents} documents ({report.undecided} to be decided again), "
        f"{report.notices} notices, {report.messages} messages, {report.clients} clients"
    )
    return _print_problems(report.problems)


@cli.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
def export(target: Path) -> int:
    """Write the drive's tree as plain folders into TARGET."""
    from appliance.store import export as room

    report = room.export(settings_as("sync"), target)
    click.echo(
        f"{report.folders} folders: {report.files} files written, {report.unchanged} there already"
    )
    return _print_problems(report.problems)


def _print_problems(problems: list[tuple[str, Sentence]]) -> int:
    for what, sentence in problems:
        click.echo(f"{what}: {sentence.in_language(terminal_language())}")
    return int(bool(problems))


@cli.command()
@click.option("--client", "cif", help="All PDFs of the client with this CIF.")
@click.option("--all", "everything", is_flag=True, help="All PDFs of everybody.")
@click.option("--no-wait", is_flag=True, help="Do not watch until they are made.")
def rerender(cif: str | None, everything: bool, no_wait: bool) -> int:
    """Make PDFs again: all, one client's or, without an option, those that are missing.

    Broken off, the same command goes on where it was.
    """
    from appliance.sync.rerender import rerender as room

    if cif is not None and everything:
        raise click.UsageError("--client and --all exclude each other")
    return asyncio.run(room(settings_as("sync"), cif, everything=everything, wait=not no_wait))


@cli.group()
def certificate() -> None:
    """The signing certificates that are trusted here."""


@certificate.command("add")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def certificate_add(file: Path) -> None:
    """Trust the certificate in FILE (PEM), and judge again what it signed."""
    from appliance.sync import trust

    data = file.read_bytes()  # before we become a user who may not
    asyncio.run(trust.add(settings_as("sync"), data))


@certificate.command("list")
def certificate_list() -> None:
    """Which certificates are trusted, which are not, and how many documents each signed."""
    from appliance.sync import trust

    asyncio.run(trust.print_list(settings_as("sync")))


@cli.group()
def audit() -> None:
    """The append-only record of every change."""


@audit.command("verify")
def audit_verify() -> int:
    """Recompute the chain, and the vault's own; exit 1 and name every break."""
    from appliance.store import audit as room
    from appliance.store import decisions

    before = load_settings()
    vaults = in_child_as("vault", before.single_user, lambda: cli_vault.verify_chain(before))
    settings = settings_as("sync")
    breaks = room.verify(settings.database_path, anchors=decisions.anchors(settings.archive_dir))
    for found in breaks:
        click.echo(found.sentence.in_language(terminal_language()))
    if not breaks:
        click.echo("the chain of arhivar.db is whole")
    return max(vaults, int(bool(breaks)))

"""The command as a person meets it: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import __version__
from tests.conftest import ROOT

VECTORS = ROOT / "tests" / "vectors" / "ubl"


def arhivar(
    *arguments: str, data: Path | None = None, language: str = "en_GB.UTF-8"
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": language}
    if data is not None:
        environment |= {
            "ARHIVAR_DATA_DIR": str(data),
            "ARHIVAR_VAULT_DIR": str(data / "vault"),
            "ARHIVAR_VAULT_KEY_FILE": str(data / "vault" / "kek"),
            "ARHIVAR_SINGLE_USER": "true",
        }
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--help",), ("demo", "--help"), ("simulator", "--help"), ("inspect", "--help"),
        ("render", "--help"), ("fetch", "--help"), ("check", "--help"), ("audit", "--help"),
        ("reindex", "--help"), ("export", "--help"), ("init", "--help"), ("serve", "--help"),
        ("rerender", "--help"), ("certificate", "--help"), ("certificate", "add", "--help"),
        ("vault", "--help"), *(("vault", name, "--help") for name in
                               ("init", "status", "rotate", "rewrap", "recover")),
    ],
)  # fmt: skip
def test_help_says_what_a_command_is_for(arguments: tuple[str, ...]) -> None:
    done = arhivar(*arguments)

    assert "Usage:" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("inspect",),
        ("render", "a.xml"),
        ("demo", "--portal-port", "many"),
        ("demo", "--portal-port", "99999"),
        ("demo", "--invoices", "-3"),
        ("--config", "/absent.toml", "check"),
    ],
)
def test_wrong_use_ends_with_2_and_one_sentence(arguments: tuple[str, ...]) -> None:
    done = arhivar(*arguments)

    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_the_version_is_known_without_an_installation() -> None:
    assert arhivar("--version").stdout == f"{__version__}\n"


def test_a_demo_needs_three_ports(tmp_path: Path) -> None:
    done = arhivar("demo", "--data", str(tmp_path), "--portal-port", "9", "--drive-port", "9")

    assert done.returncode == 2
    assert "different ports" in done.stderr


def test_inspect_prints_a_line_for_each_file_and_goes_on_after_a_bad_one(tmp_path: Path) -> None:
    good = VECTORS / "every-term-invoice.xml"
    bad = tmp_path / "bad.xml"
    bad.write_text("<html>Request Rejected</html>")

    done = arhivar("inspect", "--json", str(bad), str(tmp_path / "absent.zip"), str(good))

    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(line) for line in lines[:2]] == [{"file", "error"}] * 2
    assert set(lines[2]) == {
        "type", "customization_id", "number", "issue_date", "due_date", "currency",
        "tax_currency", "supplier", "customer", "tax_exclusive_amount", "tax_inclusive_amount",
        "payable_amount", "vat_subtotals", "lines", "attachments", "preceding_invoices",
        "signature", "standard_name",
    }  # fmt: skip


def test_render_of_what_is_no_invoice_is_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.xml"
    bad.write_text('<!DOCTYPE x [<!ENTITY y "z">]><x>&y;</x>')

    done = arhivar("render", str(bad), "-o", str(tmp_path / "out.pdf"))

    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out.pdf").exists()


def test_the_first_run_prints_a_link_and_a_second_one_refuses(tmp_path: Path) -> None:
    who = ("--firm", "Contabilitate SRL", "--email", "ana@example.ro", "--name", "Ana Pop")

    first = arhivar("init", *who, data=tmp_path / "data")
    second = arhivar("init", *who, data=tmp_path / "data", language="ro_RO.UTF-8")

    assert first.returncode == 0, first.stderr
    assert "http://localhost:8080/activate/" in first.stdout
    assert (tmp_path / "data" / "vault" / "kek").stat().st_mode & 0o777 == 0o600
    assert second.returncode == 2
    assert "Firma există deja" in second.stderr


def test_an_empty_appliance_is_in_order(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert arhivar("migrate", data=data).stdout.startswith("applied ")

    assert arhivar("migrate", data=data).stdout == ""
    assert arhivar("check", "--deep", data=data).returncode == 0
    assert arhivar("audit", "verify", data=data).stdout == "the chain of arhivar.db is whole\n"
    assert arhivar("export", str(tmp_path / "out"), data=data).returncode == 0
    assert arhivar("reindex", data=data).returncode == 0


def test_a_command_without_a_database_says_how_to_make_one(tmp_path: Path) -> None:
    done = arhivar("fetch", data=tmp_path / "nothing")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "migrate" in done.stderr or "init" in done.stderr


@pytest.mark.parametrize(
    ("language", "said"),
    [("ro_RO.UTF-8", "nu este nicio arhivă"), ("en_GB.UTF-8", "there is no archive in")],
)
def test_a_check_where_no_archive_is_says_so(tmp_path: Path, language: str, said: str) -> None:
    done = arhivar("check", data=tmp_path, language=language)

    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    good = str(VECTORS / "every-term-invoice.xml")
    piped = subprocess.run(
        f"{sys.executable} -m appliance inspect --json {' '.join([good] * 50)} | head -1",
        shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert piped.returncode == 0
    assert piped.stderr == ""


@pytest.mark.parametrize(
    "script", [ROOT / "appliance" / "__main__.py", Path(sys.executable).with_name("arhivar")]
)
def test_a_process_that_renders_imports_the_command_and_does_not_start_it_again(
    script: Path,
) -> None:
    # multiprocessing does the same in each process that it spawns.
    again = subprocess.run(
        [sys.executable, "-c", "import runpy, sys; runpy.run_path(sys.argv.pop(), "
         "run_name='__mp_main__')", "--version", str(script)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

"""The pages of docs/ name tests, files and commands that there are."""

from __future__ import annotations

import ast
import re
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import click
import pytest

from appliance.cli import cli
from appliance.vault import keys
from appliance.vault.database import Database
from appliance.vault.envelope import Keyring
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
SECURITY = ROOT / "docs" / "security.md"
_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
_PATH = re.compile(r"`((?:appliance|tests|docs)/[\w/.-]+)`")
_COMMAND = re.compile(r"(?:^|^sudo |`)arhivar ([a-z]+(?: [a-z]+)?)", re.MULTILINE)


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def page_id(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    for file, name in _TEST.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), file
        assert name in functions(ROOT / file), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_file_that_a_page_leads_to_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [link for link in _LINK.findall(text) if not (page.parent / link).exists()]
    missing += [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_that_a_page_gives_is_there(page: Path) -> None:
    for words in _COMMAND.findall(page.read_text(encoding="utf-8")):
        first, *rest = words.split()
        command = cli.commands.get(first)
        assert command is not None, first
        if rest and isinstance(command, click.Group):
            assert rest[0] in command.commands, f"{first} {rest[0]}"


def test_each_attacker_has_a_table_whose_lines_name_tests() -> None:
    """Except what a test cannot show: those lines say `–`."""
    text = SECURITY.read_text(encoding="utf-8")
    attackers = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(attackers) >= 12
    for section in attackers:
        name = section.splitlines()[0]
        lines = [line for line in section.splitlines() if re.match(r"\| (gets|not|seen) ", line)]
        assert {line.split()[1] for line in lines} == {"gets", "not", "seen"}, name
        for line in lines:
            shown_by = line.strip(" |").split(" | ")[-1]
            assert shown_by == "–" or _TEST.search(shown_by), line


def test_the_architecture_says_what_each_module_of_the_vault_is_for() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / "appliance" / "vault").glob("*.py")}
    named = set(re.findall(r"`(\w+\.py)`", page))
    assert modules - named == {"__init__.py", "errors.py"}


def test_the_questions_to_the_vaults_chain_can_be_asked(tmp_path: Path) -> None:
    questions = re.findall(
        r"SELECT [^`\"]+ FROM audit[^`\"]*", SECURITY.read_text(encoding="utf-8")
    )
    assert len(questions) == 2
    at = datetime(2026, 11, 24, tzinfo=UTC)
    with closing(Database(tmp_path / "vault", Keyring({1: keys.fresh()}), at=at)) as vault:
        for question in questions:
            assert vault.durable.execute(question).fetchall(), question

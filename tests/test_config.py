"""The settings: every default visible, every problem in one go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance import config
from appliance.config import Settings
from appliance.core.errors import ConfigError


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    settings = replace(
        Settings(),
        data_dir=tmp_path / 'with "quotes" and \\',
        single_user=True,
        web_port=9000,
        spv_extra_certificates=tmp_path,
        vault_key_file=tmp_path / "key",
    )
    file = tmp_path / "arhivar.toml"
    file.write_text(config.dump(settings), encoding="utf-8")

    assert config.load(file, {}) == settings


def test_without_a_file_the_defaults_hold() -> None:
    assert config.load(None, {}) == Settings()


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "arhivar.toml"
    file.write_text("[web]\nport = 9000\n")

    assert config.load(file, {"ARHIVAR_WEB_PORT": "9001"}).web_port == 9001
    assert config.load(None, {"ARHIVAR_CONFIG": str(file)}).web_port == 9000


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "arhivar.toml"
    file.write_text(
        'language = "fr"\nsingle_user = 3\nnonsense = 1\n'
        '[web]\nport = 70000\nurl = "portal"\n[sync]\nworkers = -1\n[dav]\nport = true\n'
    )

    with pytest.raises(ConfigError) as refused:
        config.load(file, {})

    for named in ("language", "single_user", "nonsense", "web_port", "web_url", "sync_workers",
                  "dav_port"):  # fmt: skip
        assert named in str(refused.value)


@pytest.mark.parametrize("content", [b"= 3", b"\xff\xfe", b"[web\nport = 1"])
def test_a_file_that_is_no_toml_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "arhivar.toml"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(file, {})


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(tmp_path / "absent.toml", {})


def test_what_does_not_fit_together_about_mail_is_told(tmp_path: Path) -> None:
    file = tmp_path / "arhivar.toml"
    file.write_text('[mail]\nhost = "mail.example"\nsecurity = "none"\nuser = "arhivar"\n')

    with pytest.raises(ConfigError) as refused:
        config.load(file, {})

    assert "mail_from" in str(refused.value)
    assert "mail_security" in str(refused.value)


@pytest.mark.parametrize(
    "line", ['security = "ssl"', 'from = "nobody"', 'from = "a b@c"', 'user = "țară"', "port = 0"]
)
def test_a_wrong_option_of_mail_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "arhivar.toml"
    file.write_text(f"[mail]\n{line}\n")

    with pytest.raises(ConfigError, match=f"mail_{line.split()[0]}"):
        config.load(file, {})


def test_the_options_of_mail_are_read_and_written(tmp_path: Path) -> None:
    settings = replace(
        Settings(),
        mail_host="mail.example",
        mail_port=465,
        mail_security="tls",
        mail_user="arhivar",
        mail_password_file=tmp_path / "password",
        mail_from="arhivar@firma.example",
    )
    file = tmp_path / "arhivar.toml"
    file.write_text(config.dump(settings), encoding="utf-8")

    assert config.load(file, {}) == settings

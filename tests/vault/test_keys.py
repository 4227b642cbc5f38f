"""Where keys come from, and every key that stops the start."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.vault import keys
from appliance.vault.envelope import key_id
from appliance.vault.errors import KeyRefused

GOOD = bytes(range(100, 132))


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_created_key_is_32_random_bytes_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "vault" / "kek"
    assert keys.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(path.read_bytes()) == 32
    assert keys.load(path, {}).ids
    assert [entry.name for entry in path.parent.iterdir()] == ["kek"]


def test_creating_again_keeps_the_key(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    keys.create(path)
    before = path.read_bytes()
    assert not keys.create(path)
    assert path.read_bytes() == before


def test_the_credential_comes_before_the_file_and_the_highest_generation_seals(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir()
    write(directory / "vault-kek.1", GOOD, 0o400)
    write(directory / "vault-kek.10", os.urandom(32), 0o400)
    write(directory / "vault-kek.2", os.urandom(32), 0o400)
    write(directory / "smtp-password", b"x", 0o400)
    ring = keys.load(tmp_path / "absent", {"CREDENTIALS_DIRECTORY": os.fspath(directory)})
    assert len(ring.ids) == 3
    assert ring.newest == key_id((directory / "vault-kek.10").read_bytes())


def test_without_such_a_credential_the_file_counts_with_its_generations(tmp_path: Path) -> None:
    path = write(tmp_path / "kek", GOOD)
    write(tmp_path / "kek.2", bytes(reversed(GOOD)))
    ring = keys.load(path, {"CREDENTIALS_DIRECTORY": os.fspath(tmp_path)})
    assert ring.ids == (key_id(GOOD), key_id(bytes(reversed(GOOD))))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644, 0o777])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyRefused, match="read by others"):
        keys.load(write(tmp_path / "kek", GOOD, mode), {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "kek", GOOD)
    os.chown(path, 65534, 65534)
    with pytest.raises(KeyRefused, match="another user"):
        keys.load(path, {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:31],
        GOOD + b"\n",
        GOOD.hex().encode(),
        bytes(32),
        b"\x11" * 32,
        b"correct horse battery staple 123",
        bytes(range(8)) * 4,
    ],
)
def test_what_is_no_random_key_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(KeyRefused):
        keys.load(write(tmp_path / "kek", content), {})


def test_an_absent_key_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="arhivar vault init"):
        keys.load(tmp_path / "kek", {})


def test_links_directories_and_pipes_are_no_keys(tmp_path: Path) -> None:
    write(tmp_path / "real", GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "directory", "pipe"):
        with pytest.raises(KeyRefused):
            keys.load(tmp_path / name, {})


def test_the_same_key_twice_is_no_new_generation(tmp_path: Path) -> None:
    path = write(tmp_path / "kek", GOOD)
    write(tmp_path / "kek.2", GOOD)
    with pytest.raises(KeyRefused, match="the same"):
        keys.load(path, {})


def test_a_refusal_does_not_repeat_the_key(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused) as caught:
        keys.load(write(tmp_path / "kek", b"correct horse battery staple 123"), {})
    assert "horse" not in caught.value.sentence.ro + caught.value.sentence.en


def test_a_generation_that_was_removed_is_not_missed(tmp_path: Path) -> None:
    write(tmp_path / "kek.3", GOOD)
    write(tmp_path / "kek.12", bytes(reversed(GOOD)))
    for strange in ("kek.1", "kek.02", "kek.x", "kek.2.old", "other.2", ".kek-abc"):
        write(tmp_path / strange, b"no key")
    assert list(keys.generations(tmp_path / "kek", {})) == [3, 12]
    assert keys.load(tmp_path / "kek", {}).newest == key_id(bytes(reversed(GOOD)))


def test_every_generation_is_checked_and_not_only_the_newest(tmp_path: Path) -> None:
    write(tmp_path / "kek", GOOD)
    write(tmp_path / "kek.2", bytes(reversed(GOOD)), 0o644)
    with pytest.raises(KeyRefused, match=r"kek\.2 can be read by others"):
        keys.load(tmp_path / "kek", {})


def credential(tmp_path: Path, content: bytes = GOOD, mode: int = 0o400) -> dict[str, str]:
    directory = tmp_path / "credentials"
    directory.mkdir()
    write(directory / "vault-kek.1", content, mode)
    return {"CREDENTIALS_DIRECTORY": os.fspath(directory)}


@pytest.mark.parametrize("mode", [0o604, 0o420, 0o410, 0o401, 0o444, 0o777])
def test_a_credential_that_strangers_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyRefused, match="read by others"):
        keys.load(tmp_path / "kek", credential(tmp_path, mode=mode))


def test_a_credential_that_systemd_lets_the_service_read_by_its_group_entry_is_taken(
    tmp_path: Path,
) -> None:
    # An ACL shows as the group's bits (acl(5)); systemd grants read alone.
    assert keys.load(tmp_path / "kek", credential(tmp_path, mode=0o440)).ids == (key_id(GOOD),)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_credential_of_another_user_is_refused(tmp_path: Path) -> None:
    environ = credential(tmp_path)
    os.chown(tmp_path / "credentials" / "vault-kek.1", 65534, 65534)
    with pytest.raises(KeyRefused, match="another user"):
        keys.load(tmp_path / "kek", environ)


@pytest.mark.parametrize(
    "content", [b"", GOOD + b"\n", bytes(32), b"correct horse battery staple 123"]
)
def test_a_credential_that_is_no_random_key_is_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "kek", GOOD)  # and the file does not step in for it
    with pytest.raises(KeyRefused):
        keys.load(tmp_path / "kek", credential(tmp_path, content))


def test_credentials_that_are_announced_and_absent_stop_the_start(tmp_path: Path) -> None:
    write(tmp_path / "kek", GOOD)
    with pytest.raises(KeyRefused, match="cannot be read"):
        keys.load(tmp_path / "kek", {"CREDENTIALS_DIRECTORY": os.fspath(tmp_path / "absent")})


def test_systemd_keeps_a_new_generation_sealed(credstore: Path) -> None:
    assert not keys.in_credstore(credstore)
    for number, key in ((1, GOOD), (2, bytes(reversed(GOOD)))):
        path = keys.add_to_credstore(number, key, credstore)
        assert path == credstore / f"vault-kek.{number}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert key not in path.read_bytes()
    assert keys.in_credstore(credstore)
    assert keys.decrypt_credstore(credstore) == {1: GOOD, 2: bytes(reversed(GOOD))}
    with pytest.raises(KeyRefused, match="is there already"):
        keys.add_to_credstore(2, os.urandom(32), credstore)
    assert keys.decrypt_credstore(credstore)[2] == bytes(reversed(GOOD))
    assert len(list(credstore.iterdir())) == 2


def test_a_credential_under_another_name_or_of_another_machine_is_refused(credstore: Path) -> None:
    path = keys.add_to_credstore(1, GOOD, credstore)
    path.rename(credstore / "vault-kek.2")
    with pytest.raises(KeyRefused, match="systemd-creds failed"):
        keys.decrypt_credstore(credstore)
    (credstore / "vault-kek.2").write_bytes(b"nothing")
    with pytest.raises(KeyRefused, match="systemd-creds failed"):
        keys.decrypt_credstore(credstore)

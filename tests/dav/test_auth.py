"""The Authorization header, and where a password may travel."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.roles import Role
from appliance.dav.auth import Visitors, credentials, is_private, neighbourhood
from appliance.store import accounts, clients, drive_passwords
from appliance.store.engine import open_store
from tests.support.dav import make_world


def basic(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


def test_user_and_password_are_read() -> None:
    assert credentials(basic("ana@țepeș.ro:a:b".encode())) == ("ana@țepeș.ro", "a:b")
    assert credentials(b"bAsIc  " + base64.b64encode(b"ana:x")) == ("ana", "x")


def test_windows_code_page_bytes_break_nothing() -> None:
    assert credentials(basic(b"u\xba:\xba\xfe")) == ("uº", "ºþ")


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Basic",
        b"Basic ",
        b"Basic !!!",
        b"Basic YQ",
        b"Bearer abc",
        b"Digest username=ana",
        basic(b"no colon"),
        basic(b":password"),
        basic(b"user:"),
        basic(b"us\0er:x"),
        b"Basic \xff\xff",
    ],
)
def test_anything_else_is_nobody(header: bytes | None) -> None:
    assert credentials(header) is None


@given(st.binary(max_size=80))
def test_any_header_is_a_pair_or_nobody(header: bytes) -> None:
    credentials(header)
    credentials(basic(header))


@pytest.mark.parametrize(
    ("address", "scheme", "public", "private"),
    [
        ("127.0.0.1", "http", "http", True),
        ("::1", "http", "http", True),
        ("192.168.1.5", "http", "http", False),
        ("8.8.8.8", "http", "http", False),
        ("fe80::1%eth0", "http", "http", False),
        ("nonsense", "http", "http", False),
        ("192.168.1.5", "http", "https", True),
        ("192.168.1.5", "https", "http", True),
    ],
)
def test_a_password_travels_over_tls_or_not_at_all(
    address: str, scheme: str, public: str, private: bool
) -> None:
    assert is_private(address, scheme, public_scheme=public) is private


def test_an_ipv6_client_does_not_escape_by_changing_its_own_half() -> None:
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1") == "2001:db8::/64"
    assert neighbourhood("10.0.0.1") != neighbourhood("10.0.0.2")
    assert neighbourhood("no address\n") == "?"


def test_who_was_let_in_before_is_not_let_in_longer_than_the_database_says(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    ana, at, visitors = 4, datetime.now(UTC), Visitors()
    header = world.authorization("ana")["Authorization"].encode()

    async def run() -> None:
        async with open_store(world.settings):
            first = visitors.find(header, at)
            assert first is not None
            assert visitors.find(header, at) is first
            assert visitors.find(header[:-8] + b"AAAAAAA=", at) is None
            assert visitors.find(header, at + drive_passwords.LASTS) is None
            await clients.add_member(ana, world.client_ids["alfa"], Role.VIEWER, at)
            narrowed = visitors.find(header, at)
            assert narrowed is not None
            assert narrowed.viewer.roles_at(world.client_ids["alfa"]) == {Role.VIEWER}
            await drive_passwords.revoke(ana, first.device.public_id, at)
            assert visitors.find(header, at) is None
            world.sql("UPDATE drive_password SET revoked_at = NULL")  # another connection's
            assert visitors.find(header, at) is not None
            await accounts.disable(ana, at)
            assert visitors.find(header, at) is None

    asyncio.run(run())

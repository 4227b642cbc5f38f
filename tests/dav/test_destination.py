"""The Destination header, as clients, proxies and attackers write it."""

from __future__ import annotations

import pytest

from appliance.dav import destination

HOSTS = frozenset({"drive.example.ro", "localhost", "[::1]"})
PLACE = ("Țepeș & fii (1)", "Aprobate", "a")


@pytest.mark.parametrize(
    "value",
    [
        b"/%C8%9Aepe%C8%99%20%26%20fii%20(1)/Aprobate/a",
        b"/%c8%9aepe%c8%99%20&%20fii%20%281%29/Aprobate/a/",
        b"https://drive.example.ro/%C8%9Aepe%C8%99%20%26%20fii%20(1)/Aprobate/a",
        b"http://DRIVE.example.ro:8081/%C8%9Aepe%C8%99%20%26%20fii%20(1)/Aprobate/a/",
        b"HTTP://ana%40firma.ro@localhost/%C8%9Aepe%C8%99%20%26%20fii%20(1)/Aprobate/a",
        b"http://[::1]:8081/%C8%9Aepe%C8%99%20%26%20fii%20(1)/Aprobate/a",
        # decomposed, as a Mac sends it
        b"http://localhost/T%CC%A6epes%CC%A6%20%26%20fii%20(1)/Aprobate/a",
        "http://localhost/Țepeș%20&%20fii%20(1)/Aprobate/a".encode(),
    ],
)
def test_every_spelling_of_one_place_leads_to_it(value: bytes) -> None:
    assert destination.parse(value, HOSTS) == PLACE


@pytest.mark.parametrize(
    ("value", "last"),
    [
        (b"http://localhost/c/Aprobate/a;b", "a;b"),
        (b"http://localhost/c/Aprobate/a%3Bb", "a;b"),
        (b"http://localhost/c/Aprobate/a%23b", "a#b"),
        (b"http://localhost/c/Aprobate/a#b", "a#b"),
        (b"http://localhost/c/Aprobate/a%2541", "a%41"),
    ],
)
def test_no_sign_shortens_a_name_into_another(value: bytes, last: str) -> None:
    parsed = destination.parse(value, HOSTS)
    assert parsed is not None
    assert parsed[-1] == last


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Aprobate/a",
        b"//localhost/c/Aprobate/a",
        b"http://elsewhere.example/c/Aprobate/a",
        b"http://localhost@elsewhere.example/c/Aprobate/a",
        b"http://localhost.elsewhere.example/c/Aprobate/a",
        b"ftp://localhost/c/Aprobate/a",
        b"file:///etc/passwd",
        b"http://localhost/c/De%20aprobat/../Aprobate/a",
        b"http://localhost/c/De%20aprobat/%2e%2e/Aprobate/a",
        b"http://localhost/c/Aprobate/a?b",
        b"http://localhost/c/Aprobate/a%3Fb",
        b"http://localhost/c/Aprobate/a%00",
        b"http://localhost/c/Aprobate\\a",
    ],
)
def test_what_is_no_place_of_ours_is_none(value: bytes) -> None:
    assert destination.parse(value, HOSTS) is None

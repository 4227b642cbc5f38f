"""What the portal makes of a vault that refuses, stammers or is silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.core.errors import ArhivarError, BadInput, NotFound
from appliance.core.sentence import Sentence
from appliance.web import vault as client
from appliance.web.errors import status_of
from appliance.web.vault import Vault, VaultAway

CODE = "canary-code-4711"
OURS = {"error": {"ro": "Nu se poate.", "en": "it cannot be"}}


def answer(status: int, body: bytes | dict[str, object]) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


@asynccontextmanager
async def speaking(socket: Path, said: bytes | None) -> AsyncIterator[None]:
    """Answer every request with these bytes, or with nothing at all."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        if said is None:
            await reader.read()  # until the other side gives up
        else:
            writer.write(said)
        writer.close()

    server = await asyncio.start_unix_server(converse, socket)
    async with server:
        yield


@pytest.mark.parametrize(
    ("said", "kind", "status"),
    [
        (answer(400, OURS), BadInput, 400),
        (answer(409, OURS), BadInput, 400),
        (answer(404, OURS), NotFound, 404),
        (answer(429, OURS), VaultAway, 503),
        (answer(502, OURS), VaultAway, 503),
        (answer(503, OURS), VaultAway, 503),
    ],
)
async def test_its_refusal_is_said_in_its_own_words(
    tmp_path: Path, said: bytes, kind: type[ArhivarError], status: int
) -> None:
    async with speaking(tmp_path / "s", said):
        with pytest.raises(kind) as caught:
            await Vault(tmp_path / "s").finish("session", "state", code=CODE)
    assert caught.value.sentence == Sentence("Nu se poate.", "it cannot be")
    assert status_of(caught.value) == status


@pytest.mark.parametrize(
    "said",
    [
        answer(500, b"<html>Traceback KANAR</html>"),
        answer(500, {"error": "KANAR"}),
        answer(200, b"[1]"),
        answer(200, b"KANAR"),
        answer(403, b""),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"KANAR\r\n",
        b"",
        None,
    ],
)
async def test_whatever_else_it_says_it_is_away_and_nothing_of_it_is_repeated(
    tmp_path: Path,
    said: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="arhivar")
    monkeypatch.setattr(client, "_ANAF", client.httpx.Timeout(0.2))
    async with speaking(tmp_path / "s", said):
        with pytest.raises(VaultAway) as caught:
            await Vault(tmp_path / "s").finish("session", "state", code=CODE)
    assert "răspunde" in caught.value.sentence.ro
    assert caught.value.__cause__ is None
    for text in (str(caught.value), repr(caught.value), caplog.text):
        assert CODE not in text
        assert "KANAR" not in text


async def test_without_a_socket_it_is_away(tmp_path: Path) -> None:
    with pytest.raises(VaultAway, match="does not answer"):
        await Vault(tmp_path / "s").status()

"""The small HTTP server: neighbours that take everything, or take nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from appliance.vault import wire
from appliance.vault.server import bind
from appliance.vault.wire import Answer, Handler, Request, Server

ASK = b"GET / HTTP/1.1\r\nHost: vault\r\n\r\n"


@asynccontextmanager
async def serving(path: Path, handler: Handler) -> AsyncIterator[None]:
    server = Server(handler, {os.geteuid()}, lambda uid: None)
    await server.start(bind(path, "nobody-has-this-group"))
    try:
        yield
    finally:
        await server.close(5)


async def test_a_neighbour_that_opens_connections_without_end_gets_so_many(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_CONNECTIONS", 3)

    async def hello(request: Request) -> Answer:
        return Answer(200, b"hello")

    path = short / "spv.sock"
    async with serving(path, hello), AsyncExitStack() as stack:
        writers = []
        for _ in range(3):
            reader, writer = await asyncio.open_unix_connection(path)
            stack.callback(writer.close)
            writer.write(ASK)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writers.append(writer)
        reader, writer = await asyncio.open_unix_connection(path)
        stack.callback(writer.close)
        assert await reader.read() == b""

        writers[0].close()
        await writers[0].wait_closed()
        line = b""
        while not line:  # until the server has seen it
            reader, writer = await asyncio.open_unix_connection(path)
            stack.callback(writer.close)
            writer.write(ASK)
            try:
                line = await reader.readline()
            except ConnectionError:
                continue
        assert line.startswith(b"HTTP/1.1 200")


async def test_a_neighbour_that_stops_reading_lets_go_of_what_it_holds(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_IDLE_SECONDS", 0.2)
    released = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(65_536)
        finally:
            released.set()

    async def stream(request: Request) -> Answer:
        return Answer(200, endless())

    path = short / "spv.sock"
    async with serving(path, stream):
        _, writer = await asyncio.open_unix_connection(path, limit=1024)
        writer.write(ASK)
        await asyncio.wait_for(released.wait(), 20)
        writer.close()

"""A connection that can be cut, and a server that can fall silent, at the moment that a test
chooses.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes on to the chain's server at `url`. Used as `async with`."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._connections: set[asyncio.StreamWriter] = set()
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Proxy:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Every connection breaks, and no new one is taken until `open`."""
        if self._server is not None:
            self._server.close()
        self._may_pass.set()
        for writer in list(self._connections):
            writer.transport.abort()

    def hold(self) -> None:
        """Connections stay, and nothing comes through."""
        self._may_pass.clear()

    def release(self) -> None:
        self._may_pass.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._target.hostname is not None
        with suppress(OSError):
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._connections |= {writer, back}
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._may_pass.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

"""A loopback server that announces heads as a chain does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import websockets
from websockets.asyncio.server import ServerConnection

from epochgate.core.types import BlockNumber


class HeadServer:
    """Announces heads; it may drop a connection, fall silent, or speak rubbish."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with websockets.serve(self._talk, "127.0.0.1", self.port) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield

    async def _talk(self, connection: ServerConnection) -> None:
        asked = json.loads(await connection.recv())
        assert asked["method"] == "chain_subscribeNewHeads"
        await connection.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": "sub"}))
        self.connections.append(connection)
        await connection.wait_closed()

    async def announce(self, block: BlockNumber) -> None:
        params = {"subscription": "sub", "result": {"number": hex(block)}}
        await self.connections[-1].send(
            json.dumps({"jsonrpc": "2.0", "method": "chain_newHead", "params": params})
        )

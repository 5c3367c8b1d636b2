"""Heads over a loopback server."""

from __future__ import annotations

import asyncio
from typing import Any

from epochgate.chain.hypertensor.heads import HeadFollower
from epochgate.core.types import BlockNumber
from tests.support.head_server import HeadServer


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for comes over a socket
            await asyncio.sleep(0.005)


async def test_heads_come_again_after_drops_silence_and_rubbish() -> None:
    server = HeadServer()
    heads: list[BlockNumber] = []
    outages: list[str] = []
    async with server.serve():
        follower = HeadFollower(server.url, 0.01, heads.append, outages.append)
        following = asyncio.create_task(follower.follow())
        try:
            await until(lambda: len(server.connections) == 1)
            await server.announce(BlockNumber(7))
            await server.announce(BlockNumber(6))
            await until(lambda: heads == [7, 6])

            await server.connections[-1].close()
            await until(lambda: len(server.connections) == 2)
            await server.announce(BlockNumber(8))
            await until(lambda: heads[-1] == 8)
            assert "is gone" in outages[0]

            await server.connections[-1].send("hello")
            await until(lambda: len(server.connections) == 3)
            await server.announce(BlockNumber(9))
            await until(lambda: heads[-1] == 9)
            assert "does not speak a chain's JSON-RPC" in outages[1]

            await until(lambda: len(server.connections) == 4)  # silent for too long
            assert "has been silent" in outages[2]
            await server.announce(BlockNumber(9))  # and it has nothing new to tell
            await until(lambda: len(server.connections) == 5)
            await server.announce(BlockNumber(10))
            await until(lambda: heads[-1] == 10)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    assert len(outages) == 3, "an outage is told once"

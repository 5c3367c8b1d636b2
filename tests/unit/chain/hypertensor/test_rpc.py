"""Questions over JSON-RPC: a library that does not let go."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from epochgate.chain.hypertensor.rpc import ChainUnreachable, Rpc


class StubbornInterface:
    """The library at its worst: it swallows the first cancellation, and never answers."""

    async def rpc_request(self, method: str, parameters: list[Any]) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async def close(self) -> None: ...


async def test_nobody_waits_for_a_library_that_swallows_a_cancellation() -> None:
    rpc = Rpc("ws://127.0.0.1:1", timeout_seconds=0.01)
    rpc._interface = StubbornInterface()  # type: ignore[assignment]
    with pytest.raises(ChainUnreachable, match="no answer in time"):
        await rpc.request("system_chain")

    rpc = Rpc("ws://127.0.0.1:1")
    rpc._interface = StubbornInterface()  # type: ignore[assignment]
    asking = asyncio.create_task(rpc.request("system_chain"))
    await asyncio.sleep(0)
    asking.cancel()
    done, _ = await asyncio.wait({asking}, timeout=5)
    assert done == {asking}
    assert asking.cancelled()
    await rpc.close()

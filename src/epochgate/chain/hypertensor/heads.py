"""Best heads as the chain announces them, over a subscription that is renewed when it breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import NoReturn

import websockets
from websockets.exceptions import WebSocketException

from epochgate.core.types import BlockNumber

SUBSCRIBE = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "chain_subscribeNewHeads", "params": []}
)
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
MAX_HEAD_BYTES = 1 << 20
SILENT_BLOCKS = 5
"""A connection that brings no head for this many block times is given up: the server may hang, or
have lost the subscription.
"""
MIN_SILENCE_SECONDS = 2.0


class HeadFollower:
    """Follows one chain's best heads, with back-off between connections that fail."""

    def __init__(
        self,
        url: str,
        block_seconds: float,
        on_head: Callable[[BlockNumber], None],
        on_outage: Callable[[str], None],
    ) -> None:
        """Prepare to follow; `follow` connects.

        Args:
            url: The server's address, ws:// or wss://.
            block_seconds: The chain's block time.
            on_head: Called with the number of each new best head.
            on_outage: Called once for each outage, with its reason.
        """
        self._url = url
        self._silence_seconds = max(MIN_SILENCE_SECONDS, SILENT_BLOCKS * block_seconds)
        self._on_head = on_head
        self._on_outage = on_outage
        self._last: BlockNumber | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._is_outage_told = False

    async def follow(self) -> None:
        """Follow until cancelled.

        A subscription begins with the present head, so the first one comes at once. Where that is
        the last one still, the outage goes on.
        """
        while True:
            try:
                await self._read_heads()
            except TimeoutError:
                reason = f"{self._url} has been silent for longer than {SILENT_BLOCKS} blocks"
            except (OSError, WebSocketException) as error:
                reason = f"the connection to {self._url} is gone: {error or type(error).__name__}"
            except ValueError as error:
                reason = f"{self._url} does not speak a chain's JSON-RPC: {error}"
            if not self._is_outage_told:
                self._on_outage(reason)
                self._is_outage_told = True
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)

    async def _read_heads(self) -> NoReturn:
        """Read heads until the connection breaks, and raise its error."""
        connecting = websockets.connect(
            self._url, open_timeout=CONNECT_SECONDS, max_size=MAX_HEAD_BYTES
        )
        async with connecting as connection:
            await connection.send(SUBSCRIBE)
            while True:
                message = await asyncio.wait_for(connection.recv(), self._silence_seconds)
                block = _read_number(message)
                if block is not None and block != self._last:
                    self._take(block)

    def _take(self, block: BlockNumber) -> None:
        self._on_head(block)
        self._last = block
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._is_outage_told = False


def _read_number(message: str | bytes) -> BlockNumber | None:
    """The number in a head's header; None for the answer to the subscription.

    Raise ValueError for any other message, such as an error.
    """
    try:
        decoded = json.loads(message)
        if "error" in decoded:
            raise ValueError(f"{decoded['error']}")
        if "params" not in decoded:
            return None
        return BlockNumber(int(decoded["params"]["result"]["number"], 16))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no head in {message[:100]!r} ({error})") from None

"""Best heads as the chain announces them: subscribed to again, with back-off, whenever they stop
coming.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import websockets
from websockets.exceptions import WebSocketException

from epochgate.core.types import BlockNumber

SUBSCRIBE = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "chain_subscribeNewHeads", "params": []}
)
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
SILENT_BLOCKS = 5
"""A connection that brings no head for so many blocks' time is given up: the server may hang, or
have lost the subscription.
"""
SHORTEST_SILENCE_SECONDS = 2.0


async def follow_heads(
    url: str,
    block_seconds: float,
    on_head: Callable[[BlockNumber], None],
    on_trouble: Callable[[str], None],
) -> None:
    """Call `on_head` with each best head's number, for ever. `on_trouble` hears, once an outage,
    why none come.

    The first head comes at once, for a subscription begins with the present one; where that is the
    last one still, the outage goes on.
    """
    pause_seconds = FIRST_PAUSE_SECONDS
    is_known = False
    last: int | None = None
    while True:
        try:
            async with websockets.connect(
                url, open_timeout=CONNECT_SECONDS, max_size=1 << 20
            ) as connection:
                await connection.send(SUBSCRIBE)
                silence_seconds = max(SHORTEST_SILENCE_SECONDS, SILENT_BLOCKS * block_seconds)
                while True:
                    block = _read_number(await asyncio.wait_for(connection.recv(), silence_seconds))
                    if block is not None and block != last:
                        on_head(BlockNumber(block))
                        last = block
                        pause_seconds = FIRST_PAUSE_SECONDS
                        is_known = False
        except TimeoutError:
            why = f"{url} has been silent for longer than {SILENT_BLOCKS} blocks"
        except (OSError, WebSocketException) as error:
            why = f"the connection to {url} is gone: {error or type(error).__name__}"
        except ValueError as error:
            why = f"{url} speaks no JSON-RPC of a chain: {error}"
        if not is_known:
            on_trouble(why)
            is_known = True
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


def _read_number(message: str | bytes) -> int | None:
    """The number in a head's header; None for the answer to the subscription. Raises ValueError for
    anything else.
    """
    try:
        read = json.loads(message)
        if "error" in read:
            raise ValueError(f"{read['error']}")
        return int(read["params"]["result"]["number"], 16) if "params" in read else None
    except (KeyError, TypeError) as error:
        raise ValueError(f"no head in {message[:100]!r} ({error})") from None

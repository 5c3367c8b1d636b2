"""What both engines promise about handlers: a request that reached a serving peer gets a reply."""

from __future__ import annotations

import logging

from epochgate.core.types import PeerId
from epochgate.ports import Handler

REFUSED = b""
"""The reply of a peer whose handler raised, or said more than a message holds. No handler of ours
replies nothing.
"""

logger = logging.getLogger(__name__)


async def get_answer(
    handler: Handler, sender: PeerId, message: bytes, max_message_bytes: int
) -> bytes:
    """The handler's reply, or REFUSED: an exception would look like a dead peer, and too long a
    reply never arrives.
    """
    if len(message) > max_message_bytes:
        return REFUSED
    try:
        reply = await handler(sender, message)
    except Exception:
        logger.exception("the handler of requests raised")
        return REFUSED
    if len(reply) > max_message_bytes:
        logger.error(
            "the handler of requests replied %d bytes, %d are allowed: chunk it",
            len(reply),
            max_message_bytes,
        )
        return REFUSED
    return reply


def check_size(message: bytes, max_message_bytes: int) -> None:
    """Raises ValueError for a request that the engine must not send: its author should have cut it
    in pieces.
    """
    if len(message) > max_message_bytes:
        raise ValueError(
            f"a request has at most {max_message_bytes} bytes, this one has {len(message)}:"
            " chunk it"
        )

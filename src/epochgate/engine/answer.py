"""What every engine promises about handlers: a request that reached a serving peer gets a reply."""

from __future__ import annotations

import logging

from epochgate.core.types import PeerId
from epochgate.ports import Handler

REFUSED = b""
"""The reply of a peer whose handler failed. The store's handlers never reply with nothing."""

logger = logging.getLogger(__name__)


async def get_answer(
    handler: Handler, sender: PeerId, message: bytes, max_message_bytes: int
) -> bytes:
    """Ask a handler, and reply in any case.

    An exception would look like a dead peer, and a reply that is too long never arrives.

    Args:
        handler: The serving peer's handler.
        sender: The authenticated sender.
        message: The request.
        max_message_bytes: The longest request or reply.

    Returns:
        The handler's reply; REFUSED where the request or the reply is too long, or the handler
        raises.
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
    """Raise ValueError for a request that is too long to send: its author should chunk it."""
    if len(message) > max_message_bytes:
        raise ValueError(
            f"a request has at most {max_message_bytes} bytes, this one has {len(message)}:"
            " chunk it"
        )

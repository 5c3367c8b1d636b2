"""A town on the memory engine, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from epochgate.engine.memory import Hub, Links
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from people import meet
from town import MAX_MESSAGE_BYTES, NAMES, VISITOR, Line, Town

Story = Callable[[Town], Awaitable[None]]


def live(
    folder: Path,
    story: Story,
    size: int = 4,
    *,
    names: Sequence[str] = NAMES,
    latency_seconds: float = 0.005,
    loss: float = 0.0,
) -> None:
    """Let `story` happen in a town of as many of NAMES, or of all `names`."""
    size = size if names is NAMES else len(names)

    async def main(rng: random.Random) -> None:
        hub = Hub(rng, latency_seconds, max_message_bytes=MAX_MESSAGE_BYTES)
        lines = [(name, await Line.lay(hub.join(meet(name).author))) for name in names[:size]]
        visitors = await Line.lay(hub.join(meet(VISITOR).author))
        town = await Town.settle(folder, VirtualClock(), lines, visitors)
        hub.links = Links(latency_seconds, loss)
        try:
            await story(town)
        finally:
            await town.close()

    run_virtually(main)

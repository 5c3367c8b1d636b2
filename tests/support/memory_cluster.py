"""A town on the memory engine, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from epochgate.engine.memory import Hub, Links
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from tests.support.identities import key_of
from tests.support.store_cluster import (
    MAX_MESSAGE_BYTES,
    NAMES,
    OUTSIDER,
    StoreCluster,
    SwitchableHandler,
)

Story = Callable[[StoreCluster], Awaitable[None]]


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
        handlers = [
            (name, await SwitchableHandler.attach(hub.join(key_of(name).author)))
            for name in names[:size]
        ]
        outsiders = await SwitchableHandler.attach(hub.join(key_of(OUTSIDER).author))
        cluster = await StoreCluster.start(folder, VirtualClock(), handlers, outsiders)
        hub.links = Links(latency_seconds, loss)
        try:
            await story(cluster)
        finally:
            await cluster.close()

    run_virtually(main)

"""What an epoch of a whole subnet costs on the memory engine: production nodes, every signature, virtual time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import Row
from simulation.world import World, live

SMALL, LARGE = 12, 1000
VALIDATOR_SHARE = 4
"""One node in so many is a validator."""


def measure() -> Iterator[Row]:
    small = time_epoch(SMALL)
    yield Row(f"an epoch of {SMALL} nodes on the memory engine", f"{small * 1e3:.0f} ms", "")
    large = time_epoch(LARGE)
    ratio = large / small / (LARGE / SMALL) ** 2
    words = f"{large:.0f} s, {ratio:.2f} of what it would be if it grew with the square of the nodes"
    yield Row(f"an epoch of {LARGE} nodes on the memory engine, all of them attesting", words, "")


def time_epoch(nodes: int) -> float:
    """Seconds that the second epoch takes, in which everything that nodes do is done."""
    validators = max(3, nodes // VALIDATOR_SHARE)

    async def story(world: World) -> float:
        await world.start()
        await world.run_until(1)
        start = time.perf_counter()
        await world.run_until(2)
        seconds = time.perf_counter() - start
        submission = await world.chain.get_submission(1)
        assert submission is not None
        assert len(submission.attested_by) == nodes - 1
        return seconds

    names = {
        "hosters": tuple(f"hoster {number}" for number in range(nodes - validators)),
        "validators": tuple(f"validator {number}" for number in range(validators)),
    }
    with tempfile.TemporaryDirectory() as folder:
        return live(Path(folder), story, **names)

"""What an epoch of a whole subnet costs on the memory engine: production nodes, every signature,
virtual time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import Row
from epochgate.core.types import Epoch
from epochgate.observe.events import Scored
from tests.simulation.subnet import SimSubnet, live

SMALL = 12
LARGE = 1000
SMALL_VALIDATORS = 4
LARGE_VALIDATORS = 8


def measure() -> Iterator[Row]:
    seconds = time_epoch(SMALL, SMALL_VALIDATORS, epoch=Epoch(1))
    yield Row(
        f"an epoch of {SMALL} nodes on the memory engine, submitted and attested by all",
        f"{seconds * 1e3:.0f} ms",
        "",
    )
    seconds = time_epoch(LARGE, LARGE_VALIDATORS, epoch=Epoch(0))
    yield Row(
        f"the first epoch of {LARGE} nodes, in which no submission is due yet",
        f"{seconds:.0f} s",
        "",
    )


def time_epoch(nodes: int, validators: int, epoch: Epoch) -> float:
    """Seconds that an epoch takes. From the second on everybody reads every deciding record and
    attests, which grows with the square of the nodes in time and, since all of them live in one
    process here, in memory.
    """

    async def story(subnet: SimSubnet) -> float:
        await subnet.start()
        await subnet.run_until(epoch)
        start = time.perf_counter()
        await subnet.run_until(epoch, 99)
        seconds = time.perf_counter() - start
        for resident in list(subnet.nodes.values())[-validators:]:
            (scored,) = resident.get(Scored, epoch)
            assert len(scored.openings) == nodes - validators
        if epoch > 0:
            submission = await subnet.chain.get_submission(epoch)
            assert submission is not None
            assert len(submission.attested_by) == nodes - 1
        return seconds

    hoster_names = tuple(f"hoster {number}" for number in range(nodes - validators))
    validator_names = tuple(f"validator {number}" for number in range(validators))
    with tempfile.TemporaryDirectory() as folder:
        return live(Path(folder), story, hosters=hoster_names, validators=validator_names)

"""What it costs to score an epoch: 64 hosters with 65,536 values each, on one core."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import Row, time_alternately
from epochgate.core.scoring import compute_consensus
from epochgate.core.types import PeerId

HOSTERS = 64
ELEMENTS = 65_536
AIM_SECONDS = 0.1
TOLERANCE_PPM = 1000


def measure() -> Iterator[Row]:
    outputs = make_outputs()
    assert compute_consensus(outputs, outputs, TOLERANCE_PPM).is_reached
    (seconds,) = time_alternately(
        lambda: compute_consensus(outputs, outputs, TOLERANCE_PPM), number=1
    )
    yield Row(
        f"scoring {HOSTERS} hosters x {ELEMENTS:,} values",
        f"{seconds * 1e3:.0f} ms",
        f"at most {AIM_SECONDS * 1e3:.0f} ms",
        seconds <= AIM_SECONDS,
    )


def make_outputs() -> dict[PeerId, NDArray[np.float32]]:
    """One answer with a little noise of each hoster's own."""
    random = np.random.default_rng(7)
    answer = random.standard_normal(ELEMENTS)
    noise = 1e-4 * random.standard_normal((HOSTERS, ELEMENTS))
    return {
        PeerId(bytes([index])): (answer + noise[index]).astype(np.float32)
        for index in range(HOSTERS)
    }

"""A program for `test_scoring_machines.py`: scores all fixed vectors and a large case, and says
what it came to, as JSON.

It runs in processes whose environment imitates other machines, so it also says which of numpy's
vector instructions are on.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from epochgate.core.scoring import Consensus, compute_consensus, compute_pay
from epochgate.core.types import PeerId

LENGTH = 9001
HOSTERS = 21
TOLERANCE_PPM = 20_000

UMATH: Any = importlib.import_module("numpy._core._multiarray_umath")


def derive(name: bytes) -> np.ndarray:
    """Numbers from -1 to 1 that float32 holds exactly, the same on every machine."""
    bits = np.frombuffer(hashlib.shake_256(name).digest(4 * LENGTH), ">u4").astype(np.int64) >> 8
    return (bits - 2**23) / 2**23


def describe(consensus: Consensus) -> bytes:
    centre = b"" if consensus.centre is None else consensus.centre.astype("<i4").tobytes()
    facts = (
        list(consensus.scores.items()),
        list(consensus.distances_ppm.items()),
        consensus.is_reached,
        consensus.exponent,
    )
    return repr(facts).encode() + centre


def make_array(spec: dict[str, Any]) -> np.ndarray:
    return (
        np.array([float(value) for value in spec["values"]])
        .astype(spec["dtype"])
        .reshape(spec["shape"])
    )


def score_vectors(vectors: dict[str, Any]) -> list[bytes]:
    described = []
    for case in vectors["hosters"]:
        outputs = {name.encode(): make_array(spec) for name, spec in case["outputs"].items()}
        described.append(
            describe(
                compute_consensus(
                    outputs, [name.encode() for name in case["committed"]], case["tolerance_ppm"]
                )
            )
        )
    for case in vectors["pay"]:
        hosters, validators = (
            {PeerId(name.encode()): weight for name, weight in case[role].items()}
            for role in ("hosters", "validators")
        )
        hoster_pot, validator_pot = case["pots"]
        pay = compute_pay(hosters, validators, hoster_pot=hoster_pot, validator_pot=validator_pot)
        described.append(repr(list(pay.items())).encode())
    return described


def make_outputs(scale: float, dtype: str) -> dict[PeerId, np.ndarray]:
    """One answer, and each hoster's own noise at one of 13 strengths, scaled and in values that
    float32 holds.
    """
    answer = derive(b"answer")
    outputs = {
        PeerId(bytes([i])): answer + derive(b"%d" % i) * 2.0 ** (i % 13 - 14)
        for i in range(HOSTERS)
    }
    return {
        author: (values * scale).astype("float32").astype(dtype)
        for author, values in outputs.items()
    }


def score_large_cases(dtype: str) -> list[bytes]:
    return [
        describe(compute_consensus(outputs, outputs, TOLERANCE_PPM))
        for outputs in (
            make_outputs(scale, dtype) for scale in (1.0, 2.0**-110, 2.0**-140, 2.0**100)
        )
    ]


def compute_digest(described: list[bytes]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in described)).hexdigest()


def main() -> None:
    if os.environ.get("FLUSH_DENORMALS"):
        import torch

        assert torch.set_flush_denormal(True)
    vectors = json.loads(Path(sys.argv[1]).read_text())
    report = {
        "vectors": compute_digest(score_vectors(vectors)),
        "float32": compute_digest(score_large_cases("float32")),
        "float64": compute_digest(score_large_cases("float64")),
        "features": sorted(name for name, is_on in UMATH.__cpu_features__.items() if is_on),
        "flushes": float(np.array([2.0**-1060])[0] * np.float64(1.0)) == 0.0,
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()

"""The same scores to the last bit on every machine: other threads, another BLAS, other vector
instructions, other floats.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("scoring_digest.py")
VECTORS = Path(__file__).parents[2] / "vectors" / "scores.json"
EXPECTED = json.loads(VECTORS.read_text())["machine_digests"]
UMATH: Any = importlib.import_module("numpy._core._multiarray_umath")
DISPATCHED = [name for name in UMATH.__cpu_dispatch__ if UMATH.__cpu_features__.get(name)]
"""The vector instructions that numpy would use here beyond its baseline."""
CORES = {"x86_64": ("Prescott", "Haswell", "SkylakeX"), "aarch64": ("ARMV8", "NEOVERSEN1")}.get(
    platform.machine(), ()
)


def run(**environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM, VECTORS],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


run_here = cache(run)


def assert_same_scores(report: dict[str, Any]) -> None:
    assert {name: report[name] for name in EXPECTED} == EXPECTED


def test_this_machine_computes_the_scores_that_are_written_down() -> None:
    assert_same_scores(run_here())


def test_float32_and_float64_of_the_same_values_score_the_same() -> None:
    assert EXPECTED["float32"] == EXPECTED["float64"]


@pytest.mark.parametrize("threads", ["1", "3", "16"])
def test_the_number_of_threads_shows_nowhere(threads: str) -> None:
    assert_same_scores(
        run(OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    )


@pytest.mark.parametrize("core", CORES)
def test_the_kernels_of_another_processor_compute_the_same(core: str) -> None:
    assert_same_scores(run(OPENBLAS_CORETYPE=core))


@pytest.mark.skipif(not DISPATCHED, reason="numpy uses nothing here that could be turned off")
@pytest.mark.parametrize("count", range(1, len(DISPATCHED) + 1))
def test_without_vector_instructions_the_scores_are_the_same(count: int) -> None:
    """The newest of them first, then more and more, down to the oldest machine that numpy
    runs on.
    """
    off = DISPATCHED[-count:]

    report = run(NPY_DISABLE_CPU_FEATURES=" ".join(off))

    assert not set(off) & set(report["features"])
    assert_same_scores(report)


def test_a_machine_that_flushes_denormals_computes_the_same() -> None:
    report = run(FLUSH_DENORMALS="1")

    assert report["flushes"]
    assert not run_here()["flushes"]
    assert_same_scores(report)

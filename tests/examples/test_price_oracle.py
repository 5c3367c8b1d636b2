"""The example without tensors, run as its docstring says, where neither torch nor hivemind can be
had.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "price_oracle.py"
WITHOUT_TORCH = """
import runpy, sys
sys.modules |= {"torch": None, "hivemind": None}
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_reporters_near_the_median_are_paid_and_the_liar_is_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, EXAMPLE], capture_output=True, text=True, check=True
    )
    epochs = done.stdout.splitlines()
    assert len(epochs) == 3
    for line in epochs:
        assert "5 prices" in line
        found = re.search(r"median is ([\d.]+)", line)
        assert found is not None
        median = float(found[1])
        assert abs(median / 2500 - 1) < 0.002, (
            "one reporter of five that says 9999 moves it no further than the others differ"
        )
    for line in epochs[1:]:
        assert (
            "ann 0.10, ben 0.10, cleo 0.10, dan 0.10, liar 0.00, val 0.20, vic 0.20, viv 0.20"
            in line
        )


def test_it_stays_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 210, "of 100 columns, one argument a line"

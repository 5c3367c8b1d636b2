"""How fast this machine is now, so that tests of real processes give them time in proportion.

A subnet of processes lives by the wall clock: a node that is killed has to be back before a window
closes. How long that takes depends on the machine and on what else it does, so an epoch's length is
what is enough for a quiet one, times how much slower this one is.
"""

from __future__ import annotations

import functools
import math
import shutil
import subprocess
import sys
import time

START = "import hivemind, torch, epochgate.node.runner, epochgate.runtime.node"
"""What a node's process imports before it does anything: most of the time that it takes to
start.
"""
QUIET_START_SECONDS = 4.5
"""How long that takes on two quiet cores, with files that were read before."""
MOST_SLOWNESS = 10.0
"""A machine that is slower still fails its tests, instead of keeping them for hours."""


def measure_start_seconds() -> float:
    """How long a node's process takes to import what it needs, now: never less than on a quiet
    machine, and never more than ten times as long.
    """
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", START], check=True, capture_output=True)
    taken_seconds = time.monotonic() - began
    return min(MOST_SLOWNESS * QUIET_START_SECONDS, max(QUIET_START_SECONDS, taken_seconds))


def measure_slowness() -> float:
    """How many times slower than a quiet machine this one starts a process now: 1 to 10."""
    return measure_start_seconds() / QUIET_START_SECONDS


@functools.cache
def get_slowness() -> float:
    """Measured twice, once for all tests of this process; the first reads files into memory."""
    measure_slowness()
    return measure_slowness()


def with_interrupts(command: list[str]) -> list[str]:
    """`command`, with Ctrl-C as it is in a terminal: a shell ignores it for what it runs in the
    background, and processes inherit that.
    """
    return [shutil.which("env") or "env", "--default-signal=INT", *command]


def scale_seconds(quiet_seconds: float) -> int:
    """So many seconds as are here what `quiet_seconds` are on a quiet machine, whole ones."""
    return math.ceil(quiet_seconds * get_slowness())

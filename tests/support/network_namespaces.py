"""Hosts of their own on one machine: network namespaces, joined by a switch that is slow and loses
frames.

The switch runs here, on a TAP device in each namespace, and not in the kernel as netem does: so it
needs no kernel module that a machine may lack, its losses follow from a seed, and a host's cable is
pulled by a flag. The machine's own network is never touched; what was made goes with the
namespaces.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
MAX_FRAME_BYTES = 1 << 16
LOOK_SECONDS = 0.1


def find_hindrance() -> str:
    """Why this machine can hold no hosts; nothing where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    name = f"egtry{os.getpid()}"
    try:
        _run_ip("netns", "add", name)
        _run_ip("netns", "del", name)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made: {error.stderr.strip()}"
    return ""


class Hosts:
    """Used as `with`. `delay_seconds` is one way; `loss` is the share of frames that never
    arrive.
    """

    def __init__(
        self, names: Sequence[str], delay_seconds: float, loss: float, seed: int = 1
    ) -> None:
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        self.lost_frames = 0
        self.unplugged: set[str] = set()
        self._delay_seconds = delay_seconds
        self._loss = loss
        self._chance = random.Random(seed)
        self._taps: dict[int, str] = {}
        self._is_ending = threading.Event()
        self._switch = threading.Thread(target=self._forward, name="switch")

    def get_prefix(self, name: str) -> list[str]:
        """What comes before a command line so that it runs on that host."""
        return ["ip", "netns", "exec", _get_namespace(name)]

    def __enter__(self) -> Hosts:
        try:
            for name, address in self.addresses.items():
                self._add(name, address)
        except BaseException:
            self._remove()
            raise
        self._switch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending.set()
        self._switch.join()
        self._remove()

    def _add(self, name: str, address: str) -> None:
        namespace = _get_namespace(name)
        _run_ip("netns", "add", namespace)
        with _inside(namespace):
            tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"eth0", IFF_TAP | IFF_NO_PI))
        self._taps[tap] = name
        for words in ("link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"):
            _run_ip("-n", namespace, *words.split())

    def _remove(self) -> None:
        for tap in self._taps:
            os.close(tap)
        for name in self.addresses:
            with suppress(subprocess.CalledProcessError):  # it may not have come to that one
                _run_ip("netns", "del", _get_namespace(name))

    def _forward(self) -> None:
        """A switch that has not learnt who is where: every frame goes to all others, and a kernel
        drops what is not its.
        """
        under_way: list[tuple[float, int, int, bytes]] = []
        count = 0
        while not self._is_ending.is_set():
            patience = (
                min(LOOK_SECONDS, max(0.0, under_way[0][0] - time.monotonic()))
                if under_way
                else LOOK_SECONDS
            )
            for tap in select.select(list(self._taps), [], [], patience)[0]:
                frame = os.read(tap, MAX_FRAME_BYTES)
                if self._chance.random() < self._loss:
                    self.lost_frames += 1
                    continue
                for other in self._taps:
                    if other != tap and not {self._taps[tap], self._taps[other]} & self.unplugged:
                        count += 1
                        heapq.heappush(
                            under_way, (time.monotonic() + self._delay_seconds, count, other, frame)
                        )
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, other, frame = heapq.heappop(under_way)
                if self._taps[other] not in self.unplugged:
                    os.write(other, frame)


def _run_ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)  # noqa: S607 - wherever it is installed


def _get_namespace(name: str) -> str:
    return f"eg{os.getpid()}-{name}"


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread's sockets and devices belong to `namespace` meanwhile. `os.setns` came with
    Python 3.12.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(home, CLONE_NEWNET)
        os.close(there)
        os.close(home)

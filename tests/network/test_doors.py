"""Every socket of a running node and of its daemon listens on loopback, unless its operator says otherwise."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from network.test_devnet import find_processes, read_until, run_devnet

pytestmark = [pytest.mark.network, pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")]

LISTENING, UNCONNECTED = "0A", "07"
"""States of TCP and UDP sockets that take what anybody sends (Linux, include/net/tcp_states.h)."""


def find_sockets(pids: Iterator[int] | list[int]) -> set[str]:
    """Inodes of the sockets that these processes hold."""
    found = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:  # closed meanwhile
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def find_doors(pids: list[int]) -> Iterator[tuple[str, str, int]]:
    """Protocol, address and port of every socket through which these processes can be reached."""
    held = find_sockets(pids)
    for protocol, state in (("tcp", LISTENING), ("tcp6", LISTENING), ("udp", UNCONNECTED), ("udp6", UNCONNECTED)):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in held:
                address, port = fields[1].split(":")
                yield protocol, decode_address(address), int(port, 16)


def decode_address(text: str) -> str:
    """The kernel writes words of four bytes, each with its lowest byte first."""
    raw = bytes.fromhex(text)
    return str(ipaddress.ip_address(b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))))


def is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def test_a_door_is_found_wherever_it_is() -> None:
    import os

    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        doors = set(find_doors([os.getpid()]))
        assert ("tcp", "127.0.0.1", server.getsockname()[1]) in doors
        assert ("udp", "127.0.0.1", udp.getsockname()[1]) in doors
    assert not is_loopback("0.0.0.0")  # noqa: S104 - nothing is bound to it
    assert not is_loopback("::")
    assert is_loopback("::ffff:127.0.0.1")


def test_a_devnet_listens_on_loopback_alone(tmp_path: Path) -> None:
    with run_devnet(tmp_path, "--hosters", "2", "--validators", "1", "--epochs", "1", "--epoch-seconds", "10") as process:
        read_until(process, "epoch 0")
        pids = [process.pid, *find_processes(tmp_path)]
        doors = list(find_doors(pids))
        process.terminate()
        process.communicate(timeout=30)
    assert len(pids) >= 1 + 3 + 3, "the devnet, three nodes and their daemons"
    assert len(doors) >= 3, "every daemon listens"
    assert [door for door in doors if not is_loopback(door[1])] == []

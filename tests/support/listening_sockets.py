"""Through which sockets processes can be reached, as Linux says under /proc."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

LISTENING = "0A"
UNCONNECTED = "07"
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


def find_listening_sockets(pids: list[int]) -> Iterator[tuple[str, str, int]]:
    """Protocol, address and port of every socket through which these processes can be reached."""
    held = find_sockets(pids)
    for protocol, state in (
        ("tcp", LISTENING),
        ("tcp6", LISTENING),
        ("udp", UNCONNECTED),
        ("udp6", UNCONNECTED),
    ):
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

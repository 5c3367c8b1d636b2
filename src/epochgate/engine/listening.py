"""Checks of the addresses that a node listens on, made before the daemon starts.

p2pd itself takes a busy port in silence, or dies without a reason.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from epochgate.errors import EpochgateError

MAX_PORT = (1 << 16) - 1

_ADDRESS = re.compile(r"/(ip4|ip6)/([0-9a-fA-F.:]+)/tcp/(\d{1,5})")
_ANNOUNCED = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/[0-9a-zA-Z.:-]+/tcp/(\d{1,5})")


class EngineError(EpochgateError, RuntimeError):
    """The network cannot start; the message says why and what to do."""


def is_loopback(listen: str) -> bool:
    """Whether only this machine reaches `listen`.

    A malformed address counts as loopback: `check_listen_address` refuses it.
    """
    match = _ADDRESS.match(listen)
    if match is None:
        return True
    try:
        return ipaddress.ip_address(match[2]).is_loopback
    except ValueError:
        return True


def check_listen_address(listen: str) -> None:
    """Check that a node can listen on a multiaddress.

    Args:
        listen: The multiaddress, such as /ip4/127.0.0.1/tcp/0; port 0 is any free one.

    Raises:
        EngineError: The address is malformed, not this machine's, or in use.
    """
    match = _ADDRESS.fullmatch(listen)
    if match is None or int(match[3]) > MAX_PORT:
        raise EngineError(
            f"{listen!r} is not an address to listen on like /ip4/127.0.0.1/tcp/0; look at --listen"
        )
    family = socket.AF_INET
    if match[1] == "ip6":
        family = socket.AF_INET6
    with socket.socket(family) as probe:
        # The daemon shares ports with other daemons (SO_REUSEPORT), so it would not notice. A
        # socket that does not share notices.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((match[2], int(match[3])))
        except OSError as error:
            advice = "choose another port with --listen, or 0 for any free one"
            raise EngineError(
                f"port {match[3]} of {match[2]} cannot be listened on ({error.strerror})", advice
            ) from None


def check_announced_addresses(announce: Sequence[str], listen: str) -> None:
    """Check the addresses that other nodes are told.

    Args:
        announce: Multiaddresses at which others reach this node.
        listen: The multiaddress that it listens on.

    Raises:
        EngineError: Nobody could call one of them, or `listen` takes any port, so that none can be
            announced.
    """
    for text in announce:
        match = _ANNOUNCED.fullmatch(text)
        if match is None or not 0 < int(match[1]) <= MAX_PORT:
            raise EngineError(
                f"{text!r} is not an address to be reached at like /ip4/203.0.113.7/tcp/4001; look"
                " at --announce"
            )
    if announce and listen.endswith("/tcp/0"):
        raise EngineError(
            f"{listen} takes any port, so nobody can announce it", "choose one with --listen"
        )


def fix_port(listen: str, addresses: Sequence[str]) -> str:
    """Replace port 0 by the port that the daemon took, so that a restarted one listens there again.

    Args:
        listen: The multiaddress that the daemon was started with.
        addresses: The multiaddresses that it listens on.

    Returns:
        `listen` with a port, or unchanged where `addresses` shows none.
    """
    port = next((match[3] for match in map(_ADDRESS.match, addresses) if match), None)
    if port is None:
        return listen
    return re.sub(r"/tcp/0$", f"/tcp/{port}", listen)

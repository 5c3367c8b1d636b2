"""Where a node listens: told before the daemon starts, for p2pd takes a busy port in silence or
dies without a reason.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

from epochgate.errors import EpochgateError

_ADDRESS = re.compile(r"/(ip4|ip6)/([0-9a-fA-F.:]+)/tcp/(\d{1,5})")
_ANNOUNCED = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/[0-9a-zA-Z.:-]+/tcp/(\d{1,5})")


class EngineError(EpochgateError, RuntimeError):
    """The network cannot start; the message says why and what to do."""


def is_loopback(listen: str) -> bool:
    """Whether only this machine reaches `listen`. A malformed address is left to
    `check_listen_address`.
    """
    match = _ADDRESS.match(listen)
    try:
        return match is None or ipaddress.ip_address(match[2]).is_loopback
    except ValueError:
        return True


def check_listen_address(listen: str) -> None:
    """Raises EngineError for an address that is malformed, not this machine's, or taken."""
    match = _ADDRESS.fullmatch(listen)
    if match is None or int(match[3]) >= 1 << 16:
        raise EngineError(
            f"{listen!r} is no address to listen on like /ip4/127.0.0.1/tcp/0; look at --listen"
        )
    family = socket.AF_INET if match[1] == "ip4" else socket.AF_INET6
    with socket.socket(family) as probe:
        # The daemon shares ports with other daemons (SO_REUSEPORT), so it would not notice; a
        # socket that does not, does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((match[2], int(match[3])))
        except OSError as error:
            advice = "choose another port with --listen, or 0 for any free one"
            raise EngineError(
                f"port {match[3]} of {match[2]} cannot be listened on ({error.strerror}): {advice}"
            ) from None


def check_announced_addresses(announce: Sequence[str], listen: str) -> None:
    """Raises EngineError for one that nobody could call, or that names a port which `listen` leaves
    open.
    """
    for text in announce:
        match = _ANNOUNCED.fullmatch(text)
        if match is None or not 0 < int(match[1]) < 1 << 16:
            raise EngineError(
                f"{text!r} is no address to be reached at like /ip4/203.0.113.7/tcp/4001; look at"
                " --announce"
            )
    if announce and listen.endswith("/tcp/0"):
        raise EngineError(
            f"{listen} takes any port, so nobody can announce it: choose one with --listen"
        )


def fix_port(listen: str, addresses: Sequence[str]) -> str:
    """`listen` with the port that port 0 turned into, so that a restarted daemon is found where it
    was.
    """
    port = next((match[3] for match in map(_ADDRESS.match, addresses) if match), None)
    return re.sub(r"/tcp/0$", f"/tcp/{port}", listen) if port else listen

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support.listening_sockets import find_listening_sockets, is_loopback

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc"),
]


def test_a_door_is_found_wherever_it_is() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        doors = set(find_listening_sockets([os.getpid()]))
        assert ("tcp", "127.0.0.1", server.getsockname()[1]) in doors
        assert ("udp", "127.0.0.1", udp.getsockname()[1]) in doors
    assert not is_loopback("0.0.0.0")  # noqa: S104 - nothing is bound to it
    assert not is_loopback("::")
    assert is_loopback("::ffff:127.0.0.1")

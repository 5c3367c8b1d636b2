"""Where a node listens, told before its daemon starts."""

from __future__ import annotations

import socket

import pytest

from epochgate.engine.listening import (
    EngineError,
    check_announced_addresses,
    check_listen_address,
    fix_port,
    is_loopback,
)


def test_a_free_port_and_any_port_are_fine() -> None:
    check_listen_address("/ip4/127.0.0.1/tcp/0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    check_listen_address(f"/ip4/127.0.0.1/tcp/{port}")


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_busy_port_is_named_and_says_what_to_do(is_shared: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=is_shared) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            EngineError,
            match=rf"port {port} of 127.0.0.1 .*choose another port with --listen, or 0",
        ):
            check_listen_address(f"/ip4/127.0.0.1/tcp/{port}")


def test_another_machines_address_is_refused() -> None:
    with pytest.raises(EngineError, match="cannot be listened on"):
        check_listen_address("/ip4/192.0.2.1/tcp/0")


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/tcp/",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/udp/4001",
        "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW",
        "/ip4/127.0.0.1/tcp/-1",
        "/dns4/example.org/tcp/4001",
    ],
)  # fmt: skip - one line would be too long, and one a line too many
def test_what_is_no_address_says_how_one_looks(listen: str) -> None:
    with pytest.raises(EngineError, match=r"/ip4/127\.0\.0\.1/tcp/0"):
        check_listen_address(listen)


def test_a_restarted_daemon_takes_the_port_it_was_found_at() -> None:
    addresses = ["/ip4/10.0.0.7/tcp/33223/p2p/12D3KooW"]
    assert fix_port("/ip4/0.0.0.0/tcp/0", addresses) == "/ip4/0.0.0.0/tcp/33223"
    assert fix_port("/ip4/0.0.0.0/tcp/4001", addresses) == "/ip4/0.0.0.0/tcp/4001"
    assert fix_port("/ip4/0.0.0.0/tcp/0", []) == "/ip4/0.0.0.0/tcp/0"


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("/ip4/127.0.0.1/tcp/0", True),
        ("/ip6/::1/tcp/0", True),
        ("/ip4/0.0.0.0/tcp/4001", False),
        ("/ip6/::/tcp/4001", False),
    ],
)
def test_only_loopback_is_out_of_others_reach(listen: str, expected: bool) -> None:
    assert is_loopback(listen) is expected


def test_an_announced_address_is_one_that_can_be_called() -> None:
    check_announced_addresses(
        ["/ip4/203.0.113.7/tcp/4001", "/dns4/node.example/tcp/4001"], "/ip4/0.0.0.0/tcp/4001"
    )
    for wrong in ("/ip4/203.0.113.7/tcp/0", "203.0.113.7:4001", "/dns4/node.example/tcp/70000"):
        with pytest.raises(EngineError, match="look at --announce"):
            check_announced_addresses([wrong], "/ip4/0.0.0.0/tcp/4001")
    with pytest.raises(EngineError, match="choose one with --listen"):
        check_announced_addresses(["/ip4/203.0.113.7/tcp/4001"], "/ip4/0.0.0.0/tcp/0")

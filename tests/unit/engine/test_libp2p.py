"""The peers that a node begins with; `tests/network/test_libp2p.py` has the engine itself."""

from __future__ import annotations

import pytest

from epochgate.engine.libp2p import _parse_initial_peers
from epochgate.engine.listening import EngineError
from epochgate.keys import format_peer_id
from tests.support.identities import alice, bob

HOME = "/ip4/127.0.0.1/tcp/4001"
ALICE = f"{HOME}/p2p/{format_peer_id(alice.author)}"
BOB = f"{HOME}/p2p/{format_peer_id(bob.author)}"


def test_a_node_does_not_begin_with_itself() -> None:
    (place,) = _parse_initial_peers([ALICE, BOB], alice.author)
    assert place == (format_peer_id(bob.author), HOME)


@pytest.mark.parametrize("text", ["", "bob", HOME, f"/nowhere/p2p/{format_peer_id(bob.author)}"])
def test_a_malformed_address_names_its_option(text: str) -> None:
    with pytest.raises(EngineError, match="look at --initial-peers"):
        _parse_initial_peers([ALICE, text], alice.author)

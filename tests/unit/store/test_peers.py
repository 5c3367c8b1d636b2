"""How replicas are asked: whom this node is, who is silent, and what goes on in the background."""

from __future__ import annotations

import asyncio

import pytest

from epochgate.core.record import KEY_BYTES
from epochgate.core.types import PeerId, RecordKey
from epochgate.ports import Handler, Unreachable
from epochgate.store.peers import Peers
from epochgate.store.wire import List, Listing, encode
from tests.support.identities import alice, bob, carol, dave

REQUEST = List(RecordKey(bytes(KEY_BYTES)))
REPLY = Listing((), is_last=True)


class OnePeerNetwork:
    """A network of which the node is alice. All peers answer alike: `reply`, or not at all."""

    peer_id = alice.author
    max_message_bytes = 1 << 16

    def __init__(self) -> None:
        self.reply: bytes | None = encode(REPLY)
        self.asked: list[tuple[PeerId, float]] = []

    async def request(self, peer: PeerId, _message: bytes, timeout_seconds: float) -> bytes:
        self.asked.append((peer, timeout_seconds))
        if self.reply is None:
            raise Unreachable
        return self.reply

    async def serve(self, handler: Handler) -> None:
        raise NotImplementedError

    def set_protected_peers(self, peers: object) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
def network() -> OnePeerNetwork:
    return OnePeerNetwork()


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def peers(network: OnePeerNetwork, told: list[tuple[str, str]]) -> Peers:
    def tell(name: str, error: Exception, _is_begun_again: bool) -> None:
        told.append((name, str(error)))

    return Peers(network, answer_as_replica, 3.0, 1.0, tell)


async def answer_as_replica(_sender: PeerId, _message: bytes) -> bytes:
    return encode(Listing((), is_last=False))


async def test_the_own_replica_is_asked_without_the_network(
    peers: Peers, network: OnePeerNetwork
) -> None:
    assert await peers.ask(alice.author, REQUEST) == Listing((), is_last=False)
    assert network.asked == []
    assert await peers.ask(bob.author, REQUEST) == REPLY
    assert network.asked == [(bob.author, 3.0)]


async def test_a_silent_peer_is_a_suspect_until_it_answers_again(
    peers: Peers, network: OnePeerNetwork
) -> None:
    network.reply = None
    assert await peers.ask(bob.author, REQUEST) is None
    assert peers.suspects == {bob.author}
    assert peers.get_timeout_seconds(bob.author) == 1.0
    assert peers.get_timeout_seconds(carol.author) == 3.0

    network.reply = encode(REPLY)
    assert await peers.ask(bob.author, REQUEST) == REPLY
    assert peers.suspects == set()


@pytest.mark.parametrize("reply", [b"", b"\xc1", encode(REQUEST)])
async def test_a_hostile_reply_is_no_answer_and_no_silence(
    peers: Peers, network: OnePeerNetwork, reply: bytes
) -> None:
    network.reply = reply
    assert await peers.ask(bob.author, REQUEST) is None
    assert peers.suspects == set()


async def test_peers_are_asked_in_turn_this_node_first_and_suspects_last(peers: Peers) -> None:
    replicas = (bob.author, alice.author, carol.author, dave.author)
    peers.suspects.add(carol.author)

    assert peers.order(replicas, 0) == [alice.author, bob.author, dave.author, carol.author]
    assert peers.order(replicas, 7) == [alice.author, dave.author, bob.author, carol.author]
    assert peers.order((), 7) == []


async def test_an_error_in_the_background_is_told(
    peers: Peers, told: list[tuple[str, str]]
) -> None:
    async def fail() -> None:
        raise LookupError("no such thing")

    task = peers.spawn("failing", fail())
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert told == [("failing", "no such thing")]


async def test_closing_ends_what_goes_on_in_the_background(
    peers: Peers, told: list[tuple[str, str]]
) -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    task = peers.spawn("waiting for ever", wait_for_ever())
    await peers.close()
    assert task.cancelled()
    assert told == []

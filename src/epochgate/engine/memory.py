"""The Network port in one process: for simulations on virtual time, and for tests on a real
loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable

import msgspec

from epochgate.core.types import PeerId
from epochgate.engine.answer import check_size, get_answer
from epochgate.keys import format_peer_id
from epochgate.ports import Handler, Unreachable

DEFAULT_MAX_MESSAGE_BYTES = 4 << 20
LOOKUP_SECONDS = 0.003
"""How long it takes to find that nobody knows a peer: what libp2p takes on loopback."""


class Links(msgspec.Struct, frozen=True):
    """What the way between two peers does to each message. Shares are 0 to 1.

    A message takes up to `latency_seconds`, uniformly. The share `loss` never arrives, the share
    `held_back` takes up to `held_back_seconds` more, so that later ones overtake it, and of
    requests the share `duplication` arrives twice.
    """

    latency_seconds: float = 0.0
    loss: float = 0.0
    held_back: float = 0.0
    held_back_seconds: float = 0.0
    duplication: float = 0.0


class Hub:
    """Connects `MemoryNetwork`s over `links`, which may be replaced at any time; `rng` decides, so
    that a seed does.

    `silent` peers take requests and never answer. `is_cut(sender, receiver)` may be replaced to
    part peers, one way or both. Whoever waits for a message that was lost, cut off or swallowed
    waits for its timeout.
    """

    def __init__(
        self,
        rng: random.Random | None = None,
        latency_seconds: float = 0.0,
        loss: float = 0.0,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        self.rng = rng or random.Random(0)  # noqa: S311 - a simulation is to be repeatable
        self.links = Links(latency_seconds, loss)
        self.max_message_bytes = max_message_bytes
        self.silent: set[PeerId] = set()
        self.is_cut: Callable[[PeerId, PeerId], bool] = lambda _sender, _receiver: False
        self._peers: dict[PeerId, MemoryNetwork] = {}
        self._arriving: dict[asyncio.Task[None], None] = {}

    def join(self, peer_id: PeerId) -> MemoryNetwork:
        """A peer's network. Raises ValueError while another of the same id is open."""
        if peer_id in self._peers:
            raise ValueError(f"{format_peer_id(peer_id)} is on the network already: close it first")
        network = self._peers[peer_id] = MemoryNetwork(self, peer_id)
        return network

    def leave(self, network: MemoryNetwork) -> None:
        if self.has(network):
            del self._peers[network.peer_id]

    def has(self, network: MemoryNetwork) -> bool:
        return self._peers.get(network.peer_id) is network

    async def carry(self, sender: MemoryNetwork, receiver: PeerId, message: bytes) -> bytes:
        """The receiver's reply; waits for ever where it never comes. Raises Unreachable where
        nobody is there.
        """
        peer = self._peers.get(receiver)
        if peer is None or peer.handler is None:
            await asyncio.sleep(LOOKUP_SECONDS)
            raise Unreachable(f"nobody knows {format_peer_id(receiver)}")
        if peer is sender:
            return await get_answer(peer.handler, receiver, message, self.max_message_bytes)
        await self._travel(sender.peer_id, receiver)
        if self._happens(self.links.duplication):
            self._spawn(self._arrive_again(sender.peer_id, peer, message))
        if receiver in self.silent or not self.has(peer):
            await _wait_for_ever()
        reply = await get_answer(peer.handler, sender.peer_id, message, self.max_message_bytes)
        await self._travel(receiver, sender.peer_id)
        if not self.has(peer):
            await _wait_for_ever()
        return reply

    async def _travel(self, sender: PeerId, receiver: PeerId) -> None:
        """One message's way; it does not end for a message that is lost."""
        links = self.links
        if self.is_cut(sender, receiver) or self._happens(links.loss):
            await _wait_for_ever()
        seconds = self.rng.uniform(0, links.latency_seconds) if links.latency_seconds else 0.0
        if self._happens(links.held_back):
            seconds += self.rng.uniform(0, links.held_back_seconds)
        if seconds:
            await asyncio.sleep(seconds)

    async def _arrive_again(self, sender: PeerId, receiver: MemoryNetwork, message: bytes) -> None:
        """The copy takes a way of its own, and nobody waits for what it is answered."""
        await self._travel(sender, receiver.peer_id)
        if (
            receiver.peer_id not in self.silent
            and receiver.handler is not None
            and self.has(receiver)
        ):
            await get_answer(receiver.handler, sender, message, self.max_message_bytes)

    def _happens(self, share: float) -> bool:
        return share > 0 and self.rng.random() < share

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._arriving[task] = None
        task.add_done_callback(self._arriving.pop)


class MemoryNetwork:
    """One peer's side of a `Hub`. Without latency a request is a plain call of the receiver's
    handler, no task is made.
    """

    def __init__(self, hub: Hub, peer_id: PeerId) -> None:
        self._hub = hub
        self.peer_id = peer_id
        self.handler: Handler | None = None

    @property
    def max_message_bytes(self) -> int:
        return self._hub.max_message_bytes

    async def serve(self, handler: Handler) -> None:
        self.handler = handler

    async def request(self, peer: PeerId, message: bytes, timeout_seconds: float) -> bytes:
        """Empty bytes mean that the peer's handler failed. Raises Unreachable, and ValueError for
        too long a message.
        """
        check_size(message, self.max_message_bytes)
        if not self._hub.has(self):
            raise Unreachable("this node has left the network")
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._hub.carry(self, peer, message)
        except TimeoutError:
            raise Unreachable(
                f"{format_peer_id(peer)} did not answer within {timeout_seconds:g} s"
            ) from None

    def set_protected_peers(self, members: Iterable[PeerId]) -> None:
        """Nothing: there are no connections here that strangers could use up, and none to hang up
        on.
        """

    async def close(self) -> None:
        self._hub.leave(self)


async def _wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()

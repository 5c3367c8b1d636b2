"""The Network port in one process: for simulations on virtual time, and for tests on a real
loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable

import msgspec

from epochgate.core.limits import DEFAULT_MAX_MESSAGE_BYTES
from epochgate.core.types import PeerId
from epochgate.engine.answer import check_size, get_answer
from epochgate.keys import format_peer_id
from epochgate.ports import Handler, Unreachable

LOOKUP_SECONDS = 0.003
"""The time to find that nobody knows a peer: as long as libp2p takes on loopback."""


class Links(msgspec.Struct, frozen=True):
    """The quality of the way between two peers. Shares are 0 to 1.

    A message takes up to `latency_seconds`, uniformly. The share `loss` never arrives. The share
    `held_back` takes up to `held_back_seconds` more, so that later messages overtake it. Of
    requests, the share `duplication` arrives twice.
    """

    latency_seconds: float = 0.0
    loss: float = 0.0
    held_back: float = 0.0
    held_back_seconds: float = 0.0
    duplication: float = 0.0


class Hub:
    """Connects `MemoryNetwork`s over `links`, which may be replaced at any time.

    `silent` peers take requests and never answer. `is_cut(sender, receiver)` may be replaced to
    separate peers, one way or both. A request whose message was lost or cut off, or whose receiver
    is silent, ends with its timeout.

    Example:
        >>> from epochgate.keys import SigningKey
        >>> hub = Hub()
        >>> alice = hub.join(SigningKey.generate().author)
        >>> bob = hub.join(SigningKey.generate().author)
        >>> async def greet(sender, message):
        ...     return b"hello " + message
        >>> async def ask():
        ...     await bob.serve(greet)
        ...     return await alice.request(bob.peer_id, b"alice", timeout_seconds=1)
        >>> asyncio.run(ask())
        b'hello alice'
    """

    def __init__(
        self,
        rng: random.Random | None = None,
        latency_seconds: float = 0.0,
        loss: float = 0.0,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        """Connect nobody yet.

        Args:
            rng: Decides all that is left to chance, so that a seed decides the run.
            latency_seconds: As in `Links`.
            loss: As in `Links`.
            max_message_bytes: The longest request or reply.
        """
        self.rng = rng or random.Random(0)  # noqa: S311 - a simulation is to be repeatable
        self.links = Links(latency_seconds, loss)
        self.max_message_bytes = max_message_bytes
        self.silent: set[PeerId] = set()
        self.is_cut: Callable[[PeerId, PeerId], bool] = lambda _sender, _receiver: False
        self._peers: dict[PeerId, MemoryNetwork] = {}
        self._arriving: dict[asyncio.Task[None], None] = {}

    def join(self, peer_id: PeerId) -> MemoryNetwork:
        """A peer's network. Raise ValueError while another of the same id is open."""
        if peer_id in self._peers:
            raise ValueError(f"{format_peer_id(peer_id)} is on the network already: close it first")
        network = MemoryNetwork(self, peer_id)
        self._peers[peer_id] = network
        return network

    def leave(self, network: MemoryNetwork) -> None:
        if self.has(network):
            del self._peers[network.peer_id]

    def has(self, network: MemoryNetwork) -> bool:
        """Whether that very network is open, and not a successor of the same id."""
        return self._peers.get(network.peer_id) is network

    async def carry(self, sender: MemoryNetwork, receiver: PeerId, message: bytes) -> bytes:
        """Carry a request, and return the reply; wait for ever where it never comes.

        Raise Unreachable where nobody has the receiver's id, or the peer does not serve.
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
        """Take one message's time; never return for a message that is lost."""
        links = self.links
        if self.is_cut(sender, receiver) or self._happens(links.loss):
            await _wait_for_ever()
        seconds = 0.0
        if links.latency_seconds:
            seconds += self.rng.uniform(0, links.latency_seconds)
        if self._happens(links.held_back):
            seconds += self.rng.uniform(0, links.held_back_seconds)
        if seconds:
            await asyncio.sleep(seconds)

    async def _arrive_again(self, sender: PeerId, receiver: MemoryNetwork, message: bytes) -> None:
        """Deliver a copy, which takes its own time, and drop the answer."""
        await self._travel(sender, receiver.peer_id)
        is_silent = receiver.peer_id in self.silent
        if receiver.handler is not None and self.has(receiver) and not is_silent:
            await get_answer(receiver.handler, sender, message, self.max_message_bytes)

    def _happens(self, share: float) -> bool:
        return share > 0 and self.rng.random() < share

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._arriving[task] = None
        task.add_done_callback(self._arriving.pop)


class MemoryNetwork:
    """One peer's side of a `Hub`.

    Without latency a request is a plain call of the receiver's handler, and no task is made.
    """

    def __init__(self, hub: Hub, peer_id: PeerId) -> None:
        self._hub = hub
        self.peer_id = peer_id
        self.handler: Handler | None = None

    @property
    def max_message_bytes(self) -> int:
        return self._hub.max_message_bytes

    async def serve(self, handler: Handler, /) -> None:
        self.handler = handler

    async def request(self, peer: PeerId, message: bytes, /, timeout_seconds: float) -> bytes:
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

    def set_protected_peers(self, members: Iterable[PeerId], /) -> None:
        """Do nothing: here are no connections that strangers could use up."""

    async def close(self) -> None:
        self._hub.leave(self)


async def _wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()

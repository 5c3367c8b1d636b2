"""The Network port in one process: for simulations on virtual time, and for tests on a real loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from epochgate.ports import Handler, Unreachable

DEFAULT_MAX_MESSAGE_BYTES = 4 << 20


class Hub:
    """Connects `MemoryNetwork`s. Latency is uniform up to `latency_seconds`, a message is lost with probability `loss`;
    both come from `rng`, so a seed decides them.

    `is_cut(a, b)` may be replaced by tests to part peers; `silence` makes a peer take requests and never answer.
    """

    def __init__(
        self,
        rng: random.Random | None = None,
        latency_seconds: float = 0.0,
        loss: float = 0.0,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        self.rng = rng or random.Random(0)  # noqa: S311 - a simulation is to be repeatable
        self.latency_seconds = latency_seconds
        self.loss = loss
        self.max_message_bytes = max_message_bytes
        self.silent: set[bytes] = set()
        self.is_cut: Callable[[bytes, bytes], bool] = lambda _a, _b: False
        self._peers: dict[bytes, MemoryNetwork] = {}

    def join(self, peer_id: bytes) -> MemoryNetwork:
        """A peer's network. Raises ValueError while another of the same id is open."""
        if peer_id in self._peers:
            raise ValueError("a peer of that id is on the network already: close it first")
        network = self._peers[peer_id] = MemoryNetwork(self, peer_id)
        return network

    def leave(self, peer_id: bytes) -> None:
        self._peers.pop(peer_id, None)

    async def carry(self, sender: bytes, receiver: bytes, message: bytes) -> bytes | None:
        """The reply, or None where it never comes."""
        peer = self._peers.get(receiver)
        if peer is None or peer.handler is None or self.is_cut(sender, receiver) or receiver in self.silent:
            return None
        if self.loss and self.rng.random() < self.loss:
            return None
        if self.latency_seconds:
            await asyncio.sleep(self.rng.uniform(0, self.latency_seconds))
        reply = await peer.answer(sender, message)
        if self.latency_seconds:
            await asyncio.sleep(self.rng.uniform(0, self.latency_seconds))
        is_lost = len(reply) > self.max_message_bytes or self.is_cut(sender, receiver) or self._peers.get(receiver) is not peer
        return None if is_lost or (self.loss and self.rng.random() < self.loss) else reply


class MemoryNetwork:
    """One peer's side of a `Hub`."""

    def __init__(self, hub: Hub, peer_id: bytes) -> None:
        self._hub = hub
        self.peer_id = peer_id
        self.handler: Handler | None = None

    @property
    def max_message_bytes(self) -> int:
        return self._hub.max_message_bytes

    async def serve(self, handler: Handler) -> None:
        self.handler = handler

    async def request(self, peer: bytes, message: bytes, timeout_seconds: float) -> bytes:
        if len(message) > self.max_message_bytes:
            raise ValueError(f"a request has at most {self.max_message_bytes} bytes, this one {len(message)}: chunk it")
        try:
            async with asyncio.timeout(timeout_seconds):
                reply = await self._hub.carry(self.peer_id, peer, message)
                if reply is None:
                    await asyncio.sleep(timeout_seconds)  # nobody tells the sender that nothing will come
        except TimeoutError:
            reply = None
        if reply is None:
            raise Unreachable(f"no answer within {timeout_seconds:g} s")
        return reply

    async def answer(self, sender: bytes, message: bytes) -> bytes:
        """What this peer's handler replies; nothing at all when it raises, as on a real network."""
        assert self.handler is not None  # noqa: S101 - the hub asks only peers that serve
        try:
            return await self.handler(sender, message)
        except Exception:  # noqa: BLE001 - to the sender a broken peer looks like one that answers nothing
            return b""

    async def close(self) -> None:
        self._hub.leave(self.peer_id)

"""A town of nodes for the tests of the store, on whichever engine: one chain, policy and calendar,
and a clock that can be moved on. Every node is a replica of every key, since a town is small.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from epochgate.chain.local import LocalChain
from epochgate.core.epoch import epochs, percent
from epochgate.core.limits import Limits
from epochgate.core.policy import Policy
from epochgate.core.receipt import Entry
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading
from epochgate.core.roster import HOSTER
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest, EpochContext
from epochgate.core.types import BlockNumber, Epoch, PeerId
from epochgate.keys import SigningKey
from epochgate.ports import Clock, Handler, Network
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store
from epochgate.store.database import NodeDatabase
from epochgate.store.posting import Posting
from epochgate.store.repair import Repair
from epochgate.store.replica import Replica
from epochgate.store.wire import Fetch, Post, Reply, Request, decode_reply, decode_request, encode
from tests.support.identities import key_of

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")
OUTSIDER = "walter"
LARGE_BYTES = 1 << 16
MAX_MESSAGE_BYTES = 3 * LARGE_BYTES
TIMEOUT_SECONDS = 2.0
LONG_SECONDS = 60.0

HEARTBEAT = Rule("hoster", by=HOSTER, ttl=epochs("1.1"), schema=Digest())
NOTE = Rule(
    "note_epoch_{epoch}",
    by=HOSTER,
    during=percent("[10, 60]"),
    ttl=epochs(2),
    once=True,
    schema=Digest(),
)
OTHER = Rule(
    "other_epoch_{epoch}",
    by=HOSTER,
    during=percent("[10, 60]"),
    ttl=epochs(2),
    once=True,
    schema=Digest(),
)
LARGE = Rule(
    "large_epoch_{epoch}",
    by=HOSTER,
    ttl=epochs(2),
    once=True,
    schema=Digest(LARGE_BYTES),
    max_bytes=2 * LARGE_BYTES,
)
OWN = Rule("own_epoch_{epoch}_{author}", by=HOSTER, ttl=epochs(2), once=True, schema=Digest())
OWN_LARGE = msgspec.structs.replace(LARGE, name="own-large_epoch_{epoch}_{author}")
LIMITS = Limits(stranger=Limits().member, strangers=Limits().spare)
"""The visitor reads as much as a member."""
POLICY = Policy(HEARTBEAT, NOTE, OTHER, LARGE, OWN, OWN_LARGE, limits=LIMITS)


Lie = Callable[["ClusterNode", Request, Reply], Reply]
"""What a dishonest replica makes of its honest reply."""


class ClusterClock:
    """Another clock, moved on by the town."""

    def __init__(self, clock: Clock) -> None:
        self.ahead_seconds = 0.0
        self._clock = clock

    def get_unix_seconds(self) -> float:
        return self._clock.get_unix_seconds() + self.ahead_seconds


class SwitchableHandler:
    """A peer's network, with a handler that may change: a port serves once, and neighbours come to
    lie.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.handler: Handler = _say_nothing

    @staticmethod
    async def attach(network: Network) -> SwitchableHandler:
        handler = SwitchableHandler(network)
        await network.serve(handler._answer)
        return handler

    async def _answer(self, sender: PeerId, message: bytes) -> bytes:
        return await self.handler(sender, message)


class ClusterNode:
    """One node: replica and store on a line."""

    def __init__(self, cluster: StoreCluster, name: str, handler: SwitchableHandler) -> None:
        self.cluster = cluster
        self.name = name
        self.key: SigningKey = key_of(name)
        self.author = self.key.author
        self.network = handler.network
        self._handler = handler
        self._path = cluster.folder / f"{name}.sqlite"
        self.open()

    def open(self) -> None:
        cluster = self.cluster
        network = self.network
        self.database = NodeDatabase(self._path)
        self.chain_clock = ChainClock(
            cluster.chain, cluster.clock, cluster.schedule, self.database.held
        )
        self.replica = Replica(
            self.key, POLICY, self.database, self.chain_clock, network.max_message_bytes
        )
        self.store = Store(
            network, self.replica.handle, POLICY, self.chain_clock, timeout_seconds=TIMEOUT_SECONDS
        )
        self._handler.handler = self.replica.handle

    async def close(self) -> None:
        self._handler.handler = _say_nothing
        await self.store.close()
        self.database.close()

    async def restart(self) -> None:
        await self.close()
        self.open()

    async def lose_everything(self) -> None:
        await self.close()
        for path in self.cluster.folder.glob(f"{self.name}.sqlite*"):
            path.unlink()
        self.open()

    def fall_silent(self) -> None:
        self._handler.handler = _keep_silent

    def speak(self) -> None:
        """Answer honestly, as from the beginning."""
        self._handler.handler = self.replica.handle

    def answer_after(self, seconds: float) -> None:
        async def answer(sender: PeerId, message: bytes) -> bytes:
            await asyncio.sleep(seconds)
            return await self.replica.handle(sender, message)

        self._handler.handler = answer

    def keep_values_back(self) -> None:
        """List everything, and never answer who asks for values."""

        async def answer(sender: PeerId, message: bytes) -> bytes:
            if isinstance(decode_request(message), Fetch):
                return await _keep_silent(sender, message)
            return await self.replica.handle(sender, message)

        self._handler.handler = answer

    def lie(self, lie: Lie) -> None:
        """Answer as a replica does, but for what `lie` makes of it."""

        async def answer(sender: PeerId, message: bytes) -> bytes:
            reply = decode_reply(await self.replica.handle(sender, message))
            return encode(lie(self, decode_request(message), reply))

        self._handler.handler = answer

    def write(
        self,
        rule: Rule,
        payload: bytes = bytes(32),
        lifetime_seconds: float = 600.0,
        epoch: Epoch = Epoch(0),
    ) -> Record:
        key_rule = self.cluster.get_key_rule(rule, epoch, self)
        expiration_time = self.cluster.clock.get_unix_seconds() + lifetime_seconds
        return self.key.sign_record(
            key_rule.context.network, key_rule.key, payload, expiration_time
        )

    async def post(
        self, rule: Rule, record: Record, within_seconds: float = LONG_SECONDS
    ) -> Posting:
        until_seconds = self.cluster.clock.get_unix_seconds() + within_seconds
        return await self.store.post(
            record, self.cluster.get_key_rule(rule, Epoch(0), self), until_seconds
        )

    async def post_to(self, replicas: Iterable[ClusterNode], record: Record) -> list[Reply | None]:
        """Past the store, as a dishonest author would."""
        return [await self.store.ask(replica.author, Post(record)) for replica in replicas]

    async def read(self, rule: Rule, *, wait_for_all: bool = False) -> KeyReading:
        return await self.store.read(
            self.cluster.get_key_rule(rule, Epoch(0), self), wait_for_all=wait_for_all
        )

    async def repair(self, epoch: Epoch = Epoch(0)) -> int:
        return await Repair(POLICY, self.store, self.replica, self.chain_clock, epoch).take()

    def get_listing(self, rule: Rule) -> list[Entry]:
        key = self.cluster.get_key_rule(rule, Epoch(0), self).key
        return list(self.database.get_listing(key, self.cluster.clock.get_unix_seconds()))


class StoreCluster:
    """`start` makes one in the twentieth percent of epoch 0. The visitor is on the network and not
    on the roster, so it is nobody's replica and reads everything from others.
    """

    outsider: ClusterNode

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = ClusterClock(clock)
        self.schedule = EpochSchedule(POLICY)
        path = folder / "chain.sqlite"
        LocalChain.create(path, self.clock, block_seconds=6.0, genesis=bytes(32))
        self.chain = LocalChain(path, None, self.clock)
        self.nodes: list[ClusterNode] = []

    @staticmethod
    async def start(
        folder: Path,
        clock: Clock,
        handlers: Sequence[tuple[str, SwitchableHandler]],
        outsiders: SwitchableHandler,
    ) -> StoreCluster:
        cluster = StoreCluster(folder, clock)
        for name, _ in handlers:
            cluster.chain.register(key_of(name).author, HOSTER)
        cluster.chain.start(BlockNumber(1))
        await cluster.advance_to(20)
        cluster.nodes = [ClusterNode(cluster, name, handler) for name, handler in handlers]
        cluster.outsider = ClusterNode(cluster, OUTSIDER, outsiders)
        return cluster

    async def advance_to(self, percent_complete: int, epoch: Epoch = Epoch(0)) -> None:
        """The middle of a block, so that a slow machine stays in it."""
        block = 1 + epoch * 100 + percent_complete + 0.5
        self.clock.ahead_seconds += (
            self.chain.genesis_seconds + block * 6.0 - self.clock.get_unix_seconds()
        )
        for number in range(max(0, epoch - 2), epoch + 1):
            roster = await self.chain.get_roster(Epoch(number))
            self.schedule.add(EpochContext(self.chain.network_id, self.chain.timing, roster))

    def get_key_rule(self, rule: Rule, epoch: Epoch, author: ClusterNode) -> KeyRule:
        return self.schedule.get_key_rule(
            rule, epoch, author.author if "{author}" in rule.name else None
        )

    @property
    def f(self) -> int:
        return (len(self.nodes) - 1) // 3

    async def close(self) -> None:
        for node in (*self.nodes, self.outsider):
            await node.close()
        await self.chain.close()


async def _say_nothing(_sender: bytes, _message: bytes) -> bytes:
    return b""


async def _keep_silent(_sender: bytes, _message: bytes) -> bytes:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends the future")


async def eventually(is_so: Callable[[], bool]) -> None:
    """What goes on in the background comes to an end."""
    async with asyncio.timeout(LONG_SECONDS):
        while not is_so():  # noqa: ASYNC110 - a neighbour's ledger or loop rings no bell
            await asyncio.sleep(0.01)

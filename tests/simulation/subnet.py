"""A whole subnet in one process on virtual time: production nodes on the memory engine and the
embedded chain.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from epochgate.chain.local import LocalChain
from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.scoring import MAX_SCORE
from epochgate.core.types import BlockNumber, Epoch
from epochgate.engine.memory import Hub, MemoryNetwork
from epochgate.engine.virtual_time import InlineCompute, SeededEntropy, VirtualClock, run_virtually
from epochgate.keys import SigningKey, format_peer_id
from epochgate.node.runner import Node
from epochgate.observe.events import AnyEvent, Event, Scored
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import Challenger, Model, OnChain
from epochgate.store.database import NodeDatabase
from epochgate.transcript.writer import TranscriptWriter
from tests.support.identities import key_of

BLOCKS_PER_EPOCH = 100
BLOCK_SECONDS = 6.0
Fact = TypeVar("Fact", bound=Event)
T = TypeVar("T")


HOSTERS = ("alice", "bob", "carol", "dave")
VALIDATORS = ("victor", "vera", "vito")


class HonestModel:
    """Answers at once, and the same everywhere."""

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        return np.tanh(challenge * np.float32(1.5))


class LyingModel:
    """Answers at once, with something else."""

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        return -challenge


class NoModel:
    """Answers nothing."""

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        raise RuntimeError("there is no model here")


class SimNode:
    """One node of the world, running or not. It can be killed, and started again with what its
    ledger holds.
    """

    def __init__(self, subnet: SimSubnet, name: str, model: Model | None) -> None:
        self.name = name
        self.key: SigningKey = key_of(name)
        self.peer_id = format_peer_id(self.key.author)
        self.facts: list[AnyEvent] = []
        self._world = subnet
        self._model = model
        self.challenger: Challenger | None = subnet.challengers.get(name)
        self._life: asyncio.Task[None] | None = None
        self._database: NodeDatabase | None = None
        self._network: MemoryNetwork | None = None
        self._recorder: TranscriptWriter | None = None
        self._rng = random.Random(f"{subnet.seed} {name}")
        self.clock = subnet.make_clock(name)
        self.node: Node | None = None

    async def start(self) -> None:
        subnet = self._world
        network = self._network = subnet.hub.join(self.key.author)
        self._database = subnet.open_ledger(self)
        if subnet.is_recorded:
            self._recorder = TranscriptWriter(
                self.transcript, "epochgate:INFERENCE_POLICY", functools.partial(subnet.hear, self)
            )
        self.node = Node(
            chain=subnet.share_chain(self),
            network=network,
            database=self._database,
            key=self.key,
            policy=subnet.policy,
            clock=self.clock,
            entropy=SeededEntropy(self._rng),
            compute=InlineCompute(),
            model=self._model,
            challenger=self.challenger,
            emit=functools.partial(subnet.hear, self),
            public_name=self.name,
            recorder=self._recorder,
        )
        subnet.prepare(self, self.node)
        await self.node.start()
        self._life = asyncio.create_task(self.node.run())

    async def kill(self) -> None:
        """Abruptly: nothing is said, nothing is cleaned up."""
        assert self._life is not None
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)
        await self._close()

    def lose_ledger(self) -> None:
        for file in self._world.folder.glob(f"{self.name}.sqlite*"):
            file.unlink()

    async def stop(self) -> None:
        assert self._life is not None
        assert self.node is not None
        self.node.stop()
        await self._life
        await self._close()
        if self._recorder is not None:
            self._recorder.close()

    @property
    def transcript(self) -> Path:
        return self._world.folder / self.name / "transcript"

    def get(self, kind: type[Fact], epoch: Epoch | None = None) -> list[Fact]:
        """What this node has emitted of `kind`."""
        return [
            fact
            for fact in self.facts
            if isinstance(fact, kind) and epoch in (None, getattr(fact, "epoch", None))
        ]

    async def _close(self) -> None:
        assert self._database is not None
        assert self._network is not None
        await self._network.close()
        self._database.close()
        self._life = self.node = None

    def get_live_node(self) -> Node:
        assert self.node is not None
        return self.node

    @property
    def is_running(self) -> bool:
        return self._life is not None


class SimSubnet:
    """Hosters, validators and nodes in both roles, called by name; the subnet starts ten blocks
    after its chain.
    """

    chain_type = LocalChain

    def __init__(
        self,
        folder: Path,
        *,
        hosters: tuple[str, ...] = HOSTERS,
        validators: tuple[str, ...] = VALIDATORS,
        both: tuple[str, ...] = (),
        models: dict[str, Model] | None = None,
        challengers: dict[str, Challenger] | None = None,
        policy: Policy = INFERENCE_POLICY,
        seed: int = 0,
        is_on_disk: bool = False,
        is_recorded: bool = False,
        hub: Hub | None = None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> None:
        self.folder = folder
        self.policy = policy
        self.challengers = challengers or {}
        self.seed = seed
        self.is_on_disk = is_on_disk
        self.is_recorded = is_recorded
        self.clock = VirtualClock()
        self.hub = hub or Hub(random.Random(seed), latency_seconds=0.05)
        self.chain_path = folder / "chain.sqlite"
        LocalChain.create(
            self.chain_path,
            self.clock,
            block_seconds=block_seconds,
            blocks_per_epoch=BLOCKS_PER_EPOCH,
            genesis=seed.to_bytes(32, "big"),
        )
        self.chain = self.chain_type(self.chain_path, None, self.clock)
        roles = (
            dict.fromkeys(hosters, HOSTER)
            | dict.fromkeys(validators, VALIDATOR)
            | dict.fromkeys(both, HOSTER | VALIDATOR)
        )
        models = dict.fromkeys((*hosters, *both), HonestModel()) | (models or {})
        self.nodes = {name: SimNode(self, name, models.get(name)) for name in roles}
        for name, role in roles.items():
            self.chain.register(self.nodes[name].key.author, role)
        self.chain.start(BlockNumber(10))

    def make_clock(self, _name: str) -> VirtualClock:
        return self.clock

    def share_chain(self, sim_node: SimNode) -> LocalChain:
        return self.chain.share(sim_node.key.author, sim_node.clock)

    def open_ledger(self, sim_node: SimNode) -> NodeDatabase:
        return NodeDatabase(self.folder / f"{sim_node.name}.sqlite" if self.is_on_disk else None)

    def hear(self, sim_node: SimNode, fact: AnyEvent) -> None:
        sim_node.facts.append(fact)

    def prepare(self, sim_node: SimNode, node: Node) -> None:
        """What is done to a node before it starts: nothing, but in worlds with villains and
        umpires.
        """

    def __getitem__(self, name: str) -> SimNode:
        return self.nodes[name]

    def get_running(self) -> list[SimNode]:
        return [sim_node for sim_node in self.nodes.values() if sim_node.is_running]

    async def start(self, *absent: str) -> None:
        for name, sim_node in self.nodes.items():
            if name not in absent:
                await sim_node.start()

    async def run_until(self, epoch: Epoch, percent: float = 0.0) -> None:
        """Let the world live until `percent` of `epoch` has passed."""
        block = self.chain.timing.compute_first_block(epoch) + percent / 100 * BLOCKS_PER_EPOCH
        left_seconds = (
            self.chain.genesis_seconds
            + block * self.chain.timing.block_seconds
            - self.clock.get_unix_seconds()
        )
        await asyncio.sleep(max(0.0, left_seconds))

    async def get_submission(self, epoch: Epoch) -> OnChain:
        """The one made in `epoch`."""
        on_chain = await self.chain.get_submission(epoch)
        assert on_chain is not None, f"nobody submitted in epoch {epoch}"
        return on_chain

    async def get_elected(self, epoch: Epoch) -> SimNode:
        """Only once the epoch has begun."""
        author = await self.chain.get_elected(epoch)
        return next(sim_node for sim_node in self.nodes.values() if sim_node.key.author == author)

    async def stop(self) -> None:
        for sim_node in self.get_running():
            await sim_node.stop()


def live(
    folder: Path, story: Callable[[SimSubnet], Awaitable[T]], *, seed: int = 0, **options: Any
) -> T:
    """Make a world and let `story` happen in it, on virtual time."""

    async def main(_rng: random.Random) -> T:
        return await story(SimSubnet(folder, seed=seed, **options))

    return run_virtually(main, seed)


async def assert_complete(
    subnet: SimSubnet, epoch: Epoch, *, without: tuple[str, ...] = ()
) -> None:
    """Everybody but `without` did what it should about `epoch`, and agrees."""
    present = [sim_node for name, sim_node in subnet.nodes.items() if name not in without]
    validators = [sim_node for sim_node in present if sim_node.name in VALIDATORS]
    hosters = sorted(sim_node.peer_id for sim_node in present if sim_node.name in HOSTERS)
    for validator in validators:
        scored = validator.get(Scored, epoch)[-1]
        assert set(hosters) <= set(scored.commitments)
        assert set(hosters) <= set(scored.openings)
        assert all(scored.scores[peer_id] == MAX_SCORE for peer_id in hosters)
    assert (
        len(
            {
                str(sorted(validator.get(Scored, epoch)[-1].scores.items()))
                for validator in validators
            }
        )
        == 1
    )
    on_chain = await subnet.get_submission(Epoch(epoch + 1))
    attestors = {sim_node.key.author for sim_node in present} - {on_chain.submitter}
    assert attestors <= set(on_chain.attested_by)
    assert on_chain.is_attested

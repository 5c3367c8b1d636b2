"""A subnet without tensors: reporters commit to a price, open it, and are paid for being near the
median of all.

Policy, roles, commitments, receipts and chain are the same as an inference subnet's. A hoster is a
reporter, its "model" is a source of prices; validators compute the median again and are paid for
that. Run it whole, in one process and on virtual time, with one reporter that lies:

    python examples/price_oracle.py

or as processes on loopback, from this folder: `epochgate devnet --policy price_oracle:POLICY
--model price_oracle:Feed`.
"""

from __future__ import annotations

import asyncio
import math
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import epochgate as eg
from epochgate.chain.local import LocalChain
from epochgate.core.commitment import Opened
from epochgate.core.receipt import Standing
from epochgate.core.scoring import TOTAL_PAY, compute_consensus
from epochgate.engine.memory import Hub
from epochgate.engine.virtual_time import InlineCompute, SeededEntropy, VirtualClock, run_virtually
from epochgate.node.runner import Node
from epochgate.store.database import NodeDatabase


class Price(msgspec.Struct, frozen=True):
    """The schema of a price: one float64, big-endian, finite and above zero; an array of one
    element for the scores.
    """

    def bind(self, context: eg.EpochContext) -> Callable[[bytes], NDArray[Any]]:
        return self.decode

    def decode(self, payload: bytes) -> NDArray[Any]:
        if len(payload) != 8 or not 0 < (price := struct.unpack(">d", payload)[0]) < math.inf:
            raise eg.Malformed("expected eight bytes, a finite price above zero")
        return np.array([price])

    def encode(self, value: object) -> bytes:
        if not isinstance(value, np.ndarray) or value.size != 1:
            raise eg.Malformed("expected an array of one price")
        payload = struct.pack(">d", value.item())
        self.decode(payload)
        return payload

    def describe(self) -> str:
        return "price[float64]"


POLICY = eg.Policy(
    eg.Rule("hoster", by=eg.HOSTER, ttl=eg.epochs("1.1"), schema=eg.Map(eg.Heartbeat)),
    eg.Rule("validator", by=eg.VALIDATOR, ttl=eg.epochs("1.1"), schema=eg.Map(eg.Heartbeat)),
    eg.Rule(
        "price-commit_epoch_{epoch}",
        by=eg.HOSTER,
        during=eg.percent("[0, 50]"),
        ttl=eg.epochs("2.2"),
        once=True,
        schema=eg.Digest(),
        kept_until=eg.epochs(2),
    ),
    eg.Rule(
        "price-reveal_epoch_{epoch}",
        by=eg.HOSTER,
        during=eg.percent("(50, 60]"),
        ttl=eg.epochs(2),
        once=True,
        schema=eg.OpeningOf(Price()),
        kept_until=eg.epochs(2),
        opens="price-commit",
    ),
    eg.Rule(
        "list-commit_epoch_{epoch}",
        by=eg.VALIDATOR,
        during=eg.percent("[60, 100)"),
        ttl=eg.epochs(2),
        once=True,
        schema=eg.Digest(),
        kept_until=eg.epochs("2.5"),
    ),
    eg.Rule(
        "list-reveal_epoch_{epoch}",
        by=eg.VALIDATOR,
        during=eg.percent("[0, 50]"),
        ttl=eg.epochs("2.2"),
        once=True,
        schema=eg.OpeningOf(eg.ScoreList()),
        max_bytes=65_536,
        kept_until=eg.epochs(2),
        opens="list-commit",
        epochs_ago=1,
    ),
    # markets differ by a tenth of a percent or so; twice that is no lie
    scoring=eg.Scoring(tolerance_ppm=2000),
)


class Feed:
    """A reporter's source. A real one asks its exchange; this one draws around `price`, so that no
    two are the same.
    """

    def __init__(self, price: float = 2500.0, rng: random.Random | None = None) -> None:
        self._price = price
        self._rng = rng or random.Random()  # noqa: S311 - an exchange's noise need not be secret

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        """There is no challenge to answer: what is asked is the same in every epoch."""
        return np.array([self._price * self._rng.gauss(1, 0.0003)])


class Town:
    """Four honest reporters, one that lies, three validators: production nodes on one machine's
    memory and virtual time.
    """

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self.clock = VirtualClock()
        file = folder / "chain.sqlite"
        hub = Hub(rng, latency_seconds=0.05)
        LocalChain.create(file, self.clock, block_seconds=6.0, genesis=rng.randbytes(32))
        self.chain = LocalChain(file, None, self.clock)
        self.feeds = {name: Feed(rng=rng) for name in ("ann", "ben", "cleo", "dan")} | {
            "liar": Feed(9999.0, rng)
        }
        self.keys = {
            name: eg.SigningKey.from_seed(rng.randbytes(32))
            for name in (*self.feeds, "val", "vic", "viv")
        }
        self.nodes = [self._make_node(name, hub, rng) for name in self.keys]
        self.chain.start(eg.BlockNumber(10))

    def _make_node(self, name: str, hub: Hub, rng: random.Random) -> Node:
        key = self.keys[name]
        self.chain.register(key.author, eg.HOSTER if name in self.feeds else eg.VALIDATOR)
        return Node(
            chain=self.chain.share(key.author),
            network=hub.join(key.author),
            database=NodeDatabase(),
            key=key,
            policy=POLICY,
            clock=self.clock,
            entropy=SeededEntropy(rng),
            compute=InlineCompute(),
            emit=lambda _fact: None,
            model=self.feeds.get(name),
        )

    async def live_through(self, epoch: eg.Epoch) -> tuple[int, float, dict[str, int]]:
        """The number of proven prices of `epoch`, their robust median, and the pay for it."""
        next_epoch = eg.Epoch(epoch + 1)
        settled_block = eg.BlockNumber(self.chain.timing.compute_first_block(next_epoch) + 50)
        await asyncio.sleep(
            self.chain.compute_unix_seconds(settled_block) - self.clock.get_unix_seconds()
        )
        rule = POLICY.get_rule("price-reveal")
        reading = await self.nodes[0].store.read_all(rule, epoch)
        decode = reading.readings[0].key_rule.decode
        prices = {}
        for author, (proof, *_) in reading.get_proofs(Standing.PROVEN).items():
            opened = decode(proof.record.payload)
            if isinstance(opened, Opened):
                prices[author] = opened.value
        agreed = compute_consensus(
            prices, tuple(prices), POLICY.scoring.tolerance_ppm
        ).compute_centre_values()
        pay = {}
        on_chain = await self.chain.get_submission(next_epoch)
        if on_chain is not None:
            scores = on_chain.submission.scores
            pay = {name: scores[key.author] for name, key in self.keys.items()}
        return len(prices), agreed.item(), pay


async def watch(rng: random.Random, folder: Path) -> None:
    town = Town(rng, folder)
    for node in town.nodes:
        await node.start()
    lives = [asyncio.create_task(node.run()) for node in town.nodes]
    for epoch in range(3):
        count, price, pay = await town.live_through(eg.Epoch(epoch))
        shares = ", ".join(f"{name} {units / TOTAL_PAY:.2f}" for name, units in pay.items())
        print(f"epoch {epoch}: {count} prices, the median is {price:.2f}; paid: {shares}")
    for node in town.nodes:
        node.stop()
    await asyncio.gather(*lives)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        run_virtually(lambda rng: watch(rng, Path(name)), seed=1)

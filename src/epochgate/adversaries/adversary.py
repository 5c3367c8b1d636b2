"""What an adversary is: an honest node with some of its parts replaced before it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from epochgate.core.receipt import Proof, Standing
from epochgate.core.record import Record
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.types import Epoch, PeerId
from epochgate.keys import SigningKey
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.runner import Node
from epochgate.store.wire import Post, Posted


class Adversary(msgspec.Struct, frozen=True):
    """`role` is what it is registered as; `corrupt` is called with the node once it is made and
    before it starts.

    `aim` says what it is after, `outcome` what the protocol makes of it. `make_key` is for one that
    chooses its identity.
    """

    name: str
    role: int
    aim: str
    outcome: str
    corrupt: Callable[[Node], None]
    make_key: Callable[[], SigningKey] = SigningKey.generate


async def post_once(node: NodeContext, replicas: Iterable[PeerId], record: Record) -> str:
    """Send a record past the store, one time to each; says what came of it."""
    replies = await asyncio.gather(*(node.store.ask(replica, Post(record)) for replica in replicas))
    return (
        f"{sum(isinstance(reply, Posted) for reply in replies)} of {len(replies)} replicas took it"
    )


def sign(node: NodeContext, key_rule: KeyRule, payload: bytes) -> Record:
    """A record of this node's under any key, with as long a life as the key's rule allows."""
    expiration_time = (
        node.get_unix_seconds() + key_rule.longest_seconds - 2 * key_rule.block_seconds
    )
    return node.key.sign_record(key_rule.context.network, key_rule.key, payload, expiration_time)


def get_replicas(node: NodeContext, rule: Rule, epoch: Epoch) -> Sequence[PeerId]:
    return node.get_key_rule(rule, epoch).replica_set.replicas


async def watch_for_others(
    node: NodeContext, rule: Rule, epoch: Epoch, closes: float
) -> dict[PeerId, Proof]:
    """The others' records under `rule`, as soon as one is proven. Raises DutyFailed
    when nothing comes.
    """
    while node.compute_seconds_until(closes) > node.block_seconds:
        rule_reading = await node.store.read_all(rule, epoch)
        proven = rule_reading.get_proofs(Standing.PROVEN)
        others = {author: proofs[0] for author, proofs in proven.items() if author != node.author}
        if others:
            return others
        await asyncio.sleep(node.block_seconds / 2)
    raise DutyFailed("there was nobody to copy from")

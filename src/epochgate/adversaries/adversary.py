"""What an adversary is: an honest node with some of its parts replaced before it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from epochgate.core.receipt import Proof, Standing
from epochgate.core.record import Record
from epochgate.core.rule import KeyRule, Rule
from epochgate.keys import SigningKey
from epochgate.node.context import Missed, Station
from epochgate.node.runner import Node
from epochgate.store.wire import Post, Posted


class Adversary(msgspec.Struct, frozen=True):
    """`role` is what it is registered as; `corrupt` is called with the node once it is made and before it starts.

    `aim` says what it is after, `outcome` what the protocol makes of it. `make_key` is for one that chooses its identity.
    """

    name: str
    role: int
    aim: str
    outcome: str
    corrupt: Callable[[Node], None]
    make_key: Callable[[], SigningKey] = SigningKey.generate


async def post_once(station: Station, replicas: Iterable[bytes], record: Record) -> str:
    """Send a record past the store, one time to each; says what came of it."""
    replies = await asyncio.gather(*(station.store.ask(replica, Post(record)) for replica in replicas))
    return f"{sum(isinstance(reply, Posted) for reply in replies)} of {len(replies)} replicas took it"


def sign(station: Station, key_rule: KeyRule, payload: bytes) -> Record:
    """A record of this node's under any key, with as long a life as the key's rule allows."""
    expiration_time = station.get_unix_seconds() + key_rule.longest_seconds - 2 * key_rule.block_seconds
    return station.key.sign_record(key_rule.context.network, key_rule.key, payload, expiration_time)


def get_replicas(station: Station, rule: Rule, epoch: int) -> Sequence[bytes]:
    return station.get_key_rule(rule, epoch).replica_set.replicas


async def watch_for_others(station: Station, rule: Rule, epoch: int, closes: float) -> dict[bytes, Proof]:
    """What others have posted by `rule`, as soon as something of theirs is proven. Raises Missed when nothing comes."""
    while station.compute_seconds_until(closes) > station.block_seconds:
        section = await station.store.read_all(rule, epoch)
        proven = section.get_proofs(Standing.PROVEN)
        others = {author: proofs[0] for author, proofs in proven.items() if author != station.author}
        if others:
            return others
        await asyncio.sleep(station.block_seconds / 2)
    raise Missed("there was nobody to copy from")

"""A rule as a user declares it, and the same rule bound to one epoch, when everything in it is a
plain number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import msgspec

from epochgate.core.epoch import Blocks, Window, compute_seconds
from epochgate.core.receipt import ReceiptRule
from epochgate.core.record import compute_key, compute_signing_prefix
from epochgate.core.roster import ReplicaSet
from epochgate.core.schema import Decoder, EpochContext, Schema
from epochgate.core.types import BlockNumber, Epoch, PeerId, RecordKey

ALWAYS = Blocks(BlockNumber(-(1 << 62)), BlockNumber(1 << 62))
LAG_BLOCKS = 2
"""What a deciding block may lag behind the author's clock: one block of margin and one of
extrapolation.
"""


class Rule(msgspec.Struct, frozen=True):
    """Who may write a family of keys, when in the epoch, for how long, and what the value is.

    `name` is the key's name with `{epoch}` and, where every author has a key of its own, `{author}`
    (the peer id in hex). `ttl` is the longest lifetime in epochs; `kept_until` says until how many
    epochs after its own epoch began a record that decides something is read, so it must not expire
    sooner. Until `elected_until` of the epoch only the elected node may write. `opens` names the
    rule whose commitments these records open, made `epochs_ago` epochs before. `max_bytes` bounds
    the value: 64 bytes of signature and the payload.
    """

    name: str
    by: int
    ttl: Fraction
    schema: Schema
    during: Window | None = None
    once: bool = False
    max_bytes: int = 4096
    kept_until: Fraction | None = None
    elected_until: Fraction | None = None
    opens: str | None = None
    epochs_ago: int = 0

    @property
    def is_of_an_epoch(self) -> bool:
        return "{epoch}" in self.name

    @property
    def is_of_an_author(self) -> bool:
        return "{author}" in self.name

    @property
    def kind(self) -> str:
        """The name without its epoch and author: `hoster-commit` of
        `hoster-commit_epoch_{epoch}`.
        """
        return re.split(r"[-_]epoch_|[-_]?\{", self.name)[0]

    def compute_writers(self, authors: int, held_epochs: int) -> int:
        """How many authors may have a record under one key at a time, when there are `authors` on
        the roster.

        A key without an epoch outlives rosters, and so, for a while, do the records of those who
        left.
        """
        if self.is_of_an_author:
            return 1
        return authors if self.is_of_an_epoch else authors * held_epochs

    def describe(self) -> str:
        facts = [
            self.name,
            f"by={int(self.by)}",
            f"ttl={self.ttl}",
            f"during={self.during.describe() if self.during else 'always'}",
            f"once={self.once}",
            f"max_bytes={self.max_bytes}",
            f"kept_until={self.kept_until}",
            f"elected_until={self.elected_until}",
            f"opens={self.opens}:{self.epochs_ago}",
            f"schema={self.schema.describe()}",
        ]
        return " ".join(facts)

    def bind(self, context: EpochContext, epoch: Epoch) -> Iterator[KeyRule]:
        """The rule's keys in `epoch`: one, or one an author."""
        decode = self.schema.bind(context)
        authors: tuple[PeerId | None, ...] = (
            context.roster.get_authors(self.by) if self.is_of_an_author else (None,)
        )
        for author in authors:
            name = self.name.format(epoch=epoch, author=author.hex() if author else "")
            yield KeyRule.build(
                self, name, epoch if self.is_of_an_epoch else None, author, context, decode
            )


class KeyRule(msgspec.Struct, frozen=True, gc=False):
    """A rule in one epoch, with nothing left to compute. Blocks are absolute, both ends inside."""

    rule: Rule
    name: str
    key: RecordKey
    epoch: Epoch | None
    context: EpochContext
    blocks: Blocks
    first: BlockNumber
    last: BlockNumber
    stand_ins_first: BlockNumber
    keep_block: BlockNumber | None
    longest_seconds: float
    block_seconds: float
    role: int
    roles: dict[PeerId, int]
    author: PeerId | None
    elected: PeerId | None
    once: bool
    max_bytes: int
    prefix: bytes
    decode: Decoder

    @staticmethod
    def build(
        rule: Rule,
        name: str,
        epoch: Epoch | None,
        author: PeerId | None,
        context: EpochContext,
        decode: Decoder,
    ) -> KeyRule:
        timing = context.timing
        key = compute_key(name)
        blocks = (
            ALWAYS
            if epoch is None
            else Blocks(
                timing.compute_first_block(epoch),
                BlockNumber(timing.compute_first_block(Epoch(epoch + 1)) - 1),
            )
        )
        stand_ins_first = blocks.first
        keep_block = None
        if epoch is not None:
            start = blocks.first
            if rule.during is not None:
                blocks = rule.during.bind(epoch, timing)
            if rule.elected_until is not None:
                stand_ins_first = BlockNumber(
                    start + int(rule.elected_until * timing.blocks_per_epoch) + 1
                )
            if rule.kept_until is not None:
                keep_block = BlockNumber(start + int(rule.kept_until * timing.blocks_per_epoch))
        return KeyRule(
            rule=rule,
            name=name,
            key=key,
            epoch=epoch,
            context=context,
            blocks=blocks,
            first=blocks.first,
            last=blocks.last,
            stand_ins_first=stand_ins_first,
            keep_block=keep_block,
            longest_seconds=compute_seconds(rule.ttl, timing),
            block_seconds=timing.block_seconds,
            role=int(rule.by),
            roles=context.roster.roles,
            author=author,
            elected=context.elected,
            once=rule.once,
            max_bytes=rule.max_bytes,
            prefix=compute_signing_prefix(context.network, key),
            decode=decode,
        )

    @property
    def replica_set(self) -> ReplicaSet:
        """The key's replicas; a key without an epoch has no seed of its own, so the network id
        stands in.
        """
        return self.context.roster.get_replica_set(
            self.key, None if self.epoch is not None else self.context.network
        )

    @property
    def receipt_rule(self) -> ReceiptRule:
        blocks = None if self.epoch is None else self.blocks
        return ReceiptRule(self.context.network, self.replica_set, self.epoch, blocks)

    def compute_shortest_seconds(self, block: BlockNumber) -> float:
        """The least time a record stored at `block` must still live, so that it is there when it is
        last read.
        """
        if self.keep_block is None:
            return 0.0
        return max(0, self.keep_block - block - LAG_BLOCKS) * self.block_seconds

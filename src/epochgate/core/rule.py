"""A rule as a user declares it, and the same rule for one key of one epoch, when everything in it
is a plain number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import msgspec

from epochgate.core.epoch import Blocks, Timing, Window, compute_seconds
from epochgate.core.receipt import ReceiptRule
from epochgate.core.record import compute_key, compute_signing_prefix
from epochgate.core.roster import ReplicaSet
from epochgate.core.schema import Decoder, EpochContext, Schema
from epochgate.core.types import BlockNumber, Epoch, PeerId, RecordKey, SigningPrefix

ALWAYS = Blocks(BlockNumber(-(1 << 62)), BlockNumber(1 << 62))
"""The window of a key without an epoch."""
LAG_BLOCKS = 2
"""Blocks that a replica may lag behind the author's clock: one of margin, one of extrapolation."""


class Rule(msgspec.Struct, frozen=True):
    """A family of keys: its authors, window, lifetime, and the schema of its values.

    Attributes:
        name: The key's name. `{epoch}` in it stands for the epoch's number, and `{author}` for the
            author's peer id in hex, where every author has a key of its own.
        by: The roles that may write, as bits of `Role`: `HOSTER`, `VALIDATOR`, or both with `|`.
        ttl: The longest lifetime of a record, in epochs: `epochs("1.1")`.
        schema: The schema of the payload.
        during: The part of the key's epoch in which a record may be stored; None for all of it.
        once: An author may write the key once; else it may replace its record by one that expires
            later.
        max_bytes: The longest value: 64 bytes of signature and the payload.
        kept_until: Until when a record must live, in epochs after the beginning of its own one,
            because something is still decided by it; None where nothing is.
        elected_until: Until when only the elected validator may write, in epochs after the epoch's
            beginning; other validators may write after it. A rule that has it makes the challenge.
        opens: The kind of the rule whose commitments these records open; None for all others.
        epochs_ago: The number of epochs between such a commitment and its opening.

    >>> rule = Rule(
    ...     "answer-commit_epoch_{epoch}",
    ...     by=HOSTER,
    ...     during=percent("[0, 50]"),
    ...     ttl=epochs(2),
    ...     schema=Digest(),
    ...     once=True,
    ... )
    >>> rule.kind, rule.is_of_an_epoch, rule.is_of_an_author
    ('answer-commit', True, False)
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
        """Whether each epoch has a key of its own."""
        return "{epoch}" in self.name

    @property
    def is_of_an_author(self) -> bool:
        """Whether each author has a key of its own."""
        return "{author}" in self.name

    @property
    def kind(self) -> str:
        """The name without its epoch and author: `hoster-commit` of
        `hoster-commit_epoch_{epoch}`.
        """
        return re.split(r"[-_]epoch_|[-_]?\{", self.name)[0]

    def compute_writers(self, authors: int, *, held_epochs: int) -> int:
        """The number of authors that may have a record under one key at a time.

        Args:
            authors: The size of a roster.
            held_epochs: In how many epochs the records were stored that a replica holds at once. A
                key without an epoch outlives rosters, and so, for a while, do the records of
                authors that left.

        Returns:
            1 for a key that belongs to an author, else the number of all who may have written it.
        """
        if self.is_of_an_author:
            return 1
        if self.is_of_an_epoch:
            return authors
        return authors * held_epochs

    def describe(self) -> str:
        """One line that says all, for the policy's digest."""
        during = "always"
        if self.during is not None:
            during = self.during.describe()
        facts = [
            self.name,
            f"by={int(self.by)}",
            f"ttl={self.ttl}",
            f"during={during}",
            f"once={self.once}",
            f"max_bytes={self.max_bytes}",
            f"kept_until={self.kept_until}",
            f"elected_until={self.elected_until}",
            f"opens={self.opens}:{self.epochs_ago}",
            f"schema={self.schema.describe()}",
        ]
        return " ".join(facts)

    def bind(self, context: EpochContext, epoch: Epoch) -> Iterator[KeyRule]:
        """The rule's keys in one epoch.

        Args:
            context: The chain's facts about the epoch. Its roster decides whose keys there are.
            epoch: The epoch that the keys name.

        Yields:
            The rule's one key, or for a rule with `{author}` a key for each author in its roles.
        """
        decode = self.schema.bind(context)
        if not self.is_of_an_author:
            yield KeyRule.build(self, epoch, None, context, decode)
            return
        for author in context.roster.get_authors(self.by):
            yield KeyRule.build(self, epoch, author, context, decode)


class KeyRule(msgspec.Struct, frozen=True, gc=False):
    """A rule for one key of one epoch, with nothing left to compute.

    Attributes:
        rule: The rule that the key stands under.
        name: The key's name, `hoster-commit_epoch_7` for example.
        key: Its digest.
        epoch: The key's epoch; None for a key without one.
        context: The chain's facts about the epoch.
        blocks: The blocks at which a record may be stored.
        first: The first block of `blocks`.
        last: The last block of `blocks`.
        stand_ins_first: From this block on other validators than the elected one may write.
        keep_block: A record must not expire before this block; None where nothing depends on it.
        longest_seconds: The longest lifetime.
        block_seconds: Seconds between two blocks.
        role: The roles that may write, as bits of `Role`.
        roles: The roles of each author on the roster.
        author: The only author that may write; None where all in the role may.
        elected: The elected validator; None where there is none.
        once: An author may write once.
        max_bytes: The longest value.
        prefix: The part of the signed bytes that all records of the key share.
        decode: The schema's decoder.
    """

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
    prefix: SigningPrefix
    decode: Decoder

    @staticmethod
    def build(
        rule: Rule, epoch: Epoch, author: PeerId | None, context: EpochContext, decode: Decoder
    ) -> KeyRule:
        """The rule for the key of `epoch`, and of `author` where every author has its own."""
        timing = context.timing
        name = rule.name.format(epoch=epoch, author="" if author is None else author.hex())
        key = compute_key(name)
        blocks = ALWAYS
        stand_ins_first = ALWAYS.first
        keep_block = None
        if rule.is_of_an_epoch:
            start = timing.compute_first_block(epoch)
            blocks = _compute_window(rule, epoch, timing)
            stand_ins_first = start
            if rule.elected_until is not None:
                elected_blocks = int(rule.elected_until * timing.blocks_per_epoch)
                stand_ins_first = BlockNumber(start + elected_blocks + 1)
            if rule.kept_until is not None:
                keep_block = BlockNumber(start + int(rule.kept_until * timing.blocks_per_epoch))
        return KeyRule(
            rule=rule,
            name=name,
            key=key,
            epoch=epoch if rule.is_of_an_epoch else None,
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
        """The key's replicas.

        A key without an epoch has no seed of its own, so the network id stands in for it.
        """
        roster = self.context.roster
        if self.epoch is None:
            return roster.get_replica_set(self.key, self.context.network)
        return roster.get_replica_set(self.key)

    @property
    def receipt_rule(self) -> ReceiptRule:
        """The conditions that receipts for the key must meet."""
        blocks = self.blocks if self.epoch is not None else None
        return ReceiptRule(self.context.network, self.replica_set, self.epoch, blocks)

    def compute_shortest_seconds(self, block: BlockNumber) -> float:
        """The shortest lifetime of a record stored at `block`, so that it is there when it is last
        read.
        """
        if self.keep_block is None:
            return 0.0
        return max(0, self.keep_block - block - LAG_BLOCKS) * self.block_seconds


def _compute_window(rule: Rule, epoch: Epoch, timing: Timing) -> Blocks:
    """The rule's blocks in `epoch`: its window, or the whole epoch."""
    if rule.during is not None:
        return rule.during.bind(epoch, timing)
    next_first = timing.compute_first_block(Epoch(epoch + 1))
    return Blocks(timing.compute_first_block(epoch), BlockNumber(next_first - 1))

"""The values that the lines of a transcript are made of, each with its way there from the core.

Some fields have another name in the file than here: that name is part of the format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from epochgate import ports
from epochgate.core.admission import find_own_receipt
from epochgate.core.epoch import Timing
from epochgate.core.receipt import Receipt, ReceiptedEntry
from epochgate.core.record_set import RecordSet
from epochgate.core.roster import Member, Roster
from epochgate.core.schema import EpochContext
from epochgate.core.settlement import HosterOutcome, Settlement
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey
from epochgate.core.verdict import Denied
from epochgate.store.wire import Refused

Score = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Pairs = tuple[tuple[PeerId, Score], ...]
"""(peer, score, weight or pay), in order of peer id."""


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An epoch as the chain gave it. Its members are [peer id, roles, stake]."""

    epoch: Epoch
    network: NetworkId
    timing: Timing
    seed: bytes
    elected: PeerId | None
    members: tuple[Member, ...]

    @staticmethod
    def from_core(context: EpochContext) -> Context:
        """Write down an epoch's context."""
        roster = context.roster
        return Context(
            roster.epoch,
            context.network,
            context.timing,
            roster.seed,
            context.elected,
            roster.members,
        )

    def to_core(self) -> EpochContext:
        """Read it.

        Returns:
            The context.

        Raises:
            ValueError: Its members are not those of a roster.
        """
        roster = Roster(self.epoch, self.seed, self.members)
        return EpochContext(self.network, self.timing, roster, self.elected)


class HeldRecord(msgspec.Struct, frozen=True, array_like=True):
    """What the replica stores under a key and author.

    `receipt` is its own; None for a record that it has copied from others.
    """

    key: RecordKey
    author: PeerId
    value_digest: Hash32
    expiration_time: float
    epoch: Epoch
    value_bytes: int
    receipt: Receipt | None

    @staticmethod
    def from_core(
        key: RecordKey, author: PeerId, entry: ReceiptedEntry, replica: PeerId
    ) -> HeldRecord:
        """Write down what `replica` stores under a key and author."""
        return HeldRecord(
            key,
            author,
            entry.value_digest,
            entry.expiration_time,
            entry.epoch,
            entry.value_bytes,
            find_own_receipt(replica, entry.receipts),
        )


class Reasons(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why a record was refused: the facts of a `Denied`, as text."""

    rule: str | None = None
    expected: str | None = None
    observed: str | None = None
    wait_blocks: int | None = None
    wait_seconds: float | None = None

    @staticmethod
    def from_denied(denied: Denied) -> Reasons:
        """Write down a refusal, in the words that its sender gets."""
        refused = Refused.from_denied(denied)
        return Reasons(
            refused.rule,
            refused.expected,
            refused.observed,
            refused.wait_blocks,
            refused.wait_seconds,
        )

    def __str__(self) -> str:
        facts = {"by rule": self.rule, "expected": self.expected, "saw": self.observed}
        return "".join(f"; {name} {fact}" for name, fact in facts.items() if fact is not None)


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was read of a key.

    `answered` has the replicas that did, `proven` the (author, digest) of `proven` lines, and
    `unverified` (author, digest, signers) for the values that were not at hand.
    """

    key: RecordKey
    answered: tuple[PeerId, ...] = ()
    proven: tuple[tuple[PeerId, Hash32], ...] = ()
    unverified: tuple[tuple[PeerId, Hash32, tuple[PeerId, ...]], ...] = msgspec.field(
        default=(), name="hearsay"
    )


class RuleRead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was read of the keys of a rule, named by its kind, in one epoch."""

    kind: str
    epoch: Epoch
    readings: tuple[Reading, ...]


class Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set: a bitmap per rule that was read, and the Merkle root of the records; both in hex."""

    bitmaps: tuple[str, ...]
    root: str

    @staticmethod
    def from_core(bitmaps: Sequence[bytes], root: Hash32) -> Set:
        """Write down a set by what names it on the chain."""
        return Set(tuple(bitmap.hex() for bitmap in bitmaps), root.hex())


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scores of an epoch's hosters, as in `core.settlement.HosterOutcome`."""

    scores: Pairs
    score_list: tuple[int, ...]
    committed: tuple[PeerId, ...]
    opened: tuple[PeerId, ...]
    challenge_digest: Hash32 | None

    @staticmethod
    def from_core(outcome: HosterOutcome) -> Outcome:
        """Write down an outcome."""
        return Outcome(
            sort_pairs(outcome.scores),
            outcome.score_list,
            outcome.committed,
            outcome.opened,
            outcome.challenge_digest,
        )


class OnChain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A submission as the chain showed it."""

    submitter: PeerId
    block: BlockNumber
    scores: Pairs
    set: Set

    @staticmethod
    def from_core(on_chain: ports.OnChain) -> OnChain:
        """Write down a submission."""
        submission = on_chain.submission
        return OnChain(
            on_chain.submitter,
            on_chain.block,
            sort_pairs(submission.scores),
            Set.from_core(submission.bitmaps, submission.root),
        )


class Settled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node computed itself.

    That is the set, the hosters' scores, the weights of the validators' lists, and the pay.
    """

    set: Set
    outcome: Outcome
    weights: Pairs
    pay: Pairs

    @staticmethod
    def from_core(records: RecordSet, settlement: Settlement) -> Settled:
        """Write down a settlement, and the set that it follows from."""
        return Settled(
            Set.from_core(records.bitmaps, records.root),
            Outcome.from_core(settlement.outcome),
            sort_pairs(settlement.list_weights),
            sort_pairs(settlement.pay),
        )


def sort_pairs(numbers: Mapping[PeerId, int]) -> Pairs:
    """Write down a score, weight or pay per peer, in order of peer id."""
    return tuple(sorted(numbers.items()))

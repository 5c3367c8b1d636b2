"""The lines of a transcript: a JSON object each, `line` names its kind. Bytes are in base64;
docs/transcript.md has examples.

A file begins with a `begun` line that holds all that the verdicts behind it rest on, and a value
stands in the first line of its file that needs it, so that each file can be replayed without the
others.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

from epochgate.core.epoch import Timing
from epochgate.core.receipt import Receipt
from epochgate.core.record import Record
from epochgate.core.roster import Member, Roster
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey
from epochgate.core.verdict import Denied
from epochgate.observe.recorder import Decided
from epochgate.store.wire import Refused

FORMAT = 2
ADMITTED = "admitted"
REPEATED = "repeated"
"""Verdicts beside the reasons of refusals: stored, and stored before."""

Seconds = float | str
"""JSON has no infinity and no NaN; as an expiry they come as `"inf"`, `"-inf"` and `"nan"`."""
Score = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Pairs = tuple[tuple[PeerId, Score], ...]
"""(author, score or weight), in order of author."""


class Line(
    msgspec.Struct, frozen=True, tag_field="line", forbid_unknown_fields=True, omit_defaults=True
):
    """One line."""


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An epoch as the chain gave it: members are [author, roles, stake]."""

    epoch: Epoch
    network: NetworkId
    timing: Timing
    seed: bytes
    elected: PeerId | None
    members: tuple[Member, ...]

    @staticmethod
    def from_core(context: EpochContext) -> Context:
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
        """Raises ValueError for members that are no roster."""
        return EpochContext(
            self.network, self.timing, Roster(self.epoch, self.seed, self.members), self.elected
        )


class HeldRecord(msgspec.Struct, frozen=True, array_like=True):
    """What the replica holds under a key and author; `receipt` is its own, None for a copy that it
    took from others.
    """

    key: RecordKey
    author: PeerId
    value_digest: Hash32
    expiration_time: float
    epoch: Epoch
    value_bytes: int
    receipt: Receipt | None


class EpochStarted(Line, frozen=True, tag="begun"):
    """The node has started, or has begun an epoch. `lost` counts lines that the disk did not take
    since the last `begun`.

    What it grants is in its policy; `max_value_bytes`, the longest value that it can hand out
    again, is its network's.
    """

    format: int
    why: Literal["start", "epoch"]
    epoch: Epoch
    time_seconds: float
    node: PeerId
    version: str
    policy: str
    policy_digest: str
    judge: str
    max_value_bytes: int
    contexts: tuple[Context, ...]
    held: tuple[HeldRecord, ...]
    oldest_epoch: Epoch | None = None
    lost: int = 0


class ContextLearned(Line, frozen=True, tag="learnt"):
    """An epoch's roster, or its election, came from the chain."""

    context: Context


class Reasons(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why a record was refused: the facts of a `Denied`, in words."""

    rule: str | None = None
    expected: str | None = None
    observed: str | None = None
    wait_blocks: int | None = None
    wait_seconds: float | None = None

    @staticmethod
    def from_denied(denied: Denied) -> Reasons:
        said = Refused.from_denied(denied)
        return Reasons(said.rule, said.expected, said.observed, said.wait_blocks, said.wait_seconds)

    def __str__(self) -> str:
        facts = {"by rule": self.rule, "expected": self.expected, "saw": self.observed}
        return "".join(f"; {words} {fact}" for words, fact in facts.items() if fact is not None)


class Posted(Line, frozen=True, tag="posted"):
    """A record was judged at `block`: `verdict` is admitted, repeated, or the reason of its
    refusal.
    """

    block: BlockNumber
    time_seconds: float
    sender: PeerId
    key: RecordKey
    author: PeerId
    value_digest: Hash32
    expiration_time: Seconds
    verdict: str
    value: bytes | None = None
    receipt: Receipt | None = None
    reasons: Reasons | None = None
    is_stale: bool = False


class RequestRejected(Line, frozen=True, tag="turned-away"):
    """A request was refused before it was read as a record: who sent it, how long it was, and the
    reason.
    """

    block: BlockNumber
    time_seconds: float
    sender: PeerId
    size_bytes: int
    verdict: str
    reasons: Reasons


class Counted(Line, frozen=True, tag="counted"):
    """So many more of `verdict` since the last `begun` were counted, and not written in full."""

    verdict: str
    count: int


class SenderMuted(Line, frozen=True, tag="muted"):
    """More records of `sender` were admitted than are written down; what it posts from here on is
    counted.
    """

    sender: PeerId


class Proven(Line, frozen=True, tag="proven"):
    """A record and receipts for it, as lines behind this one refer to it by key, author and
    digest.
    """

    key: RecordKey
    author: PeerId
    value_digest: Hash32
    expiration_time: float
    receipts: tuple[Receipt, ...]
    value: bytes | None = None


class Copied(Line, frozen=True, tag="copied"):
    """The replica took the record of the `proven` line, or receipts for it; kept as of `epoch`."""

    block: BlockNumber
    time_seconds: float
    key: RecordKey
    author: PeerId
    value_digest: Hash32
    epoch: Epoch


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was read of a key: who answered, the (author, digest) of `proven` lines, and for values
    that were not at hand (author, digest, replicas that signed receipts for it).
    """

    key: RecordKey
    answered: tuple[PeerId, ...] = ()
    proven: tuple[tuple[PeerId, Hash32], ...] = ()
    unverified: tuple[tuple[PeerId, Hash32, tuple[PeerId, ...]], ...] = ()


class SectionRead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of one rule, named by its kind, in one epoch."""

    kind: str
    epoch: Epoch
    readings: tuple[Reading, ...]


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An epoch's hosters, judged: `core.settlement.HosterOutcome`."""

    scores: Pairs
    score_list: tuple[int, ...]
    committed: tuple[PeerId, ...]
    opened: tuple[PeerId, ...]
    challenge_digest: Hash32 | None


class Set(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bitmap for each rule and epoch that decides, and the Merkle root of what they name,
    in hex.
    """

    bitmaps: tuple[str, ...]
    root: str


class Scored(Line, frozen=True, tag="scored"):
    """A validator scored the hosters of `epoch`."""

    epoch: Epoch
    block: BlockNumber
    time_seconds: float
    rule_readings: tuple[SectionRead, ...]
    set: Set
    outcome: Outcome


class ScoreListRebuilt(Line, frozen=True, tag="relisted"):
    """The list attested for `epoch`, computed again from what the attested submission's bitmaps
    name.
    """

    epoch: Epoch
    block: BlockNumber
    time_seconds: float
    rule_readings: tuple[SectionRead, ...]
    bitmaps: tuple[str, ...]
    outcome: Outcome


class OnChain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A submission as the chain showed it."""

    submitter: PeerId
    block: BlockNumber
    scores: Pairs
    set: Set


class Settled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the node computed itself: the set, the hosters' outcome, the lists' weights and
    the pay.
    """

    set: Set
    outcome: Outcome
    weights: Pairs
    pay: Pairs


class DecisionMade(Line, frozen=True, tag="decision"):
    """What the node made of the submission made in `epoch`, and all that it rests on."""

    epoch: Epoch
    block: BlockNumber
    time_seconds: float
    decided: Decided
    attested_list: tuple[int, ...] | None
    rule_readings: tuple[SectionRead, ...]
    on_chain: OnChain | None = None
    settled: Settled | None = None
    shown: tuple[Reading, ...] = ()
    evidence: tuple[tuple[Record, Record], ...] = ()
    differences: tuple[str, ...] = ()


AnyLine = (
    EpochStarted
    | ContextLearned
    | Posted
    | RequestRejected
    | Counted
    | SenderMuted
    | Proven
    | Copied
    | Scored
    | ScoreListRebuilt
    | DecisionMade
)

_decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
_encoder = msgspec.json.Encoder()


def encode_line(line: AnyLine) -> bytes:
    return _encoder.encode(line) + b"\n"


def decode_line(data: bytes) -> AnyLine:
    """Raises msgspec.MsgspecError on anything that is no line of a transcript."""
    try:
        return _decoder.decode(data)
    except (
        UnicodeDecodeError,
        RecursionError,
    ) as error:  # msgspec lets these two through as they are
        raise msgspec.DecodeError(str(error)) from None


def write_seconds(seconds: float) -> Seconds:
    if math.isfinite(seconds):
        return seconds
    return str(seconds)

"""The lines of a transcript, each a JSON object whose field `line` names its kind.

A file begins with a `begun` line, which holds all that the verdicts behind it rest on. A value
stands in the first line of its file that needs it. So each file can be replayed without the others.
Bytes are in base64; docs/transcript.md has examples. Some fields have another name in the file than
here: that name is part of the format.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from epochgate.core.receipt import Receipt
from epochgate.core.record import Record
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId, RecordKey
from epochgate.observe.recorder import Decided
from epochgate.transcript.parts import (
    Context,
    HeldRecord,
    OnChain,
    Outcome,
    Reading,
    Reasons,
    RuleRead,
    Set,
    Settled,
)

FORMAT = 2
"""The version of all lines together. A reader of another version says so and goes on."""
ADMITTED = "admitted"
REPEATED = "repeated"
"""Verdicts beside the reasons of refusals: the record was stored now, or before."""

Why = Literal["start", "epoch"]
"""Why a file goes on with a line of this kind: the node has started, or has begun an epoch."""
Seconds = float | str
"""JSON has no infinity and no NaN; as an expiry they are written `"inf"`, `"-inf"` and `"nan"`."""


class Line(
    msgspec.Struct, frozen=True, tag_field="line", forbid_unknown_fields=True, omit_defaults=True
):
    """One line."""


class EpochStarted(Line, frozen=True, tag="begun"):
    """The node has started, or has begun an epoch.

    `max_value_bytes` is the longest value that its network lets it send again; its other limits are
    in its policy. `oldest_epoch` is as in `Situation`. `lost` counts the lines that the disk did
    not take since the line of this kind before.
    """

    format: int
    why: Why
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


class Posted(Line, frozen=True, tag="posted"):
    """A record was judged at `block`.

    `verdict` is `admitted`, `repeated`, or the reason of the refusal.
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
    """A request was refused before it was read as a record."""

    block: BlockNumber
    time_seconds: float
    sender: PeerId
    size_bytes: int
    verdict: str
    reasons: Reasons


class Counted(Line, frozen=True, tag="counted"):
    """`count` verdicts were counted since the last `begun`, and not written in full."""

    verdict: str
    count: int


class SenderMuted(Line, frozen=True, tag="muted"):
    """More records of `sender` were admitted than are written down.

    What it posts from here on is only counted.
    """

    sender: PeerId


class Proven(Line, frozen=True, tag="proven"):
    """A record and receipts for it. Lines behind it refer to it by key, author and digest."""

    key: RecordKey
    author: PeerId
    value_digest: Hash32
    expiration_time: float
    receipts: tuple[Receipt, ...]
    value: bytes | None = None


class Copied(Line, frozen=True, tag="copied"):
    """Repair copied the record of a `proven` line, or its receipts. It is stored as of `epoch`."""

    block: BlockNumber
    time_seconds: float
    key: RecordKey
    author: PeerId
    value_digest: Hash32
    epoch: Epoch


class Scored(Line, frozen=True, tag="scored"):
    """The node, a validator, scored the hosters of `epoch`."""

    epoch: Epoch
    block: BlockNumber
    time_seconds: float
    rule_reads: tuple[RuleRead, ...] = msgspec.field(name="sections")
    set: Set
    outcome: Outcome


class ScoreListRebuilt(Line, frozen=True, tag="relisted"):
    """The list attested for `epoch` was recomputed from the bitmaps of the attested submission."""

    epoch: Epoch
    block: BlockNumber
    time_seconds: float
    rule_reads: tuple[RuleRead, ...] = msgspec.field(name="sections")
    bitmaps: tuple[str, ...]
    outcome: Outcome


class DecisionMade(Line, frozen=True, tag="decision"):
    """What the node decided about the submission made in `epoch`, and all that it rests on."""

    epoch: Epoch
    block: BlockNumber
    time_seconds: float
    decided: Decided
    attested_list: tuple[int, ...] | None
    rule_reads: tuple[RuleRead, ...] = msgspec.field(name="sections")
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
    """Encode a line, with its newline."""
    return _encoder.encode(line) + b"\n"


def decode_line(data: bytes) -> AnyLine:
    """Decode a line.

    Args:
        data: Any bytes.

    Returns:
        The line.

    Raises:
        msgspec.MsgspecError: It is not a line of a transcript.
    """
    # msgspec lets these two errors through as they are
    try:
        return _decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def write_seconds(seconds: float) -> Seconds:
    """Write down a time, which may be infinite or NaN in a record that is refused."""
    if math.isfinite(seconds):
        return seconds
    return str(seconds)

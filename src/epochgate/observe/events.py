"""The facts that a node emits while it lives. Logs, metrics, the devnet's screen, transcripts and
tests all read these.

Peers are named by their text form (`12D3KooW...`), digests in hex, so that an event can be written
as one line of JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from epochgate.core.types import Epoch


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """A fact; the field `event` names which."""


class NodeReady(Event, frozen=True):
    """The node listens and has heard from the chain; it waits for its next duty."""

    roles: list[str]
    addresses: list[str]
    policy_digest: str


class NodeStopped(Event, frozen=True):
    """The node has said OFFLINE and left."""


class EpochBegan(Event, frozen=True):
    """The node knows the epoch's roster and whom the chain elected."""

    epoch: Epoch
    elected: str | None
    hosters: int
    validators: int


class ElectionChanged(Event, frozen=True):
    """The chain elects another node in this epoch: its first block was reorged, or the chain showed
    its election late.
    """

    epoch: Epoch
    elected: str
    before: str | None


class DutyBegan(Event, frozen=True):
    """A duty's window is open and the node works on it."""

    epoch: Epoch
    duty: str


class DutyDone(Event, frozen=True):
    """The node has done a duty; `detail` says how, for people."""

    epoch: Epoch
    duty: str
    detail: str = ""


class DutyMissed(Event, frozen=True):
    """A duty was not done in its window, and why."""

    epoch: Epoch
    duty: str
    why: str


class Stored(Event, frozen=True):
    """The node's own record has `receipts` of the key's K replicas, of which f may fail."""

    epoch: Epoch
    rule: str
    receipts: int
    k: int
    f: int
    is_complete: bool


class ChallengeSeen(Event, frozen=True):
    """A proven challenge of this epoch, and who published it."""

    epoch: Epoch
    author: str


class ChallengeMissing(Event, frozen=True):
    """The time to publish a challenge is over and none is proven; `consequence` says what that
    means for the epoch.
    """

    epoch: Epoch
    consequence: str


class Scored(Event, frozen=True):
    """A validator's own scores of an epoch's hosters, 0 to 10^6, and which commitments and openings
    it counted.
    """

    epoch: Epoch
    scores: dict[str, int]
    commitments: list[str]
    openings: list[str]


class Gathered(Event, frozen=True):
    """What the node read, after the window closed, of the openings that validators made in
    `epoch`.
    """

    epoch: Epoch
    validator_openings: list[str]


class Submitted(Event, frozen=True):
    """The elected node put the scores of `scored_epoch` on the chain in `epoch`."""

    epoch: Epoch
    scored_epoch: Epoch
    scores: dict[str, int]
    root: str


class Attested(Event, frozen=True):
    """The node recomputed the submission made in `epoch`, found it equal, and said so on
    the chain.
    """

    epoch: Epoch
    submitter: str


class AttestationRefused(Event, frozen=True):
    """The node recomputed the submission made in `epoch` and found these differences."""

    epoch: Epoch
    submitter: str
    differences: list[str]


class Abstained(Event, frozen=True):
    """The node had too few answers to judge the submission made in `epoch`."""

    epoch: Epoch
    why: str


class Verdicts(Event, frozen=True):
    """What this node's replica admitted and denied since the last such event."""

    epoch: Epoch
    admitted: int
    denied: dict[str, int]


class NodeWarning(Event, frozen=True):
    """Something went wrong that the node survives; `advice` says what its operator can do."""

    where: str
    what: str
    advice: str = ""


AnyEvent = (
    NodeReady
    | NodeStopped
    | EpochBegan
    | ElectionChanged
    | DutyBegan
    | DutyDone
    | DutyMissed
    | Stored
    | ChallengeSeen
    | ChallengeMissing
    | Scored
    | Gathered
    | Submitted
    | Attested
    | AttestationRefused
    | Abstained
    | Verdicts
    | NodeWarning
)

Emit = Callable[[AnyEvent], None]


class Line(msgspec.Struct, frozen=True):
    """An event as a node process writes it: one line of JSON on its standard output or in its
    transcript.
    """

    node: str
    time_seconds: float
    fact: AnyEvent


def encode_line(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


_line_decoder = msgspec.json.Decoder(Line)


def decode_line(data: bytes) -> Line:
    """Raises msgspec.DecodeError on anything that is no event line."""
    try:
        return _line_decoder.decode(data)
    except (
        UnicodeDecodeError,
        RecursionError,
    ) as error:  # msgspec lets these two through as they are
        raise msgspec.DecodeError(str(error)) from None

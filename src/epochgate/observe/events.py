"""The facts that a node emits while it runs. The devnet's screen and summary, logs and tests read
them.

Peers are named by their ids as text (`12D3KooW...`), and digests are in hex, so that an event can
be written as one line of JSON.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from epochgate.core.types import Epoch


class Event(msgspec.Struct, frozen=True, tag=True, tag_field="event"):
    """A fact. In JSON, the field `event` has the name of its class."""


class NodeReady(Event, frozen=True):
    """The node listens, and knows the chain's newest epoch.

    Attributes:
        roles: Its roles in that epoch, in lower case.
        addresses: Where it can be reached, as multiaddresses.
        policy_digest: SHA-256 of its policy, in hex.
    """

    roles: list[str]
    addresses: list[str]
    policy_digest: str


class NodeStopped(Event, frozen=True):
    """The node has published its last heartbeat, which says OFFLINE, and has stopped."""


class EpochBegan(Event, frozen=True):
    """An epoch began whose roster the node knows.

    Attributes:
        epoch: The epoch.
        elected: The peer that the chain elected; None where the node does not know it yet.
        hosters: The number of hosters on the roster.
        validators: The number of validators on the roster.
    """

    epoch: Epoch
    elected: str | None
    hosters: int
    validators: int


class ElectionChanged(Event, frozen=True):
    """The chain elects another peer: the epoch's first block was reorged, or seen late.

    Attributes:
        epoch: The epoch.
        elected: The peer that is elected now.
        before: The peer that the node took for elected before; None for none.
    """

    epoch: Epoch
    elected: str
    before: str | None


class DutyBegan(Event, frozen=True):
    """The time of a duty has come, and the node has begun it.

    Attributes:
        epoch: The epoch.
        duty: The duty's name, as in `node/duties.py`.
    """

    epoch: Epoch
    duty: str


class DutyDone(Event, frozen=True):
    """The node has done a duty.

    Attributes:
        epoch: The epoch.
        duty: The duty's name.
        detail: The outcome, as a message for people.
    """

    epoch: Epoch
    duty: str
    detail: str = ""


class DutyMissed(Event, frozen=True):
    """A duty was not done in its time.

    Attributes:
        epoch: The epoch.
        duty: The duty's name.
        why: The reason, as a message for people.
    """

    epoch: Epoch
    duty: str
    why: str


class Stored(Event, frozen=True):
    """The node has posted a record of its own.

    Attributes:
        epoch: The epoch of its key.
        rule: The kind of the key's rule.
        receipts: How many replicas have given receipts.
        k: How many replicas the key has.
        f: How many of them may be faulty.
        is_complete: Whether there are at least k - f receipts.
    """

    epoch: Epoch
    rule: str
    receipts: int
    k: int
    f: int
    is_complete: bool


class ChallengeSeen(Event, frozen=True):
    """The node has read a proven challenge.

    Attributes:
        epoch: The epoch.
        author: The peer that published it.
    """

    epoch: Epoch
    author: str


class ChallengeMissing(Event, frozen=True):
    """The time to publish a challenge is over, and none is proven.

    Attributes:
        epoch: The epoch.
        consequence: How the epoch goes on, as a message for people.
    """

    epoch: Epoch
    consequence: str


class Scored(Event, frozen=True):
    """The node, a validator, has scored an epoch's hosters.

    Attributes:
        epoch: The epoch.
        scores: By hoster, 0 to 10^6.
        commitments: The hosters whose commitments counted.
        openings: The hosters whose openings counted.
    """

    epoch: Epoch
    scores: dict[str, int]
    commitments: list[str]
    openings: list[str]


class Gathered(Event, frozen=True):
    """The node has read the validators' openings, after their window closed.

    Attributes:
        epoch: The epoch in which they were made.
        validator_openings: The validators whose openings are proven.
    """

    epoch: Epoch
    validator_openings: list[str]


class Submitted(Event, frozen=True):
    """The node, the elected one, has submitted scores to the chain.

    Attributes:
        epoch: The epoch in which it did.
        scored_epoch: The epoch whose work is paid.
        scores: The submitted scores, by peer.
        root: The Merkle root of the set that they follow from, in hex.
    """

    epoch: Epoch
    scored_epoch: Epoch
    scores: dict[str, int]
    root: str


class Attested(Event, frozen=True):
    """The node has recomputed a submission, found it equal, and attested it on the chain.

    Attributes:
        epoch: The epoch in which the submission was made.
        submitter: The peer that made it.
    """

    epoch: Epoch
    submitter: str


class AttestationRefused(Event, frozen=True):
    """The node has recomputed a submission and found it different.

    Attributes:
        epoch: The epoch in which the submission was made.
        submitter: The peer that made it.
        differences: The differences, as messages for people.
    """

    epoch: Epoch
    submitter: str
    differences: list[str]


class Abstained(Event, frozen=True):
    """Too few replicas answered for the node to judge a submission.

    Attributes:
        epoch: The epoch in which the submission was made.
        why: The keys that could not be read, as a message for people.
    """

    epoch: Epoch
    why: str


class Verdicts(Event, frozen=True):
    """What the node's replica has decided since the last such event.

    Attributes:
        epoch: The epoch in which it did.
        admitted: The number of records that it stored.
        denied: The number of refusals by reason.
    """

    epoch: Epoch
    admitted: int
    denied: dict[str, int]


class NodeWarning(Event, frozen=True):
    """Something went wrong, and the node goes on.

    Attributes:
        where: The part of the node.
        what: The error, as a message for people.
        advice: What its operator can do, or what the node does itself.
    """

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
"""Takes a fact, as it happens. It must return soon, and must not raise."""


class Line(msgspec.Struct, frozen=True):
    """An event as a node's process writes it to its standard output: one line of JSON.

    Attributes:
        node: The node's peer id, as text.
        time_seconds: Unix time.
        fact: The event.
    """

    node: str
    time_seconds: float
    fact: AnyEvent


def encode_line(line: Line) -> bytes:
    """Encode a line, with its newline."""
    return msgspec.json.encode(line) + b"\n"


_line_decoder = msgspec.json.Decoder(Line)


def decode_line(data: bytes) -> Line:
    """Decode a line.

    Args:
        data: Any bytes.

    Returns:
        The line.

    Raises:
        msgspec.DecodeError: It is not a line of an event.
    """
    # msgspec lets these two errors through as they are
    try:
        return _line_decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None

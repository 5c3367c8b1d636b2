"""What the edges provide. Engines and chains implement these; the store, the replica and the node
know nothing else.

Every port has a twin fit for real use that runs in one process on virtual time (`engine/memory.py`,
`chain/local.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

import msgspec

from epochgate.core.epoch import Head, Timing
from epochgate.core.roster import Roster
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId
from epochgate.errors import EpochgateError

T = TypeVar("T")

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
"""(authenticated sender's peer id, request) -> reply. Where it raises, or its reply is too long,
the caller gets no bytes.
"""


class Unreachable(EpochgateError, ConnectionError):
    """A peer did not answer: unknown, gone, or silent for longer than the caller waits."""


class Network(Protocol):
    """Requests and replies between peers that are known by id. Connections are encrypted and the
    sender authenticated.
    """

    @property
    def peer_id(self) -> PeerId:
        """This node's own peer id, 38 bytes."""
        ...

    @property
    def max_message_bytes(self) -> int:
        """A longer request or reply is never sent: chunk below it."""
        ...

    async def serve(self, handler: Handler) -> None:
        """Answer other peers' requests with `handler`. Called once."""
        ...

    async def request(self, peer: PeerId, message: bytes, timeout_seconds: float) -> bytes:
        """Raises Unreachable when no reply came within `timeout_seconds`, ValueError for a message
        over the limit.
        """
        ...

    def set_protected_peers(self, members: Iterable[PeerId]) -> None:
        """Whose connections to keep: peer ids on the newest roster, which take the place of those
        noted before.

        Others may connect, ask and be asked, for a newcomer has to find its place; but who is on it
        no more is hung up on at once, and strangers are when they are many. No members at all mean
        that no roster is known: nobody is hung up on. Never waits or raises.
        """
        ...

    async def close(self) -> None: ...


class Clock(Protocol):
    """Wall time. Waiting is plain `asyncio`, whose loop is virtual in simulations."""

    def get_unix_seconds(self) -> float: ...


class Entropy(Protocol):
    def get_bytes(self, count: int) -> bytes: ...


class OutOfTime(EpochgateError):
    """Work had not ended after the `longest_seconds` it had; its outcome, if it ever has one, is
    thrown away.

    `unfinished` works, this one among them, were given up and still go on.
    """

    def __init__(self, longest_seconds: float, unfinished: int) -> None:
        super().__init__(f"not done in the {longest_seconds:.3g} s that it had")
        self.longest_seconds = longest_seconds
        self.unfinished = unfinished


class Compute(Protocol):
    """Where heavy work runs: a thread beside the event loop, or at once in a simulation."""

    async def run(
        self, work: Callable[..., T], *arguments: Any, longest_seconds: float | None = None
    ) -> T:
        """One work at a time. What a user brings, such as a model, has `longest_seconds` and holds
        up nothing else.

        Raises OutOfTime when they have passed, and whatever the work raises.
        """
        ...


class Model(Protocol):
    """What a hoster serves: an array in, an array out, deterministic up to the policy's
    tolerance.
    """

    def infer(self, challenge: Any) -> Any:
        """Both are numpy arrays; shapes and types as the policy declares them."""
        ...


class Challenger(Protocol):
    """Who chooses the challenge, where the policy leaves it to its publisher: prompts from a data
    set, say.
    """

    def choose(self, epoch: Epoch, seed: bytes) -> Any:
        """A numpy array of the shape and type that the policy declares. `seed` is the epoch's, the
        same for everybody.
        """
        ...


class Submission(msgspec.Struct, frozen=True):
    """What the elected node puts on the chain in `epoch` about the epochs before it.

    `scores` is in order of author, `bitmaps` one a deciding key (bit i is member i of the roster of
    that key's epoch), `root` the Merkle root of the set that the scores were computed from.
    """

    epoch: Epoch
    scores: dict[PeerId, int]
    bitmaps: tuple[bytes, ...]
    root: Hash32


class OnChain(msgspec.Struct, frozen=True):
    """A submission as the chain holds it, and who has attested it so far."""

    submission: Submission
    submitter: PeerId
    block: BlockNumber
    attested_by: tuple[PeerId, ...]
    is_attested: bool
    """Whether enough have attested for the chain to act on it."""


class ChainRefused(EpochgateError, RuntimeError):
    """The chain did not take a submission or an attestation; the message says why and what
    to do.
    """

    exit_code = 1


class Chain(Protocol):
    """One subnet of one chain, seen by one node."""

    @property
    def network_id(self) -> NetworkId:
        """32 bytes that name chain and subnet."""
        ...

    @property
    def timing(self) -> Timing: ...

    def get_head(self) -> Head:
        """The cached best head. Never waits."""
        ...

    async def get_roster(self, epoch: Epoch) -> Roster:
        """The snapshot of `epoch`: five blocks before its first block, for epoch 0 at its first.
        Waits until there is one.

        Raises ValueError for an epoch below 0.
        """
        ...

    def get_waiting_roster(self) -> Roster:
        """Who is registered now: for heartbeats before the subnet's first block. Never waits."""
        ...

    async def get_elected(self, epoch: Epoch) -> PeerId | None:
        """The node elected to submit in `epoch`, readable from the epoch's first block on.

        A reorganisation of that block may elect another, so it is asked again before something is
        done upon it.
        """
        ...

    async def submit(self, submission: Submission) -> None:
        """Raises ChainRefused: not elected, submitted already, epoch over."""
        ...

    async def get_submission(self, epoch: Epoch) -> OnChain | None: ...

    async def attest(self, epoch: Epoch) -> None:
        """Attest the submission made in `epoch`. Raises ChainRefused: none there, attested already,
        not on the roster.
        """
        ...

    async def close(self) -> None: ...

"""The ports: all that the store, the replica and the node know of engines, chains, models and
machines.

An engine, a chain or a model implements the protocol here, whose docstrings are the contract. Each
port has a twin fit for real use that runs in one process on virtual time
(`engine/memory.py`, `engine/virtual_time.py`, `chain/local/`).

Everything runs in one event loop, unless a docstring names a thread. Parameters before a `/` are
passed by position, so an implementation may name them as it likes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple

import msgspec

from epochgate.core.epoch import Head, Timing
from epochgate.core.roster import Roster
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId
from epochgate.errors import EpochgateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
"""Answers requests: called with the authenticated sender's peer id and the request, returns the
reply.

Requests of several peers, and of one, run at the same time. Where the handler raises, or its reply
is longer than `Network.max_message_bytes`, the caller gets an empty reply. A caller that gives up
may cancel the handler, or may leave it to run to its end.
"""


class Unreachable(EpochgateError, ConnectionError):
    """A peer did not answer: unknown, gone, or silent for longer than the caller waits."""


class Network(Protocol):
    """Requests and replies between peers that are known by their ids.

    Connections are encrypted, and a sender proves that it has the key in its peer id. An engine
    finds a peer's address by its id, and reconnects by itself.
    """

    @property
    def peer_id(self) -> PeerId:
        """This node's own peer id, 38 bytes."""
        ...

    @property
    def max_message_bytes(self) -> int:
        """The longest request or reply; larger values are sent in chunks. It never changes."""
        ...

    async def serve(self, handler: Handler, /) -> None:
        """Answer other peers' requests, and this node's own, with `handler`.

        Called once, after the engine has started. Requests that come before are not answered.

        Args:
            handler: Called with each request; see `Handler`.
        """
        ...

    async def request(self, peer: PeerId, message: bytes, /, timeout_seconds: float) -> bytes:
        """Send a request and wait for its reply.

        Many requests may be under way, to several peers and to one. A node may ask itself. A peer
        may have acted on a request whose reply is lost, and may receive one twice.

        Args:
            peer: The peer to ask.
            message: The request, at most `max_message_bytes`.
            timeout_seconds: The longest wait, finding the peer and connecting included.

        Returns:
            The reply. An empty one means that the peer's handler failed.

        Raises:
            Unreachable: No reply came in time, nobody knows the peer, or this engine is closed.
            ValueError: The message is too long.
        """
        ...

    def set_protected_peers(self, members: Iterable[PeerId], /) -> None:
        """Say whose connections to keep: the peers on the newest roster.

        They replace the peers of the call before. Others may connect, ask and be asked, because a
        newcomer has to find its place. But a peer that was a member and is so no longer is
        disconnected at once, and strangers are when there are many. Without any members no roster
        is known, and nobody is disconnected. Never waits or raises.

        Args:
            members: The peer ids to keep, this node's own perhaps among them.
        """
        ...

    async def close(self) -> None:
        """Leave the network and free all it holds. A second call does nothing. Never raises."""
        ...


class Clock(Protocol):
    """Wall time. Waiting is plain `asyncio`, whose loop is virtual in simulations."""

    def get_unix_seconds(self) -> float:
        """Seconds since 1970, finite. They may jump, also back, when the clock is set."""
        ...


class Entropy(Protocol):
    """Random bytes that nobody can predict: for salts."""

    def get_bytes(self, count: int, /) -> bytes:
        """Return `count` random bytes, 0 or more. Never waits."""
        ...


class OutOfTime(EpochgateError):
    """Work had not ended after the `longest_seconds` it had.

    Its outcome, if it ever has one, is thrown away. `unfinished` runs, this one among them, were
    given up and still go on.
    """

    def __init__(self, longest_seconds: float, unfinished: int) -> None:
        super().__init__(f"not done in the {longest_seconds:.3g} s that it had")
        self.longest_seconds = longest_seconds
        self.unfinished = unfinished


class Compute(Protocol):
    """Runs heavy work so that the event loop goes on: in a thread, or at once in a simulation."""

    async def run(
        self, work: Callable[[*Ts], T], /, *arguments: *Ts, longest_seconds: float | None = None
    ) -> T:
        """Run `work(*arguments)` and return its result.

        Work without a limit is the node's own, and runs one after the other. Work with a limit is a
        user's, such as a model: it runs one after the other too, and holds up none of the node's.

        Args:
            work: Called in another thread, or in this one in a simulation.
            *arguments: Passed to `work` by position; `work` may keep them after it was given up.
            longest_seconds: The limit, from this call on; None for no limit.

        Returns:
            What `work` returns.

        Raises:
            OutOfTime: The limit has passed. The work may go on, and its result is thrown away.
            Exception: Whatever `work` raises.
        """
        ...


class Model(Protocol):
    """A hoster's model: an array in, an array out.

    All hosters of a subnet serve the same model, and the score compares their outputs. So the
    output depends on the challenge alone, up to the policy's tolerance: no clock, no randomness, no
    state from earlier calls.

    A model is an object with this method; it inherits from nothing here.

    Example:
        >>> import numpy as np
        >>> class Doubler:
        ...     def infer(self, challenge):
        ...         return 2 * challenge
        >>> Doubler().infer(np.ones((2, 3), np.float32)).tolist()
        [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """

    def infer(self, challenge: NDArray[np.generic], /) -> NDArray[np.generic]:
        """Answer one challenge.

        Called once in each epoch in which the node is a hoster, and again after a restart, from a
        thread that is not the event loop's. Calls follow each other, but one that was given up may
        still run when the next begins. The time limit is the rest of the window for commitments,
        less a block (docs/models.md): a later answer is thrown away, and the node misses the duty.

        Args:
            challenge: The epoch's challenge, with the shape and dtype that the policy's challenge
                rule declares. It may be read-only: copy it before changing it.

        Returns:
            An array with the shape and dtype that the policy's opening rule declares, all elements
            finite. The caller keeps it.

        Raises:
            Exception: Anything. The node misses the duty, says why, and goes on.
        """
        ...


class Challenger(Protocol):
    """Chooses the challenge, where the policy leaves it to its publisher: prompts from a data set,
    for example.

    Only a validator that is elected, or stands in for the elected one, publishes a challenge.

    Example:
        >>> import numpy as np
        >>> class Prompts:
        ...     def __init__(self, tokens):
        ...         self.tokens = tokens
        ...     def choose(self, epoch, seed):
        ...         number = int.from_bytes(seed, "big") % len(self.tokens)
        ...         return self.tokens[number : number + 1]
        >>> prompts = Prompts(np.arange(12).reshape(3, 4))
        >>> prompts.choose(7, bytes(31) + bytes([5])).tolist()
        [[8, 9, 10, 11]]
    """

    def choose(self, epoch: Epoch, seed: bytes, /) -> NDArray[np.generic]:
        """Choose the challenge of one epoch.

        Called once in an epoch, and again after a restart, from a thread that is not the event
        loop's, when the window for challenges is open. A choice that comes after the window is not
        published, and a stand-in publishes instead.

        Args:
            epoch: The epoch's number.
            seed: The epoch's seed, 32 bytes: the same for everybody, and unknown before the epoch's
                snapshot. A choice that follows from it can be looked up by others.

        Returns:
            An array with the shape and dtype that the policy's challenge rule declares.

        Raises:
            Exception: Anything. The node misses the duty, says why, and goes on.
        """
        ...


class Submission(msgspec.Struct, frozen=True):
    """The elected node's report to the chain in `epoch`, about the epochs before it.

    `scores` are in order of author, in parts of the epoch's total pay. `bitmaps` holds one bitmap
    for each deciding key: bit i is member i of the roster of that key's epoch. `root` is the Merkle
    root of the set that the scores were computed from.
    """

    epoch: Epoch
    scores: dict[PeerId, int]
    bitmaps: tuple[bytes, ...]
    root: Hash32


class OnChain(msgspec.Struct, frozen=True):
    """A submission as the chain holds it.

    `block` is the block it was made in. `attested_by` are the nodes that have attested it so far,
    in order of peer id, without its submitter.
    """

    submission: Submission
    submitter: PeerId
    block: BlockNumber
    attested_by: tuple[PeerId, ...]
    is_attested: bool
    """Whether enough have attested for the chain to act on it."""


class ChainRefused(EpochgateError, RuntimeError):
    """The chain did not take what a node sent; the message says why and what to do."""

    exit_code = 1


class Chain(Protocol):
    """One subnet of one chain, seen by one node.

    The properties and `get_head` and `get_waiting_roster` answer from memory, so a judgement can
    ask them. The other methods ask the chain. While the chain does not answer they wait, for as
    long as it takes: callers have time limits of their own. Any of them may be cancelled.
    """

    @property
    def network_id(self) -> NetworkId:
        """32 bytes that name chain and subnet; the same for every node."""
        ...

    @property
    def timing(self) -> Timing:
        """The length of blocks and epochs, and the subnet's first block.

        Its `slot` is None until the chain has set the first block, and never changes afterwards.
        Nothing else ever changes.
        """
        ...

    def get_head(self) -> Head:
        """The best head that this node has heard of, and when. Never waits.

        Its number may go down in a reorganisation.
        """
        ...

    async def get_roster(self, epoch: Epoch, /) -> Roster:
        """The roster of `epoch`, as the chain was five blocks before the epoch's first block.

        Epoch 0 is read at its first block. Waits until there is that block.

        Args:
            epoch: The epoch, 0 or later.

        Returns:
            The same roster for every node, unless a reorganisation replaces the snapshot's block.

        Raises:
            ValueError: The epoch is below 0.
        """
        ...

    def get_waiting_roster(self) -> Roster:
        """The nodes that are registered now, for heartbeats before the subnet's first block.

        Never waits.
        """
        ...

    async def get_elected(self, epoch: Epoch, /) -> PeerId | None:
        """The node that is elected to submit in `epoch`.

        It can be read from the epoch's first block on. A reorganisation of that block may elect
        another node, so ask again before acting on it.

        Args:
            epoch: The epoch; one below 0 elects nobody.

        Returns:
            The node's peer id; None before the epoch, or where the chain elects nobody.
        """
        ...

    async def submit(self, submission: Submission, /) -> None:
        """Submit, and return when the chain shows it.

        Args:
            submission: Its `epoch` is the current one.

        Raises:
            ChainRefused: This node is not elected, the epoch has a submission, or it is not the
                current one.
        """
        ...

    async def get_submission(self, epoch: Epoch, /) -> OnChain | None:
        """The submission made in `epoch`, None while there is none."""
        ...

    async def attest(self, epoch: Epoch, /) -> None:
        """Attest the submission made in `epoch`, and return when the chain shows it.

        Args:
            epoch: The current epoch.

        Raises:
            ChainRefused: There is no submission, this node made it or has attested it, it is not on
                the roster, or the epoch is not the current one.
        """
        ...

    async def close(self) -> None:
        """Free all it holds. Only `network_id` and `timing` may be read afterwards."""
        ...

"""A node: follows the chain from epoch to epoch, and does its duties, each on its own, at their
times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from epochgate.core.evaluation import READABLE_EPOCHS
from epochgate.core.policy import Judge, Policy
from epochgate.core.policy_lint import check_policy
from epochgate.core.roster import get_role_names
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.types import Epoch, PeerId
from epochgate.keys import SigningKey, format_peer_id
from epochgate.node import duties
from epochgate.node.attestor import attest
from epochgate.node.challenge import publish_challenge, see_challenge
from epochgate.node.context import DutyHandler, NodeContext
from epochgate.node.epochs import EpochFollower
from epochgate.node.heartbeat import HeartbeatPublisher
from epochgate.node.hoster import commit_output, open_output
from epochgate.node.scheduler import DutyScheduler
from epochgate.node.submitter import submit
from epochgate.node.validator import commit_scores, open_scores, see_commitments, see_openings
from epochgate.observe.events import (
    Emit,
    EpochBegan,
    NodeReady,
    NodeStopped,
    NodeWarning,
    Verdicts,
)
from epochgate.observe.recorder import NullRecorder, Recorder, Situation
from epochgate.ports import Chain, Challenger, Clock, Compute, Entropy, Handler, Model, Network
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store
from epochgate.store.database import NodeDatabase
from epochgate.store.repair import Repair
from epochgate.store.replica import Replica
from epochgate.supervision.task_keeper import TaskKeeper

DUTY_HANDLERS: dict[str, DutyHandler] = {
    duties.PUBLISH_CHALLENGE: publish_challenge,
    duties.SEE_CHALLENGE: see_challenge,
    duties.COMMIT_OUTPUT: commit_output,
    duties.OPEN_OUTPUT: open_output,
    duties.OPEN_SCORES: open_scores,
    duties.SEE_OPENINGS: see_openings,
    duties.SEE_COMMITMENTS: see_commitments,
    duties.COMMIT_SCORES: commit_scores,
    duties.SUBMIT: submit,
    duties.ATTEST: attest,
}
TIMEOUT_SECONDS = 3.0
TIMEOUT_BLOCKS = 10
SUSPECT_PART = 3
"""A request is given up after this many seconds, or this many blocks where that is shorter. A peer
that was silent before is given a third of that.
"""
GOODBYE_SECONDS = 3.0
"""How long a node that stops tries to say so."""
REPAIR_PAUSE_BLOCKS = 5
"""Until keys whose replicas did not answer are asked again."""


class Node:
    """One node of a subnet, whole.

    `await start()`, then `await run()` until `stop()` is called. Cancelling `run` is an abrupt end:
    nothing is said or cleaned up beyond its tasks, and a node started later with the same database
    goes on. Network, chain and database belong to the caller, who closes them.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        network: Network,
        database: NodeDatabase,
        key: SigningKey,
        policy: Policy,
        clock: Clock,
        entropy: Entropy,
        compute: Compute,
        emit: Emit,
        model: Model | None = None,
        challenger: Challenger | None = None,
        judge: Judge | None = None,
        public_name: str = "",
        heartbeat_facts: Mapping[str, Any] | None = None,
        addresses: Sequence[str] = (),
        handlers: Mapping[str, DutyHandler] = DUTY_HANDLERS,
        recorder: Recorder | None = None,
    ) -> None:
        judge = judge or policy
        recorder = recorder or NullRecorder()
        self.schedule = EpochSchedule(policy)
        self.chain_clock = ChainClock(chain, clock, self.schedule, database.held)
        self.replica = Replica(
            key, judge, database, self.chain_clock, network.max_message_bytes, recorder
        )
        timeout_seconds = min(TIMEOUT_SECONDS, TIMEOUT_BLOCKS * chain.timing.block_seconds)
        suspect_seconds = timeout_seconds / SUSPECT_PART
        self.store = Store(
            network,
            self._ask_own_replica,
            judge,
            self.chain_clock,
            timeout_seconds=timeout_seconds,
            suspect_timeout_seconds=suspect_seconds,
            tell_failure=self._tell_failure,
        )
        self.context = NodeContext(
            chain=chain,
            key=key,
            policy=policy,
            judge=judge,
            database=database,
            chain_clock=self.chain_clock,
            replica=self.replica,
            store=self.store,
            entropy=entropy,
            compute=compute,
            model=model,
            challenger=challenger,
            emit=emit,
            recorder=recorder,
        )
        self.handlers = dict(handlers)
        """How it does each duty, by the duty's name: a subnet may do one its own way, an adversary
        in a bad one.
        """
        self._tasks = TaskKeeper(self._tell_failure)
        self._scheduler = DutyScheduler(self.context, self.handlers, self._tasks)
        self.handler: Handler | None = None
        """What answers others' requests in the place of its replica."""
        self._recorder = recorder
        if judge is policy:
            self._judge_name = ""
        else:
            self._judge_name = type(judge).__qualname__
        self._chain = chain
        self.network = network
        self._database = database
        self._author = key.author
        self._policy = policy
        self._emit = emit
        self._addresses = list(addresses)
        self._heartbeat = HeartbeatPublisher(self.context, public_name, heartbeat_facts)
        self._epochs = EpochFollower(self.context, network, self)
        self._verdicts_epoch: Epoch | None = None
        """The epoch in which what the replica counts now was counted."""
        self._stopping = asyncio.Event()
        self.stopped = asyncio.Event()
        """Set when `run` has ended, however it did."""

    async def start(self) -> None:
        """Listen and learn the roster.

        Raises:
            PolicyError: the policy cannot work on this chain.
        """
        epoch = self._epochs.get_epoch()  # the next one may begin while this one is learnt
        await self._epochs.learn_first(epoch)
        roster = self.schedule.get_context(epoch).roster
        check_policy(
            self._policy,
            self._chain.timing,
            len(roster.members),
            max_message_bytes=self.network.max_message_bytes,
        )
        self._note_begun(epoch, self.context.get_unix_seconds(), None)
        await self.network.serve(self.handler or self.replica.handle)
        self._tasks.keep("heartbeat", self._heartbeat.run, self.context.block_seconds)
        roles = get_role_names(roster.roles.get(self._author, 0))
        self._emit(NodeReady(roles, self._addresses, self._policy.digest.hex()))

    async def run(self) -> None:
        """Do the duties of every epoch until `stop` is called; the last heartbeat says OFFLINE."""
        pause_seconds = self.context.block_seconds
        try:
            self._tasks.keep("epochs", self._epochs.follow, pause_seconds)
            self._tasks.keep("election", self._epochs.look_at_election, pause_seconds)
            await self._stopping.wait()
            await self._tasks.close()
            # a peer that does not hear OFFLINE sees the last heartbeat expire
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._heartbeat.say_goodbye(GOODBYE_SECONDS)
        finally:
            await self._tasks.close()
            await self.store.close()
            self.stopped.set()
        self._emit_verdicts()
        self._emit(NodeStopped())

    def stop(self) -> None:
        """Let `run` come to its end. Returns at once."""
        self._stopping.set()

    def begin_epoch(self, context: EpochContext) -> None:
        """Let go of what is old, say that the epoch has begun, and begin its duties."""
        epoch = context.epoch
        if self.context.began_epoch is None:
            self.context.began_epoch = epoch
            self._tasks.spawn("repair", self._repair(epoch))
        self._emit_verdicts()
        oldest_epoch = Epoch(epoch - READABLE_EPOCHS + 1)
        now_seconds = self.context.get_unix_seconds()
        self._database.forget(now_seconds, oldest_epoch)
        self._note_begun(epoch, now_seconds, oldest_epoch)
        roster = context.roster
        if context.elected:
            elected = format_peer_id(context.elected)
        else:
            elected = None
        self._emit(EpochBegan(epoch, elected, len(roster.hosters), len(roster.validators)))
        self._scheduler.begin(context)

    def change_election(self, context: EpochContext, why: str) -> None:
        """Begin the duties that the new election gives, and end those that it takes away."""
        self._scheduler.change(context, why)

    async def _ask_own_replica(self, sender: PeerId, message: bytes) -> bytes:
        """Looked up at each call, so that a node's replica may be watched or replaced."""
        return await self.replica.handle(sender, message)

    def _note_begun(self, epoch: Epoch, now_seconds: float, oldest_epoch: Epoch | None) -> None:
        """`oldest_epoch` is None at the start, when nothing has been let go."""
        situation = Situation(
            node=self._author,
            policy_digest=self._policy.digest,
            judge=self._judge_name,
            capacity=self.replica.capacity,
            epoch=epoch,
            time_seconds=now_seconds,
            oldest_epoch=oldest_epoch,
            contexts=self.schedule.get_contexts(),
            held=self._database.held,
        )
        self._recorder.note_epoch_started(situation)

    async def _repair(self, epoch: Epoch) -> None:
        """Take what this node should store as a replica, and lost or never had.

        The node is online when it has asked once.
        """
        repair = Repair(
            self._policy, self.store, self.replica, self.chain_clock, epoch, self._recorder
        )
        while repair.left and self._epochs.get_epoch() < epoch + READABLE_EPOCHS:
            try:
                await repair.take()
            except Exception as error:  # noqa: BLE001 - a node without old records does its duties
                what = f"{type(error).__name__}: {error}"
                self._emit(NodeWarning("repair", what, "it is tried again"))
            self._heartbeat.set_online()
            await asyncio.sleep(REPAIR_PAUSE_BLOCKS * self.context.block_seconds)
        self._heartbeat.set_online()

    def _emit_verdicts(self) -> None:
        admitted, denied = self.replica.take_counts()
        epoch = self._verdicts_epoch
        self._verdicts_epoch = self._epochs.epoch
        if epoch is not None:
            reasons = sorted(denied, key=lambda reason: reason.value)
            counts = {reason.value: denied[reason] for reason in reasons}
            self._emit(Verdicts(epoch, admitted, counts))

    def _tell_failure(self, name: str, error: Exception, is_begun_again: bool) -> None:
        if is_begun_again:
            advice = "it is tried again in a block's time"
        else:
            advice = ""
        self._emit(NodeWarning(name, f"{type(error).__name__}: {error}", advice))

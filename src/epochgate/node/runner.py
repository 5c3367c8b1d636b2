"""A node: follows the chain from epoch to epoch, and does its duties, each on its own, at their
times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from epochgate.core.evaluation import READABLE_EPOCHS
from epochgate.core.policy import Judge, Policy
from epochgate.core.policy_lint import check_policy
from epochgate.core.roster import Role
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.types import Epoch, PeerId
from epochgate.keys import SigningKey, format_peer_id
from epochgate.node import duties
from epochgate.node.attestor import attest
from epochgate.node.challenge import publish_challenge, see_challenge
from epochgate.node.context import DutyHandler, NodeContext
from epochgate.node.heartbeat import HeartbeatPublisher
from epochgate.node.hoster import commit_output, open_output
from epochgate.node.scheduler import DutyScheduler
from epochgate.node.submitter import submit
from epochgate.node.validator import commit_scores, open_scores, see_commitments, see_openings
from epochgate.observe.events import (
    ElectionChanged,
    Emit,
    EpochBegan,
    NodeReady,
    NodeStopped,
    NodeWarning,
    Verdicts,
)
from epochgate.observe.recorder import Recorder, Situation, Unrecorded
from epochgate.ports import Chain, Challenger, Clock, Compute, Entropy, Handler, Model, Network
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store
from epochgate.store.database import NodeDatabase
from epochgate.store.repair import Repair
from epochgate.store.replica import Replica

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
"""A request is given up after so many seconds, or blocks where those are shorter; a third of it for
who was silent before.
"""
GOODBYE_SECONDS = 3.0
"""How long a node that stops tries to say so."""
REPAIR_PAUSE_BLOCKS = 5
"""Until keys whose replicas did not answer are asked again."""
ELECTION_PATIENCE_BLOCKS = 2
"""How long into an epoch an election that the chain does not show yet is asked for."""


class Node:
    """One node of a subnet, whole.

    `await start()`, then `await run()` until `stop()` is called. Cancelling `run` is an abrupt end:
    nothing is said or cleaned up beyond its tasks, and a node started later with the same ledger
    goes on. Network, chain and ledger belong to whoever passes them in, and are closed there.
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
        recorder = recorder or Unrecorded()
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
        self._scheduler = DutyScheduler(self.context, self.handlers, self._spawn)
        self.handler: Handler | None = None
        """What answers others' requests in the place of its replica."""
        self._recorder = recorder
        self._judge_name = "" if judge is policy else type(judge).__qualname__
        self._chain = chain
        self.network = network
        self._database = database
        self._author = key.author
        self._policy = policy
        self._emit = emit
        self._addresses = list(addresses)
        self._heartbeat = HeartbeatPublisher(self.context, public_name, heartbeat_facts)
        self._epoch: Epoch | None = None
        self._learnt: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Listen and learn the roster. Raises PolicyError when the policy cannot work on this
        chain.
        """
        epoch = self._get_epoch()  # the next one may begin while this one is learnt
        if self._is_started():
            await self._learn(epoch)
        else:
            self._learn_who_waits()
        roster = self.schedule.get_context(epoch).roster
        check_policy(
            self._policy, self._chain.timing, len(roster.members), self.network.max_message_bytes
        )
        self._note_begun(epoch, self.context.get_unix_seconds(), None)
        await self.network.serve(self.handler or self.replica.handle)
        self._spawn(self._keep_running("heartbeat", self._heartbeat.run))
        roles = [
            role.name.lower()
            for role in Role
            if role.name and roster.roles.get(self._author, 0) & role
        ]
        self._emit(NodeReady(roles, self._addresses, self._policy.digest.hex()))

    async def run(self) -> None:
        """Until `stop`; ends with OFFLINE."""
        try:
            self._spawn(self._keep_running("epochs", self._follow))
            self._spawn(self._keep_running("election", self._look_at_election))
            await self._stopping.wait()
            await self._end_tasks()
            with suppress(
                TimeoutError
            ):  # whoever does not hear OFFLINE sees the last heartbeat expire
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._heartbeat.say_goodbye(GOODBYE_SECONDS)
        finally:
            await self._end_tasks()
            await self.store.close()
        self._emit_verdicts()
        self._emit(NodeStopped())

    async def _ask_own_replica(self, sender: PeerId, message: bytes) -> bytes:
        """Looked up at each call, so that a node's replica may be watched or replaced."""
        return await self.replica.handle(sender, message)

    def stop(self) -> None:
        self._stopping.set()

    async def _follow(self) -> None:
        """Epoch after epoch. What an epoch began goes on by itself, so this only ever waits for the
        next one.
        """
        while not self._is_started():
            self._learn_who_waits()
            await self._wait_for_start()
        timing = self._chain.timing
        while True:
            epoch = self._get_epoch()
            if epoch != self._epoch:
                await self._learn(epoch)
                if self._epoch is None:
                    self.context.began_epoch = epoch
                    self._spawn(self._repair(epoch))
                self._begin(epoch)
            await self.context.wait_for_block(
                timing.compute_first_block(epoch) + timing.blocks_per_epoch / 2
            )
            await self._learn_roster(Epoch(epoch + 1))
            await self.context.wait_for_block(timing.compute_first_block(Epoch(epoch + 1)))
            while self._get_epoch() == epoch:  # noqa: ASYNC110 - the head may come later than the time for it
                await asyncio.sleep(timing.block_seconds / 8)

    async def _wait_for_start(self) -> None:
        timing = self._chain.timing
        if timing.slot is not None:
            await self.context.wait_for_block(timing.slot)
        await asyncio.sleep(timing.block_seconds / 8)

    def _learn_who_waits(self) -> None:
        """Before the first block there are heartbeats only, among those who are registered now."""
        context = EpochContext(
            self._chain.network_id, self._chain.timing, self._chain.get_waiting_roster()
        )
        self._add_context(context)

    def _add_context(self, context: EpochContext) -> None:
        self.schedule.add(context)
        self.network.set_protected_peers(self.schedule.get_members(self._get_epoch()))
        self._recorder.note_context(context)

    def _note_begun(self, epoch: Epoch, now_seconds: float, oldest_epoch: Epoch | None) -> None:
        """`oldest_epoch` is None at the start, when nothing has been let go."""
        situation = Situation(
            node=PeerId(self._author),
            policy_digest=self._policy.digest,
            judge=self._judge_name,
            capacity=self.replica.capacity,
            epoch=epoch,
            time_seconds=now_seconds,
            oldest_epoch=oldest_epoch,
            contexts=self.schedule.get_contexts(),
            held=self._database.held,
        )
        self._recorder.note_begun(situation)

    async def _learn(self, epoch: Epoch) -> None:
        """The contexts of `epoch` and of those before that can still be read."""
        for earlier in range(max(0, epoch - READABLE_EPOCHS + 1), epoch):
            try:
                await self._learn_roster(Epoch(earlier))
            except Exception as error:  # noqa: BLE001 - without the past a node cannot settle it, and still does the rest
                advice = "a chain node that keeps its history is needed"
                self._emit(
                    NodeWarning(
                        f"roster of epoch {earlier}", f"{type(error).__name__}: {error}", advice
                    )
                )
        await self._learn_roster(epoch)
        elected = await self._get_elected(epoch)
        roster = self.schedule.get_context(epoch).roster
        self._add_context(EpochContext(self._chain.network_id, self._chain.timing, roster, elected))

    async def _learn_roster(self, epoch: Epoch) -> None:
        """Ahead of the epoch, so that nothing waits for it at the boundary. What was learnt is kept
        for good.
        """
        if epoch not in self._learnt or not self.schedule.has(epoch):
            roster = await self._chain.get_roster(epoch)
            self._add_context(EpochContext(self._chain.network_id, self._chain.timing, roster))
            self._learnt.add(epoch)

    async def _get_elected(self, epoch: Epoch) -> PeerId | None:
        patience_until = self._chain.timing.compute_first_block(epoch) + ELECTION_PATIENCE_BLOCKS
        elected = await self._chain.get_elected(epoch)
        while elected is None and self.context.compute_seconds_until(patience_until) > 0:
            await asyncio.sleep(self._chain.timing.block_seconds / 4)
            elected = await self._chain.get_elected(epoch)
        return elected

    def _begin(self, epoch: Epoch) -> None:
        self._emit_verdicts()
        self._epoch = epoch
        self._learnt = {learnt for learnt in self._learnt if learnt > epoch - READABLE_EPOCHS}
        oldest_epoch = epoch - READABLE_EPOCHS + 1
        now_seconds = self.context.get_unix_seconds()
        self._database.forget(now_seconds, Epoch(oldest_epoch))
        self._note_begun(epoch, now_seconds, Epoch(oldest_epoch))
        context = self.schedule.get_context(epoch)
        roster = context.roster
        elected = context.elected
        self._emit(
            EpochBegan(
                epoch,
                format_peer_id(elected) if elected else None,
                len(roster.hosters),
                len(roster.validators),
            )
        )
        self._scheduler.begin(context)

    async def _look_at_election(self) -> None:
        """Once; it is repeated every block. A reorganisation of the epoch's first block may elect
        another node, and a chain that was slow may show its election late.
        """
        epoch = self._epoch
        if epoch is None:
            return
        elected = await self._chain.get_elected(epoch)
        if epoch == self._epoch and elected not in (None, self.schedule.get_context(epoch).elected):
            self._change_election(epoch, elected)

    def _change_election(self, epoch: Epoch, elected: PeerId) -> None:
        before = self.schedule.get_context(epoch)
        context = msgspec.structs.replace(before, elected=elected)
        self._add_context(context)
        now = format_peer_id(elected)
        then = format_peer_id(before.elected) if before.elected else None
        self._emit(ElectionChanged(epoch, now, then))
        self._scheduler.change(
            context, f"the chain elects {now} now, in the place of {then or 'nobody'}"
        )

    async def _repair(self, epoch: Epoch) -> None:
        """Take what this node should hold as a replica, and lost or never had; it is ready when it
        has asked once.
        """
        repair = Repair(
            self._policy, self.store, self.replica, self.chain_clock, epoch, self._recorder
        )
        while repair.left and self._get_epoch() < epoch + READABLE_EPOCHS:
            try:
                await repair.take()
            except Exception as error:  # noqa: BLE001 - a node without old records still does its duties
                self._emit(
                    NodeWarning("repair", f"{type(error).__name__}: {error}", "it is tried again")
                )
            self._heartbeat.set_online()
            await asyncio.sleep(REPAIR_PAUSE_BLOCKS * self._chain.timing.block_seconds)
        self._heartbeat.set_online()

    def _emit_verdicts(self) -> None:
        admitted, denied = self.replica.take_counts()
        if self._epoch is not None:
            counts = {
                reason.value: count
                for reason, count in sorted(denied.items(), key=lambda item: item[0].value)
            }
            self._emit(Verdicts(self._epoch, admitted, counts))

    async def _keep_running(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a chain that hiccups must not end the node
                self._emit(
                    NodeWarning(
                        name,
                        f"{type(error).__name__}: {error}",
                        "it is tried again in a block's time",
                    )
                )
            await asyncio.sleep(self._chain.timing.block_seconds)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._tasks = [task for task in self._tasks if not task.done()]
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _is_started(self) -> bool:
        return self._chain.timing.is_started(self.chain_clock.get_block()[0])

    def _get_epoch(self) -> Epoch:
        return self._chain.timing.compute_epoch(self.chain_clock.get_block()[0])

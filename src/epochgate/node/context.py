"""What the roles of one node share: who it is, what it knows, and how it waits, writes and
reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from epochgate.core.commitment import Opening
from epochgate.core.epoch import compute_seconds
from epochgate.core.evaluation import READABLE_EPOCHS
from epochgate.core.policy import Judge, Policy
from epochgate.core.receipt import Proof, RecordId, Standing, compute_record_id, merge_receipts
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading, RuleReading
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.errors import EpochgateError
from epochgate.keys import SigningKey
from epochgate.node.duties import Duty
from epochgate.node.latency import LatencyTracker
from epochgate.observe.events import Emit, NodeWarning, Stored
from epochgate.observe.recorder import Recorder
from epochgate.ports import Chain, Challenger, Compute, Entropy, Model
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store
from epochgate.store.database import NodeDatabase
from epochgate.store.replica import Replica

LONGEST_GRACE_SECONDS = 0.5
"""How long the replicas beyond K - f are waited for, so that what is reported is mostly the whole
count.
"""


class DutyFailed(EpochgateError):
    """A duty that cannot be done; the message says why."""


DutyHandler = Callable[["NodeContext", Duty], Awaitable[str]]
"""Does a duty and returns how it went, in words for people. Raises DutyFailed; it is cancelled when
the duty's time is over.
"""


class NodeContext:
    """One node's place of work. `model` is None for a node that hosts nothing."""

    def __init__(
        self,
        *,
        chain: Chain,
        key: SigningKey,
        policy: Policy,
        judge: Judge,
        database: NodeDatabase,
        chain_clock: ChainClock,
        replica: Replica,
        store: Store,
        entropy: Entropy,
        compute: Compute,
        model: Model | None,
        challenger: Challenger | None,
        emit: Emit,
        recorder: Recorder,
    ) -> None:
        self.chain = chain
        self.key = key
        self.author = key.author
        self.policy = policy
        self.judge = judge
        self.database = database
        self.chain_clock = chain_clock
        self.replica = replica
        self.store = store
        self.entropy = entropy
        self.compute = compute
        self.model = model
        self.challenger = challenger
        self.emit = emit
        self.latency = LatencyTracker()
        self.recorder = recorder
        self.began_epoch: Epoch | None = None
        """The epoch in which this node started. What it did before, only its database and its peers
        know.
        """
        self._answered: dict[tuple[int, RecordKey], frozenset[PeerId]] = {}
        """By epoch and key: who had answered when a key that takes no more records was read with
        enough answers.
        """

    @property
    def schedule(self) -> EpochSchedule:
        return self.chain_clock.schedule

    @property
    def block_seconds(self) -> float:
        return self.chain.timing.block_seconds

    def get_unix_seconds(self) -> float:
        return self.chain_clock.clock.get_unix_seconds()

    def compute_seconds_until(self, block: float) -> float:
        """Negative when `block` has begun already."""
        return self.chain_clock.compute_unix_seconds(block) - self.get_unix_seconds()

    async def wait_for_block(self, block: float) -> None:
        """Half of the way first, since blocks may come faster or slower than they should."""
        while (left_seconds := self.compute_seconds_until(block)) > 0:  # noqa: ASYNC110 - by time
            await asyncio.sleep(
                left_seconds if left_seconds <= 2 * self.block_seconds else left_seconds / 2
            )

    def get_key_rule(self, rule: Rule, epoch: Epoch) -> KeyRule:
        """The key under which this node writes by `rule` in `epoch`."""
        return self.schedule.get_key_rule(
            rule, epoch, self.author if "{author}" in rule.name else None
        )

    def sign_once(
        self, rule: Rule, epoch: Epoch, payload: bytes, opening: Opening | None = None
    ) -> Record:
        """The record by which this node keeps to what it says: signed, and on disk with what opens
        it, before it is sent.

        It asks for two blocks less than the longest lifetime, since clocks may differ by one.
        """
        key_rule = self.get_key_rule(rule, epoch)
        lifetime_seconds = (
            compute_seconds(rule.ttl, key_rule.context.timing) - 2 * key_rule.block_seconds
        )
        expiration_time = self.get_unix_seconds() + lifetime_seconds
        record = self.key.sign_record(
            key_rule.context.network, key_rule.key, payload, expiration_time
        )
        return self.database.keep_own(
            rule.kind, epoch, record, opening
        )  # an earlier one stays, and is what it says

    async def find_own_record(self, rule: Rule, epoch: Epoch) -> Record | None:
        """What this node has said by `rule` in `epoch`, None where it has said nothing.

        In the epoch in which it started it also asks the replicas: a second, different record would
        be equivocation, so a node whose database was lost keeps to what is there.
        """
        own = self.database.get_own_record(rule.kind, epoch)
        if own is not None or epoch != self.began_epoch:
            return own
        reading = await self.store.read(self.get_key_rule(rule, epoch), wait_for_all=True)
        said = [
            proof.record for proof in reading.proofs.values() if proof.record.author == self.author
        ]
        if not said:
            return None
        what = (
            f"this node has written {rule.kind} of epoch {epoch}, and its database knows nothing"
            " of it"
        )
        self.emit(
            NodeWarning(
                "database",
                what,
                "it keeps to that record and cannot open a commitment: keep the file ledger.sqlite",
            )
        )
        return self.database.keep_own(rule.kind, epoch, said[0])

    async def post(self, rule: Rule, duty: Duty, record: Record) -> str:
        """Send a record of this node's until it is complete or the duty's time is over. Raises
        DutyFailed below f + 1 receipts.
        """
        posting = await self.store.post(
            record,
            self.get_key_rule(rule, duty.epoch),
            self.chain_clock.compute_unix_seconds(duty.closes),
        )
        if posting.is_complete:
            await posting.wait_for_stragglers(min(self.block_seconds, LONGEST_GRACE_SECONDS))
        replica_set = posting.replica_set
        receipts = len(posting.receipts)
        self.emit(
            Stored(
                duty.epoch, rule.kind, receipts, replica_set.k, replica_set.f, posting.is_complete
            )
        )
        if not posting.is_proven:
            raise DutyFailed(str(posting))
        return f"{receipts} of {replica_set.k} receipts"

    async def read_rule(self, rule: Rule, epoch: Epoch) -> RuleReading:
        """All that the replicas hold by `rule` in `epoch`, and what this node has read of it
        before.

        What is proven is kept in the database, since it may expire before it is settled.
        """
        self._answered = {
            place: who
            for place, who in self._answered.items()
            if place[0] > epoch - READABLE_EPOCHS
        }
        rule_reading = await self.store.read_all(rule, epoch, wait_for_all=True)
        merged = RuleReading(
            rule_reading.rule,
            rule_reading.epoch,
            rule_reading.roster,
            tuple(self._recall(them, epoch) for them in rule_reading.readings),
        )
        proofs = [
            proof for them in rule_reading.get_proofs(Standing.PROVEN).values() for proof in them
        ]
        self.database.keep_proofs(epoch, proofs)
        return merged

    async def gather(
        self, pairs: Sequence[tuple[Rule, int]], closes: float
    ) -> tuple[RuleReading, ...]:
        """The sections of (rule, epoch) pairs; those with too few answers are asked again, a block
        apart, until `closes`.
        """
        rule_readings = list(
            await asyncio.gather(*(self.read_rule(rule, Epoch(epoch)) for rule, epoch in pairs))
        )
        while not all(rule_reading.is_enough for rule_reading in rule_readings):
            if self.compute_seconds_until(closes) <= 2 * self.block_seconds:
                break  # a block is left to do something with what there is
            await asyncio.sleep(self.block_seconds)
            for index, rule_reading in enumerate(rule_readings):
                if not rule_reading.is_enough:
                    rule_readings[index] = await self.read_rule(
                        rule_reading.rule, rule_reading.epoch
                    )
        return tuple(rule_readings)

    def _recall(self, reading: KeyReading, epoch: Epoch) -> KeyReading:
        remembered = self.database.get_proofs(reading.key_rule.key)
        rule = reading.key_rule.receipt_rule
        proofs: dict[RecordId, Proof] = dict(reading.proofs)
        signers = dict(reading.signers)
        for proof in remembered:
            record_id = compute_record_id(proof.record)
            if (
                record_id not in proofs
                or rule.judge_count(len(signers.get(record_id, ()))) < Standing.COMPLETE
            ):
                if record_id in proofs:
                    receipts = proofs[record_id].receipts
                else:
                    receipts = ()
                proofs[record_id] = Proof(proof.record, merge_receipts(receipts, proof.receipts))
                signers[record_id] = signers.get(record_id, frozenset()) | self.store.verify(
                    rule, record_id, proof.receipts
                )
        return self._remember(
            KeyReading(reading.key_rule, proofs, signers, reading.answered), epoch
        )

    def _remember(self, reading: KeyReading, epoch: Epoch) -> KeyReading:
        """The reading, with those who answered when it was enough before: once a key takes no more
        records, what was complete then is all that ever will be, and it is in the database. So
        replicas may die after they were read.
        """
        place = (epoch, reading.key_rule.key)
        key_rule = reading.key_rule
        answered = reading.answered | self._answered.get(place, frozenset())
        reading = KeyReading(key_rule, reading.proofs, reading.signers, answered)
        if reading.is_enough and self.chain_clock.get_block()[0] > key_rule.last:
            self._answered[place] = answered
        return reading

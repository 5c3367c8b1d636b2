"""The second half of a reading: one copy of each proven value is fetched from a replica that lists
it.

A value counts only where it has the digest that was proven, and the policy recognises the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge
from epochgate.core.receipt import RecordId, compute_record_id
from epochgate.core.record import Record, is_record_signed
from epochgate.core.rule import KeyRule
from epochgate.core.types import PeerId
from epochgate.store.chain_clock import ChainClock
from epochgate.store.peers import Peers
from epochgate.store.wire import MAX_FETCHED_AUTHORS, Fetch, Values


class FetchedValues:
    """The values that are wanted, and which of them have arrived.

    Args:
        wanted: The records, without their values.

    Attributes:
        records: The records whose values have arrived.
        unrecognised: Those that their authors did sign, and the policy does not recognise.
    """

    def __init__(self, wanted: Sequence[RecordId]) -> None:
        self.records: dict[RecordId, Record] = {}
        self.unrecognised: set[RecordId] = set()
        self._wanted = wanted

    def is_missing(self, record_id: RecordId) -> bool:
        """Whether the value is still to be fetched."""
        return record_id not in self.records and record_id not in self.unrecognised

    def get_missing(self) -> Iterator[RecordId]:
        """The records whose values are still to be fetched."""
        return (record_id for record_id in self._wanted if self.is_missing(record_id))


class ValueFetcher:
    """Fetches the values of one key.

    Args:
        peers: Asks the replicas.
        judge: Recognises records.
        chain_clock: The moment at which it does.
        stand_in_seconds: How long a holder has to send values, until the next holder is asked as
            well.
    """

    def __init__(
        self, peers: Peers, judge: Judge, chain_clock: ChainClock, stand_in_seconds: float
    ) -> None:
        self._peers = peers
        self._judge = judge
        self._chain_clock = chain_clock
        self._stand_in_seconds = stand_in_seconds

    async def fetch(
        self, key_rule: KeyRule, holders: Mapping[RecordId, Sequence[PeerId]]
    ) -> FetchedValues:
        """Fetch values from this node's own replica where it has them, and from the others in turn.

        Args:
            key_rule: The key.
            holders: The records whose values are wanted, each with the replicas that list it.

        Returns:
            What has arrived. It is complete, unless every holder of a value was silent, withheld it
            or sent another one.
        """
        fetched = FetchedValues(tuple(holders))
        # each record begins at another of its holders
        orders = {
            record_id: self._peers.order(replicas, number)
            for number, (record_id, replicas) in enumerate(holders.items())
        }
        tasks: list[asyncio.Task[None]] = []
        for turn in range(key_rule.replica_set.k):
            batches: dict[PeerId, list[RecordId]] = {}
            for record_id in fetched.get_missing():
                order = orders[record_id]
                if turn < len(order):
                    batches.setdefault(order[turn], []).append(record_id)
            if not batches:
                break
            begun = [
                self._peers.spawn(
                    "fetching values", self._fetch_from(holder, key_rule, batch, fetched)
                )
                for holder, batch in batches.items()
            ]
            # Stops "a replica that lies on reads or withholds": the next holder stands in for it.
            await asyncio.wait(begun, timeout=self._stand_in_seconds)
            tasks += begun
        if tasks and any(fetched.get_missing()):
            await asyncio.wait(tasks, timeout=self._peers.timeout_seconds)
        return fetched

    async def _fetch_from(
        self,
        holder: PeerId,
        key_rule: KeyRule,
        batch: Sequence[RecordId],
        fetched: FetchedValues,
    ) -> None:
        """Ask `holder` for values, and again for those that did not fit into its reply."""
        left = list(batch)[:MAX_FETCHED_AUTHORS]
        while left:
            authors = tuple(record_id.author for record_id in left)
            reply = await self._peers.ask(holder, Fetch(key_rule.key, authors))
            # Stops "a replica that lies on reads or withholds": only the very values that were
            # asked for are looked at, known by their digests.
            found: dict[RecordId, Record] = {}
            if isinstance(reply, Values):
                found = {compute_record_id(record): record for record in reply.records}
            fitting = [record_id for record_id in left if record_id in found]
            if not fitting:
                return
            now = self._chain_clock.get_evaluation_context()
            for record_id in fitting:
                self._take(found[record_id], record_id, now, fetched)
            left = [
                record_id
                for record_id in left
                if record_id not in found and fetched.is_missing(record_id)
            ]

    def _take(
        self, record: Record, record_id: RecordId, now: EvaluationContext, fetched: FetchedValues
    ) -> None:
        """Take a record whose value has the right digest, if the policy recognises it.

        A record with a valid author signature that the policy does not recognise is treated as
        nonexistent, however many replicas gave receipts for it. Without a valid signature it is
        only the holder's copy that is false: the digest leaves out the expiry, which the author
        signs, so another holder may have the true one.
        """
        if self._judge.recognise(record, now):
            fetched.records[record_id] = record
        elif is_record_signed(now.network, record):
            fetched.unrecognised.add(record_id)

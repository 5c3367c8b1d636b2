"""A record on its way to the replicas of its key."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from epochgate.core.receipt import Receipt, ReceiptRule, RecordId, Standing
from epochgate.core.types import PeerId
from epochgate.core.verdict import Denied, Reason
from epochgate.store.wire import Posted, Refused, Reply

_FINAL_REASONS = frozenset(
    {
        Reason.TOO_LARGE,
        Reason.LATE,
        Reason.WRONG_ROLE,
        Reason.NOT_AUTHOR,
        Reason.NOT_REPLICA,
        Reason.ALREADY_THERE,
        Reason.BAD_SIGNATURE,
        Reason.MALFORMED,
    }
)
"""Reasons for which the record will be refused the next time as well.

Not so an unknown key, and an author that is not on the roster: a replica may learn of the epoch
later.
"""


class Posting:
    """The receipts and refusals that a record has got so far.

    It goes on being filled after `Store.post` has returned, while the remaining replicas answer.

    Args:
        record_id: The record.
        rule: How receipts for its key are counted.

    Attributes:
        replica_set: The replicas of its key.
        receipts: The valid receipts, by replica.
        refusals: The newest refusal of each replica that has not given a receipt.
        unreachable: The replicas that did not answer the last time, or not to the question.
        settled: Set when the record is complete, and when `ended` is set.
        ended: Set when no replica is asked any more: each has given a receipt or refused for good,
            or the time is over.
    """

    def __init__(self, record_id: RecordId, rule: ReceiptRule) -> None:
        self.record_id = record_id
        self.replica_set = rule.replica_set
        self.receipts: dict[PeerId, Receipt] = {}
        self.refusals: dict[PeerId, Denied] = {}
        self.unreachable: set[PeerId] = set()
        self.settled = asyncio.Event()
        self.ended = asyncio.Event()
        self._rule = rule

    @property
    def standing(self) -> Standing:
        """What the receipts prove, from UNPROVEN to COMPLETE."""
        return self._rule.judge_count(len(self.receipts))

    @property
    def is_complete(self) -> bool:
        """Whether K - f replicas have given receipts, so that every honest reader sees the
        record.
        """
        return self.standing >= Standing.COMPLETE

    @property
    def is_proven(self) -> bool:
        """Whether f + 1 replicas have given receipts, so that at least one of them is honest."""
        return self.standing >= Standing.PROVEN

    async def wait_for_stragglers(self, longest_seconds: float) -> None:
        """Wait until every replica has answered for good. A complete record does not need it.

        Args:
            longest_seconds: How long to wait at most.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                await self.ended.wait()

    def add_reply(self, replica: PeerId, reply: Reply | None, signers: frozenset[PeerId]) -> bool:
        """Take in a replica's answer.

        Args:
            replica: The replica that was asked.
            reply: Its reply; None where it was unreachable, or sent something else.
            signers: The replicas whose receipts in the reply are valid.

        Returns:
            Whether the replica need not be asked again.
        """
        self.unreachable.discard(replica)
        # Stops "a forged or back-dated receipt", and "a store that reached too few": a receipt
        # counts once it is verified, and only as that of the replica that was asked.
        if isinstance(reply, Posted) and replica in signers:
            self.receipts[replica] = reply.receipt
            self.refusals.pop(replica, None)
            if self.is_complete:
                self.settled.set()
            return True
        if isinstance(reply, Refused):
            denied = reply.to_denied()
            self.refusals[replica] = denied
            return denied.reason in _FINAL_REASONS
        self.unreachable.add(replica)
        return False

    def end(self) -> None:
        """Note that no replica is asked any more."""
        self.settled.set()
        self.ended.set()

    def __str__(self) -> str:
        facts = [
            f"{len(self.receipts)} of {self.replica_set.k} receipts, {self.replica_set.quorum} make"
            " it complete"
        ]
        if self.unreachable:
            facts.append(f"{len(self.unreachable)} replicas did not answer")
        facts += sorted({str(denied) for denied in self.refusals.values()})
        return "; ".join(facts)

"""The record store as a node uses it: post to the replicas of a key, read what they prove."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge
from epochgate.core.receipt import (
    Proof,
    Receipt,
    ReceiptRule,
    RecordId,
    Standing,
    compute_record_id,
)
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading, RuleReading
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.types import Epoch, PeerId
from epochgate.ports import Handler, Network
from epochgate.store.chain_clock import ChainClock
from epochgate.store.peers import Peers
from epochgate.store.posting import Posting
from epochgate.store.reader import Reader
from epochgate.store.wire import FRAME_BYTES, Post, Posted, Reply, Request
from epochgate.supervision.task_keeper import TellFailure

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Between two tries at a replica: at first, and at most while the record is not complete. After
that nobody waits for the other replicas, and they are tried once per block.
"""
MAX_KEYS_READ_AT_ONCE = 64
"""Where a rule has one key per author, a silent replica is one of the replicas of nearly all keys.
If keys were read one after the other, each of them would wait for it. A replica gets only a few of
these requests at once, far fewer than its policy grants a member: on average K keys, whatever the
size of the roster.
"""


class Store:
    """One node's client of the record store.

    It needs no locks, and has no state that must survive a restart. Its node's own replica is one
    of those it asks.

    Args:
        network: Carries requests to other nodes.
        answer: Answers requests to this node itself: its own replica.
        judge: Recognises the records that replicas send; usually the policy.
        chain_clock: The chain's time, and the key tables of the epochs.
        timeout_seconds: How long a reply may take.
        suspect_timeout_seconds: How long a reader waits for a peer that did not answer the last
            request.
        hedge_seconds: How long the first K - f replicas have to list what they hold, until the
            others are asked as well.
        stand_in_seconds: How long a replica has to send values, until the next one is asked as
            well.
        tell_failure: Called when an error ends a request in the background; None writes it to the
            log.
    """

    def __init__(
        self,
        network: Network,
        answer: Handler,
        judge: Judge,
        chain_clock: ChainClock,
        *,
        timeout_seconds: float = 3.0,
        suspect_timeout_seconds: float = 1.0,
        hedge_seconds: float = 0.03,
        stand_in_seconds: float = 0.5,
        tell_failure: TellFailure | None = None,
    ) -> None:
        self._peers = Peers(network, answer, timeout_seconds, suspect_timeout_seconds, tell_failure)
        self._reader = Reader(
            self._peers,
            judge,
            chain_clock,
            hedge_seconds=hedge_seconds,
            stand_in_seconds=stand_in_seconds,
        )
        self._chain_clock = chain_clock
        self._keys_read = asyncio.Semaphore(MAX_KEYS_READ_AT_ONCE)

    async def post(self, record: Record, key_rule: KeyRule, until_seconds: float) -> Posting:
        """Send a record to every replica of its key, until it is complete.

        A replica that does not answer, or refuses for a reason that may pass, is asked again after
        a pause. After this has returned, replicas without a receipt are asked on in the background.

        Args:
            record: The signed record.
            key_rule: The rule of its key, in its epoch.
            until_seconds: Unix time until which replicas are asked, here and in the background.

        Returns:
            The receipts and refusals so far. `is_complete` tells whether K - f replicas have given
            receipts; where it is False, every replica has refused for good or the time is over.

        Raises:
            ValueError: The record does not fit into a message.
        """
        max_bytes = self._peers.max_message_bytes - FRAME_BYTES
        # Stops "a reply too large to send": a replica that took the record could not send it again.
        if len(record.value) > max_bytes:
            raise ValueError(
                f"a value of {len(record.value)} bytes does not fit into a message of this network:"
                f" at most {max_bytes} bytes do"
            )
        posting = Posting(compute_record_id(record), key_rule.receipt_rule)
        self._peers.spawn(
            "posting a record", self._post_to_all(record, key_rule, posting, until_seconds)
        )
        await posting.settled.wait()
        return posting

    async def read(self, key_rule: KeyRule, *, wait_for_all: bool = False) -> KeyReading:
        """Read what the replicas of one key hold, as far as receipts prove it.

        Args:
            key_rule: The key, in its epoch.
            wait_for_all: Wait for every replica until it answers or its time is over, and so find
                what more than f of them have lost. Otherwise wait until no complete record can be
                missing.

        Returns:
            The proven records, and who answered. Its `is_enough` is False where so few answered
            that a complete record may be missing, or a proven value was not handed out.
        """
        async with self._keys_read:
            return await self._reader.read(key_rule, wait_for_all=wait_for_all)

    async def read_all(
        self, rule: Rule, epoch: Epoch, *, wait_for_all: bool = False
    ) -> RuleReading:
        """Read all keys of a rule in one epoch: one key, or one per author on the roster.

        Args:
            rule: A rule of the policy.
            epoch: The epoch of the keys. For keys without an epoch, the one whose roster counts.
            wait_for_all: As in `read`.

        Returns:
            A reading per key.

        Raises:
            KeyError: The epoch's roster is not known.
        """
        schedule = self._chain_clock.schedule
        roster = schedule.get_context(epoch).roster
        readings = await asyncio.gather(
            *(
                self.read(key_rule, wait_for_all=wait_for_all)
                for key_rule in schedule.get_key_rules(rule, epoch)
            )
        )
        return RuleReading(rule, epoch, roster, tuple(readings))

    async def ask(self, peer: PeerId, request: Request) -> Reply | None:
        """Send one request to one peer.

        Args:
            peer: A peer, or this node itself.
            request: The request.

        Returns:
            The reply. None where the peer is unreachable, or sends something that is not a reply.
        """
        return await self._peers.ask(peer, request)

    def verify(
        self, rule: ReceiptRule, record_id: RecordId, receipts: Iterable[Receipt]
    ) -> frozenset[PeerId]:
        """Find the replicas whose receipts for a record are valid.

        Args:
            rule: How receipts for its key are counted.
            record_id: The record.
            receipts: Receipts from anybody. A signature that was checked lately is not checked
                again.

        Returns:
            The replicas.
        """
        return self._reader.verifier.compute_signers(rule, record_id, receipts)

    async def close(self) -> None:
        """End all that goes on in the background, and wait until it has ended."""
        await self._peers.close()

    async def _post_to_all(
        self, record: Record, key_rule: KeyRule, posting: Posting, until_seconds: float
    ) -> None:
        left_seconds = until_seconds - self._chain_clock.clock.get_unix_seconds()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_seconds):
                    await asyncio.gather(
                        *(
                            self._post_to(replica, record, key_rule, posting)
                            for replica in posting.replica_set.replicas
                        )
                    )
        finally:
            posting.end()

    async def _post_to(
        self, replica: PeerId, record: Record, key_rule: KeyRule, posting: Posting
    ) -> None:
        """Ask one replica until it gives a receipt or refuses for good."""
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            reply = await self._peers.ask(replica, Post(record))
            signers: frozenset[PeerId] = frozenset()
            if isinstance(reply, Posted):
                signers = self.verify(key_rule.receipt_rule, posting.record_id, [reply.receipt])
            if posting.add_reply(replica, reply, signers):
                return
            await asyncio.sleep(pause_seconds)
            longest_seconds = LONGEST_PAUSE_SECONDS
            if posting.is_complete:
                longest_seconds = max(LONGEST_PAUSE_SECONDS, key_rule.block_seconds)
            pause_seconds = min(2 * pause_seconds, longest_seconds)


def get_latest(readings: Iterable[KeyReading], now: EvaluationContext) -> dict[PeerId, Proof]:
    """Get each author's newest record, of keys whose records are renewed, such as heartbeats.

    Args:
        readings: What was read of the keys.
        now: The moment, at which expired records do not count.

    Returns:
        By author, the proven record that expires last.
    """
    latest: dict[PeerId, Proof] = {}
    for reading in readings:
        for record_id in reading.get_record_ids(Standing.PROVEN):
            proof = reading.proofs[record_id]
            expiration_time = proof.record.expiration_time
            if expiration_time <= now.time_seconds:
                continue
            known = latest.get(record_id.author)
            if known is None or expiration_time > known.record.expiration_time:
                latest[record_id.author] = proof
    return latest

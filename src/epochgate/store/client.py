"""The record store that a node talks to: post to a key's replicas, read what they prove."""

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
from epochgate.core.roster import ReplicaSet
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.types import Epoch, PeerId
from epochgate.core.verdict import Denied, Reason
from epochgate.ports import Handler, Network
from epochgate.store.chain_clock import ChainClock
from epochgate.store.peers import Peers
from epochgate.store.reader import Reader
from epochgate.store.wire import FRAME_BYTES, Post, Posted, Refused, Reply, Request

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
"""Pauses between two tries at a replica: the first one, and the longest that doubling leads to.
Once a record is complete the remaining replicas are tried at most once per block.
"""
READS_AT_ONCE = 64
"""Maximum number of keys read concurrently. Where every author has a key of its own, reading them
one after another would wait for a silent replica once per key. A replica is asked for K keys on
average, whatever the roster's size, which is far below what it grants a member.
"""

_FINAL = frozenset(
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
"""Refusals that trying again cannot cure. An unknown key and a missing author may only be unknown
and missing *yet*, to a replica that is late to hear of an epoch.
"""


class Posting:
    """How far a record has come: who gave a receipt for it, what the others said last, and who says
    nothing of use. It goes on being filled while stragglers answer.
    """

    def __init__(self, record_id: RecordId, rule: ReceiptRule) -> None:
        self.record_id = record_id
        self.replica_set: ReplicaSet = rule.replica_set
        self.receipts: dict[PeerId, Receipt] = {}
        self.refusals: dict[PeerId, Denied] = {}
        self.unreachable: set[PeerId] = set()
        self.ended = asyncio.Event()
        """Nobody is tried any more: all have given receipts, refused for good, or the time is over.
        """
        self._rule = rule

    @property
    def standing(self) -> Standing:
        return self._rule.judge_count(len(self.receipts))

    @property
    def is_complete(self) -> bool:
        return self.standing >= Standing.COMPLETE

    @property
    def is_proven(self) -> bool:
        return self.standing >= Standing.PROVEN

    async def wait_for_stragglers(self, longest_seconds: float) -> None:
        """A complete record needs no more receipts, but whoever counts them may wait a moment for
        the last ones.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_seconds):
                await self.ended.wait()

    def hear(self, replica: PeerId, reply: Reply | None, signers: frozenset[PeerId]) -> bool:
        """Take in an answer; `signers` are those whose receipts in it hold. Whether `replica` need
        be asked no more.
        """
        self.unreachable.discard(replica)
        if isinstance(reply, Posted) and replica in signers:
            self.receipts[replica] = reply.receipt
            self.refusals.pop(replica, None)
            return True
        if isinstance(reply, Refused):
            denied = self.refusals[replica] = reply.to_denied()
            return denied.reason in _FINAL
        self.unreachable.add(replica)
        return False

    def __str__(self) -> str:
        words = (
            f"{len(self.receipts)} of {self.replica_set.k} receipts, {self.replica_set.quorum} make"
            " it complete"
        )
        denials = "; ".join(sorted({str(denied) for denied in self.refusals.values()}))
        if self.unreachable:
            silent = f"; {len(self.unreachable)} replicas did not answer"
        else:
            silent = ""
        return words + silent + (f"; {denials}" if denials else "")


class Store:
    """One node's way to the replicas, its own among them.

    A request is given up after `timeout_seconds`, a reader's request to a peer that was silent
    before after `suspect_timeout_seconds`; `hedge_seconds` and `stand_in_seconds` as in
    `epochgate.store.reader.Reader`.
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
    ) -> None:
        self._peers = Peers(network, answer, timeout_seconds, suspect_timeout_seconds)
        self._reader = Reader(
            self._peers,
            judge,
            chain_clock,
            hedge_seconds=hedge_seconds,
            stand_in_seconds=stand_in_seconds,
        )
        self._chain_clock = chain_clock
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    async def post(self, record: Record, key_rule: KeyRule, until_seconds: float) -> Posting:
        """Send `record` to each of its key's replicas until K - f have given receipts, or Unix time
        `until_seconds`.

        Returns as soon as it is complete, or nobody is left to try; replicas that gave no receipt
        yet are tried on in the background. Raises ValueError for a record that is longer than a
        message.
        """
        most = self._peers.max_message_bytes - FRAME_BYTES
        if len(record.value) > most:
            raise ValueError(
                f"a value has at most {most} bytes on this network, this one {len(record.value)}"
            )
        posting = Posting(compute_record_id(record), key_rule.receipt_rule)
        is_over = asyncio.Event()
        self._peers.spawn(self._post_to_all(record, key_rule, posting, until_seconds, is_over))
        await is_over.wait()
        return posting

    async def read(self, key_rule: KeyRule, *, wait_for_all: bool = False) -> KeyReading:
        """What the replicas of one key hold, proven by receipts; the values of all that is proven.

        It waits for enough replicas to miss nothing that is complete; `wait_for_all` waits for all
        of them.
        """
        async with self._reads:
            return await self._reader.read(key_rule, wait_for_all=wait_for_all)

    async def read_all(
        self, rule: Rule, epoch: Epoch, *, wait_for_all: bool = False
    ) -> RuleReading:
        """All keys of a rule in one epoch: one, or one per author. Raises KeyError for an epoch
        that the schedule lacks.
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
        """One request to one peer; None when it is unreachable or answers what is no reply."""
        return await self._peers.ask(peer, request)

    def verify(
        self, rule: ReceiptRule, record_id: RecordId, receipts: Iterable[Receipt]
    ) -> frozenset[PeerId]:
        """The replicas whose receipts hold; each signature is checked once, however often it is
        read.
        """
        return self._reader.verifier.compute_signers(rule, record_id, receipts)

    async def close(self) -> None:
        """End what goes on in the background."""
        await self._peers.close()

    async def _post_to_all(
        self,
        record: Record,
        key_rule: KeyRule,
        posting: Posting,
        until_seconds: float,
        is_over: asyncio.Event,
    ) -> None:
        rule = key_rule.receipt_rule
        unhurried_seconds = max(LONGEST_PAUSE_SECONDS, key_rule.block_seconds)

        async def post_to(replica: PeerId) -> None:
            pause_seconds = FIRST_PAUSE_SECONDS
            while True:
                reply = await self._peers.ask(replica, Post(record))
                receipts = [reply.receipt] if isinstance(reply, Posted) else []
                signers = self.verify(rule, posting.record_id, receipts)
                is_done = posting.hear(replica, reply, signers)
                if posting.is_complete:
                    is_over.set()
                if is_done:
                    return
                await asyncio.sleep(pause_seconds)
                if posting.is_complete:
                    longest_seconds = unhurried_seconds
                else:
                    longest_seconds = LONGEST_PAUSE_SECONDS
                pause_seconds = min(2 * pause_seconds, longest_seconds)

        try:
            async with asyncio.timeout(until_seconds - self._chain_clock.clock.get_unix_seconds()):
                await asyncio.gather(*map(post_to, posting.replica_set.replicas))
        except TimeoutError:
            pass
        finally:
            is_over.set()
            posting.ended.set()


def get_latest(readings: Iterable[KeyReading], now: EvaluationContext) -> dict[PeerId, Proof]:
    """Of keys whose records are renewed, such as heartbeats: the proven record of each author that
    lives longest.
    """
    latest: dict[PeerId, Proof] = {}
    for reading in readings:
        for record_id in reading.get_record_ids(Standing.PROVEN):
            proof = reading.proofs[record_id]
            known = latest.get(record_id.author)
            if proof.record.expiration_time > now.time_seconds and (
                known is None or proof.record.expiration_time > known.record.expiration_time
            ):
                latest[record_id.author] = proof
    return latest

"""Reading a key by digest: its replicas list what they hold, with receipts; then one copy of each
proven value is fetched.

What a replica says counts only as far as its receipts carry, and a value only if it has the digest
and is recognised, so up to f replicas that lie, withhold or keep silent change nothing.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge
from epochgate.core.receipt import (
    Entry,
    Proof,
    Receipt,
    ReceiptRule,
    RecordId,
    Standing,
    compute_record_id,
    is_receipt_signed,
)
from epochgate.core.record import Record, is_record_signed
from epochgate.core.record_set import KeyReading
from epochgate.core.roster import MAX_REPLICAS
from epochgate.core.rule import KeyRule
from epochgate.core.types import PeerId
from epochgate.store.chain_clock import ChainClock
from epochgate.store.peers import Peers
from epochgate.store.wire import MAX_WANTED, Fetch, List, Listing, Values

MAX_CACHED_RECEIPTS = 1 << 15
TRIES = 2
"""How often a replica is asked for its listing while it could still matter."""


_is_receipt_signed = functools.lru_cache(MAX_CACHED_RECEIPTS)(is_receipt_signed)


class QuorumListing:
    """What the replicas of one key have listed so far, as far as it is proven: `receipts` holds the
    valid ones of each record by replica, `holders` who lists it.
    """

    def __init__(self, key_rule: KeyRule) -> None:
        self.rule = key_rule.receipt_rule
        self.answered: dict[PeerId, None] = {}
        self.receipts: dict[RecordId, dict[PeerId, Receipt]] = {}
        self.holders: dict[RecordId, list[PeerId]] = {}
        self.is_over = False

    def add(self, replica: PeerId, listing: dict[RecordId, Entry], verifier: Verifier) -> None:
        """Take in a listing. Honest replicas keep no receipt that they have not verified, so one
        false signature gives the whole listing away, and a liar costs its readers one verification.
        """
        found: list[tuple[RecordId, dict[PeerId, Receipt]]] = []
        for record_id, entry in listing.items():
            valid = verifier.find_valid(self.rule, record_id, entry.receipts[:MAX_REPLICAS])
            if valid is None:
                return
            found.append((record_id, valid))
        self.answered[replica] = None
        for record_id, valid in found:
            self.receipts.setdefault(record_id, {}).update(valid)
            self.holders.setdefault(record_id, []).append(replica)

    def is_settled(self, waiting: int) -> bool:
        """Whether so many have answered that `waiting` more receipts would not change the standing
        of any record seen.

        No complete record can be unseen then: of its K - f receipts at most f are from replicas
        that have not answered and f from liars, which leaves an honest one that has shown it.
        """
        judge = self.rule.judge_count
        return len(self.answered) >= self.rule.replica_set.quorum and all(
            judge(len(receipts)) == judge(len(receipts) + waiting)
            for receipts in self.receipts.values()
        )

    def get_proven(self) -> list[RecordId]:
        return [
            record_id
            for record_id, them in self.receipts.items()
            if self.rule.judge_count(len(them)) >= Standing.PROVEN
        ]


class Verifier:
    """Checks each receipt's signature once, however often it is read."""

    def __init__(self) -> None:
        self._is_signed = _is_receipt_signed

    def compute_signers(
        self, rule: ReceiptRule, record_id: RecordId, receipts: Iterable[Receipt]
    ) -> frozenset[PeerId]:
        return rule.compute_signers(record_id, receipts, self._is_signed)

    def find_valid(
        self, rule: ReceiptRule, record_id: RecordId, receipts: Iterable[Receipt]
    ) -> dict[PeerId, Receipt] | None:
        """Those that hold, by replica; None when one has a false signature."""
        valid: dict[PeerId, Receipt] = {}
        for receipt in receipts:
            if receipt.replica not in valid and rule.is_fitting(receipt):
                if not self._is_signed(rule.network, record_id, receipt):
                    return None
                valid[receipt.replica] = receipt
        return valid


class Reader:
    """Reads keys. `hedge_seconds` is how long the first K - f replicas have before the others are
    asked too, `stand_in_seconds` how long a holder has to hand out values before the next one is
    asked too.
    """

    def __init__(
        self,
        peers: Peers,
        judge: Judge,
        chain_clock: ChainClock,
        *,
        hedge_seconds: float,
        stand_in_seconds: float,
    ) -> None:
        self.verifier = Verifier()
        self._peers = peers
        self._judge = judge
        self._chain_clock = chain_clock
        self._hedge_seconds = hedge_seconds
        self._stand_in_seconds = stand_in_seconds

    async def read(self, key_rule: KeyRule, *, wait_for_all: bool) -> KeyReading:
        """Thorough is to wait for every replica, and so to find also what more than f of them have
        lost.
        """
        quorum_listing = await self._list_quorum(key_rule, wait_for_all=wait_for_all)
        proven = quorum_listing.get_proven()
        fetching = _Fetching(proven)
        await self._fetch_all(key_rule, quorum_listing, fetching)
        proofs = {
            record_id: Proof(
                fetching.records[record_id], _in_order(quorum_listing.receipts[record_id])
            )
            for record_id in proven
            if record_id in fetching.records
        }
        signers = {
            record_id: frozenset(receipts)
            for record_id, receipts in quorum_listing.receipts.items()
            if receipts and record_id not in fetching.impossible
        }
        return KeyReading(key_rule, proofs, signers, frozenset(quorum_listing.answered))

    async def _list_quorum(self, key_rule: KeyRule, *, wait_for_all: bool) -> QuorumListing:
        """Asks K - f replicas, whose answers mostly settle it; the others too where those are slow,
        or do not agree.
        """
        quorum_listing = QuorumListing(key_rule)
        changed = asyncio.Event()
        others = self._order(
            key_rule.replica_set.replicas, self._peers.own[-1]
        )  # readers begin at different ones
        waiting: dict[PeerId, None] = {}

        async def ask(replica: PeerId) -> None:
            for _ in range(TRIES):
                listing = await self._list(replica, key_rule)
                if quorum_listing.is_over:
                    return
                if listing is not None:
                    quorum_listing.add(replica, listing, self.verifier)
                    break
            del waiting[replica]
            changed.set()

        def ask_next(count: int) -> None:
            for replica in others[:count]:
                waiting[replica] = None
                self._peers.spawn(ask(replica))
            del others[:count]

        ask_next(key_rule.replica_set.k if wait_for_all else key_rule.replica_set.quorum)
        try:
            while (waiting or others) and (
                wait_for_all or not quorum_listing.is_settled(len(waiting) + len(others))
            ):
                if not waiting or not await _is_told(
                    changed, self._hedge_seconds if others else None
                ):
                    ask_next(len(others))
        finally:
            quorum_listing.is_over = True
        return quorum_listing

    async def _list(self, replica: PeerId, key_rule: KeyRule) -> dict[RecordId, Entry] | None:
        """All pages of one replica's listing; None when it does not end in time, or is none.

        Authors come in order, one entry each, so that even a dishonest listing is no longer than
        the roster.
        """
        listing: dict[RecordId, Entry] = {}
        after = b""
        patience_seconds = self._peers.get_patience_seconds(replica)
        try:
            async with asyncio.timeout(patience_seconds):
                while True:
                    reply = await self._peers.ask(
                        replica, List(key_rule.key, PeerId(after)), patience_seconds
                    )
                    if not isinstance(reply, Listing):
                        return None
                    for entry in reply.entries:
                        if entry.author <= after:
                            return None
                        after = entry.author
                        if after in key_rule.roles:
                            listing[RecordId(key_rule.key, after, entry.value_digest)] = entry
                    if reply.is_last or not reply.entries:
                        return listing
        except TimeoutError:
            self._peers.suspects.add(replica)
            return None

    async def _fetch_all(
        self, key_rule: KeyRule, quorum_listing: QuorumListing, fetching: _Fetching
    ) -> None:
        """From this node's own replica where it can, from the others in turn, so that the load is
        spread.
        """
        orders = {
            record_id: self._order(quorum_listing.holders[record_id], index)
            for index, record_id in enumerate(fetching.wanted)
        }
        tasks: list[asyncio.Task[None]] = []
        for turn in range(key_rule.replica_set.k):
            batches: dict[PeerId, list[RecordId]] = {}
            for record_id in fetching.get_missing():
                if turn < len(orders[record_id]):
                    batches.setdefault(orders[record_id][turn], []).append(record_id)
            if not batches:
                break
            begun = [
                self._peers.spawn(self._fetch(holder, key_rule, them, fetching))
                for holder, them in batches.items()
            ]
            await asyncio.wait(begun, timeout=self._stand_in_seconds)
            tasks += begun
        if tasks and any(fetching.get_missing()):
            await asyncio.wait(tasks, timeout=self._peers.timeout_seconds)

    def _order(self, holders: Sequence[PeerId], index: int) -> list[PeerId]:
        start = index % max(
            1, len(holders)
        )  # none where an epoch before the subnet's first had an empty roster
        turned = [*holders[start:], *holders[:start]]
        return sorted(
            turned, key=lambda holder: (holder != self._peers.own, holder in self._peers.suspects)
        )

    async def _fetch(
        self, holder: PeerId, key_rule: KeyRule, wanted: Sequence[RecordId], fetching: _Fetching
    ) -> None:
        """What `holder` has of `wanted`, asked again for what did not fit into its reply."""
        left = list(wanted)[:MAX_WANTED]
        while left:
            reply = await self._peers.ask(
                holder, Fetch(key_rule.key, tuple(record_id.author for record_id in left))
            )
            if isinstance(reply, Values):
                found = {compute_record_id(record): record for record in reply.records}
            else:
                found = {}
            fitting = [record_id for record_id in left if record_id in found]
            now = self._chain_clock.get_evaluation_context()
            for record_id in fitting:
                self._take(found[record_id], record_id, now, fetching)
            if fitting:
                left = [
                    record_id
                    for record_id in left
                    if record_id not in found and fetching.is_missing(record_id)
                ]
            else:
                left = []

    def _take(
        self, record: Record, record_id: RecordId, now: EvaluationContext, fetching: _Fetching
    ) -> None:
        """Keep a fetched record that the judge recognises.

        A record with a valid signature of its author that the policy does not recognise is treated
        as nonexistent, however many replicas signed receipts for it. One without is the holder's
        fault: the digest leaves out the expiry, so a holder may have changed that.
        """
        if self._judge.recognise(record, now):
            fetching.records[record_id] = record
        elif is_record_signed(now.network, record):
            fetching.impossible.add(record_id)


class _Fetching:
    """Values that are wanted, and what has come of them."""

    def __init__(self, wanted: Sequence[RecordId]) -> None:
        self.wanted = wanted
        self.records: dict[RecordId, Record] = {}
        self.impossible: set[RecordId] = set()

    def is_missing(self, record_id: RecordId) -> bool:
        return record_id not in self.records and record_id not in self.impossible

    def get_missing(self) -> Iterator[RecordId]:
        return (record_id for record_id in self.wanted if self.is_missing(record_id))


async def _is_told(event: asyncio.Event, longest_seconds: float | None) -> bool:
    """Whether the event came in time; it can come again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_seconds):
            await event.wait()
        event.clear()
        return True
    return False


def _in_order(receipts: dict[PeerId, Receipt]) -> tuple[Receipt, ...]:
    """One receipt a replica, in order of replica."""
    return tuple(receipts[replica] for replica in sorted(receipts))

"""The first half of a reading: replicas list what they hold under a key, with receipts.

Receipts are the only evidence of a listing that counts, so up to f replicas that lie, withhold or
keep silent change nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from epochgate.core.receipt import Entry, Receipt, ReceiptRule, RecordId, Standing
from epochgate.core.roster import MAX_REPLICAS
from epochgate.core.rule import KeyRule
from epochgate.core.types import NOBODY, PeerId
from epochgate.store.peers import Peers
from epochgate.store.receipt_verifier import ReceiptVerifier
from epochgate.store.wire import List, Listing

MAX_TRIES = 2
"""How often a replica is asked for its listing of one key, while its answer could still matter."""


class QuorumListing:
    """The listings of one key so far.

    Args:
        rule: How receipts for the key are counted.
        verifier: Checks them.

    Attributes:
        answered: The replicas whose listings are taken in, in order of arrival.
        receipts: The valid receipts for each record, by replica.
        holders: The replicas that list each record, and so can send its value.
        is_over: Whether listings that still arrive are ignored.
    """

    def __init__(self, rule: ReceiptRule, verifier: ReceiptVerifier) -> None:
        self.answered: dict[PeerId, None] = {}
        self.receipts: dict[RecordId, dict[PeerId, Receipt]] = {}
        self.holders: dict[RecordId, list[PeerId]] = {}
        self.is_over = False
        self._rule = rule
        self._verifier = verifier

    def add(self, replica: PeerId, listing: Mapping[RecordId, Entry]) -> None:
        """Take in a replica's listing, or ignore it as a whole.

        Args:
            replica: The replica that sent it.
            listing: Its entries.
        """
        found: list[tuple[RecordId, dict[PeerId, Receipt]]] = []
        for record_id, entry in listing.items():
            receipts = entry.receipts[:MAX_REPLICAS]
            valid = self._verifier.find_valid(self._rule, record_id, receipts)
            # Stops "a replica that lies on reads or withholds": honest replicas keep no receipt
            # that they have not verified. So one false signature shows that the replica lies, and a
            # liar costs its readers the check of one signature.
            if valid is None:
                return
            found.append((record_id, valid))
        self.answered[replica] = None
        for record_id, valid in found:
            self.receipts.setdefault(record_id, {}).update(valid)
            self.holders.setdefault(record_id, []).append(replica)

    def is_settled(self, missing: int) -> bool:
        """Whether the listings that are missing could not change anything.

        A quorum has answered, and no record that was seen would be proven or complete with one
        receipt more from each missing replica, and is not without. A complete record cannot be
        unseen then: of its K - f receipts at most f are from replicas that have not answered, and
        at most f from liars. That leaves an honest one, which has shown it.

        Args:
            missing: How many replicas have not answered yet.

        Returns:
            Whether it is settled.
        """
        if len(self.answered) < self._rule.replica_set.quorum:
            return False
        judge = self._rule.judge_count
        return all(
            judge(len(receipts)) == judge(len(receipts) + missing)
            for receipts in self.receipts.values()
        )

    def get_proven(self) -> list[RecordId]:
        """The records that are proven by the receipts so far."""
        return [
            record_id
            for record_id, receipts in self.receipts.items()
            if self._rule.judge_count(len(receipts)) >= Standing.PROVEN
        ]


class QuorumLister:
    """Collects the listings of a key.

    Args:
        peers: Asks the replicas.
        verifier: Checks the receipts that they list.
        hedge_seconds: How long the first K - f replicas have, until the others are asked as well.
    """

    def __init__(self, peers: Peers, verifier: ReceiptVerifier, hedge_seconds: float) -> None:
        self._peers = peers
        self._verifier = verifier
        self._hedge_seconds = hedge_seconds

    async def collect(self, key_rule: KeyRule, *, wait_for_all: bool) -> QuorumListing:
        """Ask K - f replicas, and the others too where those are slow or do not agree.

        Args:
            key_rule: The key.
            wait_for_all: Wait for every replica until it answers or its time is over, and not only
                until the listing is settled.

        Returns:
            The listing, to which nothing is added any more.
        """
        replica_set = key_rule.replica_set
        quorum_listing = QuorumListing(key_rule.receipt_rule, self._verifier)
        changed = asyncio.Event()
        waiting: dict[PeerId, None] = {}
        # readers begin at different replicas
        unasked = self._peers.order(replica_set.replicas, self._peers.own[-1])

        async def ask(replica: PeerId) -> None:
            await self._add_listing_of(replica, key_rule, quorum_listing)
            del waiting[replica]
            changed.set()

        def ask_next(count: int) -> None:
            for replica in unasked[:count]:
                waiting[replica] = None
                self._peers.spawn("listing a replica", ask(replica))
            del unasked[:count]

        if wait_for_all:
            ask_next(replica_set.k)
        else:
            ask_next(replica_set.quorum)
        try:
            while waiting or unasked:
                missing = len(waiting) + len(unasked)
                if not wait_for_all and quorum_listing.is_settled(missing):
                    break
                longest_seconds = None
                if unasked:
                    longest_seconds = self._hedge_seconds
                if not waiting or not await _is_set_within(changed, longest_seconds):
                    ask_next(len(unasked))
        finally:
            quorum_listing.is_over = True
        return quorum_listing

    async def _add_listing_of(
        self, replica: PeerId, key_rule: KeyRule, quorum_listing: QuorumListing
    ) -> None:
        for _ in range(MAX_TRIES):
            listing = await self._list(replica, key_rule)
            if quorum_listing.is_over:
                return
            if listing is not None:
                quorum_listing.add(replica, listing)
                return

    async def _list(self, replica: PeerId, key_rule: KeyRule) -> dict[RecordId, Entry] | None:
        """Get all pages of one replica's listing; None where it does not end in time, or is not
        one.
        """
        timeout_seconds = self._peers.get_timeout_seconds(replica)
        # Stops "a replica that lies on reads or withholds": a listing without an end is cut off.
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._list_pages(replica, key_rule, timeout_seconds)
        except TimeoutError:
            self._peers.suspects.add(replica)
            return None

    async def _list_pages(
        self, replica: PeerId, key_rule: KeyRule, timeout_seconds: float
    ) -> dict[RecordId, Entry] | None:
        listing: dict[RecordId, Entry] = {}
        after = NOBODY
        while True:
            reply = await self._peers.ask(replica, List(key_rule.key, after), timeout_seconds)
            if not isinstance(reply, Listing):
                return None
            for entry in reply.entries:
                # Stops "a replica that lies on reads or withholds": authors come in order, one
                # entry each, and those off the roster do not count. So even a dishonest listing
                # is no longer than the roster.
                if entry.author <= after:
                    return None
                after = entry.author
                if after in key_rule.roles:
                    listing[RecordId(key_rule.key, after, entry.value_digest)] = entry
            if reply.is_last or not reply.entries:
                return listing


async def _is_set_within(event: asyncio.Event, longest_seconds: float | None) -> bool:
    """Wait for an event, and clear it so that it can come again.

    Args:
        event: The event.
        longest_seconds: How long to wait; None without a limit.

    Returns:
        Whether it came in time.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_seconds):
            await event.wait()
        event.clear()
        return True
    return False

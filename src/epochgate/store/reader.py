"""Reads a key by digest: its replicas list what they hold, then each proven value is fetched once.

`quorum_listing` and `value_fetcher` say why up to f dishonest replicas change nothing.
"""

from __future__ import annotations

from epochgate.core.policy import Judge
from epochgate.core.receipt import Proof, Receipt
from epochgate.core.record_set import KeyReading
from epochgate.core.rule import KeyRule
from epochgate.core.types import PeerId
from epochgate.store.chain_clock import ChainClock
from epochgate.store.peers import Peers
from epochgate.store.quorum_listing import QuorumLister
from epochgate.store.receipt_verifier import ReceiptVerifier
from epochgate.store.value_fetcher import ValueFetcher


class Reader:
    """Reads keys.

    Args:
        peers: Asks the replicas.
        judge: Recognises the records that they send.
        chain_clock: The moment at which it does.
        hedge_seconds: How long the first K - f replicas have to list what they hold, until the
            others are asked as well.
        stand_in_seconds: How long a replica has to send values, until the next one is asked as
            well.
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
        self.verifier = ReceiptVerifier()
        self._lister = QuorumLister(peers, self.verifier, hedge_seconds)
        self._fetcher = ValueFetcher(peers, judge, chain_clock, stand_in_seconds)

    async def read(self, key_rule: KeyRule, *, wait_for_all: bool) -> KeyReading:
        """Read one key.

        Args:
            key_rule: The key, in its epoch.
            wait_for_all: Wait for every replica, and so find what more than f of them have lost.
                Otherwise wait until no complete record can be missing.

        Returns:
            The proven records whose values are at hand, and the replicas that signed receipts for
            each record that was seen.
        """
        quorum_listing = await self._lister.collect(key_rule, wait_for_all=wait_for_all)
        proven = quorum_listing.get_proven()
        holders = {record_id: quorum_listing.holders[record_id] for record_id in proven}
        fetched = await self._fetcher.fetch(key_rule, holders)
        proofs = {
            record_id: Proof(
                fetched.records[record_id], _sort_receipts(quorum_listing.receipts[record_id])
            )
            for record_id in proven
            if record_id in fetched.records
        }
        signers = {
            record_id: frozenset(receipts)
            for record_id, receipts in quorum_listing.receipts.items()
            if receipts and record_id not in fetched.unrecognised
        }
        return KeyReading(key_rule, proofs, signers, frozenset(quorum_listing.answered))


def _sort_receipts(receipts: dict[PeerId, Receipt]) -> tuple[Receipt, ...]:
    """In order of replica."""
    return tuple(receipts[replica] for replica in sorted(receipts))

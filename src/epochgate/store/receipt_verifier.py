"""Checks receipts that replicas show, each signature once."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from epochgate.core.receipt import Receipt, ReceiptRule, RecordId, is_receipt_signed
from epochgate.core.types import PeerId

MAX_CACHED_RECEIPTS = 1 << 15
"""Of all nodes in the process: the receipts whose signatures were checked last."""

_is_receipt_signed = functools.lru_cache(MAX_CACHED_RECEIPTS)(is_receipt_signed)


class ReceiptVerifier:
    """Verifies receipts. The same ones arrive again with every listing, and are not checked again.

    Whether a signature is valid never changes, so what was found is kept.
    """

    def compute_signers(
        self, rule: ReceiptRule, record_id: RecordId, receipts: Iterable[Receipt]
    ) -> frozenset[PeerId]:
        """Find the replicas whose receipts are valid.

        Args:
            rule: Which replicas may sign receipts for the key, and the blocks these may name.
            record_id: The record.
            receipts: Receipts from anybody.

        Returns:
            The replicas; those whose receipts are false or do not fit are left out.
        """
        return rule.compute_signers(record_id, receipts, _is_receipt_signed)

    def find_valid(
        self, rule: ReceiptRule, record_id: RecordId, receipts: Iterable[Receipt]
    ) -> dict[PeerId, Receipt] | None:
        """Sort out the receipts of one listing, which must not hold a false one.

        Args:
            rule: Which replicas may sign receipts for the key, and the blocks these may name.
            record_id: The record.
            receipts: The receipts that a replica lists with it.

        Returns:
            The first valid receipt of each replica; None where one that fits has a false
            signature.
        """
        valid: dict[PeerId, Receipt] = {}
        for receipt in receipts:
            # Stops "another epoch's records in a reply", and "a receipt of a node that is not the
            # key's replica": such a receipt may be genuine, and says nothing about this key.
            if receipt.replica in valid or not rule.is_fitting(receipt):
                continue
            # Stops "a forged or back-dated receipt".
            if not _is_receipt_signed(rule.network, record_id, receipt):
                return None
            valid[receipt.replica] = receipt
        return valid

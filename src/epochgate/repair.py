"""Repair: a replica that lost its data, or joins, takes what is proven; receipts prove it, whoever shows them."""

from __future__ import annotations

from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing, compute_stamp
from epochgate.core.rule import Bound
from epochgate.ledger import Ledger
from epochgate.store import Store
from epochgate.watch import Watch


async def repair(policy: Policy, store: Store, ledger: Ledger, watch: Watch, author: bytes, epoch: int) -> int:
    """Copy what is proven under the keys of which `author` is a replica, in `epoch` and the two before.

    Returns how many records were missing. The copies keep the receipts of others: this replica did not see them arrive.
    """
    copied = 0
    block, _ = watch.get_block()
    for bound in _find_own_keys(policy, watch, author, epoch):
        if bound.first > block:
            continue
        reading = await store.read(bound)
        for stamp in reading.get_stamps(Standing.PROVEN):
            proof = reading.proofs[stamp]
            held = ledger.held.get((stamp.key, stamp.author))
            if held is None:
                ledger.keep(proof.record, proof.receipts, bound.epoch or 0)
                copied += 1
            elif held.value_digest == compute_stamp(proof.record).value_digest:
                ledger.add_receipts(stamp, proof.receipts)
    return copied


def _find_own_keys(policy: Policy, watch: Watch, author: bytes, epoch: int) -> list[Bound]:
    return [
        bound
        for of in range(epoch - 2, epoch + 1)
        if watch.calendar.has(of)
        for rule in policy.rules
        if rule.is_of_an_epoch
        for bound in watch.calendar.get_bounds(rule, of)
        if author in bound.placement.replicas
    ]

"""What a posting makes of the replies of four replicas, one of which may be faulty."""

from __future__ import annotations

import asyncio

import pytest

from epochgate.core.epoch import Blocks
from epochgate.core.receipt import Receipt, ReceiptRule, Standing, compute_record_id
from epochgate.core.roster import ReplicaSet
from epochgate.core.types import BlockNumber, Epoch, PeerId, Signature
from epochgate.core.verdict import Reason
from epochgate.store.posting import Posting
from epochgate.store.wire import Posted, Refused
from tests.support.identities import NETWORK, alice, bob, carol, dave, sign

REPLICAS = (alice.author, bob.author, carol.author, dave.author)
RULE = ReceiptRule(NETWORK, ReplicaSet(REPLICAS), Epoch(0), Blocks(BlockNumber(0), BlockNumber(99)))
FINAL = ("too-large", "late", "wrong-role", "not-author", "not-replica", "already-there")
PASSING = ("unknown-key", "not-on-roster", "early", "chain-stale", "rate", "not-started")


@pytest.fixture
def posting() -> Posting:
    return Posting(compute_record_id(sign(alice, "note", b"text", 1e9)), RULE)


def give_receipt(posting: Posting, replica: PeerId) -> bool:
    receipt = Receipt(replica, Epoch(0), BlockNumber(1), Signature(bytes(64)))
    return posting.add_reply(replica, Posted(receipt), frozenset({replica}))


def refuse(posting: Posting, replica: PeerId, reason: str) -> bool:
    return posting.add_reply(replica, Refused(reason), frozenset())


def test_receipts_add_up_to_proven_and_complete(posting: Posting) -> None:
    standings = []
    for replica in REPLICAS:
        assert give_receipt(posting, replica)
        standings.append(posting.standing)

    assert standings == [Standing.UNPROVEN, Standing.PROVEN, Standing.COMPLETE, Standing.COMPLETE]
    assert posting.is_complete
    assert posting.is_proven


def test_it_is_settled_when_it_is_complete_and_ended_when_nobody_is_asked_any_more(
    posting: Posting,
) -> None:
    for replica in REPLICAS[:3]:
        assert not posting.settled.is_set()
        give_receipt(posting, replica)
    assert posting.settled.is_set()
    assert not posting.ended.is_set()

    posting.end()
    assert posting.ended.is_set()


def test_an_end_settles_what_is_not_complete(posting: Posting) -> None:
    posting.end()
    assert posting.settled.is_set()
    assert not posting.is_proven


def test_a_receipt_that_was_not_verified_counts_as_no_answer(posting: Posting) -> None:
    receipt = Receipt(bob.author, Epoch(0), BlockNumber(1), Signature(bytes(64)))
    assert not posting.add_reply(bob.author, Posted(receipt), frozenset())
    assert not posting.add_reply(carol.author, Posted(receipt), frozenset({bob.author}))
    assert posting.receipts == {}
    assert posting.unreachable == {bob.author, carol.author}


@pytest.mark.parametrize("reason", FINAL)
def test_some_refusals_are_final(posting: Posting, reason: str) -> None:
    assert refuse(posting, bob.author, reason)


@pytest.mark.parametrize("reason", PASSING)
def test_others_may_pass(posting: Posting, reason: str) -> None:
    assert not refuse(posting, bob.author, reason)
    assert give_receipt(posting, bob.author)
    assert posting.refusals == {}


def test_it_says_how_far_it_has_come_and_what_stands_in_the_way(posting: Posting) -> None:
    give_receipt(posting, alice.author)
    refuse(posting, bob.author, Reason.LATE.value)
    refuse(posting, carol.author, Reason.LATE.value)
    posting.add_reply(dave.author, None, frozenset())

    assert str(posting) == (
        "1 of 4 receipts, 3 make it complete; 1 replicas did not answer; denied, late"
    )


async def test_stragglers_are_waited_for_until_the_end_or_the_limit(posting: Posting) -> None:
    await posting.wait_for_stragglers(0.01)
    assert not posting.ended.is_set()

    waiting = asyncio.create_task(posting.wait_for_stragglers(60))
    await asyncio.sleep(0)
    posting.end()
    await waiting

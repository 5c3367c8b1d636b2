"""What every implementation of the Chain port must do, told once. Each of `BEHAVIOURS` is run on a
subnet of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch, Hash32
from epochgate.keys import SigningKey
from epochgate.ports import Chain, ChainRefused, Submission
from tests.support.identities import alice, bob, carol, dave, vera, victor, vito

MEMBERS = {
    alice: HOSTER,
    bob: HOSTER,
    carol: HOSTER,
    victor: VALIDATOR,
    vera: VALIDATOR,
    vito: VALIDATOR,
}
"""Who is registered before the subnet's first block. A chain without roles may give everybody both.
"""
STRANGER = dave


class Subnet(Protocol):
    """A subnet of a fresh chain whose first block is known and has not come, with `MEMBERS`
    registered.
    """

    def see(self, key: SigningKey) -> Chain:
        """The chain as that node sees it."""
        ...

    def register(self, key: SigningKey) -> None: ...

    def deregister(self, key: SigningKey) -> None: ...

    async def reach(self, block: BlockNumber) -> None:
        """Until the head is `block`."""
        ...


async def all_nodes_see_the_same_subnet(subnet: Subnet) -> None:
    one = subnet.see(alice)
    other = subnet.see(victor)
    assert one.network_id == other.network_id
    assert len(one.network_id) == 32
    assert one.timing == other.timing
    assert one.timing.slot is not None
    waiting = one.get_waiting_roster()
    assert set(waiting.authors) == {key.author for key in MEMBERS}
    await subnet.reach(one.timing.slot)
    assert one.get_head().block == other.get_head().block == one.timing.slot


async def the_roster_of_an_epoch_is_the_same_for_all_and_for_good(subnet: Subnet) -> None:
    one = subnet.see(alice)
    other = subnet.see(victor)
    roster = await one.get_roster(Epoch(0))
    subnet.register(STRANGER)
    subnet.deregister(bob)
    await subnet.reach(first_block(one, Epoch(1)))

    again = await other.get_roster(Epoch(0))
    assert (again.seed, again.members) == (roster.seed, roster.members)
    assert set(roster.authors) == {key.author for key in MEMBERS}
    assert all(roster.roles[key.author] & role for key, role in MEMBERS.items())


async def who_joins_or_leaves_counts_from_the_next_snapshot_on(subnet: Subnet) -> None:
    chain = subnet.see(alice)
    await subnet.reach(BlockNumber(first_block(chain, Epoch(1)) - 5))
    subnet.register(STRANGER)
    subnet.deregister(bob)

    joined = [STRANGER.author in (await chain.get_roster(Epoch(epoch))).roles for epoch in range(3)]
    left = [bob.author not in (await chain.get_roster(Epoch(epoch))).roles for epoch in range(3)]

    assert joined == left == [False, False, True]


async def a_roster_comes_five_blocks_before_its_epoch(subnet: Subnet) -> None:
    chain = subnet.see(alice)
    seeds = set()
    for epoch, ahead in ((0, 0), (1, 5), (2, 5)):
        seeds.add((await chain.get_roster(Epoch(epoch))).seed)
        assert chain.get_head().block == first_block(chain, Epoch(epoch)) - ahead
    assert len(seeds) == 3


async def the_elected_node_is_known_from_the_first_block_on(subnet: Subnet) -> None:
    one = subnet.see(alice)
    other = subnet.see(victor)
    for epoch in range(3):
        await subnet.reach(BlockNumber(first_block(one, Epoch(epoch)) - 1))
        assert await one.get_elected(Epoch(epoch)) is None
        await subnet.reach(first_block(one, Epoch(epoch)))
        elected = await one.get_elected(Epoch(epoch))
        assert elected in (await one.get_roster(Epoch(epoch))).validators
        assert await other.get_elected(Epoch(epoch)) == elected


async def a_submission_is_read_back_as_it_was_made(subnet: Subnet) -> None:
    elected = await elect(subnet, epoch=Epoch(1))
    chain = subnet.see(elected)
    submission = make_submission(Epoch(1))
    assert await chain.get_submission(Epoch(1)) is None

    await chain.submit(submission)

    for key in (elected, alice):
        found = await subnet.see(key).get_submission(Epoch(1))
        assert found is not None
        assert (found.submission, found.submitter) == (submission, elected.author)
        assert found.block == chain.get_head().block
        assert (found.attested_by, found.is_attested) == ((), False)
    assert await chain.get_submission(Epoch(0)) is None


async def only_the_elected_node_submits_and_only_once(subnet: Subnet) -> None:
    elected = await elect(subnet, epoch=Epoch(1))
    for key in [*MEMBERS, STRANGER]:
        if key is not elected:
            await refuse(subnet.see(key).submit(make_submission(Epoch(1))))
    assert await subnet.see(alice).get_submission(Epoch(1)) is None

    await subnet.see(elected).submit(make_submission(Epoch(1)))
    await refuse(subnet.see(elected).submit(make_submission(Epoch(1), root=Hash32(b"2" * 32))))

    found = await subnet.see(alice).get_submission(Epoch(1))
    assert found is not None
    assert found.submission == make_submission(Epoch(1))


async def a_submission_is_made_within_its_epoch(subnet: Subnet) -> None:
    elected = await elect(subnet, epoch=Epoch(1))
    chain = subnet.see(elected)
    await refuse(chain.submit(make_submission(Epoch(2))))
    await refuse(chain.submit(make_submission(Epoch(0))))
    await subnet.reach(first_block(chain, Epoch(2)))
    await refuse(chain.submit(make_submission(Epoch(1))))


async def others_attest_and_each_once(subnet: Subnet) -> None:
    elected = await elect(subnet, epoch=Epoch(1))
    await refuse(subnet.see(alice).attest(Epoch(1)))
    await subnet.see(elected).submit(make_submission(Epoch(1)))
    await refuse(subnet.see(STRANGER).attest(Epoch(1)))
    await refuse(subnet.see(elected).attest(Epoch(1)))

    await subnet.see(alice).attest(Epoch(1))
    await refuse(subnet.see(alice).attest(Epoch(1)))

    found = await subnet.see(bob).get_submission(Epoch(1))
    assert found is not None
    assert found.attested_by == (alice.author,)


async def two_thirds_of_the_roster_settle_it(subnet: Subnet) -> None:
    elected = await elect(subnet, epoch=Epoch(1))
    await subnet.see(elected).submit(make_submission(Epoch(1)))
    settled = []
    for key in MEMBERS:
        if key is not elected:
            await subnet.see(key).attest(Epoch(1))
            found = await subnet.see(elected).get_submission(Epoch(1))
            assert found is not None
            settled.append(found.is_attested)
    assert settled == [False, False, True, True, True]  # with the submitter 2 to 6 of 6


async def an_attestation_is_made_within_the_submissions_epoch(subnet: Subnet) -> None:
    elected = await elect(subnet, epoch=Epoch(1))
    await subnet.see(elected).submit(make_submission(Epoch(1)))
    await refuse(subnet.see(alice).attest(Epoch(0)))
    await refuse(subnet.see(alice).attest(Epoch(2)))
    await subnet.reach(first_block(subnet.see(alice), Epoch(2)))
    await refuse(subnet.see(alice).attest(Epoch(1)))


def first_block(chain: Chain, epoch: Epoch) -> BlockNumber:
    return chain.timing.compute_first_block(epoch)


def make_submission(epoch: Epoch, root: Hash32 = Hash32(b"1" * 32)) -> Submission:
    scores = {key.author: 10**17 for key in sorted(MEMBERS, key=lambda key: key.author)}
    return Submission(epoch, scores, (b"\x3f", b"\x07"), root)


async def elect(subnet: Subnet, epoch: Epoch) -> SigningKey:
    """The key of the node that is elected in `epoch`, at its first block."""
    chain = subnet.see(alice)
    await subnet.reach(first_block(chain, epoch))
    elected = await chain.get_elected(epoch)
    return next(key for key in MEMBERS if key.author == elected)


async def refuse(action: Awaitable[None]) -> None:
    """It must be refused, in words that tell what to do: a reason, a colon, advice."""
    with pytest.raises(ChainRefused, match=r"\w: \w"):
        await action


Behaviour = Callable[[Subnet], Awaitable[None]]

BEHAVIOURS: list[Behaviour] = [
    all_nodes_see_the_same_subnet,
    the_roster_of_an_epoch_is_the_same_for_all_and_for_good,
    who_joins_or_leaves_counts_from_the_next_snapshot_on,
    a_roster_comes_five_blocks_before_its_epoch,
    the_elected_node_is_known_from_the_first_block_on,
    a_submission_is_read_back_as_it_was_made,
    only_the_elected_node_submits_and_only_once,
    a_submission_is_made_within_its_epoch,
    others_attest_and_each_once,
    two_thirds_of_the_roster_settle_it,
    an_attestation_is_made_within_the_submissions_epoch,
]
every_behaviour = pytest.mark.parametrize(
    "behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__
)

"""The Chain port over a chain file."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
import struct
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from epochgate.core.roster import HOSTER, VALIDATOR, Member
from epochgate.core.types import BlockNumber, Epoch
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from epochgate.keys import SigningKey, format_peer_id
from epochgate.ports import Chain, ChainRefused
from tests.suites.chain_suite import MEMBERS, Behaviour, every_behaviour, make_submission
from tests.support.identities import alice, bob, key_of, vera, victor
from tests.support.local_chain import GENESIS, LENGTH, PERIOD_SECONDS, SLOT, StoppedClock, create


class LocalSubnet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._clock = VirtualClock()
        self._chains: dict[SigningKey, Chain] = {}
        create(path, self._clock)
        self.owner = LocalChain(path, None, self._clock)
        for key, role in MEMBERS.items():
            self.owner.register(key.author, role)
        self.owner.start(BlockNumber(SLOT))

    def see(self, key: SigningKey) -> Chain:
        if key not in self._chains:
            self._chains[key] = LocalChain(self._path, key.author, self._clock)
        return self._chains[key]

    def register(self, key: SigningKey) -> None:
        self.owner.register(key.author, HOSTER | VALIDATOR)

    def deregister(self, key: SigningKey) -> None:
        self.owner.deregister(key.author)

    async def reach(self, block: BlockNumber) -> None:
        while self.owner.get_head().block < block:  # noqa: ASYNC110 - blocks come by time, nobody announces them
            await asyncio.sleep(
                self.owner.compute_unix_seconds(block) - self._clock.get_unix_seconds()
            )

    async def close(self) -> None:
        for chain in (*self._chains.values(), self.owner):
            await chain.close()


@every_behaviour
def test_the_local_chain_behaves_as_a_chain(behaviour: Behaviour, path: Path) -> None:
    async def main(_rng: object) -> None:
        subnet = LocalSubnet(path)
        await behaviour(subnet)
        await subnet.close()

    run_virtually(main)


def test_who_waits_for_a_roster_gets_it_as_its_block_begins(path: Path) -> None:
    async def main(_rng: object) -> list[float]:
        create(path, VirtualClock())
        owner = LocalChain(path, None, VirtualClock())
        node = LocalChain(path, alice.author, VirtualClock())
        owner.register(alice.author, HOSTER)
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(node.get_roster(Epoch(0)))
        await asyncio.sleep(1.0)
        owner.start(BlockNumber(SLOT))
        arrived = []
        for roster in (waiting, node.get_roster(Epoch(1)), node.get_roster(Epoch(0))):
            assert (await roster).authors == (alice.author,)
            arrived.append(asyncio.get_running_loop().time() / PERIOD_SECONDS)
        return arrived

    five_blocks_before = SLOT + LENGTH - 5
    assert run_virtually(main) == pytest.approx([SLOT, five_blocks_before, five_blocks_before])


async def test_a_block_that_has_begun_never_changes(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    chain.register(alice.author, HOSTER)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))
    seen_early = await LocalChain(path, None, clock).get_roster(Epoch(0))

    chain.register(bob.author, HOSTER)
    chain.deregister(alice.author)

    seen_late = await LocalChain(path, None, clock).get_roster(Epoch(0))
    assert seen_late.members == seen_early.members == (Member(alice.author, HOSTER, 100),)


async def test_registering_again_changes_roles_and_stake_and_counts_once(
    chain: LocalChain, clock: StoppedClock
) -> None:
    chain.register(alice.author, HOSTER, stake=5)
    chain.register(alice.author, VALIDATOR, stake=7)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(3))
    chain.register(alice.author, HOSTER | VALIDATOR, stake=9)
    clock.reach(BlockNumber(LENGTH))

    assert (await chain.get_roster(Epoch(0))).members == (Member(alice.author, VALIDATOR, 7),)
    assert (await chain.get_roster(Epoch(1))).members == (
        Member(alice.author, HOSTER | VALIDATOR, 9),
    )


async def test_who_joins_and_leaves_within_a_block_was_never_there(
    chain: LocalChain, clock: StoppedClock
) -> None:
    chain.register(alice.author, HOSTER)
    chain.register(bob.author, HOSTER)
    chain.deregister(alice.author)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))

    assert (await chain.get_roster(Epoch(0))).authors == (bob.author,)


async def test_there_is_no_epoch_before_the_first(chain: LocalChain, clock: StoppedClock) -> None:
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))

    with pytest.raises(ValueError, match="count from 0, saw -1"):
        await chain.get_roster(Epoch(-1))
    assert await chain.get_elected(Epoch(-1)) is None
    with pytest.raises(ChainRefused, match="epoch -1 is over"):
        await chain.submit(make_submission(Epoch(-1)))


async def test_the_seed_is_the_digest_of_genesis_and_snapshot_block(
    chain: LocalChain, clock: StoppedClock
) -> None:
    chain.start(BlockNumber(SLOT))
    clock.reach(BlockNumber(SLOT + LENGTH))

    for epoch, block in ((0, SLOT), (1, SLOT + LENGTH - 5)):
        digest = hashlib.sha256(
            b"epochgate/local-chain/seed/1\0" + GENESIS + struct.pack(">Q", block)
        ).digest()
        assert (await chain.get_roster(Epoch(epoch))).seed == digest


async def test_the_elected_validator_has_the_smallest_digest(
    chain: LocalChain, clock: StoppedClock
) -> None:
    for name in "abcdefgh":
        chain.register(key_of(name).author, VALIDATOR if name in "aceg" else HOSTER)
    chain.start(BlockNumber(1))
    terms: Counter[bytes] = Counter()
    for epoch in range(200):
        clock.reach(BlockNumber(1 + epoch * LENGTH))
        roster = await chain.get_roster(Epoch(epoch))
        elected = await chain.get_elected(Epoch(epoch))
        assert elected == min(
            roster.validators,
            key=lambda author: hashlib.sha256(roster.seed + b"election" + author).digest(),
        )
        terms[elected] += 1

    assert set(terms) == {key_of(name).author for name in "aceg"}
    assert min(terms.values()) > 200 // 4 // 2


async def test_nobody_is_elected_where_there_is_no_validator(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    chain.register(alice.author, HOSTER)
    assert await chain.get_elected(Epoch(0)) is None
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))

    assert await chain.get_elected(Epoch(0)) is None
    with pytest.raises(ChainRefused, match="not elected"):
        await LocalChain(path, alice.author, clock).submit(make_submission(Epoch(0)))
    with pytest.raises(ChainRefused, match="not elected"):
        await chain.submit(make_submission(Epoch(0)))  # nobody's view, and nobody is elected


async def test_nothing_is_submitted_before_the_first_block(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    node = LocalChain(path, victor.author, clock)
    for _ in range(2):
        with pytest.raises(
            ChainRefused, match=r"not reached its first block, now is block .*: wait"
        ):
            await node.submit(make_submission(Epoch(0)))
        with pytest.raises(
            ChainRefused, match=r"not reached its first block, now is block .*: wait"
        ):
            await node.attest(Epoch(0))
        if chain.timing.slot is None:
            chain.start(BlockNumber(SLOT))
        clock.reach(BlockNumber(SLOT - 1))


@pytest.mark.parametrize(("members", "needed"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 4), (50, 32)])
async def test_66_per_cent_with_the_submitter_settle(
    chain: LocalChain, clock: StoppedClock, members: int, needed: int
) -> None:
    keys = [victor, *(key_of(f"hoster {number}") for number in range(members - 1))]
    for key in keys:
        chain.register(key.author, VALIDATOR if key is victor else HOSTER)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))
    await chain.share(victor.author).submit(make_submission(Epoch(0)))

    attestations = 0
    while not (await chain.get_submissions())[0].is_attested:
        attestations += 1
        await chain.share(keys[attestations].author).attest(Epoch(0))

    assert attestations == needed
    assert (attestations + 1) / members >= 0.66


async def test_every_refusal_says_why_and_what_to_do(
    chain: LocalChain, clock: StoppedClock
) -> None:
    for key, role in ((alice, HOSTER), (victor, VALIDATOR)):
        chain.register(key.author, role)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1 + LENGTH))
    hoster, elected, stranger = (chain.share(key.author) for key in (alice, victor, bob))
    look = (
        "epoch {} is over, now is epoch 1: go on",
        "epoch {} has not begun: wait until block 41, now is 21",
    )

    await refuse(elected.submit(make_submission(Epoch(0))), look[0].format(0))
    await refuse(elected.submit(make_submission(Epoch(2))), look[1].format(2))
    await refuse(
        hoster.submit(make_submission(Epoch(1))),
        f"not elected in epoch 1, {format_peer_id(victor.author)} is: leave the submission",
    )
    await refuse(
        hoster.attest(Epoch(1)),
        "epoch 1 has no submission yet: wait until the elected node has made it",
    )
    await elected.submit(make_submission(Epoch(1)))
    await refuse(
        elected.submit(make_submission(Epoch(1))),
        "epoch 1 has a submission already and takes one only: wait",
    )
    await refuse(
        elected.attest(Epoch(1)), "which counts as its attestation: leave attesting to the others"
    )
    await refuse(stranger.attest(Epoch(1)), "not on the roster of epoch 1: register it")
    await refuse(chain.attest(Epoch(1)), "not on the roster of epoch 1: register it")
    await hoster.attest(Epoch(1))
    await refuse(hoster.attest(Epoch(1)), "attested in epoch 1 already: once is enough")
    await refuse(hoster.attest(Epoch(0)), look[0].format(0))
    await refuse(hoster.attest(Epoch(2)), look[1].format(2))


async def refuse(action: Awaitable[None], words: str) -> None:
    with pytest.raises(ChainRefused, match=re.escape(words)):
        await action


async def test_all_submissions_are_read_in_order_of_epoch(
    chain: LocalChain, clock: StoppedClock
) -> None:
    chain.register(victor.author, VALIDATOR)
    chain.start(BlockNumber(1))
    for epoch in range(12):
        clock.reach(BlockNumber(1 + epoch * LENGTH))
        await chain.share(victor.author).submit(make_submission(Epoch(epoch)))

    assert [found.submission for found in await chain.get_submissions()] == [
        make_submission(Epoch(epoch)) for epoch in range(12)
    ]


async def test_a_roster_that_a_clock_ahead_has_read_changes_for_nobody(
    chain: LocalChain, clock: StoppedClock, path: Path
) -> None:
    chain.register(victor.author, VALIDATOR)
    chain.register(vera.author, VALIDATOR)
    chain.start(BlockNumber(1))
    snapshot_block = 1 + LENGTH - 5
    ahead = StoppedClock()
    ahead.reach(BlockNumber(snapshot_block))
    clock.reach(BlockNumber(snapshot_block - 1))
    early = LocalChain(path, victor.author, ahead)

    read_early = await early.get_roster(Epoch(1))
    assert chain.deregister(vera.author) == snapshot_block + 1
    assert chain.register(alice.author, HOSTER) == snapshot_block + 1

    clock.reach(BlockNumber(snapshot_block))
    assert (await chain.get_roster(Epoch(1))).authors == read_early.authors
    await early.close()


async def test_nodes_of_one_process_share_the_file_and_the_rosters(
    chain: LocalChain, clock: StoppedClock
) -> None:
    chain.register(victor.author, VALIDATOR)
    chain.register(vera.author, VALIDATOR)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))
    late = chain.share(vera.author, StoppedClock())

    assert await chain.share(victor.author).get_roster(Epoch(0)) is await chain.get_roster(Epoch(0))
    assert late.get_head().block == 0
    assert await late.get_elected(Epoch(0)) is None

    await late.close()
    assert len((await chain.get_roster(Epoch(0))).members) == 2
    assert chain.get_waiting_roster().authors == (await chain.get_roster(Epoch(0))).authors
    await chain.close()
    with pytest.raises(sqlite3.ProgrammingError):
        chain.get_waiting_roster()

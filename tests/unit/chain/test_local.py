from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
import stat
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import pytest

from epochgate.chain.local import ChainFileError, LocalChain
from epochgate.core.record import compute_network_id
from epochgate.core.roster import HOSTER, VALIDATOR, Member
from epochgate.core.types import BlockNumber, Epoch, PeerId
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from epochgate.keys import SigningKey
from epochgate.ports import Chain, ChainRefused
from tests.suites.chain_suite import MEMBERS, Behaviour, every_behaviour, make_submission
from tests.support.identities import alice, bob, key_of, vera, victor

GENESIS = b"g" * 32
GENESIS_SECONDS = 1_700_000_000.0
PERIOD_SECONDS = 0.25
LENGTH = 20
SLOT = 10


class StoppedClock:
    """A clock that stands where it is put."""

    def __init__(self, unix_seconds: float = GENESIS_SECONDS) -> None:
        self.unix_seconds = unix_seconds

    def get_unix_seconds(self) -> float:
        return self.unix_seconds

    def reach(self, block: BlockNumber) -> None:
        self.unix_seconds = GENESIS_SECONDS + block * PERIOD_SECONDS


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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.sqlite"


@every_behaviour
def test_the_local_chain_behaves_as_a_chain(behaviour: Behaviour, path: Path) -> None:
    async def main(_rng: object) -> None:
        subnet = LocalSubnet(path)
        await behaviour(subnet)
        await subnet.close()

    run_virtually(main)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def chain(path: Path, clock: StoppedClock) -> LocalChain:
    create(path, clock)
    return LocalChain(path, None, clock)


def create(path: Path, clock: StoppedClock | VirtualClock, genesis: bytes = GENESIS) -> None:
    LocalChain.create(
        path, clock, block_seconds=PERIOD_SECONDS, blocks_per_epoch=LENGTH, genesis=genesis
    )


# Time.


def test_blocks_follow_from_genesis_and_period(chain: LocalChain, clock: StoppedClock) -> None:
    blocks = []
    for milliseconds in (-5000, 0, 249, 250, 499, 500, 1_000_000_000):
        clock.unix_seconds = GENESIS_SECONDS + milliseconds / 1000
        head = chain.get_head()
        blocks.append(head.block)
        assert head.seen_seconds == clock.unix_seconds

    assert blocks == [0, 0, 0, 1, 1, 2, 4_000_000]


def test_every_block_begins_when_it_is_computed_to_begin(path: Path) -> None:
    clock = StoppedClock(1_700_000_000.123)
    LocalChain.create(path, clock, block_seconds=0.333, genesis=GENESIS)
    chain = LocalChain(path, None, clock)
    assert chain.genesis_seconds == 1_700_000_000.123
    for block in range(2000):
        clock.unix_seconds = chain.compute_unix_seconds(BlockNumber(block))
        assert chain.get_head().block == block


def test_a_node_hears_of_the_first_block_without_asking_more_than_once_a_block(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    node = LocalChain(path, alice.author, clock)
    queries: list[str] = []
    node._database.set_trace_callback(queries.append)
    for _ in range(100):
        assert node.timing.slot is None
    assert len(queries) == 1

    chain.start(BlockNumber(SLOT))
    clock.reach(BlockNumber(1))
    for _ in range(100):
        assert node.timing.slot == SLOT
    assert len(queries) == 2

    for block in range(2, 100):
        clock.reach(BlockNumber(block))
        assert node.timing.slot == SLOT
    assert len(queries) == 2


def test_the_first_block_is_set_once_and_lies_ahead(chain: LocalChain, clock: StoppedClock) -> None:
    clock.reach(BlockNumber(7))
    with pytest.raises(
        ChainRefused, match="block 7 has begun, now is block 7: choose a first block to come"
    ):
        chain.start(BlockNumber(7))

    chain.start(BlockNumber(8))

    assert chain.timing.slot == 8
    with pytest.raises(ChainRefused, match="first block already, 8"):
        chain.start(BlockNumber(9))
    assert chain.timing.slot == 8


# The roster.


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


def test_before_the_first_block_who_registered_is_seen_at_once(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    chain.register(alice.author, HOSTER)

    assert LocalChain(path, bob.author, clock).get_waiting_roster().authors == (alice.author,)


def test_odd_registrations_are_refused(chain: LocalChain) -> None:
    with pytest.raises(ValueError, match="peer id, 38 bytes"):
        chain.register(PeerId(b"alice"), HOSTER)
    with pytest.raises(ValueError, match="saw roles 4"):
        chain.register(alice.author, 4)
    with pytest.raises(ValueError, match="stake -1"):
        chain.register(alice.author, HOSTER, stake=-1)
    with pytest.raises(ChainRefused, match="not registered"):
        chain.deregister(alice.author)


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


# The election.


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
        with pytest.raises(ChainRefused, match="not reached its first block: wait"):
            await node.submit(make_submission(Epoch(0)))
        with pytest.raises(ChainRefused, match="not reached its first block: wait"):
            await node.attest(Epoch(0))
        if chain.timing.slot is None:
            chain.start(BlockNumber(SLOT))
        clock.reach(BlockNumber(SLOT - 1))


# Attestation.


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
        "not elected in epoch 1: leave the submission to the elected one",
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
        elected.attest(Epoch(1)), "stands by its submission: leave attesting to the others"
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


# The file.


def test_the_network_is_named_by_genesis_and_subnet(tmp_path: Path, clock: StoppedClock) -> None:
    names = set()
    for number, genesis in enumerate((GENESIS, b"h" * 32, None, None)):
        path = tmp_path / f"chain-{number}"
        LocalChain.create(path, clock, block_seconds=1, subnet_id=7, genesis=genesis)
        names.add(LocalChain(path, None, clock).network_id)

    assert len(names) == 4
    assert compute_network_id(GENESIS.hex(), 7) in names


def test_only_the_owner_can_read_the_file(path: Path, chain: LocalChain) -> None:
    chain.register(alice.author, HOSTER)

    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_chain_is_never_overwritten(path: Path, chain: LocalChain, clock: StoppedClock) -> None:
    with pytest.raises(ChainFileError, match="exists already: a chain is never overwritten"):
        create(path, clock)


@pytest.mark.parametrize(("block_seconds", "blocks_per_epoch"), [(0.0001, 100), (6, 5), (-1, 100)])
def test_a_chain_without_room_for_a_snapshot_is_refused(
    path: Path, clock: StoppedClock, block_seconds: float, blocks_per_epoch: int
) -> None:
    with pytest.raises(
        ChainFileError, match="blocks of at least a millisecond, and more than 5 of them an epoch"
    ):
        LocalChain.create(
            path, clock, block_seconds=block_seconds, blocks_per_epoch=blocks_per_epoch
        )
    assert not path.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, clock: StoppedClock) -> None:
    with pytest.raises(ChainFileError, match="cannot be written: No such file"):
        create(tmp_path / "nowhere" / "chain.sqlite", clock)


def test_what_is_no_chain_is_refused_in_words(path: Path, clock: StoppedClock) -> None:
    with pytest.raises(ChainFileError, match="does not exist"):
        LocalChain(path, None, clock)
    path.write_bytes(b"shopping list " * 1000)
    with pytest.raises(ChainFileError, match="no local chain"):
        LocalChain(path, None, clock)
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE recipes (name TEXT)").connection.close()
    with pytest.raises(ChainFileError, match="no local chain"):
        LocalChain(path, None, clock)


async def test_a_file_that_another_holds_is_named_and_can_be_tried_again(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    chain._database.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(ChainRefused, match=r"cannot be written now .*locked.*: try again"):
        chain.register(alice.author, HOSTER)

    holder.execute("ROLLBACK")
    holder.close()
    chain.register(alice.author, HOSTER)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))
    assert (await chain.get_roster(Epoch(0))).authors == (alice.author,)


# Several processes.


class RivalClock(StoppedClock):
    """Whoever asks it for the time is disturbed by a rival that writes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._rival = sqlite3.connect(path, timeout=0, isolation_level=None)
        self.refusals: list[str] = []

    def get_unix_seconds(self) -> float:
        try:
            self._rival.execute("DELETE FROM submissions")
        except sqlite3.OperationalError as error:
            self.refusals.append(str(error))
        return super().get_unix_seconds()


def test_nobody_writes_between_reading_the_block_and_writing_it_down(
    path: Path, chain: LocalChain
) -> None:
    clock = RivalClock(path)
    node = LocalChain(path, None, clock)
    assert clock.refusals == []

    node.register(alice.author, HOSTER)

    assert clock.refusals == ["database is locked"]


RIVAL = """
import asyncio, pathlib, sys, time
from epochgate.chain.local import LocalChain
from epochgate.ports import ChainRefused, Submission

class Clock:
    def get_unix_seconds(self):
        return float(sys.argv[2])

async def main():
    author, *others = [bytes.fromhex(text) for text in sys.argv[3:]]
    chain = LocalChain(pathlib.Path(sys.argv[1]), author, Clock())
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        await chain.submit(Submission(0, {author: 1}, (), bytes(32)))
        print("submitted", flush=True)
    except ChainRefused as refused:
        print(refused, flush=True)
    sys.stdin.readline()
    for other in others:
        try:
            await chain.share(other).attest(0)
            print("attested", flush=True)
        except ChainRefused as refused:
            print(refused, flush=True)

asyncio.run(main())
"""


async def test_of_several_processes_one_submits_and_each_attestation_counts_once(
    path: Path, chain: LocalChain, clock: StoppedClock
) -> None:
    crowd = [key_of(f"hoster {number}").author for number in range(40)]
    for author in crowd:
        chain.register(author, HOSTER)
    chain.register(victor.author, VALIDATOR)
    chain.start(BlockNumber(1))
    clock.reach(BlockNumber(1))
    arguments = [
        str(path),
        str(clock.unix_seconds),
        *(author.hex() for author in (victor.author, *crowd)),
    ]
    rivals = [start_rival(arguments) for _ in range(3)]

    assert [hear(rival) for rival in rivals] == ["ready"] * 3
    outcomes = ask(rivals)
    assert sorted(outcomes, key=len)[0] == "submitted"
    assert sum("has a submission already" in outcome for outcome in outcomes) == 2
    attested = ask(rivals, lines=len(crowd))
    for rival in rivals:
        rival.communicate()

    assert attested.count("attested") == len(crowd)
    assert sum("attested in epoch 0 already" in line for line in attested) == 2 * len(crowd)
    (found,) = await chain.get_submissions()
    assert found.attested_by == tuple(sorted(crowd))
    assert found.is_attested


def start_rival(arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RIVAL, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def hear(rival: subprocess.Popen[str]) -> str:
    assert rival.stdout is not None
    return rival.stdout.readline().rstrip()


def ask(rivals: list[subprocess.Popen[str]], lines: int = 1) -> list[str]:
    """Let all go on at once, and hear what each has to say."""
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    return [hear(rival) for rival in rivals for _ in range(lines)]

"""Time, the first block and the members, as the owner of the file sets them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from epochgate.chain.local import ChainFileError, LocalChain
from epochgate.core.record import compute_network_id
from epochgate.core.roster import HOSTER
from epochgate.core.types import BlockNumber, PeerId
from epochgate.ports import ChainRefused
from tests.support.identities import alice, bob
from tests.support.local_chain import GENESIS, GENESIS_SECONDS, SLOT, StoppedClock


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
    node._file._database.set_trace_callback(queries.append)
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


def test_the_network_is_named_by_genesis_and_subnet(tmp_path: Path, clock: StoppedClock) -> None:
    names = set()
    for number, genesis in enumerate((GENESIS, b"h" * 32, None, None)):
        path = tmp_path / f"chain-{number}"
        LocalChain.create(path, clock, block_seconds=1, subnet_id=7, genesis=genesis)
        names.add(LocalChain(path, None, clock).network_id)

    assert len(names) == 4
    assert compute_network_id(GENESIS.hex(), 7) in names


@pytest.mark.parametrize(("block_seconds", "blocks_per_epoch"), [(0.0001, 100), (6, 5), (-1, 100)])
def test_a_chain_without_room_for_a_snapshot_is_refused(
    path: Path, clock: StoppedClock, block_seconds: float, blocks_per_epoch: int
) -> None:
    with pytest.raises(
        ChainFileError,
        match="blocks of at least a millisecond, and more than 5 of them in an epoch",
    ):
        LocalChain.create(
            path, clock, block_seconds=block_seconds, blocks_per_epoch=blocks_per_epoch
        )
    assert not path.exists()


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

"""The cast of the tests: peers with fixed keys, rosters of them, and records that they signed."""

from __future__ import annotations

import hashlib

from epochgate.core.epoch import Timing
from epochgate.core.record import Record, compute_key, compute_network_id
from epochgate.core.roster import HOSTER, VALIDATOR, Member, Roster
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch, NetworkId
from epochgate.keys import SigningKey

NETWORK = compute_network_id("test-chain", 1)
TIMING = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
GENESIS_SECONDS = 1_700_000_000.0


def key_of(name: str) -> SigningKey:
    """The peer called `name`, always the same."""
    return SigningKey.from_seed(hashlib.sha256(name.encode()).digest())


alice = key_of("alice")
bob = key_of("bob")
carol = key_of("carol")
dave = key_of("dave")
"""Three hosters and a stranger ..."""
victor = key_of("victor")
vera = key_of("vera")
vito = key_of("vito")
"""... and three validators."""


def make_roster(epoch: Epoch = Epoch(0), roles: dict[SigningKey, int] | None = None) -> Roster:
    roles = roles or {
        alice: HOSTER,
        bob: HOSTER,
        carol: HOSTER,
        victor: VALIDATOR,
        vera: VALIDATOR,
        vito: VALIDATOR,
    }
    seed = hashlib.sha256(f"seed of {epoch}".encode()).digest()
    return Roster(epoch, seed, [Member(key.author, int(role), 100) for key, role in roles.items()])


def make_context(
    epoch: Epoch = Epoch(0),
    roster: Roster | None = None,
    elected: SigningKey | None = victor,
    timing: Timing = TIMING,
) -> EpochContext:
    return EpochContext(
        NETWORK, timing, roster or make_roster(epoch), elected.author if elected else None
    )


def compute_unix_seconds(block: BlockNumber, timing: Timing = TIMING) -> float:
    """When a block of the test chain begins."""
    return GENESIS_SECONDS + block * timing.block_seconds


def sign(
    author: SigningKey,
    name: str,
    payload: bytes,
    expiration_time: float,
    network: NetworkId = NETWORK,
) -> Record:
    return author.sign_record(network, compute_key(name), payload, expiration_time)

"""Calls with two arguments swapped, one for each pair of types: mypy refuses every one of them.

Nothing here runs. Each swapped argument stands under a `type: ignore[arg-type]`, and mypy's
`warn_unused_ignores` fails as soon as one becomes legal: when a signature takes plain bytes or
integers again, say.
"""

from __future__ import annotations

from epochgate.core.commitment import Opening, compute_commitment
from epochgate.core.epoch import Timing
from epochgate.core.receipt import Receipt, RecordId, compute_receipt_bytes
from epochgate.core.record import Record, compute_signed_bytes, compute_signing_prefix
from epochgate.core.rule import Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import (
    BlockNumber,
    Epoch,
    Hash32,
    NetworkId,
    PeerId,
    RecordKey,
    Salt,
    Signature,
    SigningPrefix,
)
from epochgate.keys import SigningKey
from epochgate.ports import Chain
from epochgate.store.database import NodeDatabase


def swap_key_and_author(database: NodeDatabase, key: RecordKey, author: PeerId) -> None:
    database.get_record(
        author,  # type: ignore[arg-type]
        key,  # type: ignore[arg-type]
    )


def swap_key_and_author_of_a_record(key: RecordKey, author: PeerId) -> None:
    Record(
        author,  # type: ignore[arg-type]
        key,  # type: ignore[arg-type]
        b"",
        0.0,
    )


def swap_author_and_digest(key: RecordKey, author: PeerId, digest: Hash32) -> None:
    RecordId(
        key,
        digest,  # type: ignore[arg-type]
        author,  # type: ignore[arg-type]
    )


def swap_key_and_digest(key: RecordKey, author: PeerId, digest: Hash32) -> None:
    RecordId(
        digest,  # type: ignore[arg-type]
        author,
        key,  # type: ignore[arg-type]
    )


def swap_network_and_key(network: NetworkId, key: RecordKey) -> None:
    compute_signing_prefix(
        key,  # type: ignore[arg-type]
        network,  # type: ignore[arg-type]
    )


def swap_network_and_author(network: NetworkId, author: PeerId, opening: Opening) -> None:
    compute_commitment(
        author,  # type: ignore[arg-type]
        "hoster-commit",
        Epoch(0),
        network,  # type: ignore[arg-type]
        opening,
    )


def swap_epoch_and_block(
    network: NetworkId, record_id: RecordId, epoch: Epoch, block: BlockNumber
) -> None:
    compute_receipt_bytes(
        network,
        record_id,
        block,  # type: ignore[arg-type]
        epoch,  # type: ignore[arg-type]
    )


def swap_replica_and_signature(replica: PeerId, signature: Signature) -> None:
    Receipt(
        signature,  # type: ignore[arg-type]
        Epoch(0),
        BlockNumber(0),
        replica,  # type: ignore[arg-type]
    )


def pass_a_digest_for_a_signature(replica: PeerId, digest: Hash32) -> None:
    Receipt(
        replica,
        Epoch(0),
        BlockNumber(0),
        digest,  # type: ignore[arg-type]
    )


def pass_a_block_for_an_epoch(timing: Timing, block: BlockNumber) -> None:
    timing.compute_first_block(
        block,  # type: ignore[arg-type]
    )


def pass_an_epoch_for_a_block(timing: Timing, epoch: Epoch) -> None:
    timing.compute_epoch(
        epoch,  # type: ignore[arg-type]
    )


async def pass_a_block_to_the_chain(chain: Chain, block: BlockNumber) -> None:
    await chain.get_roster(
        block,  # type: ignore[arg-type]
    )


def swap_salt_and_payload(salt: Salt, digest: Hash32, payload: bytes) -> None:
    Opening(
        payload,  # type: ignore[arg-type]
        digest,
        salt,
    )


def swap_prefix_and_payload(prefix: SigningPrefix, author: PeerId, payload: bytes) -> None:
    compute_signed_bytes(
        payload,  # type: ignore[arg-type]
        author,
        0.0,
        prefix,
    )


def pass_a_key_for_an_author(schedule: EpochSchedule, rule: Rule, key: RecordKey) -> None:
    schedule.get_key_rule(
        rule,
        Epoch(0),
        key,  # type: ignore[arg-type]
    )


def pass_plain_values(signing_key: SigningKey, timing: Timing) -> None:
    """Whoever makes a value says what it is."""
    timing.compute_first_block(
        7,  # type: ignore[arg-type]
    )
    signing_key.sign_record(
        bytes(32),  # type: ignore[arg-type]
        bytes(20),  # type: ignore[arg-type]
        b"",
        0.0,
    )

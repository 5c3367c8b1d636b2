"""The checks that a policy makes of a record before it checks the signature.

A function `check_` returns the refusal, or None where the record passes; a function `deny_` makes
the refusal of a check that its caller has made. Each stands under the threat that it stops, a row
of docs/security.md.
"""

from __future__ import annotations

import math

import msgspec

from epochgate.core.epoch import Blocks
from epochgate.core.evaluation import EvaluationContext, StoredEntry
from epochgate.core.record import Record
from epochgate.core.roster import Roles
from epochgate.core.rule import KeyRule
from epochgate.core.schema import Schema
from epochgate.core.types import BlockNumber, PeerId
from epochgate.core.verdict import (
    AtMost,
    Denied,
    ExpiryAfter,
    Lifetime,
    Reason,
    Size,
    UnixTime,
)


class DescribedBySchema(msgspec.Struct, frozen=True, gc=False):
    """A schema as a verdict holds it; its description is made when somebody asks."""

    schema: Schema

    def __str__(self) -> str:
        return self.schema.describe()


def deny_size(key_rule: KeyRule, size: int) -> Denied:
    """The refusal of a value of `size` bytes that is longer than the key's rule allows."""
    return Denied(Reason.TOO_LARGE, key_rule.name, AtMost(Size(key_rule.max_bytes)), Size(size))


def deny_block(key_rule: KeyRule, block: BlockNumber) -> Denied:
    """The refusal of a POST at `block`, outside the key's window."""
    seen = Blocks(block, block)
    if block > key_rule.last:
        return Denied(Reason.LATE, key_rule.name, key_rule.blocks, seen)
    wait_blocks = key_rule.first - block
    wait_seconds = wait_blocks * key_rule.block_seconds
    return Denied(Reason.EARLY, key_rule.name, key_rule.blocks, seen, wait_blocks, wait_seconds)


def check_lifetime(record: Record, key_rule: KeyRule, now: EvaluationContext) -> Denied | None:
    """Whether a record that is posted lives as long as its rule says: long enough to be there when
    it is last read, and no longer than its `ttl`.
    """
    left_seconds = record.expiration_time - now.time_seconds
    shortest_seconds = key_rule.compute_shortest_seconds(now.block)
    # Stops "expiry NaN, infinite, past, far": NaN fails each comparison.
    if 0.0 < left_seconds <= key_rule.longest_seconds and left_seconds >= shortest_seconds:
        return None
    return Denied(
        Reason.EXPIRY,
        key_rule.name,
        Lifetime(shortest_seconds, key_rule.longest_seconds),
        Lifetime(left_seconds, left_seconds),
    )


def check_expiry(record: Record, key_rule: KeyRule, now: EvaluationContext) -> Denied | None:
    """Whether a record that is read may still be read: the expiry ends one whose key has no epoch,
    all others are read as long as their epoch is.
    """
    expiration_time = record.expiration_time
    # Stops "expiry NaN, infinite, past, far".
    is_over = key_rule.epoch is None and expiration_time <= now.time_seconds
    if math.isfinite(expiration_time) and not is_over:
        return None
    return Denied(
        Reason.EXPIRY,
        key_rule.name,
        "an expiry that is finite and still to come",
        UnixTime(expiration_time),
    )


def check_author(key_rule: KeyRule, author: PeerId) -> Denied | None:
    """Whether `author` may write the key: on the roster of the key's epoch, in its role, and where
    the key belongs to an author, that one.
    """
    roles = key_rule.roles.get(author)
    # Stops "no longer staked but still served".
    if roles is None:
        return Denied(
            Reason.NOT_ON_ROSTER, key_rule.name, "an author on the epoch's roster", author
        )
    # Stops "replay in another subnet, epoch, role or key". The chain elects among all nodes and
    # knows no roles, so the elected one may publish the challenge in any role.
    is_elected = key_rule.rule.elected_until is not None and author == key_rule.elected
    if not roles & key_rule.role and not is_elected:
        return Denied(Reason.WRONG_ROLE, key_rule.name, Roles(key_rule.role), Roles(roles))
    # Stops "records under another's subkey".
    if key_rule.author is not None and author != key_rule.author:
        return Denied(Reason.NOT_AUTHOR, key_rule.name, key_rule.author, author)
    return None


def deny_stand_in(key_rule: KeyRule, block: BlockNumber, author: PeerId) -> Denied:
    """The refusal of a validator that publishes before stand-ins may."""
    wait_blocks = key_rule.stand_ins_first - block
    wait_seconds = wait_blocks * key_rule.block_seconds
    elected = key_rule.elected
    return Denied(Reason.NOT_ELECTED, key_rule.name, elected, author, wait_blocks, wait_seconds)


def check_replacement(record: Record, key_rule: KeyRule, held: StoredEntry) -> Denied | None:
    """Whether a record may replace the one that its author has stored under the key."""
    # Stops "a second, different commitment".
    if key_rule.once:
        return Denied(Reason.ALREADY_THERE, key_rule.name, "one record", "another one")
    # Stops "an old record replayed to delete the new one".
    if record.expiration_time <= held.expiration_time:
        return Denied(
            Reason.ALREADY_THERE,
            key_rule.name,
            ExpiryAfter(held.expiration_time),
            UnixTime(record.expiration_time),
        )
    return None

"""What is wrong with a policy on a given chain, roster and network, in words."""

from __future__ import annotations

from collections.abc import Iterator

from epochgate.core.challenge import Chosen, Derived
from epochgate.core.commitment import OpeningOf
from epochgate.core.epoch import Timing, compute_seconds
from epochgate.core.limits import Quota
from epochgate.core.policy import Policy
from epochgate.core.record import SIGNATURE_BYTES
from epochgate.core.roster import MAX_REPLICAS
from epochgate.core.rule import Rule
from epochgate.core.schema import get_longest_bytes
from epochgate.core.types import BlockNumber, Epoch
from epochgate.errors import EpochgateError

MIN_WINDOW_BLOCKS = 2
USUAL_MESSAGE_BYTES = 4 << 20
"""What a message of the network holds where nothing else is said."""
MESSAGE_OVERHEAD_BYTES = 8192
"""Room in a message for what travels with a value: the frame, and a receipt of each replica."""

READ_REQUESTS = 2
"""A listing, and the values in it."""


class PolicyError(EpochgateError, ValueError):
    """A policy that cannot work on this chain or roster; the message lists every problem."""


def find_problems(
    policy: Policy, timing: Timing, roster_size: int, max_message_bytes: int = USUAL_MESSAGE_BYTES
) -> Iterator[str]:
    """What would go wrong with `policy` at this epoch length, with this many authors and on such a
    network, a sentence each.
    """
    kinds = [rule.kind for rule in policy.rules]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        yield f"two rules are of the kind {kind}: each needs a name of its own"
    started = Timing(BlockNumber(0), timing.blocks_per_epoch, timing.block_seconds)
    for rule in policy.rules:
        yield from _find_window_problems(rule, policy, started)
        yield from _find_lifetime_problems(rule, started)
        yield from _find_size_problems(rule, max_message_bytes)
        if rule.elected_until is not None and not isinstance(rule.schema, (Derived, Chosen)):
            yield (
                f"{rule.name}: a challenge is Derived(...) or Chosen(...), which give it a digest:"
                " wrap its schema in one"
            )
        yield from _find_key_problems(rule, policy, roster_size)
    yield from _find_author_problems(policy, started, roster_size)


def check_policy(
    policy: Policy, timing: Timing, roster_size: int, max_message_bytes: int = USUAL_MESSAGE_BYTES
) -> None:
    """Raises PolicyError with every problem of the policy on this chain and network."""
    if problems := list(find_problems(policy, timing, roster_size, max_message_bytes)):
        raise PolicyError("the policy cannot work here: " + "; ".join(problems))


def _find_window_problems(rule: Rule, policy: Policy, timing: Timing) -> Iterator[str]:
    if rule.during is None:
        return
    blocks = rule.during.bind(Epoch(0), timing)
    length = blocks.last - blocks.first + 1
    if length < MIN_WINDOW_BLOCKS:
        yield (
            f"{rule.name}: {rule.during} is {length} of {timing.blocks_per_epoch} blocks, a window"
            f" needs {MIN_WINDOW_BLOCKS}"
        )
    if rule.opens is None:
        return
    if not isinstance(rule.schema, OpeningOf):
        yield f"{rule.name}: opens {rule.opens!r}, so its schema has to be OpeningOf(...): wrap it"
    commitment = next((other for other in policy.rules if other.kind == rule.opens), None)
    if commitment is None or commitment.during is None:
        yield f"{rule.name}: opens {rule.opens!r}, which is no rule with a window"
    elif rule.epochs_ago == 0 and blocks.first <= commitment.during.bind(Epoch(0), timing).last:
        yield (
            f"{rule.name}: {rule.during} overlaps its commitment's {commitment.during}, so an"
            " opening could be copied"
        )


def _find_lifetime_problems(rule: Rule, timing: Timing) -> Iterator[str]:
    if rule.kept_until is None:
        return
    first = rule.during.first if rule.during else 0
    if first + rule.ttl < rule.kept_until:
        longest = compute_seconds(rule.ttl, timing)
        yield (
            f"{rule.name}: a record lives {longest:g} s at most and expires before it is last read:"
            " raise its ttl"
        )


def _find_size_problems(rule: Rule, max_message_bytes: int) -> Iterator[str]:
    """Evidence of two values under a once-key shows both in one message."""
    most = (max_message_bytes - MESSAGE_OVERHEAD_BYTES) // (2 if rule.once else 1)
    if rule.max_bytes > most:
        held = "two values, as evidence shows them, each" if rule.once else "a value"
        yield (
            f"{rule.name}: {held} of {rule.max_bytes} bytes could never be sent in one message of"
            f" {max_message_bytes}: lower max_bytes to {most}"
        )
    least = SIGNATURE_BYTES + get_longest_bytes(rule.schema)
    if least > rule.max_bytes:
        yield (
            f"{rule.name}: a value of {rule.schema.describe()} takes {least} bytes and more, and"
            f" max_bytes is {rule.max_bytes}: raise it, or declare less"
        )


def _find_key_problems(rule: Rule, policy: Policy, roster_size: int) -> Iterator[str]:
    """All of a roster must find room under a key."""
    key = policy.limits.key
    writers = rule.compute_writers(roster_size, policy.held_epochs)
    if writers > key.entries:
        yield (
            f"{rule.name}: {writers} authors may write under one key, and limits.key holds"
            f" {key.entries} records: raise it"
        )
    if rule.max_bytes > policy.limits.compute_key_share_bytes(writers):
        yield (
            f"{rule.name}: {writers} authors of {rule.max_bytes} bytes make"
            f" {writers * rule.max_bytes}, more than the {key.value_bytes} bytes of limits.key:"
            " lower max_bytes, raise it, or give each author a key with {author}"
        )


def _find_author_problems(policy: Policy, timing: Timing, roster_size: int) -> Iterator[str]:
    """What the rules ask of one author in an epoch, in every role and elected, it must be able to
    send and to store.
    """
    limits = policy.limits
    need = Quota(len(policy.rules), sum(rule.max_bytes for rule in policy.rules))
    share = limits.compute_author_share(roster_size, policy.held_epochs)
    if need.entries > share.entries or need.value_bytes > share.value_bytes:
        narrow = "limits.author"
        advice = "raise it"
        if share != limits.author:
            parts = roster_size * policy.held_epochs
            least = Quota(need.entries * parts, need.value_bytes * parts)
            narrow = f"its part of limits.total among {roster_size}"
            advice = f"raise limits.total to {least}"
        yield (
            f"an author needs room for {need} in an epoch, and {narrow} is {share}: {advice}, or"
            " lower max_bytes"
        )
    asked = _compute_traffic(policy, roster_size)
    for what, rate, amount in zip(
        ("requests", "bytes"), (limits.member.requests, limits.member.bytes), asked, strict=True
    ):
        granted = rate.burst + rate.per_second * timing.seconds_per_epoch
        if amount > granted:
            yield (
                f"a member sends a replica {amount} {what} in an epoch of"
                f" {timing.seconds_per_epoch:g} s, and limits.member grants {granted:.0f}: raise"
                " it, or lower max_bytes"
            )


def _compute_traffic(policy: Policy, roster_size: int) -> tuple[int, int]:
    """Requests and bytes between a member and one replica in an epoch, when it posts under every
    rule and reads every key.

    Of keys that belong to an author a replica has as many as a key has replicas, in the mean.
    """
    requests = 0
    size_bytes = 0
    for rule in policy.rules:
        keys, values = (
            (min(roster_size, MAX_REPLICAS),) * 2 if rule.is_of_an_author else (1, roster_size)
        )
        requests += 1 + READ_REQUESTS * keys
        size_bytes += rule.max_bytes * (1 + values)
    return requests, size_bytes

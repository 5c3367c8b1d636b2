"""Problems of a policy on a given chain, roster and network, each in a sentence with advice."""

from __future__ import annotations

from collections.abc import Iterator

from epochgate.core.challenge import Chosen, Derived
from epochgate.core.commitment import OpeningOf
from epochgate.core.epoch import Timing, compute_seconds
from epochgate.core.limits import DEFAULT_MAX_MESSAGE_BYTES, Quota
from epochgate.core.policy import Policy
from epochgate.core.record import SIGNATURE_BYTES
from epochgate.core.roster import MAX_REPLICAS
from epochgate.core.rule import Rule
from epochgate.core.schema import get_longest_bytes
from epochgate.core.types import BlockNumber, Epoch
from epochgate.errors import EpochgateError

MIN_WINDOW_BLOCKS = 2
"""The shortest window (docs/spec.md#2-keys-and-windows)."""
MESSAGE_OVERHEAD_BYTES = 8192
"""Bytes of a message that are kept free beside a value, for the frame and the receipts."""
READ_REQUESTS = 2
"""Requests to read a key from a replica: for the listing, and for the values in it."""


class PolicyError(EpochgateError, ValueError):
    """A policy that cannot work on this chain or roster; the message lists every problem.

    >>> policy = Policy(
    ...     Rule("a_epoch_{epoch}", by=HOSTER, ttl=epochs(2), schema=Digest(), max_bytes=40)
    ... )
    >>> check_policy(policy, Timing(None, blocks_per_epoch=100, block_seconds=6.0), 10)
    Traceback (most recent call last):
    ...
    epochgate.core.policy_lint.PolicyError: the policy cannot work here: a_epoch_{epoch}: a value of
    bytes[32] takes 96 bytes and more, and max_bytes is 40: raise it, or declare less
    """


def find_problems(
    policy: Policy,
    timing: Timing,
    roster_size: int,
    *,
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
) -> Iterator[str]:
    """Find the problems of a policy.

    Args:
        policy: The policy.
        timing: The chain's epoch length and block time; its slot does not matter.
        roster_size: The number of authors on the roster, now or later.
        max_message_bytes: The longest message that the network carries.

    Yields:
        One sentence for each problem, with advice.
    """
    kinds = [rule.kind for rule in policy.rules]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        yield f"two rules are of the kind {kind}: each needs a name of its own"
    started = Timing(BlockNumber(0), timing.blocks_per_epoch, timing.block_seconds)
    for rule in policy.rules:
        yield from _find_window_problems(rule, started)
        yield from _find_opening_problems(rule, policy, started)
        yield from _find_lifetime_problems(rule, started)
        yield from _find_size_problems(rule, max_message_bytes)
        yield from _find_challenge_problems(rule)
        yield from _find_key_problems(rule, policy, roster_size)
    yield from _find_quota_problems(policy, roster_size)
    yield from _find_rate_problems(policy, started, roster_size)


def check_policy(
    policy: Policy,
    timing: Timing,
    roster_size: int,
    *,
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
) -> None:
    """Refuse a policy that cannot work.

    Args:
        policy: The policy.
        timing: The chain's epoch length and block time; its slot does not matter.
        roster_size: The number of authors on the roster, now or later.
        max_message_bytes: The longest message that the network carries.

    Raises:
        PolicyError: Something would go wrong; the message lists every problem.
    """
    problems = list(find_problems(policy, timing, roster_size, max_message_bytes=max_message_bytes))
    if problems:
        raise PolicyError("the policy cannot work here: " + "; ".join(problems))


def _find_window_problems(rule: Rule, timing: Timing) -> Iterator[str]:
    if rule.during is None:
        return
    blocks = rule.during.bind(Epoch(0), timing)
    length = blocks.last - blocks.first + 1
    if length < MIN_WINDOW_BLOCKS:
        yield (
            f"{rule.name}: {rule.during} is {length} of {timing.blocks_per_epoch} blocks, a window"
            f" needs {MIN_WINDOW_BLOCKS}"
        )


def _find_opening_problems(rule: Rule, policy: Policy, timing: Timing) -> Iterator[str]:
    if rule.opens is None or rule.during is None:
        return
    if not isinstance(rule.schema, OpeningOf):
        yield f"{rule.name}: opens {rule.opens!r}, so its schema has to be OpeningOf(...): wrap it"
    commitment = next((other for other in policy.rules if other.kind == rule.opens), None)
    if commitment is None or commitment.during is None:
        yield f"{rule.name}: opens {rule.opens!r}, but no rule of that kind has a window"
        return
    opening_first = rule.during.bind(Epoch(0), timing).first
    commitment_last = commitment.during.bind(Epoch(0), timing).last
    # Stops "a copied digest and its opening".
    if rule.epochs_ago == 0 and opening_first <= commitment_last:
        yield (
            f"{rule.name}: {rule.during} overlaps its commitment's {commitment.during}, so an"
            " opening could be copied"
        )


def _find_lifetime_problems(rule: Rule, timing: Timing) -> Iterator[str]:
    if rule.kept_until is None:
        return
    first = rule.during.first if rule.during is not None else 0
    if first + rule.ttl < rule.kept_until:
        longest = compute_seconds(rule.ttl, timing)
        yield (
            f"{rule.name}: a record lives {longest:g} s at most and expires before it is last read:"
            " raise its ttl"
        )


def _find_size_problems(rule: Rule, max_message_bytes: int) -> Iterator[str]:
    values = "a value"
    longest = max_message_bytes - MESSAGE_OVERHEAD_BYTES
    if rule.once:
        # evidence of two values under a once-key shows both in one message
        values = "two values, as evidence shows them, each"
        longest //= 2
    if rule.max_bytes > longest:
        yield (
            f"{rule.name}: {values} of {rule.max_bytes} bytes could never be sent in one message of"
            f" {max_message_bytes}: lower max_bytes to {longest}"
        )
    least = SIGNATURE_BYTES + get_longest_bytes(rule.schema)
    if least > rule.max_bytes:
        yield (
            f"{rule.name}: a value of {rule.schema.describe()} takes {least} bytes and more, and"
            f" max_bytes is {rule.max_bytes}: raise it, or declare less"
        )


def _find_challenge_problems(rule: Rule) -> Iterator[str]:
    if rule.elected_until is not None and not isinstance(rule.schema, (Derived, Chosen)):
        yield (
            f"{rule.name}: a challenge is Derived(...) or Chosen(...), which give it a digest:"
            " wrap its schema in one"
        )


def _find_key_problems(rule: Rule, policy: Policy, roster_size: int) -> Iterator[str]:
    """A key must be able to hold a record of each author of the roster."""
    key = policy.limits.key
    writers = rule.compute_writers(roster_size, held_epochs=policy.held_epochs)
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


def _find_quota_problems(policy: Policy, roster_size: int) -> Iterator[str]:
    """An author must be able to store a record under every rule per epoch, as one in every role and
    elected does.
    """
    limits = policy.limits
    need = Quota(len(policy.rules), sum(rule.max_bytes for rule in policy.rules))
    share = limits.compute_author_share(roster_size, held_epochs=policy.held_epochs)
    if need.entries <= share.entries and need.value_bytes <= share.value_bytes:
        return
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


def _find_rate_problems(policy: Policy, timing: Timing, roster_size: int) -> Iterator[str]:
    """A member must be able to send all requests that an epoch takes."""
    member = policy.limits.member
    requests, size_bytes = _compute_traffic(policy, roster_size)
    for unit, rate, amount in (
        ("requests", member.requests, requests),
        ("bytes", member.bytes, size_bytes),
    ):
        granted = rate.burst + rate.per_second * timing.seconds_per_epoch
        if amount > granted:
            yield (
                f"a member sends a replica {amount} {unit} in an epoch of"
                f" {timing.seconds_per_epoch:g} s, and limits.member grants {granted:.0f}: raise"
                " it, or lower max_bytes"
            )


def _compute_traffic(policy: Policy, roster_size: int) -> tuple[int, int]:
    """Requests and bytes between a member and one replica in an epoch, when it posts under every
    rule and reads every key.
    """
    requests = 0
    size_bytes = 0
    for rule in policy.rules:
        keys = 1
        values = roster_size
        if rule.is_of_an_author:
            # of one key for each author, a replica has as many as a key has replicas, on average
            keys = min(roster_size, MAX_REPLICAS)
            values = keys
        requests += 1 + READ_REQUESTS * keys
        size_bytes += rule.max_bytes * (1 + values)
    return requests, size_bytes

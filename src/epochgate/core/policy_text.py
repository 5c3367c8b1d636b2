"""A policy for people: as a table, as a timeline of the epoch, and what is wrong with it on a given chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from epochgate.core.challenge import Chosen, Derived
from epochgate.core.epoch import Timing, compute_seconds
from epochgate.core.record import SIGNATURE_BYTES
from epochgate.core.roster import Role
from epochgate.core.rule import Rule
from epochgate.core.schema import get_longest_bytes

if TYPE_CHECKING:
    from epochgate.core.policy import Policy

TIMELINE_COLUMNS = 60
MIN_WINDOW_BLOCKS = 2
USUAL_MESSAGE_BYTES = 4 << 20
"""What a message of the network holds where nothing else is said."""
COMPANY_BYTES = 8192
"""Room in a message for what travels with a value: the frame, and a receipt of each replica."""


class PolicyError(ValueError):
    """A policy that cannot work on this chain or roster; the message lists every problem."""


def render_table(policy: Policy) -> str:
    """One row a rule: key, author, window, longest lifetime, size, value."""
    rows = [("key", "who may write", "window", "longest lifetime", "bytes", "value")]
    rows += [
        (
            rule.name,
            _role_words(rule) + (", once" if rule.once else ""),
            str(rule.during) if rule.during else "any time",
            f"{float(rule.ttl):g} epochs",
            str(rule.max_bytes),
            rule.schema.describe(),
        )
        for rule in policy.rules
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def render_timeline(policy: Policy) -> str:
    """The epoch from left to right, a bar a rule."""
    width = max((len(rule.kind) for rule in policy.rules), default=0)
    lines = [" " * width + "  0 %" + "100 %".rjust(TIMELINE_COLUMNS - 4)]
    for rule in policy.rules:
        first, last = (rule.during.first, rule.during.last) if rule.during else (0, 1)
        left, right = round(first * TIMELINE_COLUMNS), round(last * TIMELINE_COLUMNS)
        bar = "·" * left + "█" * (right - left) + "·" * (TIMELINE_COLUMNS - right)
        lines.append(f"{rule.kind.ljust(width)}  {bar}")
    return "\n".join(lines)


def find_problems(
    policy: Policy, timing: Timing, roster_size: int, max_message_bytes: int = USUAL_MESSAGE_BYTES
) -> Iterator[str]:
    """What would go wrong with `policy` at this epoch length, with this many authors and on such a network, a sentence each."""
    kinds = [rule.kind for rule in policy.rules]
    for kind in sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        yield f"two rules are of the kind {kind}: each needs a name of its own"
    started = Timing(0, timing.blocks_per_epoch, timing.block_seconds)
    for rule in policy.rules:
        yield from _find_window_problems(rule, policy, started)
        yield from _find_lifetime_problems(rule, started)
        yield from _find_size_problems(rule, max_message_bytes)
        if rule.elected_until is not None and not isinstance(rule.schema, (Derived, Chosen)):
            yield f"{rule.name}: a challenge is Derived(...) or Chosen(...), which give it a digest: wrap its schema in one"
        total = rule.max_bytes * (1 if "{author}" in rule.name else roster_size)
        if total > policy.key_budget_bytes:
            yield (
                f"{rule.name}: {roster_size} authors of {rule.max_bytes} bytes make {total}, more than the key's budget of "
                f"{policy.key_budget_bytes}: lower max_bytes, raise key_budget_bytes, or give each author a key with {{author}}"
            )


def check_policy(policy: Policy, timing: Timing, roster_size: int, max_message_bytes: int = USUAL_MESSAGE_BYTES) -> None:
    """Raises PolicyError with every problem of the policy on this chain and network."""
    if problems := list(find_problems(policy, timing, roster_size, max_message_bytes)):
        raise PolicyError("the policy cannot work here: " + "; ".join(problems))


def _find_window_problems(rule: Rule, policy: Policy, timing: Timing) -> Iterator[str]:
    if rule.during is None:
        return
    blocks = rule.during.bind(0, timing)
    length = blocks.last - blocks.first + 1
    if length < MIN_WINDOW_BLOCKS:
        yield f"{rule.name}: {rule.during} is {length} of {timing.blocks_per_epoch} blocks, a window needs {MIN_WINDOW_BLOCKS}"
    if rule.opens is None:
        return
    commitment = next((other for other in policy.rules if other.kind == rule.opens), None)
    if commitment is None or commitment.during is None:
        yield f"{rule.name}: opens {rule.opens!r}, which is no rule with a window"
    elif rule.epochs_ago == 0 and blocks.first <= commitment.during.bind(0, timing).last:
        yield f"{rule.name}: {rule.during} overlaps its commitment's {commitment.during}, so an opening could be copied"


def _find_lifetime_problems(rule: Rule, timing: Timing) -> Iterator[str]:
    if rule.kept_until is None:
        return
    first = rule.during.first if rule.during else 0
    if first + rule.ttl < rule.kept_until:
        longest = compute_seconds(rule.ttl, timing)
        yield f"{rule.name}: a record lives {longest:g} s at most and expires before it is last read: raise its ttl"


def _find_size_problems(rule: Rule, max_message_bytes: int) -> Iterator[str]:
    """Evidence of two values under a once-key shows both in one message."""
    most = (max_message_bytes - COMPANY_BYTES) // (2 if rule.once else 1)
    if rule.max_bytes > most:
        held = "two values, as evidence shows them, each" if rule.once else "a value"
        yield (
            f"{rule.name}: {held} of {rule.max_bytes} bytes could never be sent in one message of {max_message_bytes}: "
            f"lower max_bytes to {most}"
        )
    least = SIGNATURE_BYTES + get_longest_bytes(rule.schema)
    if least > rule.max_bytes:
        yield (
            f"{rule.name}: a value of {rule.schema.describe()} takes {least} bytes and more, and max_bytes is "
            f"{rule.max_bytes}: raise it, or declare less"
        )


def _role_words(rule: Rule) -> str:
    roles = " or ".join(role.name.lower() for role in Role if role & rule.by and role.name)
    return roles if rule.elected_until is None else f"elected {roles}"

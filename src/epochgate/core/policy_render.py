"""A policy for people: its rules as a table, its limits as a table, and a timeline of the epoch."""

from __future__ import annotations

from collections.abc import Sequence

from epochgate.core.limits import Limits
from epochgate.core.roster import Role
from epochgate.core.rule import Rule

TIMELINE_COLUMNS = 60


def render_table(rules: Sequence[Rule]) -> str:
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
        for rule in rules
    ]
    return _align(rows)


def render_limits(limits: Limits) -> str:
    """One row a limit: who may ask how much, and then who may have how much stored."""
    rows: list[tuple[str, ...]] = [
        ("limit", "requests a second", "at once", "bytes a second", "at once")
    ]
    for words, allowance in (
        ("a member", limits.member),
        ("all members beyond that", limits.spare),
        ("a stranger", limits.stranger),
        ("all strangers", limits.strangers),
    ):
        rates = (allowance.requests, allowance.bytes)
        rows.append(
            (
                words,
                *(f"{amount:,.12g}" for rate in rates for amount in (rate.per_second, rate.burst)),
            )
        )
    stored = [("limit", "records", "bytes")]
    for words, quota in (
        ("an author in an epoch", limits.author),
        ("a key", limits.key),
        ("in all", limits.total),
    ):
        stored.append((words, f"{quota.entries:,}", f"{quota.value_bytes:,}"))
    return f"{_align(rows)}\n\n{_align(stored)}"


def render_timeline(rules: Sequence[Rule]) -> str:
    """The epoch from left to right, a bar a rule."""
    width = max((len(rule.kind) for rule in rules), default=0)
    lines = [" " * width + "  0 %" + "100 %".rjust(TIMELINE_COLUMNS - 4)]
    for rule in rules:
        first, last = (rule.during.first, rule.during.last) if rule.during else (0, 1)
        left = round(first * TIMELINE_COLUMNS)
        right = round(last * TIMELINE_COLUMNS)
        bar = "·" * left + "█" * (right - left) + "·" * (TIMELINE_COLUMNS - right)
        lines.append(f"{rule.kind.ljust(width)}  {bar}")
    return "\n".join(lines)


def _align(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _role_words(rule: Rule) -> str:
    roles = " or ".join(role.name.lower() for role in Role if role & rule.by and role.name)
    return roles if rule.elected_until is None else f"elected {roles}"

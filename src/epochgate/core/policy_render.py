"""A policy for people: its rules as a table, its limits as a table, and a timeline of the epoch."""

from __future__ import annotations

from collections.abc import Sequence

from epochgate.core.epoch import WHOLE_EPOCH
from epochgate.core.limits import Allowance, Limits
from epochgate.core.roster import describe_roles
from epochgate.core.rule import Rule

TIMELINE_COLUMNS = 60


def render_table(rules: Sequence[Rule]) -> str:
    """One row for each rule: key, author, window, longest lifetime, size, value."""
    rows = [("key", "who may write", "window", "longest lifetime", "bytes", "value")]
    rows += [
        (
            rule.name,
            _describe_writers(rule),
            str(rule.during or "any time"),
            f"{float(rule.ttl):g} epochs",
            str(rule.max_bytes),
            rule.schema.describe(),
        )
        for rule in rules
    ]
    return _align(rows)


def render_limits(limits: Limits) -> str:
    """One row for each limit: who may ask how much, and then who may have how much stored."""
    asked = [
        ("limit", "requests a second", "at once", "bytes a second", "at once"),
        _render_allowance("a member", limits.member),
        _render_allowance("all members beyond that", limits.spare),
        _render_allowance("a stranger", limits.stranger),
        _render_allowance("all strangers", limits.strangers),
    ]
    stored = [("limit", "records", "bytes")]
    for name, quota in (
        ("per author and epoch", limits.author),
        ("per key", limits.key),
        ("in total", limits.total),
    ):
        stored.append((name, f"{quota.entries:,}", f"{quota.value_bytes:,}"))
    return f"{_align(asked)}\n\n{_align(stored)}"


def render_timeline(rules: Sequence[Rule]) -> str:
    """The epoch from left to right, one bar for each rule."""
    width = max((len(rule.kind) for rule in rules), default=0)
    lines = [" " * width + "  0 %" + "100 %".rjust(TIMELINE_COLUMNS - 4)]
    for rule in rules:
        window = rule.during or WHOLE_EPOCH
        left = round(window.first * TIMELINE_COLUMNS)
        right = round(window.last * TIMELINE_COLUMNS)
        bar = "·" * left + "█" * (right - left) + "·" * (TIMELINE_COLUMNS - right)
        lines.append(f"{rule.kind.ljust(width)}  {bar}")
    return "\n".join(lines)


def _align(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _render_allowance(name: str, allowance: Allowance) -> tuple[str, str, str, str, str]:
    requests = allowance.requests
    size = allowance.bytes
    amounts = (requests.per_second, requests.burst, size.per_second, size.burst)
    first, second, third, fourth = (f"{amount:,.12g}" for amount in amounts)
    return name, first, second, third, fourth


def _describe_writers(rule: Rule) -> str:
    writers = describe_roles(rule.by)
    if rule.elected_until is not None:
        writers = f"elected {writers}"
    if rule.once:
        writers += ", once"
    return writers

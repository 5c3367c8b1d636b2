"""The tables in the documents that follow from the default policy: `make docs-tables` writes them.

A page holds each table between two comments that name it, `<!-- policy-table NAME: begin -->` and
the same with `end`. This module writes what belongs between them, and
`tests/unit/test_spec_page.py` fails while a page holds anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from epochgate.core.commitment import OpeningOf
from epochgate.core.epoch import Timing
from epochgate.core.limits import Allowance, Quota, Rate
from epochgate.core.roster import HOSTER, VALIDATOR, Role
from epochgate.core.rule import Rule
from epochgate.core.types import BlockNumber, Epoch
from epochgate.node.duties import Duty, compute_duties
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.schemas import Map

REPOSITORY = Path(__file__).parents[1]
PAGES = tuple(REPOSITORY / name for name in ("README.md", "docs/spec.md", "docs/security.md"))
MARKED = re.compile(
    r"(<!-- policy-table (?P<name>[\w-]+): begin -->\n).*?(<!-- policy-table (?P=name): end -->)",
    re.DOTALL,
)

TIMING = Timing(BlockNumber(0), blocks_per_epoch=100, block_seconds=6.0)
"""The chain that the examples are about: 100 blocks in an epoch, so a block is a percent."""
EPOCH = Epoch(1)
"""Any epoch that has one before it."""

TIMELINE_NOTES = {
    "consensus": "the elected validator publishes the challenge",
    "hoster-commit": "hosters commit to their outputs",
    "validator-reveal": "validators open last epoch's scores",
    "hoster-reveal": "hosters open their outputs",
    "validator-commit": "validators commit to their scores",
}

Row = Sequence[str]


def render_keys() -> str:
    """A row per rule, in shares of an epoch."""
    rows = [("key", "who may write", "window", "longest lifetime", "kept until", "bytes", "value")]
    rows += [
        (
            f"`{rule.name}`",
            describe_writers(rule),
            describe_window(rule),
            describe_epochs(rule.ttl),
            describe_epochs(rule.kept_until),
            f"{rule.max_bytes:,}",
            describe_value(rule),
        )
        for rule in INFERENCE_POLICY.rules
    ]
    return render_markdown(rows)


def render_blocks() -> str:
    """A row per rule that has a window, in blocks of an epoch of 100 blocks."""
    rows = [("key", "first block", "last block")]
    for rule in INFERENCE_POLICY.rules:
        if rule.during is not None:
            first, last = rule.during.bind(Epoch(0), TIMING)
            rows.append((f"`{rule.kind}`", str(first), str(last)))
    return render_markdown(rows)


def render_duties() -> str:
    """A row per duty, in blocks of an epoch of 100 blocks."""
    rows = [("duty", "who", "begins with block", "is over with block", "needs")]
    rows += [
        (f"`{duty.name}`", who, describe_place(duty.opens), describe_place(duty.closes), needs)
        for duty, who, needs in list_duties()
    ]
    return render_markdown(rows)


def list_duties() -> Iterator[tuple[Duty, str, str]]:
    """Every duty of an epoch in order of time, with who has it and what it needs."""
    owners = {
        "every hoster": compute_table(HOSTER),
        "every validator": compute_table(VALIDATOR),
        "the elected node": compute_table(VALIDATOR, is_elected=True),
        "the first stand-in": compute_table(VALIDATOR, stand_in_rank=0),
    }
    seen: dict[Duty, list[str]] = {}
    for owner, duties in owners.items():
        for duty in duties:
            seen.setdefault(duty, []).append(owner)
    for duty in sorted(seen, key=lambda duty: (duty.opens, duty.closes)):
        yield duty, describe_owners(seen[duty]), describe_needs(duty)


def compute_table(
    role: Role, *, is_elected: bool = False, stand_in_rank: int | None = None
) -> tuple[Duty, ...]:
    return compute_duties(
        INFERENCE_POLICY,
        TIMING,
        EPOCH,
        role,
        is_elected=is_elected,
        stand_in_rank=stand_in_rank,
    )


def describe_owners(owners: Sequence[str]) -> str:
    """Who has a duty. What hosters and validators both do, all do; the elected node and the
    stand-in are validators too.
    """
    if "every hoster" not in owners:
        return owners[0]
    if "every validator" not in owners:
        return "every hoster"
    return "every node" if "the elected node" in owners else "every other node"


def describe_needs(duty: Duty) -> str:
    if duty.rests_on is None:
        return ""
    name, epoch = duty.rests_on
    when = "this epoch" if epoch == duty.epoch else "the epoch before"
    return f"its `{name}` of {when}"


def describe_place(block: float) -> str:
    return f"{block - TIMING.compute_first_block(EPOCH):g}"


def render_rates() -> str:
    """A row per sender or group of senders."""
    limits = INFERENCE_POLICY.limits
    rows = [("limit", "whose", "requests per second", "bytes per second")]
    for name, whose, allowance in (
        ("member", "each node on the roster", limits.member),
        ("spare", "all nodes on the roster together, beyond that", limits.spare),
        ("stranger", "each peer that is not on the roster, to read", limits.stranger),
        ("strangers", "all such peers together", limits.strangers),
    ):
        rows.append((f"`{name}`", whose, *describe_allowance(allowance)))
    return render_markdown(rows)


def render_quotas() -> str:
    """A row per bound on what is stored."""
    limits = INFERENCE_POLICY.limits
    rows = [("limit", "of what", "records", "values")]
    for name, whose, quota in (
        ("author", "what one author adds in one epoch", limits.author),
        ("key", "what all authors have under one key, in equal parts", limits.key),
        ("total", "what a replica holds, in equal parts", limits.total),
    ):
        rows.append((f"`{name}`", whose, *describe_quota(quota)))
    return render_markdown(rows)


def render_timeline() -> str:
    """The epoch from left to right, with a note behind each bar."""
    lines = INFERENCE_POLICY.render_timeline().splitlines()
    noted = [f"{line}  {TIMELINE_NOTES.get(line.split()[0], '')}".rstrip() for line in lines]
    return "\n".join(["```", *noted, "```"])


def render_markdown(rows: Sequence[Row]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def describe_writers(rule: Rule) -> str:
    """Which roles may write a rule's keys, and how often."""
    names = [role.name.lower() for role in Role if role.name and role & rule.by]
    who = f"a {' or '.join(names)}"
    if rule.elected_until is not None:
        share = f"{float(rule.elected_until * 100):g} %"
        who = f"the elected node; any {' or '.join(names)} after {share}"
    return f"{who}, once" if rule.once else who


def describe_window(rule: Rule) -> str:
    """The window in the notation of intervals, or that there is none."""
    return str(rule.during) if rule.during is not None else "any time"


def describe_epochs(count: Fraction | None) -> str:
    if count is None:
        return ""
    return "1 epoch" if count == 1 else f"{float(count):g} epochs"


def describe_value(rule: Rule) -> str:
    """What the payload is, and what it opens."""
    if isinstance(rule.schema, Map):
        return f"a map that `{rule.schema.model.__name__}` accepts"
    schema = rule.schema.describe()
    if not isinstance(rule.schema, OpeningOf):
        return f"`{schema}`"
    when = "of the epoch before" if rule.epochs_ago == 1 else "of the same epoch"
    return f"`{schema}`, opens `{rule.opens}` {when}"


def describe_allowance(allowance: Allowance) -> tuple[str, str]:
    return describe_rate(allowance.requests), describe_rate(allowance.bytes)


def describe_rate(rate: Rate) -> str:
    return f"{rate.per_second:,.12g}, at once {rate.burst:,.12g}"


def describe_quota(quota: Quota) -> tuple[str, str]:
    return f"{quota.entries:,}", f"{quota.value_bytes / (1 << 20):,.12g} MiB"


TABLES: dict[str, Callable[[], str]] = {
    "keys": render_keys,
    "blocks": render_blocks,
    "duties": render_duties,
    "rates": render_rates,
    "quotas": render_quotas,
    "timeline": render_timeline,
}


def fill(text: str) -> str:
    """A page's text with each marked table as the policy gives it.

    Raises KeyError for a mark that names no table.
    """
    return MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match['name']]()}\n\n{match[3]}", text)


def main() -> None:
    for page in PAGES:
        page.write_text(fill(page.read_text()))


if __name__ == "__main__":
    main()

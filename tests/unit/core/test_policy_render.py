"""A policy as people see it: its rules and limits as tables, and a timeline of the epoch."""

from __future__ import annotations

from epochgate.core.commitment import OpeningOf
from epochgate.core.epoch import epochs, percent
from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER
from epochgate.core.rule import Rule
from epochgate.core.schema import Digest
from epochgate.policies.inference import INFERENCE_POLICY

COMMIT = Rule(
    "commit_epoch_{epoch}",
    by=HOSTER,
    ttl=epochs(2),
    schema=Digest(),
    during=percent("[0, 50]"),
    once=True,
)
OPEN = Rule(
    "open_epoch_{epoch}",
    by=HOSTER,
    ttl=epochs(2),
    schema=OpeningOf(Digest()),
    during=percent("(50, 60]"),
    opens="commit",
)


def test_the_table_names_every_rule_with_its_window() -> None:
    lines = str(INFERENCE_POLICY).split("\n\n")[0].splitlines()
    assert len(lines) == 1 + len(INFERENCE_POLICY.rules)
    assert "elected validator, once" in lines[3]
    assert "(15, 50] %" in lines[4]


def test_the_limits_are_printed_with_the_rules() -> None:
    _, rates, stored = (part.splitlines() for part in str(INFERENCE_POLICY).split("\n\n"))
    assert rates[1].split() == ["a", "member", "50", "400", "4,000,000", "64,000,000"]
    assert len(rates) == 5
    assert [row.split()[-2:] for row in stored[1:]] == [
        ["1,024", "67,108,864"],
        ["4,096", "67,108,864"],
        ["131,072", "4,294,967,296"],
    ]


def test_the_timeline_draws_each_window_to_scale() -> None:
    rows = dict(
        line.split(maxsplit=1) for line in Policy(COMMIT, OPEN).render_timeline().splitlines()[1:]
    )
    assert rows["commit"] == "█" * 30 + "·" * 30
    assert rows["open"] == "·" * 30 + "█" * 6 + "·" * 24

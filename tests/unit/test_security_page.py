"""The page that maps threats to tests names tests and adversaries that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from epochgate.devnet.adversaries import ADVERSARIES

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_is_there(file: str, name: str) -> None:
    assert f"def test_{name}(" in (TESTS / file).read_text()


def test_the_page_names_every_adversary_and_no_other() -> None:
    rows = [line for line in PAGE.partition("## Every threat")[2].splitlines() if line.startswith("| ") and "---" not in line]
    named = {name for row in rows for name in row.rstrip(" |").rpartition(" | ")[2].split(", ") if name != "adversary"}
    assert {name for name in named if re.fullmatch(r"[a-z-]+", name)} == set(ADVERSARIES)

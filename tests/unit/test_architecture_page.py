"""The page that describes the source has every wing of it, names modules that exist, and shows the
layers that the import contract keeps.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import epochgate

ROOT = Path(epochgate.__file__).parent
REPOSITORY = ROOT.parents[1]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text()
WINGS = PAGE.partition("## The wings")[2].partition("\n## ")[0]
ROWS = [line for line in WINGS.splitlines() if line.startswith("| `")]
NAMED = sorted({path for row in ROWS for path in re.findall(r"`([\w/]+(?:/|\.py|/\w+))`", row)})


@pytest.mark.parametrize("path", NAMED)
def test_a_named_module_is_there(path: str) -> None:
    assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists()


def test_every_wing_is_named() -> None:
    wings = {folder.parent.name for folder in ROOT.glob("*/__init__.py")}
    assert wings - {path.partition("/")[0] for path in NAMED} == set()


def test_the_layers_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (
        found["layers"]
        for found in contracts["contracts"]
        if found.get("containers") == ["epochgate"]
    )
    shown = PAGE.partition("```\n")[2].partition("```")[0].splitlines()
    assert shown == layers

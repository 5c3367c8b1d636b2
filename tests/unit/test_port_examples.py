"""The examples in the docstrings of the ports, and of all that implements them, run."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import epochgate

SOURCE = Path(epochgate.__file__).parent
WINGS = ("ports.py", "chain", "engine", "models", "predicate")
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if path.relative_to(SOURCE).parts[0] in WINGS and ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    done = doctest.testmod(module)
    assert done.attempted > 0
    assert done.failed == 0

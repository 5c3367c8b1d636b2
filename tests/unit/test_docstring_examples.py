"""The examples in docstrings run and show what they say, and every class that `epochgate` exports
has one.
"""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import epochgate

SOURCE = Path(epochgate.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>> " in path.read_text()
)
PUBLIC = {name: getattr(epochgate, name) for name in epochgate.__all__}
"""Examples assume `from epochgate import *`."""
CLASSES = sorted(name for name, value in PUBLIC.items() if inspect.isclass(value))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    done = doctest.testmod(
        module, extraglobs=PUBLIC, optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False
    )
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_has_an_example(name: str) -> None:
    value = PUBLIC[name]
    finder = doctest.DocTestFinder(recurse=False)
    (docstring,) = finder.find(value, module=import_module(value.__module__))
    assert docstring.examples

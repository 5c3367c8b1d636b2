"""The examples in docstrings run, and every class that `epochgate` exports has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import epochgate
import epochgate.core
import epochgate.schemas

PUBLIC = {name: getattr(epochgate, name) for name in epochgate.__all__}
CLASSES = sorted(name for name, value in PUBLIC.items() if inspect.isclass(value))
MODULES = sorted(
    [
        "epochgate.keys",
        *(
            module.name
            for wing in (epochgate.core, epochgate.schemas)
            for module in pkgutil.iter_modules(wing.__path__, f"{wing.__name__}.")
        ),
    ]
)
FLAGS = doctest.NORMALIZE_WHITESPACE


def find_examples(module: str) -> list[doctest.DocTest]:
    """The docstrings of a module that have examples, with what `from epochgate import *` brings."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    return finder.find(importlib.import_module(module), globs=dict(PUBLIC))


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module: str) -> None:
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for example in find_examples(module):
        runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_has_an_example(name: str) -> None:
    home = PUBLIC[name].__module__
    found = {example.name for example in find_examples(home) if example.examples}
    assert f"{home}.{PUBLIC[name].__name__}" in found

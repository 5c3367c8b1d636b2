"""Every error of the package has one base, with words, advice and an exit code."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import epochgate
from epochgate.errors import EpochgateError


def find_errors() -> dict[str, type[BaseException]]:
    """Each exception class that a module of the package defines, by its full name."""
    found = {}
    for info in pkgutil.walk_packages(epochgate.__path__, "epochgate."):
        if info.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(info.name)).items():
            is_own = inspect.isclass(value) and value.__module__ == info.name
            if is_own and issubclass(value, BaseException) and not name.startswith("_"):
                found[f"{info.name}.{name}"] = value
    return found


def test_every_error_of_the_package_has_the_one_base() -> None:
    errors = find_errors()
    assert len(errors) > 10
    assert [name for name, error in errors.items() if not issubclass(error, EpochgateError)] == []


def test_an_error_says_what_happened_and_what_to_do() -> None:
    assert str(EpochgateError("the disk is full", "make room")) == "the disk is full: make room"
    assert str(EpochgateError("the disk is full")) == "the disk is full"
    assert EpochgateError("the disk is full", "make room").advice == "make room"


def test_an_error_has_an_exit_code() -> None:
    assert all(error.exit_code in (1, 2) for error in find_errors().values())  # type: ignore[attr-defined] # of the base

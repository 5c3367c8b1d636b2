"""What people hand to a command: names of objects and files, and how wrong ones are told."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from epochgate.core.policy import Policy
from epochgate.errors import EpochgateError
from epochgate.ports import Challenger

DEFAULT_POLICY = "epochgate:INFERENCE_POLICY"


class InputError(EpochgateError, ValueError):
    """Input that cannot be used; the message says what is wrong and what to do."""


def load_policy(name: str) -> Policy:
    """The policy called `module:NAME`. Raises InputError."""
    found = load_object(name, "--policy")
    if not isinstance(found, Policy):
        raise InputError(f"--policy {name}: it is a {type(found).__name__}, no epochgate.Policy")
    return found


def load_challenger(name: str | None) -> Challenger | None:
    """What the factory `module:factory` makes: an object whose `choose(epoch, seed)` gives the
    challenge. Raises InputError.
    """
    if name is None:
        return None
    try:
        challenger: Challenger = load_object(name, "--challenger")()
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - a stranger's factory may raise anything at all
        raise InputError(
            f"--challenger {name}: calling it failed: {type(error).__name__}: {error}"
        ) from None
    if not callable(getattr(challenger, "choose", None)):
        raise InputError(
            f"--challenger {name}: what it makes has no choose(epoch, seed): give it one"
        )
    return challenger


def load_object(name: str, option: str) -> Any:
    """The object called `module:NAME`, looked for in the working directory as well. Raises
    InputError.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise InputError(f"{option} {name!r}: write module:NAME, as in {DEFAULT_POLICY}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{option} {name}: there is no module {error.name!r} here or among what is installed"
        ) from None
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything at all
        raise InputError(
            f"{option} {name}: importing it failed: {type(error).__name__}: {error}"
        ) from None
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InputError(f"{option} {name}: module {module_name!r} has no {attribute!r}") from None

"""Load what a setting names: a policy, a challenger, or any object as `module:NAME`.

Each of these is somebody else's code, which may raise anything; a wrong one ends in an InputError
that says which option named it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from epochgate.core.policy import Policy
from epochgate.errors import EpochgateError
from epochgate.ports import Challenger

DEFAULT_POLICY = "epochgate:INFERENCE_POLICY"


class InputError(EpochgateError, ValueError):
    """An option, a setting or a file that cannot be used."""


def load_policy(name: str) -> Policy:
    """Import a policy.

    >>> load_policy("epochgate:INFERENCE_POLICY").role_field
    'non_unique'

    Args:
        name: `module:NAME`. The module may be in the working directory.

    Returns:
        The policy, which is what every node of a subnet has to load.

    Raises:
        InputError: the module cannot be imported, or the object is not a Policy.
    """
    found = load_object(name, "--policy")
    if not isinstance(found, Policy):
        raise InputError(
            f"--policy {name}: it is a {type(found).__name__}, not an epochgate.Policy"
        )
    return found


def load_challenger(name: str | None) -> Challenger | None:
    """Make what chooses the challenges, for a policy that leaves them open.

    Args:
        name: the factory, as `module:factory`; it is called without arguments.

    Returns:
        An object whose `choose(epoch, seed)` returns the challenge; None for the name None.

    Raises:
        InputError: the factory cannot be imported, raises, or makes something else.
    """
    if name is None:
        return None
    factory = load_object(name, "--challenger")
    try:
        challenger: Challenger = factory()
    except Exception as error:  # noqa: BLE001 - somebody else's factory may raise anything
        raise InputError(
            f"--challenger {name}: calling it failed: {type(error).__name__}: {error}"
        ) from None
    if not callable(getattr(challenger, "choose", None)):
        raise InputError(
            f"--challenger {name}: what it makes has no choose(epoch, seed)", "give it one"
        )
    return challenger


def load_object(name: str, option: str) -> Any:
    """Import an object by its name.

    Args:
        name: `module:NAME`. The working directory is searched as well as what is installed.
        option: the option that named it, such as `--policy`; errors begin with it.

    Returns:
        The object, of whatever type.

    Raises:
        InputError: `name` is not written so, the module cannot be imported, or has no such object.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise InputError(f"{option} {name!r}", f"write module:NAME, as in {DEFAULT_POLICY}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{option} {name}: there is no module {error.name!r} here or among what is installed"
        ) from None
    except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
        raise InputError(
            f"{option} {name}: importing it failed: {type(error).__name__}: {error}"
        ) from None
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InputError(f"{option} {name}: module {module_name!r} has no {attribute!r}") from None

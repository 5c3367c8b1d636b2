"""The adversaries, where they are there: a clone of the repository has them, an installed package
does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epochgate.runtime.loading import InputError

if TYPE_CHECKING:
    from epochgate.adversaries import Adversary


def load_adversaries() -> dict[str, Adversary]:
    """Every adversary by its name.

    Raises:
        InputError: they are not installed; the message says how to get them.
    """
    try:
        from epochgate.adversaries import ADVERSARIES  # noqa: PLC0415 - brings a node
    except ModuleNotFoundError as error:
        if error.name != "epochgate.adversaries":
            raise
        raise InputError(
            "adversaries do not come with the package",
            "clone the repository, and run `pip install -e '.[node]'` in it",
        ) from None
    return ADVERSARIES

"""What is wrong with a model, told to whoever named it."""

from __future__ import annotations

from epochgate.errors import EpochgateError


class ModelError(EpochgateError, ValueError):
    """A model that cannot be served; the message says why and what to do."""


def describe(error: Exception) -> str:
    """One line of somebody else's error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"

"""The error of a model that cannot be served."""

from __future__ import annotations

from epochgate.errors import EpochgateError


class ModelError(EpochgateError, ValueError):
    """A model that cannot be loaded, or that cannot answer the policy's challenges."""


def describe(error: Exception) -> str:
    """The kind and the first line of an error that a model's own code has raised."""
    first_line, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first_line}"

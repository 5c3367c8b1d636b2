"""The one base of every error that epochgate raises: a message for people, advice, an exit code.

A program that uses the library catches `EpochgateError` to catch them all; the command line does
nothing else. Most error classes have a builtin base as well (ValueError, ConnectionError ...), so
that code which knows only those goes on working.
"""

from __future__ import annotations

from typing import ClassVar


class EpochgateError(Exception):
    """What went wrong, and what its reader can do about it.

    `str` gives both in one line, with a colon between them:

    >>> print(EpochgateError("node.key does not exist", "make one with `epochgate keygen`"))
    node.key does not exist: make one with `epochgate keygen`

    Args:
        message: what happened, and to what.
        advice: what to do about it. Empty where nothing can be done, or where `message` says it.

    Attributes:
        advice: as given.
        exit_code: what a command that ends with this error returns to the shell. 1 is for a command
            that was understood and could not be done, 2 for input that has to be corrected.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    def __str__(self) -> str:
        message = super().__str__()
        if self.advice:
            return f"{message}: {self.advice}"
        return message

"""The one base of every error that epochgate raises: words for people, advice, an exit code.

A program that uses the library catches `EpochgateError` to catch them all; the command line does
nothing else. Each error class has a builtin base as well (ValueError, ConnectionError ...), so that
code which knows only those goes on working.
"""

from __future__ import annotations

from typing import ClassVar


class EpochgateError(Exception):
    """What went wrong, and what its reader can do about it.

    Args:
        message: one line that says what happened, and to what.
        advice: what to do; may be empty, and many messages say it themselves.

    Attributes:
        advice: as given.
        exit_code: what a command that ends with this error returns to the shell. 1 is for a command
            that was understood and could not be done, 2 for input that has to be mended.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}: {self.advice}" if self.advice else message

"""Reads a transcript's files, and tells lines that are damaged from those that were torn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from epochgate.errors import EpochgateError
from epochgate.transcript.files import find_files, read_lines
from epochgate.transcript.lines import AnyLine, EpochStarted, decode_line


class TranscriptError(EpochgateError, RuntimeError):
    """A transcript that cannot be read; the message says what to do."""


class Place(NamedTuple):
    """Where a line stands: the name of its file, and its number there, from 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class Damage(msgspec.Struct, frozen=True):
    """A line that cannot be read.

    A *torn* line is the last one that a node wrote before it was killed: it ends its file, or a
    start follows it. Any other one was damaged later.
    """

    why: str
    is_torn: bool


def find_transcript(folder: Path) -> dict[int, Path]:
    """Find the files of a transcript.

    Args:
        folder: A node's data folder, or the transcript's folder in it.

    Returns:
        The files by epoch, in order.

    Raises:
        TranscriptError: There are none, or the folder cannot be read.
    """
    for place in (folder, folder / "transcript"):
        try:
            files = find_files(place)
        except OSError as error:
            if place == folder:
                raise TranscriptError(
                    f"{folder} cannot be read ({error.strerror})", "name a node's data folder"
                ) from None
        else:
            if files:
                return files
    raise TranscriptError(
        f"{folder} holds no epoch-NNNNNN.jsonl",
        "name a node's data folder, or the transcript in it",
    )


def read_transcript(path: Path) -> Iterator[tuple[Place, AnyLine | Damage]]:
    """Read the lines of a file.

    Args:
        path: The file.

    Yields:
        Each line with its place.

    Raises:
        TranscriptError: The file cannot be read.
    """
    # whether an unreadable line was torn is known by the line behind it
    waiting: tuple[Place, str] | None = None
    try:
        for number, data in enumerate(read_lines(path), 1):
            place = Place(path.name, number)
            line, why = _read(data)
            if waiting is not None:
                before, reason = waiting
                is_start = isinstance(line, EpochStarted) and line.why == "start"
                yield before, Damage(reason, is_torn=is_start)
                waiting = None
            if line is None:
                waiting = (place, why)
            else:
                yield place, line
    except OSError as error:
        raise TranscriptError(f"{path} cannot be read: {error.strerror}") from None
    if waiting is not None:
        before, reason = waiting
        yield before, Damage(reason, is_torn=True)


def _read(data: bytes) -> tuple[AnyLine | None, str]:
    """The line, or None and the reason for which it cannot be read."""
    if not data.endswith(b"\n"):
        return None, "the line has no end"
    try:
        return decode_line(data), ""
    except msgspec.MsgspecError as error:
        return None, str(error)

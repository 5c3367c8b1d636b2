"""Reads a transcript, and names what in it is no line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from epochgate.errors import EpochgateError
from epochgate.transcript.files import find_files, read_lines
from epochgate.transcript.lines import AnyLine, EpochStarted, decode_line


class TranscriptError(EpochgateError, RuntimeError):
    """A folder that holds no transcript; the message says what to do."""


class Place(NamedTuple):
    """A line by its file and its number there, from 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class Damage(msgspec.Struct, frozen=True):
    """What cannot be read. A torn line is the last that a node wrote before it was killed: it ends
    its file, or a start follows it.
    """

    why: str
    is_torn: bool


def find_transcript(folder: Path) -> dict[int, Path]:
    """The files by epoch, of a transcript's folder or of a node's data folder. Raises
    TranscriptError.
    """
    for place in (folder, folder / "transcript"):
        try:
            if files := find_files(place):
                return files
        except OSError as error:
            if place == folder:
                raise TranscriptError(
                    f"{folder} cannot be read ({error.strerror}): name a node's data folder"
                ) from None
    raise TranscriptError(
        f"{folder} holds no epoch-NNNNNN.jsonl: name a node's data folder, or the transcript in it"
    )


def read_transcript(path: Path) -> Iterator[tuple[Place, AnyLine | Damage]]:
    """Every line of a file. Raises TranscriptError when it cannot be read."""
    waiting: tuple[Place, str] | None = (
        None  # an unreadable line is torn or damaged by what follows it
    )
    try:
        for number, data in enumerate(read_lines(path), 1):
            place = Place(path.name, number)
            line, why = _read(data)
            if waiting is not None:
                yield (
                    waiting[0],
                    Damage(waiting[1], isinstance(line, EpochStarted) and line.why == "start"),
                )
                waiting = None
            if line is None:
                waiting = (place, why)
            else:
                yield place, line
    except OSError as error:
        raise TranscriptError(f"{path} cannot be read: {error.strerror}") from None
    if waiting is not None:
        yield waiting[0], Damage(waiting[1], is_torn=True)


def _read(data: bytes) -> tuple[AnyLine | None, str]:
    if not data.endswith(b"\n"):
        return None, "the line has no end"
    try:
        return decode_line(data), ""
    except msgspec.MsgspecError as error:
        return None, str(error)

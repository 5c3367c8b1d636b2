"""The files of a transcript: one per epoch, private, written line by line. The latest are kept."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_NAME = re.compile(r"epoch-(\d{6,})\.jsonl")


def find_files(folder: Path) -> dict[int, Path]:
    """Find the files of a transcript.

    Args:
        folder: The transcript's folder.

    Returns:
        The files by epoch, in order.

    Raises:
        OSError: The folder cannot be read.
    """
    found: dict[int, Path] = {}
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found[int(match[1])] = path
    return {epoch: found[epoch] for epoch in sorted(found)}


def read_lines(path: Path) -> Iterator[bytes]:
    """Read a file line by line.

    Args:
        path: The file.

    Yields:
        Each line with its newline, which the last may lack.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        yield from file


class LineFile:
    """Appends lines to the file of one epoch at a time.

    A line is handed to the operating system as it is written. So a process that is killed loses no
    line but the one that it was writing, and nothing waits for the disk. All methods raise OSError
    where the disk does not take a line.

    Args:
        folder: The transcript's folder, which is made where there is none.
        kept_epochs: How many epochs' files are kept.

    Attributes:
        epoch: The epoch whose file is open; None for none.
    """

    def __init__(self, folder: Path, kept_epochs: int) -> None:
        self._folder = folder
        self._kept_epochs = kept_epochs
        self._descriptor: int | None = None
        self.epoch: int | None = None

    def open(self, epoch: int) -> None:
        """Append to an epoch's file from here on, and delete those of old epochs.

        Args:
            epoch: The epoch. What its file holds already stays.
        """
        self.close()
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        path = self._folder / f"epoch-{epoch:06d}.jsonl"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, FILE_MODE)
        self.epoch = epoch
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self.append(b"\n")  # a torn line stays a line of its own
        for old_epoch, file in find_files(self._folder).items():
            if old_epoch <= epoch - self._kept_epochs:
                file.unlink(missing_ok=True)

    def append(self, line: bytes) -> None:
        """Append a line, with its newline."""
        if self._descriptor is None:
            raise OSError(errno.EBADF, "no file is open")
        if os.write(self._descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self.epoch = None

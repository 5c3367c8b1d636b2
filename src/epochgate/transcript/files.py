"""The files of a transcript: one an epoch, private, written a line at a time, the latest
ones kept.
"""

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
    """The files of `folder` by epoch, in order. Raises OSError."""
    found = {
        int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))
    }
    return {epoch: found[epoch] for epoch in sorted(found)}


def read_lines(path: Path) -> Iterator[bytes]:
    """Each with its newline; the last may lack it. Raises OSError."""
    with path.open("rb") as file:
        yield from file


class LineFile:
    """Appends lines to the file of one epoch at a time.

    A line is handed to the operating system as it is written, so the death of the process loses
    none but the one that was being written; nothing waits for the disk. Everything raises OSError
    when the disk does not take it.
    """

    def __init__(self, folder: Path, kept_epochs: int) -> None:
        self._folder = folder
        self._kept_epochs = kept_epochs
        self._descriptor: int | None = None
        self.epoch: int | None = None

    def open(self, epoch: int) -> None:
        """Go on with the file of `epoch`, behind whatever is there, and let old ones go."""
        self.close()
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        path = self._folder / f"epoch-{epoch:06d}.jsonl"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, FILE_MODE)
        self.epoch = epoch
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self.append(b"\n")  # a line that was torn stays a line of its own
        for old, file in find_files(self._folder).items():
            if old <= epoch - self._kept_epochs:
                file.unlink(missing_ok=True)

    def append(self, line: bytes) -> None:
        if self._descriptor is None:
            raise OSError(errno.EBADF, "no file is open")
        if os.write(self._descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = self.epoch = None

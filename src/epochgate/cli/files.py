"""The files that a command is told to write, looked at before its work and written after it.

A devnet may run for hours before its summary is written, so a wrong name is told at the start.
"""

from __future__ import annotations

from pathlib import Path

from epochgate.runtime.loading import InputError


def check_output_file(file: Path, option: str) -> None:
    """Check that `file`, which `option` names, can be written later.

    Raises:
        InputError: its folder is missing, or it is a folder itself.
    """
    folder = file.absolute().parent
    try:
        has_folder = folder.is_dir()
        is_folder = file.is_dir()
    except OSError as error:
        raise InputError(f"{option} {file}: {error.strerror}") from None
    if not has_folder:
        raise InputError(f"{option} {file}: there is no folder {folder}", "make it first")
    if is_folder:
        raise InputError(f"{option} {file} is a folder", "name a file in it")


def write_output_file(file: Path, option: str, data: bytes) -> None:
    """Write `data`, in the place of what was there. Raises InputError."""
    try:
        file.write_bytes(data)
    except OSError as error:
        raise InputError(
            f"{option} {file} cannot be written ({error.strerror})", "choose another file"
        ) from None


def read_text_file(file: Path, option: str) -> str:
    """The text of a file. Raises InputError: it cannot be read, or is not text."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{option} {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{option} {file} is not text in UTF-8: {error.reason}") from None

"""Files that a command reads and writes: each wrong one is named with its option."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.cli.files import check_output_file, read_text_file, write_output_file
from epochgate.runtime.loading import InputError


def test_a_file_that_can_be_written_later_is_fine(tmp_path: Path) -> None:
    check_output_file(tmp_path / "new.json", "--json")
    (tmp_path / "old.json").write_text("old")
    check_output_file(tmp_path / "old.json", "--json")
    write_output_file(tmp_path / "old.json", "--json", b"new")
    assert read_text_file(tmp_path / "old.json", "--json") == "new"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere/new.json", "there is no folder .*nowhere: make it first"),
        (".", "is a folder: name a file in it"),
        ("x" * 300, "File name too long"),
    ],
)
def test_one_that_cannot_is_told_before_the_work(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=f"^--json .*{words}"):
        check_output_file(tmp_path / name, "--json")


def test_a_write_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--json .* cannot be written \(Is a directory\)"):
        write_output_file(tmp_path, "--json", b"")


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"^--page .* is not text in UTF-8"):
        read_text_file(tmp_path / "page.md", "--page")
    with pytest.raises(InputError, match=r"^--page .* cannot be read: No such file"):
        read_text_file(tmp_path / "none.md", "--page")

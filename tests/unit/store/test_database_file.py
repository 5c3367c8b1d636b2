"""The file of a node's database: whose it is, which files are refused, and what is written."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from epochgate.store.database_file import DatabaseFile, NodeDatabaseError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


def count_lists(file: DatabaseFile) -> int:
    ((count,),) = file.read("SELECT count(*) FROM lists")
    return int(count)


def test_only_the_owner_can_read_the_file(path: Path) -> None:
    file = DatabaseFile(path)
    with file.write() as connection:
        connection.execute("INSERT INTO lists VALUES (1, x'90')")

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(part.stat().st_mode) for part in path.parent.iterdir()} == {0o600}
    file.close()

    path.chmod(0o644)
    with pytest.raises(NodeDatabaseError, match=r"can be read by others.*chmod 600"):
        DatabaseFile(path)


def test_a_second_node_on_the_same_file_is_refused(path: Path) -> None:
    file = DatabaseFile(path)
    code = (
        "import sys, pathlib; from epochgate.store.database_file import DatabaseFile;"
        " DatabaseFile(pathlib.Path(sys.argv[1]))"
    )

    command = [sys.executable, "-c", code, str(path)]
    other = subprocess.run(command, capture_output=True, text=True, check=False)

    assert "NodeDatabaseError" in other.stderr
    assert "in use by another process" in other.stderr
    with pytest.raises(NodeDatabaseError, match="in use"):
        DatabaseFile(path)
    file.close()
    DatabaseFile(path).close()


def test_a_file_that_is_no_database_is_refused_in_words(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    path.write_bytes(b"shopping list " * 1000)

    with pytest.raises(
        NodeDatabaseError, match=r"cannot be read as a node's database.*move it away"
    ):
        DatabaseFile(path)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE recipes (name TEXT)")
    other.close()

    with pytest.raises(NodeDatabaseError, match="another program's database: name another file"):
        DatabaseFile(path)


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    DatabaseFile(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(NodeDatabaseError, match="version 99, this program reads 1: move it away"):
        DatabaseFile(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NodeDatabaseError, match="choose a folder that is writable"):
        DatabaseFile(tmp_path / "file" / "ledger.sqlite")


def test_what_was_written_is_there_when_the_file_is_opened_again(path: Path) -> None:
    file = DatabaseFile(path)
    with file.write() as connection:
        connection.execute("INSERT INTO lists VALUES (1, x'90')")
    file.close()

    file = DatabaseFile(path)
    assert count_lists(file) == 1
    file.close()


def write_the_same_row_twice(file: DatabaseFile) -> None:
    with file.write() as connection:
        for _ in range(2):
            connection.execute("INSERT INTO lists VALUES (1, x'90')")


def test_an_error_of_sqlite_becomes_advice_and_leaves_nothing_half_written() -> None:
    file = DatabaseFile(None)
    with pytest.raises(NodeDatabaseError, match="cannot be written"):
        write_the_same_row_twice(file)
    assert count_lists(file) == 0

    with pytest.raises(NodeDatabaseError, match="cannot be read"):
        file.read("SELECT * FROM nowhere")
    file.close()

"""The part that a node's file and a local chain's file share."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from epochgate.storage.sqlite_file import (
    FileFormat,
    FileHeader,
    connect,
    create_private_file,
    find_damage,
    has_wrong_content,
    is_empty,
    is_locked,
    read_header,
    transaction,
    use_write_ahead_log,
)

FORMAT = FileFormat(
    application_id=0x1234,
    version=3,
    tables=("CREATE TABLE notes (line TEXT)", "CREATE TABLE names (name TEXT)"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.sqlite"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path)) as opened:
        use_write_ahead_log(opened)
        with transaction(opened):
            FORMAT.create_tables(opened)
        yield opened


def count_notes(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM notes").fetchone()
    return int(count)


def test_a_new_file_can_be_read_by_its_owner_alone_and_its_journals_too(path: Path) -> None:
    create_private_file(path)
    with closing(connect(path)) as connection:
        use_write_ahead_log(connection)
        connection.execute("CREATE TABLE notes (line TEXT)")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


def test_a_file_that_is_there_is_not_replaced(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        create_private_file(path)

    assert path.read_text() == "precious"


def fail_after_writing(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute("INSERT INTO notes VALUES ('undone')")
        raise LookupError


def test_a_file_is_recognised_by_the_header_that_its_format_gave_it(
    connection: sqlite3.Connection,
) -> None:
    assert read_header(connection) == FileHeader(application_id=0x1234, version=3)
    assert not is_empty(connection)


def test_a_file_is_empty_until_it_has_tables_or_a_header() -> None:
    with closing(connect(None)) as connection:
        assert is_empty(connection)
        connection.execute("PRAGMA user_version = 1")
        assert not is_empty(connection)
    with closing(connect(None)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        assert not is_empty(connection)


def test_a_layout_that_fails_half_way_leaves_an_empty_file() -> None:
    broken = FileFormat(1, 1, (*FORMAT.tables, "CREATE TABLE notes (line TEXT)"))
    with closing(connect(None)) as connection:
        with (
            pytest.raises(sqlite3.OperationalError, match="already exists"),
            transaction(connection),
        ):
            broken.create_tables(connection)
        assert is_empty(connection)


def test_a_transaction_writes_all_or_nothing(connection: sqlite3.Connection) -> None:
    with transaction(connection) as within:
        within.execute("INSERT INTO notes VALUES ('kept')")
    with pytest.raises(LookupError):
        fail_after_writing(connection)

    assert count_notes(connection) == 1
    assert not connection.in_transaction


def test_an_immediate_transaction_locks_out_other_writers_from_its_start(
    path: Path, connection: sqlite3.Connection
) -> None:
    with (
        closing(connect(path)) as other,
        transaction(connection, is_immediate=True),
        pytest.raises(sqlite3.OperationalError) as refused,
        transaction(other, is_immediate=True),
    ):
        pytest.fail("two writers at once")

    assert is_locked(refused.value)


def test_a_plain_transaction_locks_when_it_first_writes(
    path: Path, connection: sqlite3.Connection
) -> None:
    with closing(connect(path)) as other, transaction(connection):
        with transaction(other):
            other.execute("INSERT INTO notes VALUES ('in between')")
        assert count_notes(connection) == 1


def test_an_error_that_is_not_about_a_lock_is_told_apart(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError) as missing:
        connection.execute("SELECT * FROM nowhere")

    assert not is_locked(missing.value)
    assert has_wrong_content(missing.value)


def test_a_file_that_the_system_refuses_has_no_wrong_content(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as refused:
        connect(tmp_path)
    assert not has_wrong_content(refused.value)
    assert not is_locked(refused.value)


def test_damage_is_found_and_a_sound_file_has_none(
    path: Path, connection: sqlite3.Connection
) -> None:
    assert find_damage(connection) is None
    with transaction(connection):
        connection.executemany("INSERT INTO notes VALUES (?)", [("x" * 500,)] * 100)
    connection.close()
    content = bytearray(path.read_bytes())
    content[5000:9000] = bytes(4000)
    path.write_bytes(content)
    with closing(connect(path)) as damaged:
        assert find_damage(damaged) is not None

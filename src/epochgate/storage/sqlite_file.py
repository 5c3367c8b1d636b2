"""The SQLite file of a node and that of a local chain have this in common: how a file is made,
recognised by its header, and written in transactions.

Errors come as sqlite3 and the operating system raise them. Only the owner of a file knows what its
loss means, so the owner turns them into advice.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

PRIMARY_CODE_MASK = 0xFF
"""SQLite's error codes have the kind of error in the low byte, and details above it."""
WRONG_CONTENT = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class FileFormat(msgspec.Struct, frozen=True):
    """The tables of a file, and the two numbers in its header by which they are recognised.

    `application_id` names the program and `version` its tables; SQLite keeps 32 bits for each.
    `tables` has one CREATE TABLE statement per table.
    """

    application_id: int
    version: int
    tables: tuple[str, ...]

    def create_tables(self, connection: sqlite3.Connection) -> None:
        """Lay out an empty file. Call it within `transaction`, so that a crash leaves no half."""
        for statement in self.tables:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {self.application_id}")
        connection.execute(f"PRAGMA user_version = {self.version}")


class FileHeader(msgspec.Struct, frozen=True):
    """What a file says of itself. Both numbers are 0 in a file that nobody has laid out."""

    application_id: int
    version: int


def create_private_file(path: Path) -> None:
    """Make an empty file that only its owner can read and write.

    SQLite gives its journal files the mode of the database, so they are private too.

    Args:
        path: The file.

    Raises:
        FileExistsError: There is a file at `path`.
        OSError: It cannot be made.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def connect(path: Path | None, lock_seconds: float = 0.0) -> sqlite3.Connection:
    """Open a file, or a database in memory for None. The caller closes the connection.

    Nothing begins a transaction but `transaction`: Python's own implicit ones are off.

    Args:
        path: The file.
        lock_seconds: How long a statement waits for another process's lock.

    Returns:
        The connection.

    Raises:
        sqlite3.OperationalError: The file cannot be opened.
    """
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None)
    return sqlite3.connect(path, timeout=lock_seconds, isolation_level=None)


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Log writes ahead, without a wait for the disk at each commit.

    A process that is killed at any instruction loses nothing that was committed. A machine that
    loses power may lose the last commits, and the file stays consistent.
    """
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def read_header(connection: sqlite3.Connection) -> FileHeader:
    """Read by which program and in which version the file was laid out.

    Args:
        connection: A connection to the file.

    Returns:
        Its header.

    Raises:
        sqlite3.DatabaseError: It is not an SQLite file, or another process has locked it.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return FileHeader(application_id, version)


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nobody has laid out the file: no header, and no tables."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return tables == 0 and read_header(connection) == FileHeader(0, 0)


def find_damage(connection: sqlite3.Connection) -> str | None:
    """SQLite's own check of the whole file: the first damage that it finds, None for a sound file.

    It takes time in proportion to the file's size, so it is for the start of a program.
    """
    (message,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if message == "ok":
        return None
    return str(message)


@contextmanager
def transaction(
    connection: sqlite3.Connection, *, is_immediate: bool = False
) -> Iterator[sqlite3.Connection]:
    """Write all statements of the block, or none of them if one fails or the block raises.

    Args:
        connection: An open connection without a transaction.
        is_immediate: Take the write lock before the first statement, so that nothing which is read
            in the block can be changed by another process before the block writes.

    Yields:
        The connection.

    Raises:
        sqlite3.Error: Another process holds the lock, or the disk does not take what is written.
    """
    begin = "BEGIN"
    if is_immediate:
        begin = "BEGIN IMMEDIATE"
    try:
        connection.execute(begin)
        yield connection
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def is_locked(error: sqlite3.Error) -> bool:
    """Whether `error` says that another process holds the file's lock."""
    return _get_primary_code(error) == sqlite3.SQLITE_BUSY


def has_wrong_content(error: sqlite3.Error) -> bool:
    """Whether `error` says that the file's content is not what it has to be: it is damaged, lacks a
    table, or is not a database. The others say that the system does not let it be used.
    """
    return _get_primary_code(error) in WRONG_CONTENT


def _get_primary_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)  # Python's own errors have none
    return code & PRIMARY_CODE_MASK

"""The file of a node's database: its tables, and how it is locked, checked and kept private."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from epochgate.errors import EpochgateError
from epochgate.storage.sqlite_file import (
    FileFormat,
    connect,
    create_private_file,
    find_damage,
    is_empty,
    is_locked,
    read_header,
    transaction,
    use_write_ahead_log,
)

FORMAT = FileFormat(
    application_id=0x6567_6C64,
    version=1,
    tables=(
        """CREATE TABLE held (
            key BLOB, author BLOB, digest BLOB, expiration_time REAL, epoch INTEGER,
            value_bytes INTEGER, receipts BLOB,
            PRIMARY KEY (key, author)) WITHOUT ROWID""",
        """CREATE TABLE contents (
            key BLOB, author BLOB, value BLOB,
            PRIMARY KEY (key, author)) WITHOUT ROWID""",
        """CREATE TABLE evidence (
            key BLOB, author BLOB, epoch INTEGER, first BLOB, second BLOB,
            PRIMARY KEY (key, author)) WITHOUT ROWID""",
        """CREATE TABLE own (
            rule TEXT, epoch INTEGER, opening BLOB, record BLOB,
            PRIMARY KEY (rule, epoch)) WITHOUT ROWID""",
        """CREATE TABLE proofs (
            key BLOB, author BLOB, digest BLOB, epoch INTEGER, receipts BLOB, record BLOB,
            PRIMARY KEY (key, author, digest)) WITHOUT ROWID""",
        "CREATE TABLE lists (epoch INTEGER PRIMARY KEY, scores BLOB)",
    ),
)
"""Keys, authors, digests, records and receipts are bytes as on the wire; times are Unix seconds."""

ADVICE = (
    "move it away and start again; what it stored for others is repaired, but this epoch's own"
    " openings are lost"
)


class NodeDatabaseError(EpochgateError, RuntimeError):
    """A node's database that cannot be used; the message says why and what to do."""


class DatabaseFile:
    """An open file, locked until it is closed, so that no two nodes share one.

    The lock is SQLite's own and goes with the process, however that ends.

    Args:
        path: The file, which is made where there is none. None keeps the database in memory.

    Raises:
        NodeDatabaseError: The file cannot be made, can be read by others, is in use or damaged, or
            is not a node's database of this version.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            _ensure_private(path)
        try:
            self._connection = connect(path)
        except sqlite3.OperationalError as error:
            raise NodeDatabaseError(
                f"{path} cannot be opened ({error})", "see that its owner starts the node"
            ) from None
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file, and release its lock."""
        self._connection.close()

    def read(self, query: str, *arguments: object) -> list[Any]:
        """Run a query.

        Args:
            query: A SELECT statement.
            *arguments: The values of its question marks.

        Returns:
            The rows that it finds, as tuples.

        Raises:
            NodeDatabaseError: The file cannot be read.
        """
        try:
            return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise NodeDatabaseError(f"{self._path} cannot be read ({error})", ADVICE) from None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Write all statements of the block in one transaction, or none of them.

        Yields:
            The connection to write to.

        Raises:
            NodeDatabaseError: The disk does not take it.
        """
        try:
            with transaction(self._connection) as connection:
                yield connection
        except sqlite3.Error as error:
            raise NodeDatabaseError(
                f"{self._path} cannot be written ({error})",
                "see that its disk has room and is writable",
            ) from None

    def make_damage_error(self, reason: object) -> NodeDatabaseError:
        """The error for content that cannot be what a node has written."""
        return NodeDatabaseError(f"{self._path} is damaged ({reason})", ADVICE)

    def _prepare(self) -> None:
        """Lock the file, lay out a new one, and refuse one that is not a sound node's database."""
        connection = self._connection
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            use_write_ahead_log(connection)
            # a deleted record was public, and overwriting it costs four times as much
            connection.execute("PRAGMA secure_delete = OFF")
            if is_empty(connection):
                with transaction(connection):
                    FORMAT.create_tables(connection)
            header = read_header(connection)
            damage = find_damage(connection)
        except sqlite3.DatabaseError as error:
            if is_locked(error):
                raise NodeDatabaseError(
                    f"{self._path} is in use by another process",
                    "it belongs to one node, stop the other first",
                ) from None
            raise NodeDatabaseError(
                f"{self._path} cannot be read as a node's database ({error})", ADVICE
            ) from None
        if header.application_id != FORMAT.application_id:
            raise NodeDatabaseError(
                f"{self._path} is another program's database", "name another file"
            )
        if header.version != FORMAT.version:
            raise NodeDatabaseError(
                f"{self._path} has version {header.version}, this program reads {FORMAT.version}",
                ADVICE,
            )
        if damage is not None:
            raise self.make_damage_error(damage)


def _ensure_private(path: Path) -> None:
    """Make the file where there is none, and refuse one that others can read.

    It holds salts, which are secret until the openings they belong to are sent.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_private_file(path)
        mode = path.stat().st_mode
    except OSError as error:
        raise NodeDatabaseError(
            f"{path} cannot be made ({error.strerror})", "choose a folder that is writable"
        ) from None
    if not stat.S_ISREG(mode):
        raise NodeDatabaseError(f"{path} is not a file", "move it away and start again")
    if mode & 0o077:
        raise NodeDatabaseError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):o})",
            f"run `chmod 600 {path}`",
        )

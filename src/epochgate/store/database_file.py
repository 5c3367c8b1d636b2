"""The file of a node's database: laid out, locked, checked, and readable by its owner alone."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from epochgate.errors import EpochgateError

APPLICATION_ID = 0x6567_6C64
SCHEMA_VERSION = 1
SCHEMA = f"""
BEGIN;
CREATE TABLE held (
    key BLOB, author BLOB, digest BLOB, expiration_time REAL, epoch INTEGER, value_bytes INTEGER,
    receipts BLOB,
    PRIMARY KEY (key, author)) WITHOUT ROWID;
CREATE TABLE contents (key BLOB, author BLOB, value BLOB, PRIMARY KEY (key, author)) WITHOUT ROWID;
CREATE TABLE evidence (
    key BLOB, author BLOB, epoch INTEGER, first BLOB, second BLOB,
    PRIMARY KEY (key, author)) WITHOUT ROWID;
CREATE TABLE own (
    rule TEXT, epoch INTEGER, opening BLOB, record BLOB, PRIMARY KEY (rule, epoch)) WITHOUT ROWID;
CREATE TABLE proofs (
    key BLOB, author BLOB, digest BLOB, epoch INTEGER, receipts BLOB, record BLOB,
    PRIMARY KEY (key, author, digest)) WITHOUT ROWID;
CREATE TABLE lists (epoch INTEGER PRIMARY KEY, scores BLOB);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

ADVICE = (
    "move it away and start again; what it stored for others is repaired, but this epoch's own"
    " openings are lost"
)


class NodeDatabaseError(EpochgateError, RuntimeError):
    """A node's database that cannot be used; the message says why and what to do."""


def open_database_file(path: Path | None) -> sqlite3.Connection:
    """Open the file at `path`, or a new one in memory for None. Whoever calls closes it.

    The file is made where there is none. It is locked until the connection is closed, so that no
    two nodes share one; the lock is SQLite's own and goes with the process, however that ends.

    Raises:
        NodeDatabaseError: it cannot be made, is readable by others, in use, damaged, or something
            else than a node's database of this version.
    """
    connection = _connect(path)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None)
    _make_private(path)
    return sqlite3.connect(path, timeout=0, isolation_level=None)


def _prepare(connection: sqlite3.Connection, path: Path | None) -> None:
    """Lock the file, see that it is whole and a node's database, and lay out a new one."""
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # a deleted record was public, and overwriting it costs four times as much
        connection.execute("PRAGMA secure_delete = OFF")
        application, version, tables = _get_facts(connection)
        if application == version == tables == 0:
            connection.executescript(SCHEMA)
            application, version, _ = _get_facts(connection)
        (complaint,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        # the low byte is the error, the one above says how it came about
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise NodeDatabaseError(
                f"{path} is in use by another process: it belongs to one node, stop the other first"
            ) from None
        message = f"{path} cannot be read as a node's database ({error}): {ADVICE}"
        raise NodeDatabaseError(message) from None
    if application != APPLICATION_ID:
        raise NodeDatabaseError(f"{path} is another program's database: name another file")
    if version != SCHEMA_VERSION:
        raise NodeDatabaseError(
            f"{path} has version {version}, this program reads {SCHEMA_VERSION}: {ADVICE}"
        )
    if complaint != "ok":
        raise NodeDatabaseError(f"{path} is damaged ({complaint}): {ADVICE}")


def _get_facts(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Application, version, and how many tables there are."""
    queries = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    application, version, tables = (connection.execute(query).fetchone()[0] for query in queries)
    return application, version, tables


def _make_private(path: Path) -> None:
    """The file holds salts that are secret until they are opened, so only its owner may read it."""
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise NodeDatabaseError(
            f"{path} cannot be made ({error.strerror}): choose a folder that is writable"
        ) from None
    if mode & 0o077:
        raise NodeDatabaseError(
            f"{path} can be read by others (mode {mode:o}): run `chmod 600 {path}`"
        )

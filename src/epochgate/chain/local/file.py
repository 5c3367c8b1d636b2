"""The file of a local chain: its schema, and the SQL that reads and writes its rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from epochgate.core.roster import Member
from epochgate.core.types import BlockNumber, Epoch, PeerId
from epochgate.errors import EpochgateError
from epochgate.ports import ChainRefused, Submission
from epochgate.storage.sqlite_file import (
    FileFormat,
    FileHeader,
    connect,
    create_private_file,
    has_wrong_content,
    is_locked,
    read_header,
    transaction,
    use_write_ahead_log,
)

LOCK_SECONDS = 5.0
"""How long a write waits for another process's; each takes well under a millisecond."""

FORMAT = FileFormat(
    application_id=0x65676368,
    version=2,
    tables=(
        "CREATE TABLE subnet ("
        "genesis BLOB, genesis_ms INTEGER, period_ms INTEGER, blocks_per_epoch INTEGER,"
        " subnet_id INTEGER, slot INTEGER, fixed_block INTEGER)",
        "CREATE TABLE nodes ("
        "author BLOB, roles INTEGER, stake INTEGER, joined INTEGER, left_at INTEGER)",
        "CREATE TABLE submissions ("
        "epoch INTEGER PRIMARY KEY, submitter BLOB, block INTEGER, content BLOB)",
        "CREATE TABLE attestations ("
        "epoch INTEGER, author BLOB, block INTEGER, PRIMARY KEY (epoch, author)) WITHOUT ROWID",
    ),
)


MISTAKES = (sqlite3.IntegrityError, sqlite3.ProgrammingError)
"""What SQLite raises for a mistake in the program, not in the file: it is not put into words."""
ANOTHER_FILE = "name another one, or make one anew"


class ChainFileError(EpochgateError, RuntimeError):
    """A chain file that cannot be used; the message says why and what to do."""


class ChainFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a chain that are set when its file is made, and never change.

    `genesis` is the hash that names the chain, 32 bytes. `genesis_ms` is the Unix time of block 0
    and `period_ms` the time between two blocks, both in milliseconds.
    """

    genesis: bytes
    genesis_ms: int
    period_ms: int
    blocks_per_epoch: int
    subnet_id: int


class SubmissionRow(msgspec.Struct, frozen=True):
    """A submission in the file, the node that made it, and the block it was made in."""

    submission: Submission
    submitter: PeerId
    block: BlockNumber


def create_chain_file(path: Path, facts: ChainFacts) -> None:
    """Make a new file that only its owner can read, of a subnet without a first block or members.

    Args:
        path: The file, which must not exist.
        facts: What is set for good.

    Raises:
        ChainFileError: The file exists already, or cannot be written.
    """
    try:
        create_private_file(path)
    except FileExistsError:
        raise ChainFileError(
            f"{path} exists already", "a chain is never overwritten, choose another name"
        ) from None
    except OSError as error:
        raise ChainFileError(f"{path} cannot be written: {error.strerror}") from None
    database = connect(path)
    try:
        use_write_ahead_log(database)
        with transaction(database):
            FORMAT.create_tables(database)
            row = (*msgspec.structs.astuple(facts), None, 0)
            database.execute("INSERT INTO subnet VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    except sqlite3.DatabaseError as error:
        raise _explain_write(path, error) from None
    finally:
        database.close()


class ChainFile:
    """An open file. Each call takes well under a millisecond, so all run in the event loop.

    A change belongs into `write`, which keeps other processes from changing the file meanwhile.
    Every call raises ChainFileError for a file that is damaged or that the system does not let it
    use, and ChainRefused for one that another process holds for longer than LOCK_SECONDS.
    """

    def __init__(self, path: Path) -> None:
        """Raise ChainFileError where `path` holds no chain of this version."""
        self._path = path
        _check_there(path)
        with self._explaining():
            self._database = connect(path, LOCK_SECONDS)
        try:
            self._check_format()
            with self._explaining():
                use_write_ahead_log(self._database)
            self.facts = self._read_facts()
        except BaseException:
            self._database.close()
            raise

    @contextmanager
    def write(self) -> Iterator[None]:
        """Hold the write lock from the start, so that no two processes both believe to be first.

        Raises:
            ChainRefused: Another process holds the lock for longer than LOCK_SECONDS.
            ChainFileError: The file cannot be written, or is damaged.
        """
        try:
            with transaction(self._database, is_immediate=True):
                yield
        except MISTAKES:
            raise
        except sqlite3.DatabaseError as error:
            raise _explain_write(self._path, error) from None

    def close(self) -> None:
        self._database.close()

    def read_version(self) -> tuple[int, int]:
        """Two numbers: one changes with each write of another connection, one with each of this."""
        others_writes: int = self._read("PRAGMA data_version")[0][0]
        return others_writes, self._database.total_changes

    def read_slot(self) -> BlockNumber | None:
        """The subnet's first block, None until it is set."""
        slot: BlockNumber | None = self._read("SELECT slot FROM subnet")[0][0]
        return slot

    def set_slot(self, slot: BlockNumber) -> None:
        self._database.execute("UPDATE subnet SET slot = ?", (slot,))

    def read_fixed_block(self) -> BlockNumber:
        """The newest block whose members somebody has read: they change no more."""
        fixed_block: BlockNumber = self._read("SELECT fixed_block FROM subnet")[0][0]
        return fixed_block

    def fix_block(self, block: BlockNumber) -> None:
        self._database.execute("UPDATE subnet SET fixed_block = MAX(fixed_block, ?)", (block,))

    def read_members(self, block: BlockNumber) -> list[Member]:
        """The nodes that are registered at `block`."""
        query = (
            "SELECT author, roles, stake FROM nodes"
            " WHERE joined <= ? AND (left_at IS NULL OR left_at > ?)"
        )
        return [Member(*row) for row in self._read(query, block, block)]

    def add_member(self, member: Member, block: BlockNumber) -> None:
        """Register `member` from `block` on."""
        self._database.execute(
            "INSERT INTO nodes VALUES (?, ?, ?, ?, NULL)",
            (member.author, int(member.roles), member.stake, block),
        )

    def end_membership(self, author: PeerId, block: BlockNumber) -> bool:
        """Deregister `author` from `block` on, and tell whether it was registered.

        A node that joins and leaves within a block has never been a member, so no author counts
        twice.
        """
        query = "UPDATE nodes SET left_at = ? WHERE author = ? AND left_at IS NULL"
        return self._database.execute(query, (block, author)).rowcount > 0

    def read_submission(self, epoch: Epoch) -> SubmissionRow | None:
        query = "SELECT content, submitter, block FROM submissions WHERE epoch = ?"
        rows = self._read(query, epoch)
        if not rows:
            return None
        content, submitter, block = rows[0]
        try:
            submission = msgspec.msgpack.decode(content, type=Submission)
        except msgspec.MsgspecError as error:
            raise _describe_damage(self._path, error) from None
        return SubmissionRow(submission, submitter, block)

    def read_submitter(self, epoch: Epoch) -> PeerId | None:
        """The node that has submitted in `epoch`, None while nobody has."""
        for (submitter,) in self._read("SELECT submitter FROM submissions WHERE epoch = ?", epoch):
            return PeerId(submitter)
        return None

    def read_submitted_epochs(self) -> list[Epoch]:
        """The epochs that have a submission, in order."""
        rows = self._read("SELECT epoch FROM submissions ORDER BY epoch")
        return [epoch for (epoch,) in rows]

    def add_submission(self, row: SubmissionRow) -> None:
        content = msgspec.msgpack.encode(row.submission)
        self._database.execute(
            "INSERT INTO submissions VALUES (?, ?, ?, ?)",
            (row.submission.epoch, row.submitter, row.block, content),
        )

    def read_attestors(self, epoch: Epoch) -> tuple[PeerId, ...]:
        """The nodes that have attested the submission made in `epoch`, in order of peer id."""
        query = "SELECT author FROM attestations WHERE epoch = ? ORDER BY author"
        return tuple(author for (author,) in self._read(query, epoch))

    def add_attestation(self, epoch: Epoch, author: PeerId, block: BlockNumber) -> None:
        self._database.execute("INSERT INTO attestations VALUES (?, ?, ?)", (epoch, author, block))

    def _check_format(self) -> None:
        """Raise ChainFileError for a file of another program or version."""
        try:
            header = read_header(self._database)
        except sqlite3.DatabaseError as error:
            if has_wrong_content(error):
                message = f"{self._path} is not a local chain ({error})"
                raise ChainFileError(message, ANOTHER_FILE) from None
            raise _explain_read(self._path, error) from None
        if header != FileHeader(FORMAT.application_id, FORMAT.version):
            raise ChainFileError(
                f"{self._path} is not a local chain of this version ({header.application_id})",
                ANOTHER_FILE,
            )

    def _read_facts(self) -> ChainFacts:
        columns = ", ".join(ChainFacts.__struct_fields__)
        rows = self._read(f"SELECT {columns} FROM subnet")  # noqa: S608 - our own names
        if len(rows) != 1:
            raise _describe_damage(self._path, f"it has {len(rows)} subnets")
        return ChainFacts(**dict(zip(ChainFacts.__struct_fields__, rows[0], strict=True)))

    def _read(self, query: str, *arguments: object) -> list[Any]:
        with self._explaining():
            return self._database.execute(query, arguments).fetchall()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Put SQLite's errors while the file is read into words."""
        try:
            yield
        except MISTAKES:
            raise
        except sqlite3.DatabaseError as error:
            raise _explain_read(self._path, error) from None


def _check_there(path: Path) -> None:
    try:
        is_there = path.is_file()
    except OSError as error:
        raise ChainFileError(f"{path} cannot be read: {error.strerror}") from None
    if not is_there:
        raise ChainFileError(
            f"{path} does not exist", "`epochgate devnet` makes one, or LocalChain.create"
        )


def _explain_read(path: Path, error: sqlite3.DatabaseError) -> EpochgateError:
    if is_locked(error):
        return ChainRefused(f"{path} is held by another process ({error})", "try again")
    if has_wrong_content(error):
        return _describe_damage(path, error)
    return ChainFileError(f"{path} cannot be read ({error})", "see that its folder is writable")


def _explain_write(path: Path, error: sqlite3.DatabaseError) -> EpochgateError:
    if is_locked(error):
        return ChainRefused(f"the chain file cannot be written now ({error})", "try again")
    if has_wrong_content(error):
        return _describe_damage(path, error)
    advice = "see that its disk has room and is writable"
    return ChainFileError(f"{path} cannot be written ({error})", advice)


def _describe_damage(path: Path, reason: object) -> ChainFileError:
    return ChainFileError(f"{path} is damaged ({reason})", "make another chain")

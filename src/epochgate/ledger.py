"""What a node must not forget, in one SQLite file: records and receipts, its own secrets, evidence, what it has read.

A write-ahead log survives the death of the process at any instruction; `synchronous=NORMAL` may lose the last moments
when the whole machine loses power, never consistency. A receipt is handed out only after its record is committed here.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from epochgate.core.commitment import Opening
from epochgate.core.receipt import Proof, Receipt, Stamp, compute_stamp
from epochgate.core.record import Record

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS held (
    key BLOB, author BLOB, digest BLOB NOT NULL, value BLOB NOT NULL, expiration_time REAL NOT NULL, epoch INTEGER NOT NULL,
    PRIMARY KEY (key, author)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipts (
    key BLOB, author BLOB, digest BLOB, replica BLOB, epoch INTEGER, block INTEGER, signature BLOB NOT NULL,
    PRIMARY KEY (key, author, digest, replica)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (
    key BLOB, author BLOB, epoch INTEGER NOT NULL, first BLOB NOT NULL, second BLOB NOT NULL,
    PRIMARY KEY (key, author)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS own (rule TEXT, epoch INTEGER, opening BLOB, record BLOB NOT NULL, PRIMARY KEY (rule, epoch));
CREATE TABLE IF NOT EXISTS proofs (key BLOB, author BLOB, digest BLOB, epoch INTEGER, proof BLOB NOT NULL,
    PRIMARY KEY (key, author, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lists (epoch INTEGER PRIMARY KEY, scores BLOB NOT NULL);
"""


class LedgerError(RuntimeError):
    """A ledger that cannot be used; the message says why and what to do."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """What is stored under a key and author, without the value."""

    value_digest: bytes
    expiration_time: float
    epoch: int
    value_bytes: int


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A stored record as a listing shows it."""

    author: bytes
    value_digest: bytes
    expiration_time: float
    value_bytes: int
    receipts: tuple[Receipt, ...]


class Ledger:
    """One node's ledger. `path` None keeps it in memory, for simulations.

    `held` maps (key, author) to what is stored there: the judge looks into it for every record.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock: IO[bytes] | None = None if path is None else _lock(path)
        try:
            self._database = _open(path)
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{path} cannot be read as a ledger ({error}): move it away to begin anew") from None
        self.held: dict[tuple[bytes, bytes], Held] = {}
        self._by_key: dict[bytes, set[bytes]] = {}
        self._accused = {(key, author) for key, author in self._database.execute("SELECT key, author FROM evidence")}
        query = "SELECT key, author, digest, expiration_time, epoch, length(value) FROM held"
        for key, author, digest, expiration_time, epoch, size in self._database.execute(query):
            self._remember(key, author, Held(digest, expiration_time, epoch, size))

    def close(self) -> None:
        self._database.close()
        if self._lock is not None:
            self._lock.close()

    # What this node stores as a replica.

    def keep(self, record: Record, receipts: Iterable[Receipt], epoch: int) -> None:
        """Store a record that was admitted in `epoch`, with its receipts, in the place of its author's older one."""
        stamp = compute_stamp(record)
        row = (record.key, record.author, stamp.value_digest, record.value, record.expiration_time, epoch)
        with self._database:
            self._database.execute("REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?)", row)
            self._database.execute(
                "DELETE FROM receipts WHERE key = ? AND author = ? AND digest != ?",
                (stamp.key, stamp.author, stamp.value_digest),
            )
            self._insert_receipts(stamp, receipts)
        self._remember(record.key, record.author, Held(stamp.value_digest, record.expiration_time, epoch, len(record.value)))

    def add_receipts(self, stamp: Stamp, receipts: Iterable[Receipt]) -> None:
        with self._database:
            self._insert_receipts(stamp, receipts)

    def get_receipts(self, stamp: Stamp) -> tuple[Receipt, ...]:
        rows = self._database.execute(
            "SELECT replica, epoch, block, signature FROM receipts"
            " WHERE key = ? AND author = ? AND digest = ? ORDER BY replica",
            (stamp.key, stamp.author, stamp.value_digest),
        )
        return tuple(Receipt(*row) for row in rows)

    def get_listing(self, key: bytes, now_seconds: float, after: bytes = b"") -> Iterator[Entry]:
        """What is stored under `key` and not expired, in order of author, beyond the author `after`."""
        for author in sorted(author for author in self._by_key.get(key, ()) if author > after):
            held = self.held[key, author]
            if held.expiration_time > now_seconds:
                receipts = self.get_receipts(Stamp(key, author, held.value_digest))
                yield Entry(author, held.value_digest, held.expiration_time, held.value_bytes, receipts)

    def get_record(self, key: bytes, author: bytes) -> Record | None:
        row = self._database.execute(
            "SELECT value, expiration_time FROM held WHERE key = ? AND author = ?", (key, author)
        ).fetchone()
        return None if row is None else Record(key, author, *row)

    def keep_evidence(self, first: Record, second: Record, epoch: int) -> None:
        """Two different signed records of one author under a once-key. Only the first pair is kept."""
        row = (first.key, first.author, epoch, msgspec.msgpack.encode(first), msgspec.msgpack.encode(second))
        with self._database:
            self._database.execute("INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)", row)
        self._accused.add((first.key, first.author))

    def has_evidence(self, key: bytes, author: bytes) -> bool:
        return (key, author) in self._accused

    def get_evidence(self, key: bytes) -> tuple[tuple[Record, Record], ...]:
        rows = self._database.execute("SELECT first, second FROM evidence WHERE key = ? ORDER BY author", (key,))
        return tuple((_decode_record(first), _decode_record(second)) for first, second in rows)

    # What this node has written itself: kept before it is first sent, so that a restart repeats and never contradicts it.

    def keep_own(self, rule: str, epoch: int, record: Record, opening: Opening | None = None) -> None:
        """Remember the signed record for `rule` in `epoch`, and what opens it. The first one stays."""
        row = (rule, epoch, None if opening is None else opening.to_bytes(), msgspec.msgpack.encode(record))
        with self._database:
            self._database.execute("INSERT OR IGNORE INTO own VALUES (?, ?, ?, ?)", row)

    def get_own_record(self, rule: str, epoch: int) -> Record | None:
        row = self._database.execute("SELECT record FROM own WHERE rule = ? AND epoch = ?", (rule, epoch)).fetchone()
        return None if row is None else _decode_record(row[0])

    def get_own_opening(self, rule: str, epoch: int) -> Opening | None:
        row = self._database.execute("SELECT opening FROM own WHERE rule = ? AND epoch = ?", (rule, epoch)).fetchone()
        return None if row is None or row[0] is None else Opening.from_bytes(row[0])

    # What this node has read as proven, and what it agreed to: later settlements rest on it.

    def keep_proofs(self, epoch: int, proofs: Iterable[Proof]) -> None:
        """Remember proven records of `epoch` with their receipts, beyond their expiry."""
        rows = []
        for proof in proofs:
            stamp = compute_stamp(proof.record)
            rows.append((stamp.key, stamp.author, stamp.value_digest, epoch, msgspec.msgpack.encode(proof)))
        with self._database:
            self._database.executemany("REPLACE INTO proofs VALUES (?, ?, ?, ?, ?)", rows)

    def get_proofs(self, key: bytes) -> tuple[Proof, ...]:
        rows = self._database.execute("SELECT proof FROM proofs WHERE key = ? ORDER BY author, digest", (key,))
        return tuple(msgspec.msgpack.decode(proof, type=Proof) for (proof,) in rows)

    def keep_score_list(self, epoch: int, scores: Sequence[int]) -> None:
        """Remember the list recomputed from the set attested for `epoch`."""
        with self._database:
            self._database.execute("REPLACE INTO lists VALUES (?, ?)", (epoch, msgspec.msgpack.encode(tuple(scores))))

    def get_score_list(self, epoch: int) -> tuple[int, ...] | None:
        row = self._database.execute("SELECT scores FROM lists WHERE epoch = ?", (epoch,)).fetchone()
        return None if row is None else msgspec.msgpack.decode(row[0], type=tuple[int, ...])

    def forget(self, now_seconds: float, oldest_epoch: int) -> None:
        """Let go of what has expired, and of all that belongs to epochs before `oldest_epoch`."""
        gone = [place for place, held in self.held.items() if held.expiration_time <= now_seconds and held.epoch < oldest_epoch]
        with self._database:
            self._database.executemany("DELETE FROM held WHERE key = ? AND author = ?", gone)
            self._database.executemany("DELETE FROM receipts WHERE key = ? AND author = ?", gone)
            for table in ("evidence", "own", "proofs", "lists"):
                self._database.execute(f"DELETE FROM {table} WHERE epoch < ?", (oldest_epoch,))  # noqa: S608 - one of four literals
        for key, author in gone:
            del self.held[key, author]
            self._by_key[key].discard(author)
            if not self._by_key[key]:
                del self._by_key[key]
        self._accused = {(key, author) for key, author in self._database.execute("SELECT key, author FROM evidence")}

    def _remember(self, key: bytes, author: bytes, held: Held) -> None:
        self.held[key, author] = held
        self._by_key.setdefault(key, set()).add(author)

    def _insert_receipts(self, stamp: Stamp, receipts: Iterable[Receipt]) -> None:
        place = (stamp.key, stamp.author, stamp.value_digest)
        rows = [(*place, receipt.replica, receipt.epoch, receipt.block, receipt.signature) for receipt in receipts]
        self._database.executemany("INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _lock(path: Path) -> IO[bytes]:
    """Two nodes on one ledger would contradict each other under one key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = path.with_name(path.name + ".lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise LedgerError(f"{path} is in use by another process: a ledger belongs to one node, stop the other first") from None
    return lock


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # the ledger holds salts that are secret until they are opened
    database = sqlite3.connect(":memory:" if path is None else path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise LedgerError(f"{path} was written by another version ({version}, not {SCHEMA_VERSION}): move it away")
    database.executescript(SCHEMA)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return database


def _decode_record(data: bytes) -> Record:
    return msgspec.msgpack.decode(data, type=Record)

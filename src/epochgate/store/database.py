"""What a node must not forget, in one SQLite file: records and receipts, its own secrets, evidence,
what it has read.

A write-ahead log survives the death of the process at any instruction; `synchronous=NORMAL` may
lose the last moments when the whole machine loses power, never consistency. A receipt is handed out
only after its record is committed here.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from epochgate.core.commitment import Opening
from epochgate.core.receipt import (
    Entry,
    Proof,
    Receipt,
    ReceiptedEntry,
    RecordId,
    compute_record_id,
    merge_receipts,
)
from epochgate.core.record import Record
from epochgate.core.storage_usage import StorageUsage
from epochgate.core.types import NOBODY, Epoch, PeerId, RecordKey
from epochgate.store.database_file import DatabaseFile

_encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(Record).decode
_decode_receipts = msgspec.msgpack.Decoder(tuple[Receipt, ...]).decode
_decode_scores = msgspec.msgpack.Decoder(tuple[int, ...]).decode


class NodeDatabase:
    """One node's database. `path` None keeps it in memory, for simulations.

    `held` maps (key, author) to what is stored there: the judge looks into it for every record;
    `usage` counts it. All but the values and what is seldom asked for is kept in memory beside the
    file, so answering costs no query. Methods that write raise NodeDatabaseError when the disk does
    not take it, and then nothing has changed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.held: dict[tuple[RecordKey, PeerId], ReceiptedEntry] = {}
        self._by_key: dict[RecordKey, set[PeerId]] = {}
        self.usage = StorageUsage()
        self._listed: dict[RecordKey, tuple[Entry, ...]] = {}
        """By key, made when it is asked for: every reader of an epoch asks for the same keys, once
        they change no more.
        """
        self._accused: set[tuple[RecordKey, PeerId]] = set()
        self._file = DatabaseFile(path)
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    # What this node stores as a replica.

    def keep(self, record: Record, receipts: Iterable[Receipt], epoch: Epoch) -> None:
        """Store a record that was admitted in `epoch`, with its receipts, in the place of its
        author's older one.

        The same record again keeps the receipts that were there.
        """
        record_id = compute_record_id(record)
        place = (record.key, record.author)
        before = self.held.get((record.key, record.author))
        is_same = before is not None and before.value_digest == record_id.value_digest
        merged = merge_receipts(before.receipts if before is not None and is_same else (), receipts)
        held = ReceiptedEntry(
            record_id.value_digest, record.expiration_time, epoch, len(record.value), merged
        )
        with self._file.write() as connection:
            _write_held(connection, place, held)
            if not is_same:
                connection.execute("REPLACE INTO contents VALUES (?, ?, ?)", (*place, record.value))
        self._remember(*place, held)

    def add_receipts(self, record_id: RecordId, receipts: Iterable[Receipt]) -> None:
        """Add what other replicas signed for a record that is held; for any other it does
        nothing.
        """
        held = self.held.get((record_id.key, record_id.author))
        if held is None or held.value_digest != record_id.value_digest:
            return
        merged = merge_receipts(held.receipts, receipts)
        if merged != held.receipts:
            held = msgspec.structs.replace(held, receipts=merged)
            with self._file.write() as connection:
                _write_held(connection, (record_id.key, record_id.author), held)
            self._remember(record_id.key, record_id.author, held)

    def get_receipts(self, record_id: RecordId) -> tuple[Receipt, ...]:
        """In order of replica; none for a record that is not held."""
        held = self.held.get((record_id.key, record_id.author))
        if held is not None and held.value_digest == record_id.value_digest:
            return held.receipts
        return ()

    def get_listing(
        self, key: RecordKey, now_seconds: float, after: PeerId = NOBODY
    ) -> Iterator[Entry]:
        """What is stored under `key` and not expired, in order of author, beyond the author
        `after`.
        """
        listed = self._listed.get(key)
        if listed is None:
            listed = self._listed[key] = tuple(
                map(self._make_entry, itertools.repeat(key), sorted(self._by_key.get(key, ())))
            )
        yield from (
            entry
            for entry in listed
            if entry.author > after and entry.expiration_time > now_seconds
        )

    def _make_entry(self, key: RecordKey, author: PeerId) -> Entry:
        held = self.held[key, author]
        return Entry(
            author, held.value_digest, held.expiration_time, held.value_bytes, held.receipts
        )

    def get_record(self, key: RecordKey, author: PeerId) -> Record | None:
        held = self.held.get((key, author))
        if held is None:
            return None
        ((value,),) = self._file.read(
            "SELECT value FROM contents WHERE key = ? AND author = ?", key, author
        )
        return Record(key, author, value, held.expiration_time)

    def keep_evidence(self, first: Record, second: Record, epoch: Epoch) -> None:
        """Two different signed records of one author under a once-key. Only the first pair
        is kept.
        """
        row = (first.key, first.author, epoch, _encode(first), _encode(second))
        with self._file.write() as connection:
            connection.execute("INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)", row)
        self._accused.add((first.key, first.author))

    def has_evidence(self, key: RecordKey, author: PeerId) -> bool:
        return (key, author) in self._accused

    def get_evidence(self, key: RecordKey) -> tuple[tuple[Record, Record], ...]:
        """The pairs, in order of author."""
        rows = self._file.read(
            "SELECT first, second FROM evidence WHERE key = ? ORDER BY author", key
        )
        return tuple((_decode_record(first), _decode_record(second)) for first, second in rows)

    # What this node has written itself: kept before it is first sent, so that a restart repeats and
    # never contradicts it.

    def keep_own(
        self, rule: str, epoch: Epoch, record: Record, opening: Opening | None = None
    ) -> Record:
        """Remember the signed record for `rule` in `epoch`, and what opens it. The first one stays.

        Returns the one that stays: it is the one to send.
        """
        row = (rule, epoch, None if opening is None else opening.to_bytes(), _encode(record))
        with self._file.write() as connection:
            is_first = connection.execute(
                "INSERT OR IGNORE INTO own VALUES (?, ?, ?, ?)", row
            ).rowcount
        if is_first:
            return record
        return self.get_own_record(rule, epoch) or record

    def get_own_record(self, rule: str, epoch: Epoch) -> Record | None:
        rows = self._file.read("SELECT record FROM own WHERE rule = ? AND epoch = ?", rule, epoch)
        if rows:
            return _decode_record(rows[0][0])
        return None

    def get_own_opening(self, rule: str, epoch: Epoch) -> Opening | None:
        rows = self._file.read(
            "SELECT opening FROM own WHERE rule = ? AND epoch = ? AND opening NOT NULL", rule, epoch
        )
        if rows:
            return Opening.from_bytes(rows[0][0])
        return None

    # What this node has read as proven, and what it agreed to: later settlements rest on it.

    def keep_proofs(self, epoch: Epoch, proofs: Iterable[Proof]) -> None:
        """Remember proven records of `epoch` with their receipts, beyond their expiry. Receipts add
        up.
        """
        with self._file.write() as connection:
            for proof in proofs:
                record_id = compute_record_id(proof.record)
                place = (record_id.key, record_id.author, record_id.value_digest)
                rows = self._file.read(
                    "SELECT receipts FROM proofs WHERE key = ? AND author = ? AND digest = ?",
                    *place,
                )
                if rows:
                    before = _decode_receipts(rows[0][0])
                else:
                    before = ()
                merged = merge_receipts(before, proof.receipts)
                if (
                    not rows or merged != before
                ):  # values are large, and the same ones are read again and again
                    row = (*place, epoch, _encode(merged), _encode(proof.record))
                    connection.execute("REPLACE INTO proofs VALUES (?, ?, ?, ?, ?, ?)", row)

    def get_proofs(self, key: RecordKey) -> tuple[Proof, ...]:
        """In order of author; more than one of an author is equivocation."""
        rows = self._file.read(
            "SELECT record, receipts FROM proofs WHERE key = ? ORDER BY author, digest", key
        )
        return tuple(
            Proof(_decode_record(record), _decode_receipts(receipts)) for record, receipts in rows
        )

    def keep_score_list(self, epoch: Epoch, scores: Sequence[int]) -> None:
        """Remember the list recomputed from the set attested for `epoch`."""
        with self._file.write() as connection:
            connection.execute("REPLACE INTO lists VALUES (?, ?)", (epoch, _encode(tuple(scores))))

    def get_score_list(self, epoch: Epoch) -> tuple[int, ...] | None:
        rows = self._file.read("SELECT scores FROM lists WHERE epoch = ?", epoch)
        if rows:
            return _decode_scores(rows[0][0])
        return None

    def forget(self, now_seconds: float, oldest_epoch: Epoch) -> None:
        """Let go of what has expired, and of all that belongs to epochs before `oldest_epoch`.

        A record that expired stays known until its epoch is old too, so that once means once.
        """
        gone = [
            place
            for place, held in self.held.items()
            if held.expiration_time <= now_seconds and held.epoch < oldest_epoch
        ]
        with self._file.write() as connection:
            for table in ("held", "contents"):
                connection.executemany(f"DELETE FROM {table} WHERE key = ? AND author = ?", gone)  # noqa: S608 - one of two literals
            for table in ("evidence", "own", "proofs", "lists"):
                connection.execute(f"DELETE FROM {table} WHERE epoch < ?", (oldest_epoch,))  # noqa: S608 - one of four literals
        for key, author in gone:
            held = self.held.pop((key, author))
            self.usage.count(key, author, held.epoch, entries=-1, value_bytes=-held.value_bytes)
            self._listed.pop(key, None)
            self._by_key[key].discard(author)
            if not self._by_key[key]:
                del self._by_key[key]
        self._accused = self._read_accused()

    def _load(self) -> None:
        self._accused = self._read_accused()
        query = (
            "SELECT key, author, digest, expiration_time, epoch, value_bytes, receipts FROM held"
        )
        for key, author, digest, expiration_time, epoch, value_bytes, receipts in self._file.read(
            query
        ):
            try:
                held = ReceiptedEntry(
                    digest, expiration_time, epoch, value_bytes, _decode_receipts(receipts)
                )
            except msgspec.MsgspecError as error:
                raise self._file.make_damage_error(error) from None
            self._remember(key, author, held)

    def _remember(self, key: RecordKey, author: PeerId, held: ReceiptedEntry) -> None:
        before = self.held.get((key, author))
        self.usage.count(key, author, held.epoch, entries=1, value_bytes=held.value_bytes)
        self._listed.pop(key, None)
        if before is None:
            self._by_key.setdefault(key, set()).add(author)
        else:
            self.usage.count(key, author, before.epoch, entries=-1, value_bytes=-before.value_bytes)
        self.held[key, author] = held

    def _read_accused(self) -> set[tuple[RecordKey, PeerId]]:
        return set(self._file.read("SELECT key, author FROM evidence"))


def _write_held(
    connection: sqlite3.Connection, place: tuple[RecordKey, PeerId], held: ReceiptedEntry
) -> None:
    row = (
        *place,
        held.value_digest,
        held.expiration_time,
        held.epoch,
        held.value_bytes,
        _encode(held.receipts),
    )
    connection.execute("REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?, ?)", row)

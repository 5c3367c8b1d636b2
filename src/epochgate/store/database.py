"""What must survive a restart of a node, in one SQLite file.

These are the records that it stores for others with their receipts, evidence of equivocation, its
own records and the secrets that open them, and what it has read as proven.

A commit survives the death of the process at any instruction. The write-ahead log is not synced at
each commit, so a machine that loses power may lose the last commits; the file stays consistent. A
receipt is sent only after its record is committed.
"""

from __future__ import annotations

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
from epochgate.core.types import NOBODY, Epoch, PeerId, RecordKey
from epochgate.store.database_file import DatabaseFile
from epochgate.store.entry_index import EntryIndex

_encode = msgspec.msgpack.Encoder().encode
_decode_record = msgspec.msgpack.Decoder(Record).decode
_decode_receipts = msgspec.msgpack.Decoder(tuple[Receipt, ...]).decode
_decode_scores = msgspec.msgpack.Decoder(tuple[int, ...]).decode

_STORED_TABLES = ("held", "contents")
_EPOCH_TABLES = ("evidence", "own", "proofs", "lists")


class NodeDatabase:
    """One node's database.

    Where a method cannot write, it raises NodeDatabaseError, and nothing has changed.

    Args:
        path: The file, which is made where there is none, and locked until `close`. None keeps the
            database in memory, for simulations.

    Attributes:
        held: The entries that are stored, by key and author. Verdicts look into it.
        usage: Their number and bytes.

    Raises:
        NodeDatabaseError: The file cannot be used; the message says why and what to do.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._index = EntryIndex()
        self.held = self._index.held
        self.usage = self._index.usage
        self._accused: set[tuple[RecordKey, PeerId]] = set()
        """Of whom evidence is kept, by key and author."""
        self._file = DatabaseFile(path)
        try:
            self._load()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file, and release its lock."""
        self._file.close()

    # What this node stores as a replica.

    def keep(self, record: Record, receipts: Iterable[Receipt], epoch: Epoch) -> None:
        """Store a record in the place of its author's older one.

        Args:
            record: The record.
            receipts: Receipts for it. A record with the same value keeps those it has.
            epoch: The epoch in which it was admitted.
        """
        record_id = compute_record_id(record)
        place = (record.key, record.author)
        before = self.get_receipts(record_id)
        entry = ReceiptedEntry(
            record_id.value_digest,
            record.expiration_time,
            epoch,
            len(record.value),
            merge_receipts(before, receipts),
        )
        with self._file.write() as connection:
            _write_entry(connection, place, entry)
            if not self._has_value(record_id):
                connection.execute("REPLACE INTO contents VALUES (?, ?, ?)", (*place, record.value))
        self._index.put(*place, entry)

    def add_receipts(self, record_id: RecordId, receipts: Iterable[Receipt]) -> None:
        """Add receipts for a stored record.

        Args:
            record_id: The record. Where another one or none is stored, nothing happens.
            receipts: What other replicas signed.
        """
        place = (record_id.key, record_id.author)
        held = self.held.get(place)
        if held is None or held.value_digest != record_id.value_digest:
            return
        merged = merge_receipts(held.receipts, receipts)
        if merged == held.receipts:
            return
        entry = msgspec.structs.replace(held, receipts=merged)
        with self._file.write() as connection:
            _write_entry(connection, place, entry)
        self._index.put(*place, entry)

    def get_receipts(self, record_id: RecordId) -> tuple[Receipt, ...]:
        """Get the receipts for a record, in order of replica; none where it is not stored."""
        if not self._has_value(record_id):
            return ()
        return self.held[record_id.key, record_id.author].receipts

    def get_listing(
        self, key: RecordKey, now_seconds: float, after: PeerId = NOBODY
    ) -> Iterator[Entry]:
        """List what is stored under a key.

        Args:
            key: The key.
            now_seconds: Unix time, at which expired records are left out.
            after: The author after whom the listing starts.

        Yields:
            The entries, in order of author.
        """
        for entry in self._index.get_listing(key):
            if entry.author > after and entry.expiration_time > now_seconds:
                yield entry

    def get_record(self, key: RecordKey, author: PeerId) -> Record | None:
        """Get a stored record with its value; None where there is none."""
        held = self.held.get((key, author))
        if held is None:
            return None
        ((value,),) = self._file.read(
            "SELECT value FROM contents WHERE key = ? AND author = ?", key, author
        )
        return Record(key, author, value, held.expiration_time)

    # What convicts an author.

    def keep_evidence(self, first: Record, second: Record, epoch: Epoch) -> None:
        """Keep two different signed records of one author under a once-key.

        Args:
            first: The record that is stored.
            second: Another one. Where a pair is kept already, nothing happens.
            epoch: The epoch of the key.
        """
        row = (first.key, first.author, epoch, _encode(first), _encode(second))
        with self._file.write() as connection:
            connection.execute("INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)", row)
        self._accused.add((first.key, first.author))

    def has_evidence(self, key: RecordKey, author: PeerId) -> bool:
        """Whether a pair of records of `author` under `key` is kept."""
        return (key, author) in self._accused

    def get_evidence(self, key: RecordKey) -> tuple[tuple[Record, Record], ...]:
        """Get the pairs under a key, in order of author."""
        rows = self._file.read(
            "SELECT first, second FROM evidence WHERE key = ? ORDER BY author", key
        )
        return tuple((_decode_record(first), _decode_record(second)) for first, second in rows)

    # What this node has written itself. Stops "a restart between commit and reveal": it is kept
    # before it is first sent, so that a node that is started again sends the same.

    def keep_own(
        self, rule: str, epoch: Epoch, record: Record, opening: Opening | None = None
    ) -> Record:
        """Remember this node's own record for a rule in an epoch. The first one stays.

        Args:
            rule: The rule's kind.
            epoch: The epoch.
            record: The signed record.
            opening: The secret that opens it, if it is a commitment.

        Returns:
            The record that stays, which is the one to send.
        """
        secret = None
        if opening is not None:
            secret = opening.to_bytes()
        row = (rule, epoch, secret, _encode(record))
        with self._file.write() as connection:
            cursor = connection.execute("INSERT OR IGNORE INTO own VALUES (?, ?, ?, ?)", row)
        is_first = cursor.rowcount > 0
        if is_first:
            return record
        return self.get_own_record(rule, epoch) or record

    def get_own_record(self, rule: str, epoch: Epoch) -> Record | None:
        """Get this node's own record for a rule in an epoch; None where it has made none."""
        rows = self._file.read("SELECT record FROM own WHERE rule = ? AND epoch = ?", rule, epoch)
        if rows:
            return _decode_record(rows[0][0])
        return None

    def get_own_opening(self, rule: str, epoch: Epoch) -> Opening | None:
        """Get what opens this node's own commitment; None where there is none."""
        rows = self._file.read(
            "SELECT opening FROM own WHERE rule = ? AND epoch = ? AND opening NOT NULL", rule, epoch
        )
        if rows:
            return Opening.from_bytes(rows[0][0])
        return None

    # What this node has read as proven, and what it agreed to. Later settlements rest on it.

    def keep_proofs(self, epoch: Epoch, proofs: Iterable[Proof]) -> None:
        """Remember proven records of an epoch beyond their expiry, with all receipts ever read.

        Args:
            epoch: The epoch.
            proofs: The records, all of which are kept or none.
        """
        with self._file.write() as connection:
            for proof in proofs:
                self._write_proof(connection, epoch, proof)

    def get_proofs(self, key: RecordKey) -> tuple[Proof, ...]:
        """Get the proven records under a key, in order of author.

        Two of one author under a once-key are equivocation.
        """
        rows = self._file.read(
            "SELECT record, receipts FROM proofs WHERE key = ? ORDER BY author, digest", key
        )
        return tuple(
            Proof(_decode_record(record), _decode_receipts(receipts)) for record, receipts in rows
        )

    def keep_score_list(self, epoch: Epoch, scores: Sequence[int]) -> None:
        """Remember the scores that were recomputed from the set attested for an epoch.

        Args:
            epoch: The epoch.
            scores: A score per hoster of its roster, in order of author.
        """
        with self._file.write() as connection:
            connection.execute("REPLACE INTO lists VALUES (?, ?)", (epoch, _encode(tuple(scores))))

    def get_score_list(self, epoch: Epoch) -> tuple[int, ...] | None:
        """Get the scores that were kept for an epoch; None where there are none."""
        rows = self._file.read("SELECT scores FROM lists WHERE epoch = ?", epoch)
        if rows:
            return _decode_scores(rows[0][0])
        return None

    def forget(self, now_seconds: float, oldest_epoch: Epoch) -> None:
        """Delete what is no longer needed.

        That is all that belongs to old epochs; of the stored records, those that have expired as
        well. A record that expired stays known until its epoch is old too, so that once means once.

        Args:
            now_seconds: Unix time.
            oldest_epoch: The first epoch that is still needed.
        """
        gone = [
            place
            for place, held in self.held.items()
            if held.expiration_time <= now_seconds and held.epoch < oldest_epoch
        ]
        with self._file.write() as connection:
            for table in _STORED_TABLES:
                delete = f"DELETE FROM {table} WHERE key = ? AND author = ?"  # noqa: S608 - ours
                connection.executemany(delete, gone)
            for table in _EPOCH_TABLES:
                delete = f"DELETE FROM {table} WHERE epoch < ?"  # noqa: S608 - one of four literals
                connection.execute(delete, (oldest_epoch,))
        for place in gone:
            self._index.remove(*place)
        self._accused = self._read_accused()

    def _load(self) -> None:
        self._accused = self._read_accused()
        rows = self._file.read(
            "SELECT key, author, digest, expiration_time, epoch, value_bytes, receipts FROM held"
        )
        for key, author, digest, expiration_time, epoch, value_bytes, encoded in rows:
            try:
                receipts = _decode_receipts(encoded)
            except msgspec.MsgspecError as error:
                raise self._file.make_damage_error(error) from None
            entry = ReceiptedEntry(digest, expiration_time, epoch, value_bytes, receipts)
            self._index.put(key, author, entry)

    def _read_accused(self) -> set[tuple[RecordKey, PeerId]]:
        return set(self._file.read("SELECT key, author FROM evidence"))

    def _has_value(self, record_id: RecordId) -> bool:
        held = self.held.get((record_id.key, record_id.author))
        return held is not None and held.value_digest == record_id.value_digest

    def _write_proof(self, connection: sqlite3.Connection, epoch: Epoch, proof: Proof) -> None:
        record_id = compute_record_id(proof.record)
        place = (record_id.key, record_id.author, record_id.value_digest)
        rows = self._file.read(
            "SELECT receipts FROM proofs WHERE key = ? AND author = ? AND digest = ?", *place
        )
        before: tuple[Receipt, ...] = ()
        if rows:
            before = _decode_receipts(rows[0][0])
        merged = merge_receipts(before, proof.receipts)
        # values are large, and the same ones are read again and again
        if rows and merged == before:
            return
        row = (*place, epoch, _encode(merged), _encode(proof.record))
        connection.execute("REPLACE INTO proofs VALUES (?, ?, ?, ?, ?, ?)", row)


def _write_entry(
    connection: sqlite3.Connection, place: tuple[RecordKey, PeerId], entry: ReceiptedEntry
) -> None:
    row = (
        *place,
        entry.value_digest,
        entry.expiration_time,
        entry.epoch,
        entry.value_bytes,
        _encode(entry.receipts),
    )
    connection.execute("REPLACE INTO held VALUES (?, ?, ?, ?, ?, ?, ?)", row)

"""What a thousand nodes of one process would each keep a copy of is kept once: equal messages,
records and proofs.

All of it is immutable, and equal to the last byte: a node cannot tell, and what it decides stays
the same. Only memory and time differ, so runs of few nodes do without.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest import mock

import msgspec

from epochgate.core.receipt import Proof, Receipt, compute_record_id, merge_receipts
from epochgate.core.record import Record
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.store import peers
from epochgate.store.database import NodeDatabase
from epochgate.store.wire import Reply, SetPage, Values, decode_reply

MAX_REPLIES = 1 << 10
LONG_BYTES = 1 << 12
"""A replica answers a thousand readers with the same listing, all within a block. Short replies are
seldom the same.
"""


class Pool:
    """The one copy of each record of a run."""

    def __init__(self) -> None:
        self._records: dict[Record, Record] = {}
        self._decode_long = functools.lru_cache(MAX_REPLIES)(decode_reply)

    def decode(self, data: bytes) -> Reply:
        """Raises msgspec.MsgspecError."""
        reply = decode_reply(data) if len(data) < LONG_BYTES else self._decode_long(data)
        if isinstance(reply, Values):
            return Values(tuple(map(self._share, reply.records)))
        if isinstance(reply, SetPage):
            proofs = tuple(
                Proof(self._share(proof.record), proof.receipts) for proof in reply.proofs
            )
            return msgspec.structs.replace(reply, proofs=proofs)
        return reply

    def _share(self, record: Record) -> Record:
        return self._records.setdefault(record, record)


@contextmanager
def sharing(is_wanted: bool) -> Iterator[None]:
    """Meanwhile all nodes of this process decode replies by one pool."""
    if is_wanted:
        with mock.patch.object(peers, "decode_reply", Pool().decode):
            yield
    else:
        yield


class SharedProofCache(NodeDatabase):
    """A ledger in memory that hands out the records and proofs that it was given, and no copies of
    their bytes.
    """

    def __init__(self, path: None = None) -> None:
        super().__init__(path)
        self._records: dict[tuple[bytes, bytes], Record] = {}
        self._proofs: dict[bytes, dict[tuple[bytes, bytes], tuple[int, Proof]]] = {}

    def keep(self, record: Record, receipts: Iterable[Receipt], epoch: Epoch) -> None:
        super().keep(record, receipts, epoch)
        self._records[record.key, record.author] = record

    def get_record(self, key: RecordKey, author: PeerId) -> Record | None:
        return self._records[key, author] if (key, author) in self.held else None

    def keep_proofs(self, epoch: Epoch, proofs: Iterable[Proof]) -> None:
        for proof in proofs:
            record_id = compute_record_id(proof.record)
            shelf = self._proofs.setdefault(record_id.key, {})
            place = (record_id.author, record_id.value_digest)
            before = shelf[place][1].receipts if place in shelf else ()
            if before != proof.receipts:
                shelf[place] = (epoch, Proof(proof.record, merge_receipts(before, proof.receipts)))

    def get_proofs(self, key: RecordKey) -> tuple[Proof, ...]:
        shelf = self._proofs.get(key, {})
        return tuple(shelf[place][1] for place in sorted(shelf))

    def forget(self, now_seconds: float, oldest_epoch: Epoch) -> None:
        super().forget(now_seconds, oldest_epoch)
        self._records = {
            place: record for place, record in self._records.items() if place in self.held
        }
        for shelf in self._proofs.values():
            for place in [place for place, (epoch, _) in shelf.items() if epoch < oldest_epoch]:
                del shelf[place]

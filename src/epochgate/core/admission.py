"""What a replica answers to a POST: the judge's verdict, and what only this replica can say. Pure, so it can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from epochgate.core.calendar import NOTHING_HELD, Held, Moment
from epochgate.core.policy import Judge
from epochgate.core.receipt import Receipt, Stamp, compute_stamp
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.rule import Bound
from epochgate.core.verdict import Denied, Reason, Verdict


class Usage(msgspec.Struct, frozen=True):
    """How much is stored: records, and bytes of their values."""

    entries: int = 0
    value_bytes: int = 0


class Room(msgspec.Struct, frozen=True):
    """What a replica has room for: the longest value it can hand out again, and an author's part of the store."""

    value_bytes: int
    author_records: int
    author_bytes: int


class Stored(Held, Protocol):
    """What is held, and how long its value is."""

    @property
    def value_bytes(self) -> int: ...


class Stock(Protocol):
    """What a replica holds: its ledger, or a replay of it."""

    @property
    def held(self) -> Mapping[tuple[bytes, bytes], Stored]: ...

    def get_usage(self, author: bytes) -> Usage: ...

    def get_receipts(self, stamp: Stamp) -> tuple[Receipt, ...]: ...


def judge_post(
    judge: Judge, bound: Bound | None, sender: bytes, record: Record, now: Moment, replica: bytes, stock: Stock, room: Room
) -> Receipt | Verdict:
    """The receipt that `replica` gave for this very record before, or whether it is to store it now.

    `bound` is what the judge finds for the record's key.
    """
    if sender != record.author:
        return Denied(Reason.NOT_AUTHOR, bound.name if bound else None, record.author, sender)
    if bound is not None and replica not in bound.placement.replicas:
        return Denied(Reason.NOT_REPLICA, bound.name, f"one of the key's {bound.placement.k} replicas", replica)
    if bound is None and now.is_stale:
        return Denied(Reason.CHAIN_STALE, None, "a fresh chain head and its epoch's roster", now.block)
    held = stock.held.get((record.key, record.author))
    if held is not None and _is_same(held, record):
        if own := find_own_receipt(replica, stock.get_receipts(compute_stamp(record))):
            return own
        now = msgspec.structs.replace(now, held=NOTHING_HELD)  # a repaired copy: it is judged as if it came first
    verdict = judge.admit(record, now)
    if isinstance(verdict, Denied):
        return verdict
    if bound is None:
        raise AssertionError("a judge admitted a key for which it finds no rule")
    denied = _find_no_room(record, held, bound, stock.get_usage(record.author), room)
    return verdict if denied is None else denied


def compute_receipt_epoch(bound: Bound | None, now: Moment) -> int:
    """What a receipt given now says: the key's epoch, or for a key without one the current epoch."""
    return now.data.epoch if bound is None or bound.epoch is None else bound.epoch


def find_own_receipt(replica: bytes, receipts: tuple[Receipt, ...]) -> Receipt | None:
    return next((receipt for receipt in receipts if receipt.replica == replica), None)


def _find_no_room(record: Record, held: Stored | None, bound: Bound, usage: Usage, room: Room) -> Denied | None:
    """What is stored must fit into one reply, and into its author's own part of the store."""
    size = len(record.value)
    if size > room.value_bytes:
        return Denied(Reason.TOO_LARGE, bound.name, room.value_bytes, size)
    records = usage.entries + (held is None)
    value_bytes = usage.value_bytes + size - (held.value_bytes if held else 0)
    if records > room.author_records or value_bytes > room.author_bytes:
        expected = f"at most {room.author_records} records and {room.author_bytes} bytes an author"
        return Denied(Reason.QUOTA, bound.name, expected, f"{records} records and {value_bytes} bytes")
    return None


def _is_same(held: Stored, record: Record) -> bool:
    """Lengths come first, so that a flood of other values is seldom hashed."""
    return held.value_bytes == len(record.value) and held.value_digest == compute_value_digest(record.value)

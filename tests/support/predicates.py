"""Predicates to judge with, and records as a hivemind node holds them."""

from __future__ import annotations

import io
from typing import Any

import msgpack
import torch as real_torch
from hivemind.dht.routing import DHTID
from hivemind.dht.validation import DHTRecord

from epochgate.core.epoch import compute_epoch_data
from epochgate.core.types import BlockNumber, Epoch
from epochgate.predicate import DHTRequestType, EpochData, MSGPackSerializer, get_dht_time
from tests.support.identities import TIMING

EPOCH = Epoch(7)
GET = DHTRequestType.GET
POST = DHTRequestType.POST


def make_dht_record(
    key: str = "hoster", value: bytes = b"\xc0", lifetime: float = 60.0
) -> DHTRecord:
    return DHTRecord(
        DHTID.generate(source=key).to_bytes(),
        MSGPackSerializer.dumps("alice"),
        value,
        get_dht_time() + lifetime,
    )


def compute_data_at(blocks_elapsed: int) -> EpochData:
    return compute_epoch_data(
        BlockNumber(TIMING.compute_first_block(EPOCH) + blocks_elapsed), TIMING
    )


def save(tensor: object) -> bytes:
    """The file that `torch.save` writes."""
    file = io.BytesIO()
    real_torch.save(tensor, file)
    return file.getvalue()


def yes(_record: DHTRecord) -> bool:
    return True


def no(_record: DHTRecord) -> bool:
    return False


def clumsy(_record: DHTRecord) -> bool:
    raise RuntimeError("x" * 10_000)


async def sleepy(_record: DHTRecord) -> bool:
    return True


class RecordingPredicate:
    """Accepts every record, and keeps all that it was asked, the arguments of each call."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> bool:
        self.asked.append(arguments)
        return True


def nest(levels: int) -> bytes:
    """Tuples in tuples, so many levels deep, as hivemind writes them."""
    value = b"\xc0"
    for _ in range(levels):
        value = msgpack.packb(msgpack.ExtType(0x40, b"\x91" + value))
    return value

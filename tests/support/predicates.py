"""Predicates to judge with, and records as a hivemind node holds them."""

from __future__ import annotations

import io

import msgpack
import torch as real_torch
from hivemind.dht.routing import DHTID
from hivemind.dht.validation import DHTRecord

from epochgate.core.epoch import compute_epoch_data
from epochgate.core.types import BlockNumber, Epoch
from epochgate.predicate import DHTRequestType, EpochData, MSGPackSerializer, get_dht_time
from tests.support.identities import TIMING

EPOCH = 7
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
        BlockNumber(TIMING.compute_first_block(Epoch(EPOCH)) + blocks_elapsed), TIMING
    )


def save(tensor: object) -> bytes:
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


def nest(levels: int) -> bytes:
    value = b"\xc0"
    for _ in range(levels):
        value = msgpack.packb(msgpack.ExtType(0x40, b"\x91" + value))
    return value

"""What strangers' bytes reach, each as a function that takes any bytes and raises only what a
decoder may not.

A target lets pass the one error that its decoder declares. Whatever else comes out of it is a bug;
so is a decoded value that does not survive its own encoding, since then two nodes could read one
record in two ways.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import numpy as np

from epochgate.core.commitment import Opened, OpeningOf
from epochgate.core.record import Record
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Malformed
from epochgate.core.scoring import ScoreList
from epochgate.core.types import BlockNumber, Epoch
from epochgate.keys import format_peer_id, parse_peer_id
from epochgate.observe.events import decode_line, encode_line
from epochgate.policies.inference import INFERENCE_POLICY, OUTPUT
from epochgate.predicate import MSGPackSerializer
from epochgate.predicate.safe_torch import torch
from epochgate.schemas import Heartbeat, Map, Tensor, safetensors_file, torch_file
from epochgate.store import wire
from tests.support.identities import NETWORK, alice, compute_unix_seconds, make_context

EPOCH = 0
BLOCK = 1020
TENSORS = (
    Tensor("float32", ((0, 4), (0, 4))),
    Tensor("bfloat16", ((0, 9),)),
    Tensor("bool", ((0, 9),)),
    Tensor("int64", (), max_abs=9),
    OUTPUT,
)
HEARTBEAT = Map(Heartbeat)
OPENING = OpeningOf(ScoreList()).bind(make_context())
CALENDAR = EpochSchedule(INFERENCE_POLICY)
CALENDAR.add(make_context(Epoch(EPOCH)))
NOW = CALENDAR.compute_evaluation_context(
    BlockNumber(BLOCK), compute_unix_seconds(BlockNumber(BLOCK))
)


def decode_request(data: bytes) -> None:
    with suppress(msgspec.MsgspecError):
        request = wire.decode_request(data)
        assert (
            wire.decode_request(wire.encode(request)) == request
            or data.count(b"\xcb\x7f")
            or data.count(b"\xcb\xff")
        )
        assert wire.is_read(wire.encode(request)) != isinstance(request, wire.Post)
        if wire.is_read(data):
            assert not isinstance(request, wire.Post)


def decode_reply(data: bytes) -> None:
    with suppress(msgspec.MsgspecError):
        reply = wire.decode_reply(data)
        wire.decode_reply(wire.encode(reply))
        if isinstance(reply, wire.Refused):
            str(reply.to_denied())


def decode_tensor(data: bytes) -> None:
    for schema in TENSORS:
        with suppress(Malformed):
            array = schema.decode(data)
            assert array.size <= 2**20
            assert np.isfinite(array).all()
            assert np.array_equal(schema.decode(schema.encode(array)), array)


def find_in_torch_file(data: bytes) -> None:
    with suppress(Malformed):
        torch_file.find_tensor(data).read(data)


def find_in_safetensors(data: bytes) -> None:
    with suppress(Malformed):
        layout = safetensors_file.find_tensor(data)
        assert safetensors_file.encode(layout.dtype, layout.read_bits(data)) == data


def load_with_safe_torch(data: bytes) -> None:
    import io

    with suppress(Malformed):
        torch.load(io.BytesIO(data), weights_only=False)


def decode_heartbeat(data: bytes) -> None:
    with suppress(Malformed):
        model = HEARTBEAT.decode(data)
        assert HEARTBEAT.decode(HEARTBEAT.encode(model)) == model


def decode_opening(data: bytes) -> None:
    with suppress(Malformed):
        opened = OPENING(data)
        assert isinstance(opened, Opened)
        assert opened.opening.to_bytes() == data
        assert ScoreList().encode(opened.value) == opened.opening.payload


def parse_peer(data: bytes) -> None:
    with suppress(ValueError):
        text = data.decode("latin-1")
        assert format_peer_id(parse_peer_id(text)) == text


def decode_event(data: bytes) -> None:
    with suppress(msgspec.MsgspecError):
        line = decode_line(data)
        assert decode_line(encode_line(line)) == line


def load_with_the_serializer(data: bytes) -> None:
    with suppress(Malformed):
        check_plain(MSGPackSerializer.loads(data))


def check_plain(value: object) -> None:
    if isinstance(value, tuple | list):
        for each in value:
            check_plain(each)
    elif isinstance(value, dict):
        for pair in value.items():
            check_plain(pair)
    else:
        assert value is None or isinstance(value, bool | int | float | str | bytes), type(value)


def judge_record(data: bytes) -> None:
    """Any record: what is admitted was signed, and a judgement never fails."""
    with suppress(msgspec.MsgspecError):
        record = msgspec.msgpack.decode(data, type=Record)
        for verdict in (
            INFERENCE_POLICY.admit(record, NOW),
            INFERENCE_POLICY.recognise(record, NOW),
        ):
            assert str(verdict)


def judge_payload(data: bytes) -> None:
    """Any payload, rightly signed by a hoster, under each key that it may write."""
    for key_rule in CALENDAR.get_key_rules(INFERENCE_POLICY.get_rule("hoster"), Epoch(EPOCH)):
        record = alice.sign_record(NETWORK, key_rule.key, data, NOW.time_seconds + 60)
        assert str(INFERENCE_POLICY.admit(record, NOW))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": decode_request,
    "reply": decode_reply,
    "tensor": decode_tensor,
    "torch_file": find_in_torch_file,
    "safetensors_file": find_in_safetensors,
    "safe_torch": load_with_safe_torch,
    "map": decode_heartbeat,
    "opening": decode_opening,
    "peer_id": parse_peer,
    "event": decode_event,
    "serializer": load_with_the_serializer,
    "record": judge_record,
    "payload": judge_payload,
}

"""Maps and heartbeats: what a model says back is accepted, everything else is Malformed."""

from __future__ import annotations

import enum
import math
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from epochgate.core.schema import Malformed, Schema
from epochgate.schemas import Heartbeat, Map, ServerState
from epochgate.schemas.map import MAX_DEPTH, MAX_ITEMS
from tests.support.identities import make_context

ALICE = Heartbeat(
    state=ServerState.ONLINE,
    role="hoster",
    throughput=12.5,
    public_name="alice",
    version="0.1.0",
    policy_digest=bytes(range(32)).hex(),
)
HEARTBEAT = Map(Heartbeat)


class Kind(enum.Enum):
    SMALL = "small"


class Anything(BaseModel):
    value: Any = None


def encode(**changes: object) -> bytes:
    return msgspec.msgpack.encode(ALICE.model_dump() | changes)


def nest(levels: int) -> object:
    value: object = None
    for _ in range(levels):
        value = [value]
    return value


def test_a_heartbeat_comes_back_as_it_was_sent() -> None:
    decode = HEARTBEAT.bind(make_context())
    heartbeat = decode(ALICE.to_bytes())
    assert heartbeat == ALICE
    assert isinstance(heartbeat, Heartbeat)
    assert heartbeat.state is ServerState.ONLINE


def test_a_map_is_a_schema() -> None:
    schema: Schema = HEARTBEAT
    assert schema.describe() == HEARTBEAT.describe()


@pytest.mark.parametrize(
    "changes",
    [
        {"state": 3},
        {"state": "2"},
        {"state": None},
        {"role": "hosters"},
        {"role": 1},
        {"throughput": -1.0},
        {"throughput": math.nan},
        {"throughput": math.inf},
        {"throughput": "12.5"},
        {"public_name": "a" * 65},
        {"public_name": "alice\x1b[2J"},
        {"public_name": "alice\n"},
        {"public_name": "\u202eecila"},
        {"public_name": b"alice"},
        {"version": "0" * 33},
        {"policy_digest": bytes(32)},
        {"policy_digest": "a" * 63},
        {"policy_digest": "A" * 64},
        {"favourite_colour": "blue"},
    ],
)
def test_a_heartbeat_out_of_bounds_is_malformed(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        HEARTBEAT.decode(encode(**changes))


def test_every_field_is_needed() -> None:
    for name in ALICE.model_dump():
        fields = ALICE.model_dump()
        del fields[name]
        with pytest.raises(Malformed, match=name):
            HEARTBEAT.decode(msgspec.msgpack.encode(fields))


def test_a_subnet_adds_fields() -> None:
    class InferenceHeartbeat(Heartbeat):
        kind: Kind
        layers: tuple[int, int] = (0, 0)
        queue: Annotated[int, Field(ge=0)] = 0

    schema = Map(InferenceHeartbeat)
    sent = InferenceHeartbeat(**ALICE.model_dump(), kind=Kind.SMALL, layers=(3, 7))
    assert schema.decode(sent.to_bytes()) == sent
    assert schema.decode(encode(kind="small")).model_dump()["queue"] == 0
    assert schema.describe() != HEARTBEAT.describe()
    with pytest.raises(Malformed):
        HEARTBEAT.decode(sent.to_bytes())


def test_a_field_that_the_model_would_ignore_is_malformed() -> None:
    with pytest.raises(Malformed, match="another value"):
        Map(Anything).decode(msgspec.msgpack.encode({"value": 1, "other": 2}))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\xc0",
        b"\x90",
        msgspec.msgpack.encode({1: 2}),
        msgspec.msgpack.encode({"value": {1: 2}}),
        msgspec.msgpack.encode({"value": {"deep": [{"er": math.nan}]}}),
        msgspec.msgpack.encode({"value": msgspec.msgpack.Ext(5, b"")}),
        b"\x81\xa5value\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x81\xa5value\xdd\xff\xff\xff\xff",
        b"\x81\xa5value\xdf\xff\xff\xff\xff",
        b"\x81\xa5value" + b"\x91" * 100_000 + b"\xc0",
        msgspec.msgpack.encode({"value": nest(MAX_DEPTH)}),
        msgspec.msgpack.encode({"value": [0] * MAX_ITEMS}),
        msgspec.msgpack.encode({"value": 1}) + b"\xc0",
        b"\x81\xa5value\xa1\xff",
    ],
)
def test_odd_messagepack_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        Map(Anything).decode(payload)


def test_nesting_and_length_are_accepted_up_to_the_bounds() -> None:
    for value in (
        nest(MAX_DEPTH - 2),
        [0] * (MAX_ITEMS - 2),
        b"bytes",
        -1,
        "text",
        True,
        2.5,
        None,
    ):
        assert Map(Anything).decode(msgspec.msgpack.encode({"value": value})).model_dump() == {
            "value": value
        }


def test_a_model_that_raises_is_a_refusal() -> None:
    class Clumsy(BaseModel):
        value: int

        @field_validator("value")
        @classmethod
        def divide(cls, value: int) -> int:
            return 1 // value

    assert Map(Clumsy).decode(msgspec.msgpack.encode({"value": 1})) == Clumsy(value=1)
    with pytest.raises(Malformed, match="ZeroDivisionError"):
        Map(Clumsy).decode(msgspec.msgpack.encode({"value": 0}))


def test_the_reason_names_the_field_and_stays_short() -> None:
    with pytest.raises(Malformed, match="public_name") as denied:
        HEARTBEAT.decode(encode(public_name="x" * 100_000))
    assert len(str(denied.value)) <= 200
    assert "xxx" not in str(denied.value)


def test_the_description_follows_what_is_accepted_and_not_how_it_is_explained() -> None:
    def make(limit: int, words: str) -> Map:
        class Model(BaseModel):
            title: Annotated[int, Field(le=limit, description=words)]

        Model.__doc__ = words
        return Map(Model)

    assert make(5, "one").describe() == make(5, "two").describe()
    assert make(5, "one").describe() != make(6, "one").describe()

    class Model(BaseModel):
        description: Annotated[int, Field(le=5)]

    assert Map(Model).describe() != make(5, "one").describe()


@given(st.binary(max_size=200))
def test_random_bytes_never_do_more_than_be_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        HEARTBEAT.decode(payload)


@given(st.data())
def test_a_flipped_bit_gives_malformed_or_another_valid_heartbeat(data: st.DataObject) -> None:
    payload = bytearray(ALICE.to_bytes())
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        heartbeat = HEARTBEAT.decode(bytes(payload))
    except Malformed:
        return
    assert isinstance(heartbeat, Heartbeat)
    assert msgspec.msgpack.decode(heartbeat.to_bytes()) == msgspec.msgpack.decode(bytes(payload))


@pytest.mark.parametrize(
    "bent", [{"state": True}, {"state": 1.0}, {"throughput": 2}, {"throughput": True}]
)
def test_what_python_calls_equal_is_still_another_value(bent: dict[str, object]) -> None:
    heartbeat = Heartbeat(
        state=ServerState.JOINING,
        role="hoster",
        throughput=1.0,
        public_name="a",
        version="0",
        policy_digest="00" * 32,
    )
    with pytest.raises(Malformed, match="in its own type"):
        Map(Heartbeat).decode(msgspec.msgpack.encode(heartbeat.model_dump() | bent))


@pytest.mark.parametrize("value", [None, {"value": 1}, ALICE.to_bytes()])
def test_only_a_model_is_encoded(value: object) -> None:
    with pytest.raises(Malformed, match="expected a Heartbeat"):
        HEARTBEAT.encode(value)

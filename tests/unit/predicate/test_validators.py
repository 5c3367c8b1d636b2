"""Predicates as hivemind record validators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pydantic.v1
import pytest
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.schema import SchemaValidator
from hivemind.dht.validation import CompositeValidator, DHTRecord

from epochgate.core.verdict import Denied, Reason
from epochgate.predicate import (
    DHTRequestType,
    HypertensorPredicateValidator,
    MSGPackSerializer,
    PredicateValidator,
    get_dht_time,
)
from epochgate.predicate.validators import MAX_REFUSALS, READING_TASK, get_request_type
from tests.support.predicates import (
    GET,
    POST,
    RecordingPredicate,
    clumsy,
    compute_data_at,
    make_dht_record,
    no,
    sleepy,
    yes,
)

Predicate = Callable[..., Any]


def test_a_refusal_keeps_its_reason() -> None:
    validator = PredicateValidator(no)
    record = make_dht_record()
    assert not validator.validate(record)
    assert list(validator.refusals) == [
        Denied(Reason.PREDICATE, "no", "a record that the predicate accepts", record.key)
    ]
    assert validator.counts == {Reason.PREDICATE: 1}
    assert PredicateValidator(yes).validate(record)


@pytest.mark.parametrize(
    ("predicate", "observed"),
    [
        (clumsy, "RuntimeError"),
        (sleepy, "coroutine"),
        (lambda record: None, "NoneType"),
        (lambda record: 1, "int"),
    ],
)
def test_an_error_in_a_predicate_is_a_refusal(predicate: Predicate, observed: str) -> None:
    validator = PredicateValidator(predicate)
    assert not validator.validate(make_dht_record())
    assert validator.refusals[-1].reason is Reason.PREDICATE_ERROR
    assert observed in str(validator.refusals[-1].observed)
    assert len(str(validator.refusals[-1].observed)) <= 200


def test_the_memory_of_refusals_is_bounded_and_the_count_is_not() -> None:
    validator = PredicateValidator(no)
    for _ in range(MAX_REFUSALS + 5):
        validator.validate(make_dht_record())
    assert len(validator.refusals) == MAX_REFUSALS
    assert validator.counts[Reason.PREDICATE] == MAX_REFUSALS + 5


@pytest.mark.parametrize("lifetime", [float("nan"), float("inf")])
def test_an_expiry_that_is_no_number_never_reaches_the_predicate(lifetime: float) -> None:
    validator = PredicateValidator(yes)
    assert not validator.validate(make_dht_record(lifetime=lifetime))
    assert validator.refusals[-1].reason is Reason.EXPIRY


def test_the_predicate_hears_the_type_and_the_epoch() -> None:
    predicate = RecordingPredicate()
    validator = HypertensorPredicateValidator(predicate, lambda: compute_data_at(42))
    record = make_dht_record()
    assert validator.validate(record)
    assert predicate.asked == [(record, POST, compute_data_at(42))]


def test_without_a_source_of_epoch_data_it_refuses_in_words() -> None:
    validator = HypertensorPredicateValidator(lambda record, request_type, data: True)
    assert not validator.validate(make_dht_record())
    assert "get_epoch_data" in str(validator.refusals[-1])


async def test_only_the_task_that_reads_hears_get() -> None:
    async def ask() -> DHTRequestType:
        return get_request_type()

    assert get_request_type() is POST
    token = READING_TASK.set(asyncio.current_task())
    assert get_request_type() is GET
    assert await asyncio.create_task(ask()) is POST
    assert await asyncio.to_thread(get_request_type) is POST
    READING_TASK.reset(token)
    assert get_request_type() is POST


def test_in_hivemind_two_of_a_kind_both_stay() -> None:
    record = make_dht_record()
    for order in ([yes, no], [no, yes], [yes, yes]):
        composite = CompositeValidator([PredicateValidator(predicate) for predicate in order])
        assert composite.validate(record) is (no not in order)
    listing = HypertensorPredicateValidator(
        lambda record, request_type, data: False, lambda: compute_data_at(0)
    )
    assert not CompositeValidator([PredicateValidator(yes), listing]).validate(record)


class HeartbeatSchema(pydantic.v1.BaseModel):
    hoster: dict[pydantic.v1.StrictBytes, pydantic.v1.StrictInt]


def test_in_hivemind_the_signature_is_stripped_before_the_predicate_looks() -> None:
    recording = RecordingPredicate()
    signature = RSASignatureValidator()
    predicate = PredicateValidator(recording)
    subkey = MSGPackSerializer.dumps(b"alice" + signature.local_public_key)
    unsigned = DHTRecord(
        make_dht_record().key, subkey, MSGPackSerializer.dumps(5), get_dht_time() + 60
    )
    for validators in (
        [predicate, SchemaValidator(HeartbeatSchema), signature],
        [signature, predicate],
    ):
        composite = CompositeValidator(validators)
        signed = DHTRecord(
            unsigned.key, subkey, composite.sign_value(unsigned), unsigned.expiration_time
        )
        assert signed.value != unsigned.value
        assert composite.validate(signed)
        (seen,) = recording.asked.pop()
        assert seen.value == unsigned.value
        assert not composite.validate(unsigned)
        assert recording.asked == []

"""Predicates that users bring: as hivemind validators, and as judges on our engine."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hivemind.utils
import msgpack
import msgspec
import numpy as np
import pydantic.v1
import pytest
import torch as real_torch
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.routing import DHTID
from hivemind.dht.schema import SchemaValidator
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.dht.validation import CompositeValidator, DHTRecord
from hypothesis import given
from hypothesis import strategies as st

from epochgate import predicate as exported
from epochgate.core.challenge import compute_challenge
from epochgate.core.epoch import compute_epoch_data
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Policy
from epochgate.core.record import Record
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext, Malformed
from epochgate.core.types import BlockNumber, Epoch, NetworkId, RecordKey
from epochgate.core.verdict import Admitted, Denied, Reason, Verdict
from epochgate.policies.inference import CHALLENGE, INFERENCE_POLICY
from epochgate.predicate import (
    MAX_CONSENSUS_TIME,
    MAX_HEART_BEAT_TIME,
    MAX_VALIDATOR_REVEAL_TIME,
    ConsensusTensorModel,
    DHTRequestType,
    EpochData,
    HypertensorPredicateValidator,
    MSGPackSerializer,
    PlainJudge,
    PredicateValidator,
    ValidationError,
    compose,
    get_dht_time,
    torch,
)
from epochgate.predicate.validators import MAX_REFUSALS, READING_TASK, get_request_type
from epochgate.schemas import Heartbeat, Tensor
from epochgate.schemas.heartbeat import ServerState
from tests.support.identities import (
    NETWORK,
    TIMING,
    alice,
    compute_unix_seconds,
    dave,
    make_context,
    make_roster,
    sign,
    victor,
)
from tests.support.upstream import make_upstream_predicate

EPOCH = 7
GET = DHTRequestType.GET
POST = DHTRequestType.POST
Predicate = Callable[..., Any]

HEARTBEAT = Heartbeat(
    state=ServerState.ONLINE,
    role="hoster",
    throughput=1.5,
    public_name="alice",
    version="0",
    policy_digest="00" * 32,
).to_bytes()


def make_witness(heard: list[Any]) -> Predicate:
    """A predicate that says yes, and remembers what it was asked: one fact, or a tuple of them."""

    def witness(*facts: Any) -> bool:
        heard.append(facts[0] if len(facts) == 1 else facts)
        return True

    return witness


def make_dht_record(
    key: str = "hoster", value: bytes = b"\xc0", lifetime: float = 60.0
) -> DHTRecord:
    return DHTRecord(
        DHTID.generate(source=key).to_bytes(),
        MSGPackSerializer.dumps("alice"),
        value,
        get_dht_time() + lifetime,
    )


def at(blocks_elapsed: int) -> EpochData:
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


# The names


def test_every_name_of_the_listing_comes_with_one_star() -> None:
    names = (
        "DHTRecord DHTRequestType EpochData DHTID get_dht_time MSGPackSerializer"
        " ConsensusTensorModel PredicateValidator"
    )
    names += (
        " HypertensorPredicateValidator CONSENSUS_STORE_DEADLINE CONSENSUS_FALLBACK_STORE_DEADLINE"
        " HOSTER_COMMIT_DEADLINE"
    )
    names += (
        " HOSTER_REVEAL_DEADLINE VALIDATOR_REVEAL_START VALIDATOR_REVEAL_DEADLINE"
        " VALIDATOR_COMMIT_START"
    )
    names += (
        " MAX_HEART_BEAT_TIME MAX_CONSENSUS_TIME MAX_HOSTER_COMMIT_TIME MAX_HOSTER_REVEAL_TIME"
        " MAX_VALIDATOR_COMMIT_TIME"
    )
    names += " MAX_VALIDATOR_REVEAL_TIME Callable ValidationError io torch"
    assert set(names.split()) <= set(exported.__all__)
    assert all(hasattr(exported, name) for name in exported.__all__)


def test_lifetimes_are_seconds_of_the_default_epoch() -> None:
    assert pytest.approx(660) == MAX_HEART_BEAT_TIME == MAX_CONSENSUS_TIME
    assert MAX_VALIDATOR_REVEAL_TIME == 1200
    assert exported.MAX_HOSTER_COMMIT_TIME == exported.MAX_HOSTER_REVEAL_TIME == 600


# The listing, called as it stands


@pytest.mark.parametrize(
    ("key", "block", "is_admitted"),
    [
        ("hoster", 0, True),
        ("hoster", 99, True),
        ("validator", 50, True),
        ("other", 50, False),
        (f"consensus-epoch_{EPOCH}", 15, True),
        (f"consensus-epoch_{EPOCH}", 16, False),
        (f"consensus-epoch_{EPOCH - 1}", 15, False),
        (f"hoster-commit_epoch_{EPOCH}", 30, True),
        (f"hoster-reveal_epoch_{EPOCH}", 55, True),
        (f"validator-reveal_epoch_{EPOCH}", 30, True),
        (f"validator-commit_epoch_{EPOCH}", 59, False),
        (f"validator-commit_epoch_{EPOCH}", 60, True),
    ],
)
def test_the_listing_judges_a_post(key: str, block: BlockNumber, is_admitted: bool) -> None:
    listing = make_upstream_predicate()
    record = make_dht_record(key, MSGPackSerializer.dumps(save(real_torch.rand(2, 2))))
    assert listing(record, POST, at(block)) is is_admitted
    assert listing(record, GET, at(block)) is True


class Bomb:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("pack", [pickle.dumps, save])
def test_the_listing_refuses_a_pickle_bomb_which_does_not_run(
    tmp_path: Path, pack: Callable[[object], bytes]
) -> None:
    bomb = pack(Bomb(tmp_path / "blast"))
    record = make_dht_record(f"consensus-epoch_{EPOCH}", MSGPackSerializer.dumps(bomb))
    validator = HypertensorPredicateValidator(make_upstream_predicate(), lambda: at(5))
    assert not validator.validate(record)
    assert not (tmp_path / "blast").exists()


# torch


@pytest.mark.parametrize(
    "dtype", [real_torch.float32, real_torch.bfloat16, real_torch.int64, real_torch.bool], ids=str
)
@pytest.mark.parametrize("shape", [(), (2, 3), (0,)], ids=str)
def test_load_gives_the_tensor_that_was_saved(
    dtype: real_torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = (real_torch.rand(shape) * 5).to(dtype)
    loaded = torch.load(io.BytesIO(save(tensor)), weights_only=False)
    assert loaded.dtype is dtype
    assert real_torch.equal(loaded, tensor)
    loaded.fill_(1)


def test_load_reads_safetensors_too() -> None:
    payload = Tensor("float32", (2,)).encode(np.array([1, 2], np.float32))
    assert real_torch.equal(torch.load(io.BytesIO(payload)), real_torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02N.", bytes(100), save({"tensor": real_torch.zeros(1)})]
)
def test_load_of_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        torch.load(io.BytesIO(data), weights_only=False)


def test_load_reads_no_more_than_its_limit() -> None:
    with pytest.raises(Malformed, match="at most"):
        torch.load(io.BytesIO(bytes((16 << 20) + 1)))


def test_the_rest_is_the_real_torch_but_for_what_unpickles() -> None:
    assert torch.Tensor is real_torch.Tensor
    assert torch.isfinite is real_torch.isfinite
    with pytest.raises(AttributeError):
        _ = torch.no_such_name
    for name in ("jit", "hub", "serialization"):
        with pytest.raises(AttributeError, match="stranger"):
            getattr(torch, name)


@pytest.mark.parametrize(
    "tensor",
    [
        None,
        [1.0],
        np.zeros(2),
        real_torch.zeros(2, dtype=real_torch.int64),
        real_torch.zeros(2, dtype=real_torch.complex64),
        real_torch.zeros(0),
        real_torch.tensor([1.0, float("nan")]),
        real_torch.tensor([float("-inf")]),
        real_torch.zeros(1).expand(1 << 21),
        real_torch.zeros(2).to_sparse(),
        real_torch.zeros(2, device="meta"),
        real_torch.zeros([1] * 9),
    ],
    ids=lambda tensor: type(tensor).__name__,
)
def test_the_consensus_tensor_is_dense_finite_floats(tensor: object) -> None:
    for good in (
        real_torch.rand(()),
        real_torch.rand(2, 2),
        real_torch.ones(3, dtype=real_torch.bfloat16),
    ):
        assert ConsensusTensorModel(tensor=good).tensor is good
    with pytest.raises(ValidationError):
        ConsensusTensorModel.model_validate({"tensor": tensor})


# The serializer


def nest(levels: int) -> bytes:
    value = b"\xc0"
    for _ in range(levels):
        value = msgpack.packb(msgpack.ExtType(0x40, b"\x91" + value))
    return value


def test_the_serializer_reads_what_hivemind_writes() -> None:
    for value in (None, 1, "a", b"b", [1, (2, (3, "c"))], {"k": (1,)}):
        assert MSGPackSerializer.loads(hivemind.utils.MSGPackSerializer.dumps(value)) == value
        assert MSGPackSerializer.dumps(value) == hivemind.utils.MSGPackSerializer.dumps(value)


def test_tuples_in_tuples_are_malformed_where_hivemind_dies_of_them() -> None:
    assert MSGPackSerializer.loads(nest(16)) is not None
    for levels in (17, 400, 5000):
        with pytest.raises(Malformed, match="deep"):
            MSGPackSerializer.loads(nest(levels))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2000 + b"\xc0",
        b"\xa1\xff",
        b"\x81\x90\xc0",
        msgpack.packb(msgpack.ExtType(7, b"")),
        hivemind.utils.MSGPackSerializer.dumps(DictionaryDHTValue()),
    ],
)
def test_odd_messagepack_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        MSGPackSerializer.loads(data)


@given(st.binary(max_size=64))
def test_random_messagepack_is_read_or_malformed(data: bytes) -> None:
    try:
        MSGPackSerializer.loads(data)
    except Malformed:
        return


# The validators


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
    assert observed in validator.refusals[-1].observed
    assert len(validator.refusals[-1].observed) <= 200


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
    heard: list[tuple[Any, ...]] = []
    validator = HypertensorPredicateValidator(make_witness(heard), lambda: at(42))
    record = make_dht_record()
    assert validator.validate(record)
    assert heard == [(record, POST, at(42))]


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
    listing = HypertensorPredicateValidator(lambda record, request_type, data: False, lambda: at(0))
    assert not CompositeValidator([PredicateValidator(yes), listing]).validate(record)


class HeartbeatSchema(pydantic.v1.BaseModel):
    hoster: dict[pydantic.v1.StrictBytes, pydantic.v1.StrictInt]


def test_in_hivemind_the_signature_is_stripped_before_the_predicate_looks() -> None:
    seen: list[DHTRecord] = []
    signature = RSASignatureValidator()
    predicate = PredicateValidator(make_witness(seen))
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
        assert seen.pop().value == unsigned.value
        assert not composite.validate(unsigned)
        assert seen == []


# On our engine


def make_schedule(policy: Policy = INFERENCE_POLICY) -> EpochSchedule:
    schedule = EpochSchedule(policy)
    for epoch in range(EPOCH - 2, EPOCH + 1):
        schedule.add(make_context(Epoch(epoch)))
    return schedule


CALENDAR = make_schedule()


def moment(blocks_elapsed: int, schedule: EpochSchedule = CALENDAR) -> EvaluationContext:
    block = TIMING.compute_first_block(Epoch(EPOCH)) + blocks_elapsed
    return schedule.compute_evaluation_context(
        BlockNumber(block), compute_unix_seconds(BlockNumber(block))
    )


def refused(verdict: Verdict) -> Denied:
    assert isinstance(verdict, Denied), str(verdict)
    return verdict


def heartbeat(now: EvaluationContext, author: Any = alice) -> Record:
    return sign(author, "hoster", HEARTBEAT, now.time_seconds + 600)


def test_a_policy_and_every_predicate_must_agree() -> None:
    now = moment(5)
    record = heartbeat(now)
    admitted = compose(INFERENCE_POLICY, PredicateValidator(yes)).admit(record, now)
    assert admitted == INFERENCE_POLICY.admit(record, now)
    assert compose(INFERENCE_POLICY).admit(record, now) == admitted
    for order in ([yes, no], [no, yes]):
        judge = compose(INFERENCE_POLICY, *map(PredicateValidator, order))
        for verdict in (judge.admit(record, now), judge.recognise(record, now)):
            assert (refused(verdict).reason, refused(verdict).rule) == (Reason.PREDICATE, "no")
    nested = compose(compose(INFERENCE_POLICY, PredicateValidator(no)), PredicateValidator(yes))
    assert refused(nested.admit(record, now)).rule == "no"


def test_the_policy_is_asked_first() -> None:
    asked: list[DHTRecord] = []
    judge = compose(INFERENCE_POLICY, PredicateValidator(make_witness(asked)))
    now = moment(5)
    assert refused(judge.admit(heartbeat(now, dave), now)).reason is Reason.NOT_ON_ROSTER
    assert refused(judge.recognise(heartbeat(now, dave), now)).reason is Reason.NOT_ON_ROSTER
    assert asked == []


def test_an_error_in_a_predicate_is_a_verdict() -> None:
    now = moment(5)
    validator = PredicateValidator(clumsy)
    verdict = refused(compose(INFERENCE_POLICY, validator).admit(heartbeat(now), now))
    assert (verdict.reason, verdict.rule) == (Reason.PREDICATE_ERROR, "clumsy")
    assert len(verdict.observed) <= 200
    assert not validator.refusals, "judging changes nothing"


def test_a_predicate_sees_the_record_as_hivemind_would_hold_it() -> None:
    heard: list[tuple[Any, ...]] = []
    validator = HypertensorPredicateValidator(make_witness(heard))
    judge = compose(INFERENCE_POLICY, validator)
    now = moment(30)
    record = heartbeat(now)
    judge.admit(record, now)
    judge.recognise(record, now)
    seen = DHTRecord(
        DHTID.generate(source="hoster").to_bytes(),
        msgpack.packb(alice.author),
        HEARTBEAT,
        record.expiration_time,
    )
    assert heard == [(seen, POST, now.data), (seen, GET, now.data)]
    heard.clear()
    commitment = sign(alice, f"hoster-commit_epoch_{EPOCH}", bytes(32), now.time_seconds + 1100)
    assert judge.admit(commitment, now)
    assert heard[0][0].value == msgpack.packb(bytes(32)), (
        "hivemind holds MessagePack, so bytes are wrapped"
    )


def test_hiveminds_schema_validator_is_asked_too() -> None:
    class Schema(pydantic.v1.BaseModel):
        hoster: dict[pydantic.v1.StrictBytes, dict[str, pydantic.v1.StrictStr]]

    now = moment(5)
    verdict = refused(compose(INFERENCE_POLICY, SchemaValidator(Schema)).admit(heartbeat(now), now))
    assert (verdict.reason, verdict.rule) == (Reason.PREDICATE, "SchemaValidator.validate")


@pytest.mark.parametrize(("block", "is_admitted"), [(15, True), (16, False)])
def test_the_listing_composes_with_the_default_policy(
    monkeypatch: pytest.MonkeyPatch, block: BlockNumber, is_admitted: bool
) -> None:
    now = moment(block)
    monkeypatch.setattr("tests.fixtures.upstream_listing.get_dht_time", lambda: now.time_seconds)
    judge = compose(INFERENCE_POLICY, HypertensorPredicateValidator(make_upstream_predicate()))
    challenge = compute_challenge(CHALLENGE, NETWORK, Epoch(EPOCH), make_roster(Epoch(EPOCH)).seed)
    name = f"consensus-epoch_{EPOCH}"
    expiry = now.time_seconds + 650
    for payload in (
        save(real_torch.from_numpy(challenge.copy())),
        Tensor("float32", challenge.shape).encode(challenge),
    ):
        assert bool(judge.admit(sign(victor, name, payload, expiry), now)) is is_admitted
        assert judge.recognise(sign(victor, name, payload, expiry), now)


# Predicates without a policy


def plain(*validators: PredicateValidator, **options: Any) -> PlainJudge:
    return PlainJudge(CALENDAR.get_context, *(validators or (PredicateValidator(yes),)), **options)


def test_a_plain_judge_takes_any_key_and_the_predicates_decide() -> None:
    now = moment(5)
    record = sign(alice, "any name", msgpack.packb({"x": 1.5}), now.time_seconds + 100)
    for verdict in (plain().admit(record, now), plain().recognise(record, now)):
        assert isinstance(verdict, Admitted)
        assert (verdict.author, verdict.value) == (alice.author, {"x": 1.5})
    assert (
        refused(plain(PredicateValidator(yes), PredicateValidator(no)).admit(record, now)).reason
        is Reason.PREDICATE
    )


def test_a_plain_judge_without_predicates_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="predicate"):
        PlainJudge(CALENDAR.get_context)


def know_no_epoch(epoch: Epoch) -> EpochContext:
    raise KeyError(epoch)


def test_what_cannot_be_left_out_stays() -> None:
    now = moment(5)
    asked: list[DHTRecord] = []
    judge = plain(PredicateValidator(make_witness(asked)), max_bytes=200)
    good = sign(alice, "key", b"\xc0", now.time_seconds + 100)
    assert judge.admit(good, now)
    asked.clear()

    def deny(record: Record) -> Reason:
        return refused(judge.admit(record, now)).reason

    assert deny(sign(dave, "key", b"\xc0", now.time_seconds + 100)) is Reason.NOT_ON_ROSTER
    assert deny(sign(alice, "key", b"\xc0", now.time_seconds + 1201)) is Reason.EXPIRY
    assert deny(sign(alice, "key", b"\xc0", now.time_seconds)) is Reason.EXPIRY
    assert deny(sign(alice, "key", b"\xc0", float("nan"))) is Reason.EXPIRY
    assert deny(sign(alice, "key", b"\xc0" * 200, now.time_seconds + 100)) is Reason.TOO_LARGE
    assert (
        deny(sign(alice, "key", b"\xc0", now.time_seconds + 100, network=NetworkId(bytes(32))))
        is Reason.BAD_SIGNATURE
    )
    assert deny(msgspec.structs.replace(good, author=victor.author)) is Reason.BAD_SIGNATURE
    assert deny(msgspec.structs.replace(good, key=bytes(20))) is Reason.BAD_SIGNATURE
    assert deny(msgspec.structs.replace(good, key=bytes(21))) is Reason.UNKNOWN_KEY
    assert deny(sign(alice, "key", b"\xc1", now.time_seconds + 100)) is Reason.MALFORMED
    assert deny(sign(alice, "key", nest(17), now.time_seconds + 100)) is Reason.MALFORMED
    stale = msgspec.structs.replace(now, is_stale=True)
    assert refused(judge.admit(good, stale)).reason is Reason.CHAIN_STALE
    assert (
        refused(PlainJudge(know_no_epoch, PredicateValidator(yes)).admit(good, now)).reason
        is Reason.CHAIN_STALE
    )
    assert asked == []


def test_the_listing_alone_judges_on_our_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = plain(HypertensorPredicateValidator(make_upstream_predicate()))
    for block, is_admitted in ((15, True), (16, False)):
        now = moment(block)
        monkeypatch.setattr(
            "tests.fixtures.upstream_listing.get_dht_time", lambda now=now: now.time_seconds
        )
        payload = MSGPackSerializer.dumps(save(real_torch.rand(2, 2)))
        record = sign(victor, f"consensus-epoch_{EPOCH}", payload, now.time_seconds + 650)
        assert bool(judge.admit(record, now)) is is_admitted
        assert judge.recognise(record, now)


def test_the_keys_of_a_plain_judge_have_replicas() -> None:
    context = CALENDAR.get_context(Epoch(EPOCH))
    first, second = (
        plain().bind(RecordKey(random.Random(seed).randbytes(20)), context) for seed in (1, 2)
    )
    assert first.replica_set.k == len(context.roster.members)
    assert first.replica_set != second.replica_set


@pytest.mark.parametrize(
    "wrap", [lambda moment: moment, lambda moment: [moment], lambda moment: {"a": {"b": [moment]}}]
)
def test_the_serializer_refuses_the_timestamps_that_msgpack_reads_unasked(
    wrap: Callable[[object], object],
) -> None:
    with pytest.raises(Malformed, match="timestamp"):
        MSGPackSerializer.loads(msgpack.packb(wrap(msgpack.Timestamp(1, 2))))


def test_a_predicate_hears_the_time_of_the_judgement() -> None:
    from epochgate.predicate.dht_time import judging_at

    with judging_at(5.0):
        assert get_dht_time() == 5.0
    assert get_dht_time() > 1_700_000_000.0

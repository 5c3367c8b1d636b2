"""Predicates as judges on epochgate's engine: beside a policy, and alone."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import msgspec
import pydantic.v1
import pytest
import torch as real_torch
from hivemind.dht.routing import DHTID
from hivemind.dht.schema import SchemaValidator
from hivemind.dht.validation import DHTRecord

from epochgate.core.challenge import compute_challenge
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Policy
from epochgate.core.record import Record
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch, NetworkId, RecordKey
from epochgate.core.verdict import Admitted, Denied, Reason, Verdict
from epochgate.policies.inference import CHALLENGE, INFERENCE_POLICY
from epochgate.predicate import (
    HypertensorPredicateValidator,
    MSGPackSerializer,
    PlainJudge,
    PredicateValidator,
    compose,
)
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
from tests.support.predicates import (
    EPOCH,
    GET,
    POST,
    RecordingPredicate,
    clumsy,
    nest,
    no,
    save,
    yes,
)
from tests.support.upstream import make_upstream_predicate

HEARTBEAT = Heartbeat(
    state=ServerState.ONLINE,
    role="hoster",
    throughput=1.5,
    public_name="alice",
    version="0",
    policy_digest="00" * 32,
).to_bytes()


def make_schedule(policy: Policy = INFERENCE_POLICY) -> EpochSchedule:
    schedule = EpochSchedule(policy)
    for epoch in range(EPOCH - 2, EPOCH + 1):
        schedule.add(make_context(Epoch(epoch)))
    return schedule


SCHEDULE = make_schedule()
NO_CONTEXTS: dict[Epoch, EpochContext] = {}


def moment(blocks_elapsed: int, schedule: EpochSchedule = SCHEDULE) -> EvaluationContext:
    block = TIMING.compute_first_block(EPOCH) + blocks_elapsed
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
    predicate = RecordingPredicate()
    judge = compose(INFERENCE_POLICY, PredicateValidator(predicate))
    now = moment(5)
    assert refused(judge.admit(heartbeat(now, dave), now)).reason is Reason.NOT_ON_ROSTER
    assert refused(judge.recognise(heartbeat(now, dave), now)).reason is Reason.NOT_ON_ROSTER
    assert predicate.asked == []


def test_an_error_in_a_predicate_is_a_verdict() -> None:
    now = moment(5)
    validator = PredicateValidator(clumsy)
    verdict = refused(compose(INFERENCE_POLICY, validator).admit(heartbeat(now), now))
    assert (verdict.reason, verdict.rule) == (Reason.PREDICATE_ERROR, "clumsy")
    assert len(str(verdict.observed)) <= 200
    assert not validator.refusals, "judging changes nothing"


def test_a_predicate_sees_the_record_as_hivemind_would_hold_it() -> None:
    predicate = RecordingPredicate()
    validator = HypertensorPredicateValidator(predicate)
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
    assert predicate.asked == [(seen, POST, now.data), (seen, GET, now.data)]
    predicate.asked.clear()
    commitment = sign(alice, f"hoster-commit_epoch_{EPOCH}", bytes(32), now.time_seconds + 1100)
    assert judge.admit(commitment, now)
    assert predicate.asked[0][0].value == msgpack.packb(bytes(32)), (
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
    challenge = compute_challenge(CHALLENGE, NETWORK, EPOCH, make_roster(EPOCH).seed)
    name = f"consensus-epoch_{EPOCH}"
    expiry = now.time_seconds + 650
    for payload in (
        save(real_torch.from_numpy(challenge.copy())),
        Tensor("float32", challenge.shape).encode(challenge),
    ):
        assert bool(judge.admit(sign(victor, name, payload, expiry), now)) is is_admitted
        assert judge.recognise(sign(victor, name, payload, expiry), now)


def plain(*validators: PredicateValidator, **options: Any) -> PlainJudge:
    return PlainJudge(SCHEDULE.get_context, *(validators or (PredicateValidator(yes),)), **options)


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
        PlainJudge(SCHEDULE.get_context)


def test_what_cannot_be_left_out_stays() -> None:
    now = moment(5)
    predicate = RecordingPredicate()
    judge = plain(PredicateValidator(predicate), max_bytes=200)
    good = sign(alice, "key", b"\xc0", now.time_seconds + 100)
    assert judge.admit(good, now)
    predicate.asked.clear()

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
        refused(
            PlainJudge(NO_CONTEXTS.__getitem__, PredicateValidator(yes)).admit(good, now)
        ).reason
        is Reason.CHAIN_STALE
    )
    assert predicate.asked == []


def test_the_listing_alone_judges_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
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
    context = SCHEDULE.get_context(EPOCH)
    first, second = (
        plain().bind(RecordKey(random.Random(seed).randbytes(20)), context) for seed in (1, 2)
    )
    assert first.replica_set.k == len(context.roster.members)
    assert first.replica_set != second.replica_set

"""Predicates as judges on our engine: beside a policy, or alone with what cannot be left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

import msgspec
from hivemind.dht.validation import DHTRecord, RecordValidatorBase
from pydantic import BaseModel

from epochgate.core.epoch import epochs
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge, Policy
from epochgate.core.record import KEY_BYTES, Record, compute_signing_prefix
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schema import Decoder, EpochContext
from epochgate.core.types import Epoch, RecordKey
from epochgate.core.verdict import Denied, Reason, Verdict
from epochgate.predicate.dht_time import judging_at
from epochgate.predicate.serializer import MSGPackSerializer
from epochgate.predicate.validators import DHTRequestType, PredicateValidator


def compose(judge: Judge, *validators: RecordValidatorBase) -> Judge:
    """A judge that admits what `judge` and then every one of the validators accept, in the order
    given.

    Ours hear GET or POST and the moment's epoch data; hivemind's own are asked as they are. Each
    sees the record as a hivemind node would hold it: the subkey is the author's peer id in
    MessagePack, and so is the value, without our signature; a map is MessagePack already, the bytes
    of anything else are wrapped as hivemind wraps bytes.
    """
    return _Composed(judge, validators)


class _Composed:
    def __init__(self, judge: Judge, validators: Iterable[RecordValidatorBase]) -> None:
        self._judge = judge
        self._validators = _adopt(validators)

    def find_key_rule(self, key: RecordKey, now: EvaluationContext) -> KeyRule | None:
        return self._judge.find_key_rule(key, now)

    def admit(self, record: Record, now: EvaluationContext) -> Verdict:
        return self._ask(record, self._judge.admit(record, now), DHTRequestType.POST, now)

    def recognise(self, record: Record, now: EvaluationContext) -> Verdict:
        return self._ask(record, self._judge.recognise(record, now), DHTRequestType.GET, now)

    def _ask(
        self, record: Record, verdict: Verdict, request_type: DHTRequestType, now: EvaluationContext
    ) -> Verdict:
        if isinstance(verdict, Denied):
            return verdict
        payload = record.payload
        value = (
            payload if isinstance(verdict.value, BaseModel) else MSGPackSerializer.dumps(payload)
        )
        denied = _ask_all(self._validators, record, value, request_type, now)
        return verdict if denied is None else denied


class MessagePack(msgspec.Struct, frozen=True):
    """Any one MessagePack value, of bounded nesting: what a hivemind node stores. Decodes to it."""

    def bind(self, _context: EpochContext) -> Decoder:
        return MSGPackSerializer.loads

    def encode(self, value: object) -> bytes:
        data: bytes = MSGPackSerializer.dumps(value)
        return data

    def describe(self) -> str:
        return "messagepack"


class PlainJudge:
    """For those who bring predicates and no policy: any key, any time, and the predicates decide.

    What cannot be left out stays: a key's digest, a size of at most `max_bytes` with the signature,
    an expiry at most `longest` epochs away, an author on the current epoch's roster, its signature,
    and a value in MessagePack. `get_context` is `EpochSchedule.get_context`: the epoch's context,
    or KeyError.
    """

    def __init__(
        self,
        get_context: Callable[[Epoch], EpochContext],
        *validators: RecordValidatorBase,
        longest: Fraction | None = None,
        max_bytes: int = 1 << 20,
    ) -> None:
        if not validators:
            raise ValueError(
                "a PlainJudge without a predicate would admit everything that is signed: give"
                " it one"
            )
        self._get_context = get_context
        self._validators = _adopt(validators)
        self._rule = Rule(
            "plain",
            by=HOSTER | VALIDATOR,
            ttl=longest or epochs(2),
            schema=MessagePack(),
            max_bytes=max_bytes,
        )
        self._policy = Policy(self._rule)
        self._pattern: KeyRule | None = None

    def bind(self, key: RecordKey, context: EpochContext) -> KeyRule:
        """The rule that all keys share, for `key`: with it come the key's replicas."""
        if self._pattern is None or self._pattern.context is not context:
            self._pattern = next(self._rule.bind(context, context.epoch))
        prefix = compute_signing_prefix(context.network, key)
        return msgspec.structs.replace(
            self._pattern, name=f"plain {key.hex()}", key=key, prefix=prefix
        )

    def find_key_rule(self, key: RecordKey, now: EvaluationContext) -> KeyRule | None:
        """Any digest is a key; None while the epoch's roster has not arrived."""
        try:
            return (
                self.bind(key, self._get_context(now.data.epoch)) if len(key) == KEY_BYTES else None
            )
        except KeyError:
            return None

    def admit(self, record: Record, now: EvaluationContext) -> Verdict:
        return self._judge(record, now, self._policy.admit, DHTRequestType.POST)

    def recognise(self, record: Record, now: EvaluationContext) -> Verdict:
        return self._judge(record, now, self._policy.recognise, DHTRequestType.GET)

    def _judge(
        self,
        record: Record,
        now: EvaluationContext,
        check: Callable[[Record, EvaluationContext], Verdict],
        request_type: DHTRequestType,
    ) -> Verdict:
        if len(record.key) != KEY_BYTES:
            return Denied(
                Reason.UNKNOWN_KEY, None, f"a digest of {KEY_BYTES} bytes", len(record.key)
            )
        try:
            context = self._get_context(now.data.epoch)
        except KeyError:
            return Denied(Reason.CHAIN_STALE, "plain", "the roster of the epoch", now.data.epoch)
        keys = {record.key: self.bind(record.key, context)}
        verdict = check(record, msgspec.structs.replace(now, postable=keys, readable=keys))
        if isinstance(verdict, Denied):
            return verdict
        denied = _ask_all(self._validators, record, record.payload, request_type, now)
        return verdict if denied is None else denied


def _adopt(validators: Iterable[RecordValidatorBase]) -> tuple[PredicateValidator, ...]:
    """hivemind's own validators answer without a reason; as predicates they have one."""
    return tuple(
        (
            validator
            if isinstance(validator, PredicateValidator)
            else PredicateValidator(validator.validate)
        )
        for validator in validators
    )


def _ask_all(
    validators: tuple[PredicateValidator, ...],
    record: Record,
    value: bytes,
    request_type: DHTRequestType,
    now: EvaluationContext,
) -> Denied | None:
    seen = DHTRecord(
        record.key, MSGPackSerializer.dumps(record.author), value, record.expiration_time
    )
    with judging_at(now.time_seconds):
        for validator in validators:
            denied = validator.find_refusal(seen, request_type, now.data)
            if denied is not None:  # a Denied is falsy
                return denied
    return None

"""Predicates as judges on epochgate's libp2p engine: beside a policy, or alone.

A judge of predicates alone still checks what no store can do without.
"""

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

DEFAULT_MAX_BYTES = 1 << 20
DEFAULT_LONGEST = epochs(2)


def compose(judge: Judge, *validators: RecordValidatorBase) -> Judge:
    """Put validators beside a judge: a record is admitted where it and all of them accept it.

    Validators of this package get GET or POST and the epoch data of the judgement; hivemind's own
    are asked as they are. Each gets the record as a hivemind node would hold it. The subkey is the
    author's peer id in MessagePack. The value comes without epochgate's signature: a map as it is,
    because it is MessagePack already, and other bytes wrapped as hivemind wraps bytes.

    Args:
        judge: Asked first, such as a policy.
        *validators: Asked after it, in this order, until one refuses.

    Returns:
        The judge of both.

    Example:
        >>> from epochgate import INFERENCE_POLICY
        >>> from epochgate.predicate import PredicateValidator
        >>> judge = compose(INFERENCE_POLICY, PredicateValidator(lambda record: True))
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
        value = record.payload
        if not isinstance(verdict.value, BaseModel):
            value = MSGPackSerializer.dumps(record.payload)
        denied = _ask_all(self._validators, record, value, request_type, now)
        if denied is None:  # a Denied is falsy
            return verdict
        return denied


class MessagePack(msgspec.Struct, frozen=True):
    """The schema of any one MessagePack value of bounded nesting, which a hivemind node stores.

    It decodes to the value.

    Example:
        >>> MessagePack().encode({"state": 1})
        b'\\x81\\xa5state\\x01'
    """

    def bind(self, _context: EpochContext, /) -> Decoder:
        return MSGPackSerializer.loads

    def encode(self, value: object, /) -> bytes:
        data: bytes = MSGPackSerializer.dumps(value)
        return data

    def describe(self) -> str:
        return "messagepack"


class PlainJudge:
    """A judge for those who bring predicates and no policy: any key, at any time.

    The predicates decide, but some checks always stay: the key is a digest, the record has at most
    `max_bytes` with its signature, its expiry is at most `longest` away, its author is on the
    current epoch's roster, its signature is valid, and its value is MessagePack.

    Example:
        >>> from epochgate import INFERENCE_POLICY, EpochSchedule
        >>> from epochgate.predicate import PredicateValidator
        >>> schedule = EpochSchedule(INFERENCE_POLICY)
        >>> judge = PlainJudge(schedule.get_context, PredicateValidator(lambda record: True))
    """

    def __init__(
        self,
        get_context: Callable[[Epoch], EpochContext],
        *validators: RecordValidatorBase,
        longest: Fraction | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        """Take predicates.

        Args:
            get_context: Gives an epoch's context, or raises KeyError where the epoch is not known:
                `EpochSchedule.get_context`.
            *validators: Asked in this order, until one refuses.
            longest: The longest lifetime of a record, in epochs; two where it is None.
            max_bytes: The largest record, its signature included.

        Raises:
            ValueError: There are no validators.
        """
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
            ttl=longest or DEFAULT_LONGEST,
            schema=MessagePack(),
            max_bytes=max_bytes,
        )
        self._policy = Policy(self._rule)
        self._pattern: KeyRule | None = None

    def bind(self, key: RecordKey, context: EpochContext) -> KeyRule:
        """The rule that all keys share, for one key: with it come the key's replicas.

        Args:
            key: The key's digest.
            context: The current epoch's.

        Returns:
            The key's rule.
        """
        if self._pattern is None or self._pattern.context is not context:
            self._pattern = next(self._rule.bind(context, context.epoch))
        prefix = compute_signing_prefix(context.network, key)
        return msgspec.structs.replace(
            self._pattern, name=f"plain {key.hex()}", key=key, prefix=prefix
        )

    def find_key_rule(self, key: RecordKey, now: EvaluationContext) -> KeyRule | None:
        """The rule for any digest; None while the epoch's roster has not arrived."""
        if len(key) != KEY_BYTES:
            return None
        try:
            context = self._get_context(now.data.epoch)
        except KeyError:
            return None
        return self.bind(key, context)

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
        if denied is None:  # a Denied is falsy
            return verdict
        return denied


def _adopt(validators: Iterable[RecordValidatorBase]) -> tuple[PredicateValidator, ...]:
    """Make predicates of hivemind's own validators, which refuse without a reason."""
    adopted = []
    for validator in validators:
        if isinstance(validator, PredicateValidator):
            adopted.append(validator)
        else:
            adopted.append(PredicateValidator(validator.validate))
    return tuple(adopted)


def _ask_all(
    validators: tuple[PredicateValidator, ...],
    record: Record,
    value: bytes,
    request_type: DHTRequestType,
    now: EvaluationContext,
) -> Denied | None:
    """The first refusal, None where all accept."""
    subkey = MSGPackSerializer.dumps(record.author)
    seen = DHTRecord(record.key, subkey, value, record.expiration_time)
    with judging_at(now.time_seconds):
        for validator in validators:
            denied = validator.find_refusal(seen, request_type, now.data)
            if denied is not None:  # a Denied is falsy
                return denied
    return None

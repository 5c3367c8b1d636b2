"""A policy: the rules of a subnet as one value, and the judge of every record.

Cheapest check first, and nothing that nobody signed is ever decoded. Judging changes nothing
(docs/spec.md#10-refusals).
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from collections.abc import Iterator
from typing import Protocol

import msgspec
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from epochgate.core.epoch import Timing, Window
from epochgate.core.evaluation import READABLE_EPOCHS, EvaluationContext
from epochgate.core.limits import Limits
from epochgate.core.policy_render import render_limits, render_table, render_timeline
from epochgate.core.protocol import SubnetProtocol, resolve_protocol
from epochgate.core.record import SIGNATURE_BYTES, Record, is_signed
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schema import EpochContext, Malformed
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId, RecordKey
from epochgate.core.verdict import Admitted, Denied, Reason, Verdict

_NO_SUCH_KEY = Denied(
    Reason.UNKNOWN_KEY
)  # made once: the commonest refusal of a flood allocates nothing
MAX_REMEMBERED_SIGNATURES = 1 << 15
_pack_seconds = struct.Struct(">d").pack
_sha256 = hashlib.sha256


class Judge(Protocol):
    """Whoever decides what a replica stores and what a reader believes: a policy, or one composed
    with predicates.

    `find_key_rule` gives the rule that a key stands under, and with it the key's replicas; None for
    a key that is none.
    """

    def find_key_rule(self, key: RecordKey, now: EvaluationContext) -> KeyRule | None: ...

    def admit(self, record: Record, now: EvaluationContext) -> Verdict: ...

    def recognise(self, record: Record, now: EvaluationContext) -> Verdict: ...


class Scoring(msgspec.Struct, frozen=True):
    """What work is worth. Pots are in units of the chain's score, 10^18 in all; the tolerance is a
    relative distance.
    """

    tolerance_ppm: int = 1000
    hoster_pot: int = 4 * 10**17
    validator_pot: int = 6 * 10**17

    def describe(self) -> str:
        return f"tolerance={self.tolerance_ppm}ppm pots={self.hoster_pot}:{self.validator_pot}"


class Policy:
    """The rules of a subnet. A value: print it, digest it, compare it with a peer's, test it
    offline.

    `limits` are what every replica grants. `role_field` is the field of a node's registration that
    names its roles on a chain that knows none (docs/spec.md#9-proof-of-stake).
    """

    def __init__(
        self,
        *rules: Rule,
        scoring: Scoring | None = None,
        limits: Limits | None = None,
        role_field: str = "non_unique",
    ) -> None:
        self.rules = rules
        self.role_field = role_field
        self.scoring = scoring or Scoring()
        self.limits = limits or Limits()
        self.max_value_bytes = max((rule.max_bytes for rule in rules), default=0)

    def find_key_rule(self, key: RecordKey, now: EvaluationContext) -> KeyRule | None:
        """The rule that `key` stands under now, None where it is no key of this policy."""
        return now.postable.get(key)

    def admit(self, record: Record, now: EvaluationContext) -> Verdict:
        """POST: may the record be stored now?"""
        size = len(record.value)
        if size > self.max_value_bytes:
            return Denied(Reason.TOO_LARGE, None, self.max_value_bytes, size)
        key_rule = now.postable.get(record.key)
        if key_rule is None:
            return _NO_SUCH_KEY
        if size > key_rule.max_bytes:
            return Denied(Reason.TOO_LARGE, key_rule.name, key_rule.max_bytes, size)
        block = now.block
        if now.is_stale:
            return Denied(Reason.CHAIN_STALE, key_rule.name, "a fresh chain head", block)
        if not key_rule.first <= block <= key_rule.last:
            return _deny_block(key_rule, block)
        author = record.author
        left = record.expiration_time - now.time_seconds
        if not 0.0 < left <= key_rule.longest_seconds or (
            key_rule.keep_block and left < key_rule.compute_shortest_seconds(block)
        ):
            return Denied(Reason.EXPIRY, key_rule.name, _expected_expiry(key_rule, block), left)
        denied = _deny_author(key_rule, author)
        if denied is not None:
            return denied
        if block < key_rule.stand_ins_first and author != key_rule.elected:
            return _deny_stand_in(key_rule, block, author)
        held = now.held.get((record.key, author))
        if held is not None and (key_rule.once or record.expiration_time <= held.expiration_time):
            return Denied(
                Reason.ALREADY_THERE,
                key_rule.name,
                "one record" if key_rule.once else held.expiration_time,
                record.expiration_time,
            )
        return judge_content(record, key_rule)

    def recognise(self, record: Record, now: EvaluationContext) -> Verdict:
        """GET: is this a record that could have been stored? Windows do not bind it; receipts say
        when it was.
        """
        key_rule = now.readable.get(record.key)
        if key_rule is None:
            return _NO_SUCH_KEY
        if len(record.value) > key_rule.max_bytes:
            return Denied(Reason.TOO_LARGE, key_rule.name, key_rule.max_bytes, len(record.value))
        if not math.isfinite(record.expiration_time) or (
            key_rule.epoch is None and record.expiration_time <= now.time_seconds
        ):
            return Denied(
                Reason.EXPIRY, key_rule.name, "a finite time to come", record.expiration_time
            )
        denied = _deny_author(key_rule, record.author)
        return judge_content(record, key_rule, is_read=True) if denied is None else denied

    def __str__(self) -> str:
        return f"{render_table(self.rules)}\n\n{render_limits(self.limits)}"

    def render_timeline(self) -> str:
        """The epoch from left to right, a bar a rule."""
        return render_timeline(self.rules)

    def bind(self, context: EpochContext, epoch: Epoch) -> Iterator[KeyRule]:
        """Every key of the policy in `epoch`; before the subnet's first block only those without an
        epoch.
        """
        for rule in self.rules:
            if context.timing.slot is not None or not rule.is_of_an_epoch:
                yield from rule.bind(context, epoch)

    def get_rule(self, kind: str) -> Rule:
        """Raises KeyError when no rule is of that kind."""
        for rule in self.rules:
            if rule.kind == kind:
                return rule
        raise KeyError(
            f"the policy has no rule {kind!r}; it has {', '.join(rule.kind for rule in self.rules)}"
        )

    @functools.cached_property
    def protocol(self) -> SubnetProtocol:
        """Which rules are the challenge, the outputs and the scores; resolved once."""
        return resolve_protocol(self.rules)

    def compute_margin_seconds(self, rule: Rule, timing: Timing) -> float:
        """How far honest authors and readers stay from the rule's edges.

        One block, or a quarter of the shorter adjoining window where that is less
        (docs/spec.md#3-time).
        """
        windows = [rule.during] if rule.during else []
        windows += [
            other.during
            for other in self.rules
            if other.during and rule.during and _is_adjoining(rule.during, other.during)
        ]
        shortest = min((window.last - window.first for window in windows), default=None)
        block = timing.block_seconds
        return (
            block
            if shortest is None
            else min(block, float(shortest) * timing.seconds_per_epoch / 4)
        )

    @property
    def held_epochs(self) -> int:
        """In how many epochs at a time the records were stored that a replica holds.

        A record is let go when an epoch begins in which it has expired and its own epoch cannot be
        read any more.
        """
        return max([READABLE_EPOCHS] + [math.ceil(rule.ttl) + 1 for rule in self.rules])

    @property
    def digest(self) -> Hash32:
        """SHA-256 over all that the policy says, 32 bytes: two nodes with the same digest judge
        alike.
        """
        lines = [rule.describe() for rule in self.rules]
        lines += [self.scoring.describe(), self.limits.describe(), f"role_field={self.role_field}"]
        return Hash32(hashlib.sha256(b"epochgate/policy/1\0" + "\n".join(lines).encode()).digest())


def judge_content(record: Record, key_rule: KeyRule, *, is_read: bool = False) -> Verdict:
    """The dear part of a judgement: the signature, and only then the schema.

    A record that is read is mostly read again, for scores and then for settlements, so its
    signature is remembered.
    """
    payload = record.value[SIGNATURE_BYTES:]
    check = is_signed_before if is_read else is_signed_under
    if not check(key_rule, record, payload):
        return Denied(
            Reason.BAD_SIGNATURE,
            key_rule.name,
            "a signature by the author over network, key, author, expiry and payload",
        )
    try:
        return Admitted(key_rule.name, record.author, key_rule.decode(payload))
    except Malformed as error:
        return Denied(Reason.MALFORMED, key_rule.name, key_rule.rule.schema.describe(), str(error))


def is_signed_under(key_rule: KeyRule, record: Record, payload: bytes) -> bool:
    """The same as `core.record.is_record_signed`, with the part that all records of the key share
    made beforehand.
    """
    try:
        crypto_sign_open(
            record.value[:SIGNATURE_BYTES] + _compute_message(key_rule, record, payload),
            record.author[6:],
        )
    except (BadSignatureError, ValueError):
        return False
    return True


def is_signed_before(key_rule: KeyRule, record: Record, payload: bytes) -> bool:
    """The same, looked up where this signature was checked before."""
    return _is_signed(
        record.author, _compute_message(key_rule, record, payload), record.value[:SIGNATURE_BYTES]
    )


def _compute_message(key_rule: KeyRule, record: Record, payload: bytes) -> bytes:
    return (
        key_rule.prefix
        + record.author
        + _pack_seconds(record.expiration_time)
        + _sha256(payload).digest()
    )


_is_signed = functools.lru_cache(MAX_REMEMBERED_SIGNATURES)(is_signed)


def _deny_block(key_rule: KeyRule, block: BlockNumber) -> Denied:
    expected = f"blocks {key_rule.first} to {key_rule.last}"
    if block > key_rule.last:
        return Denied(Reason.LATE, key_rule.name, expected, block)
    wait_blocks = key_rule.first - block
    return Denied(
        Reason.EARLY,
        key_rule.name,
        expected,
        block,
        wait_blocks,
        wait_blocks * key_rule.block_seconds,
    )


def _deny_author(key_rule: KeyRule, author: PeerId) -> Denied | None:
    roles = key_rule.roles.get(author)
    if roles is None:
        return Denied(
            Reason.NOT_ON_ROSTER,
            key_rule.name,
            f"one of the roster's {len(key_rule.roles)} authors",
            author,
        )
    is_elected = (
        key_rule.rule.elected_until is not None and author == key_rule.elected
    )  # by the chain, which knows no roles
    if not roles & key_rule.role and not is_elected:
        return Denied(Reason.WRONG_ROLE, key_rule.name, f"role {key_rule.role}", f"role {roles}")
    if key_rule.author is not None and author != key_rule.author:
        return Denied(Reason.NOT_AUTHOR, key_rule.name, key_rule.author, author)
    return None


def _deny_stand_in(key_rule: KeyRule, block: BlockNumber, author: PeerId) -> Denied:
    wait_blocks = key_rule.stand_ins_first - block
    return Denied(
        Reason.NOT_ELECTED,
        key_rule.name,
        key_rule.elected,
        author,
        wait_blocks,
        wait_blocks * key_rule.block_seconds,
    )


def _expected_expiry(key_rule: KeyRule, block: BlockNumber) -> str:
    return (
        f"{max(0.0, key_rule.compute_shortest_seconds(block)):.6g} to"
        f" {key_rule.longest_seconds:.6g} s from now"
    )


def _is_adjoining(window: Window, other: Window) -> bool:
    return other != window and (other.first == window.last or other.last == window.first)

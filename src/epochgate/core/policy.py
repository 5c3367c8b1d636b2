"""A policy: the rules of a subnet as one value, and the judge of every record."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from typing import Protocol

from epochgate.core.checks import (
    DescribedBySchema,
    check_author,
    check_expiry,
    check_lifetime,
    check_replacement,
    deny_block,
    deny_size,
    deny_stand_in,
)
from epochgate.core.epoch import Blocks, Timing, Window
from epochgate.core.evaluation import NO_SUCH_KEY, READABLE_EPOCHS, EvaluationContext
from epochgate.core.limits import Limits
from epochgate.core.policy_render import render_limits, render_table, render_timeline
from epochgate.core.protocol import SubnetProtocol, resolve_protocol
from epochgate.core.record import SIGNATURE_BYTES, Record, compute_signed_bytes, is_signed
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schema import EpochContext, Malformed
from epochgate.core.scoring import Scoring
from epochgate.core.types import Epoch, Hash32, RecordKey, Signature
from epochgate.core.verdict import Admitted, AtMost, Denied, Reason, Size, Verdict

POLICY_DOMAIN = b"epochgate/policy/1\0"
MAX_REMEMBERED_SIGNATURES = 1 << 15
"""Signatures of records that were read, which are read again to score and to settle."""


class Judge(Protocol):
    """The port that decides which records a replica stores and a reader believes.

    A `Policy` is a judge; so is a policy composed with predicates.

    A judge changes nothing, waits for nothing, and never raises for a record that a stranger sent.
    The same record and context get the same verdict at any time, so a verdict can be replayed.
    """

    def find_key_rule(self, key: RecordKey, now: EvaluationContext, /) -> KeyRule | None:
        """Find the rule that a key stands under, and with it the key's replicas.

        Args:
            key: The key's digest, as it came from the network.
            now: The moment's key tables.

        Returns:
            The rule for that key; None where it is not a key at all.
        """
        ...

    def admit(self, record: Record, now: EvaluationContext, /) -> Verdict:
        """Judge a POST: may the record be stored now?

        Args:
            record: A record as it was sent. Only the lengths of its fields have been checked.
            now: The moment's key tables, block and time; `now.held` has this replica's entries.

        Returns:
            Admitted, with the decoded value, or Denied.
        """
        ...

    def recognise(self, record: Record, now: EvaluationContext, /) -> Verdict:
        """Judge a reply to a GET: could the record have been stored, now or earlier?

        Args:
            record: A record as it was shown.
            now: The moment's key tables and time.

        Returns:
            Admitted, with the decoded value, or Denied. Windows do not matter here, since receipts
            say when a record was stored.
        """
        ...


class Policy:
    """The rules of a subnet. It is a value: print it, compare digests, test it offline.

    These invariants hold for its verdicts:

    - A key that no rule makes is refused; an empty policy refuses everything.
    - The cheapest check comes first: size, key, head and window, expiry, author and role, the
      stored record, signature, schema. Nothing is decoded that nobody signed.
    - Judging changes nothing, and asks neither the chain nor a clock: the moment is an argument.
    - A block is in a window or not by integers and exact fractions, so all nodes draw one edge.
    - An author is judged by the roster of the key's own epoch, whenever the record is read.
    - A verdict holds raw facts, which become words when somebody asks.

    Args:
        *rules: The rules, in the order in which tables show them.
        scoring: The tolerance and the pots; the default is `Scoring()`.
        limits: The limits that every replica keeps; the default is `Limits()`.
        role_field: The field of a node's registration that names its roles, on a chain that knows
            no roles (docs/spec.md#9-proof-of-stake).

    >>> policy = Policy(Rule("note_epoch_{epoch}", by=HOSTER, ttl=epochs(1), schema=Digest()))
    >>> schedule = EpochSchedule(policy)
    >>> alice = SigningKey.from_seed(bytes(32))
    >>> network = compute_network_id("my-chain", 1)
    >>> timing = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
    >>> roster = Roster(Epoch(7), bytes(32), [Member(alice.author, HOSTER)])
    >>> schedule.add(EpochContext(network, timing, roster))
    >>> now = schedule.compute_evaluation_context(BlockNumber(1720), 1_800_000_000.0)
    >>> expires = now.time_seconds + 60.0
    >>> note = alice.sign_record(network, compute_key("note_epoch_7"), bytes(32), expires)
    >>> print(policy.admit(note, now))
    admitted by rule note_epoch_7
    >>> stray = alice.sign_record(network, compute_key("note_epoch_8"), bytes(32), expires)
    >>> print(policy.admit(stray, now))
    denied, early; by rule note_epoch_8; expected blocks 1800 to 1899; saw block 1720;
    opens in 80 blocks, about 480 s
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

    def find_key_rule(self, key: RecordKey, now: EvaluationContext, /) -> KeyRule | None:
        """The rule that `key` stands under now; None where it is not a key of this policy."""
        return now.postable.get(key)

    def admit(self, record: Record, now: EvaluationContext, /) -> Verdict:
        """Judge a POST: may the record be stored now? (See `Judge.admit`.)"""
        # Stops "values over size": a value that no rule could take is not looked at.
        size = len(record.value)
        if size > self.max_value_bytes:
            return Denied(Reason.TOO_LARGE, None, AtMost(Size(self.max_value_bytes)), Size(size))
        # Stops "a flood with many keys": only keys that a rule makes exist.
        key_rule = now.postable.get(record.key)
        if key_rule is None:
            return now.no_such_key
        # Stops "values over size", by the key's own limit.
        if size > key_rule.max_bytes:
            return deny_size(key_rule, size)
        # Stops "a stale chain head": its block could be in another window than the chain's.
        block = now.block
        if now.is_stale:
            return Denied(
                Reason.CHAIN_STALE, key_rule.name, "a fresh chain head", Blocks(block, block)
            )
        # Stops "windows that never refuse" and "early and late at every block edge".
        if not key_rule.first <= block <= key_rule.last:
            return deny_block(key_rule, block)
        denied = check_lifetime(record, key_rule, now)
        if denied is not None:
            return denied
        denied = check_author(key_rule, record.author)
        if denied is not None:
            return denied
        # Stops "a challenge chosen to favour somebody": stand-ins wait for the elected validator.
        if block < key_rule.stand_ins_first and record.author != key_rule.elected:
            return deny_stand_in(key_rule, block, record.author)
        held = now.held.get((record.key, record.author))
        if held is not None:
            denied = check_replacement(record, key_rule, held)
            if denied is not None:
                return denied
        return judge_content(record, key_rule)

    def recognise(self, record: Record, now: EvaluationContext, /) -> Verdict:
        """Judge a reply to a GET: could the record have been stored? (See `Judge.recognise`.)"""
        # Stops "another epoch's records in a reply".
        key_rule = now.readable.get(record.key)
        if key_rule is None:
            return NO_SUCH_KEY
        # Stops "values over size".
        size = len(record.value)
        if size > key_rule.max_bytes:
            return deny_size(key_rule, size)
        denied = check_expiry(record, key_rule, now)
        if denied is not None:
            return denied
        denied = check_author(key_rule, record.author)
        if denied is not None:
            return denied
        return judge_content(record, key_rule, is_read=True)

    def __str__(self) -> str:
        return f"{render_table(self.rules)}\n\n{render_limits(self.limits)}"

    def render_timeline(self) -> str:
        """The epoch from left to right, one bar for each rule."""
        return render_timeline(self.rules)

    def bind(self, context: EpochContext, epoch: Epoch) -> Iterator[KeyRule]:
        """List the policy's keys in one epoch.

        Args:
            context: The chain's facts about the epoch.
            epoch: The epoch that the keys name.

        Yields:
            A rule for each key. Before the subnet's first block there are only keys without an
            epoch.
        """
        for rule in self.rules:
            if context.timing.slot is not None or not rule.is_of_an_epoch:
                yield from rule.bind(context, epoch)

    def get_rule(self, kind: str) -> Rule:
        """The first rule of a kind.

        Args:
            kind: The rule's name without its epoch and author, `hoster-commit` for example.

        Returns:
            The rule.

        Raises:
            KeyError: No rule is of that kind.
        """
        for rule in self.rules:
            if rule.kind == kind:
                return rule
        kinds = ", ".join(rule.kind for rule in self.rules)
        raise KeyError(f"the policy has no rule {kind!r}; it has {kinds}")

    @functools.cached_property
    def protocol(self) -> SubnetProtocol:
        """The rules of the challenge, the outputs and the scores; resolved once."""
        return resolve_protocol(self.rules)

    def compute_margin_seconds(self, rule: Rule, timing: Timing) -> float:
        """The margin that honest authors and readers keep from the edges of a rule's window.

        Args:
            rule: One of the policy's rules.
            timing: The chain's epoch length and block time.

        Returns:
            One block, or a quarter of the shortest of the rule's window and those that share an
            edge with it, where that is less (docs/spec.md#3-time).
        """
        windows = self._find_adjoining_windows(rule)
        if not windows:
            return timing.block_seconds
        shortest = float(min(window.last - window.first for window in windows))
        return min(timing.block_seconds, shortest * timing.seconds_per_epoch / 4)

    @property
    def held_epochs(self) -> int:
        """In how many epochs the records were stored that a replica holds at once.

        A record is let go when an epoch begins in which it has expired and its own epoch cannot be
        read any more.
        """
        return max([READABLE_EPOCHS] + [math.ceil(rule.ttl) + 1 for rule in self.rules])

    @property
    def digest(self) -> Hash32:
        """SHA-256 over all that the policy says: two nodes with the same digest judge alike."""
        lines = [rule.describe() for rule in self.rules]
        lines += [self.scoring.describe(), self.limits.describe(), f"role_field={self.role_field}"]
        return Hash32(hashlib.sha256(POLICY_DOMAIN + "\n".join(lines).encode()).digest())

    def _find_adjoining_windows(self, rule: Rule) -> list[Window]:
        """The rule's window and those that share an edge with it; none where it has no window."""
        own = rule.during
        if own is None:
            return []
        windows = [own]
        for other in self.rules:
            window = other.during
            if window is None or window == own:
                continue
            if window.first == own.last or window.last == own.first:
                windows.append(window)
        return windows


def judge_content(record: Record, key_rule: KeyRule, *, is_read: bool = False) -> Verdict:
    """Check the signature, and only then the schema: the expensive part of a judgement.

    Args:
        record: The record.
        key_rule: The rule for its key.
        is_read: The record was read, not posted. It will be read again, for scores and then for
            settlements, so its signature is remembered.

    Returns:
        Admitted with the decoded value, or Denied.
    """
    payload = record.payload
    check = is_signed_before if is_read else is_signed_under
    # Stops "unsigned records" and "replay in another subnet, epoch, role or key".
    if not check(key_rule, record, payload):
        return Denied(
            Reason.BAD_SIGNATURE,
            key_rule.name,
            "a signature by the author over network, key, author, expiry and payload",
        )
    # Stops "malformed MessagePack", "NaN, infinite and complex tensors", and
    # "10^12 elements in 1.5 KB": the schema refuses them.
    try:
        value = key_rule.decode(payload)
    except Malformed as error:
        expected = DescribedBySchema(key_rule.rule.schema)
        return Denied(Reason.MALFORMED, key_rule.name, expected, str(error))
    return Admitted(key_rule.name, record.author, value)


def is_signed_under(key_rule: KeyRule, record: Record, payload: bytes) -> bool:
    """Whether the author signed the record for this key.

    It is `core.record.is_record_signed` with the part of the message that all records of the key
    share made beforehand.
    """
    message = compute_signed_bytes(key_rule.prefix, record.author, record.expiration_time, payload)
    return is_signed(record.author, message, Signature(record.value[:SIGNATURE_BYTES]))


def is_signed_before(key_rule: KeyRule, record: Record, payload: bytes) -> bool:
    """`is_signed_under`, looked up where this signature was checked before."""
    message = compute_signed_bytes(key_rule.prefix, record.author, record.expiration_time, payload)
    return _is_signed(record.author, message, Signature(record.value[:SIGNATURE_BYTES]))


_is_signed = functools.lru_cache(MAX_REMEMBERED_SIGNATURES)(is_signed)

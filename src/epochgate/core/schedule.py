"""The keys of the epochs that matter now, and their rules.

The tables are made once per epoch and not once per record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from epochgate.core.epoch import compute_epoch_data
from epochgate.core.evaluation import (
    NO_SUCH_KEY,
    NOTHING_HELD,
    READABLE_EPOCHS,
    EvaluationContext,
    StoredEntry,
)
from epochgate.core.peer_id import format_peer_id
from epochgate.core.policy import Policy
from epochgate.core.roster import Roster
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch, PeerId, RecordKey
from epochgate.core.verdict import Denied, Reason


class _KeyTables(msgspec.Struct, frozen=True):
    """The part of an `EvaluationContext` that is the same for all blocks of one epoch."""

    epoch: Epoch
    is_started: bool
    postable: dict[RecordKey, KeyRule]
    readable: dict[RecordKey, KeyRule]
    no_such_key: Denied


class EpochSchedule:
    """The key tables of the epochs that matter now.

    It is given each epoch's context once, as the chain names it, and asked for evaluation contexts.
    It holds `READABLE_EPOCHS + 1` epochs at most.

    Args:
        policy: The policy whose keys it lists.

    >>> schedule = EpochSchedule(INFERENCE_POLICY)
    >>> timing = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
    >>> network = compute_network_id("my-chain", 1)
    >>> schedule.add(EpochContext(network, timing, Roster(Epoch(7), bytes(32), [])))
    >>> rule = INFERENCE_POLICY.get_rule("hoster-commit")
    >>> schedule.get_key_rule(rule, Epoch(7)).blocks
    Blocks(first=1716, last=1750)
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._contexts: dict[Epoch, EpochContext] = {}
        self._key_rules: dict[Epoch, tuple[KeyRule, ...]] = {}
        self._tables: _KeyTables | None = None

    def add(self, context: EpochContext) -> None:
        """Take in an epoch, or its new election; epochs that cannot be read any more are let go."""
        self._contexts[context.epoch] = context
        self._key_rules[context.epoch] = tuple(self.policy.bind(context, context.epoch))
        for epoch in list(self._contexts):
            if epoch < context.epoch - READABLE_EPOCHS:
                del self._contexts[epoch]
                del self._key_rules[epoch]
        self._tables = None

    def has(self, epoch: Epoch) -> bool:
        """Whether the epoch's context is here."""
        return epoch in self._contexts

    def get_context(self, epoch: Epoch) -> EpochContext:
        """The epoch's context. Raises KeyError for an epoch that was never added, or let go."""
        return self._contexts[epoch]

    def get_contexts(self) -> tuple[EpochContext, ...]:
        """All contexts that are here, in the order in which they came."""
        return tuple(self._contexts.values())

    def get_roster(self, epoch: Epoch) -> Roster | None:
        """The roster of `epoch`; None where it has not arrived."""
        context = self._contexts.get(epoch)
        if context is None:
            return None
        return context.roster

    def find_newest_roster(self, epoch: Epoch) -> Roster | None:
        """The newest roster up to `epoch`: when an epoch has just begun, its own may not have
        arrived. None where none of the readable epochs has one.
        """
        for earlier in range(epoch, epoch - READABLE_EPOCHS, -1):
            roster = self.get_roster(Epoch(earlier))
            if roster is not None:
                return roster
        return None

    def get_members(self, epoch: Epoch) -> frozenset[PeerId]:
        """The authors on the roster of `epoch`, or of the next one where it is here; empty where
        neither has arrived.
        """
        rosters = (self.get_roster(epoch), self.get_roster(Epoch(epoch + 1)))
        return frozenset(author for roster in rosters if roster for author in roster.roles)

    def get_key_rule(self, rule: Rule, epoch: Epoch, author: PeerId | None = None) -> KeyRule:
        """A rule for one key of one epoch.

        Args:
            rule: One of the policy's rules.
            epoch: The epoch.
            author: The author whose key it is, for a rule with `{author}`.

        Returns:
            The rule for that key.

        Raises:
            KeyError: The epoch's context is not here, or the author has no key of the rule.
        """
        for key_rule in self._key_rules[epoch]:
            if key_rule.rule is rule and key_rule.author == author:
                return key_rule
        whose = "any author" if author is None else format_peer_id(author)
        raise KeyError(f"rule {rule.name} has no key in epoch {epoch} for {whose}")

    def get_key_rules(self, rule: Rule, epoch: Epoch) -> tuple[KeyRule, ...]:
        """All keys of the rule in `epoch`. Raises KeyError where its context is not here."""
        return tuple(key_rule for key_rule in self._key_rules[epoch] if key_rule.rule is rule)

    def compute_evaluation_context(
        self,
        block: BlockNumber,
        time_seconds: float,
        held: Mapping[tuple[RecordKey, PeerId], StoredEntry] = NOTHING_HELD,
        *,
        is_stale: bool = False,
    ) -> EvaluationContext:
        """Make the evaluation context of one moment.

        Args:
            block: The block that windows are decided at.
            time_seconds: Unix seconds, for expiries.
            held: The stored entries by key and author.
            is_stale: The head is too old to decide by. A block of an epoch whose context has not
                arrived counts as stale too.

        Returns:
            The evaluation context; it shares the key tables with others of the same epoch.

        Raises:
            LookupError: No epoch has been added yet.
        """
        if not self._contexts:
            raise LookupError("the schedule knows no epoch yet: add the first one's context")
        newest = self._contexts[max(self._contexts)]
        data = compute_epoch_data(block, newest.timing)
        tables = self._get_tables(data.epoch, is_started=newest.timing.is_started(block))
        return EvaluationContext(
            postable=tables.postable,
            readable=tables.readable,
            data=data,
            block=block,
            time_seconds=time_seconds,
            network=newest.network,
            held=held,
            is_stale=is_stale or data.epoch not in self._contexts,
            no_such_key=tables.no_such_key,
        )

    def _get_tables(self, epoch: Epoch, *, is_started: bool) -> _KeyTables:
        tables = self._tables
        if tables is None or (tables.epoch, tables.is_started) != (epoch, is_started):
            tables = self._make_tables(epoch, is_started=is_started)
            self._tables = tables
        return tables

    def _make_tables(self, epoch: Epoch, *, is_started: bool) -> _KeyTables:
        current = self._key_rules.get(epoch, ())
        if not is_started:
            undated = [key_rule for key_rule in current if key_rule.epoch is None]
            table = _index(undated)
            return _KeyTables(epoch, is_started, table, table, _explain_names(undated))
        readable: dict[RecordKey, KeyRule] = {}
        for earlier in range(epoch - READABLE_EPOCHS + 1, epoch + 1):
            readable |= _index(self._key_rules.get(Epoch(earlier), ()))
        postable = _index(self._bind_next(epoch)) | readable
        return _KeyTables(epoch, is_started, postable, readable, _explain_names(current))

    def _bind_next(self, epoch: Epoch) -> Iterator[KeyRule]:
        """The keys of the next epoch. Its roster is unknown, so they only serve to say when they
        open.
        """
        if epoch in self._contexts:
            yield from self.policy.bind(self._contexts[epoch], Epoch(epoch + 1))


def _index(key_rules: Iterable[KeyRule]) -> dict[RecordKey, KeyRule]:
    return {key_rule.key: key_rule for key_rule in key_rules}


def _explain_names(key_rules: Iterable[KeyRule]) -> Denied:
    """The refusal of any other key than these. A replica sees only a key's digest, so it names the
    keys that exist; those of a rule with `{author}` by their pattern.
    """
    # Stops "a flood with many keys"; made once per epoch, since a flood is refused with it.
    names: dict[str, None] = {}
    for key_rule in key_rules:
        name = key_rule.rule.name.format(epoch=key_rule.epoch, author="{author}")
        names[name] = None
    if not names:
        return NO_SUCH_KEY
    return Denied(Reason.UNKNOWN_KEY, expected=f"one of {', '.join(names)}")

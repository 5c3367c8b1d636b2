"""Which keys exist in the epochs that matter now, and who may write them: made once per epoch, not
once per record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from epochgate.core.epoch import compute_epoch_data
from epochgate.core.evaluation import NOTHING_HELD, READABLE_EPOCHS, EvaluationContext, StoredEntry
from epochgate.core.policy import Policy
from epochgate.core.roster import Roster
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch, PeerId, RecordKey


class EpochSchedule:
    """The key tables of the epochs that matter now. Give it each epoch's context once; ask it for
    moments.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._contexts: dict[int, EpochContext] = {}
        self._key_rules: dict[int, tuple[KeyRule, ...]] = {}
        self._tables: tuple[int, dict[RecordKey, KeyRule], dict[RecordKey, KeyRule]] | None = None

    def add(self, context: EpochContext) -> None:
        """Take in an epoch; epochs that can no longer be read are let go."""
        self._contexts[context.epoch] = context
        self._key_rules[context.epoch] = tuple(self.policy.bind(context, context.epoch))
        for old in [
            epoch for epoch in self._contexts if epoch <= context.epoch - READABLE_EPOCHS - 1
        ]:
            del self._contexts[old], self._key_rules[old]
        self._tables = None

    def has(self, epoch: Epoch) -> bool:
        return epoch in self._contexts

    def get_context(self, epoch: Epoch) -> EpochContext:
        """Raises KeyError for an epoch that was never added, or let go."""
        return self._contexts[epoch]

    def get_contexts(self) -> tuple[EpochContext, ...]:
        """All that it knows, in the order in which they came."""
        return tuple(self._contexts.values())

    def get_roster(self, epoch: Epoch) -> Roster | None:
        """The roster of `epoch`, None where it has not arrived."""
        context = self._contexts.get(epoch)
        return None if context is None else context.roster

    def find_newest_roster(self, epoch: Epoch) -> Roster | None:
        """The newest known up to `epoch`: at an epoch's first moments it may still be the last
        one's.
        """
        for each in range(epoch, epoch - READABLE_EPOCHS, -1):
            context = self._contexts.get(each)
            if context is not None:
                return context.roster
        return None

    def get_members(self, epoch: Epoch) -> frozenset[PeerId]:
        """Who is on the roster of `epoch`, or of the next one where it is known. Empty where
        neither has arrived.
        """
        rosters = [
            self._contexts[each].roster for each in (epoch, epoch + 1) if each in self._contexts
        ]
        return frozenset(author for roster in rosters for author in roster.roles)

    def get_key_rule(self, rule: Rule, epoch: Epoch, author: PeerId | None = None) -> KeyRule:
        """The rule in `epoch`; `author` chooses among the keys of a rule that has one an author."""
        for key_rule in self._key_rules[epoch]:
            if key_rule.rule is rule and key_rule.author == author:
                return key_rule
        raise KeyError(
            f"rule {rule.name} has no key in epoch {epoch} for author"
            f" {author.hex() if author else 'any'}"
        )

    def get_key_rules(self, rule: Rule, epoch: Epoch) -> tuple[KeyRule, ...]:
        """All keys of the rule in `epoch`."""
        return tuple(key_rule for key_rule in self._key_rules[epoch] if key_rule.rule is rule)

    def compute_evaluation_context(
        self,
        block: BlockNumber,
        time_seconds: float,
        held: Mapping[tuple[RecordKey, PeerId], StoredEntry] = NOTHING_HELD,
        *,
        is_stale: bool = False,
    ) -> EvaluationContext:
        """The moment at `block`. A head in an epoch whose context has not arrived yet counts as
        stale.

        Raises LookupError while no epoch is known at all.
        """
        if not self._contexts:
            raise LookupError("the calendar knows no epoch yet: add the first one's context")
        newest = self._contexts[max(self._contexts)]
        data = compute_epoch_data(block, newest.timing)
        postable, readable = self._get_tables(
            data.epoch, is_started=newest.timing.is_started(block)
        )
        unknown = data.epoch not in self._contexts
        return EvaluationContext(
            postable, readable, data, block, time_seconds, newest.network, held, is_stale or unknown
        )

    def _get_tables(
        self, epoch: Epoch, *, is_started: bool
    ) -> tuple[dict[RecordKey, KeyRule], dict[RecordKey, KeyRule]]:
        tag = epoch if is_started else -1
        if self._tables is None or self._tables[0] != tag:
            current = self._key_rules.get(epoch, ())
            if is_started:
                readable = {
                    key_rule.key: key_rule
                    for e in range(epoch - READABLE_EPOCHS + 1, epoch + 1)
                    for key_rule in self._key_rules.get(e, ())
                }
                postable = {
                    key_rule.key: key_rule for key_rule in self._bind_next(epoch)
                } | readable
            else:
                readable = postable = {
                    key_rule.key: key_rule for key_rule in current if key_rule.epoch is None
                }
            self._tables = (tag, postable, readable)
        return self._tables[1], self._tables[2]

    def _bind_next(self, epoch: Epoch) -> Iterator[KeyRule]:
        """The keys of the next epoch, whose roster is unknown: they serve only to say when they
        open.
        """
        if epoch in self._contexts:
            yield from self.policy.bind(self._contexts[epoch], Epoch(epoch + 1))
